//! The one door to a decision, for every way in.
//!
//! ```text
//! reserve id ─> features ─> model (deadline) ─> rules, always ─> lists ─> decide ─> explain? ─> record
//!     │                        └ any failure: no score, with its reason
//!     └ duplicate: the first answer again     conflict, in flight: said so
//! ```
//! Scoring never fails: a valid transaction gets exactly one decision (`SC-1`) that names one release
//! (`SC-2`). A request that is given up on the way leaves nothing half done: its id is free again, and
//! its event in the entity logs counts once whenever it comes back.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::clock::{Clock, Moment};
use super::decisions::{Cursor, Ledger, ListHit, Record, Reservation, Settled, Ticket};
use super::entities::{Entities, LabelOutcome};
use super::explainer::Budget;
use super::inference::ModelFailure;
use super::slot::{Model, Release, Slot};
use super::standin::{Answered, StandinUse};
use super::store::{Gate, Message, put_label};
use crate::domain::{
    Contribution, Decision, DecisionId, DecisionSource, DegradedReason, EntityKey, EvaluationStatus, FeatureVector,
    Label, Latency, Outcome, RuleVerdict, Score, TextField, Timestamp, TraceId, Transaction,
};
use crate::scoring::decide::policy::StandinLoad;
use crate::scoring::decide::{self, Decided, Inputs, append_contributions};
use crate::scoring::explain::{moved_inputs, occluded_rows, rank};
use crate::scoring::expression::Scope;
use crate::scoring::rule::{Mode, Rule};
use crate::telemetry::events;

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
}

/// What one evaluation found, before it is recorded.
struct Evaluation {
    payload_hash: u128,
    features: FeatureVector,
    /// The model's inputs out of the features.
    row: SmallVec<[f64; 64]>,
    score: Result<Score, DegradedReason>,
    latency: Latency,
}

/// What was decided and how it is explained.
struct Verdict {
    decided: Decided,
    rules: SmallVec<[RuleVerdict; 24]>,
    explained: Explained,
}

