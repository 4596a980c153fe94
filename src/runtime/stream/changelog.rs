//! The changelog's records: everything that one transaction with the broker did to one partition's state.
//!
//! ```text
//! | version u8 | before 32 | after 32 | wall ms i64 | entries u32 | kind u8, len u32, bytes | .. | XXH3 u64 |
//!   event   a transaction as the store's event log has it: state and a decided id
//!   id      a decided id that changed no state: its 128 bits, those of its payload
//!   label   a label as the event log has it
//! ```
//! Events are encoded once: the same bytes go here and into the local store. Pure: bytes in, values out.
//! Every id in a blob was published in the same transaction, so whoever applies it knows that, too.

use xxhash_rust::xxh3::xxh3_64;

use super::position::Position;
use crate::domain::{Label, Transaction};
use crate::runtime::store::{StoredEvent, read_event};

/// What a blob's first byte says.
pub const VERSION: u8 = 1;
const POSITION_LEN: usize = 32;
const COUNT_AT: usize = 1 + 2 * POSITION_LEN + 8;
const HEAD_LEN: usize = COUNT_AT + 4;
const CHECKSUM_LEN: usize = 8;
const ENTRY_HEAD_LEN: usize = 5;

const EVENT: u8 = 1;
const ID: u8 = 2;
const LABEL: u8 = 3;

/// Why bytes are no blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A newer version wrote it.
    #[error("a changelog record has version {found}, and this fraudd reads {VERSION}: start the fraudd that wrote it")]
    Newer {
        /// What it says.
        found: u8,
    },
    /// It is damaged or something else.
    #[error("a changelog record is damaged, or not fraudd's")]
    Malformed,
}

/// Builds a blob while its partition's records are decided.
#[derive(Clone, Debug)]
pub struct BlobWriter {
    bytes: Vec<u8>,
    before: Position,
    count: u32,
}

impl BlobWriter {
    /// Begins a blob at a position.
    #[must_use]
    pub fn new(before: Position) -> Self {
        let mut bytes = Vec::with_capacity(4_096);
        bytes.resize(HEAD_LEN, 0);
        Self { bytes, before, count: 0 }
    }

    /// Returns the position it begins at.
    #[must_use]
    pub const fn before(&self) -> Position {
        self.before
    }

    /// Appends a transaction as the event log has it.
    pub fn event(&mut self, payload: &[u8]) {
        self.entry(EVENT, payload);
    }

    /// Appends a decided id that changed no state, with the hash of its payload.
    pub fn id(&mut self, key: u128, payload_hash: u128) {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&key.to_le_bytes());
        bytes[16..].copy_from_slice(&payload_hash.to_le_bytes());
        self.entry(ID, &bytes);
    }

    /// Appends a label as the event log has it.
    pub fn label(&mut self, payload: &[u8]) {
        self.entry(LABEL, payload);
    }

    /// Returns how many bytes the blob has so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() + CHECKSUM_LEN
    }

    /// Tells whether there is no entry: the position may still have moved, over records that did nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Ends the blob at the position after its last record.
    #[must_use]
    pub fn finish(mut self, after: Position, wall_ms: i64) -> Vec<u8> {
        self.bytes[0] = VERSION;
        put_position(&mut self.bytes[1..], self.before);
        put_position(&mut self.bytes[1 + POSITION_LEN..], after);
        self.bytes[COUNT_AT - 8..COUNT_AT].copy_from_slice(&wall_ms.to_le_bytes());
        self.bytes[COUNT_AT..HEAD_LEN].copy_from_slice(&self.count.to_le_bytes());
        let checksum = xxh3_64(&self.bytes);
        self.bytes.extend_from_slice(&checksum.to_le_bytes());
        self.bytes
    }

    fn entry(&mut self, kind: u8, payload: &[u8]) {
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(payload);
        self.count += 1;
    }
}

