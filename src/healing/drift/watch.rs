//! The watch over one model: observations in, findings out.
//!
//! ```text
//! observe ─> cells ─┬─> ring, crowd, volume              every transaction, for people
//!                   └─> block (one vote an entity) ─full─> channels and rates ─> assess ─> book
//! tick(now) ─> clock, starvation, flow ─> book.changes() ─> findings
//! ```
//! It has no clock: what time it is comes with each observation and each tick. It knows one model only; a new model
//! gets a new watch, so that no evidence is carried over (`HE-3`).

use std::sync::Arc;

use super::block::Block;
use super::book::Book;
use super::channel::{Ceilings, Channel};
use super::classic::Windows;
use super::crowd::{Crowd, Origins, Who};
use super::evidence::ceiling;
use super::options::{Limits, Options};
use super::profile::{Lost, Profile};
use super::ring::Ring;
use super::tolerance::Tolerance;
use super::volume::Volume;
use crate::domain::{Outcome, Span, Timestamp};
use crate::healing::finding::Finding;
use crate::healing::model::ModelRef;
use crate::healing::rates::{Direction, Rate};

/// The cell of a transaction that has no score.
const NO_SCORE: u8 = u8::MAX;
/// A clock may go back this far between ticks.
const BACK_MAX: Span = Span::from_seconds(1);
/// Below this much evidence (log) nothing has begun yet.
const BEGUN: f64 = 2.5;

/// One decided transaction, as the detectors read it.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// When it was received.
    pub received_at: Timestamp,
    /// When it happened, by its own word.
    pub occurred_at: Timestamp,
    /// A hash of whose it is: card, customer or device; 0 where unknown.
    pub entity: u64,
    /// A hash of the merchant; 0 where unknown.
    pub merchant: u64,
    /// A hash of the device; 0 where unknown.
    pub device: u64,
    /// The model's inputs, in order.
    pub row: &'a [f64],
    /// The model's score; `None` where it gave none.
    pub score: Option<f64>,
    /// What was decided.
    pub outcome: Outcome,
    /// Whether it was decided with less than everything.
    pub degraded: bool,
}

/// The detectors of one model.
#[derive(Clone, Debug)]
pub struct Watch {
    pub(super) model: ModelRef,
    pub(super) profile: Arc<Profile>,
    pub(super) options: Options,
    pub(super) limits: Limits,
    pub(super) ceilings: Ceilings,
    pub(super) inputs: Vec<Input>,
    /// Inputs that have a channel.
    pub(super) channels: usize,
    pub(super) inputs_since: Timestamp,
    pub(super) attributed: Vec<usize>,
    pub(super) scores: Scores,
    pub(super) ring: Ring,
    pub(super) crowd: Crowd,
    pub(super) volume: Volume,
    pub(super) classic: Option<Windows>,
    pub(super) book: Book,
    pub(super) blocks: u64,
    votes: u64,
    block: Block,
    row: Vec<u8>,
    last_tick: Option<Timestamp>,
    last_vote: Option<Timestamp>,
    hold_until: Option<Timestamp>,
}

/// One model input under watch.
#[derive(Clone, Debug)]
pub(super) struct Input {
    pub(super) channel: Option<Channel>,
    pub(super) lost: [Rate; 4],
    pub(super) alarmed: Vec<Lost>,
    /// Who had the votes whose value was lost.
    pub(super) origins: Origins,
    /// Whether it is made of labels.
    pub(super) is_of_labels: bool,
    pub(super) since: Timestamp,
    pub(super) is_warming: bool,
}

/// The scores under watch.
#[derive(Clone, Debug)]
pub(super) struct Scores {
    pub(super) channel: Channel,
    pub(super) surge: Rate,
    pub(super) collapse: Rate,
    pub(super) since: Timestamp,
    pub(super) surge_since: Timestamp,
    pub(super) collapse_since: Timestamp,
}

