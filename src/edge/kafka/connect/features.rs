//! What a broker can do, read from the versions of requests it offers.

use std::collections::BTreeMap;

use super::Error;

/// Requests exactly-once rests on, and the oldest version of each that is enough: Apache Kafka 2.5 has them all.
const NEEDED: &[(&str, i16)] = &[
    // Static members.
    ("JoinGroup", 5),
    // Offsets wait for open transactions.
    ("OffsetFetch", 7),
    // A producer recovers from an error without a new id.
    ("InitProducerId", 3),
    // Offsets are refused when the member's generation is over.
    ("TxnOffsetCommit", 3),
    ("AddOffsetsToTxn", 0),
    ("AddPartitionsToTxn", 0),
    ("EndTxn", 0),
];

/// The newest version of each request a broker offers; of several brokers, the least.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    versions: BTreeMap<String, i16>,
}

impl Features {
    /// Reads one line of the client's log: `ApiKey TxnOffsetCommit (28) Versions 0..5`.
    pub(super) fn hear(&mut self, line: &str) {
        let Some((_, rest)) = line.split_once("ApiKey ") else { return };
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [name, _, "Versions", range, ..] = words.as_slice() else { return };
        let Some(newest) = range.split_once("..").and_then(|(_, newest)| newest.parse::<i16>().ok()) else { return };
        let known = self.versions.entry((*name).to_owned()).or_insert(newest);
        *known = newest.min(*known);
    }

    /// Checks that exactly-once can rest on it.
    ///
    /// # Errors
    /// The first request that is missing or too old. A client that heard nothing checks nothing: then the
    /// first transaction will tell.
    pub fn check(&self) -> Result<(), Error> {
        if self.versions.is_empty() {
            return Ok(());
        }
        for (api, needs) in NEEDED {
            let has = self.versions.get(*api).copied().unwrap_or(-1);
            if has < *needs {
                return Err(Error::TooOld { api, has, needs: *needs });
            }
        }
        Ok(())
    }

    /// Tells whether the broker itself verifies that a write belongs to an open transaction, which it does
    /// from 3.6 on: without it a delayed write can leave a transaction hanging.
    #[must_use]
    pub fn is_verified(&self) -> bool {
        self.versions.get("AddPartitionsToTxn").is_some_and(|newest| *newest >= 4)
    }

    /// Tells whether anything was heard.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.versions.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[(&str, i16)]) -> Features {
        let mut features = Features::default();
        for (name, newest) in lines {
            features.hear(&format!("[thrd:a:1/bootstrap]: a:1/bootstrap:   ApiKey {name} (9) Versions 0..{newest}"));
        }
        features
    }

    #[test]
    fn an_old_broker_is_named_by_what_it_lacks() {
        let whole: Vec<(&str, i16)> = NEEDED.to_vec();
        assert_eq!(of(&whole).check(), Ok(()));
        for (at, (name, needs)) in NEEDED.iter().enumerate() {
            let mut older = whole.clone();
            older[at].1 = needs - 1;
            let missing: Vec<_> = whole.iter().filter(|(other, _)| other != name).copied().collect();
            for lines in [older, missing] {
                assert_eq!(
                    of(&lines).check(),
                    Err(Error::TooOld { api: name, has: needs - 1, needs: *needs }).map_err(|e| {
                        if lines.len() < NEEDED.len() { Error::TooOld { api: name, has: -1, needs: *needs } } else { e }
                    })
                );
            }
        }
    }

    #[test]
    fn of_several_brokers_the_oldest_counts() {
        let features = of(&[("TxnOffsetCommit", 5), ("TxnOffsetCommit", 2)]);
        assert_eq!(features, of(&[("TxnOffsetCommit", 2)]));
        assert!(!features.is_verified());
        assert!(of(&[("AddPartitionsToTxn", 5)]).is_verified());
    }

    #[test]
    fn silence_proves_nothing() {
        assert_eq!(Features::default().check(), Ok(()));
        assert!(!Features::default().is_known());
        assert_eq!(of(&[]), {
            let mut f = Features::default();
            f.hear("APIVERSION: Broker API support:");
            f
        });
    }
}
