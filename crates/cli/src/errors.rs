//! `distune errors`: where a model errs, and which labels are to be checked.

use std::path::{Path, PathBuf};

use clap::Args;
use distune::Result;
use distune::analysis::{ErrorAnalysis, LabelIssues, Lengths, RowText, Slice, Texts, WrongRow, analyse};
use distune::attribution::{Attribution, Explainer};
use distune::data::{Columns, Labels, Table};
use distune::eval::Finding;
use distune::model::{Model, ModelFiles};
use distune::tokenize::Encoded;
use serde_json::{Value, json};

use crate::explain::{self, explain};
use crate::judge::{JudgedArgs, Predictor, RowArgs, Rows};
use crate::length::LengthArgs;
use crate::output::{line, note, thousands};
use crate::{Common, sources};

/// Characters of a text that are shown, at most.
const TEXT: usize = 100;
/// Kinds of mistakes that are shown, at most.
const MISTAKES: usize = 5;

/// Show where a model errs: the most confidently wrong rows, labels to check, and the parts of the data on which it is worse
#[derive(Args, Debug)]
pub(crate) struct ErrorsArgs {
    #[command(flatten)]
    judged: JudgedArgs,
    /// Slice the rows by the values of this column too; may be given several times
    #[arg(long, value_name = "COLUMN")]
    slice_by: Vec<String>,
    /// Rows that are shown of each kind
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// Show which words the most confidently wrong predictions rest on
    #[arg(long, conflicts_with = "predictions")]
    explain: bool,
    /// Write all wrong rows, all labels to check and all slices into this directory, as CSV files
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long, requires = "output")]
    overwrite: bool,
}

pub(crate) fn run(args: &ErrorsArgs, common: &Common) -> anyhow::Result<()> {
    if let Some(directory) = &args.output {
        ErrorAnalysis::can_write(directory, args.overwrite)?;
    }
    let predictor = args.judged.predictor(common)?;
    let length = &args.judged.rows.length;
    let rows = rows(args, &predictor, common)?;
    let none = Table::default();
    let table = rows.table.as_ref().unwrap_or(&none);
    let (predictions, _) = predictor.predictions(&rows, length, common)?;
    let files = if let Predictor::Model { files, .. } = &predictor { Some(files) } else { None };
    let lengths = match files {
        Some(files) => in_tokens(files, table, length)?,
        None => Lengths::in_words(Texts::from(table)),
    };
    let columns: Vec<(&str, &[String])> = table.others.iter().map(|(name, values)| (&name[..], &values[..])).collect();
    let texts = Texts::from(table);
    let analysis = analyse(texts, &rows.truth, &predictions, rows.labels.names(), &lengths, &columns)?;
    if let Some(why) = trained_on(args, files, &rows) {
        note(common, why);
    }
    let shown = &analysis.wrong[..analysis.wrong.len().min(args.top)];
    let attributions = match files.filter(|_| args.explain) {
        Some(files) => explained(files, shown, length, common)?,
        None => Vec::new(),
    };
    if let Some(directory) = &args.output {
        for path in analysis.write(directory)? {
            note(common, format!("Wrote {}", path.display()));
        }
    }
    if common.json {
        return Ok(line(as_json(args, &rows, &analysis, &attributions))?);
    }
    show(&rows, &analysis, &attributions, args)
}

/// The rows and what they are sliced by. A file of predictions that tells the truth too is read a second time, for its texts.
fn rows(args: &ErrorsArgs, predictor: &Predictor, common: &Common) -> Result<Rows> {
    let RowArgs { split, columns, .. } = &args.judged.rows;
    let columns = Columns { others: args.slice_by.clone(), ..columns.resolve() };
    let rows = Rows::read(&[predictor], args.judged.data(), split.as_deref(), columns.clone(), common)?;
    match predictor {
        Predictor::File(file) if args.judged.data().is_none() => {
            let name = file.path.display().to_string();
            let table = sources::table(&name, None, &columns, Labels::Required, common)?;
            Ok(Rows { table: Some(table), ..rows })
        }
        _ => Ok(rows),
    }
}

