//! Does the stream stand still, come late, or come in an unknown quantity?
//!
//! The usual lateness is learned from the stream itself (a replay of an old history is late by months, and constantly so);
//! the usual quantity by hour of the day, from the days before. Nothing is judged that has no past yet.

use std::collections::{BTreeMap, VecDeque};

use super::options::Options;
use crate::domain::{Span, Timestamp};
use crate::healing::finding::Verdict;

/// Transactions before lateness is judged.
const LATE_SEEN_MIN: u64 = 1_000;
const FAST_KEEP: f64 = 0.99;
const SLOW_KEEP: f64 = 0.9995;
/// Standing still is so many times the usual gap.
const GAPS: f64 = 50.0;
/// Days before the quantity of an hour is judged.
const DAYS_MIN: u32 = 2;
/// Minutes in a row that must be out of bounds.
const MINUTES_MIN: u32 = 3;
/// How much of the usual quantity of an hour is kept from day to day.
const DAY_KEEP: f64 = 0.7;
/// A difference within so many standard deviations of chance is none.
const CHANCE: f64 = 6.0;
const RECENT_MAX: usize = 255;

/// What the stream's flow looks like.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    seen: u64,
    newest: Option<Timestamp>,
    gap_us: f64,
    fast_us: f64,
    slow_us: f64,
    recent_us: VecDeque<i64>,
    minute: i64,
    in_minute: u64,
    in_hour: u64,
    usual: [(u32, f64); 24],
    strange_minutes: u32,
    last_minute: f64,
}

/// A state of the flow that people should know.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    /// `silence`, `late` or `quantity`.
    pub(crate) subject: &'static str,
    /// How far it may be acted on.
    pub(crate) verdict: Verdict,
    /// Its figures.
    pub(crate) values: BTreeMap<String, f64>,
    /// One line for people.
    pub(crate) text: String,
}

impl Default for Volume {
    fn default() -> Self {
        Self {
            seen: 0,
            newest: None,
            gap_us: 0.0,
            fast_us: 0.0,
            slow_us: 0.0,
            recent_us: VecDeque::new(),
            minute: i64::MIN,
            in_minute: 0,
            in_hour: 0,
            usual: [(0, 0.0); 24],
            strange_minutes: 0,
            last_minute: 0.0,
        }
    }
}

impl Volume {
    /// Counts a transaction.
    pub(crate) fn observe(&mut self, received_at: Timestamp, occurred_at: Timestamp, options: &Options) {
        let late_us = received_at.since(occurred_at).micros();
        let late = late_us as f64;
        if self.seen == 0 {
            (self.fast_us, self.slow_us) = (late, late);
        }
        self.fast_us = self.fast_us * FAST_KEEP + late * (1.0 - FAST_KEEP);
        self.slow_us = self.slow_us * SLOW_KEEP + late * (1.0 - SLOW_KEEP);
        if self.recent_us.len() >= RECENT_MAX {
            self.recent_us.pop_front();
        }
        self.recent_us.push_back(late_us);
        if let Some(newest) = self.newest {
            let gap = received_at.since(newest).micros().max(0) as f64;
            self.gap_us = if self.seen == 1 { gap } else { self.gap_us * FAST_KEEP + gap * (1.0 - FAST_KEEP) };
        }
        self.newest = Some(self.newest.map_or(received_at, |newest| newest.max(received_at)));
        self.seen += 1;
        self.turn(received_at, options.volume_factor);
        self.in_minute += 1;
    }

    fn turn(&mut self, now: Timestamp, factor: f64) {
        let minute = now.seconds().div_euclid(60);
        if self.minute == i64::MIN {
            self.minute = minute;
        }
        if minute <= self.minute {
            return;
        }
        let hour_of = |minute: i64| usize::try_from(minute.div_euclid(60).rem_euclid(24)).unwrap_or(0);
        let (days, usual) = self.usual[hour_of(self.minute)];
        let count = self.in_minute as f64;
        self.last_minute = count;
        let is_chance = (count - usual).abs() <= CHANCE * usual.max(1.0).sqrt();
        let is_strange = days >= DAYS_MIN && !is_chance && (count > usual * factor || count * factor < usual);
        self.strange_minutes = if is_strange { self.strange_minutes + 1 } else { 0 };
        self.in_hour += self.in_minute;
        self.in_minute = 0;
        if minute.div_euclid(60) > self.minute.div_euclid(60) {
            let slot = &mut self.usual[hour_of(self.minute)];
            let mean = self.in_hour as f64 / 60.0;
            // The first hour is most often a part of one.
            slot.1 = if slot.0 == 0 { mean } else { slot.1 * DAY_KEEP + mean * (1.0 - DAY_KEEP) };
            slot.0 += 1;
            self.in_hour = 0;
        }
        self.minute = minute;
    }

