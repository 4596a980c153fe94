//! The decision table: which alarm, under which conditions, leads to which actions, how their effect is
//! checked and whether they are taken back.
//!
//! It is data (`config/healing.toml`), so that a bank can read it, sign it off and change it; the planner only
//! knows the closed words below. The first row whose alarm and conditions hold speaks for an incident; rows
//! stand in the order of precedence: data before drift, a fresh change before the world.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::finding::Alarm;
use crate::domain::Span;

/// The shipped table.
pub const SHIPPED: &str = include_str!("../../config/healing.toml");

/// The whole table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Names this table in the record.
    pub version: String,
    /// When drift alone may change the model.
    pub on_drift: OnDrift,
    /// How long things take.
    pub times: Times,
    /// How strong evidence must be.
    pub evidence: Strength,
    /// How often things may be done.
    pub budget: Budgets,
    /// The shares of a trial after shadow, in percent, ending with 100.
    pub promotion_percents: Vec<u8>,
    /// The rows, first match first.
    pub row: Vec<Row>,
}

/// When drift alone may change the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDrift {
    /// The standby must be in control on this traffic, of no lower quality, and not shown worse by labels.
    Guarded,
    /// Labels must show the standby better.
    Evidence,
    /// Any acting alarm is enough.
    Always,
}

impl OnDrift {
    /// Finds a policy by its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "guarded" => Some(Self::Guarded),
            "evidence" => Some(Self::Evidence),
            "always" => Some(Self::Always),
            _ => None,
        }
    }
}

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// A release younger than this is the first suspect.
    pub recent_change: Span,
    /// Golden rows of the standby must have been right this recently.
    pub golden_age_max: Span,
    /// The standby must have been judged on the traffic this recently.
    pub control_age_max: Span,
    /// How long an alarm must be over before what protects because of it ends.
    pub hold_off: Span,
    /// The least time between two changes of model, taking one back apart.
    pub between_swaps: Span,
    /// How long a model that was left may not come back.
    pub no_return: Span,
    /// After this long without a word an action counts as failed.
    pub outcome_max: Span,
    /// How long after a failure an action is tried again.
    pub retry: Span,
    /// The longest the stream stays paused for one incident, even while its alarm stands.
    #[serde(default = "pause_max")]
    pub pause_max: Span,
}

/// A pause must end: records wait, and their topic forgets them one day.
fn pause_max() -> Span {
    Span::from_seconds(900)
}

/// How strong evidence must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strength {
    /// Logarithm of the evidence from which labels permit a change of model: 9.21 is 10,000 to 1.
    pub log_e_better: f64,
    /// Logarithm of the evidence from which labels forbid one.
    pub log_e_worse: f64,
    /// How much lower the quality of the standby may be.
    pub quality_loss_max: f64,
    /// From which share of alerts in the busiest entities a surge is an attack.
    pub few_entities_share: f64,
    /// The least events the standby is judged on.
    pub control_events_min: u64,
    /// How often an action of an incident is tried.
    pub tries_max: u32,
}

/// How often things may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// Changes of model, taking one back included.
    pub swap: Budget,
    /// Steps of trials.
    pub promotion: Budget,
    /// Bundles banned.
    pub quarantine: Budget,
    /// Maps from score to probability fitted anew.
    pub recalibration: Budget,
    /// Protections ended.
    pub relief: Budget,
    /// New models asked for.
    pub retraining: Budget,
}

/// How often something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Within an hour.
    pub hour: usize,
    /// Within a day.
    pub day: usize,
}

/// What budgets are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budgeted {
    /// Changes of model.
    Swap,
    /// Steps of trials.
    Promotion,
    /// Bundles banned.
    Quarantine,
    /// Maps fitted anew.
    Recalibration,
    /// Protections ended.
    Relief,
    /// New models asked for.
    Retraining,
}

