//! A dry run of the detectors: a history through the real scorer and the real watches, in event time, and what they
//! would have raised. Nothing is acted on.
//!
//! ```text
//! history ─> Scorer ─> Watch, LabelWatch ─ a tick a minute of event time ─> findings, by when and after how many
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::{Context, bail};

use super::replay::{Happened, ReplayOptions, ReplayReport, replay_each};
use crate::config::Settings;
use crate::domain::{Label, Span, Timestamp};
use crate::healing::drift::Watch;
use crate::healing::quality::{Decided, LabelWatch, Labelled};
use crate::healing::{Alarm, Finding, ModelRef, Verdict};
use crate::runtime::decisions::Record;
use crate::runtime::observed::{decided, key_of, observation};
use crate::runtime::release::bundle::Bundle;

/// Event time between two ticks.
const TICK: Span = Span::from_seconds(60);
/// A gap longer than this is passed over in one step, as a service that was down would.
const TICKS_MAX: i64 = 24 * 60;

/// A finding when it was raised, or when it became one that may be acted on.
#[derive(Clone, Debug)]
pub struct Raised {
    /// Transactions observed by then.
    pub transactions: u64,
    /// What was found.
    pub finding: Finding,
}

/// What a history would have raised.
#[derive(Clone, Debug, Default)]
pub struct DryRun {
    /// Transactions observed.
    pub transactions: u64,
    /// Labels of them.
    pub labels: u64,
    /// Findings in their order, one entry each time one is raised or becomes stronger.
    pub raised: Vec<Raised>,
}

impl DryRun {
    /// Counts what might have been acted on.
    #[must_use]
    pub fn acting(&self) -> usize {
        self.raised.iter().filter(|raised| raised.finding.verdict == Verdict::Acting).count()
    }
}

/// Runs the detectors with the settings in force over a history. Transactions before `from` only fill windows.
///
/// # Errors
/// As [`super::replay()`], no bundle, and a history without a transaction from then on.
pub fn dry_run(
    settings: Settings,
    options: &ReplayOptions,
    from: Timestamp,
    progress: &dyn Fn(u64, u64),
) -> anyhow::Result<(DryRun, ReplayReport)> {
    let path = settings.models.directory.join(&settings.models.active);
    let bundle = Bundle::load(&path).with_context(|| format!("tried to read the bundle {}", path.display()))?;
    let model = bundle.reference();
    let mut running = Running {
        watch: Watch::new(model.clone(), Arc::new(bundle.profile()), &settings.drift.of_schema(bundle.schema.hash())),
        labels: LabelWatch::new(settings.labels.clone()),
        inputs: bundle.schema.inputs().to_vec(),
        model: Arc::new(model),
        decided: HashMap::new(),
        standing: BTreeMap::new(),
        ticked: None,
        row: Vec::new(),
        found: DryRun::default(),
    };
    let report = replay_each(settings, options, progress, &mut |happened| match happened {
        Happened::Decided(record) if record.transaction.occurred_at() >= from => running.decided(record),
        Happened::Decided(_) => {}
        Happened::Labelled(label) => running.labelled(label),
    })?;
    if running.found.transactions == 0 {
        bail!("no transaction of the history counts: look at --from");
    }
    Ok((running.found, report))
}

struct Running {
    model: Arc<ModelRef>,
    watch: Watch,
    labels: LabelWatch,
    inputs: Vec<usize>,
    /// Decisions that wait for their label: as many as the history has until its labels come.
    decided: HashMap<u64, Decided>,
    standing: BTreeMap<(Alarm, Option<String>), Verdict>,
    ticked: Option<Timestamp>,
    row: Vec<f64>,
    found: DryRun,
}

impl Running {
    fn decided(&mut self, record: &Record) {
        self.pass(record.transaction.occurred_at());
        self.found.transactions += 1;
        self.watch.observe(&observation(record, &self.inputs, &mut self.row));
        let decided = decided(record, &self.model);
        self.labels.decided(&decided);
        self.decided.insert(decided.transaction, decided);
    }

    fn labelled(&mut self, label: &Label) {
        let Some(decided) = self.decided.remove(&key_of(&label.transaction_id)) else { return };
        self.found.labels += 1;
        let (is_fraud, labelled_at) = (label.kind.is_fraud(), label.occurred_at);
        self.labels.labelled(&Labelled { decided, is_fraud, labelled_at });
    }

    /// Lets time pass until this instant, a tick at a time.
    fn pass(&mut self, now: Timestamp) {
        let mut at = *self.ticked.get_or_insert(now);
        if now.since(at).micros() > TICKS_MAX * TICK.micros() {
            at = now.minus(TICK);
        }
        while now.since(at) >= TICK {
            at = at.plus(TICK);
            let changes = self.watch.tick(at).into_iter().chain(self.labels.tick(at));
            for finding in changes {
                note(&mut self.standing, &mut self.found, finding);
            }
        }
        self.ticked = Some(at);
    }
}

/// Notes what is new or stronger than it was; what is held in between is not new afterwards.
fn note(standing: &mut BTreeMap<(Alarm, Option<String>), Verdict>, found: &mut DryRun, finding: Finding) {
    let key = (finding.alarm, finding.subject.clone());
    match finding.verdict {
        Verdict::Ended => {
            standing.remove(&key);
        }
        Verdict::Inconclusive => {}
        verdict @ (Verdict::Advisory | Verdict::Acting) => {
            if standing.get(&key).is_none_or(|stood| *stood < verdict) {
                standing.insert(key, verdict);
                found.raised.push(Raised { transactions: found.transactions, finding });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use Verdict::{Acting, Advisory, Ended, Inconclusive};

    use super::*;
    use crate::healing::Evidence;

    #[test]
    fn a_finding_counts_when_it_is_raised_or_grows_not_when_it_was_held() {
        let (mut standing, mut found) = (BTreeMap::new(), DryRun::default());
        for verdict in [Advisory, Inconclusive, Advisory, Acting, Inconclusive, Acting, Ended, Acting] {
            let at = Timestamp::from_seconds(1);
            let (alarm, evidence) = (Alarm::InputDrift, Evidence::default());
            let finding = Finding { alarm, subject: None, model: None, verdict, since: at, at, evidence };
            note(&mut standing, &mut found, finding);
        }
        let verdicts: Vec<Verdict> = found.raised.iter().map(|raised| raised.finding.verdict).collect();
        assert_eq!(verdicts, [Advisory, Acting, Acting]);
        assert_eq!(found.acting(), 2);
    }
}
