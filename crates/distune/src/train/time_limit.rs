//! A time limit: as many steps as fit into it together with their evaluations, chosen before the first one.
//!
//! Speed is measured with steps whose effect is undone, a twentieth of the time and 30 s at most. So the number of steps is known
//! before the training begins: its warmup and decay are laid over them as over any other number, and a recipe that names that
//! number gives the same bits without measuring. Steps that count while they are measured would need learning rates of a
//! schedule whose length is not known yet.

use std::fmt::{Display, Formatter};
use std::io::Seek;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::data::Examples;
use crate::engine::Engine;
use crate::predict::text_logits;
use crate::train::cache::FrozenCache;
use crate::train::{Observer, Recipe, SharedCache, Storage, Training, shuffled};
use crate::{Error, Result};

/// The part of the time that is measured, and the most of it.
const MEASURED: f64 = 0.05;
const MOST_MEASURED: Duration = Duration::from_secs(30);
/// The part of the time that is planned for: checkpoints and other work on the machine take some.
const PLANNED: f64 = 0.95;
/// Steps that are measured at least, after one that is not: its buffers are new.
const LEAST_STEPS: usize = 3;
/// Rows that are judged first to measure that.
const FIRST_ROWS: usize = 32;

/// A length of time as people write it: `90s`, `10m`, `1h 30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeLimit(Duration);

impl Display for TimeLimit {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl FromStr for TimeLimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::value("recipe", "max_time", "a time such as 90s, 10m or 1h 30m", format!("\"{text}\""));
        humantime::parse_duration(text).ok().filter(|time| !time.is_zero()).map(Self).ok_or_else(wrong)
    }
}

impl From<TimeLimit> for String {
    fn from(limit: TimeLimit) -> Self {
        limit.to_string()
    }
}

impl TryFrom<String> for TimeLimit {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

/// What fits into a time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FittedSteps {
    /// The time.
    pub max_time: TimeLimit,
    /// Steps that fit, at most those that were asked for.
    pub steps: usize,
    /// Steps that were asked for.
    pub steps_asked_for: usize,
    /// Seconds of a step, without what frozen blocks cost the first time.
    pub seconds_a_step: f64,
    /// Seconds that frozen blocks cost for a row the first time.
    pub seconds_a_frozen_row: f64,
    /// Seconds of an evaluation.
    pub seconds_an_evaluation: f64,
    /// Seconds that all of it should take, from the beginning of the measurement on.
    pub seconds: f64,
}

/// Replaces a recipe's `max_time` by a number of steps: those that fit into the time, with evaluations of the validation rows, the
/// measurement itself, and one evaluation of `rows_at_the_end` rows. The engine is left as it was. Does nothing without a `max_time`.
///
/// # Errors
/// [`Error::Value`] when not even one step fits; [`Error::Interrupted`]; what a step may end with.
pub fn fit_to_time(
    engine: &mut dyn Engine,
    train: &Examples,
    validation: &Examples,
    rows_at_the_end: usize,
    recipe: &mut Recipe,
    storage: &Storage,
    observer: &mut dyn Observer,
) -> Result<Option<FittedSteps>> {
    let (Some(max_time), start) = (recipe.max_time, Instant::now()) else { return Ok(None) };
    let measured = max_time.0.mul_f64(MEASURED).min(MOST_MEASURED);
    let failed = |e: std::io::Error| storage.error("keep the weights in a temporary file in", &e);
    let mut before = tempfile::tempfile_in(&storage.directory).map_err(failed)?;
    engine.write_state(&mut before).map_err(failed)?;
    let mut kept = SharedCache::default();
    let mut training = Training::new(engine, train, recipe, storage)?;
    training.cache = kept.serve(FrozenCache::new(storage, train.len(), engine, recipe, &training.thawed, false));
    let mut costs = training.measure(engine, measured, observer)?;
    before.rewind().and_then(|()| engine.read_state(&mut before)).map_err(failed)?;
    costs.judged_row = seconds_a_row(engine, validation, measured / 4)?;
    (costs.validation_rows, costs.rows_at_the_end) = (validation.len(), rows_at_the_end);

    let steps_asked_for = recipe.schedule(train.len()).total_steps;
    let spent = start.elapsed().as_secs_f64();
    let left = PLANNED * max_time.0.as_secs_f64() - spent;
    let steps = costs.most_steps(steps_asked_for, left);
    if steps == 0 {
        let least = format!("{:.1} s, for one step and an evaluation", (spent + costs.seconds(1)) / PLANNED);
        return Err(Error::value("recipe", "max_time", format!("at least {least}"), max_time));
    }
    recipe.max_time = None;
    if steps < steps_asked_for {
        recipe.max_steps = i64::try_from(steps).unwrap_or(i64::MAX);
    }
    Ok(Some(FittedSteps {
        max_time,
        steps,
        steps_asked_for,
        seconds_a_step: costs.step,
        seconds_a_frozen_row: costs.frozen_row,
        seconds_an_evaluation: costs.judged_row * validation.len() as f64,
        seconds: spent + costs.seconds(steps),
    }))
}

/// Seconds to judge a row, from as many of the first ones as take `time` together.
fn seconds_a_row(engine: &mut dyn Engine, validation: &Examples, time: Duration) -> Result<f64> {
    let mut rows = FIRST_ROWS.min(validation.len());
    loop {
        let texts = (0..rows).map(|row| validation.text(row)).collect::<Result<Vec<_>>>()?;
        let start = Instant::now();
        text_logits(engine, &texts, validation.tokenizer().combine(), |_| Result::Ok(()))?;
        if rows == validation.len() || start.elapsed() >= time {
            return Ok(start.elapsed().as_secs_f64() / rows as f64);
        }
        rows = (rows * 2).min(validation.len());
    }
}

