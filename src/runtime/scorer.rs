//! The one door to a decision, for every way in.
//!
//! ```text
//! reserve id ─> features ─> model (deadline) ─> rules, always ─> lists ─> decide ─> explain? ─> record
//!     │                        └ behind its guard; any failure: no score, with its reason
//!     └ duplicate: the first answer again     conflict, in flight: said so
//! ```
//! Scoring never fails: a valid transaction gets exactly one decision (`SC-1`) that names one release
//! (`SC-2`). A request that is given up on the way leaves nothing half done: its id is free again, and
//! its event in the entity logs counts once whenever it comes back. The stream's batches come through
//! `group.rs`: the same steps over many transactions.

mod explained;
mod group;
mod union;
mod weigh;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use smallvec::SmallVec;

use super::clock::{Clock, Moment};
use super::decisions::{Ledger, Recalled, Record, Reservation, Settled, Ticket};
use super::entities::{Entities, LabelOutcome};
use super::explainer::Budget;
use super::guard::Admitted;
use super::healer::Feed;
use super::inference::{ModelFailure, Scored};
use super::protection::{Shield, Stance};
use super::slot::{Model, Release, Slot};
use super::standin::StandinUse;
use super::store::{Gate, Message, id_key, put_label};
use super::stream::ownership::{Ownership, Standing};
use super::tap::Tap;
use crate::domain::{
    DegradedReason, EvaluationStatus, FeatureVector, Label, Latency, Score, TextField, Timestamp, TraceId, Transaction,
};
use crate::telemetry::events;
use crate::telemetry::guard::CallRefused;
use union::Standby;

/// One transaction to score.
#[derive(Clone, Debug)]
pub struct Request {
    /// The transaction.
    pub transaction: Transaction,
    /// The caller's trace.
    pub trace_id: TraceId,
    /// Wall time of receipt.
    pub received_at: Timestamp,
    /// When decoding was done: latency counts from here.
    pub started: Moment,
    /// When the answer must be ready.
    pub deadline: Moment,
    /// Whether contributions are wanted whatever the outcome.
    pub explain: bool,
    /// Whether the model may be asked.
    pub effort: Effort,
}

/// How much may be done for one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// All there is.
    #[default]
    Whole,
    /// The model is left out: so much waits already that it would wait, too.
    RulesOnly,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A decision, new or the first one again.
    Decided {
        /// The decision with all it followed from.
        record: Arc<Record>,
        /// Whether it is new.
        status: EvaluationStatus,
    },
    /// Another instance decided the id, with the same payload: its decision is in the topic of scores.
    Elsewhere,
    /// The id stands for another payload.
    Conflict,
    /// The id was still being decided by another request at this one's deadline.
    InFlight,
    /// The decision could not be recorded, and the settings say that it must be.
    NotRecorded,
    /// The id was decided, and its record cannot be read: it must not be decided a second time.
    Unreadable,
}

/// How the scorer works.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long the model may take of a request's deadline.
    pub model_deadline: Duration,
    /// How long it may take for a run of rows of the stream, where nobody waits for one of them alone.
    pub stream_model_deadline: Duration,
    /// The fields whose first present one names the entity that stand-in totals run over.
    pub partition_key: Vec<TextField>,
}

/// The parts a scorer works with.
pub struct Parts {
    /// The release in force.
    pub slot: Arc<Slot>,
    /// Entity state.
    pub entities: Arc<Entities>,
    /// The decision ledger.
    pub ledger: Arc<Ledger>,
    /// Whether entity state is whole.
    pub gate: Arc<Gate>,
    /// Wall time.
    pub clock: Clock,
    /// The budget for contributions.
    pub explanations: Budget,
    /// Which partitions of the stream are ours; `None` without a stream.
    pub ownership: Option<Arc<Ownership>>,
    /// Takes decisions aside for whoever compares models; never waits.
    pub tap: Arc<Tap<Arc<Record>>>,
}

/// Scores transactions. Cheap to clone.
#[derive(Clone)]
pub struct Scorer {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    options: Options,
    standin: StandinUse,
    shield: Arc<Shield>,
    /// Where decisions go for healing to look at, once it does.
    feed: OnceLock<Feed>,
}