/// The lengths of the rows as the model reads them.
fn in_tokens(files: &ModelFiles, table: &Table, length: &LengthArgs) -> Result<Lengths> {
    let config = files.config()?;
    let tokenizer = length.tokenizer(files, &config)?;
    let encoded = match table.pairs.is_empty() {
        true => tokenizer.encode(&table.texts)?,
        false => tokenizer.encode_pairs(&table.texts, &table.pairs)?,
    };
    Ok(Lengths { unit: "tokens", of_rows: encoded.iter().map(Encoded::tokens).collect() })
}

/// What is to be said where rows are likely to be those of the model's own training.
fn trained_on(args: &ErrorsArgs, files: Option<&ModelFiles>, rows: &Rows) -> Option<String> {
    let why = if args.judged.rows.split.as_deref() == Some("train") {
        "these are training rows".to_owned()
    } else {
        let trained = sources::trained_with(files?, "data")?;
        let names: Vec<&str> = match &trained {
            Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
            name => name.as_str().into_iter().collect(),
        };
        let same = |name: &&str| {
            let full = |path: &Path| std::fs::canonicalize(path).ok();
            Path::new(name).is_file() && full(Path::new(name)) == full(&rows.path)
        };
        let name = names.into_iter().find(same)?;
        format!("the model was trained on rows of {name}")
    };
    Some(format!(
        "Note: {why}. What a model has been trained on, it has learned with its wrong labels: errors are too few, and labels to check \
         are missed. Use rows that it has not seen."
    ))
}

/// What the most confidently wrong predictions rest on.
fn explained(
    files: &ModelFiles,
    rows: &[WrongRow],
    length: &LengthArgs,
    common: &Common,
) -> anyhow::Result<Vec<Attribution>> {
    let model = Model::load(files)?;
    let tokenizer = length.tokenizer(files, &model.config)?;
    let labels = &model.config.labels;
    let mut explainer = Explainer::new(&model, explain::options());
    let mut attributions = Vec::new();
    for row in rows {
        let texts = (row.at.text.as_str(), row.at.pair.as_deref());
        let class = labels.iter().position(|label| *label == row.label);
        attributions.push(explain(&mut explainer, &tokenizer, texts, class, common)?);
    }
    Ok(attributions)
}

/// The analysis with the first rows of each kind.
fn as_json(args: &ErrorsArgs, rows: &Rows, analysis: &ErrorAnalysis, attributions: &[Attribution]) -> Value {
    let mut object = json!(analysis);
    object["data"] = json!(rows.path);
    object["wrong_rows"] = json!(analysis.wrong.len());
    let first = |list: &mut Value| {
        if let Value::Array(list) = list {
            list.truncate(args.top);
        }
    };
    first(&mut object["wrong"]);
    for (place, attribution) in attributions.iter().enumerate() {
        object["wrong"][place]["attribution"] = json!(attribution);
    }
    if let Some(found) = &analysis.label_issues {
        first(&mut object["label_issues"]["issues"]);
        object["label_issues"]["labels"] = json!(found.issues.len());
    }
    object
}

fn show(rows: &Rows, analysis: &ErrorAnalysis, attributions: &[Attribution], args: &ErrorsArgs) -> anyhow::Result<()> {
    let ErrorAnalysis { accuracy, interval, wrong, .. } = analysis;
    line(format!(
        "{}: {} of {} rows are wrong, accuracy {:.2} % (95 % interval {:.1} to {:.1})",
        rows.path.display(),
        thousands(wrong.len()),
        thousands(analysis.rows),
        100.0 * accuracy,
        100.0 * interval.low,
        100.0 * interval.high,
    ))?;
    if !wrong.is_empty() {
        line(mistakes(wrong))?;
        line("\nThe most confidently wrong rows:")?;
    }
    let colours = explain::colours();
    for (place, row) in wrong.iter().take(args.top).enumerate() {
        line(wrong_row(row))?;
        if let Some(attribution) = attributions.get(place) {
            line(explain::shown(attribution, colours))?;
        }
    }
    line(match &analysis.label_issues {
        None => "\nLabels to check: not to be told from predictions without probabilities.".to_owned(),
        Some(found) => label_issues(found, args.top),
    })?;
    line(slices(&analysis.slices))?;
    Ok(())
}

