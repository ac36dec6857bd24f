//! Logistic regression on sparse rows, by L-BFGS (D. C. Liu and J. Nocedal, Mathematical Programming 45, 1989).

use std::sync::Mutex;

use argmin::core::{CostFunction, Error as ArgminError, Executor, Gradient};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;
use rayon::prelude::*;

use super::matrix::Matrix;
use crate::data::Answers;
use crate::predict::{sigmoid, softmax};
use crate::{Error, Result};

/// Rows or columns that a thread computes at once; sums are made chunk by chunk, whatever the number of threads.
const CHUNK: usize = 512;
/// Steps that L-BFGS remembers.
const MEMORY: usize = 5;
/// Steps, at most.
const MOST_STEPS: u64 = 100;
/// The fit ends where the gradient of the mean loss is no longer than this.
const GRADIENT: f64 = 1e-6;

/// A fitted model of O outputs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Logistic {
    /// `[V + 1, O]` the weights of each term, and last the intercepts.
    weights: Vec<f64>,
    link: Link,
    /// Classes that there are.
    classes: usize,
}

/// What the outputs mean.
#[derive(Clone, Debug, PartialEq)]
enum Link {
    /// The same probabilities for all rows, `[C]`: nothing is to be told apart.
    Constant(Vec<f64>),
    /// One output: the second of these two classes against the first.
    Two([u32; 2]),
    /// A softmax over these classes, the others do not occur.
    Softmax(Vec<u32>),
    /// A sigmoid for each of these labels; the others all rows have or none, as `[C]` says.
    Sigmoids(Vec<u32>, Vec<f64>),
}

impl Logistic {
    /// Minimises the sum of the log losses of the rows and half the squared weights (not the intercepts), as scikit-learn's with its
    /// `C = 1`.
    ///
    /// # Errors
    /// L-BFGS fails, as on numbers that are not finite.
    pub(super) fn fit(rows: &Matrix, answers: &Answers, classes: usize) -> Result<Self> {
        let (link, targets) = link(answers, classes);
        let outputs = link.outputs();
        let mut weights = vec![0.0; (rows.width + 1) * outputs];
        if outputs > 0 {
            let problem = Problem { rows, columns: rows.transposed(), targets, outputs, last: Mutex::default() };
            weights = minimise(problem, weights).map_err(|error| {
                Error::value(
                    "baseline",
                    "logistic regression",
                    "a fit",
                    format!("{error}; leave it out with --no-baselines"),
                )
            })?;
        }
        Ok(Self { weights, link, classes })
    }

    /// `[N, C]` the probability of each class.
    pub(super) fn probabilities(&self, rows: &Matrix) -> Vec<f64> {
        let outputs = self.link.outputs();
        let row = |row| {
            let mut z = vec![0.0; outputs];
            logits(&self.weights, rows, row, &mut z);
            let mut all = vec![0.0; self.classes];
            match &self.link {
                Link::Constant(shares) => all.copy_from_slice(shares),
                Link::Two([first, second]) => {
                    let [p, q] = [sigmoid(z[0]), sigmoid(-z[0])];
                    (all[*second as usize], all[*first as usize]) = (p, q);
                }
                Link::Softmax(classes) => {
                    softmax(&mut z);
                    classes.iter().zip(z).for_each(|(&id, p)| all[id as usize] = p);
                }
                Link::Sigmoids(labels, constant) => {
                    all.copy_from_slice(constant);
                    labels.iter().zip(z).for_each(|(&id, z)| all[id as usize] = sigmoid(z));
                }
            }
            all
        };
        (0..rows.rows()).into_par_iter().flat_map_iter(row).collect()
    }
}

impl Link {
    fn outputs(&self) -> usize {
        match self {
            Self::Constant(_) => 0,
            Self::Two(_) => 1,
            Self::Softmax(ids) | Self::Sigmoids(ids, _) => ids.len(),
        }
    }
}

/// What is to be told apart, and the rows' answers in terms of the outputs: one of them for a softmax, those that hold for sigmoids.
fn link(answers: &Answers, classes: usize) -> (Link, Answers) {
    let counts = answers.counts(classes);
    let rows = answers.len();
    let place = |ids: &[u32], row: usize| -> Vec<u32> {
        answers.row(row).iter().filter_map(|id| Some(ids.binary_search(id).ok()? as u32)).collect()
    };
    let of_rows = |ids: &[u32]| (0..rows).map(|row| place(ids, row)).collect::<Vec<_>>();
    let shares = || counts.iter().map(|&count| count as f64 / rows as f64).collect::<Vec<_>>();
    let ids = |there: &dyn Fn(usize) -> bool| -> Vec<u32> {
        counts.iter().zip(0..).filter(|(count, _)| there(**count)).map(|(_, id)| id).collect()
    };
    match answers {
        Answers::Several(_) => {
            let labels = ids(&|count| count > 0 && count < rows);
            let targets = Answers::Several(of_rows(&labels));
            (Link::Sigmoids(labels, shares()), targets)
        }
        Answers::One(_) => match ids(&|count| count > 0)[..] {
            [] | [_] => (Link::Constant(shares()), Answers::One(Vec::new())),
            [first, second] => (Link::Two([first, second]), Answers::Several(of_rows(&[second]))),
            ref several => {
                let targets = of_rows(several).into_iter().flatten().collect();
                (Link::Softmax(several.to_vec()), Answers::One(targets))
            }
        },
    }
}

