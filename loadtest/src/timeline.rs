//! The run second by second, warm-up and drain included: what a picture of a crash or an overload shows.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::report::{is_refusal, micros, new_histogram};

/// One second.
#[derive(Debug, Default)]
struct Counts {
    answers: u64,
    accepted: u64,
    degraded: u64,
    refused: u64,
    failures: u64,
}

/// Seconds since the start of the run, each counted by when an answer came.
pub(crate) struct Timeline {
    points: Vec<Value>,
    now: Counts,
    /// Latency of the accepted answers of this second.
    latency_us: Histogram<u64>,
}

impl Timeline {
    /// Starts at second 0.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { points: Vec::new(), now: Counts::default(), latency_us: new_histogram()? })
    }

    /// Counts an answer that came `elapsed` after the start and had been due for `waited`.
    pub(crate) fn count(&mut self, elapsed: Duration, answer: &Answer, waited: Duration) {
        self.advance(elapsed);
        self.now.answers += 1;
        if answer.status == 200 {
            self.now.accepted += 1;
            self.now.degraded += u64::from(answer.degraded);
            self.latency_us.saturating_record(micros(waited));
        } else if is_refusal(answer.status) {
            self.now.refused += 1;
        }
    }

    /// Counts a failure of a connection.
    pub(crate) fn fail(&mut self, elapsed: Duration) {
        self.advance(elapsed);
        self.now.failures += 1;
    }

    /// Closes the seconds that have passed; one in which nothing came is there with zeros.
    fn advance(&mut self, elapsed: Duration) {
        while (self.points.len() as u64) < elapsed.as_secs() {
            let point = self.point();
            self.points.push(point);
            self.now = Counts::default();
            self.latency_us.reset();
        }
    }

    fn point(&self) -> Value {
        let at = |quantile| (!self.latency_us.is_empty()).then(|| self.latency_us.value_at_quantile(quantile));
        json!({
            "second": self.points.len(),
            "answers": self.now.answers,
            "accepted": self.now.accepted,
            "degraded": self.now.degraded,
            "refused": self.now.refused,
            "failures": self.now.failures,
            "p50_us": at(0.5),
            "p99_us": at(0.99),
        })
    }

    /// Returns every second up to `elapsed`; the last may be a part of one.
    pub(crate) fn finish(mut self, elapsed: Duration) -> Vec<Value> {
        self.advance(elapsed);
        let last = self.point();
        self.points.push(last);
        self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, degraded: bool) -> Answer {
        Answer { status, degraded, closes: false, retry_after: false, body_from: 0 }
    }

    #[test]
    fn each_second_counts_what_came_in_it_and_a_silent_one_is_there() {
        let mut timeline = Timeline::new().expect("a timeline");
        let at = Duration::from_millis;
        timeline.count(at(10), &answer(200, false), at(2));
        timeline.count(at(990), &answer(429, false), at(900));
        timeline.fail(at(1_500));
        timeline.count(at(3_100), &answer(200, true), at(2_000));
        timeline.count(at(3_200), &answer(422, false), at(1));
        let points = timeline.finish(at(3_300));
        let check = |second: usize, expected: [u64; 5]| {
            let point = &points[second];
            let found = ["answers", "accepted", "degraded", "refused", "failures"].map(|key| point[key].as_u64());
            assert_eq!(found, expected.map(Some), "second {second}");
            assert_eq!(point["second"], second);
        };
        assert_eq!(points.len(), 4);
        check(0, [2, 1, 0, 1, 0]);
        check(1, [0, 0, 0, 0, 1]);
        check(2, [0, 0, 0, 0, 0]);
        check(3, [2, 1, 1, 0, 0]);
    }

    #[test]
    fn percentiles_are_of_accepted_answers_and_null_without_one() {
        let mut timeline = Timeline::new().expect("a timeline");
        timeline.count(Duration::ZERO, &answer(200, false), Duration::from_millis(3));
        timeline.count(Duration::ZERO, &answer(503, false), Duration::from_secs(1));
        let points = timeline.finish(Duration::from_secs(1));
        let p99 = points[0]["p99_us"].as_u64().expect("a figure");
        assert!((2_990..=3_010).contains(&p99), "{p99}");
        assert!(points[1]["p50_us"].is_null());
    }
}
