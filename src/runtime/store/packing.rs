//! How a feature vector lies in a record: most values are small whole numbers, so two bits say which kind
//! each is. Pure: values to bytes and back, every bit kept.

use crate::domain::FeatureVector;

/// How a feature's value is packed: two bits each.
const ZERO: u8 = 0;
const WHOLE: u8 = 1;
const BITS: u8 = 2;
const NAN: u8 = 3;

/// Appends features: their number, whether they were capped, codes, missing flags, then what the codes need.
pub(super) fn put_features(out: &mut Vec<u8>, features: &FeatureVector) {
    let values = features.values();
    let len = u16::try_from(values.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.push(u8::from(features.capped));
    let codes = out.len();
    let missing = codes + values.len().div_ceil(4);
    out.resize(missing + values.len().div_ceil(8), 0);
    for (place, value) in values.iter().enumerate() {
        let code = put_value(out, *value);
        out[codes + place / 4] |= code << (place % 4 * 2);
        out[missing + place / 8] |= u8::from(features.is_missing(place)) << (place % 8);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "compared bit by bit with what it came from")]
fn put_value(out: &mut Vec<u8>, value: f64) -> u8 {
    let whole = value as u32;
    if value.to_bits() == 0 {
        return ZERO;
    }
    if value.to_bits() == f64::NAN.to_bits() {
        return NAN;
    }
    if f64::from(whole).to_bits() != value.to_bits() {
        out.extend_from_slice(&value.to_le_bytes());
        return BITS;
    }
    let mut rest = whole;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    WHOLE
}

/// Reads features; `None` when the bytes are no such thing.
pub(super) fn features_of(packed: &[u8]) -> Option<FeatureVector> {
    let len = usize::from(u16::from_le_bytes(packed.get(..2)?.try_into().ok()?));
    let capped = *packed.get(2)? != 0;
    let (codes, rest) = packed.get(3..)?.split_at_checked(len.div_ceil(4))?;
    let (missing, mut rest) = rest.split_at_checked(len.div_ceil(8))?;
    let mut vector = FeatureVector::with_capacity(len);
    for place in 0..len {
        let value = match codes[place / 4] >> (place % 4 * 2) & 3 {
            ZERO => 0.0,
            WHOLE => f64::from(take_whole(&mut rest)?),
            BITS => {
                let (bits, after) = rest.split_at_checked(8)?;
                rest = after;
                f64::from_le_bytes(bits.try_into().ok()?)
            }
            _ => f64::NAN,
        };
        let is_missing = missing[place / 8] >> (place % 8) & 1 == 1;
        vector.push((!is_missing).then_some(value), value);
    }
    vector.capped = capped;
    rest.is_empty().then_some(vector)
}

fn take_whole(rest: &mut &[u8]) -> Option<u32> {
    let mut whole = 0;
    for shift in (0..32).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        whole |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(whole);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn features_keep_every_bit(values in prop::collection::vec((any::<u64>(), 0..5_u8, any::<bool>()), 0..70), capped in any::<bool>()) {
            let mut vector = FeatureVector::with_capacity(values.len());
            for (bits, kind, missing) in values {
                let value = match kind {
                    0 => 0.0,
                    1 => -0.0,
                    2 => f64::NAN,
                    3 => (bits % 100_000) as f64,
                    _ => f64::from_bits(bits),
                };
                vector.push((!missing).then_some(value), value);
            }
            vector.capped = capped;
            let mut packed = Vec::new();
            put_features(&mut packed, &vector);
            let again = features_of(&packed).expect("readable");
            prop_assert_eq!(again.capped, vector.capped);
            for place in 0..vector.len() {
                prop_assert_eq!(again.values()[place].to_bits(), vector.values()[place].to_bits());
                prop_assert_eq!(again.is_missing(place), vector.is_missing(place));
            }
        }
    }
}