/// What one evaluation found, before it is recorded.
struct Evaluation {
    payload_hash: u128,
    features: FeatureVector,
    /// The model's inputs out of the features.
    row: SmallVec<[f64; 64]>,
    score: Result<Score, DegradedReason>,
    /// What the standby said, where it decides, too.
    standby: Standby,
    /// What protects answers now.
    stance: Stance,
    latency: Latency,
}

impl Scorer {
    /// Builds a scorer over its parts.
    #[must_use]
    pub fn new(parts: Parts, options: Options) -> Self {
        Self {
            inner: Arc::new(Inner {
                parts,
                options,
                standin: StandinUse::default(),
                shield: Arc::default(),
                feed: OnceLock::new(),
            }),
        }
    }

    /// Decides one transaction, records it and changes entity state; the same id again changes nothing.
    /// Cancel safe: see the module.
    pub async fn score(&self, request: Request) -> Answer {
        let ledger = Arc::clone(&self.inner.parts.ledger);
        let payload_hash = request.transaction.payload_hash();
        let mut found = ledger.reserve(request.transaction.id(), payload_hash);
        loop {
            found = match found {
                Reservation::Reserved(ticket) => {
                    return match self.decide_reserved(request, payload_hash, ticket).await {
                        Settled::Kept(record) => Answer::Decided { record, status: EvaluationStatus::New },
                        Settled::NotRecorded => Answer::NotRecorded,
                    };
                }
                Reservation::OnDisk(place) => match ledger.recall(place).await {
                    Ok(Some(recalled)) if recalled.is_of(id_key(request.transaction.id())) => {
                        return answer_again(recalled, payload_hash);
                    }
                    // Retention let it go meanwhile, or it was another id with the same hash.
                    Ok(_) => ledger.reserve_anew(request.transaction.id(), payload_hash, place),
                    Err(_) => return Answer::Unreadable,
                },
                Reservation::Decided(record) => {
                    return Answer::Decided { record, status: EvaluationStatus::Duplicate };
                }
                Reservation::Elsewhere => return Answer::Elsewhere,
                Reservation::Conflict => return Answer::Conflict,
                Reservation::InFlight(waiter) => {
                    let deadline = tokio::time::Instant::from_std(request.deadline.instant());
                    match tokio::time::timeout_at(deadline, waiter.decided()).await {
                        Ok(Some(record)) => {
                            return Answer::Decided { record, status: EvaluationStatus::Duplicate };
                        }
                        // The other request was given up: its id is free, so try for it.
                        Ok(None) => ledger.reserve(request.transaction.id(), payload_hash),
                        Err(_) => return Answer::InFlight,
                    }
                }
            }
        }
    }

    /// Gives the same answer without recording it or changing any state.
    pub async fn dry_run(&self, request: Request) -> Arc<Record> {
        let release = self.release_for(&request.transaction);
        let features = self.inner.parts.entities.peek(&request.transaction, &release.plan);
        let payload_hash = request.transaction.payload_hash();
        let bar = self.bar(self.standing(&request.transaction));
        Arc::new(self.decide(request, (payload_hash, bar), &release, features).await)
    }

    /// Takes labels into entity state and records them; `None`: they could not be recorded, and the
    /// settings say that they must be. Giving the same again changes nothing.
    pub async fn label(&self, labels: &[Label]) -> Option<Vec<LabelOutcome>> {
        let parts = &self.inner.parts;
        // While events are replayed, a label may not overtake its transaction.
        let waits = parts.gate.is_replaying();
        let apply = |label| if waits { LabelOutcome::Pending } else { parts.entities.label(label) };
        let outcomes = labels.iter().map(apply).collect();
        let payload = |label| {
            let mut payload = Vec::with_capacity(96);
            put_label(&mut payload, label);
            payload
        };
        let recorded = parts.ledger.record_labels(|reply| Message::Labels {
            payloads: labels.iter().map(payload).collect(),
            deferred: if waits { labels.to_vec() } else { Vec::new() },
            reply: Some(reply),
        });
        let is_recorded = recorded.await;
        if let (true, Some(feed)) = (is_recorded, self.inner.feed.get()) {
            for label in labels {
                feed.offer_label(label);
            }
        }
        is_recorded.then_some(outcomes)
    }

