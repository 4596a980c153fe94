//! Frames: how one payload lies in a segment, and how a damaged one is told from a whole one.
//!
//! ```text
//! | len u32 | checksum u32 | sequence u64 | payload .. |      little endian
//!              └ XXH3 of sequence and payload, seeded by the segment's salt
//! ```
//! The salt makes bytes that an older file left on the disk never look like a frame of this one. Pure:
//! bytes in, frames out.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes before a payload.
pub(super) const HEAD_LEN: usize = 16;
/// The longest payload: far above any record, so that a torn length is seen as such.
pub(super) const PAYLOAD_LEN_MAX: usize = 8 << 20;
/// How far a frame found behind damage may be ahead: what lies beyond is no frame of this segment.
const SEQUENCE_GAP_MAX: u64 = 1 << 32;

/// One whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) sequence: u64,
    pub(super) payload: &'a [u8],
    /// Where the next frame begins.
    pub(super) end: usize,
}

/// What lies at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    Whole(Frame<'a>),
    /// Exactly the end of the bytes.
    End,
    /// Too short, a wrong checksum or no frame at all.
    Damaged,
}

/// Appends a frame.
pub(super) fn put(out: &mut Vec<u8>, salt: u64, sequence: u64, payload: &[u8]) {
    debug_assert!(!payload.is_empty() && payload.len() <= PAYLOAD_LEN_MAX, "payloads are bounded by their encoding");
    let start = out.len();
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(payload);
    let checksum = checksum(&out[start + 8..], salt);
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads the frame at an offset.
pub(super) fn at(bytes: &[u8], offset: usize, salt: u64) -> Found<'_> {
    let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) else { return Found::End };
    let Some((len, expected, sequence)) = head(rest) else { return Found::Damaged };
    match rest.get(8..HEAD_LEN + len) {
        Some(body) if checksum(body, salt) == expected => {
            Found::Whole(Frame { sequence, payload: &body[8..], end: offset + HEAD_LEN + len })
        }
        Some(_) | None => Found::Damaged,
    }
}

/// Finds the first whole frame behind damage whose sequence is above `after`.
pub(super) fn resume(bytes: &[u8], from: usize, salt: u64, after: u64) -> Option<(usize, Frame<'_>)> {
    (from..bytes.len().saturating_sub(HEAD_LEN)).find_map(|offset| {
        // The sequence is looked at first: nearly nothing passes, so the whole search stays linear.
        let (_, _, sequence) = head(&bytes[offset..])?;
        if sequence <= after || sequence - after > SEQUENCE_GAP_MAX {
            return None;
        }
        match at(bytes, offset, salt) {
            Found::Whole(frame) => Some((offset, frame)),
            Found::End | Found::Damaged => None,
        }
    })
}

/// Reads the length of the payload from a frame's head; `None` when no frame has it.
pub(super) fn payload_len(head_bytes: &[u8]) -> Option<usize> {
    head(head_bytes).map(|(len, _, _)| len)
}

fn head(bytes: &[u8]) -> Option<(usize, u32, u64)> {
    let len = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let expected = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    let sequence = u64::from_le_bytes(bytes.get(8..HEAD_LEN)?.try_into().ok()?);
    let len = usize::try_from(len).ok().filter(|len| (1..=PAYLOAD_LEN_MAX).contains(len))?;
    Some((len, expected, sequence))
}

#[expect(clippy::cast_possible_truncation, reason = "any 32 bits of XXH3 are as good as any others")]
fn checksum(bytes: &[u8], salt: u64) -> u32 {
    xxh3_64_with_seed(bytes, salt) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(bytes: &[u8], salt: u64) -> (Vec<(u64, Vec<u8>)>, Found<'_>) {
        let (mut offset, mut found) = (0, Vec::new());
        loop {
            match at(bytes, offset, salt) {
                Found::Whole(frame) => {
                    found.push((frame.sequence, frame.payload.to_vec()));
                    offset = frame.end;
                }
                end => return (found, end),
            }
        }
    }

    fn written(payloads: &[Vec<u8>], salt: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (sequence, payload) in (1..).zip(payloads) {
            put(&mut bytes, salt, sequence, payload);
        }
        bytes
    }

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 1..12)
    }

    proptest! {
        #[test]
        fn any_prefix_is_whole_frames_or_a_cut_tail(payloads in payloads(), salt in any::<u64>(), cut in any::<prop::sample::Index>()) {
            let bytes = written(&payloads, salt);
            let prefix = &bytes[..cut.index(bytes.len() + 1)];
            let (found, end) = frames(prefix, salt);
            for (frame, (sequence, payload)) in found.iter().zip((1..).zip(&payloads)) {
                prop_assert_eq!((frame.0, &frame.1), (sequence, payload));
            }
            let whole: usize = found.iter().map(|(_, payload)| payload.len() + HEAD_LEN).sum();
            prop_assert_eq!(end == Found::End, whole == prefix.len());
            prop_assert!(resume(prefix, whole, salt, found.len() as u64).is_none());
        }

        #[test]
        fn a_flipped_bit_is_seen_and_what_follows_is_found(payloads in payloads(), salt in any::<u64>(), at_bit in any::<prop::sample::Index>()) {
            let mut bytes = written(&payloads, salt);
            let bit = at_bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (found, end) = frames(&bytes, salt);
            prop_assert!(found.len() < payloads.len() && end == Found::Damaged);
            let start: usize = found.iter().map(|(_, payload)| payload.len() + HEAD_LEN).sum();
            let next = resume(&bytes, start, salt, found.len() as u64).map(|(_, frame)| frame.sequence);
            let follows = found.len() + 2;
            prop_assert_eq!(next, (follows <= payloads.len()).then_some(follows as u64));
        }

        #[test]
        fn frames_of_another_segment_are_not_ours(payloads in payloads(), salt in any::<u64>()) {
            let bytes = written(&payloads, salt);
            prop_assert_eq!(at(&bytes, 0, salt ^ 1), Found::Damaged);
        }
    }

    #[test]
    fn zeros_are_no_frame() {
        assert_eq!(at(&[0; 64], 0, 0), Found::Damaged);
        assert_eq!(at(&[], 0, 0), Found::End);
    }
}
