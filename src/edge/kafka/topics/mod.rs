//! The topics of a stream: how each is meant to be, and what is wrong with those there are.
//!
//! ```text
//! options + retention needs ──plan──> Vec<Topic> ──admin──> made, or found ──judge──> findings
//! ```
//! `plan` and `judge` are values in, values out; only `admin` speaks to a broker.

mod admin;
mod judge;

use std::time::Duration;

pub use admin::{Administrator, Made};
pub use judge::{Finding, Found, judge};

use super::options::Options;
use crate::domain::Span;

/// The longest record that fraudd writes: a changelog record that was about to be ended, and one input more.
pub const MESSAGE_LEN_MAX: usize = 8 << 20;
/// A changelog record of this length is ended and another one begun, so that brokers with their default bound of a
/// megabyte take it. It is passed by what one input leaves.
pub const CHANGELOG_LEN_MAX: usize = 768 << 10;
/// The longest input that is read: what it leaves in the changelog fits a record together with what was there before.
pub const INPUT_LEN_MAX: usize = MESSAGE_LEN_MAX - 2 * CHANGELOG_LEN_MAX;
/// Partitions of a topic when nobody says how many.
pub const PARTITIONS_DEFAULT: u32 = 6;

const DAY: Span = Span::from_days(1);

/// How long records must stay readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// The longest window of any schema in use, its delay included.
    pub window: Span,
    /// How late an event may come.
    pub lateness: Span,
    /// How long a decision is known: `ledger.age_max`.
    pub ledger: Span,
}

impl Retention {
    /// Returns how long the changelog must be kept: what a lost instance rebuilds its state from.
    #[must_use]
    pub fn state(&self) -> Span {
        Span::from_micros(self.window.micros().saturating_add(self.lateness.micros()).max(self.ledger.micros()))
    }

    /// Returns how long the input is kept: not longer than decisions are known, or it could be decided twice.
    #[must_use]
    pub fn input(&self) -> Span {
        self.ledger.max(DAY)
    }
}

/// How many partitions a topic has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// As many as the input: partition p of one belongs to partition p of the other.
    LikeInput,
    /// One, for what must be read in one order.
    One,
}

/// What becomes of old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// They go after this long.
    Delete(Span),
    /// The newest of each key stays.
    Compact,
}

/// One topic as it is meant to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The setting below `kafka.topics` that names it.
    pub setting: &'static str,
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: Partitions,
    /// What becomes of old records.
    pub cleanup: Cleanup,
    /// Whether the broker stamps records with its own clock.
    pub is_stamped: bool,
    /// The longest record it takes, when not the broker's own limit.
    pub message_len_max: Option<usize>,
}

/// How many partitions and copies to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Partitions of the input and of all that follow it.
    pub partitions: u32,
    /// Copies of each.
    pub replicas: u32,
}

/// Lists the topics of a stream as they are meant to be.
#[must_use]
pub fn plan(options: &Options, retention: &Retention) -> Vec<Topic> {
    let week = Span::from_days(7);
    let topic = |(setting, name): (&'static str, &str)| {
        let (partitions, cleanup) = match setting {
            "transactions" => (Partitions::LikeInput, Cleanup::Delete(retention.input())),
            "dead" => (Partitions::LikeInput, Cleanup::Delete(Span::from_days(30))),
            // A day over what is needed: a restore takes time, and may begin late.
            "state" => {
                (Partitions::LikeInput, Cleanup::Delete(Span::from_micros(retention.state().micros() + DAY.micros())))
            }
            "control" => (Partitions::One, Cleanup::Compact),
            "audit" => (Partitions::One, Cleanup::Delete(Span::from_days(365))),
            "retrain" => (Partitions::One, Cleanup::Delete(week)),
            _ => (Partitions::LikeInput, Cleanup::Delete(week)),
        };
        Topic {
            setting,
            name: name.to_owned(),
            partitions,
            cleanup,
            // The future guard compares an event time with the broker's clock, not with the sender's.
            is_stamped: matches!(setting, "transactions" | "labels"),
            message_len_max: (setting == "state").then_some(MESSAGE_LEN_MAX),
        }
    };
    options.topics.all().into_iter().map(topic).collect()
}

