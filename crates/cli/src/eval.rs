//! `distune eval`: a trained model, or what it or something else predicted, judged on labelled rows.

use clap::Args;
use distune::eval::{
    Answered, BINS, Bootstrap, Estimate, Evaluation, Metrics, ProbabilityMetrics, abstention, answered, estimates,
    reliability, summary, table,
};
use distune::run::{evaluation_results, figures};
use serde_json::{Map, Value, json};

use crate::Common;
use crate::decide::DecisionArgs;
use crate::judge::{JudgedArgs, Rows};
use crate::output::{line, thousands};

/// Judge a trained model, or a file of predictions, on labelled rows
#[derive(Args, Debug)]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    judged: JudgedArgs,
    #[command(flatten)]
    decision: DecisionArgs,
}

pub(crate) fn run(args: &EvalArgs, common: &Common) -> anyhow::Result<()> {
    let (judged, options) = (&args.judged, &args.judged.rows);
    let predictor = judged.predictor(common)?;
    let rows = Rows::read(&[&predictor], judged.data(), options.split.as_deref(), options.columns.resolve(), common)?;
    let decision = args.decision.resolve(predictor.model_files(), &rows.labels)?;
    let (predictions, seconds) = predictor.predictions(&rows, &options.length, common)?;
    let predictions = decision.apply(predictions)?;
    let names = rows.labels.names();
    let metrics = Metrics::new(&rows.truth, &predictions.answers, names)?;
    let probabilities = ProbabilityMetrics::new(&rows.truth, &predictions, names)?;
    let estimates = estimates(&rows.truth, &predictions, names, Bootstrap::default())?;
    let evaluation = match (&judged.model, &probabilities) {
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
        match &judged.predictions {
            Some(file) => results.insert("predictions".into(), json!(file)),
            None => results.insert("model".into(), json!(judged.model)),
        };
        results.insert("data".into(), json!(rows.path));
        return Ok(line(Value::Object(results))?);
    }
    let loss = evaluation.map(|evaluation| format!(", loss {:.4}", evaluation.loss)).unwrap_or_default();
    line(format!("{}: {}{loss}", rows.path.display(), metrics))?;
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
