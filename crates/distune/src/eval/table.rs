//! Figures as plain text. Called by the command line.

use super::{ClassMetrics, Estimate, Metric, Metrics};

/// Classes that [`table`] shows, at most.
const SHOWN: usize = 30;

/// The most telling single numbers, as far as they are told.
pub(crate) const TELLING: [Metric; 14] = [
    Metric::Accuracy,
    Metric::BalancedAccuracy,
    Metric::F1,
    Metric::MicroF1,
    Metric::MacroF1,
    Metric::MatthewsCorrcoef,
    Metric::HammingLoss,
    Metric::RocAuc,
    Metric::AveragePrecision,
    Metric::MacroRocAuc,
    Metric::MacroAveragePrecision,
    Metric::LogLoss,
    Metric::BrierScoreLoss,
    Metric::ExpectedCalibrationError,
];

/// The most telling single numbers beside those that decide (accuracy, micro F1) as a plain-text table: a line of headings, then
/// name, value and 95 % interval of each. The calibration error has no interval; `chance` is what it is by chance.
pub fn summary(estimates: &[Estimate], chance: Option<f64>) -> String {
    let others = TELLING.iter().filter(|metric| !matches!(metric, Metric::Accuracy | Metric::MicroF1));
    let shown: Vec<&Estimate> =
        others.filter_map(|metric| estimates.iter().find(|estimate| estimate.metric == *metric)).collect();
    let title = |estimate: &&Estimate| estimate.metric.title().len();
    let width = shown.iter().map(title).max().unwrap_or(0).max("figure".len());
    let mut text = format!("{:width$}    value  95 % interval\n", "figure");
    for Estimate { metric, value, interval } in shown {
        let sure = match (interval, chance) {
            (Some(interval), _) => format!("{:.4} to {:.4}", interval.low, interval.high),
            (None, Some(chance)) if *metric == Metric::ExpectedCalibrationError => {
                format!("up to {chance:.4} by chance alone")
            }
            (None, _) => "not to be told from these rows".to_owned(),
        };
        text += &format!("{:width$}  {value:7.4}  {sure}\n", metric.title());
    }
    text
}

/// The classes as a plain-text table: a line of headings, then name, precision, recall, F1 and rows of each class; of more than
/// thirty, those with most rows.
pub fn table(metrics: &Metrics) -> String {
    let mut classes: Vec<&ClassMetrics> = metrics.classes.iter().collect();
    if classes.len() > SHOWN {
        classes.sort_by_key(|class| std::cmp::Reverse(class.support));
        classes.truncate(SHOWN);
    }
    let width = classes.iter().map(|class| class.label.chars().count()).max().unwrap_or(0).max("class".len());
    let mut text = format!("{:width$}  precision  recall      f1    rows\n", "class");
    for ClassMetrics { label, precision, recall, f1, support } in &classes {
        text += &format!("{label:width$}  {precision:9.4}  {recall:6.4}  {f1:6.4}  {support:6}\n");
    }
    match metrics.classes.len() - classes.len() {
        0 => text,
        more => text + &format!("... and {more} classes with no more rows than these (--json has all)\n"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Interval;
    use super::*;
    use crate::data::Answers;

    #[test]
    fn the_table_is_aligned() {
        let (truth, predicted) = (Answers::One(vec![0, 0, 0, 1]), Answers::One(vec![0; 4]));
        let metrics = Metrics::new(&truth, &predicted, &["négatif".into(), "b".into()]).unwrap();
        let expected = "class    precision  recall      f1    rows\n\
                        négatif     0.7500  1.0000  0.8571       3\n\
                        b           0.0000  0.0000  0.0000       1\n";
        assert_eq!(table(&metrics), expected);
    }

    #[test]
    fn the_summary_is_aligned() {
        let of = |metric, value, interval| Estimate { metric, value, interval };
        let estimates = [
            of(Metric::Accuracy, 0.9, Some(Interval { low: 0.8, high: 1.0 })),
            of(Metric::MacroF1, 0.9, Some(Interval { low: 0.8, high: 0.95 })),
            of(Metric::MatthewsCorrcoef, -0.1, None),
            of(Metric::ExpectedCalibrationError, 0.05, None),
        ];
        let expected = "figure                  value  95 % interval\n\
                        macro F1               0.9000  0.8000 to 0.9500\n\
                        Matthews correlation  -0.1000  not to be told from these rows\n\
                        calibration error      0.0500  up to 0.0600 by chance alone\n";
        assert_eq!(summary(&estimates, Some(0.06)), expected);
    }
}