    /// Returns the active release.
    #[must_use]
    pub fn release(&self) -> Arc<Release> {
        self.inner.parts.slot.load()
    }

    /// Returns the slot, for those who change the release.
    #[must_use]
    pub fn slot(&self) -> &Arc<Slot> {
        &self.inner.parts.slot
    }

    /// Returns entity state.
    #[must_use]
    pub fn entities(&self) -> &Entities {
        &self.inner.parts.entities
    }

    /// Returns which partitions of the stream are here; `None` without a stream.
    #[must_use]
    pub fn ownership(&self) -> Option<&Arc<Ownership>> {
        self.inner.parts.ownership.as_ref()
    }

    /// Returns entity state, for those who keep it.
    #[must_use]
    pub fn entities_shared(&self) -> Arc<Entities> {
        Arc::clone(&self.inner.parts.entities)
    }

    /// Tells whether entity state is still being restored, so that rules answer alone.
    #[must_use]
    pub fn is_restoring(&self) -> bool {
        self.inner.parts.gate.is_restoring()
    }

    /// Returns what protects answers, for those who change it.
    #[must_use]
    pub fn shield(&self) -> &Arc<Shield> {
        &self.inner.shield
    }

    /// Lets healing look at decisions from now on; once.
    pub fn feed_to(&self, feed: Feed) {
        // A second healer would see half of the decisions: the first one stays.
        let _ = self.inner.feed.set(feed);
    }