impl Budgets {
    /// Returns one budget.
    #[must_use]
    pub const fn of(&self, what: Budgeted) -> Budget {
        match what {
            Budgeted::Swap => self.swap,
            Budgeted::Promotion => self.promotion,
            Budgeted::Quarantine => self.quarantine,
            Budgeted::Recalibration => self.recalibration,
            Budgeted::Relief => self.relief,
            Budgeted::Retraining => self.retraining,
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its stable name.
    pub id: String,
    /// Why, for people.
    pub explain: String,
    /// The alarms it is about, any of them.
    #[serde(default)]
    pub alarm: Vec<Alarm>,
    /// Or what a trial comes to.
    #[serde(default)]
    pub trial: Option<TrialEvent>,
    /// What must hold, all of it.
    #[serde(default)]
    pub when: Vec<Condition>,
    /// What is done, each when its time has come.
    #[serde(default)]
    pub then: Vec<Step>,
    /// What is done instead when the change of model in `then` is refused, or anything of it fails.
    #[serde(default)]
    pub otherwise: Vec<Step>,
    /// Alarms that this one explains: they lead to nothing while it stands.
    #[serde(default)]
    pub explains: Vec<Alarm>,
    /// The same, while no inputs moved but those that are made of labels.
    #[serde(default)]
    pub explains_of_labels: Vec<Alarm>,
    /// How the effect of a change of model is checked.
    #[serde(default)]
    pub verify: Option<Verify>,
    /// How long the row orders no second change of model.
    #[serde(default)]
    pub cool_down: Span,
}

/// What a trial comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialEvent {
    /// No model is on trial, and a validated and signed one waits.
    Waiting,
    /// The one on trial may move on.
    Won,
    /// The one on trial is out.
    Lost,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What.
    #[serde(rename = "do")]
    pub act: Act,
    /// How long after the incident was opened.
    #[serde(default)]
    pub after: Span,
}

/// What a row can ask for; the planner fills in the models and features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Rules answer alone.
    RulesOnly,
    /// The standby answers.
    Swap,
    /// The model the alarm is about is banned; in a row of a trial, the one on trial.
    Quarantine,
    /// The model that waits goes on trial, or the one on trial moves on by one step.
    Promote,
    /// The active model's map from score to probability is fitted anew.
    Recalibrate,
    /// The feature the alarm is about takes its declared default.
    Mask,
    /// Velocity rules weigh more.
    Tighten,
    /// More goes to review, within its cap.
    WidenReview,
    /// The most severe of rules, active and standby decides.
    Union,
    /// The inference threads are replaced.
    RestartInference,
    /// The stream stops reading.
    PauseIntake,
    /// A new model is asked for.
    RequestRetraining,
    /// People are told.
    Page,
    /// Nothing but protection until a person unlocks.
    Lock,
}

/// What a row can ask of the situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The active model is a new release, younger than `times.recent_change`.
    RecentChange,
    /// The standby is loaded, warm and right on its golden rows.
    StandbyReady,
    /// On the traffic of now the standby is in control of what the alarm is about, and fails on nothing.
    StandbyPasses,
    /// On the traffic of now the standby is in control of inputs, scores and alerts, and fails on nothing.
    StandbyInControl,
    /// The standby computed the same rows in time, in the same seconds.
    StandbyInTime,
    /// What `on_drift` asks for holds.
    SwapPermitted,
    /// Labels show the standby better.
    StandbyBetter,
    /// What was found comes from few entities, or from one merchant or device.
    FewEntities,
    /// The machine is slow, not the model.
    HostSlow,
}

/// How the effect of a change of model is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// The least time the alarm must stay away.
    pub dwell: Span,
    /// The least votes the detectors must have had by then.
    pub votes_min: u64,
    /// After this long without a verdict people are told; nothing is taken back for lack of evidence.
    pub within: Span,
    /// Whether the change is taken back when its alarm stands against the new model, too.
    pub undo: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self::parse(SHIPPED).expect("the shipped table is compiled in, and a test parses it")
    }
}

