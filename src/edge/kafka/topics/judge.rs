//! What is wrong with the topics there are.
//!
//! Each finding says what is, what it leads to, and what to do. Pure: a plan and what was found go in.

use std::collections::BTreeMap;

use super::{Cleanup, Partitions, Retention, Topic, in_sync_min, millis, shown};
use crate::domain::Span;

/// One topic as the broker describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How many partitions it has.
    pub partitions: u32,
    /// Copies of the partition with the fewest.
    pub replicas: u32,
    /// The broker's settings for it.
    pub settings: BTreeMap<String, String>,
}

/// One thing wrong with a topic.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The topic, or the setting of fraudd when no topic is at fault.
    pub topic: String,
    /// A stable word for the kind of fault.
    pub code: &'static str,
    /// What is, and what it leads to.
    pub problem: String,
    /// What to do.
    pub cure: String,
}

/// Judges what was found by what is meant to be; `expected` is `kafka.partitions`.
#[must_use]
pub fn judge(
    plan: &[Topic],
    found: &BTreeMap<String, Found>,
    retention: &Retention,
    expected: Option<u32>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let input = plan.iter().find(|topic| topic.setting == "transactions").and_then(|topic| found.get(&topic.name));
    let partitions = expected.or(input.map(|input| input.partitions));
    for topic in plan {
        let Some(there) = found.get(&topic.name) else {
            add(&mut findings, topic, "missing", "is missing".into(), "fraudd topics create".into());
            continue;
        };
        partitions_into(&mut findings, topic, there, partitions);
        if there.settings.is_empty() {
            let problem = "does not show us its settings".to_owned();
            add(&mut findings, topic, "hidden", problem, "allow our user DescribeConfigs on it".into());
            continue;
        }
        cleanup_into(&mut findings, topic, there, retention);
        settings_into(&mut findings, topic, there);
    }
    if retention.ledger < super::DAY {
        findings.push(Finding {
            topic: "ledger.age_max".into(),
            code: "ledger_short",
            problem: format!("{} is less than a day, and the input is kept for a day at least", retention.ledger),
            cure: "set ledger.age_max to 24h or more".into(),
        });
    }
    findings
}

fn add(findings: &mut Vec<Finding>, topic: &Topic, code: &'static str, problem: String, cure: String) {
    findings.push(Finding { topic: topic.name.clone(), code, problem, cure });
}

fn partitions_into(findings: &mut Vec<Finding>, topic: &Topic, there: &Found, input: Option<u32>) {
    let Some(wanted) = input.map(|input| topic.partition_count(input)) else { return };
    if there.partitions == wanted {
        return;
    }
    let problem = match topic.partitions {
        Partitions::LikeInput => format!(
            "has {} partitions and the stream has {wanted}: partition p of one belongs to partition p of the other",
            there.partitions
        ),
        Partitions::One => format!("has {} partitions and is read in one order, so in one", there.partitions),
    };
    let cure = format!("make {} anew with {wanted}; a topic with keyed state cannot be widened", topic.name);
    add(findings, topic, "partitions", problem, cure);
}

fn cleanup_into(findings: &mut Vec<Finding>, topic: &Topic, there: &Found, retention: &Retention) {
    let policy = there.settings.get("cleanup.policy").map_or("", String::as_str);
    let wanted = match topic.cleanup {
        Cleanup::Delete(_) => "delete",
        Cleanup::Compact => "compact",
    };
    if !policy.is_empty() && policy != wanted {
        let problem = format!(
            "cleanup.policy is {policy}, not {wanted}: records would {}",
            match topic.cleanup {
                Cleanup::Delete(_) => "be merged by key that are each needed",
                Cleanup::Compact => "go with age that are still in force",
            }
        );
        return add(findings, topic, "cleanup_policy", problem, format!("set cleanup.policy={wanted}"));
    }
    let Some(age) = number(there, "retention.ms") else { return };
    let set = |span: Span| format!("set retention.ms={} on {}", millis(span), topic.name);
    let is_below = |span: Span| age >= 0 && age < millis(span);
    match topic.setting {
        "state" if is_below(retention.state()) => {
            let (kept, needed) = (shown(age), retention.state());
            let problem =
                format!("is kept {kept} and state reaches back {needed}: a lost instance could not rebuild it");
            let Cleanup::Delete(planned) = topic.cleanup else { return };
            add(findings, topic, "state_retention", problem, set(planned));
        }
        "transactions" if is_below(super::DAY) => {
            let problem = format!("is kept {}: records could go before they are read", shown(age));
            add(findings, topic, "input_retention", problem, set(retention.input()));
        }
        // What the ledger no longer knows and the topic still holds would be decided again if read again.
        "transactions" if age < 0 || age > millis(retention.ledger.max(super::DAY)) => {
            let (kept, known) = (shown(age), retention.ledger);
            let problem =
                format!("is kept {kept} and decisions are known for {known}: read again, it would be decided twice");
            let cure = format!("{}, or raise ledger.age_max", set(retention.input()));
            add(findings, topic, "ledger_retention", problem, cure);
        }
        _ => {}
    }
}