impl Scorer {
    /// Builds a scorer over its parts.
    #[must_use]
    pub fn new(parts: Parts, options: Options) -> Self {
        Self { inner: Arc::new(Inner { parts, options, standin: StandinUse::default() }) }
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
                    Ok(Some(record)) if record.payload_hash == payload_hash => {
                        return Answer::Decided { record, status: EvaluationStatus::Duplicate };
                    }
                    Ok(Some(record)) if record.transaction.id() == request.transaction.id() => {
                        return Answer::Conflict;
                    }
                    // Retention let it go meanwhile, or it was another id with the same hash.
                    Ok(_) => ledger.reserve_anew(request.transaction.id(), payload_hash, place),
                    Err(_) => return Answer::Unreadable,
                },
                Reservation::Decided(record) => {
                    return Answer::Decided { record, status: EvaluationStatus::Duplicate };
                }
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
        let release = self.release();
        let features = self.inner.parts.entities.peek(&request.transaction, &release.plan);
        let payload_hash = request.transaction.payload_hash();
        Arc::new(self.decide(request, payload_hash, &release, features).await)
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
        recorded.await.then_some(outcomes)
    }

    /// Returns the release in force.
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

    /// Tells whether entity state is still being restored, so that rules answer alone.
    #[must_use]
    pub fn is_restoring(&self) -> bool {
        self.inner.parts.gate.is_restoring()
    }

    /// Returns the decision ledger.
    #[must_use]
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.inner.parts.ledger
    }

    async fn decide_reserved(&self, request: Request, payload_hash: u128, mut ticket: Ticket<'_>) -> Settled {
        let release = self.release();
        let (entities, deadline) = (&self.inner.parts.entities, request.deadline);
        let features = if self.inner.parts.gate.is_replaying() {
            // The replay takes it from the log, behind what came before it.
            ticket.deferred(&request.transaction);
            entities.peek(&request.transaction, &release.plan)
        } else {
            ticket.observed(&request.transaction);
            entities.observe(&request.transaction, &release.plan)
        };
        let record = self.decide(request, payload_hash, &release, features).await;
        if record.decision.source == DecisionSource::Standin {
            let answer = Answered {
                entity: self.partition_entity(&record.transaction),
                amount: record.transaction.base_amount().unwrap_or(0),
                outcome: record.decision.outcome,
            };
            self.inner.standin.record(&answer, &release.policy.standin, record.received_at);
        }
        let settled = ticket.settle(record, deadline).await;
        if let Settled::Kept(record) = &settled {
            events::DecisionMade { decision: &record.decision }.emit();
        }
        settled
    }

    async fn decide(&self, request: Request, payload_hash: u128, release: &Release, features: FeatureVector) -> Record {
        let features_done = Moment::now();
        let mut evaluation = Evaluation {
            payload_hash,
            row: model_row(release, &features),
            features,
            score: Err(DegradedReason::ModelUnavailable),
            latency: Latency { features: features_done.micros_since(request.started), ..Latency::default() },
        };
        if self.inner.parts.gate.is_restoring() {
            // Features are incomplete: a score made of them would be wrong without saying so.
            evaluation.score = Err(DegradedReason::Restoring);
        } else if let Some(model) = &release.model {
            evaluation.score = match request.effort {
                Effort::Whole => self.ask_model(model, &evaluation.row, &request).await,
                Effort::RulesOnly => Err(DegradedReason::Overload),
            };
        }
        let model_done = Moment::now();
        evaluation.latency.model = model_done.micros_since(features_done);

        let score = evaluation.score.ok();
        let scope = Scope { transaction: &request.transaction, features: &evaluation.features, score };
        let verdicts = release.rules.evaluate(&scope);
        let rules = active_rules(release, &verdicts);
        let list_entries = release.lists.matches(&request.transaction, request.received_at);
        let standin = self.standin_load(score, release, &request);
        let decided = decide::decide(&Inputs {
            transaction: &request.transaction,
            score,
            rules: &rules,
            lists: &list_entries,
            thresholds: &release.facts.thresholds,
            policy: &release.policy,
            standin,
        });
        let list_hits = list_entries.iter().map(|entry| ListHit::of(entry)).collect();
        let rules = rules.iter().map(|(_, verdict)| *verdict).collect();
        evaluation.latency.rules = Moment::now().micros_since(model_done);

        let explained = self.explain(release, &request, &evaluation, decided.outcome).await;
        let decision = self.assemble(&request, release, Verdict { decided, rules, explained }, &evaluation);
        Record {
            decision,
            transaction: request.transaction,
            payload_hash,
            features: evaluation.features,
            standin,
            list_hits,
            received_at: request.received_at,
            cursor: Cursor::default(),
        }
    }

    async fn ask_model(&self, model: &Model, row: &[f64], request: &Request) -> Result<Score, DegradedReason> {
        let now = Moment::now();
        if request.deadline <= now {
            return Err(DegradedReason::DeadlineExceeded);
        }
        let deadline = now.after(self.inner.options.model_deadline).min(request.deadline);
        model.inference.score(row, deadline).await.map_err(|failure| {
            let reason = degraded_by(&failure);
            events::ModelFailed { reason, failure: &failure }.emit();
            reason
        })
    }

    fn standin_load(&self, score: Option<Score>, release: &Release, request: &Request) -> StandinLoad {
        if score.is_some() {
            return StandinLoad::default();
        }
        let key = self.partition_entity(&request.transaction);
        self.inner.standin.load(key, &release.policy.standin, request.received_at)
    }

    fn partition_entity(&self, transaction: &Transaction) -> Option<EntityKey> {
        let mut fields = self.inner.options.partition_key.iter();
        let (field, id) = fields.find_map(|field| Some((field, transaction.text(*field)?)))?;
        Some(EntityKey::new(field.slot() as u64, id))
    }

    /// Computes contributions when they are due and affordable, else says why not.
    async fn explain(
        &self,
        release: &Release,
        request: &Request,
        evaluation: &Evaluation,
        outcome: Outcome,
    ) -> Explained {
        let (Some(model), Ok(score)) = (&release.model, evaluation.score) else { return Explained::NotDue };
        if outcome == Outcome::Approve && !request.explain {
            return Explained::NotDue;
        }
        let inputs = moved_inputs(&evaluation.row, &model.baseline);
        if inputs.is_empty() {
            return Explained::Contributions(Vec::new());
        }
        let started = Moment::now();
        if request.deadline <= started {
            return Explained::Omitted("deadline");
        }
        let Some(spending) = self.inner.parts.explanations.take(inputs.len(), started) else {
            return Explained::Omitted("budget");
        };
        let deadline = started.after(self.inner.options.model_deadline).min(request.deadline);
        let rows = occluded_rows(&evaluation.row, &model.baseline, &inputs);
        let scores = model.inference.score_rows(rows, deadline).await;
        self.inner.parts.explanations.settle(&spending, Moment::now().micros_since(started));
        let occluded: Vec<Option<Score>> = scores.into_iter().map(Result::ok).collect();
        if occluded.iter().all(Option::is_none) {
            return Explained::Omitted(if deadline.has_passed() { "deadline" } else { "model_error" });
        }
        Explained::Contributions(rank(&inputs, score, &occluded, release.schema.inputs()))
    }

    fn assemble(&self, request: &Request, release: &Release, verdict: Verdict, evaluation: &Evaluation) -> Decision {
        let Verdict { decided, rules, explained } = verdict;
        let mut reasons = decided.reasons;
        let mut explanation_omitted = None;
        match explained {
            Explained::NotDue => {}
            Explained::Omitted(why) => explanation_omitted = Some(why),
            Explained::Contributions(contributions) => append_contributions(&mut reasons, &contributions, |feature| {
                let feature = &release.schema.features()[feature];
                (&feature.code, &feature.description)
            }),
        }
        let total = Moment::now().micros_since(request.started);
        Decision {
            id: DecisionId(evaluation.payload_hash),
            transaction_id: request.transaction.id().into(),
            outcome: decided.outcome,
            score: evaluation.score.ok(),
            risk_score: decided.risk_score,
            reasons,
            rules,
            explanation_omitted,
            release: Arc::clone(&release.facts),
            source: decided.source,
            degraded: degraded(request, evaluation),
            latency: Latency { total, ..evaluation.latency },
            trace_id: request.trace_id,
            evaluated_at: self.inner.parts.clock.now(),
        }
    }
}