/// One entry of a blob.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'a> {
    /// A transaction that is part of state and was decided.
    Event {
        /// The transaction.
        transaction: Box<Transaction>,
        /// The same as the event log has it.
        payload: &'a [u8],
    },
    /// An id that was decided and changed no state.
    Id {
        /// The 128 bits of the id.
        key: u128,
        /// The hash of its payload.
        payload_hash: u128,
    },
    /// A label.
    Label {
        /// The label.
        label: Label,
        /// The same as the event log has it.
        payload: &'a [u8],
    },
}

/// What one transaction with the broker did to one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct Blob<'a> {
    /// Where the partition was before.
    pub before: Position,
    /// Where it was afterwards.
    pub after: Position,
    /// When it was written, in milliseconds of wall time.
    pub wall_ms: i64,
    /// What was done, in order.
    pub entries: Vec<Entry<'a>>,
}

impl<'a> Blob<'a> {
    /// Reads a blob whole.
    ///
    /// # Errors
    /// [`Error::Newer`], [`Error::Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let found = *bytes.first().ok_or(Error::Malformed)?;
        if found > VERSION {
            return Err(Error::Newer { found });
        }
        Self::read(bytes).ok_or(Error::Malformed)
    }

    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (content, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_LEN)?)?;
        if content.len() < HEAD_LEN || content[0] != VERSION || number(checksum, 0)? != xxh3_64(content) {
            return None;
        }
        let count = u32::from_le_bytes(content.get(COUNT_AT..HEAD_LEN)?.try_into().ok()?);
        let mut rest = content.get(HEAD_LEN..)?;
        // What is claimed is not believed before it is there.
        let mut entries = Vec::with_capacity((count as usize).min(rest.len() / ENTRY_HEAD_LEN));
        for _ in 0..count {
            let (head, after) = rest.split_at_checked(ENTRY_HEAD_LEN)?;
            let len = usize::try_from(u32::from_le_bytes(head[1..].try_into().ok()?)).ok()?;
            let (payload, after) = after.split_at_checked(len)?;
            entries.push(entry(head[0], payload)?);
            rest = after;
        }
        rest.is_empty().then_some(())?;
        Some(Self {
            before: position(content, 1)?,
            after: position(content, 1 + POSITION_LEN)?,
            wall_ms: number(content, COUNT_AT - 8)?.cast_signed(),
            entries,
        })
    }
}

fn entry(kind: u8, payload: &[u8]) -> Option<Entry<'_>> {
    match (kind, if kind == ID { None } else { read_event(payload) }) {
        (EVENT, Some(StoredEvent::Transaction(transaction))) => Some(Entry::Event { transaction, payload }),
        (LABEL, Some(StoredEvent::Label(label))) => Some(Entry::Label { label, payload }),
        (ID, None) if payload.len() == 32 => {
            Some(Entry::Id { key: wide(payload, 0)?, payload_hash: wide(payload, 16)? })
        }
        _ => None,
    }
}

