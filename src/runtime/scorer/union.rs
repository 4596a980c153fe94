//! The standby, asked beside the model that answers while the most severe of both counts.
//!
//! Off, it costs one look at a value that is loaded anyway. On, both are asked at once and within the same deadline; a standby
//! that does not answer in time is told in the decision, and the others decide.

use smallvec::SmallVec;

use super::{Evaluation, Release, Request, Scorer};
use crate::domain::{DegradedReason, FeatureVector, Score, Transaction};
use crate::runtime::clock::Moment;
use crate::runtime::guard::{Admitted, Guard, Permit};
use crate::runtime::inference::{ModelFailure, Scored};
use crate::runtime::slot::{Model, Second, Union};
use crate::scoring::decide::union::Ballot;

/// What the standby said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Standby {
    /// It was not asked: it does not decide now.
    #[default]
    NotAsked,
    /// It should have answered and did not.
    Silent,
    /// Its score and its limits.
    Voted(Ballot),
}

/// The standby and its inputs for one transaction.
pub(super) type Row<'a> = (&'a Second, SmallVec<[f64; 64]>);

/// The same with the right to ask.
pub(super) type Asking<'a> = (&'a Second, SmallVec<[f64; 64]>, Permit<&'a Guard>);

impl Standby {
    pub(super) fn of(score: Result<Score, ModelFailure>, model: &Model) -> Self {
        score.map_or(Self::Silent, |score| Self::Voted(Ballot { score, thresholds: model.thresholds }))
    }

    pub(super) const fn ballot(self) -> Option<Ballot> {
        match self {
            Self::Voted(ballot) => Some(ballot),
            Self::NotAsked | Self::Silent => None,
        }
    }

    pub(super) const fn degraded(self) -> Option<DegradedReason> {
        match self {
            Self::NotAsked => None,
            Self::Silent => Some(DegradedReason::UnionIncomplete),
            Self::Voted(_) => Some(DegradedReason::United),
        }
    }
}

impl Scorer {
    /// Makes the standby's inputs: out of the features at hand where the schemas are the same, else as of the transaction
    /// and with the same ones masked. `None`: there is no standby that could be asked, or it is the model itself.
    pub(super) fn row_of_second<'a>(
        &self,
        union: &'a Union,
        release: &Release,
        (transaction, features): (&Transaction, &FeatureVector),
    ) -> Option<Row<'a>> {
        let second = union.second.as_deref()?;
        let is_itself = release.model.as_ref().is_some_and(|model| model.reference == second.model.reference);
        if is_itself {
            return None;
        }
        if second.schema.hash() == release.schema.hash() {
            return Some((second, row_of(second, features)));
        }
        let mut features = self.inner.parts.entities.peek(transaction, &second.plan);
        let _same_stance = self.inner.shield.protect(&mut features, &second.schema);
        let row = row_of(second, &features);
        Some((second, row))
    }

    /// Asks the model that answers and the standby at once.
    pub(super) async fn ask_both(
        &self,
        model: &Model,
        union: &Union,
        release: &Release,
        (request, evaluation): (&Request, &Evaluation),
    ) -> (Result<Score, DegradedReason>, Standby) {
        let row = self.row_of_second(union, release, (&request.transaction, &evaluation.features));
        tokio::join!(self.ask_model(model, &evaluation.row, request), self.ask_second(row, request))
    }

    /// Asks the standby within the model's deadline.
    async fn ask_second(&self, row: Option<Row<'_>>, request: &Request) -> Standby {
        let Some((second, row, permit)) = row.and_then(asked_of) else { return Standby::Silent };
        let model = &second.model;
        let deadline = Moment::now().after(self.inner.options.model_deadline).min(request.deadline);
        let Scored { score, course } = model.inference.score_timed(&row, deadline).await;
        permit.settle_scored(score.as_ref().err(), course, model.guard.slow_after_us());
        Standby::of(score, model)
    }
}

fn row_of(second: &Second, features: &FeatureVector) -> SmallVec<[f64; 64]> {
    second.schema.inputs().iter().map(|&place| features.values()[place]).collect()
}

/// Takes the permit to ask: the standby has a guard of its own.
pub(super) fn asked_of((second, row): Row<'_>) -> Option<Asking<'_>> {
    match second.model.guard.admit() {
        Admitted::Call(permit) => Some((second, row, permit)),
        Admitted::Refused => None,
        Admitted::Sampled => {
            second.model.guard.offer(&row);
            None
        }
    }
}
