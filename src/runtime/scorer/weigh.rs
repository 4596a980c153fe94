//! What rules, lists and policy make of an evaluation, and the record that comes of it: the same for every door.

use std::sync::Arc;

use smallvec::SmallVec;

use super::explained::Explained;
use super::{Evaluation, Release, Request, Scorer};
use crate::domain::{
    Decision, DecisionId, DecisionSource, DegradedReason, EntityKey, Latency, Outcome, RuleVerdict, Score, Timestamp,
    Transaction,
};
use crate::runtime::clock::Moment;
use crate::runtime::decisions::{Cursor, ListHit, Origin, Record};
use crate::runtime::standin::Answered;
use crate::scoring::decide::policy::StandinLoad;
use crate::scoring::decide::{self, Decided, Inputs, append_contributions};
use crate::scoring::expression::Scope;
use crate::scoring::rule::{Mode, Rule};

/// What rules, lists and policy made of an evaluation.
pub(super) struct Weighed {
    pub(super) decided: Decided,
    rules: SmallVec<[RuleVerdict; 24]>,
    list_hits: Vec<ListHit>,
    standin: StandinLoad,
    is_widened: bool,
}

/// What was decided and how it is explained.
struct Verdict {
    decided: Decided,
    rules: SmallVec<[RuleVerdict; 24]>,
    explained: Explained,
}

impl Scorer {
    /// Evaluates rules, lists and policy over what is known of a transaction.
    pub(super) fn weigh(&self, request: &Request, release: &Release, evaluation: &Evaluation) -> Weighed {
        let score = evaluation.score.ok();
        let scope = Scope { transaction: &request.transaction, features: &evaluation.features, score };
        let verdicts = release.rules.evaluate(&scope);
        let rules = active_rules(release, &verdicts);
        let list_entries = release.lists.matches(&request.transaction, request.received_at);
        let standin = self.standin_load(score, release, request);
        let policy = &release.policy.protection;
        let inputs = Inputs {
            transaction: &request.transaction,
            score,
            rules: &rules,
            lists: &list_entries,
            thresholds: &release.facts.thresholds,
            policy: &release.policy,
            standin,
            tighten_percent: if evaluation.stance.is_tight { policy.tighten_percent } else { 0 },
            calibration: release.calibration,
        };
        let (decided, is_widened) = self.protected(&inputs, evaluation, request.received_at);
        let list_hits = list_entries.iter().map(|entry| ListHit::of(entry)).collect();
        let rules = rules.iter().map(|(_, verdict)| *verdict).collect();
        Weighed { decided, rules, list_hits, standin, is_widened }
    }

    /// Decides, and makes more severe what the standby or wider review would, together up to their share of decisions.
    fn protected(&self, inputs: &Inputs<'_>, evaluation: &Evaluation, received_at: Timestamp) -> (Decided, bool) {
        let own = decide::decide(inputs);
        let (ballot, is_wide) = (evaluation.standby.ballot(), evaluation.stance.is_wide);
        if ballot.is_none() && !is_wide {
            return (own, false);
        }
        let policy = &inputs.policy.protection;
        let its = ballot.map(|ballot| ballot.decide(inputs));
        let is_harsher = its.as_ref().is_some_and(|its| its.outcome > own.outcome);
        let thresholds = policy.widened(inputs.thresholds);
        let wide = (is_wide && !is_harsher && own.outcome == Outcome::Approve)
            .then(|| decide::decide(&Inputs { thresholds: &thresholds, ..*inputs }))
            .filter(|wide| wide.outcome == Outcome::Review);
        let would = is_harsher || wide.is_some();
        let may = self.inner.shield.may_widen(would, policy.widen_share_max, received_at);
        let (own, is_widened) = match wide {
            Some(wide) if may => (wide, true),
            Some(_) | None => (own, false),
        };
        let decided = match ballot.zip(its) {
            Some((ballot, its)) => ballot.join(own, its, may),
            None => own,
        };
        (decided, is_widened)
    }

    pub(super) fn record(
        &self,
        request: Request,
        release: &Release,
        (weighed, explained): (Weighed, Explained),
        evaluation: Evaluation,
    ) -> Record {
        let Weighed { decided, rules, list_hits, standin, is_widened } = weighed;
        let mut decision = self.assemble(&request, release, Verdict { decided, rules, explained }, &evaluation);
        if is_widened {
            decision.degraded.push(DegradedReason::ReviewWidened);
        }
        Record {
            decision,
            transaction: request.transaction,
            payload_hash: evaluation.payload_hash,
            features: evaluation.features,
            standin,
            list_hits,
            received_at: request.received_at,
            cursor: Cursor::default(),
            origin: Origin::Rest,
        }
    }

    /// Counts an answer of the stand-in policy towards its limits.
    pub(super) fn count_standin(
        &self,
        transaction: &Transaction,
        (source, outcome): (DecisionSource, Outcome),
        release: &Release,
        received_at: Timestamp,
    ) {
        if source == DecisionSource::Standin {
            let entity = self.partition_entity(transaction);
            let answer = Answered { entity, amount: transaction.base_amount().unwrap_or(0), outcome };
            self.inner.standin.record(&answer, &release.policy.standin, received_at);
        }
    }

    fn standin_load(&self, score: Option<Score>, release: &Release, request: &Request) -> StandinLoad {
        if score.is_some() {
            return StandinLoad::default();
        }
        let key = self.partition_entity(&request.transaction);
        self.inner.standin.load(key, &release.policy.standin, request.received_at)
    }

    pub(super) fn partition_entity(&self, transaction: &Transaction) -> Option<EntityKey> {
        let mut fields = self.inner.options.partition_key.iter();
        let (field, id) = fields.find_map(|field| Some((field, transaction.text(*field)?)))?;
        Some(EntityKey::new(field.slot() as u64, id))
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
            degraded: degraded(request, release, evaluation),
            latency: Latency { total, ..evaluation.latency },
            trace_id: request.trace_id,
            evaluated_at: self.inner.parts.clock.now(),
        }
    }
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

fn degraded(request: &Request, release: &Release, evaluation: &Evaluation) -> SmallVec<[DegradedReason; 2]> {
    let mut reasons = SmallVec::new();
    if let Err(reason) = evaluation.score {
        reasons.push(reason);
    }
    if evaluation.features.capped {
        reasons.push(DegradedReason::FeaturesCapped);
    }
    if evaluation.features.is_masked() {
        reasons.push(DegradedReason::FeatureMasked);
    }
    if evaluation.stance.is_tight {
        reasons.push(DegradedReason::Tightened);
    }
    reasons.extend(evaluation.standby.degraded());
    if request.transaction.base_amount().is_none() {
        reasons.push(DegradedReason::RateMissing);
    }
    if release.rolled_back {
        reasons.push(DegradedReason::RolledBack);
    }
    reasons
}