/// The most frequent mistakes.
fn mistakes(wrong: &[WrongRow]) -> String {
    let mut counts = std::collections::BTreeMap::new();
    wrong.iter().for_each(|row| *counts.entry((labels(&row.truth), labels(&row.predicted))).or_insert(0_usize) += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
    let shown = counts.iter().take(MISTAKES);
    let shown: Vec<String> =
        shown.map(|((truth, predicted), rows)| format!("{truth} taken for {predicted} {}", thousands(*rows))).collect();
    let more = counts.len().saturating_sub(MISTAKES);
    format!("{}{}", shown.join(", "), if more > 0 { format!(" and {more} other kinds") } else { String::new() })
}

/// The labels of a row.
fn labels(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join("|") }
}

fn wrong_row(row: &WrongRow) -> String {
    let (truth, predicted) = (labels(&row.truth), labels(&row.predicted));
    let sure = match row.confidence {
        None => String::new(),
        Some(p) if row.predicted == [row.label.clone()] => format!(" ({p:.4})"),
        Some(p) => format!(" ({} {p:.4})", row.label),
    };
    format!("line {}: {truth}, predicted {predicted}{sure}  {}", row.at.line, beginning(&row.at))
}

fn label_issues(found: &LabelIssues, top: usize) -> String {
    if found.issues.is_empty() {
        return "\nLabels to check: none stands out.".to_owned();
    }
    let mut text = format!("\nLabels to check: those of {} rows are probably wrong", thousands(found.rows));
    let pairs = found.pairs.iter().take(MISTAKES);
    let pairs: Vec<String> = pairs
        .map(|pair| format!("{} that should be {} {}", pair.given, pair.suggested, thousands(pair.rows)))
        .collect();
    text += &format!(" ({})", pairs.join(", "));
    for issue in found.issues.iter().take(top) {
        let (given, suggested) = (labels(&issue.given), labels(&issue.suggested));
        let sure = issue.self_confidence;
        text +=
            &format!("\nline {}: {given} ({sure:.4}), probably {suggested}  {}", issue.at.line, beginning(&issue.at));
    }
    text
}

/// The beginning of a row's text, or of both texts.
fn beginning(at: &RowText) -> String {
    let whole = [Some(&at.text), at.pair.as_ref()].into_iter().flatten().cloned().collect::<Vec<_>>().join(" | ");
    let text: String = whole.chars().take(TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if whole.chars().count() > TEXT { text + "..." } else { text }
}

/// The slices as a table.
fn slices(slices: &[Slice]) -> String {
    let cut = |text: &str| text.chars().take(30).collect::<String>();
    let width = |of: &dyn Fn(&Slice) -> &String, least: usize| {
        slices.iter().map(|slice| cut(of(slice)).chars().count()).max().unwrap_or(0).max(least)
    };
    let (by, value) = (width(&|slice| &slice.by, 2), width(&|slice| &slice.value, 5));
    let mut text = format!("\n{:by$}  {:value$}     rows  accuracy  95 % interval     rest  p-value", "by", "value");
    for slice in slices {
        let rest = slice.rest_accuracy.map_or("-".to_owned(), |rest| format!("{:.2}", 100.0 * rest));
        let finding = match slice.finding {
            Finding::Chance => "",
            Finding::Better => "  better than the rest",
            Finding::Worse => "  worse than the rest",
        };
        let p = if slice.p_adjusted < 0.0001 { "< 0.0001".to_owned() } else { format!("{:.4}", slice.p_adjusted) };
        let ends = format!("{:.1} to {:.1}", 100.0 * slice.interval.low, 100.0 * slice.interval.high);
        text += &format!(
            "\n{:by$}  {:value$}  {:>7}  {:8.2}  {ends:13}  {rest:>7}  {p:>7}{finding}",
            cut(&slice.by),
            cut(&slice.value),
            thousands(slice.rows),
            100.0 * slice.accuracy,
        );
    }
    text + "\n\np-values allow for the number of slices; where nothing is said, what there is of a difference is within chance."
}
