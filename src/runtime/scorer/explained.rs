//! Contributions: when they are due, whether they can be paid for, and what is said where they cannot.

use super::{Evaluation, Release, Request, Scorer};
use crate::domain::{Contribution, Outcome, Score};
use crate::runtime::clock::Moment;
use crate::runtime::explainer::Spending;
use crate::runtime::inference::ModelFailure;
use crate::runtime::slot::Model;
use crate::scoring::explain::{moved_inputs, occluded_rows, rank};

/// How a decision is explained.
pub(super) enum Explained {
    NotDue,
    Omitted(&'static str),
    Contributions(Vec<Contribution>),
}

/// Contributions that are due and paid for.
pub(super) struct Due {
    pub(super) score: Score,
    pub(super) inputs: Vec<usize>,
    pub(super) started: Moment,
    pub(super) spending: Spending,
}

impl Due {
    /// Ranks what the model answered to each input at rest.
    pub(super) fn explained(
        &self,
        scores: Vec<Result<Score, ModelFailure>>,
        release: &Release,
        deadline: Moment,
    ) -> Explained {
        let occluded: Vec<Option<Score>> = scores.into_iter().map(Result::ok).collect();
        if occluded.iter().all(Option::is_none) {
            return Explained::Omitted(if deadline.has_passed() { "deadline" } else { "model_error" });
        }
        Explained::Contributions(rank(&self.inputs, self.score, &occluded, release.schema.inputs()))
    }
}

impl Scorer {
    /// Computes contributions when they are due and affordable, else says why not.
    pub(super) async fn explain(
        &self,
        release: &Release,
        request: &Request,
        evaluation: &Evaluation,
        outcome: Outcome,
    ) -> Explained {
        let Some(model) = &release.model else { return Explained::NotDue };
        let due = match self.due(model, request, evaluation, (outcome, request.deadline)) {
            Ok(due) => due,
            Err(explained) => return explained,
        };
        let deadline = due.started.after(self.inner.options.model_deadline).min(request.deadline);
        let rows = occluded_rows(&evaluation.row, &model.baseline, &due.inputs);
        let scores = model.inference.score_rows(rows, deadline).await;
        self.inner.parts.explanations.settle(&due.spending, Moment::now().micros_since(due.started));
        due.explained(scores, release, deadline)
    }

    /// Finds out whether contributions are due and affordable: which inputs, or what is said instead.
    pub(super) fn due(
        &self,
        model: &Model,
        request: &Request,
        evaluation: &Evaluation,
        (outcome, deadline): (Outcome, Moment),
    ) -> Result<Due, Explained> {
        let Ok(score) = evaluation.score else { return Err(Explained::NotDue) };
        if outcome == Outcome::Approve && !request.explain {
            return Err(Explained::NotDue);
        }
        let inputs = moved_inputs(&evaluation.row, &model.baseline);
        if inputs.is_empty() {
            return Err(Explained::Contributions(Vec::new()));
        }
        let started = Moment::now();
        if deadline <= started {
            return Err(Explained::Omitted("deadline"));
        }
        let spending = self.inner.parts.explanations.take(inputs.len(), started);
        Ok(Due { score, inputs, started, spending: spending.ok_or(Explained::Omitted("budget"))? })
    }
}
