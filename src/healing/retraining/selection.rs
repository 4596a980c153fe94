//! Which recorded decisions a model may learn from, and what each weighs.
//!
//! A label that has not come is *missing* until it is mature, and means genuine only then. A declined transaction
//! never gets one by itself: what the world would have said of it is unknown.

use serde::{Deserialize, Serialize};

use super::request::{Declined, Request, Window};
use crate::domain::{LabelKind, Outcome, Span, Timestamp};

/// Which rows count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// The first event time that counts; all the past when absent.
    pub from: Option<Timestamp>,
    /// The first event time that does not; the newest mature one when absent.
    pub until: Option<Timestamp>,
    /// What is known: labels after it do not count.
    pub as_of: Timestamp,
    /// How long after a transaction a label may still come.
    pub maturity: Span,
    /// What is left out.
    pub leave_out: Vec<Window>,
    /// What stands for declined transactions.
    pub declined: Declined,
}

/// What is asked of one recorded decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// When the transaction happened.
    pub occurred_at: Timestamp,
    /// What was answered.
    pub outcome: Outcome,
    /// The control share that let it through, when one did.
    pub control_share: Option<f64>,
    /// What is said of it, and since when.
    pub label: Option<(Timestamp, LabelKind)>,
    /// Whether its features are those of the schema, and were whole then.
    pub is_whole: bool,
}

/// Why a row does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// Before the first or after the last instant.
    Outside,
    /// Its label may still come.
    Immature,
    /// In a window that is left out.
    Incident,
    /// Its features are another schema's, masked, or were still being restored.
    NotWhole,
    /// It was declined, and nothing stands for it.
    Declined,
}

impl LeftOut {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Outside, Self::Immature, Self::Incident, Self::NotWhole, Self::Declined];

    /// Returns the name used for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outside => "outside the window",
            Self::Immature => "without a mature label",
            Self::Incident => "in a window left out",
            Self::NotWhole => "with features of another schema or not whole",
            Self::Declined => "declined",
        }
    }
}

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It counts.
    Kept {
        /// How many transactions it stands for.
        weight: f64,
        /// What was known of it.
        label: Option<(Timestamp, LabelKind)>,
    },
    /// It does not.
    Left(LeftOut),
}

impl Selection {
    /// Takes what a request asks for, with what is known now.
    #[must_use]
    pub fn of(request: &Request, as_of: Timestamp) -> Self {
        let Request { from, until, maturity, leave_out, declined, .. } = request;
        let leave_out = leave_out.clone();
        Self { from: *from, until: Some(*until), as_of, maturity: *maturity, leave_out, declined: *declined }
    }

    /// Judges one row.
    #[must_use]
    pub fn judge(&self, row: &Row) -> Verdict {
        let at = row.occurred_at;
        if self.from.is_some_and(|from| at < from) || self.until.is_some_and(|until| at >= until) {
            return Verdict::Left(LeftOut::Outside);
        }
        // Also with a label already: those that come early are no random sample.
        if at.plus(self.maturity) > self.as_of {
            return Verdict::Left(LeftOut::Immature);
        }
        if self.leave_out.iter().any(|window| window.has(at)) {
            return Verdict::Left(LeftOut::Incident);
        }
        if !row.is_whole {
            return Verdict::Left(LeftOut::NotWhole);
        }
        let label = row.label.filter(|(known_at, _)| *known_at <= self.as_of);
        match self.weight(row, label.is_some()) {
            Some(weight) => Verdict::Kept { weight, label },
            None => Verdict::Left(LeftOut::Declined),
        }
    }

