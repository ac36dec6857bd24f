//! `distune eval`: a trained model, or what it or something else predicted, judged on labelled rows.

use std::path::PathBuf;

use clap::Args;
use distune::data::LabelMap;
use distune::eval::{Bootstrap, Estimate, Evaluation, Metrics, ProbabilityMetrics, estimates, summary, table};
use distune::run::{evaluation_results, figures};
use distune::{Error, Result};
use serde_json::{Map, Value, json};

use crate::columns::ColumnArgs;
use crate::judge::{Predictor, Rows};
use crate::output::{line, score};
use crate::{Common, sources};

/// Judge a trained model, or a file of predictions, on labelled rows
#[derive(Args, Debug)]
pub(crate) struct EvalArgs {
    /// Directory of a trained model, or its name on the Hugging Face hub
    #[arg(long, short, required_unless_present = "predictions")]
    model: Option<String>,
    /// Judge this file instead of a model: what predict --json prints, or .csv, .tsv, .jsonl or .parquet with a column predicted (or
    /// label), a column probability_NAME for each class, or both
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "max_length"])]
    predictions: Option<PathBuf>,
    /// "reviews", a directory with splits, a file of any format that is read, "-" for one on standard input, or a name of the
    /// Hugging Face hub [default: reviews; with --predictions the file itself, if it has a column label beside predicted]
    #[arg(long, short)]
    data: Option<String>,
    /// Split to use where there are several [default: test, else validation]
    #[arg(long, value_parser = ["train", "validation", "dev", "test"])]
    split: Option<String>,
    #[command(flatten)]
    columns: ColumnArgs,
    /// Longest text in tokens [default: as in training]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// With several labels a row, the probability from which on a row has a label: of all labels, or of one of them; may be given
    /// several times [default: 0.5]
    #[arg(long, value_name = "[LABEL=]X")]
    threshold: Vec<String>,
}

pub(crate) fn run(args: &EvalArgs, common: &Common) -> anyhow::Result<()> {
    let (predictor, data) = match (&args.model, &args.predictions) {
        (_, Some(file)) => (Predictor::file(file)?, args.data.as_deref()),
        (model, None) => {
            let model = model.as_deref().unwrap_or_default();
            (Predictor::model(model, common)?, args.data.as_deref().or(Some(sources::REVIEWS)))
        }
    };
    let rows = Rows::read(&[&predictor], data, args.split.as_deref(), &args.columns, common)?;
    let (mut predictions, seconds) = predictor.predictions(&rows, args.max_length, common)?;
    if !args.threshold.is_empty() {
        predictions = predictions.with_thresholds(&thresholds(&args.threshold, &rows.labels)?)?;
    }
    let names = rows.labels.names();
    let metrics = Metrics::new(&rows.truth, &predictions.answers, names)?;
    let probabilities = ProbabilityMetrics::new(&rows.truth, &predictions, names)?;
    let estimates = estimates(&rows.truth, &predictions, names, Bootstrap::default())?;
    let evaluation = match (&args.model, &probabilities) {
        (Some(_), Some(_)) => Some(Evaluation { seconds, ..Evaluation::new(&rows.truth, &predictions, names)? }),
        _ => None,
    };
    if common.json {
        let mut results = match &evaluation {
            Some(evaluation) => evaluation_results("eval", evaluation),
            None => figures("eval", &metrics, probabilities.as_ref()),
        };
        results.extend(ends(&estimates));
        match &args.predictions {
            Some(file) => results.insert("predictions".into(), json!(file)),
            None => results.insert("model".into(), json!(args.model)),
        };
        results.insert("data".into(), json!(rows.path));
        return Ok(line(Value::Object(results))?);
    }
    let loss = evaluation.map(|evaluation| format!(", loss {:.4}", evaluation.loss)).unwrap_or_default();
    line(format!("{}: {}{loss}", rows.path.display(), score(&metrics)))?;
    line(summary(&estimates, probabilities.map(|figures| figures.expected_calibration_error_chance)))?;
    Ok(line(table(&metrics).trim_end())?)
}

/// The ends of the intervals under the names of their figures.
fn ends(estimates: &[Estimate]) -> Map<String, Value> {
    let both = |estimate: &Estimate| {
        let (name, interval) = (estimate.metric.name(), estimate.interval?);
        Some([(format!("eval_{name}_low"), json!(interval.low)), (format!("eval_{name}_high"), json!(interval.high))])
    };
    estimates.iter().filter_map(both).flatten().collect()
}

/// The threshold of each label, from what `--threshold` says.
fn thresholds(said: &[String], labels: &LabelMap) -> Result<Vec<f64>> {
    let mut thresholds = vec![0.5; labels.len()];
    for said in said {
        let (label, number) = said.rsplit_once('=').map_or((None, said.as_str()), |(label, x)| (Some(label), x));
        let wrong = |expected: String| Error::value("command line", "--threshold", expected, said);
        let number = number.parse().ok().filter(|x| (0.0..=1.0).contains(x));
        let number: f64 = number.ok_or_else(|| wrong("a number from 0 to 1, as 0.4 or LABEL=0.4".into()))?;
        match label {
            None => thresholds.fill(number),
            Some(label) => {
                let id = labels.id(label).ok_or_else(|| wrong(format!("one of {}", labels.names().join(", "))))?;
                thresholds[id as usize] = number;
            }
        }
    }
    Ok(thresholds)
}