fn put_position(out: &mut [u8], position: Position) {
    let Position { transactions, labels, watermark_micros, chain } = position;
    let words = [transactions, labels, watermark_micros, chain.cast_signed()];
    for (place, word) in out.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

fn position(bytes: &[u8], at: usize) -> Option<Position> {
    let word = |place: usize| number(bytes, at + place * 8).map(u64::cast_signed);
    let (transactions, labels, watermark_micros) = (word(0)?, word(1)?, word(2)?);
    Some(Position { transactions, labels, watermark_micros, chain: word(3)?.cast_unsigned() })
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn wide(bytes: &[u8], at: usize) -> Option<u128> {
    Some(u128::from_le_bytes(bytes.get(at..at + 16)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{LabelKind, Timestamp};
    use crate::runtime::store::samples::transaction;
    use crate::runtime::store::{put_label, put_transaction};

    fn blob() -> Vec<u8> {
        let mut writer = BlobWriter::new(Position::start(10, 4));
        let mut payload = Vec::new();
        put_transaction(&mut payload, &transaction("t-1", Timestamp::from_seconds(50)));
        writer.event(&payload);
        writer.id(7 << 100, 8);
        let label = Label {
            transaction_id: "t-1".into(),
            kind: LabelKind::Fraud,
            occurred_at: Timestamp::from_seconds(60),
            source: "bank".into(),
        };
        payload.clear();
        put_label(&mut payload, &label);
        writer.label(&payload);
        assert!(!writer.is_empty());
        let len = writer.len();
        let after = Position { transactions: 13, labels: 5, watermark_micros: 20, chain: 99 };
        let bytes = writer.finish(after, 1_700);
        assert_eq!(bytes.len(), len);
        bytes
    }

    /// The same bytes with a checksum that fits them.
    fn sealed(mut content: Vec<u8>) -> Vec<u8> {
        let checksum = xxh3_64(&content);
        content.extend_from_slice(&checksum.to_le_bytes());
        content
    }

    #[test]
    fn a_blob_comes_back_as_it_was() {
        let bytes = blob();
        let blob = Blob::decode(&bytes).expect("readable");
        assert_eq!((blob.before, blob.wall_ms), (Position::start(10, 4), 1_700));
        assert_eq!((blob.after.transactions, blob.after.labels, blob.after.chain), (13, 5, 99));
        let [Entry::Event { transaction, payload }, Entry::Id { key, payload_hash }, Entry::Label { label, .. }] =
            blob.entries.as_slice()
        else {
            panic!("{blob:?}")
        };
        assert_eq!((transaction.id(), *key, *payload_hash, label.transaction_id.as_str()), ("t-1", 7 << 100, 8, "t-1"));
        assert!(matches!(read_event(payload), Some(StoredEvent::Transaction(again)) if again == *transaction));
        let empty = BlobWriter::new(blob.before).finish(blob.after, 0);
        assert_eq!(Blob::decode(&empty).expect("readable").entries, []);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused() {
        let bytes = blob();
        for cut in 0..bytes.len() {
            assert_eq!(Blob::decode(&bytes[..cut]), Err(Error::Malformed), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Blob::decode(&flipped).is_err(), "bit {bit}");
        }
        let mut newer = bytes.clone();
        newer[0] = 2;
        assert_eq!(Blob::decode(&newer), Err(Error::Newer { found: 2 }));
    }

    #[test]
    fn claims_that_are_not_kept_are_refused_although_the_checksum_fits() {
        let bytes = blob();
        let content = bytes[..bytes.len() - CHECKSUM_LEN].to_vec();
        let check = |what: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let mut changed = content.clone();
            change(&mut changed);
            assert_eq!(Blob::decode(&sealed(changed)), Err(Error::Malformed), "{what}");
        };
        check("more entries than there are", &|bytes| bytes[COUNT_AT] = 4);
        check("a flood of entries", &|bytes| bytes[COUNT_AT..HEAD_LEN].fill(0xff));
        check("fewer entries than there are", &|bytes| bytes[COUNT_AT] = 2);
        check("an unknown kind", &|bytes| bytes[HEAD_LEN] = 9);
        check("an event that is a label", &|bytes| bytes[HEAD_LEN] = LABEL);
        check("an id of another length", &|bytes| bytes[HEAD_LEN] = ID);
        check("an endless entry", &|bytes| bytes[HEAD_LEN + 1..HEAD_LEN + 5].fill(0xff));
        assert!(Blob::decode(&sealed(content)).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in prop::collection::vec(any::<u8>(), 0..400), count in 0..4_u32) {
            let mut content = bytes;
            let _ = Blob::decode(&content);
            if content.len() >= HEAD_LEN {
                content[0] = VERSION;
                content[COUNT_AT..HEAD_LEN].copy_from_slice(&count.to_le_bytes());
            }
            let _ = Blob::decode(&sealed(content));
        }
    }
}