impl Watch {
    /// Watches a model against its profile.
    #[must_use]
    pub fn new(model: ModelRef, profile: Arc<Profile>, options: &Options) -> Self {
        let inputs: Vec<Input> = profile.inputs.iter().map(|cells| Input::new(cells, profile.rows, options)).collect();
        let channels = inputs.iter().filter(|input| input.channel.is_some()).count();
        let limits = options.limits();
        // A single alternative of a single input must be able to carry the mean over all of them.
        let carried = ((inputs.len() + 1) as f64 * 200.0).ln();
        let ceilings = Ceilings { acting: ceiling(limits.acting + carried), ended: ceiling(limits.ended + 2.0) };
        let classic = options
            .classic
            .clone()
            .map(|rule| Windows::new(rule, profile.inputs.iter().map(|cells| cells.shares.clone())));
        Self {
            limits,
            ceilings,
            channels,
            inputs_since: Timestamp::MIN,
            attributed: Vec::new(),
            scores: Scores::new(&profile, options),
            ring: Ring::new(profile.cells() + TOTALS),
            crowd: Crowd::default(),
            volume: Volume::default(),
            classic,
            book: Book::default(),
            blocks: 0,
            votes: 0,
            block: Block::new(options.block_votes, options.merchant_votes_max, profile.inputs.len() + 1),
            row: Vec::with_capacity(profile.inputs.len() + 1),
            last_tick: None,
            last_vote: None,
            hold_until: None,
            inputs,
            model,
            profile,
            options: options.clone(),
        }
    }

    /// Counts a decided transaction. A row of another width is not this model's and is left out.
    pub fn observe(&mut self, seen: &Observation<'_>) {
        if seen.row.len() != self.inputs.len() {
            return;
        }
        let score = seen.score.filter(|score| score.is_finite());
        let is_alert = self.locate(seen.row, score);
        self.count(seen, is_alert);
        let who = Who { entity: seen.entity, merchant: seen.merchant, device: seen.device };
        self.crowd.observe(who, is_alert);
        self.volume.observe(seen.received_at, seen.occurred_at, &self.options);
        if self.hold_until.is_some_and(|until| seen.received_at < until) {
            return;
        }
        self.last_vote = Some(seen.received_at);
        self.block.offer(who, &self.row);
        if self.block.is_full() {
            self.close_block(seen.received_at);
        }
    }

    /// Fills `row` with the raw cells of the inputs and of the score, and tells whether it is an alert.
    fn locate(&mut self, row: &[f64], score: Option<f64>) -> bool {
        // A profile has at most 36 cells an input: they fit, and what would not is the last one.
        let cell = |cell: usize| u8::try_from(cell).unwrap_or(NO_SCORE - 1);
        self.row.clear();
        self.row.extend(self.profile.inputs.iter().zip(row).map(|(cells, value)| cell(cells.locate(*value))));
        let place = score.map(|score| self.profile.scores.locate(score));
        self.row.push(place.map_or(NO_SCORE, cell));
        let vote = place.and_then(|place| self.profile.scores.vote(place));
        vote.is_some_and(|bin| bin >= self.profile.alert_from)
    }

    fn count(&mut self, seen: &Observation<'_>, is_alert: bool) {
        let profile = &self.profile;
        let counters = self.ring.at(seen.received_at);
        let mut from = 0;
        let widths = profile.inputs.iter().chain([&profile.scores]).map(super::profile::Cells::len);
        for (width, cell) in widths.zip(&self.row) {
            if *cell != NO_SCORE {
                counters[from + usize::from(*cell)] += 1;
            }
            from += width;
        }
        let facts = [true, is_alert, seen.outcome != Outcome::Approve, seen.degraded];
        for (counter, is_so) in counters[from..].iter_mut().zip(facts) {
            *counter += u32::from(is_so);
        }
    }

    fn close_block(&mut self, now: Timestamp) {
        let (block, ceilings) = (&self.block, self.ceilings);
        let votes = u32::try_from(block.votes()).unwrap_or(u32::MAX);
        for (place, (input, cells)) in self.inputs.iter_mut().zip(&self.profile.inputs).enumerate() {
            if input.is_warming {
                continue;
            }
            let raw = block.column(place);
            if let Some(channel) = &mut input.channel {
                let bins = raw.clone().filter_map(|cell| cells.vote(cell));
                channel.block(&bins, ceilings);
                if let Some(classic) = &mut self.classic {
                    bins.for_each(|bin| classic.vote(place, bin));
                }
            }
            let mut hits = [0_u32; Lost::OF_VALUES.len()];
            for (who, kind) in block.voters().iter().zip(raw).filter_map(|(who, cell)| Some((who, cells.lost(cell)?))) {
                hits[kind as usize] += 1;
                input.origins.push(*who);
            }
            for (rate, hits) in input.lost.iter_mut().zip(hits) {
                rate.block(hits, votes, ceilings);
            }
        }
        if !self.inputs.iter().any(|input| input.is_warming) {
            self.scores.block(block.column(self.inputs.len()), &self.profile, ceilings);
        }
        self.block.clear();
        self.blocks += 1;
        self.votes += u64::from(votes);
        self.assess(now);
        self.begin(now);
    }

