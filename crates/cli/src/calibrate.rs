//! `distune calibrate`: fits what a model's probabilities are worth on rows that it was not trained on, and saves that with it.

use std::path::Path;

use clap::Args;
use distune::Error;
use distune::calibration::{Calibration, Effect, FILE, Goal, HIGHEST, LOWEST, of_one_class};
use distune::eval::{Abstention, BINS, Predictions, abstention, reliability};
use serde_json::json;

use crate::judge::{Predictor, RowArgs, Rows};
use crate::output::{line, thousands};
use crate::{Common, sources};

/// Coverages that are shown, in hundredths.
const SHOWN: [usize; 6] = [100, 95, 90, 80, 70, 50];

/// Fit a temperature and thresholds to a trained model, and save them in its directory
#[derive(Args, Debug)]
pub(crate) struct CalibrateArgs {
    /// Directory of a trained model, in which calibration.json is written
    #[arg(long, short)]
    model: String,
    /// Labelled rows that it was not trained on, and will not be judged on: a directory with splits, a file of any format that is read,
    /// "-" for one on standard input, "reviews", or a name of the Hugging Face hub
    #[arg(long, short)]
    data: String,
    #[command(flatten)]
    rows: RowArgs,
    /// Take the thresholds of the best precision with at least this recall [default: those of the best F1]
    #[arg(long, value_name = "R")]
    recall: Option<f64>,
}

pub(crate) fn run(args: &CalibrateArgs, common: &Common) -> anyhow::Result<()> {
    if let Some(recall) = args.recall.filter(|recall| !(0.0..=1.0).contains(recall)) {
        return Err(Error::value("command line", "--recall", "a number from 0 to 1", recall).into());
    }
    let predictor = Predictor::model(&args.model, common)?;
    let Predictor::Model { files, .. } = &predictor else { return Ok(()) };
    if !Path::new(&args.model).is_dir() {
        let hint = "Name the directory of a model, such as one that distune train wrote";
        return Err(
            Error::file(Path::new(&args.model), "is not a directory, in which to save a calibration", hint).into()
        );
    }
    let validation = sources::has_splits(&args.data, common)?.then_some("validation");
    let split = args.rows.split.as_deref().or(validation);
    let rows = Rows::read(&[&predictor], Some(&args.data), split, args.rows.columns.resolve(), common)?;
    let (predictions, _) = predictor.predictions(&rows, &args.rows.length, common)?;
    let names = rows.labels.names();
    if of_one_class(&rows.truth, names.len()) {
        let hint = "Give it rows of all classes";
        return Err(Error::file(&rows.path, "all rows are of one class, which tell no temperature", hint).into());
    }
    let goal = args.recall.map_or(Goal::F1, Goal::PrecisionAtRecall);
    let calibration = Calibration::fit(&rows.truth, &predictions, names, goal)?;
    calibration.write(&files.path)?;
    let calibrated = calibration.calibrated(&predictions);
    let curve = abstention(&rows.truth, &calibrated, names)?;
    if common.json {
        let bins = |predictions: &Predictions| reliability(&rows.truth, predictions, names, BINS);
        let mut object = json!(calibration);
        object["model"] = json!(args.model);
        object["data"] = json!(rows.path);
        object["reliability"] = json!({"before": bins(&predictions)?, "after": bins(&calibrated)?});
        object["abstention"] = json!(curve);
        return Ok(line(object)?);
    }
    line(format!("{}: {} rows, {}\n", rows.path.display(), thousands(rows.truth.len()), temperature(&calibration)))?;
    line(effect(&calibration.fitted))?;
    if !calibration.thresholds.is_empty() {
        line(thresholds(&calibration))?;
    }
    if let Some(curve) = curve {
        line(answers(&curve))?;
    }
    let path = files.file(FILE);
    let next = format!("distune eval --model {} --calibrated --data OTHER_ROWS", args.model);
    Ok(line(format!("Saved to {}. What it is worth, other rows tell: {next}", path.display()))?)
}

/// "temperature 1.35", and what an end of the range means.
pub(crate) fn temperature(calibration: &Calibration) -> String {
    let of = calibration.temperature;
    let why = match of {
        LOWEST => " (the lowest there is)",
        HIGHEST => " (the highest there is: the probabilities tell nothing)",
        1.0 => " (unchanged, as where all rows are right or of one class)",
        _ => "",
    };
    format!("temperature {of:.4}{why}")
}

/// Log loss and calibration error before and after, as a table.
fn effect(effect: &Effect) -> String {
    let Effect { before, after, .. } = effect;
    let mut text = format!("{:17}  {:>7}  {:>7}\n", "figure", "before", "after");
    text += &format!("{:17}  {:7.4}  {:7.4}\n", "log loss", before.log_loss, after.log_loss);
    let errors = [before.expected_calibration_error, after.expected_calibration_error];
    let chance = after.expected_calibration_error_chance;
    text + &format!(
        "{:17}  {:7.4}  {:7.4}  up to {chance:.4} by chance alone\n",
        "calibration error", errors[0], errors[1]
    )
}

/// The thresholds as a table.
fn thresholds(calibration: &Calibration) -> String {
    let by = match calibration.recall {
        None => "by the best F1".to_owned(),
        Some(recall) => format!("by the best precision with a recall of {recall} or more"),
    };
    let names = calibration.thresholds.iter().map(|threshold| threshold.label.chars().count());
    let width = names.max().unwrap_or(0).max("label".len());
    let mut text = format!("Thresholds {by}:\n{:width$}  threshold  precision  recall      f1    rows\n", "label");
    for of in &calibration.thresholds {
        let unknown = if of.support == 0 { "  none to choose by" } else { "" };
        text += &format!(
            "{:width$}  {:9.4}  {:9.4}  {:6.4}  {:6.4}  {:6}{unknown}\n",
            of.label, of.threshold, of.precision, of.recall, of.f1, of.support
        );
    }
    text
}

/// Accuracy at some coverages, as a table.
fn answers(curve: &Abstention) -> String {
    let mut text = format!("{:>8}  accuracy  --abstain-below\n", "answered");
    for hundredths in SHOWN {
        let Some(point) = curve.points.iter().find(|point| point.coverage * 100.0 >= hundredths as f64 - 1e-9) else {
            continue;
        };
        let covered = 100.0 * point.coverage;
        // rounded down, so that the rows of that threshold are answered
        let threshold = (point.threshold * 1e4).floor() / 1e4;
        text += &format!("{covered:6.1} %  {:8.4}  {threshold:.4}\n", point.accuracy);
    }
    text
}
