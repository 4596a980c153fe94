//! From evidence to findings: what alarms, what is behind it, and what is over.
//!
//! Each of five kinds (inputs, broken features, scores, surge, collapse) has its own mean of runs against the stated
//! run length. What alarmed is over when its mirror says so and no other evidence stands.

use std::collections::BTreeMap;

use super::book::finding;
use super::channel::Channel;
use super::evidence::Over;
use super::options::{Limits, Standing};
use super::profile::Lost;
use super::watch::{Input, Watch};
use crate::domain::Timestamp;
use crate::healing::finding::{Alarm, Evidence, Verdict};
use crate::healing::rates::Rate;

/// Level of the false discovery rate among features that are named.
const ATTRIBUTION_LEVEL: f64 = 0.1;
/// The most features that are named.
const NAMED_MAX: usize = 8;
const BLIND: &str = "watch";
const CLASSIC: &str = "classic_ks";
/// What the settings call the scores.
const SCORE: &str = "score";

/// What to do about a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::healing) enum Step {
    /// Nothing changes.
    Keep,
    /// It stands from now on, with this verdict.
    Raise(Verdict),
    /// It is over.
    End,
}

impl Limits {
    /// Decides by the evidence for a change and for its end; `extra` is the price of being one of many.
    pub(in crate::healing) fn step(self, standing: Option<Verdict>, log: f64, extra: f64, over: Option<Over>) -> Step {
        let is_over = |over: Over| over.log >= self.ended && over.fresh <= self.ended.min(self.advisory) + extra;
        match standing {
            None | Some(Verdict::Advisory) if log >= self.acting + extra => Step::Raise(Verdict::Acting),
            None if log >= self.advisory + extra => Step::Raise(Verdict::Advisory),
            Some(_) if over.is_some_and(is_over) => Step::End,
            None | Some(_) => Step::Keep,
        }
    }
}

/// Tells whether a finding may not be relied on now.
pub(super) fn is_held(
    alarm: Alarm,
    is_blind: bool,
    is_any_warming: bool,
    is_subject_warming: impl Fn() -> bool,
) -> bool {
    match alarm {
        Alarm::Volume => false,
        Alarm::ScoreDrift | Alarm::AlertSurge | Alarm::AlertCollapse => is_blind || is_any_warming,
        Alarm::BrokenFeature => is_blind || is_subject_warming(),
        _ => is_blind,
    }
}

impl Watch {
    /// Judges everything after a block.
    pub(super) fn assess(&mut self, now: Timestamp) {
        self.assess_inputs(now);
        self.assess_broken(now);
        self.assess_scores(now);
        self.assess_classic(now);
    }

    /// Returns the logarithm of the mean run over all inputs.
    pub(super) fn inputs_log(&self) -> f64 {
        let runs: f64 = self.inputs.iter().filter_map(|input| input.channel.as_ref()).map(Channel::run).sum();
        (runs / self.channels.max(1) as f64).max(1.0).ln()
    }

    /// Returns the evidence (log) of inputs, broken features, scores, surge and collapse, each comparable with one threshold.
    pub(super) fn logs(&self) -> [f64; 5] {
        let broken = self.inputs.iter().map(|input| input.lost_log().0).fold(0.0, f64::max) - self.broken_extra();
        let scores = &self.scores;
        [self.inputs_log(), broken.max(0.0), scores.channel.log(), scores.surge.log(), scores.collapse.log()]
    }

    /// Returns the features with the most evidence, worst first.
    pub(super) fn suspects(&self) -> Vec<String> {
        let name = |place: &usize| self.profile.inputs[*place].name.clone();
        self.attribute().iter().take(NAMED_MAX).map(name).collect()
    }

    fn assess_inputs(&mut self, now: Timestamp) {
        let standing = self.book.verdict(Alarm::InputDrift, None);
        let log = self.inputs_log();
        let over = self.attributed.iter().filter_map(|place| self.inputs[*place].channel.as_ref()?.over());
        // Features that never alarmed have their say, too: if they moved meanwhile, it is not over.
        let over = over.reduce(Over::and).map(|over| Over { fresh: self.standing_log(), ..over });
        match self.distribution_limits().step(standing, log, 0.0, over) {
            Step::Keep if over.is_some_and(|over| over.log >= self.limits.ended) => {
                // What was named is over, yet others moved, or the same moved again: they are named from now on.
                for place in std::mem::take(&mut self.attributed) {
                    self.inputs[place].channel.iter_mut().for_each(Channel::go_on);
                }
                self.name_moved();
            }
            Step::Keep => {}
            Step::Raise(verdict) => {
                self.name_moved();
                self.raise((Alarm::InputDrift, None), verdict, (self.inputs_since, now));
            }
            Step::End => {
                for place in std::mem::take(&mut self.attributed) {
                    self.inputs[place].channel.iter_mut().for_each(Channel::clear);
                }
                self.book.end(Alarm::InputDrift, None, now, None);
            }
        }
    }

