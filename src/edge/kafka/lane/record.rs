//! What goes in and out of a lane: records, outputs and offsets, as plain values.

use bytes::Bytes;
use compact_str::CompactString;

/// A topic the lane reads. Partition p of both belongs to the same lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Transactions to decide.
    Transactions,
    /// What became of them.
    Labels,
}

/// A topic the lane writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sink {
    /// Every decision.
    Scores,
    /// Every outcome but approve.
    Alerts,
    /// Feature vectors.
    Features,
    /// Records that could not be read or taken.
    Dead,
    /// Records beyond the allowed lateness.
    Late,
    /// The changelog of entity state.
    State,
    /// Transactions themselves: what a re-key lane writes.
    Transactions,
}

impl Sink {
    /// Every sink, in the order of its discriminant.
    pub const ALL: [Self; 7] =
        [Self::Scores, Self::Alerts, Self::Features, Self::Dead, Self::Late, Self::State, Self::Transactions];
}

/// The headers of a record, in order; a name may come more than once.
pub type Headers = Vec<(CompactString, Option<Bytes>)>;

/// A record as it was read. Key and payload share one allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The topic it came from.
    pub source: Source,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds, when it has one.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its payload; a tombstone has none.
    pub payload: Option<Bytes>,
    /// Its headers.
    pub headers: Headers,
}

impl Fetched {
    /// Returns about how many bytes of memory it holds.
    #[must_use]
    pub fn size(&self) -> usize {
        let text = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + text(value) + 48).sum();
        size_of::<Self>() + text(&self.key) + text(&self.payload) + headers
    }
}

/// A record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The topic it goes to.
    pub sink: Sink,
    /// Its partition: that of the input it comes from, or of its key where it is re-keyed.
    pub partition: i32,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its payload.
    pub payload: Option<Bytes>,
    /// Its headers.
    pub headers: Headers,
    /// Its timestamp in milliseconds; the broker's when absent.
    pub timestamp_ms: Option<i64>,
}

/// The offset to go on from, with what travels beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextOffset {
    /// The topic it is of.
    pub source: Source,
    /// The partition it is of.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
    /// The event-time watermark in microseconds, for the check that it never moves back.
    pub watermark: Option<i64>,
    /// The text committed beside the offset, at most 3,900 bytes, without `;t=`: the lane adds its token there.
    pub metadata: String,
}

/// An offset that was committed, with what travelled beside it, the lane's token taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// The text committed beside it.
    pub metadata: String,
    /// The token of the batch it was committed with, when a lane did it.
    pub token: Option<String>,
}

impl Committed {
    /// Splits the text of a committed offset into what the work wrote and the lane's token.
    #[must_use]
    pub fn parse(offset: i64, text: &str) -> Self {
        match text.rsplit_once(TOKEN) {
            Some((metadata, token)) => Self { offset, metadata: metadata.into(), token: Some(token.into()) },
            None => Self { offset, metadata: text.into(), token: None },
        }
    }

    /// Joins what the work wrote and the lane's token.
    #[must_use]
    pub fn text(metadata: &str, token: &str) -> String {
        [metadata, TOKEN, token].concat()
    }
}

/// What stands between the work's text and the lane's token.
const TOKEN: &str = ";t=";

/// What is known of one partition of one topic when a lane comes to own it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The committed offset; none before the first commit.
    pub committed: Option<Committed>,
    /// The first offset the log still has.
    pub earliest: i64,
    /// The offset after the newest record a reader may see.
    pub latest: i64,
}

/// A partition that came to this lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Its number, the same in every topic.
    pub partition: i32,
    /// Where `transactions` stands.
    pub transactions: Place,
    /// Where `labels` stands; at 0, and never committed, for a lane without labels.
    pub labels: Place,
}

/// Where to read a partition from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Its number.
    pub partition: i32,
    /// The next offset of `transactions`.
    pub transactions: i64,
    /// The next offset of `labels`; of no meaning to a lane without labels.
    pub labels: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_on_and_comes_off() {
        let text = Committed::text("v1;l=3;w=-5;h=00ff", "a1-7");
        assert_eq!(text, "v1;l=3;w=-5;h=00ff;t=a1-7");
        let back = Committed::parse(9, &text);
        assert_eq!(back.metadata, "v1;l=3;w=-5;h=00ff");
        assert_eq!(back.token.as_deref(), Some("a1-7"));
        let foreign = Committed::parse(9, "somebody's");
        assert_eq!((foreign.metadata.as_str(), foreign.token), ("somebody's", None));
    }
}
