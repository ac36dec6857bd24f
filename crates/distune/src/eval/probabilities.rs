//! Figures of probabilities: log loss, Brier score, calibration, and the areas under ROC and precision-recall curves. Called by
//! `evaluate` and by the command line; what each row contributes is also read by `resample`.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::ranking::{Areas, Ranking};
use super::reliability::{BINS, bin, decisions};
use super::{Metric, Predictions};
use crate::Result;
use crate::data::Answers;
use crate::model::ProblemType;

/// The normal quantile of 95 %, one-sided.
const Z_95_ONE_SIDED: f64 = 1.6448536269514722;

/// How well the probabilities of a class tell its rows from the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassRanking {
    /// The class's name.
    pub label: String,
    /// Area under the ROC curve of this class against the others; not defined where all rows are of one kind.
    pub roc_auc: Option<f64>,
    /// Average precision; 0 without rows of the class, as in scikit-learn.
    pub average_precision: f64,
}

/// Probabilities compared with the truth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbabilityMetrics {
    /// The single numbers that are told for these rows and are defined.
    ///
    /// - Log loss and Brier score as scikit-learn's functions; with several labels a row their means over the labels.
    /// - ROC-AUC and average precision: of the second of two classes, or the means over the classes, each against the others.
    /// - The expected calibration error: the sum over 15 bins of equal width, the b-th one holding the decisions whose probability
    ///   is in `((b - 1)/15, b/15]`, of `|B_b| / n * |mean probability in B_b - share of B_b that is true|`. With one label a row, a
    ///   decision is a row, and its probability that of the most probable class (C. Guo et al., On calibration of modern neural
    ///   networks, ICML 2017); with several, it is a row and a label (M. P. Naeini et al., Obtaining well calibrated probabilities
    ///   using Bayesian binning, AAAI 2015).
    #[serde(flatten)]
    pub values: BTreeMap<Metric, f64>,
    /// What the calibration error of about 95 in 100 perfectly calibrated models with these probabilities would stay below: it is
    /// not 0 either, because a bin's share varies by chance. With `v_b` the sum of `p (1 - p)` in a bin, its deviation is about
    /// normal with variance `v_b`, so the sum of their amounts has the mean `sum sqrt(2 v_b / pi)` and the variance
    /// `sum v_b (1 - 2/pi)`.
    pub expected_calibration_error_chance: f64,
    /// `[C]` one entry for each class, in the order of the ids.
    pub class_rankings: Vec<ClassRanking>,
}

impl ProbabilityMetrics {
    /// Compares predictions with the true classes; `names[id]` is a class's name. Nothing without probabilities.
    ///
    /// # Errors
    /// No rows, another number of predictions or of probabilities, or an id without a name.
    pub fn new(truth: &Answers, predictions: &Predictions, names: &[String]) -> Result<Option<Self>> {
        predictions.check(truth, names)?;
        let Some(probabilities) = &predictions.probabilities else { return Ok(None) };
        let classes = names.len();
        let losses = Losses::new(truth, probabilities, classes);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let calibration = Calibration::new(truth, probabilities, classes);
        let areas: Vec<Areas> =
            (0..classes).into_par_iter().map(|class| ranking(truth, probabilities, classes, class).all()).collect();
        let mut values = BTreeMap::from([
            (Metric::LogLoss, mean(&losses.log)),
            (Metric::BrierScoreLoss, mean(&losses.brier)),
            (Metric::ExpectedCalibrationError, calibration.error),
        ]);
        let two = two_classes(truth.problem(), classes);
        let told = if two { &areas[1..] } else { &areas[..] };
        let means = area_metrics(two).iter().copied().zip(area_values(told, two));
        values.extend(means.filter(|(_, value)| value.is_finite()));
        let class_rankings = names.iter().zip(areas).map(|(label, areas)| ClassRanking {
            label: label.clone(),
            roc_auc: Some(areas.roc_auc).filter(|area| area.is_finite()),
            average_precision: areas.average_precision,
        });
        let class_rankings = class_rankings.collect();
        Ok(Some(Self { values, expected_calibration_error_chance: calibration.chance, class_rankings }))
    }

    /// A single number, where it is one of these and defined.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        self.values.get(&metric).copied()
    }
}

/// How far probabilities are from the shares that come true, and how far by chance alone.
struct Calibration {
    error: f64,
    chance: f64,
}

