//! The stream's door: a batch of transactions decided in order, on a thread that may block.
//!
//! ```text
//! each: claim ─> features (and event) ─┐            ┌─> each: rules, lists, decide ─┐
//!                                      ├─ rows ─> model, in runs ──────────────────────┴─> contributions, in runs ─> Held
//! ```
//! The same steps as for one transaction, so the same records come out; nothing is recorded before the
//! caller says that its transaction with the broker is committed. Rows go to the model in runs of the
//! engine's own length, two at a time: a request of the other door waits for two runs, not for the batch.

use std::collections::VecDeque;
use std::sync::Arc;

use smallvec::SmallVec;

use super::explained::{Due, Explained};
use super::union::{Standby, asked_of};
use super::weigh::Weighed;
use super::{Evaluation, Release, Request, Scorer, degraded_by, model_row, refused};
use crate::domain::{DegradedReason, Label, Latency, Score, Transaction};
use crate::runtime::block;
use crate::runtime::clock::Moment;
use crate::runtime::decisions::{Claimed, Held, Origin, Record, StreamClaim};
use crate::runtime::entities::LabelOutcome;
use crate::runtime::guard::Admitted;
use crate::runtime::inference::{Asked, Course, ModelFailure, ScoredRows};
use crate::runtime::slot::{InForce, Model};
use crate::runtime::store::{id_key, put_transaction};
use crate::runtime::stream::ownership::Standing;
use crate::runtime::stream::{HeldLabel, StreamGroup, StreamRequest, Streamed};
use crate::scoring::explain::occluded_rows;
use crate::telemetry::events;

/// Runs that wait for the model or are with it at a time.
const RUNS_AHEAD: usize = 2;

/// What was claimed and is to be decided.
struct Pending {
    /// Its place in the batch.
    place: usize,
    claimed: Claimed,
    request: Request,
    origin: Origin,
    evaluation: Evaluation,
    /// Whether the model may be asked.
    bar: Option<DegradedReason>,
    /// The transaction as the event log has it; empty when state was not changed.
    event: Vec<u8>,
    deferred: bool,
    /// The release that answers for it.
    release: Arc<Release>,
}

/// What was decided and is to be explained.
struct Weighted {
    pending: Pending,
    weighed: Weighed,
    explained: Result<Due, Explained>,
}

impl Scorer {
    /// Decides a batch of the stream in order. Blocks: for the model, and for the other door where it is
    /// deciding the same id. Nothing is visible before [`Self::keep_group`]; what is dropped is undecided again.
    #[must_use]
    pub fn decide_group(&self, requests: Vec<StreamRequest>) -> Vec<Streamed> {
        // Loaded once: whatever is swapped meanwhile, a batch has the releases it began with.
        let in_force = self.inner.parts.slot.in_force();
        let mut answers: Vec<Option<Streamed>> = Vec::with_capacity(requests.len());
        let mut pending = Vec::with_capacity(requests.len());
        for request in requests {
            let answer = self.admit(request, &in_force, (&answers, &mut pending));
            answers.push(answer);
        }
        for (release, mut pending) in by_release(&in_force, pending) {
            self.ask_group(&release, &mut pending);
            self.ask_second_group(&release, &mut pending);
            let weighted = pending.into_iter().map(|pending| self.weigh_one(pending, &release)).collect();
            for (place, held) in self.explain_group(weighted, &release) {
                answers[place] = Some(Streamed::New(held));
            }
        }
        // Every place was answered at its admission or is among those decided.
        answers.into_iter().flatten().collect()
    }

    /// Makes a group visible whose transaction with the broker is committed, and hands it to the store.
    /// Waits for room in the store's line only.
    pub fn keep_group(&self, group: StreamGroup) {
        for held in group.held.iter().filter(|held| held.is_new()) {
            events::DecisionMade { decision: &held.record().decision }.emit();
            self.inner.parts.tap.offer(|| Arc::clone(held.record()));
            if let Some(feed) = self.inner.feed.get() {
                feed.offer(held.record());
            }
        }
        self.inner.parts.ledger.keep_group(group);
    }