    /// Names the features that moved, and watches each of them for its end.
    fn name_moved(&mut self) {
        self.attributed = self.attribute();
        for place in &self.attributed {
            self.inputs[*place].channel.iter_mut().for_each(Channel::alarmed);
        }
    }

    fn standing_log(&self) -> f64 {
        let runs = self.inputs.iter().filter_map(|input| input.channel.as_ref()).map(Channel::standing_run);
        (runs.sum::<f64>() / self.channels.max(1) as f64).max(1.0).ln()
    }

    /// Names the features that moved: e-BH keeps the share of wrong names low under any dependence. The first is always named.
    fn attribute(&self) -> Vec<usize> {
        let channel = |(place, input): (usize, &Input)| Some((place, input.channel.as_ref()?.e_value()));
        let mut ranked: Vec<(usize, f64)> = self.inputs.iter().enumerate().filter_map(channel).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        let needed = |rank: usize| self.channels as f64 / (rank as f64 * ATTRIBUTION_LEVEL);
        let named = (1..=ranked.len()).rev().find(|rank| ranked[rank - 1].1 >= needed(*rank)).unwrap_or(1);
        ranked.into_iter().take(named).map(|(place, _)| place).collect()
    }

    fn assess_broken(&mut self, now: Timestamp) {
        let extra = self.broken_extra();
        for place in 0..self.inputs.len() {
            let (log, kind) = self.inputs[place].lost_log();
            let name = self.profile.inputs[place].name.clone();
            let standing = self.book.verdict(Alarm::BrokenFeature, Some(&name));
            if standing.is_none() && log < self.limits.advisory {
                continue;
            }
            // A feature that stands still is judged by its baseline; values that are lost or out of range speak for themselves.
            let limits = if kind == Lost::Stuck { self.distribution_limits() } else { self.limits };
            let input = &mut self.inputs[place];
            let over = input.alarmed.iter().filter_map(|kind| input.over(*kind)).reduce(Over::and);
            match limits.step(standing, log, extra, over) {
                Step::Keep => {}
                Step::Raise(verdict) => {
                    input.alarm(kind);
                    let since = input.since;
                    self.raise((Alarm::BrokenFeature, Some(name)), verdict, (since, now));
                }
                Step::End => {
                    input.clear_lost();
                    self.book.end(Alarm::BrokenFeature, Some(&name), now, None);
                }
            }
        }
    }

    /// Distributions of a stream that was never calibrated alarm people only.
    fn distribution_limits(&self) -> Limits {
        let acting = if self.options.may_act() { self.limits.acting } else { f64::INFINITY };
        Limits { acting, ..self.limits }
    }

    /// The price of being one of so many features, each of which can break in five ways.
    fn broken_extra(&self) -> f64 {
        (self.inputs.len().max(1) as f64 * (Lost::OF_VALUES.len() + 1) as f64).ln()
    }

    fn assess_scores(&mut self, now: Timestamp) {
        for alarm in [Alarm::ScoreDrift, Alarm::AlertSurge, Alarm::AlertCollapse] {
            if alarm == Alarm::ScoreDrift && self.options.excluded.contains(SCORE) {
                continue;
            }
            let standing = self.book.verdict(alarm, None);
            let limits = if alarm == Alarm::ScoreDrift { self.distribution_limits() } else { self.limits };
            let scores = &mut self.scores;
            let (log, over, since) = match alarm {
                Alarm::AlertSurge => (scores.surge.log(), scores.surge.over(), scores.surge_since),
                Alarm::AlertCollapse => (scores.collapse.log(), scores.collapse.over(), scores.collapse_since),
                _ => (scores.channel.log(), scores.channel.over(), scores.since),
            };
            let step = limits.step(standing, log, 0.0, over);
            match (step, alarm) {
                (Step::Keep, _) => continue,
                (Step::Raise(_), Alarm::AlertSurge) => scores.surge.alarmed(),
                (Step::Raise(_), Alarm::AlertCollapse) => scores.collapse.alarmed(),
                (Step::Raise(_), _) => scores.channel.alarmed(),
                (Step::End, Alarm::AlertSurge) => scores.surge.clear(),
                (Step::End, Alarm::AlertCollapse) => scores.collapse.clear(),
                (Step::End, _) => scores.channel.clear(),
            }
            match step {
                Step::Raise(verdict) => self.raise((alarm, None), verdict, (since, now)),
                Step::Keep | Step::End => self.book.end(alarm, None, now, None),
            }
        }
    }