    /// Moves the beginning of what has not begun.
    fn begin(&mut self, now: Timestamp) {
        if self.inputs_log() < BEGUN {
            self.inputs_since = now;
        }
        for input in &mut self.inputs {
            if input.lost_log().0 < BEGUN {
                input.since = now;
            }
        }
        let Scores { channel, surge, collapse, since, surge_since, collapse_since } = &mut self.scores;
        let marks = [(channel.log(), since), (surge.log(), surge_since), (collapse.log(), collapse_since)];
        for (log, mark) in marks {
            if log < BEGUN {
                *mark = now;
            }
        }
    }

    /// Moves the clock and returns what changed since the last tick.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Finding> {
        if let Some(last) = self.last_tick
            && (now.plus(BACK_MAX) < last || now.since(last) > self.options.clock_jump)
        {
            self.hold_until = Some(now.plus(self.options.hold));
            self.last_vote = Some(now);
            self.block.clear();
            self.volume.jumped();
        }
        self.last_tick = Some(now);
        if self.hold_until.is_some_and(|until| now >= until) {
            self.hold_until = None;
        }
        let last_vote = *self.last_vote.get_or_insert(now);
        let is_starved = now.since(last_vote) > self.options.starved_after;
        self.hold(now, is_starved);
        self.refresh(now);
        self.flow(now);
        self.book.changes()
    }

    fn hold(&mut self, now: Timestamp, is_starved: bool) {
        let warming = self.inputs.iter().filter(|input| input.is_warming).count();
        let reason = match (self.hold_until, is_starved) {
            (Some(_), _) => Some("the clock jumped: what was seen around it is not judged".to_owned()),
            (None, true) => Some(format!("no vote for {} s", self.options.starved_after.micros() / 1_000_000)),
            (None, false) if warming > 0 => {
                Some(format!("{warming} of {} inputs wait for full windows", self.inputs.len()))
            }
            (None, false) => None,
        };
        self.blind(now, reason);
        let is_blind = self.hold_until.is_some() || is_starved;
        let (profile, inputs) = (&self.profile, &self.inputs);
        let is_warming =
            |name: &str| profile.inputs.iter().zip(inputs).any(|(cells, input)| input.is_warming && cells.name == name);
        self.book.hold(|alarm, subject| {
            super::assess::is_held(alarm, is_blind, warming > 0, || subject.is_some_and(is_warming))
        });
    }

    /// Returns every finding that stands.
    #[must_use]
    pub fn open(&self) -> Vec<Finding> {
        self.book.open()
    }

    /// Says which inputs are made of labels, in order: they move when labels stop.
    pub fn made_of_labels(&mut self, inputs: &[bool]) {
        self.inputs.iter_mut().zip(inputs).for_each(|(input, is_of_labels)| input.is_of_labels = *is_of_labels);
    }

    /// Says which inputs wait for full windows, in order: they are not judged, and neither are the scores while there is one.
    pub fn warming(&mut self, inputs: &[bool]) {
        for (input, is_warming) in self.inputs.iter_mut().zip(inputs) {
            if input.is_warming && !is_warming {
                input.clear();
            }
            input.is_warming = *is_warming;
        }
    }

    /// Forgets all evidence: after an action, what comes is judged by itself.
    pub fn rearm(&mut self, now: Timestamp) {
        self.inputs.iter_mut().for_each(Input::clear);
        self.scores.clear();
        self.attributed.clear();
        self.crowd.clear();
        self.block.clear();
        (self.blocks, self.votes) = (0, 0);
        if let Some(classic) = &mut self.classic {
            classic.clear();
        }
        self.book.end_all(now);
        (self.last_vote, self.inputs_since) = (Some(now), now);
    }

    /// Returns the votes since it began or was armed again.
    #[must_use]
    pub fn votes(&self) -> u64 {
        self.votes
    }

    /// Returns when the last transaction came, of those that counted.
    pub(super) fn last_seen(&self) -> Option<Timestamp> {
        self.volume.newest()
    }

    /// Returns the model.
    #[must_use]
    pub fn model(&self) -> &ModelRef {
        &self.model
    }
}