    /// Takes a label of the stream into entity state; it waits there when its transaction has not come.
    #[must_use]
    pub fn take_label(&self, label: &Label) -> HeldLabel {
        let parts = &self.inner.parts;
        let outcome = if parts.gate.is_replaying() { LabelOutcome::Pending } else { parts.entities.label(label) };
        if let Some(feed) = self.inner.feed.get() {
            feed.offer_label(label);
        }
        HeldLabel::new(label, outcome)
    }

    /// Claims one transaction and finds its features; answers it where nothing is to be decided.
    fn admit(
        &self,
        stream: StreamRequest,
        in_force: &InForce,
        (answers, pending): (&[Option<Streamed>], &mut Vec<Pending>),
    ) -> Option<Streamed> {
        let StreamRequest { request, late, decided, origin } = stream;
        let payload_hash = request.transaction.payload_hash();
        let place = answers.len();
        let is_here = |key| {
            pending.iter().any(|pending| pending.claimed.is_on(key))
                || answers.iter().flatten().filter_map(Streamed::held).any(|held| held.is_on(key))
        };
        let claimed = match self.claim(&request, payload_hash, is_here) {
            Ok(claimed) => claimed,
            Err(answer) => return Some(answer),
        };
        if let Some(record) = decided {
            return Some(Streamed::New(self.take_over(claimed, *record, origin, late)));
        }
        let release = Arc::clone(in_force.release_for(|| self.entity_hash(&request.transaction)));
        let started = Moment::now();
        let (mut features, event, deferred) = if late {
            (self.inner.parts.entities.peek(&request.transaction, &release.plan), Vec::new(), false)
        } else {
            let deferred = self.inner.parts.gate.is_replaying();
            let entities = &self.inner.parts.entities;
            let features = if deferred {
                entities.peek(&request.transaction, &release.plan)
            } else {
                entities.observe(&request.transaction, &release.plan)
            };
            (features, encoded(&request.transaction), deferred)
        };
        let stance = self.inner.shield.protect(&mut features, &release.schema);
        let bar = self.bar(Standing::Live).or(stance.bar());
        let evaluation = Evaluation {
            payload_hash,
            row: model_row(&release, &features),
            features,
            score: Err(bar.unwrap_or(DegradedReason::ModelUnavailable)),
            standby: Standby::default(),
            stance,
            latency: Latency { features: Moment::now().micros_since(started), ..Latency::default() },
        };
        pending.push(Pending { place, claimed, request, origin, evaluation, bar, event, deferred, release });
        None
    }

    fn claim(
        &self,
        request: &Request,
        payload_hash: u128,
        is_here: impl Fn(u128) -> bool,
    ) -> Result<Claimed, Streamed> {
        let ledger = &self.inner.parts.ledger;
        loop {
            match ledger.claim_for_stream(request.transaction.id(), payload_hash) {
                StreamClaim::Ours(claimed) => return Ok(claimed),
                StreamClaim::Unpublished(record) => return Err(Streamed::Confirmed(self.confirm(record))),
                StreamClaim::Published => return Err(Streamed::Duplicate),
                StreamClaim::Conflict => return Err(Streamed::Conflict),
                StreamClaim::Unreadable => return Err(Streamed::Busy),
                StreamClaim::InFlight(_) if is_here(id_key(request.transaction.id())) => {
                    return Err(Streamed::Duplicate);
                }
                StreamClaim::InFlight(waiter) => {
                    // Decided or given up: the ledger knows. At the deadline nobody does.
                    if block::until(waiter.decided(), request.deadline).is_none() {
                        return Err(Streamed::Busy);
                    }
                }
            }
        }
    }

    /// Holds a decision of the REST door. Its event is in state, unless it came when another instance had
    /// its partition: now it does.
    fn confirm(&self, record: Arc<Record>) -> Held {
        let entities = &self.inner.parts.entities;
        let is_known = entities.knows(record.transaction.id());
        if !self.inner.parts.gate.is_replaying() {
            entities.absorb(&record.transaction);
        }
        Held::confirmed(record, is_known)
    }

