//! Alarms of others (Prometheus' Alertmanager): mapped to alarms of ours, one finding a fingerprint, until resolved.
//!
//! The same alarm sent again changes nothing; one that is never resolved ends by itself after a while.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::domain::{Span, Timestamp};
use crate::healing::finding::{Alarm, Evidence, Finding, Verdict};

/// The most alarms of others at a time.
const ALARMS_MAX: usize = 256;

/// How alarms of others are understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalOptions {
    /// Which of our alarms a name (`alertname`) stands for; those that are not named are not taken.
    pub alarms: BTreeMap<String, Alarm>,
    /// Whether they may be acted on, or are only shown.
    pub is_acting: bool,
    /// How long one holds that is not sent again.
    pub age_max: Span,
}

/// An alarm of somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its identity.
    pub fingerprint: String,
    /// Its name.
    pub name: String,
    /// Whether it is over.
    pub is_resolved: bool,
    /// Since when.
    pub since: Option<Timestamp>,
    /// One line for people.
    pub text: String,
}

/// What was done with an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is new here.
    Raised,
    /// It was here already.
    Known,
    /// It is over.
    Ended,
    /// Its name stands for none of our alarms.
    Unmapped,
    /// There is no room.
    Full,
}

impl Taken {
    /// Returns the name used in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Known => "known",
            Self::Ended => "ended",
            Self::Unmapped => "unmapped",
            Self::Full => "full",
        }
    }
}

/// The alarms of others that are open.
pub struct External {
    options: ExternalOptions,
    open: Mutex<BTreeMap<String, (Finding, Timestamp)>>,
}

impl External {
    pub(super) fn new(options: ExternalOptions) -> Self {
        Self { options, open: Mutex::default() }
    }

    /// Takes an alert.
    pub fn take(&self, alert: Alert, now: Timestamp) -> Taken {
        let Some(alarm) = self.options.alarms.get(&alert.name) else { return Taken::Unmapped };
        let mut open = self.open.lock();
        if alert.is_resolved {
            return if open.remove(&alert.fingerprint).is_some() { Taken::Ended } else { Taken::Known };
        }
        if let Some((_, seen)) = open.get_mut(&alert.fingerprint) {
            *seen = now;
            return Taken::Known;
        }
        if open.len() >= ALARMS_MAX {
            return Taken::Full;
        }
        let finding = Finding {
            alarm: *alarm,
            subject: Some(format!("{}:{}", alert.name, alert.fingerprint)),
            model: None,
            verdict: if self.options.is_acting { Verdict::Acting } else { Verdict::Advisory },
            since: alert.since.unwrap_or(now),
            at: now,
            evidence: Evidence { text: alert.text, ..Evidence::default() },
        };
        open.insert(alert.fingerprint, (finding, now));
        Taken::Raised
    }

    /// Returns the findings that are open, letting go of those nobody speaks of any more.
    #[must_use]
    pub fn findings(&self, now: Timestamp) -> Vec<Finding> {
        let oldest = now.minus(self.options.age_max);
        let mut open = self.open.lock();
        open.retain(|_, (_, seen)| *seen > oldest);
        open.values().map(|(finding, _)| finding.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_one_finding_until_it_is_resolved() {
        let alarms = BTreeMap::from([("KafkaDown".to_owned(), Alarm::Volume)]);
        let external = External::new(ExternalOptions { alarms, is_acting: true, age_max: Span::from_seconds(60) });
        let alert = |name: &str, is_resolved| Alert {
            fingerprint: "f".into(),
            name: name.into(),
            is_resolved,
            since: None,
            text: String::new(),
        };
        let at = Timestamp::from_seconds;
        assert_eq!(external.take(alert("Other", false), at(1)), Taken::Unmapped);
        assert_eq!(external.take(alert("KafkaDown", false), at(1)), Taken::Raised);
        assert_eq!(external.take(alert("KafkaDown", false), at(30)), Taken::Known);
        assert_eq!(external.findings(at(80)).len(), 1);
        assert_eq!(external.findings(at(80))[0].at, at(1), "sent again it is the same finding");
        assert_eq!(external.take(alert("KafkaDown", true), at(81)), Taken::Ended);
        assert!(external.findings(at(82)).is_empty());
        external.take(alert("KafkaDown", false), at(100));
        assert!(external.findings(at(161)).is_empty(), "nobody speaks of it any more");
    }
}