fn settings_into(findings: &mut Vec<Finding>, topic: &Topic, there: &Found) {
    let stamp = there.settings.get("message.timestamp.type").map_or("", String::as_str);
    if topic.is_stamped && stamp != "LogAppendTime" {
        let problem =
            format!("message.timestamp.type is {stamp}: senders' clocks would decide what lies in the future");
        add(findings, topic, "timestamp_type", problem, "set message.timestamp.type=LogAppendTime".into());
    }
    let least = number(there, "min.insync.replicas").unwrap_or(1);
    let replicas = i64::from(there.replicas);
    if least > replicas {
        let problem = format!("has {replicas} copies and min.insync.replicas is {least}: nothing can be written");
        add(findings, topic, "replicas", problem, format!("add copies, or set min.insync.replicas={replicas}"));
    } else if least < i64::from(in_sync_min(there.replicas)) {
        let problem =
            format!("has {replicas} copies and min.insync.replicas is {least}: a record may live on one node");
        add(findings, topic, "in_sync", problem, format!("set min.insync.replicas={}", in_sync_min(there.replicas)));
    }
    let Some(needed) = topic.message_len_max.and_then(|len| i64::try_from(len).ok()) else { return };
    if number(there, "max.message.bytes").is_some_and(|len| len < needed) {
        let problem = format!(
            "takes records of {} bytes, and a batch's changelog may have {needed}",
            there.settings["max.message.bytes"]
        );
        add(findings, topic, "message_len", problem, format!("set max.message.bytes={needed}"));
    }
}

fn number(there: &Found, key: &str) -> Option<i64> {
    there.settings.get(key)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::super::options::tests::options;
    use super::super::plan;
    use super::*;

    const RETENTION: Retention =
        Retention { window: Span::from_days(30), lateness: Span::from_days(1), ledger: Span::from_days(1) };

    fn whole(replicas: u32) -> (Vec<Topic>, BTreeMap<String, Found>) {
        let plan = plan(&options(), &RETENTION);
        let found = plan.iter().map(|topic| {
            let settings = topic.settings(replicas).into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            (topic.name.clone(), Found { partitions: topic.partition_count(4), replicas, settings })
        });
        (plan.clone(), found.collect())
    }

    fn check(spoil: impl FnOnce(&mut BTreeMap<String, Found>), expected: &[(&str, &str)]) {
        let (plan, mut found) = whole(3);
        spoil(&mut found);
        let findings = judge(&plan, &found, &RETENTION, None);
        let seen: Vec<(&str, &str)> = findings.iter().map(|finding| (finding.topic.as_str(), finding.code)).collect();
        assert_eq!(seen, expected, "{findings:#?}");
    }

    fn set(topic: &'static str, key: &'static str, value: &'static str) -> impl FnOnce(&mut BTreeMap<String, Found>) {
        move |found| drop(found.get_mut(topic).expect(topic).settings.insert(key.into(), value.into()))
    }

    #[test]
    fn what_was_planned_has_no_fault() {
        check(|_| (), &[]);
        let (plan, found) = whole(1);
        assert_eq!(judge(&plan, &found, &RETENTION, Some(4)), []);
    }

    #[test]
    fn each_fault_is_found() {
        check(|found| drop(found.remove("labels")), &[("labels", "missing")]);
        check(|found| found.get_mut("scores").expect("there").partitions = 3, &[("scores", "partitions")]);
        check(|found| found.get_mut("fraudd.audit").expect("there").partitions = 4, &[("fraudd.audit", "partitions")]);
        check(|found| found.get_mut("labels").expect("there").settings.clear(), &[("labels", "hidden")]);
        check(set("fraudd.state", "cleanup.policy", "compact"), &[("fraudd.state", "cleanup_policy")]);
        check(set("fraudd.control", "cleanup.policy", "delete"), &[("fraudd.control", "cleanup_policy")]);
        check(set("fraudd.state", "retention.ms", "604800000"), &[("fraudd.state", "state_retention")]);
        check(set("fraudd.state", "retention.ms", "-1"), &[]);
        check(set("transactions", "retention.ms", "3600000"), &[("transactions", "input_retention")]);
        check(set("transactions", "retention.ms", "604800000"), &[("transactions", "ledger_retention")]);
        check(set("transactions", "retention.ms", "-1"), &[("transactions", "ledger_retention")]);
        check(set("labels", "message.timestamp.type", "CreateTime"), &[("labels", "timestamp_type")]);
        check(set("alerts", "min.insync.replicas", "1"), &[("alerts", "in_sync")]);
        check(set("alerts", "min.insync.replicas", "4"), &[("alerts", "replicas")]);
        check(set("fraudd.state", "max.message.bytes", "1048588"), &[("fraudd.state", "message_len")]);
    }

    #[test]
    fn the_input_is_judged_by_the_setting_when_there_is_one() {
        let (plan, found) = whole(3);
        let findings = judge(&plan, &found, &RETENTION, Some(6));
        assert_eq!(findings.iter().filter(|finding| finding.code == "partitions").count(), 8, "{findings:#?}");
    }

    #[test]
    fn a_ledger_of_less_than_a_day_is_a_fault() {
        let (plan, found) = whole(3);
        let retention = Retention { ledger: Span::from_seconds(3_600), ..RETENTION };
        let findings = judge(&plan, &found, &retention, None);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        assert_eq!(findings[0].code, "ledger_short");
    }
}