impl Calibration {
    /// Of `[N, C]` probabilities.
    fn new(truth: &Answers, probabilities: &[f64], classes: usize) -> Self {
        let mut bins = [(0.0, 0.0); BINS];
        decisions(truth, probabilities, classes, |p, is_true| {
            let (gap, variance) = &mut bins[bin(p, BINS)];
            *gap += p - f64::from(is_true);
            *variance += p * (1.0 - p);
        });
        let decisions = match truth {
            Answers::One(_) => truth.len(),
            Answers::Several(_) => truth.len() * classes,
        } as f64;
        let sum = |of: &dyn Fn(f64, f64) -> f64| bins.iter().map(|&(gap, variance)| of(gap, variance)).sum::<f64>();
        let half_normal = 2.0 / std::f64::consts::PI;
        let mean = sum(&|_, variance| (half_normal * variance).sqrt());
        let deviation = sum(&|_, variance| variance * (1.0 - half_normal)).sqrt();
        Self { error: sum(&|gap, _| gap.abs()) / decisions, chance: (mean + Z_95_ONE_SIDED * deviation) / decisions }
    }
}

/// `[N]` what each row contributes to the mean losses.
pub(super) struct Losses {
    pub(super) log: Vec<f64>,
    pub(super) brier: Vec<f64>,
}

impl Losses {
    pub(super) fn new(truth: &Answers, probabilities: &[f64], classes: usize) -> Self {
        let rows = probabilities.chunks_exact(classes).enumerate();
        let both = |(row, probabilities)| row_losses(truth.problem(), truth.row(row), probabilities);
        let (log, brier) = rows.map(both).unzip();
        Self { log, brier }
    }
}

/// Log loss and Brier score of a row: over its classes, or with several labels a row the mean over the labels. The Brier score of
/// two classes is halved, as scikit-learn's `scale_by_half="auto"` does.
fn row_losses(problem: ProblemType, truth: &[u32], probabilities: &[f64]) -> (f64, f64) {
    let surprise = |p: f64| -p.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln();
    let square = |(id, &p): (u32, &f64)| (p - f64::from(truth.contains(&id))).powi(2);
    let squares: f64 = (0..).zip(probabilities).map(square).sum();
    let classes = probabilities.len() as f64;
    match problem {
        ProblemType::SingleLabel => {
            let log = truth.iter().map(|&id| surprise(probabilities[id as usize])).sum();
            (log, if classes < 3.0 { squares / 2.0 } else { squares })
        }
        ProblemType::MultiLabel => {
            let of = |(id, &p): (u32, &f64)| surprise(if truth.contains(&id) { p } else { 1.0 - p });
            ((0..).zip(probabilities).map(of).sum::<f64>() / classes, squares / classes)
        }
    }
}

/// Rows in the order of a class's probability.
pub(super) fn ranking(truth: &Answers, probabilities: &[f64], classes: usize, class: usize) -> Ranking {
    let score = |row: usize| probabilities[row * classes + class];
    Ranking::new(truth.len(), score, |row| truth.row(row).contains(&(class as u32)))
}

/// Whether a row has one of two classes: then the second one alone is ranked.
pub(super) fn two_classes(problem: ProblemType, classes: usize) -> bool {
    problem == ProblemType::SingleLabel && classes == 2
}

/// What [`area_values`] are.
pub(super) fn area_metrics(two: bool) -> &'static [Metric] {
    use Metric as M;
    match two {
        true => &[M::RocAuc, M::AveragePrecision],
        false => &[M::MacroRocAuc, M::MacroAveragePrecision, M::WeightedRocAuc, M::WeightedAveragePrecision],
    }
}

/// The areas of the second of two classes; or the means of those of all, plain and by their rows. Not a number where that is not
/// defined; a class without rows does not count in the means by rows.
pub(super) fn area_values(areas: &[Areas], two: bool) -> Vec<f64> {
    let total: f64 = areas.iter().map(|areas| areas.positives).sum();
    let mean = |of: &dyn Fn(&Areas) -> f64| areas.iter().map(of).sum::<f64>() / areas.len() as f64;
    let weighted = |of: &dyn Fn(&Areas) -> f64| {
        let there = areas.iter().filter(|areas| areas.positives > 0.0);
        there.map(|areas| areas.positives * of(areas)).sum::<f64>() / total
    };
    let mut values = vec![mean(&|of| of.roc_auc), mean(&|of| of.average_precision)];
    if !two {
        values.extend([weighted(&|of| of.roc_auc), weighted(&|of| of.average_precision)]);
    }
    values
}