enum Explained {
    NotDue,
    Omitted(&'static str),
    Contributions(Vec<Contribution>),
}

/// Picks the model's inputs out of the feature vector.
pub(super) fn model_row(release: &Release, features: &FeatureVector) -> SmallVec<[f64; 64]> {
    release.schema.inputs().iter().map(|&place| features.values()[place]).collect()
}

/// Pairs the active rules with their verdicts; shadow rules are evaluated for their counts only.
fn active_rules<'a>(release: &'a Release, verdicts: &[RuleVerdict]) -> SmallVec<[(&'a Rule, RuleVerdict); 24]> {
    let evaluated = release.rules.evaluated();
    let mut active = SmallVec::new();
    for (place, (rule, verdict)) in evaluated.zip(verdicts).enumerate() {
        release.rule_counters.count(place, *verdict);
        if rule.mode == Mode::Active {
            active.push((rule, *verdict));
        }
    }
    active
}

fn degraded(request: &Request, evaluation: &Evaluation) -> SmallVec<[DegradedReason; 2]> {
    let mut reasons = SmallVec::new();
    if let Err(reason) = evaluation.score {
        reasons.push(reason);
    }
    if evaluation.features.capped {
        reasons.push(DegradedReason::FeaturesCapped);
    }
    if request.transaction.base_amount().is_none() {
        reasons.push(DegradedReason::RateMissing);
    }
    reasons
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
