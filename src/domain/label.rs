//! Labels: what became of a transaction, told later.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// What a label says. Chargebacks count as fraud, false positives as legitimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelKind {
    /// Confirmed fraud.
    Fraud,
    /// Confirmed legitimate.
    Legitimate,
    /// The card holder disputed it: counted as fraud.
    Chargeback,
    /// We stopped it and it was legitimate.
    FalsePositive,
}

impl LabelKind {
    /// Every kind, in the order of the contract.
    pub const ALL: [Self; 4] = [Self::Fraud, Self::Legitimate, Self::Chargeback, Self::FalsePositive];

    /// Tells whether this counts as fraud.
    #[must_use]
    pub const fn is_fraud(self) -> bool {
        match self {
            Self::Fraud | Self::Chargeback => true,
            Self::Legitimate | Self::FalsePositive => false,
        }
    }

    /// Returns the name used in JSON, CSV and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fraud => "fraud",
            Self::Legitimate => "legitimate",
            Self::Chargeback => "chargeback",
            Self::FalsePositive => "false_positive",
        }
    }
}

/// A label for one transaction, with its own event time. A later one supersedes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The transaction it is about.
    pub transaction_id: CompactString,
    /// What it says.
    #[serde(rename = "label")]
    pub kind: LabelKind,
    /// When it became known, in event time: no transaction before this instant sees it.
    pub occurred_at: Timestamp,
    /// Who says so (`chargebacks`, `analyst`); at most 64 bytes.
    pub source: CompactString,
}