    fn assess_classic(&mut self, now: Timestamp) {
        let Some(classic) = &self.classic else { return };
        let limit = classic.rule().distance;
        let distances = (0..self.inputs.len()).filter_map(|place| Some((place, classic.distance(place)?)));
        let mut beyond: Vec<(usize, f64)> = distances.filter(|(_, distance)| *distance > limit).collect();
        beyond.sort_by(|a, b| b.1.total_cmp(&a.1));
        let Some((worst, distance)) = beyond.first().copied() else {
            self.book.end(Alarm::InputDrift, Some(CLASSIC), now, None);
            return;
        };
        let verdict = match classic.rule().standing {
            Standing::Advisory => Verdict::Advisory,
            Standing::Acting => Verdict::Acting,
        };
        let name = |place: usize| format!("ks.{}", self.profile.inputs[place].name);
        let values = beyond.iter().take(NAMED_MAX).map(|(place, distance)| (name(*place), *distance)).collect();
        let votes = classic.rule().window as u64;
        let text =
            format!("KS of {} is {distance:.3}, above {limit}, over {votes} votes", self.profile.inputs[worst].name);
        let evidence = Evidence { votes, values, text, ..Evidence::default() };
        let key = (Alarm::InputDrift, Some(CLASSIC.to_owned()));
        self.book.raise(finding(key, Some(&self.model), verdict, (now, now), evidence));
    }

    fn raise(&mut self, (alarm, subject): (Alarm, Option<String>), verdict: Verdict, times: (Timestamp, Timestamp)) {
        let evidence = self.evidence(alarm, subject.as_deref(), verdict);
        self.book.raise(finding((alarm, subject), Some(&self.model), verdict, times, evidence));
    }

    /// Brings the figures of what stands up to date.
    pub(super) fn refresh(&mut self, now: Timestamp) {
        for alarm in
            [Alarm::InputDrift, Alarm::BrokenFeature, Alarm::ScoreDrift, Alarm::AlertSurge, Alarm::AlertCollapse]
        {
            for subject in self.book.subjects(alarm) {
                if subject.as_deref() == Some(CLASSIC) {
                    continue;
                }
                if let Some(verdict) = self.book.verdict(alarm, subject.as_deref()) {
                    self.raise((alarm, subject), verdict, (now, now));
                }
            }
        }
    }

    /// Tells what is strange about the flow of transactions.
    pub(super) fn flow(&mut self, now: Timestamp) {
        let conditions = self.volume.conditions(now, &self.options);
        for subject in self.book.subjects(Alarm::Volume).into_iter().flatten() {
            if subject != BLIND && !conditions.iter().any(|condition| condition.subject == subject) {
                self.book.end(Alarm::Volume, Some(&subject), now, None);
            }
        }
        for condition in conditions {
            let evidence = Evidence { values: condition.values, text: condition.text, ..Evidence::default() };
            let key = (Alarm::Volume, Some(condition.subject.to_owned()));
            self.book.raise(finding(key, None, condition.verdict, (now, now), evidence));
        }
    }

    /// Says why nothing is judged, or that it is again.
    pub(super) fn blind(&mut self, now: Timestamp, reason: Option<String>) {
        match reason {
            Some(text) => {
                let key = (Alarm::Volume, Some(BLIND.to_owned()));
                let evidence = Evidence { text, ..Evidence::default() };
                self.book.raise(finding(key, Some(&self.model), Verdict::Inconclusive, (now, now), evidence));
            }
            None => self.book.end(Alarm::Volume, Some(BLIND), now, None),
        }
    }

    fn evidence(&self, alarm: Alarm, subject: Option<&str>, verdict: Verdict) -> Evidence {
        let mut evidence = match alarm {
            Alarm::InputDrift => self.inputs_evidence(),
            Alarm::BrokenFeature => self.broken_evidence(subject.unwrap_or_default()),
            Alarm::AlertSurge => self.alert_evidence(&self.scores.surge, "more"),
            Alarm::AlertCollapse => self.alert_evidence(&self.scores.collapse, "fewer"),
            _ => self.score_evidence(),
        };
        let limit = if verdict == Verdict::Acting { self.limits.acting } else { self.limits.advisory };
        evidence.log_threshold = limit + if alarm == Alarm::BrokenFeature { self.broken_extra() } else { 0.0 };
        evidence
    }

