//! What one door says to the other, sealed: a REST decision inside a record of the transactions topic.
//!
//! ```text
//! header fraudd-decision:  | version u8 | tag, 32 bytes | decision .. |
//! tag = HMAC-SHA256 (RFC 2104) over: domain, version, length of id, id, payload hash, decision
//! ```
//! Who may write to the topic cannot forge an approval: without the group's key no tag verifies, and a
//! tag covers the payload, so a decision cannot be moved to another transaction. It does not hide anything.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The header a sealed decision travels in.
pub const DECISION_HEADER: &str = "fraudd-decision";
/// The least bytes of a key: as many as the hash gives.
pub const KEY_LEN_MIN: usize = 32;

const VERSION: u8 = 1;
const TAG_LEN: usize = 32;
const HEAD_LEN: usize = 1 + TAG_LEN;
const DOMAIN: &[u8] = b"fraudd decision of another door";

/// What a tag stands for beside the decision itself.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The transaction's id.
    pub transaction_id: &'a str,
    /// [`crate::domain::Transaction::payload_hash`].
    pub payload_hash: u128,
}

/// Why a sealed decision is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too short to be one.
    #[error("the sealed decision is cut short")]
    Short,
    /// Made by a version that this one does not know.
    #[error("the sealed decision has version {0}, this service reads version {VERSION}")]
    Version(u8),
    /// The tag does not fit: another key, another transaction, or forged.
    #[error("the sealed decision does not verify with the group's key")]
    Tag,
}

/// The group's key. Prints as `***`.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl std::fmt::Debug for Key {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("***")
    }
}

impl Key {
    /// Takes a key of at least [`KEY_LEN_MIN`] bytes; `None` for a shorter one.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < KEY_LEN_MIN {
            return None;
        }
        Hmac::new_from_slice(bytes).ok().map(Self)
    }

    /// Seals a decision for its transaction.
    #[must_use]
    pub fn seal(&self, subject: &Subject<'_>, decision: &[u8]) -> Vec<u8> {
        let tag = self.mac(subject, decision).finalize().into_bytes();
        let mut sealed = Vec::with_capacity(HEAD_LEN + decision.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&tag);
        sealed.extend_from_slice(decision);
        sealed
    }

    /// Gives the decision back when its tag verifies, in constant time.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn open<'s>(&self, subject: &Subject<'_>, sealed: &'s [u8]) -> Result<&'s [u8], Refused> {
        let (version, rest) = sealed.split_first().ok_or(Refused::Short)?;
        if *version != VERSION {
            return Err(Refused::Version(*version));
        }
        let (tag, decision) = rest.split_at_checked(TAG_LEN).ok_or(Refused::Short)?;
        self.mac(subject, decision).verify_slice(tag).map_err(|_| Refused::Tag)?;
        Ok(decision)
    }

    fn mac(&self, subject: &Subject<'_>, decision: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(DOMAIN);
        mac.update(&[VERSION]);
        mac.update(&(subject.transaction_id.len() as u64).to_le_bytes());
        mac.update(subject.transaction_id.as_bytes());
        mac.update(&subject.payload_hash.to_le_bytes());
        mac.update(decision);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: Subject<'_> = Subject { transaction_id: "tx-1", payload_hash: 7 };

    fn key(fill: u8) -> Key {
        Key::new(&[fill; KEY_LEN_MIN]).expect("long enough")
    }

    #[test]
    fn a_sealed_decision_opens_with_its_key_alone() {
        let sealed = key(1).seal(&SUBJECT, b"approve");
        assert_eq!(key(1).open(&SUBJECT, &sealed), Ok(&b"approve"[..]));
        assert_eq!(key(2).open(&SUBJECT, &sealed), Err(Refused::Tag));
    }

    #[test]
    fn it_cannot_be_moved_or_changed() {
        let sealed = key(1).seal(&SUBJECT, b"decline");
        let elsewhere = [
            Subject { transaction_id: "tx-2", ..SUBJECT },
            Subject { payload_hash: 8, ..SUBJECT },
            Subject { transaction_id: "", payload_hash: 0 },
        ];
        for other in &elsewhere {
            assert_eq!(key(1).open(other, &sealed), Err(Refused::Tag), "{other:?}");
        }
        for place in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[place] ^= 1;
            let expected = if place == 0 { Refused::Version(0) } else { Refused::Tag };
            assert_eq!(key(1).open(&SUBJECT, &forged), Err(expected), "byte {place}");
        }
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let sealed = key(1).seal(&SUBJECT, b"");
        assert_eq!(key(1).open(&SUBJECT, &sealed), Ok(&b""[..]));
        for len in 0..sealed.len() {
            assert_eq!(key(1).open(&SUBJECT, &sealed[..len]), Err(Refused::Short), "{len} bytes");
        }
    }

    #[test]
    fn a_short_key_is_none_and_no_key_shows() {
        assert!(Key::new(&[1; KEY_LEN_MIN - 1]).is_none());
        assert_eq!(format!("{:?}", key(1)), "***");
    }
}