    /// Returns what is strange about the flow now.
    #[must_use]
    pub(crate) fn conditions(&self, now: Timestamp, options: &Options) -> Vec<Condition> {
        let mut found = Vec::new();
        if let Some(newest) = self.newest.filter(|_| self.seen >= LATE_SEEN_MIN / 10) {
            let still = now.since(newest);
            if still > options.silence && still.micros() as f64 > self.gap_us * GAPS {
                let text = format!("no transaction for {} s", still.micros() / 1_000_000);
                found.push(condition("silence", Verdict::Acting, "silent_seconds", still, text));
            }
        }
        let later_us = self.fast_us - self.slow_us;
        if self.seen >= LATE_SEEN_MIN && later_us > options.lateness.micros() as f64 {
            #[expect(clippy::cast_possible_truncation, reason = "a difference of two bounded instants")]
            let later = Span::from_micros(later_us as i64);
            let text = format!("transactions come {} s later than they used to", later.micros() / 1_000_000);
            found.push(condition("late", Verdict::Acting, "later_seconds", later, text));
        }
        if self.strange_minutes >= MINUTES_MIN {
            let text = format!("{} transactions in a minute, far from what is usual at this hour", self.last_minute);
            let values = BTreeMap::from([("transactions_per_minute".to_owned(), self.last_minute)]);
            found.push(Condition { subject: "quantity", verdict: Verdict::Advisory, values, text });
        }
        found
    }

    /// Returns when the newest transaction was received.
    #[must_use]
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// Returns the median lateness of the newest transactions in seconds.
    #[must_use]
    pub(crate) fn late_seconds(&self) -> Option<f64> {
        let mut recent: Vec<i64> = self.recent_us.iter().copied().collect();
        recent.sort_unstable();
        recent.get(recent.len() / 2).map(|late| *late as f64 / 1e6)
    }

    /// Forgets lateness and gaps, which a jump of the clock falsifies.
    pub(crate) fn jumped(&mut self) {
        let usual = self.usual;
        *self = Self { usual, ..Self::default() };
    }
}

fn condition(subject: &'static str, verdict: Verdict, name: &str, span: Span, text: String) -> Condition {
    let values = BTreeMap::from([(name.to_owned(), span.micros() as f64 / 1e6)]);
    Condition { subject, verdict, values, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subjects(volume: &Volume, now: i64) -> Vec<&'static str> {
        let found = volume.conditions(Timestamp::from_seconds(now), &Options::default());
        found.into_iter().map(|condition| condition.subject).collect()
    }

    fn fed(seconds: std::ops::Range<i64>, late: i64) -> Volume {
        let mut volume = Volume::default();
        feed(&mut volume, seconds, late, 1);
        volume
    }

    fn feed(volume: &mut Volume, seconds: std::ops::Range<i64>, late: i64, times: usize) {
        for second in seconds {
            for _ in 0..times {
                let [now, then] = [second, second - late].map(Timestamp::from_seconds);
                volume.observe(now, then, &Options::default());
            }
        }
    }

    #[test]
    fn a_stream_that_stops_is_told_from_one_that_is_slow() {
        let volume = fed(1_000_000..1_002_000, 1);
        assert!(subjects(&volume, 1_002_030).is_empty());
        assert_eq!(subjects(&volume, 1_002_100), ["silence"]);
        let mut slow = Volume::default();
        for hour in 0..200 {
            let now = Timestamp::from_seconds(1_000_000 + hour * 3_600);
            slow.observe(now, now, &Options::default());
        }
        assert!(subjects(&slow, 1_000_000 + 201 * 3_600).is_empty(), "an hour between two is usual here");
        assert!(subjects(&Volume::default(), 1_002_100).is_empty(), "a stream that never began does not stop");
    }

    #[test]
    fn lateness_is_a_change_not_an_age() {
        let mut volume = fed(1_000_000..1_005_000, 86_400 * 5);
        assert!(subjects(&volume, 1_005_000).is_empty(), "an old history is constantly late");
        feed(&mut volume, 1_005_000..1_005_300, 86_400 * 5 + 7_200, 1);
        assert_eq!(subjects(&volume, 1_005_300), ["late"]);
    }

    #[test]
    fn quantity_is_judged_against_the_same_hour_of_other_days() {
        let mut volume = Volume::default();
        let day = |number: i64| number * 86_400;
        for number in 0..3 {
            feed(&mut volume, day(number)..day(number) + 4 * 3_600, 0, 1);
            feed(&mut volume, day(number) + 12 * 3_600..day(number) + 13 * 3_600, 0, 10);
        }
        feed(&mut volume, day(3) + 12 * 3_600..day(3) + 12 * 3_600 + 900, 0, 10);
        assert!(subjects(&volume, day(3) + 12 * 3_600 + 900).is_empty(), "noon is always ten times the night");
        feed(&mut volume, day(4) + 3_600..day(4) + 3_600 + 900, 0, 10);
        assert_eq!(subjects(&volume, day(4) + 3_600 + 900), ["quantity"]);
    }
}
