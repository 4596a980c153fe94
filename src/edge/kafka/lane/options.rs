//! The bounds of a lane.

use std::time::Duration;

/// How a lane batches, waits and gives up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its number in this process, for metrics.
    pub index: usize,
    /// Its name in logs and in the tokens of its batches.
    pub name: String,
    /// Seeds its jitter and makes its tokens differ from those of its earlier lives: give another one each time.
    pub seed: u64,
    /// Records of a batch.
    pub rows_max: usize,
    /// Bytes of the records of a batch; the last one may exceed it.
    pub bytes_max: usize,
    /// How long a batch waits for company when there is no backlog, from when its first record came.
    pub linger_min: Duration,
    /// How long it waits at most when there is.
    pub linger_max: Duration,
    /// How long one poll waits when nothing is at hand.
    pub idle_wait: Duration,
    /// How long one call to the broker waits before it is made again.
    pub call_wait: Duration,
    /// How long a batch is published before the producer is made anew; well below `max.poll.interval.ms`.
    pub publish_wait: Duration,
    /// How long the lane waits for the group's new generation before the consumer is made anew.
    pub generation_wait: Duration,
    /// How long a lane whose producer was fenced listens to the group before it makes another one: longer than a
    /// heartbeat, so that a lane whose place is taken learns it and does not fence its heir.
    pub fenced_wait: Duration,
    /// The longest pause before a batch is published again.
    pub again_wait_max: Duration,
    /// How often in a row one batch may fail before the lane counts as broken.
    pub attempts_max: u32,
    /// How many clients may be made anew within `rebuilds_within` before the lane counts as broken.
    pub rebuilds_max: usize,
    /// See `rebuilds_max`.
    pub rebuilds_within: Duration,
    /// The longest pause of a broken lane before it tries again.
    pub broken_wait_max: Duration,
    /// How long shutdown may take to commit the batch in hand.
    pub drain_wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            index: 0,
            name: "lane".into(),
            seed: 0,
            rows_max: 512,
            bytes_max: 4 << 20,
            linger_min: Duration::from_millis(1),
            linger_max: Duration::from_millis(20),
            idle_wait: Duration::from_millis(50),
            call_wait: Duration::from_secs(5),
            publish_wait: Duration::from_secs(20),
            generation_wait: Duration::from_mins(1),
            fenced_wait: Duration::from_millis(1_500),
            again_wait_max: Duration::from_secs(1),
            attempts_max: 5,
            rebuilds_max: 5,
            rebuilds_within: Duration::from_mins(1),
            broken_wait_max: Duration::from_secs(30),
            drain_wait: Duration::from_secs(5),
        }
    }
}