impl Topic {
    /// Returns the broker's settings for this topic.
    #[must_use]
    pub fn settings(&self, replicas: u32) -> Vec<(&'static str, String)> {
        let mut settings = match self.cleanup {
            Cleanup::Compact => vec![("cleanup.policy", "compact".to_owned())],
            Cleanup::Delete(age) => vec![
                ("cleanup.policy", "delete".to_owned()),
                ("retention.ms", millis(age).to_string()),
                // Records go with their segment: a segment of an eighth keeps them at most that much longer.
                ("segment.ms", (millis(age) / 8).clamp(600_000, 86_400_000).to_string()),
            ],
        };
        if self.is_stamped {
            settings.push(("message.timestamp.type", "LogAppendTime".to_owned()));
        }
        if let Some(len) = self.message_len_max {
            settings.push(("max.message.bytes", len.to_string()));
        }
        // As the producer sent it: the broker unpacks and packs nothing.
        settings.push(("compression.type", "producer".to_owned()));
        settings.push(("unclean.leader.election.enable", "false".to_owned()));
        settings.push(("min.insync.replicas", in_sync_min(replicas).to_string()));
        settings
    }

    /// Returns how many partitions it has in a stream of this shape.
    #[must_use]
    pub const fn partition_count(&self, input: u32) -> u32 {
        match self.partitions {
            Partitions::LikeInput => input,
            Partitions::One => 1,
        }
    }
}

/// Returns how many copies must have a record before it counts: one less than there are of three.
#[must_use]
pub const fn in_sync_min(replicas: u32) -> u32 {
    if replicas >= 3 { 2 } else { 1 }
}

fn millis(span: Span) -> i64 {
    span.micros() / 1_000
}

/// Turns a duration into what an error message shows.
fn shown(millis: i64) -> String {
    if millis < 0 { "unlimited".to_owned() } else { Span::from_micros(millis.saturating_mul(1_000)).to_string() }
}

/// How long one request to the broker may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::super::options::tests::options;
    use super::*;

    #[test]
    fn the_changelog_outlives_windows_and_ledger() {
        let check = |window, lateness, ledger, days| {
            let retention = Retention {
                window: Span::from_days(window),
                lateness: Span::from_days(lateness),
                ledger: Span::from_days(ledger),
            };
            assert_eq!(retention.state(), Span::from_days(days), "{retention:?}");
        };
        check(30, 1, 1, 31);
        check(0, 0, 7, 7);
        check(7, 1, 30, 30);
    }

    #[test]
    fn topics_are_planned_as_the_contract_says() {
        let retention = Retention { window: Span::from_days(30), lateness: DAY, ledger: DAY };
        let plan = plan(&options(), &retention);
        let of = |setting| plan.iter().find(|topic| topic.setting == setting).expect(setting);
        assert_eq!(plan.len(), 11);
        assert_eq!(of("transactions").cleanup, Cleanup::Delete(DAY));
        assert_eq!(of("state").cleanup, Cleanup::Delete(Span::from_days(32)));
        assert!(of("labels").is_stamped && of("transactions").is_stamped && !of("scores").is_stamped);
        assert_eq!(of("control").partition_count(6), 1);
        assert_eq!(of("scores").partition_count(6), 6);
        let settings = of("state").settings(3);
        for wanted in [("cleanup.policy", "delete"), ("min.insync.replicas", "2"), ("max.message.bytes", "8388608")] {
            assert!(settings.iter().any(|(key, value)| (*key, value.as_str()) == wanted), "{wanted:?} in {settings:?}");
        }
    }
}
