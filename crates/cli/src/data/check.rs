//! `distune data check`: what is wrong with the data, and what is worth knowing.

use clap::Args;
use distune::Result;
use distune::data::audit::{Options, Watcher, check, counting_tokenizer};
use distune::tokenize::Tokenizer;
use serde_json::json;

use super::report;
use crate::columns::ColumnArgs;
use crate::length::LengthArgs;
use crate::output::{line, note};
use crate::progress::Progress;
use crate::{Common, sources, stop};

/// Texts are cut here in a training unless it says otherwise.
const MAX_LENGTH: usize = 128;

/// Look for rows that spoil a training or its figures: repeated and contradictory texts, overlap between splits and with the
/// bundled reviews, near duplicates, rows that are empty, unreadable or cut
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// What is checked: a file or several, read as one; "-" for standard input; a directory with splits; "reviews"; or a name of the
    /// Hugging Face hub
    #[arg(required = true)]
    data: Vec<String>,
    /// The model whose tokens are counted: "bundled", a directory, or a name of the Hugging Face hub
    #[arg(long, short, default_value = sources::BUNDLED)]
    model: String,
    /// Longest text in tokens [default: 128, or the model's limit if lower]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// End with status 1 if there are problems; notes are none
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    columns: ColumnArgs,
}

/// The end of a strict check that found problems, which its report tells.
#[derive(Debug)]
pub(crate) struct ProblemsFound;

impl std::fmt::Display for ProblemsFound {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("the data have problems")
    }
}

impl std::error::Error for ProblemsFound {}

pub(crate) fn run(args: &CheckArgs, common: &Common) -> anyhow::Result<()> {
    let (tokenizer, max_length) = tokenizer(args, common)?;
    // nothing is written, so the first Ctrl-C may end the wait for rows
    stop::waiting(args.data.iter().any(|name| name == "-"));
    let read = sources::parts(&args.data, &args.columns.resolve(), common);
    stop::waiting(false);
    let (parts, notes) = read?;
    notes.iter().for_each(|text| note(common, text));
    let reviews = if args.data == [sources::REVIEWS] { Vec::new() } else { sources::bundled_reviews()? };
    let bundled = (!reviews.is_empty()).then_some(&reviews[..]);
    let mut bar = Bar { common, shown: None };
    let report = check(&parts, &Options { tokenizer: Some(&tokenizer), max_length, bundled }, &mut bar);
    bar.finish();
    let report = report?;
    if common.json {
        let mut result = json!(report);
        result["event"] = json!("check");
        line(result)?;
    } else {
        line(report::text(&report).trim_end())?;
    }
    if args.strict && report.problems > 0 {
        return Err(ProblemsFound.into());
    }
    Ok(())
}

/// The tokenizer that counts, and where a training would cut.
fn tokenizer(args: &CheckArgs, common: &Common) -> Result<(Tokenizer, usize)> {
    let files = sources::model(&args.model, common)?;
    let config = files.config()?;
    let max_length = args.max_length.unwrap_or(MAX_LENGTH.min(config.max_position_embeddings));
    // refuses the lengths that a training refuses
    let length = LengthArgs { max_length: Some(max_length), ..LengthArgs::default() };
    length.tokenizer(&files, &config)?;
    let (name, json) = &files.tokenizer[0];
    Ok((counting_tokenizer(&files.file(name), json)?, max_length))
}

/// A progress bar for each part of the work.
struct Bar<'a> {
    common: &'a Common,
    shown: Option<(&'static str, Progress)>,
}

impl Bar<'_> {
    fn finish(&mut self) {
        if let Some((_, progress)) = self.shown.take() {
            progress.finish();
        }
    }
}

impl Watcher for Bar<'_> {
    fn progress(&mut self, work: &'static str, done: usize, total: usize) {
        if self.shown.as_ref().is_some_and(|(shown, _)| *shown != work) {
            self.finish();
        }
        let (_, progress) = self.shown.get_or_insert_with(|| (work, Progress::new(self.common, "rows")));
        progress.set(done, total, || work.to_owned());
    }

    fn stop_requested(&self) -> bool {
        stop::requested()
    }
}
