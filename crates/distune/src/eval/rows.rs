//! Figures of probabilities, on resampled rows: losses are means of what each row contributes, and areas under curves depend on how
//! often each row was drawn and on the order of the scores, which stays. Called by `resample`.

use super::Metric;
use super::probabilities::{Losses, area_metrics, area_values, ranking, two_classes};
use super::ranking::{Areas, Ranking};
use super::resample::{Bootstrap, Family, MOST_DRAWS, draw};
use crate::data::Answers;

/// The figures of M models' probabilities, `[N, C]` each: losses, and areas in a family of their own where they are not resampled.
pub(super) fn families(truth: &Answers, models: &[&[f64]], classes: usize, bootstrap: Bootstrap) -> Vec<Family> {
    let n = truth.len();
    let two = two_classes(truth.problem(), classes);
    let ranked = if two { 1..2 } else { 0..classes };
    let losses: Vec<Losses> = models.iter().map(|model| Losses::new(truth, model, classes)).collect();
    let columns: Vec<&[f64]> =
        losses.iter().map(|losses| &losses.log[..]).chain(losses.iter().map(|losses| &losses.brier[..])).collect();
    let mean = |column: &&[f64]| column.iter().sum::<f64>() / n as f64;
    let mut means = Family {
        metrics: vec![Metric::LogLoss, Metric::BrierScoreLoss],
        values: columns.iter().map(mean).collect(),
        resampled: Vec::new(),
        units: vec![1.0; n],
        influence: columns.iter().map(|column| column.to_vec()).collect(),
    };
    let keep = n * ranked.len() * models.len() <= MOST_DRAWS;
    let (mut rankings, mut areas) = (Vec::new(), Vec::new());
    for model in models {
        let mut influence = AreaInfluence::new(truth);
        for class in ranked.clone() {
            let ranking = ranking(truth, model, classes, class);
            influence.add(&ranking, class);
            rankings.extend(keep.then_some(ranking));
        }
        areas.push(influence.finish(two));
    }
    let of_areas = |f: usize| areas.iter().map(move |(values, _)| values[f]);
    let metrics = area_metrics(two);
    let values: Vec<f64> = (0..metrics.len()).flat_map(of_areas).collect();
    let influence: Vec<Vec<f64>> =
        (0..metrics.len()).flat_map(|f| areas.iter().map(move |(_, influence)| influence[f].clone())).collect();
    if n <= MOST_DRAWS {
        means.resampled = resample_rows(&columns, &rankings, models.len(), two, bootstrap);
    }
    if keep {
        means.metrics.extend(metrics);
        means.values.extend(values);
        means.influence.extend(influence);
        return vec![means];
    }
    let units = means.units.clone();
    vec![means, Family { metrics: metrics.to_vec(), values, resampled: Vec::new(), units, influence }]
}

/// `[R][F, M]` the means of columns, and the areas of rankings, those of a model behind one another, on resampled rows.
fn resample_rows(
    columns: &[&[f64]],
    rankings: &[Ranking],
    models: usize,
    two: bool,
    bootstrap: Bootstrap,
) -> Vec<Vec<f64>> {
    let n = columns[0].len();
    // rows are taken in the order of the first ranking, so that its weights need not be looked up
    let first: Vec<u32> = rankings.first().map_or_else(|| (0..n as u32).collect(), |ranking| ranking.order.clone());
    let mut places = vec![0_u32; n];
    (0..).zip(&first).for_each(|(place, &row)| places[row as usize] = place);
    let columns: Vec<Vec<f64>> =
        columns.iter().map(|column| first.iter().map(|&row| column[row as usize]).collect()).collect();
    let orders: Vec<Vec<u32>> =
        rankings.iter().map(|ranking| ranking.order.iter().map(|&row| places[row as usize]).collect()).collect();
    bootstrap.run(
        || (vec![0_u8; n], vec![0_u8; n]),
        |(weights, ordered), random| {
            weights.fill(0);
            // that a row is drawn 256 times has a probability below 1e-500
            draw(random, n, |row| weights[row] = weights[row].wrapping_add(1));
            let mut values: Vec<f64> = columns.iter().map(|column| weighted_sum(weights, column) / n as f64).collect();
            let areas = rankings.iter().zip(&orders).enumerate().map(|(number, (ranking, order))| {
                if number == 0 {
                    return ranking.areas(weights);
                }
                ordered.iter_mut().zip(order).for_each(|(weight, &place)| *weight = weights[place as usize]);
                ranking.areas(ordered)
            });
            let areas: Vec<Areas> = areas.collect();
            if !areas.is_empty() {
                let of_models: Vec<Vec<f64>> =
                    areas.chunks(areas.len() / models).map(|areas| area_values(areas, two)).collect();
                values.extend((0..of_models[0].len()).flat_map(|f| of_models.iter().map(move |values| values[f])));
            }
            values
        },
    )
}

/// The areas of a model, class by class, and the influence of each row on them.
struct AreaInfluence<'a> {
    truth: &'a Answers,
    /// All labels of all rows.
    labels: f64,
    areas: Vec<Areas>,
    /// As in [`area_values`]: of the plain means and of those by rows.
    influence: [Vec<f64>; 4],
}

impl<'a> AreaInfluence<'a> {
    fn new(truth: &'a Answers) -> Self {
        let labels = (0..truth.len()).map(|row| truth.row(row).len()).sum::<usize>() as f64;
        Self { truth, labels, areas: Vec::new(), influence: std::array::from_fn(|_| vec![0.0; truth.len()]) }
    }

    fn add(&mut self, ranking: &Ranking, class: usize) {
        let areas = ranking.all();
        let share = areas.positives / self.labels;
        let rows = self.truth.len() as f64;
        for (f, (area, influence)) in
            [areas.roc_auc, areas.average_precision].into_iter().zip(ranking.influence()).enumerate()
        {
            for (row, influence) in influence.iter().enumerate() {
                let truth = self.truth.row(row);
                self.influence[f][row] += influence;
                if share > 0.0 {
                    let is_one = f64::from(truth.contains(&(class as u32)));
                    let of_share = (is_one - share * truth.len() as f64) * rows / self.labels;
                    self.influence[f + 2][row] += share * influence + area * of_share;
                }
            }
        }
        self.areas.push(areas);
    }

    /// The figures, and the influence of the rows on each.
    fn finish(mut self, two: bool) -> (Vec<f64>, Vec<Vec<f64>>) {
        let classes = self.areas.len() as f64;
        self.influence[..2].iter_mut().flatten().for_each(|influence| *influence /= classes);
        let values = area_values(&self.areas, two);
        (values, self.influence.into_iter().take(if two { 2 } else { 4 }).collect())
    }
}

/// `sum(weights * values)`, in sixteen lanes.
fn weighted_sum(weights: &[u8], values: &[f64]) -> f64 {
    let mut lanes = [0.0; 16];
    let (weight_chunks, value_chunks) = (weights.chunks_exact(16), values.chunks_exact(16));
    let rest = weight_chunks.remainder().iter().zip(value_chunks.remainder());
    let rest: f64 = rest.map(|(&weight, value)| f64::from(weight) * value).sum();
    for (weights, values) in weight_chunks.zip(value_chunks) {
        for lane in 0..16 {
            lanes[lane] += f64::from(weights[lane]) * values[lane];
        }
    }
    lanes.iter().sum::<f64>() + rest
}
