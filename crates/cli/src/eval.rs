//! `distune eval`: a trained model, or what it or something else predicted, judged on labelled rows.

use std::path::PathBuf;

use clap::Args;
use distune::eval::{
    Answered, BINS, Bootstrap, Estimate, Evaluation, Metrics, ProbabilityMetrics, abstention, answered, estimates,
    reliability, summary, table,
};
use distune::run::{evaluation_results, figures};
use serde_json::{Map, Value, json};

use crate::columns::ColumnArgs;
use crate::decide::DecisionArgs;
use crate::judge::{Predictor, Rows};
use crate::output::{line, score, thousands};
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
    #[command(flatten)]
    decision: DecisionArgs,
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
    let decision = args.decision.resolve(predictor.model_files(), &rows.labels)?;
    let (predictions, seconds) = predictor.predictions(&rows, args.max_length, common)?;
    let predictions = decision.apply(predictions)?;
    let names = rows.labels.names();
    let metrics = Metrics::new(&rows.truth, &predictions.answers, names)?;
    let probabilities = ProbabilityMetrics::new(&rows.truth, &predictions, names)?;
    let estimates = estimates(&rows.truth, &predictions, names, Bootstrap::default())?;
    let evaluation = match (&args.model, &probabilities) {
        (Some(_), Some(_)) => Some(Evaluation { seconds, ..Evaluation::new(&rows.truth, &predictions, names)? }),
        _ => None,
    };
    let abstain = |p| answered(&rows.truth, &predictions, names, p);
    let answered = decision.abstain_below.map(abstain).transpose()?;
    if common.json {
        let mut results = match &evaluation {
            Some(evaluation) => evaluation_results("eval", evaluation),
            None => figures("eval", &metrics, probabilities.as_ref()),
        };
        results.extend(ends(&estimates));
        results.insert("eval_reliability".into(), json!(reliability(&rows.truth, &predictions, names, BINS)?));
        results.insert("eval_abstention".into(), json!(abstention(&rows.truth, &predictions, names)?));
        if let Some(answered) = answered {
            results.insert("eval_answered".into(), json!(answered));
        }
        match &args.predictions {
            Some(file) => results.insert("predictions".into(), json!(file)),
            None => results.insert("model".into(), json!(args.model)),
        };
        results.insert("data".into(), json!(rows.path));
        return Ok(line(Value::Object(results))?);
    }
    let loss = evaluation.map(|evaluation| format!(", loss {:.4}", evaluation.loss)).unwrap_or_default();
    line(format!("{}: {}{loss}", rows.path.display(), score(&metrics)))?;
    if let Some(answered) = answered {
        line(answered_line(&answered))?;
    }
    line(summary(&estimates, probabilities.map(|figures| figures.expected_calibration_error_chance)))?;
    Ok(line(table(&metrics).trim_end())?)
}

/// What becomes of the rows when those that are not sure are left out.
fn answered_line(answered: &Answered) -> String {
    let Answered { rows, answered, coverage, correct, accuracy, interval } = answered;
    let of = format!("answered {} of {} rows ({:.1} %)", thousands(*answered), thousands(*rows), 100.0 * coverage);
    match accuracy {
        None => of,
        Some(accuracy) => format!(
            "{of}, of these {} right: {:.2} % (95 % interval {:.1} to {:.1})",
            thousands(*correct),
            100.0 * accuracy,
            100.0 * interval.low,
            100.0 * interval.high
        ),
    }
}

/// The ends of the intervals under the names of their figures.
fn ends(estimates: &[Estimate]) -> Map<String, Value> {
    let both = |estimate: &Estimate| {
        let (name, interval) = (estimate.metric.name(), estimate.interval?);
        Some([(format!("eval_{name}_low"), json!(interval.low)), (format!("eval_{name}_high"), json!(interval.high))])
    };
    estimates.iter().filter_map(both).flatten().collect()
}