/// What L-BFGS minimises: the mean loss and half the squared weights over the number of rows.
struct Problem<'a> {
    rows: &'a Matrix,
    /// The same, column by column.
    columns: Matrix,
    targets: Answers,
    outputs: usize,
    /// Where it was last computed, and what was found: L-BFGS asks for loss and gradient one after the other.
    last: Mutex<Option<Point>>,
}

#[derive(Clone)]
struct Point {
    weights: Vec<f64>,
    loss: f64,
    gradient: Vec<f64>,
}

fn minimise(problem: Problem, start: Vec<f64>) -> std::result::Result<Vec<f64>, ArgminError> {
    let search = MoreThuenteLineSearch::new().with_c(1e-4, 0.9)?;
    let solver = LBFGS::new(search, MEMORY).with_tolerance_grad(GRADIENT)?.with_tolerance_cost(0.0)?;
    let configured = Executor::new(problem, solver).configure(|state| state.param(start).max_iters(MOST_STEPS));
    let mut result = configured.timer(false).run()?;
    result.state.take_best_param().ok_or_else(|| ArgminError::msg("no step was made"))
}

impl CostFunction for Problem<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, weights: &Vec<f64>) -> std::result::Result<f64, ArgminError> {
        self.at(weights, |point| point.loss)
    }
}

impl Gradient for Problem<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, weights: &Vec<f64>) -> std::result::Result<Vec<f64>, ArgminError> {
        self.at(weights, |point| point.gradient.clone())
    }
}

impl Problem<'_> {
    fn at<T>(&self, weights: &[f64], take: impl Fn(&Point) -> T) -> std::result::Result<T, ArgminError> {
        let mut last = self.last.lock().map_err(|_| ArgminError::msg("a thread failed"))?;
        match last.as_ref().filter(|point| point.weights == weights) {
            Some(point) => Ok(take(point)),
            None => Ok(take(last.insert(self.point(weights)))),
        }
    }

    fn point(&self, weights: &[f64]) -> Point {
        let (n, outputs) = (self.rows.rows(), self.outputs);
        // what each row adds to the gradient of its logits
        let mut residuals = vec![0.0; n * outputs];
        let chunk = |(first, residuals): (usize, &mut [f64])| {
            let rows = residuals.chunks_exact_mut(outputs).zip(first * CHUNK..);
            rows.map(|(residuals, row)| {
                logits(weights, self.rows, row, residuals);
                residual(residuals, &self.targets, row)
            })
            .sum()
        };
        let losses: Vec<f64> = residuals.par_chunks_mut(CHUNK * outputs).enumerate().map(chunk).collect();
        let terms = self.rows.width * outputs;
        let square: f64 = weights[..terms].iter().map(|w| w * w).sum();
        let loss = (losses.iter().sum::<f64>() + square / 2.0) / n as f64;
        let mut gradient = weights.to_vec();
        gradient[terms..].fill(0.0);
        residuals.chunks_exact(outputs).for_each(|row| add(&mut gradient[terms..], 1.0, row));
        gradient[..terms].par_chunks_mut(CHUNK * outputs).enumerate().for_each(|(first, gradient)| {
            for (gradient, column) in gradient.chunks_exact_mut(outputs).zip(first * CHUNK..) {
                for (row, value) in self.columns.row(column) {
                    add(gradient, value, &residuals[row * outputs..][..outputs]);
                }
            }
        });
        gradient.iter_mut().for_each(|g| *g /= n as f64);
        Point { weights: weights.to_vec(), loss, gradient }
    }
}

/// The logits of a row.
fn logits(weights: &[f64], rows: &Matrix, row: usize, into: &mut [f64]) {
    let outputs = into.len();
    into.copy_from_slice(&weights[rows.width * outputs..][..outputs]);
    rows.row(row).for_each(|(column, value)| add(into, value, &weights[column * outputs..][..outputs]));
}

fn add(sum: &mut [f64], times: f64, what: &[f64]) {
    sum.iter_mut().zip(what).for_each(|(sum, x)| *sum += times * x);
}

/// Replaces logits by their gradient, and returns the loss.
fn residual(logits: &mut [f64], targets: &Answers, row: usize) -> f64 {
    let held = targets.row(row);
    let of_held: f64 = held.iter().map(|&id| logits[id as usize]).sum();
    let normaliser = match targets {
        Answers::One(_) => softmax(logits),
        Answers::Several(_) => {
            // ln(1 + e^z), without overflow
            let sum = logits.iter().map(|z| z.max(0.0) + (-z.abs()).exp().ln_1p()).sum();
            logits.iter_mut().for_each(|z| *z = sigmoid(*z));
            sum
        }
    };
    held.iter().for_each(|&id| logits[id as usize] -= 1.0);
    normaliser - of_held
}

#[cfg(test)]
mod tests;