    /// Returns how many transactions a row stands for; `None` when nothing is known of it.
    fn weight(&self, row: &Row, is_labelled: bool) -> Option<f64> {
        // A share that is none would weigh without bound.
        let share = row.control_share.filter(|share| *share > 0.0 && *share <= 1.0);
        match (self.declined, share, row.outcome) {
            (Declined::Control, Some(share), _) => Some(1.0 / share),
            (Declined::Control, None, Outcome::Decline) => None,
            (Declined::Labelled, None, Outcome::Decline) => is_labelled.then_some(1.0),
            (Declined::Labelled, Some(_), _) | (_, None, Outcome::Approve | Outcome::Review | Outcome::Challenge) => {
                Some(1.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::request::Why;
    use super::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_seconds(1_772_359_200 + day * 86_400)
    }

    fn selection(declined: Declined) -> Selection {
        Selection {
            from: Some(at(0)),
            until: Some(at(100)),
            as_of: at(30),
            maturity: Span::from_days(7),
            leave_out: vec![Window { from: at(10), until: at(12), why: Why::BrokenFeature }],
            declined,
        }
    }

    fn row(day: i64, outcome: Outcome, label: Option<(i64, LabelKind)>) -> Row {
        let label = label.map(|(day, kind)| (at(day), kind));
        Row { occurred_at: at(day), outcome, control_share: None, label, is_whole: true }
    }

    #[test]
    fn a_label_counts_when_it_is_mature_and_known() {
        let check = |row: Row, expected: Verdict| assert_eq!(selection(Declined::Labelled).judge(&row), expected);
        let fraud = |day| Some((day, LabelKind::Chargeback));
        let kept = |label| Verdict::Kept { weight: 1.0, label };
        let approved = |day, label| row(day, Outcome::Approve, label);
        check(approved(5, fraud(9)), kept(Some((at(9), LabelKind::Chargeback))));
        check(approved(5, fraud(31)), kept(None));
        check(approved(5, None), kept(None));
        check(approved(23, None), kept(None));
        check(approved(24, fraud(25)), Verdict::Left(LeftOut::Immature));
        check(approved(-1, fraud(2)), Verdict::Left(LeftOut::Outside));
        check(approved(100, fraud(2)), Verdict::Left(LeftOut::Outside));
        check(approved(10, fraud(12)), Verdict::Left(LeftOut::Incident));
        check(approved(12, None), kept(None));
        check(Row { is_whole: false, ..approved(5, None) }, Verdict::Left(LeftOut::NotWhole));
    }

    #[test]
    fn a_declined_transaction_counts_by_what_stands_for_it() {
        let check = |declined, row: &Row, expected: Option<f64>| {
            let weight = match selection(declined).judge(row) {
                Verdict::Kept { weight, .. } => Some(weight),
                Verdict::Left(why) => {
                    assert_eq!(why, LeftOut::Declined);
                    None
                }
            };
            assert_eq!(weight, expected, "{declined:?} {row:?}");
        };
        let labelled = row(5, Outcome::Decline, Some((6, LabelKind::FalsePositive)));
        let silent = row(5, Outcome::Decline, None);
        let control = Row { control_share: Some(0.02), ..row(5, Outcome::Review, None) };
        check(Declined::Labelled, &labelled, Some(1.0));
        check(Declined::Labelled, &silent, None);
        check(Declined::Labelled, &control, Some(1.0));
        check(Declined::Control, &labelled, None);
        check(Declined::Control, &silent, None);
        check(Declined::Control, &control, Some(50.0));
        check(Declined::Control, &row(5, Outcome::Approve, None), Some(1.0));
        let absurd = Row { control_share: Some(0.0), ..silent };
        check(Declined::Control, &absurd, None);
    }

    proptest! {
        /// Control rows stand for all that would have been declined: their weights add up to how many there were.
        #[test]
        fn weights_of_the_control_share_add_up(share in 0.05f64..1.0, count in 2_000u64..4_000) {
            let selection = selection(Declined::Control);
            let mut sum = 0.0;
            for number in 0..count {
                // Every (1 / share)th one is let through.
                let let_through = (number as f64 * share).fract() + share >= 1.0;
                let outcome = if let_through { Outcome::Review } else { Outcome::Decline };
                let row = Row { control_share: let_through.then_some(share), ..row(5, outcome, None) };
                if let Verdict::Kept { weight, .. } = selection.judge(&row) {
                    sum += weight;
                }
            }
            prop_assert!((sum / count as f64 - 1.0).abs() < 0.05, "{sum} of {count}");
        }
    }
}