impl Training<'_, '_> {
    /// What steps cost, from some that are made with a learning rate of zero.
    fn measure(mut self, engine: &mut dyn Engine, time: Duration, observer: &mut dyn Observer) -> Result<Costs> {
        let (rows_per_step, rows) = (self.recipe.rows_per_step(), self.train.len());
        let most_steps = (self.schedule.total_steps as f64 * MEASURED).ceil().max(LEAST_STEPS as f64) as usize;
        let order = shuffled(rows, self.recipe.seed, 1);
        let frozen = |training: &Self| training.cache.as_ref().map_or(0.0, |cache| cache.report().seconds_computing);
        let (start, mut steps, mut seconds) = (Instant::now(), 0, 0.0);
        for (step, rows) in order.chunks(rows_per_step).cycle().enumerate() {
            if observer.stop_requested() {
                let when = "while the speed was measured".to_owned();
                return Err(Error::Interrupted { when, kept: "nothing was written".into() });
            }
            // which a thread does ahead of the steps of a training
            rows.iter().try_for_each(|&row| self.train.sequence(row).map(drop))?;
            let (start_of_step, frozen_before) = (Instant::now(), frozen(&self));
            // as the last steps of the training, in which everything trains that ever does
            self.step(engine, rows, self.schedule.total_steps + step, 0.0)?;
            if step > 0 {
                steps += 1;
                seconds += start_of_step.elapsed().as_secs_f64() - (frozen(&self) - frozen_before);
            }
            if steps >= LEAST_STEPS && (steps >= most_steps || start.elapsed() >= time) {
                break;
            }
        }
        let mut costs = Costs { step: seconds / steps.max(1) as f64, rows, rows_per_step, ..Costs::default() };
        costs.eval_every = match self.recipe.eval_steps {
            0 => self.recipe.steps_per_epoch(rows).max(1),
            steps => steps,
        };
        if let Some(cache) = &self.cache {
            (costs.frozen_row, costs.rows_kept) = cache.costs();
        }
        Ok(costs)
    }
}

/// Seconds of the parts of a training.
#[derive(Debug, Default)]
struct Costs {
    /// A step, without frozen blocks whose outputs are kept.
    step: f64,
    /// What those take for a row.
    frozen_row: f64,
    /// A row that is judged.
    judged_row: f64,
    /// Rows that are trained on.
    rows: usize,
    rows_per_step: usize,
    /// How many of the rows the cache has room for.
    rows_kept: usize,
    /// Steps between evaluations.
    eval_every: usize,
    validation_rows: usize,
    rows_at_the_end: usize,
}

impl Costs {
    /// A training of so many steps.
    fn seconds(&self, steps: usize) -> f64 {
        let rows = steps * self.rows_per_step;
        let again = rows.saturating_sub(self.rows) as f64;
        let not_kept = 1.0 - self.rows_kept.min(self.rows) as f64 / self.rows.max(1) as f64;
        let frozen = rows.min(self.rows) as f64 + again * not_kept;
        let judged = steps.div_ceil(self.eval_every.max(1)) * self.validation_rows + self.rows_at_the_end;
        steps as f64 * self.step + frozen * self.frozen_row + judged as f64 * self.judged_row
    }

    /// The most steps up to `limit` that take no longer than `seconds`.
    fn most_steps(&self, limit: usize, seconds: f64) -> usize {
        let (mut fits, mut beyond) = (0, limit + 1);
        while fits + 1 < beyond {
            let middle = fits + (beyond - fits) / 2;
            *(if self.seconds(middle) <= seconds { &mut fits } else { &mut beyond }) = middle;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let seconds = |text: &str| text.parse::<TimeLimit>().unwrap().0.as_secs_f64();
        assert_eq!((seconds("90s"), seconds("10m"), seconds("1h 30m"), seconds("1500ms")), (90.0, 600.0, 5400.0, 1.5));
        assert_eq!("5400s".parse::<TimeLimit>().unwrap().to_string(), "1h 30m");
        for wrong in ["", "10", "soon", "0s", "-1m"] {
            let message = wrong.parse::<TimeLimit>().unwrap_err().to_string();
            let expected = format!("max_time: expected a time such as 90s, 10m or 1h 30m, found \"{wrong}\"");
            assert!(message.contains(&expected), "{message}");
        }
    }

    #[test]
    fn steps_that_fit() {
        let plain = Costs { step: 0.5, rows: 100, rows_per_step: 10, eval_every: 10, ..Costs::default() };
        assert_eq!((plain.most_steps(1000, 10.2), plain.most_steps(7, 10.2), plain.most_steps(9, 0.4)), (20, 7, 0));
        // an evaluation of 2 s after each 10 steps of 5 s, and one at the end: 2 + 4 + 5 + 2 of 13.9
        let judged = Costs { judged_row: 0.1, validation_rows: 20, rows_at_the_end: 40, ..plain };
        assert_eq!(judged.most_steps(1000, 13.9), 11);
        assert_eq!(judged.seconds(11), 5.5 + 2.0 * 2.0 + 4.0);
        // rows of the first epoch take longer, and half of them in each
        let frozen = Costs { step: 0.5, frozen_row: 0.01, rows_kept: 50, ..judged };
        assert!((frozen.seconds(20) - (10.0 + 1.5 + 8.0)).abs() < 1e-9);
    }
}