    /// Takes over a decision that stands, and its event unless it came beyond the allowed lateness.
    fn take_over(&self, claimed: Claimed, record: Record, origin: Origin, late: bool) -> Held {
        if late {
            return claimed.decided(Record { origin, ..record }, Vec::new(), false);
        }
        let deferred = self.inner.parts.gate.is_replaying();
        if !deferred {
            self.inner.parts.entities.absorb(&record.transaction);
        }
        let event = encoded(&record.transaction);
        claimed.decided(Record { origin, ..record }, event, deferred)
    }

    /// Asks the model for every row that it may be asked for.
    fn ask_group(&self, release: &Release, pending: &mut [Pending]) {
        let Some(model) = &release.model else { return };
        let (mut asking, mut permits) = (Vec::with_capacity(pending.len()), Vec::with_capacity(pending.len()));
        for (place, pending) in pending.iter_mut().enumerate().filter(|(_, pending)| pending.bar.is_none()) {
            match model.guard.admit() {
                Admitted::Call(permit) => {
                    permits.push(permit);
                    asking.push(place);
                    continue;
                }
                Admitted::Refused => {}
                Admitted::Sampled => model.guard.offer(&pending.evaluation.row),
            }
            pending.evaluation.score = Err(refused());
        }
        let Some(first) = asking.first() else { return };
        let started = Moment::now();
        let width = pending[*first].evaluation.row.len();
        let rows = asking.iter().map(|place| pending[*place].evaluation.row.as_slice());
        let scores = self.ask_runs(model, rows, width);
        let share = share_of(started, asking.len());
        let slow_after_us = self.slow_after_us(model);
        for ((place, permit), (score, course)) in asking.into_iter().zip(permits).zip(scores) {
            permit.settle_scored(score.as_ref().err(), course, slow_after_us);
            let evaluation = &mut pending[place].evaluation;
            evaluation.latency.model = share;
            evaluation.score = score.map_err(|failure| {
                let reason = degraded_by(&failure);
                events::ModelFailed { reason, failure: &failure }.emit();
                reason
            });
        }
    }

    /// Asks the standby for every row that it may be asked for, while it decides, too.
    fn ask_second_group(&self, release: &Release, pending: &mut [Pending]) {
        let (Some(union), Some(_)) = (&release.union, &release.model) else { return };
        let (mut asking, mut permits, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for (place, pending) in pending.iter_mut().enumerate().filter(|(_, pending)| pending.bar.is_none()) {
            pending.evaluation.standby = Standby::Silent;
            let known = (&pending.request.transaction, &pending.evaluation.features);
            let row = self.row_of_second(union, release, known);
            if let Some((_, row, permit)) = row.and_then(asked_of) {
                asking.push(place);
                permits.push(permit);
                rows.push(row);
            }
        }
        let (Some(second), Some(first)) = (&union.second, rows.first()) else { return };
        let model = &second.model;
        let scores = self.ask_runs(model, rows.iter().map(SmallVec::as_slice), first.len());
        let slow_after_us = self.slow_after_us(model);
        for ((place, permit), (score, course)) in asking.into_iter().zip(permits).zip(scores) {
            permit.settle_scored(score.as_ref().err(), course, slow_after_us);
            pending[place].evaluation.standby = Standby::of(score, model);
        }
    }

    /// Returns what a run of rows of the stream may compute: nobody waits for one of them alone, so half of
    /// what they have is not slow.
    fn slow_after_us(&self, model: &Model) -> u64 {
        let half = self.inner.options.stream_model_deadline / 2;
        model.guard.slow_after_us().max(u64::try_from(half.as_micros()).unwrap_or(u64::MAX))
    }

    /// Asks for rows in runs, each with a deadline of its own, and waits for their scores in order.
    fn ask_runs<'a>(
        &self,
        model: &Model,
        rows: impl Iterator<Item = &'a [f64]>,
        width: usize,
    ) -> Vec<(Result<Score, ModelFailure>, Course)> {
        let told = |ScoredRows { scores, course }| scores.into_iter().map(move |score| (score, course));
        let run_cells = model.inference.batch_len_max() * width.max(1);
        let (mut scores, mut asked) = (Vec::new(), VecDeque::with_capacity(RUNS_AHEAD));
        let mut cells = Vec::with_capacity(run_cells);
        let mut rows = rows.peekable();
        while let Some(row) = rows.next() {
            cells.extend_from_slice(row);
            if cells.len() < run_cells && rows.peek().is_some() {
                continue;
            }
            if asked.len() == RUNS_AHEAD {
                scores.extend(asked.pop_front().map(Asked::wait).into_iter().flat_map(told));
            }
            let deadline = Moment::now().after(self.inner.options.stream_model_deadline);
            let next = Vec::with_capacity(if rows.peek().is_some() { run_cells } else { 0 });
            asked.push_back(model.inference.ask_now(std::mem::replace(&mut cells, next), deadline));
        }
        scores.extend(asked.into_iter().map(Asked::wait).flat_map(told));
        scores
    }