impl Input {
    fn new(cells: &super::profile::Cells, rows: u64, options: &Options) -> Self {
        let is_watched = !cells.calendar && !options.excluded.contains(&cells.name) && cells.bins() > 1;
        let ratio = options.tolerance_of(&cells.name);
        let channel = is_watched
            .then(|| Channel::new(Tolerance::new(&cells.shares, rows, ratio, options.slack), options.block_votes));
        let bound = |usual: f64, slack: f64| Rate::new(Direction::Rising, usual * (1.0 + ratio) + slack);
        let lost = Lost::OF_VALUES.map(|kind| match kind {
            Lost::Null => bound(cells.null, options.lost_slack),
            Lost::NonFinite => bound(cells.non_finite, options.lost_slack),
            Lost::Below | Lost::Above | Lost::Stuck => bound(0.0, options.range_slack),
        });
        Self {
            channel,
            lost,
            alarmed: Vec::new(),
            origins: Origins::default(),
            is_of_labels: false,
            since: Timestamp::MIN,
            is_warming: false,
        }
    }

    /// Returns the largest evidence (log) that the feature lost its values, and how.
    pub(super) fn lost_log(&self) -> (f64, Lost) {
        let of_values = self.lost.iter().zip(Lost::OF_VALUES).map(|(rate, kind)| (rate.run(), kind));
        let stuck = self.channel.as_ref().map(|channel| (channel.stuck_run(), Lost::Stuck));
        let most = of_values.chain(stuck).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, Lost::Null));
        (if most.0 > 1.0 { most.0.ln() } else { 0.0 }, most.1)
    }

    fn clear(&mut self) {
        if let Some(channel) = &mut self.channel {
            channel.clear();
        }
        self.clear_lost();
    }

    pub(super) fn clear_lost(&mut self) {
        self.lost.iter_mut().for_each(Rate::clear);
        self.channel.iter_mut().for_each(Channel::clear_stuck);
        self.alarmed.clear();
        self.origins.clear();
    }
}

impl Scores {
    fn new(profile: &Profile, options: &Options) -> Self {
        let set = Tolerance::new(&profile.scores.shares, profile.rows, options.tolerance_of("score"), options.slack);
        let (high, low) = alert_bounds(profile, options.alert_tolerance, options.slack);
        Self {
            channel: Channel::new(set, options.block_votes),
            surge: Rate::new(Direction::Rising, high),
            collapse: Rate::new(Direction::Falling, low),
            since: Timestamp::MIN,
            surge_since: Timestamp::MIN,
            collapse_since: Timestamp::MIN,
        }
    }

    fn block(&mut self, cells: impl Iterator<Item = usize> + Clone, profile: &Profile, ceilings: Ceilings) {
        let bins = cells.filter(|cell| *cell != usize::from(NO_SCORE)).filter_map(|cell| profile.scores.vote(cell));
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let votes = count(bins.clone().count());
        let alerts = count(bins.clone().filter(|bin| *bin >= profile.alert_from).count());
        if votes > 0 {
            self.channel.block(&bins, ceilings);
            self.surge.block(alerts, votes, ceilings);
            self.collapse.block(alerts, votes, ceilings);
        }
    }

    fn clear(&mut self) {
        self.channel.clear();
        self.channel.clear_stuck();
        self.surge.clear();
        self.collapse.clear();
    }
}

/// Returns how high and how low the rate of alerts may be.
pub(super) fn alert_bounds(profile: &Profile, tolerance: f64, slack: f64) -> (f64, f64) {
    let (rate, spread) = (profile.alert_rate, 1.0 + tolerance);
    let error = 3.0 * (rate * (1.0 - rate) / profile.rows.max(1) as f64).sqrt();
    (rate * spread + error + slack, rate / spread - error)
}

/// Counters of the ring behind the cells: transactions, of them alerts, stopped and degraded.
const TOTALS: usize = 4;