    fn inputs_evidence(&self) -> Evidence {
        let mut values = BTreeMap::new();
        let mut texts = Vec::new();
        let mut votes = 0;
        for place in self.attributed.iter().take(NAMED_MAX) {
            let (name, Some(channel)) = (&self.profile.inputs[*place].name, &self.inputs[*place].channel) else {
                continue;
            };
            let (psi, ks) = channel.recent();
            values.insert(format!("psi.{name}"), psi);
            values.insert(format!("ks.{name}"), ks);
            values.insert(format!("log_e.{name}"), channel.log());
            texts.push(format!("{name} (PSI {psi:.2}, KS {ks:.2})"));
            votes = votes.max(channel.votes());
        }
        values.insert("features_moved".to_owned(), self.attributed.len() as f64);
        let of_labels = self.attributed.iter().filter(|place| self.inputs[**place].is_of_labels).count();
        values.insert("features_of_labels".to_owned(), of_labels as f64);
        values.insert("features_watched".to_owned(), self.channels as f64);
        let more = self.attributed.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let text = format!("inputs moved from the baseline: {}{more}", texts.join(", "));
        Evidence { log_e: self.inputs_log(), votes, values, text, ..Evidence::default() }
    }

    fn broken_evidence(&self, name: &str) -> Evidence {
        let Some(place) = self.profile.inputs.iter().position(|cells| cells.name == name) else {
            return Evidence::default();
        };
        let input = &self.inputs[place];
        let (log_e, strongest) = input.lost_log();
        let kinds = if input.alarmed.is_empty() { vec![strongest] } else { input.alarmed.clone() };
        let mut values: BTreeMap<String, f64> = input
            .lost
            .iter()
            .zip(Lost::OF_VALUES)
            .map(|(rate, kind)| (kind.name().to_owned(), rate.recent()))
            .collect();
        values.insert(Lost::Stuck.name().to_owned(), f64::from(u8::from(kinds.contains(&Lost::Stuck))));
        values.insert("of_labels".to_owned(), f64::from(u8::from(input.is_of_labels)));
        if kinds.iter().any(|kind| *kind != Lost::Stuck) {
            values.extend(input.origins.values(&self.crowd));
        }
        let share = |kind: &Lost| values.get(kind.name()).copied().unwrap_or(0.0) * 100.0;
        let texts: Vec<String> = kinds.iter().map(|kind| format!("{} {:.1} %", kind.name(), share(kind))).collect();
        let text = format!("{name} lost its values: {}", texts.join(", "));
        Evidence { log_e, votes: input.lost[0].votes(), values, text, ..Evidence::default() }
    }

    fn score_evidence(&self) -> Evidence {
        let channel = &self.scores.channel;
        let (psi, ks) = channel.recent();
        let values = BTreeMap::from([("psi".to_owned(), psi), ("ks".to_owned(), ks)]);
        let text = format!("scores moved from the baseline: PSI {psi:.2}, KS {ks:.2}");
        Evidence { log_e: channel.log(), votes: channel.votes(), values, text, ..Evidence::default() }
    }

    fn alert_evidence(&self, rate: &Rate, direction: &str) -> Evidence {
        let (recent, usual) = (rate.recent(), self.profile.alert_rate);
        let mut values = self.crowd.values();
        values.insert("alert_rate".to_owned(), recent);
        values.insert("alert_rate_baseline".to_owned(), usual);
        let text = format!(
            "{direction} alerts than in training: {:.2} % against {:.2} %; the ten largest entities have {:.0} % of the alerts, the largest merchant {:.0} %",
            recent * 100.0,
            usual * 100.0,
            values["top10_entity_share"] * 100.0,
            values["top_merchant_share"] * 100.0
        );
        Evidence { log_e: rate.log(), votes: rate.votes(), values, text, ..Evidence::default() }
    }
}

impl Input {
    fn over(&self, kind: Lost) -> Option<Over> {
        match kind {
            Lost::Stuck => self.channel.as_ref()?.moving(),
            Lost::Null | Lost::NonFinite | Lost::Below | Lost::Above => self.lost[kind as usize].over(),
        }
    }

    fn alarm(&mut self, kind: Lost) {
        match kind {
            Lost::Stuck => self.channel.iter_mut().for_each(Channel::alarmed_stuck),
            Lost::Null | Lost::NonFinite | Lost::Below | Lost::Above => self.lost[kind as usize].alarmed(),
        }
        if !self.alarmed.contains(&kind) {
            self.alarmed.push(kind);
        }
    }
}

/// Checks that a finding of this kind has what its readers rely on.
#[cfg(test)]
pub(super) fn is_sound(finding: &crate::healing::Finding) -> bool {
    let evidence = &finding.evidence;
    [evidence.log_e, evidence.log_threshold].into_iter().chain(evidence.values.values().copied()).all(f64::is_finite)
        && !evidence.text.is_empty()
}
