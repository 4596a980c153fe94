//! What the healing loop asks: the fleet, the breaker, the machine, the detectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Site;
use super::asking::Asks;
use crate::healing::breaker::Place;
use crate::healing::lifecycle::{self, Trust};
use crate::healing::situation::{
    ActiveFacts, BreakerFacts, BreakerState, Cause, FleetFacts, HostFacts, Leadership, StandbyFacts, TrialFacts,
    TrialVerdict,
};
use crate::healing::trial;
use crate::healing::{ModelRef, Stage};
use crate::runtime::fleet::Fleet;
use crate::runtime::healer::Sources;
use crate::runtime::host::Host;
use crate::runtime::stream::ownership::{Ownership, Standing};
use crate::runtime::watchers::Watchers;
use crate::scoring::metrics::{Scored, average_precision};

/// Makes the sources of the loop.
pub(super) fn sources(site: &Site<'_>, watchers: &Arc<Mutex<Watchers>>) -> Sources {
    let service = site.service;
    let fleet = Arc::clone(&service.fleet);
    let [of_breaker, of_transitions, of_steps] = std::array::from_fn(|_| Arc::clone(&fleet));
    let host = Arc::clone(&service.host);
    let [seeing, labelled, finding, judging, pairing, mapping] = std::array::from_fn(|_| Arc::clone(watchers));
    let retraining = Arc::clone(&site.outbound.retraining);
    let asks = Asks::new(site, watchers);
    let quality = Mutex::new(BTreeMap::new());
    let ownership = service.scorer.ownership().cloned();
    Sources {
        fleet: Box::new(move || fleet_facts(&fleet, &quality)),
        breaker: Box::new(move || breaker(&of_breaker)),
        transitions: Box::new(move || transitions(&of_transitions)),
        steps: Box::new(move || of_steps.steps().iter().filter_map(|step| serde_json::to_value(step).ok()).collect()),
        host: Box::new(move |_| machine(&host)),
        observe: Box::new(move |record| seeing.lock().observe(record)),
        labelled: Box::new(move |label| labelled.lock().labelled(label)),
        found: Box::new(move |now| {
            let found = finding.lock().found(now);
            found.findings.iter().for_each(|finding| retraining.note(finding));
            found
        }),
        standby: Box::new(move |now, findings| judging.lock().standby(now, findings)),
        asking: Box::new(move |now, findings| asks.consider(now, findings)),
        paired: Box::new(move || pairing.lock().paired()),
        calibration: Box::new(move || mapping.lock().calibration()),
        leadership: Box::new(move || ownership.as_ref().map_or(Leadership::Alone, |ownership| leadership(ownership))),
    }
}

/// The group gives each partition to one instance: whoever has all of them has nobody beside it.
fn leadership(ownership: &Ownership) -> Leadership {
    let mut here = ownership.with(Standing::Live);
    here.extend(ownership.with(Standing::Restoring));
    Leadership::of(&here, ownership.partitions())
}

/// Average precision on golden rows, by bundle: it never changes.
type Quality = Mutex<BTreeMap<ModelRef, Option<f64>>>;

fn fleet_facts(fleet: &Fleet, quality: &Quality) -> FleetFacts {
    let facts = fleet.facts();
    let change = facts.last_change.as_ref();
    let active = facts.active.as_ref().map(|active| {
        let is_changed = change.is_some_and(|change| change.model == active.model && change.to == Stage::Active);
        let cause = match (facts.rolled_back, is_changed) {
            (true, _) => Cause::Rollback,
            (false, true) => Cause::Promotion,
            (false, false) => Cause::Start,
        };
        let quality = quality_of(fleet, &active.model, quality);
        ActiveFacts { model: active.model.clone(), since: active.since, cause, quality }
    });
    let standby = facts.standby.as_ref().map(|standby| StandbyFacts {
        model: standby.model.clone(),
        golden_checked_at: standby.golden_checked_at,
        is_warm: standby.warm,
        quality: quality_of(fleet, &standby.model, quality),
    });
    let waiting = facts.validated.iter().filter(|bundle| bundle.trust == Trust::Signed);
    FleetFacts {
        active,
        standby,
        waiting: waiting.map(|bundle| bundle.model.clone()).collect(),
        trial: facts.trial.map(trial_facts),
        quarantined: facts.quarantined,
    }
}

fn trial_facts(trial: lifecycle::TrialFacts) -> TrialFacts {
    // Without a trusted signature only a person moves it on.
    let verdict = match (trial.verdict, trial.trust) {
        (trial::Verdict::Won, Trust::Signed) => TrialVerdict::Won,
        (trial::Verdict::Going, _) | (trial::Verdict::Won, Trust::Unsigned) => TrialVerdict::Going,
        (trial::Verdict::Lost, _) => TrialVerdict::Lost,
        (trial::Verdict::Inconclusive, _) => TrialVerdict::Inconclusive,
    };
    let (model, stage, percent, since) = (trial.model, trial.stage, trial.percent, trial.since);
    TrialFacts { model, stage, percent, since, verdict, figures: figures(&trial.figures) }
}

fn figures(figures: &trial::Figures) -> BTreeMap<String, f64> {
    let named = [
        ("pairs", figures.pairs as f64),
        ("votes", figures.votes as f64),
        ("flips", figures.flips as f64),
        ("delta_mean", figures.delta_mean),
        ("delta_size", figures.delta_size),
        ("latency_ratio", figures.latency_ratio),
    ];
    named.into_iter().filter(|(_, figure)| figure.is_finite()).map(|(name, figure)| (name.to_owned(), figure)).collect()
}

fn quality_of(fleet: &Fleet, model: &ModelRef, known: &Quality) -> Option<f64> {
    let mut known = known.lock();
    if let Some(quality) = known.get(model) {
        return *quality;
    }
    let loaded = fleet.loaded().into_iter().find(|loaded| loaded.model.reference == *model)?;
    let rows = loaded.golden.iter();
    let scored: Vec<Scored> =
        rows.map(|row| Scored { score: row.probability, fraud: row.label, weight: row.weight }).collect();
    let quality = average_precision(&scored);
    known.insert(model.clone(), quality);
    quality
}

fn breaker(fleet: &Fleet) -> BreakerFacts {
    let active = fleet.placed().into_iter().find(|(place, _)| *place == Stage::Active.name());
    let Some((_, model)) = active else { return BreakerFacts::default() };
    let (state, is_forced) = match model.guard.place() {
        Place::Closed => (BreakerState::Closed, false),
        Place::Open => (BreakerState::Open, false),
        Place::Probe | Place::Shadow | Place::Ramp => (BreakerState::HalfOpen, false),
        Place::ForcedOpen => (BreakerState::Open, true),
        Place::ForcedClosed | Place::ObserveOnly => (BreakerState::Closed, true),
    };
    BreakerFacts { state, is_forced }
}

fn transitions(fleet: &Fleet) -> Vec<serde_json::Value> {
    let all = fleet.placed().into_iter().flat_map(|(_, model)| model.guard.transitions());
    all.filter_map(|transition| serde_json::to_value(transition).ok()).collect()
}

fn machine(host: &Host) -> HostFacts {
    let state = host.state();
    let (throttled_share, stolen_share) = (state.throttled_share, state.stolen_share);
    HostFacts { throttled_share, stolen_share, is_slow: state.is_slow() }
}