impl Table {
    /// Parses a table.
    ///
    /// # Errors
    /// Every fault, each with its place and what is expected.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let table: Self = toml::from_str(text).map_err(|error| vec![error.to_string().trim().to_owned()])?;
        let faults = table.faults();
        if faults.is_empty() { Ok(table) } else { Err(faults) }
    }

    /// Finds a row by its name.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Row> {
        self.row.iter().find(|row| row.id == id)
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let percents = &self.promotion_percents;
        let is_rising = percents.windows(2).all(|pair| pair[0] < pair[1]);
        if !is_rising || percents.first() == Some(&0) || percents.last() != Some(&100) {
            faults
                .push("promotion_percents: expected rising numbers from 1 to 100, such as [1, 5, 25, 50, 100]".into());
        }
        let Strength { log_e_better, log_e_worse, quality_loss_max, few_entities_share, tries_max, .. } = self.evidence;
        for (key, value) in [
            ("log_e_better", log_e_better),
            ("log_e_worse", log_e_worse),
            ("quality_loss_max", quality_loss_max),
            ("few_entities_share", few_entities_share),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                faults.push(format!("evidence.{key}: expected a finite number from 0 on"));
            }
        }
        if tries_max == 0 {
            faults.push("evidence.tries_max: expected at least 1".into());
        }
        let mut ids = BTreeSet::new();
        for row in &self.row {
            if !ids.insert(row.id.as_str()) {
                faults.push(format!("row {}: there are two of this name", row.id));
            }
            row.add_faults(&mut faults);
        }
        for alarm in Alarm::ALL {
            if !self.row.iter().any(|row| row.alarm.contains(&alarm) && row.when.is_empty()) {
                faults.push(format!("no row without conditions is about {}: it would lead to nothing", alarm.name()));
            }
        }
        self.add_circles(&mut faults);
        faults
    }

    /// Two alarms that explain each other would both lead to nothing.
    fn add_circles(&self, faults: &mut Vec<String>) {
        let explains = |one: Alarm, other: Alarm| {
            self.row.iter().any(|row| row.alarm.contains(&one) && row.explains.contains(&other))
        };
        for one in Alarm::ALL {
            for other in Alarm::ALL {
                if one < other && explains(one, other) && explains(other, one) {
                    faults.push(format!(
                        "{} and {} explain each other: both would lead to nothing",
                        one.name(),
                        other.name()
                    ));
                }
            }
        }
    }
}

impl Row {
    fn add_faults(&self, faults: &mut Vec<String>) {
        let mut add = |what: &str| faults.push(format!("row {}: {what}", self.id));
        if self.id.is_empty() || !self.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
            add("expected a name of small letters and hyphens");
        }
        if !self.explain.ends_with('.') {
            add("expected an explanation that ends with a full stop");
        }
        if self.alarm.is_empty() == self.trial.is_none() {
            add("expected either alarm or trial");
        }
        if self.alarm.iter().any(|alarm| self.explains.contains(alarm)) {
            add("an alarm cannot explain itself away");
        }
        let acts = || self.then.iter().chain(&self.otherwise).map(|step| step.act);
        if acts().any(|act| act == Act::Swap) && self.verify.is_none() {
            add("a change of model needs verify");
        }
        if self.otherwise.iter().any(|step| step.act == Act::Swap) {
            add("otherwise is for when no model can be changed to: it cannot swap");
        }
        if acts().any(|act| act == Act::Mask) && self.alarm.iter().any(|alarm| *alarm != Alarm::BrokenFeature) {
            add("only broken_feature names a feature to mask");
        }
        if acts().any(|act| act == Act::Promote) && self.trial.is_none() {
            add("only a trial is promoted");
        }
    }

    /// Tells whether the row changes the model.
    #[must_use]
    pub fn swaps(&self) -> bool {
        self.then.iter().any(|step| step.act == Act::Swap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_is_sound() {
        let table = Table::parse(SHIPPED).expect("the shipped table");
        assert_eq!(table.on_drift, OnDrift::Guarded);
        assert!(table.row.len() > 20);
        for row in &table.row {
            assert!(row.explain.len() > 40, "{}: say more", row.id);
        }
    }

    #[test]
    fn all_faults_come_at_once() {
        let check = |from: &str, to: &str, told: &str| {
            let text = SHIPPED.replacen(from, to, 1);
            assert_ne!(text, SHIPPED, "{from}");
            let faults = Table::parse(&text).expect_err("refused");
            assert!(faults.iter().any(|fault| fault.contains(told)), "{told}: {faults:?}");
        };
        check("[1, 5, 25, 50, 100]", "[1, 5, 5]", "promotion_percents");
        check("id = \"overload\"", "id = \"host-slow\"", "two of this name");
        check("id = \"overload\"", "id = \"Overload\"", "small letters");
        check("alarm = [\"overload\"]", "alarm = []", "either alarm or trial");
        check("alarm = [\"overload\"]", "alarm = [\"thunder\"]", "unknown variant");
        check("explains = [\"slow_model\"]", "explains = [\"overload\"]", "itself");
        check("explains = [\"slow_model\"]", "explains = [\"host_slow\"]", "explain each other");
        check("do = \"tighten\"", "do = \"swap\"", "needs verify");
        check("do = \"tighten\"", "do = \"mask\"", "only broken_feature");
        check("do = \"tighten\"", "do = \"promote\"", "only a trial");
        check("tries_max = 3", "tries_max = 0", "at least 1");
        check("few_entities_share = 0.3", "few_entities_share = nan", "finite");
        check("alarm = [\"volume\"]", "alarm = [\"overload\"]", "about volume");
    }
}
