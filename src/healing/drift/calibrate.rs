//! Calibration: how much tolerance does each feature need, so that history as it was would have raised nothing?
//!
//! Every feature is watched with a ladder of tolerances at once, over history in its order. It gets the smallest one whose
//! evidence stayed below the advisory threshold with some room; a feature for which even the widest is not
//! enough is left out, and said so. Daily rhythms, slow seasons and whatever makes votes depend on each other are in
//! history, so they are in the tolerance: this is the answer to dependence that no formula knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::block::Block;
use super::channel::{Ceilings, Channel};
use super::crowd::Who;
use super::evidence::ceiling;
use super::options::{Limits, Options};
use super::profile::{Cells, Lost, Profile};
use super::tolerance::Tolerance;
use super::watch::{Observation, alert_bounds};
use crate::healing::rates::{Direction, Rate};

const TOLERANCES: [f64; 10] = [0.15, 0.25, 0.4, 0.6, 1.0, 1.5, 2.5, 4.0, 7.0, 12.0];
const ALERT_TOLERANCES: [f64; 6] = [0.5, 0.75, 1.0, 2.0, 4.0, 8.0];
/// How far below the threshold (log) the evidence of history must have stayed.
const ROOM: f64 = 3.0;
const NO_SCORE: u8 = u8::MAX;

/// A calibration under way.
#[derive(Clone, Debug)]
pub struct Calibration {
    profile: Arc<Profile>,
    options: Options,
    limits: Limits,
    ceilings: Ceilings,
    columns: Vec<Ladder>,
    alerts: Vec<[Step<Rate>; 2]>,
    block: Block,
    row: Vec<u8>,
    votes: u64,
}

#[derive(Clone, Debug)]
struct Ladder {
    steps: Vec<Step<Channel>>,
}

/// A detector at one tolerance, and the most evidence (log) it has ever had.
#[derive(Clone, Debug)]
struct Step<T> {
    tolerance: f64,
    detector: T,
    highest: f64,
}

/// What a calibration has found.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibrated {
    /// Votes it rests on.
    pub votes: u64,
    /// Features that need more than the tolerance in force, with what they need; `score` for the scores.
    pub tolerances: BTreeMap<String, f64>,
    /// Features that cannot be watched: no tolerance is enough.
    pub excluded: BTreeSet<String>,
    /// What the rate of alerts needs; `None` where no tolerance is enough.
    pub alert_tolerance: Option<f64>,
    /// The most evidence (log) of each feature at the tolerance in force, before calibration.
    pub evidence_before: BTreeMap<String, f64>,
    /// The threshold it was held against, room included.
    pub log_limit: f64,
}

impl Calibration {
    /// Begins with the profile and the options in force.
    #[must_use]
    pub fn new(profile: Arc<Profile>, options: &Options) -> Self {
        let limits = options.limits();
        let carried = ((profile.inputs.len() + 1) as f64 * 200.0).ln();
        let ladder = |cells: &Cells| {
            let is_watched = !cells.calendar && !options.excluded.contains(&cells.name) && cells.bins() > 1;
            let wider = TOLERANCES.into_iter().filter(|tolerance| *tolerance > options.tolerance);
            let step = |tolerance: f64| Step {
                tolerance,
                detector: Channel::new(
                    Tolerance::new(&cells.shares, profile.rows, tolerance, options.slack),
                    options.block_votes,
                ),
                highest: 0.0,
            };
            let steps =
                if is_watched { [options.tolerance].into_iter().chain(wider).map(step).collect() } else { vec![] };
            Ladder { steps }
        };
        let columns = profile.inputs.iter().chain([&profile.scores]).map(ladder).collect();
        let alerts = ALERT_TOLERANCES.map(|tolerance| {
            let (high, low) = alert_bounds(&profile, tolerance, options.slack);
            [(Direction::Rising, high), (Direction::Falling, low)].map(|(direction, bound)| Step {
                tolerance,
                detector: Rate::new(direction, bound),
                highest: 0.0,
            })
        });
        Self {
            limits,
            ceilings: Ceilings { acting: ceiling(limits.acting + carried), ended: ceiling(limits.ended) },
            columns,
            alerts: alerts.into(),
            block: Block::new(options.block_votes, options.merchant_votes_max, profile.inputs.len() + 1),
            row: Vec::new(),
            votes: 0,
            options: options.clone(),
            profile,
        }
    }