    fn weigh_one(&self, mut pending: Pending, release: &Release) -> Weighted {
        let started = Moment::now();
        let weighed = self.weigh(&pending.request, release, &pending.evaluation);
        let (request, decided) = (&pending.request, &weighed.decided);
        self.count_standin(&request.transaction, (decided.source, decided.outcome), release, request.received_at);
        pending.evaluation.latency.rules = Moment::now().micros_since(started);
        // Nobody waits for this record alone: explaining it has the model's time, whenever it is its turn.
        let deadline = Moment::now().after(self.inner.options.stream_model_deadline);
        let outcome = weighed.decided.outcome;
        let explained = match &release.model {
            Some(model) => self.due(model, &pending.request, &pending.evaluation, (outcome, deadline)),
            None => Err(Explained::NotDue),
        };
        Weighted { pending, weighed, explained }
    }

    /// Computes what contributions are due, all in one go, and makes the records.
    fn explain_group(&self, weighted: Vec<Weighted>, release: &Release) -> Vec<(usize, Held)> {
        let mut cells = Vec::new();
        let mut width = 0;
        for Weighted { pending, explained, .. } in &weighted {
            let (Some(model), Ok(due)) = (&release.model, explained) else { continue };
            width = pending.evaluation.row.len();
            cells.extend(occluded_rows(&pending.evaluation.row, &model.baseline, &due.inputs));
        }
        let started = Moment::now();
        let deadline = started.after(self.inner.options.stream_model_deadline);
        let rows = cells.len() / width.max(1);
        let scores = match &release.model {
            Some(model) if rows > 0 => self.ask_runs(model, cells.chunks_exact(width), width),
            Some(_) | None => Vec::new(),
        };
        let row_micros = f64::from(Moment::now().micros_since(started)) / rows.max(1) as f64;
        let mut scores = scores.into_iter();
        let made = weighted.into_iter().map(|Weighted { pending, weighed, explained }| {
            let explained = match explained {
                Err(said) => said,
                Ok(due) => {
                    let own: Vec<_> = scores.by_ref().take(due.inputs.len()).map(|(score, _)| score).collect();
                    self.inner.parts.explanations.settle(&due.spending, whole_micros(row_micros * own.len() as f64));
                    due.explained(own, release, deadline)
                }
            };
            let Pending { place, claimed, request, origin, evaluation, event, deferred, .. } = pending;
            let record = self.record(request, release, (weighed, explained), evaluation);
            (place, claimed.decided(Record { origin, ..record }, event, deferred))
        });
        made.collect()
    }
}

/// Divides a batch by the release that answers: each has its own model, schema and rules.
fn by_release(in_force: &InForce, pending: Vec<Pending>) -> Vec<(Arc<Release>, Vec<Pending>)> {
    let active = Arc::clone(&in_force.active);
    let Some(canary) = &in_force.canary else { return vec![(active, pending)] };
    let of_canary = |pending: &Pending| Arc::ptr_eq(&pending.release, &canary.release);
    let (tried, rest) = pending.into_iter().partition(of_canary);
    vec![(active, rest), (Arc::clone(&canary.release), tried)]
}

fn encoded(transaction: &Transaction) -> Vec<u8> {
    let mut event = Vec::with_capacity(384);
    put_transaction(&mut event, transaction);
    event
}

/// A record's share of what its group waited.
fn share_of(started: Moment, records: usize) -> u32 {
    Moment::now().micros_since(started) / u32::try_from(records.max(1)).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "microseconds of one group, clamped")]
fn whole_micros(micros: f64) -> u32 {
    micros.clamp(0.0, f64::from(u32::MAX)) as u32
}
