//! Whether a training helped: the model that it started from, where that one had a trained head for these labels, against the
//! trained one, on the same rows.

use distune::data::Examples;
use distune::engine::Engine;
use distune::eval::{Bootstrap, Evaluation, Finding, Group, Pair, Predictions, compare, evaluate_with, predict};
use distune::train::Observer;
use distune::{Error, Result};

/// The rows that a training is judged on at its end.
#[derive(Clone, Copy)]
pub(super) struct Judged<'a> {
    pub(super) test: Option<&'a Examples>,
    pub(super) validation: &'a Examples,
}

/// What the model that a training starts from predicts for them; nothing for one without a trained head.
pub(super) struct Before(Option<Predictions>);

/// What the comparison of both models comes to.
pub(super) struct Helped {
    pub(super) pair: Pair,
    /// Whether it was on the validation rows.
    on_validation: bool,
}

impl<'a> Judged<'a> {
    /// The test rows, or where there are none the validation rows.
    fn compared(self) -> &'a Examples {
        self.test.unwrap_or(self.validation)
    }

    /// How many rows are judged beside the evaluations of a training.
    pub(super) fn rows(self, head_is_trained: bool) -> usize {
        let compared = if head_is_trained { self.compared().len() } else { 0 };
        match self.test {
            Some(test) => test.len() + compared,
            None => 2 * compared,
        }
    }

    /// Before the training.
    pub(super) fn before(
        self,
        head_is_trained: bool,
        engine: &mut dyn Engine,
        observer: &mut dyn Observer,
    ) -> Result<Before> {
        Ok(Before(if head_is_trained { Some(predict(engine, self.compared(), observer)?) } else { None }))
    }

    /// After it: judges the test rows, and compares.
    pub(super) fn after(
        self,
        before: &Before,
        engine: &mut dyn Engine,
        observer: &mut dyn Observer,
    ) -> Result<(Option<Evaluation>, Option<Helped>)> {
        let (evaluation, predictions) = match (self.test, &before.0) {
            (Some(test), _) => Some(evaluate_with(engine, test, observer)?).unzip(),
            (None, Some(_)) => (None, Some(predict(engine, self.validation, observer)?)),
            (None, None) => (None, None),
        };
        let (Some(before), Some(after)) = (&before.0, &predictions) else { return Ok((evaluation, None)) };
        let groups = [("The starting model", before), ("The trained model", after)]
            .map(|(name, run)| Group { name: name.to_owned(), runs: vec![run] });
        let (truth, names) = (self.compared().answers(), &engine.config().labels);
        let pair = compare(truth, &groups, names, None, Bootstrap::default())?.pairs.into_iter().next();
        let pair = pair.ok_or_else(|| Error::value("comparison", "number of models", "two", 1))?;
        Ok((evaluation, Some(Helped { pair, on_validation: self.test.is_none() })))
    }
}

impl Helped {
    /// "Fine-tuning helped. ..."
    pub(super) fn sentence(&self) -> String {
        let helped = match self.pair.finding {
            Finding::Better => "Fine-tuning helped",
            Finding::Worse => "Fine-tuning made it worse",
            Finding::Chance => "Whether fine-tuning helped cannot be told",
        };
        let favoured = match self.on_validation {
            true => " These rows also chose the epoch, which favours the trained model.",
            false => "",
        };
        format!("{helped}. {}{favoured}", self.pair.verdict)
    }
}