    /// Returns the decision ledger.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.inner.parts.ledger
    }

    async fn decide_reserved(&self, request: Request, payload_hash: u128, mut ticket: Ticket<'_>) -> Settled {
        let release = self.release_for(&request.transaction);
        let (entities, deadline) = (&self.inner.parts.entities, request.deadline);
        let standing = self.standing(&request.transaction);
        let features = if standing == Standing::Foreign {
            // Its owner counts it, when the stream brings it there.
            entities.peek(&request.transaction, &release.plan)
        } else if self.inner.parts.gate.is_replaying() {
            // The replay takes it from the log, behind what came before it.
            ticket.deferred(&request.transaction);
            entities.peek(&request.transaction, &release.plan)
        } else {
            ticket.observed(&request.transaction);
            entities.observe(&request.transaction, &release.plan)
        };
        let bar = self.bar(standing);
        let record = self.decide(request, (payload_hash, bar), &release, features).await;
        let answered = (record.decision.source, record.decision.outcome);
        self.count_standin(&record.transaction, answered, &release, record.received_at);
        let settled = ticket.settle(record, deadline).await;
        if let Settled::Kept(record) = &settled {
            events::DecisionMade { decision: &record.decision }.emit();
            self.inner.parts.tap.offer(|| Arc::clone(record));
            if let Some(feed) = self.inner.feed.get() {
                feed.offer(record);
            }
        }
        settled
    }

    /// Takes the release that answers for a transaction: the canary's entities are always the same.
    fn release_for(&self, transaction: &Transaction) -> Arc<Release> {
        self.inner.parts.slot.load_for(|| self.entity_hash(transaction))
    }

    /// Returns the hash of the entity that the partition key names.
    fn entity_hash(&self, transaction: &Transaction) -> Option<u64> {
        self.partition_entity(transaction).map(|key| (key.bits() >> 64) as u64)
    }

    /// Returns how far this instance is with a transaction's partition; without a stream all is ours.
    fn standing(&self, transaction: &Transaction) -> Standing {
        let ownership = self.inner.parts.ownership.as_ref();
        ownership.map_or(Standing::Live, |ownership| ownership.standing_of(transaction))
    }

    /// Returns why no model may be asked: a score of features that are not whole would be wrong without
    /// saying so.
    fn bar(&self, standing: Standing) -> Option<DegradedReason> {
        match standing {
            Standing::Foreign => Some(DegradedReason::NotOwner),
            Standing::Restoring => Some(DegradedReason::Restoring),
            Standing::Live => self.inner.parts.gate.is_restoring().then_some(DegradedReason::Restoring),
        }
    }

    async fn decide(
        &self,
        request: Request,
        (payload_hash, bar): (u128, Option<DegradedReason>),
        release: &Release,
        mut features: FeatureVector,
    ) -> Record {
        let stance = self.inner.shield.protect(&mut features, &release.schema);
        let bar = bar.or(stance.bar());
        let features_done = Moment::now();
        let mut evaluation = Evaluation {
            payload_hash,
            row: model_row(release, &features),
            features,
            score: Err(bar.unwrap_or(DegradedReason::ModelUnavailable)),
            standby: Standby::default(),
            stance,
            latency: Latency { features: features_done.micros_since(request.started), ..Latency::default() },
        };
        if let Some(model) = release.model.as_ref().filter(|_| bar.is_none()) {
            evaluation.score = match (request.effort, &release.union) {
                (Effort::RulesOnly, _) => Err(DegradedReason::Overload),
                (Effort::Whole, None) => self.ask_model(model, &evaluation.row, &request).await,
                (Effort::Whole, Some(union)) => {
                    // Apart from the rest: only while it is on does a request carry what it takes.
                    let both = self.ask_both(model, union, release, (&request, &evaluation));
                    let (score, standby) = Box::pin(both).await;
                    evaluation.standby = standby;
                    score
                }
            };
        }
        let model_done = Moment::now();
        evaluation.latency.model = model_done.micros_since(features_done);
        let weighed = self.weigh(&request, release, &evaluation);
        evaluation.latency.rules = Moment::now().micros_since(model_done);
        let explained = self.explain(release, &request, &evaluation, weighed.decided.outcome).await;
        self.record(request, release, (weighed, explained), evaluation)
    }

    async fn ask_model(&self, model: &Model, row: &[f64], request: &Request) -> Result<Score, DegradedReason> {
        let now = Moment::now();
        if request.deadline <= now {
            return Err(DegradedReason::DeadlineExceeded);
        }
        let permit = match model.guard.admit() {
            Admitted::Call(permit) => permit,
            Admitted::Refused => return Err(refused()),
            Admitted::Sampled => {
                model.guard.offer(row);
                return Err(refused());
            }
        };
        let deadline = now.after(self.inner.options.model_deadline).min(request.deadline);
        let Scored { score, course } = model.inference.score_timed(row, deadline).await;
        permit.settle_scored(score.as_ref().err(), course, model.guard.slow_after_us());
        score.map_err(|failure| {
            let reason = degraded_by(&failure);
            events::ModelFailed { reason, failure: &failure }.emit();
            reason
        })
    }
}

/// What a decision on disk answers to the same id.
fn answer_again(recalled: Recalled, payload_hash: u128) -> Answer {
    if recalled.payload_hash() != payload_hash {
        return Answer::Conflict;
    }
    match recalled {
        Recalled::Decided(record) => Answer::Decided { record, status: EvaluationStatus::Duplicate },
        Recalled::Known { .. } => Answer::Elsewhere,
    }
}

/// Picks the model's inputs out of the feature vector.
pub(super) fn model_row(release: &Release, features: &FeatureVector) -> SmallVec<[f64; 64]> {
    release.schema.inputs().iter().map(|&place| features.values()[place]).collect()
}

/// A guard let nobody through, or not this call.
fn refused() -> DegradedReason {
    CallRefused.emit();
    DegradedReason::BreakerOpen
}

fn degraded_by(failure: &ModelFailure) -> DegradedReason {
    match failure {
        ModelFailure::QueueFull => DegradedReason::ModelQueueFull,
        ModelFailure::Timeout => DegradedReason::ModelTimeout,
        ModelFailure::Failed(_) => DegradedReason::ModelError,
        ModelFailure::NotFinite => DegradedReason::ScoreNotFinite,
        ModelFailure::OutOfRange => DegradedReason::ScoreOutOfRange,
    }
}
