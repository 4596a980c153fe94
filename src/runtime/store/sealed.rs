//! A decision by itself, with the release it names: what one instance gives another.
//!
//! ```text
//! | format version u16 | length of the release u32 | release | decision |
//! ```
//! The same payloads as in the ledger, and of the same version: an instance that does not know the version
//! reads nothing rather than something else.

use std::sync::Arc;

use super::FORMAT_VERSION;
use super::encoding::{put_record, put_release, record, release};
use crate::runtime::decisions::Record;

const HEAD_LEN: usize = 6;

/// Writes a decision with its release.
#[must_use]
pub fn seal_record(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4_096);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    put_release(&mut bytes, &record.decision.release);
    let len = u32::try_from(bytes.len() - HEAD_LEN).unwrap_or(u32::MAX);
    bytes[2..HEAD_LEN].copy_from_slice(&len.to_le_bytes());
    put_record(&mut bytes, record);
    bytes
}

/// Reads a decision with its release; `None` when the bytes are of another version or no such thing.
#[must_use]
pub fn read_record(bytes: &[u8]) -> Option<Record> {
    let (head, rest) = bytes.split_at_checked(HEAD_LEN)?;
    if u16::from_le_bytes(head[..2].try_into().ok()?) != FORMAT_VERSION {
        return None;
    }
    let len = usize::try_from(u32::from_le_bytes(head[2..].try_into().ok()?)).ok()?;
    let (facts, payload) = rest.split_at_checked(len)?;
    record(payload, 0, Arc::new(release(facts)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FeatureVector;
    use crate::runtime::store::samples;

    #[test]
    fn a_sealed_decision_is_whole() {
        let record = samples::record("t-1", 7);
        let bytes = seal_record(&record);
        let again = read_record(&bytes).expect("readable");
        assert_eq!(again.decision, record.decision);
        let plain = |record: &Record| Record {
            features: FeatureVector::default(),
            cursor: crate::runtime::decisions::Cursor::default(),
            ..record.clone()
        };
        assert_eq!(plain(&again), plain(&record));
        for cut in 0..bytes.len() {
            assert!(read_record(&bytes[..cut]).is_none(), "cut at {cut}");
        }
        let mut other = bytes;
        other[0] ^= 0x40;
        assert!(read_record(&other).is_none(), "another version");
    }
}
