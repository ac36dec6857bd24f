//! `distune eval`: a trained model judged on labelled rows.

use clap::Args;
use distune::data::{Dataset, Examples, LabelMap, Labels};
use distune::engine::Engine;
use distune::eval::{evaluate, table};
use distune::run::evaluation_results;
use serde_json::{Value, json};

use crate::columns::ColumnArgs;
use crate::output::{line, note, score};
use crate::progress::Progress;
use crate::sources::Classifier;
use crate::{Common, sources, stop};

/// Judge a trained model on labelled rows
#[derive(Args, Debug)]
pub(crate) struct EvalArgs {
    /// Directory of a trained model, or its name on the Hugging Face hub
    #[arg(long, short)]
    model: String,
    /// "reviews", a directory with splits, a file of any format that is read, "-" for one on standard input, or a name of the
    /// Hugging Face hub
    #[arg(long, short, default_value = sources::REVIEWS)]
    data: String,
    /// Split to use where there are several [default: test, else validation]
    #[arg(long, value_parser = ["train", "validation", "dev", "test"])]
    split: Option<String>,
    #[command(flatten)]
    columns: ColumnArgs,
    /// Longest text in tokens [default: as in training]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
}

/// Shows how many rows have been judged.
struct Judging(Progress);

impl distune::train::Observer for Judging {
    fn evaluating(&mut self, rows: usize, total_rows: usize) {
        self.0.set(rows, total_rows, String::new);
    }

    fn stop_requested(&self) -> bool {
        stop::requested()
    }
}

pub(crate) fn run(args: &EvalArgs, common: &Common) -> anyhow::Result<()> {
    let mut classifier = Classifier::load(&args.model, args.max_length, common)?;
    let columns = classifier.columns(&args.columns);
    let rows = sources::table(&args.data, args.split.as_deref(), &columns, Labels::Required, common)?;
    classifier.check_texts(&rows.path, !rows.pairs.is_empty())?;
    let Classifier { engine, tokenizer, .. } = &mut classifier;
    let labels = LabelMap::of_model(engine.config());
    let dataset = Dataset::new(rows, &labels)?;
    let path = dataset.path.clone();
    let examples = Examples::new(dataset, tokenizer, engine.config());
    examples.sequences()?;
    let cut = examples.lengths().truncated;
    if cut > 0 {
        let limit = tokenizer.max_length();
        note(common, format!("{cut} of {} texts are longer than {limit} tokens and were cut there", examples.len()));
    }
    let mut judging = Judging(Progress::new(common, "rows"));
    let evaluation = evaluate(engine, &examples, &mut judging)?;
    judging.0.finish();
    if common.json {
        let mut results = evaluation_results("eval", &evaluation);
        results.insert("model".into(), json!(args.model));
        results.insert("data".into(), json!(path));
        line(Value::Object(results))?;
    } else {
        line(format!("{}: {}, loss {:.4}", path.display(), score(&evaluation.metrics), evaluation.loss))?;
        line(table(&evaluation.metrics).trim_end())?;
    }
    Ok(())
}
