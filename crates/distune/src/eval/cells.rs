//! Figures that count predictions, on resampled rows. Called by `resample`.
//!
//! They depend on the rows only through how many there are of each cell: the same labels, and the same predictions of all models.

use std::collections::HashMap;

use rand_distr::{Binomial, Distribution};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

use super::counts::Counts;
use super::resample::{Bootstrap, Family, MOST_DRAWS, draw};
use super::{Metric, Predictions};
use crate::data::Answers;

/// Draws of rows that take as long as a draw of one cell's share of them.
const DRAWS_OF_A_CELL: usize = 32;
/// What is added to the rows of a cell to see a metric's slope: little beside one row, much beside the rounding of sums.
const STEP: f64 = 1e-3;

/// Rows by their labels and their predictions.
pub(super) struct Cells<'a> {
    truth: &'a Answers,
    models: Vec<&'a Answers>,
    classes: usize,
    /// Of each cell a row that stands for it, and how many there are.
    cells: Vec<(usize, u64)>,
    /// `[N]` the cell of each row.
    owners: Vec<u32>,
}

impl<'a> Cells<'a> {
    pub(super) fn new(truth: &'a Answers, models: &[&'a Predictions], classes: usize) -> Self {
        let models: Vec<&Answers> = models.iter().map(|model| &model.answers).collect();
        let (mut known, mut key) = (HashMap::<Vec<u32>, u32>::new(), Vec::new());
        let (mut cells, mut owners) = (Vec::new(), Vec::with_capacity(truth.len()));
        for row in 0..truth.len() {
            key.clear();
            for answers in std::iter::once(truth).chain(models.iter().copied()) {
                key.push(answers.row(row).len() as u32);
                key.extend(answers.row(row));
            }
            let cell = match known.get(&key) {
                Some(cell) => *cell,
                None => {
                    cells.push((row, 0));
                    *known.entry(key.clone()).or_insert(cells.len() as u32 - 1)
                }
            };
            cells[cell as usize].1 += 1;
            owners.push(cell);
        }
        Self { truth, models, classes, cells, owners }
    }

    pub(super) fn family(&self, bootstrap: Bootstrap) -> Family {
        let told = |metric: &Metric| metric.is_told(self.truth.problem(), self.classes) && !metric.of_probabilities();
        let metrics: Vec<Metric> = Metric::all().filter(told).collect();
        let units: Vec<f64> = self.rows().collect();
        let none = || Counts::none(matches!(self.truth, Answers::Several(_)), self.classes);
        let mut base = vec![none(); self.models.len()];
        let values = self.values(&metrics, &units, &mut base);
        let (rows, cells) = (self.truth.len(), self.len());
        let by_cell = cells * DRAWS_OF_A_CELL < rows;
        let mut resampled = Vec::new();
        if rows.min(cells * DRAWS_OF_A_CELL) <= MOST_DRAWS {
            let scratch = || (vec![0.0; cells], base.clone());
            resampled = bootstrap.run(scratch, |(drawn, counts), random| {
                self.draw(by_cell, random, drawn);
                self.values(&metrics, drawn, counts)
            });
        }
        let influence = self.influence(&metrics, &values, &base);
        Family { metrics, values, resampled, units, influence }
    }

    /// Number of cells.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// `[K]` how many rows there are of each cell.
    pub(super) fn rows(&self) -> impl Iterator<Item = f64> {
        self.cells.iter().map(|&(_, rows)| rows as f64)
    }

    /// `[F, M]` figures where the cells have so many rows.
    fn values(&self, metrics: &[Metric], rows: &[f64], counts: &mut [Counts]) -> Vec<f64> {
        for (counts, model) in counts.iter_mut().zip(&self.models) {
            counts.clear();
            for (&(row, _), &rows) in self.cells.iter().zip(rows).filter(|(_, rows)| **rows > 0.0) {
                counts.add(self.truth.row(row), model.row(row), rows);
            }
        }
        let figures = metrics.iter().flat_map(|metric| counts.iter().map(|counts| counts.value(*metric)));
        figures.map(|value| value.unwrap_or(f64::NAN)).collect()
    }

    /// Draws as many rows as there are, cell by cell or row by row: how many are of each cell.
    pub(super) fn draw(&self, by_cell: bool, random: &mut Xoshiro256PlusPlus, drawn: &mut [f64]) {
        if by_cell { self.draw_cells(random, drawn) } else { self.draw_rows(random, drawn) }
    }

    /// Draws the rows of each cell: a binomial share of what the cells before have left.
    fn draw_cells(&self, random: &mut Xoshiro256PlusPlus, drawn: &mut [f64]) {
        let mut left = self.truth.len() as u64;
        let mut behind = left;
        for (drawn, &(_, rows)) in drawn.iter_mut().zip(&self.cells) {
            // a share is always between 0 and 1
            let share = Binomial::new(left, rows as f64 / behind as f64).map_or(0, |binomial| binomial.sample(random));
            *drawn = share as f64;
            left -= share;
            behind -= rows;
        }
    }

    /// Draws rows and counts them in their cells.
    fn draw_rows(&self, random: &mut Xoshiro256PlusPlus, drawn: &mut [f64]) {
        drawn.fill(0.0);
        draw(random, self.owners.len(), |row| drawn[self.owners[row] as usize] += 1.0);
    }

    /// `[F, M][K]` the influence of a row of each cell, from what a little more of it changes.
    fn influence(&self, metrics: &[Metric], values: &[f64], base: &[Counts]) -> Vec<Vec<f64>> {
        let rows = self.truth.len() as f64;
        let cell = |counts: &mut Counts, model: usize, row: usize| -> Vec<f64> {
            counts.clone_from(&base[model]);
            counts.add(self.truth.row(row), self.models[model].row(row), STEP);
            let slope = |(f, metric): (usize, &Metric)| {
                let value = counts.value(*metric).unwrap_or(f64::NAN);
                (value - values[f * base.len() + model]) * (rows + STEP) / STEP
            };
            metrics.iter().enumerate().map(slope).collect()
        };
        let mut influence = vec![vec![0.0; self.cells.len()]; values.len()];
        for model in 0..base.len() {
            let rows = self.cells.par_iter().map(|(row, _)| *row);
            let slopes: Vec<Vec<f64>> =
                rows.map_init(|| base[model].clone(), |counts, row| cell(counts, model, row)).collect();
            for (unit, slopes) in slopes.iter().enumerate() {
                slopes.iter().enumerate().for_each(|(f, slope)| influence[f * base.len() + model][unit] = *slope);
            }
        }
        influence
    }
}