    /// Counts a transaction of history; they must come in their order.
    pub fn observe(&mut self, seen: &Observation<'_>) {
        if seen.row.len() != self.profile.inputs.len() {
            return;
        }
        let cell = |cell: usize| u8::try_from(cell).unwrap_or(NO_SCORE - 1);
        self.row.clear();
        self.row.extend(self.profile.inputs.iter().zip(seen.row).map(|(cells, value)| cell(cells.locate(*value))));
        let score = seen.score.filter(|score| score.is_finite());
        self.row.push(score.map_or(NO_SCORE, |score| cell(self.profile.scores.locate(score))));
        let who = Who { entity: seen.entity, merchant: seen.merchant, device: seen.device };
        self.block.offer(who, &self.row);
        if self.block.is_full() {
            self.close();
        }
    }

    fn close(&mut self) {
        let (profile, block, ceilings) = (&self.profile, &self.block, self.ceilings);
        let cells = profile.inputs.iter().chain([&profile.scores]);
        let broken = (profile.inputs.len().max(1) as f64 * (Lost::OF_VALUES.len() + 1) as f64).ln();
        for (place, (cells, ladder)) in cells.zip(&mut self.columns).enumerate() {
            let votes = block.column(place).filter(|cell| *cell != usize::from(NO_SCORE));
            let bins = votes.filter_map(|cell| cells.vote(cell));
            for step in &mut ladder.steps {
                step.detector.block(&bins, ceilings);
                let stuck = step.detector.stuck_log() - broken;
                step.highest = step.highest.max(step.detector.log()).max(stuck);
            }
        }
        let scores = block.column(profile.inputs.len()).filter(|cell| *cell != usize::from(NO_SCORE));
        let bins = scores.filter_map(|cell| profile.scores.vote(cell));
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (votes, alerts) =
            (count(bins.clone().count()), count(bins.filter(|bin| *bin >= profile.alert_from).count()));
        for step in self.alerts.iter_mut().flatten() {
            step.detector.block(alerts, votes, ceilings);
            step.highest = step.highest.max(step.detector.log());
        }
        self.votes += block.votes() as u64;
        self.block.clear();
    }

    /// Returns what each feature needs.
    #[must_use]
    pub fn calibrated(&self) -> Calibrated {
        let log_limit = (self.limits.advisory - ROOM).max(0.0);
        let mut found = Calibrated {
            votes: self.votes,
            tolerances: BTreeMap::new(),
            excluded: BTreeSet::new(),
            alert_tolerance: None,
            evidence_before: BTreeMap::new(),
            log_limit,
        };
        let cells = self.profile.inputs.iter().chain([&self.profile.scores]);
        for (cells, ladder) in cells.zip(&self.columns) {
            let Some(first) = ladder.steps.first() else { continue };
            found.evidence_before.insert(cells.name.clone(), first.highest);
            match ladder.steps.iter().find(|step| step.highest <= log_limit) {
                Some(step) if step.tolerance > self.options.tolerance => {
                    found.tolerances.insert(cells.name.clone(), step.tolerance);
                }
                Some(_) => {}
                None => {
                    found.excluded.insert(cells.name.clone());
                }
            }
        }
        let is_enough = |sides: &&[Step<Rate>; 2]| sides.iter().all(|side| side.highest <= log_limit);
        found.alert_tolerance = self.alerts.iter().find(is_enough).map(|sides| sides[0].tolerance);
        found
    }
}
