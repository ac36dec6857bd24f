//! `distune compare`: which of several models, or files of predictions, is better on the same rows.

use std::path::{Path, PathBuf};

use clap::Args;
use distune::Error;
use distune::baselines::Baseline;
use distune::data::{Columns, Dataset, Table};
use distune::eval::{
    Bootstrap, Comparison, FlippedRow, Group, GroupReport, Interval, Metric, Pair, Predictions, compare, flips,
    group_report, write_flips,
};
use distune::model::ProblemType;
use serde_json::json;

use crate::judge::{Predictor, RowArgs, Rows};
use crate::output::{line, note, thousands};
use crate::{Common, sources};

/// Rows that changed that are shown, at most.
const SHOWN: usize = 10;
/// Characters of a text that are shown, at most.
const TEXT: usize = 60;
/// The figures that the tables show, where they are told, beside the one that decides.
const FIGURES: [Metric; 7] = [
    Metric::Accuracy,
    Metric::MacroF1,
    Metric::MatthewsCorrcoef,
    Metric::RocAuc,
    Metric::MacroRocAuc,
    Metric::LogLoss,
    Metric::BrierScoreLoss,
];

/// Tell which of several models is better on the same rows, and whether that is more than chance
#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    /// The models; each but the first one is compared with the first one. A model's directory or name on the Hugging Face hub, or a
    /// file of predictions for the rows (what predict --json prints, or .csv, .tsv or .parquet). Runs of one recipe with several
    /// seeds count as one: A1,A2,A3, or a directory of run directories
    #[arg(value_name = "MODEL", required = true, num_args = 2..)]
    models: Vec<String>,
    /// "reviews", a directory with splits, a file of any format that is read, "-" for one on standard input, or a name of the
    /// Hugging Face hub
    #[arg(long, short, default_value = sources::REVIEWS)]
    data: String,
    #[command(flatten)]
    rows: RowArgs,
    /// What decides: any single number that eval --json tells [default: accuracy; micro_f1 with several labels a row]
    #[arg(long, value_name = "NAME", value_parser = Metric::from_name)]
    metric: Option<Metric>,
    /// Leave out the baselines (majority class, and TF-IDF with logistic regression), which are trained on the train split where the data
    /// have one
    #[arg(long)]
    no_baselines: bool,
    /// Write all rows that two models judge differently into this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    flips: Option<PathBuf>,
}

pub(crate) fn run(args: &CompareArgs, common: &Common) -> anyhow::Result<()> {
    let mut groups: Vec<(&str, Vec<Predictor>)> = Vec::new();
    for name in &args.models {
        let runs = runs(name)?.iter().map(|run| predictor(run, common)).collect::<distune::Result<_>>()?;
        groups.push((name, runs));
    }
    let all: Vec<&Predictor> = groups.iter().flat_map(|(_, runs)| runs).collect();
    let rows = Rows::read(&all, Some(&args.data), args.rows.split.as_deref(), args.rows.columns.resolve(), common)?;
    let mut predicted: Vec<(&str, Vec<Predictions>)> = Vec::new();
    for (name, runs) in &groups {
        let predictions = runs.iter().map(|run| Ok(run.predictions(&rows, &args.rows.length, common)?.0));
        predicted.push((name, predictions.collect::<anyhow::Result<_>>()?));
    }
    let groups: Vec<Group> =
        predicted.iter().map(|(name, runs)| Group { name: (*name).to_owned(), runs: runs.iter().collect() }).collect();
    let comparison = compare(&rows.truth, &groups, rows.labels.names(), args.metric, Bootstrap::default())?;
    let baselines = if args.no_baselines { Vec::new() } else { baselines(args, &rows, common) };
    if let Some(path) = &args.flips {
        write_flips(path, flipped(&rows, &groups))?;
    }
    let first: Vec<FlippedRow> = flipped(&rows, &groups).take(SHOWN).collect();
    if common.json {
        let mut object = json!(comparison);
        object["data"] = json!(rows.path);
        object["flips"] = json!(first);
        object["baselines"] = json!(baselines);
        return Ok(line(object)?);
    }
    show(&rows, &comparison, &baselines, &first)
}

/// The figures of the baselines; none without a train split, or with one that cannot be used, which is said.
fn baselines(args: &CompareArgs, rows: &Rows, common: &Common) -> Vec<GroupReport> {
    match trained_baselines(args, rows, common) {
        Ok(reports) => reports,
        Err(error) => {
            note(common, format!("No baselines: {error}"));
            Vec::new()
        }
    }
}

fn trained_baselines(args: &CompareArgs, rows: &Rows, common: &Common) -> distune::Result<Vec<GroupReport>> {
    let Some(judged) = rows.table.as_ref().filter(|_| args.rows.split.as_deref() != Some("train")) else {
        return Ok(Vec::new());
    };
    let several_labels = rows.labels.problem() == ProblemType::MultiLabel;
    let columns = Columns { several_labels, ..args.rows.columns.resolve() };
    let Some(train) = sources::train_table(&args.data, &columns, common)? else { return Ok(Vec::new()) };
    let dataset = |table: Table| Dataset::new(table, &rows.labels);
    let names = rows.labels.names();
    let mut reports = Vec::new();
    for Baseline { name, predictions, note: left_out, .. } in
        distune::baselines::baselines(&dataset(train)?, &dataset(judged.clone())?, names)?
    {
        left_out.iter().for_each(|text| note(common, format!("{name}: {text}")));
        let group = Group { name: name.to_owned(), runs: vec![&predictions] };
        reports.push(group_report(&rows.truth, &group, names, Bootstrap::default())?);
    }
    Ok(reports)
}

/// The runs that an argument names.
fn runs(name: &str) -> distune::Result<Vec<String>> {
    let path = Path::new(name);
    if path.is_dir() && !path.join("config.json").exists() {
        let entries = std::fs::read_dir(path).map_err(|error| Error::io(path, "list", &error))?;
        let entries = entries.flatten().map(|entry| entry.path());
        let mut runs: Vec<String> =
            entries.filter(|run| run.join("config.json").exists()).map(|run| run.display().to_string()).collect();
        runs.sort();
        if runs.is_empty() {
            let problem =
                "is neither a model's directory nor one of run directories (no config.json in it or below it)";
            return Err(Error::file(path, problem, "Name a directory that distune train wrote, or a file"));
        }
        return Ok(runs);
    }
    if path.exists() {
        return Ok(vec![name.to_owned()]);
    }
    Ok(name.split(',').map(|run| run.trim().to_owned()).filter(|run| !run.is_empty()).collect())
}

/// A model, or a file of predictions.
fn predictor(name: &str, common: &Common) -> distune::Result<Predictor> {
    if Path::new(name).is_file() { Predictor::file(Path::new(name)) } else { Predictor::model(name, common) }
}

/// The rows that a single run judges otherwise than the first one, pair by pair.
fn flipped<'a>(rows: &'a Rows, groups: &'a [Group]) -> impl Iterator<Item = FlippedRow<'a>> {
    let single = |group: &'a Group| Some((group.name.as_str(), *group.runs.first()?)).filter(|_| group.runs.len() == 1);
    let first = groups.first().and_then(single);
    let pairs = groups[1..].iter().filter_map(move |group| Some((first?, single(group)?)));
    let names = rows.labels.names();
    let named = |ids: &[u32]| ids.iter().map(|&id| names[id as usize].as_str()).collect::<Vec<_>>();
    pairs.flat_map(move |((a, of_a), (b, of_b))| {
        flips(&rows.truth, &of_a.answers, &of_b.answers).filter_map(move |(row, flip)| {
            let table = rows.table.as_ref()?;
            Some(FlippedRow {
                line: table.lines[row],
                text: &table.texts[row],
                pair: table.pairs.get(row).map(String::as_str),
                truth: named(rows.truth.row(row)),
                a,
                a_predicts: named(of_a.answers.row(row)),
                b,
                b_predicts: named(of_b.answers.row(row)),
                flip,
            })
        })
    })
}

fn show(rows: &Rows, comparison: &Comparison, baselines: &[GroupReport], first: &[FlippedRow]) -> anyhow::Result<()> {
    line(format!("{}: {} rows\n", rows.path.display(), thousands(comparison.rows)))?;
    let others = FIGURES.into_iter().filter(|metric| *metric != comparison.metric);
    let metrics: Vec<Metric> = std::iter::once(comparison.metric).chain(others).collect();
    line(models(comparison, baselines, &metrics))?;
    for pair in &comparison.pairs {
        line(differences(pair, &metrics))?;
        if let Some(changes) = pair.changes {
            let both = match changes.both_wrong {
                0 => String::new(),
                rows => format!(", {} wrong in both but not alike", thousands(rows)),
            };
            let (gained, lost) = (thousands(changes.gained), thousands(changes.lost));
            line(format!("Rows that change: {gained} right in {} alone, {lost} in {} alone{both}.", pair.b, pair.a))?;
        }
        line(format!("{}\n", pair.verdict))?;
    }
    if !first.is_empty() {
        line("The first rows that change (--flips FILE writes all):")?;
    }
    first.iter().try_for_each(|row| line(flip(row)))?;
    Ok(())
}

/// The baselines and the models as a table: what decides with its interval, and the other figures that some of them tell.
fn models(comparison: &Comparison, baselines: &[GroupReport], metrics: &[Metric]) -> String {
    let groups = || baselines.iter().chain(&comparison.groups);
    let of = |group: &GroupReport, metric: Metric| {
        group.figures.iter().find(|figure| figure.estimate.metric == metric).cloned()
    };
    let told = |metric: &&Metric| groups().any(|group| of(group, **metric).is_some());
    let others: Vec<Metric> = metrics[1..].iter().filter(told).copied().collect();
    let several = comparison.groups.iter().any(|group| group.runs > 1);
    let names = groups().map(|group| group.name.chars().count());
    let width = names.max().unwrap_or(0).max("model".len());
    let (title, spread) = (comparison.metric.title(), if several { "  runs  spread" } else { "" });
    let mut text = format!("{:width$}{spread}  {title:>8}  {:16}", "model", "95 % interval");
    others.iter().for_each(|metric| text += &format!("  {:>8}", metric.title()));
    for group in groups() {
        let Some(figure) = of(group, comparison.metric) else { continue };
        let spread = match (several, figure.spread) {
            (false, _) => String::new(),
            (true, None) => format!("  {:4}  {:>6}", group.runs, "-"),
            (true, Some(spread)) => format!("  {:4}  {spread:6.4}", group.runs),
        };
        let interval = ends(figure.estimate.interval, |x| format!("{x:.4}"));
        let value = format!("{:>1$.4}", figure.estimate.value, title.len().max(8));
        text += &format!("\n{:width$}{spread}  {value}  {interval:16}", group.name);
        for metric in &others {
            let value = of(group, *metric).map_or("-".into(), |figure| format!("{:.4}", figure.estimate.value));
            text += &format!("  {value:>0$}", metric.title().len().max(8));
        }
    }
    text + "\n"
}

/// The differences of two models as a table.
fn differences(pair: &Pair, metrics: &[Metric]) -> String {
    let head = format!("{} less {}", pair.b, pair.a);
    let width = head.chars().count().max(24);
    let mut text = format!("{head:width$}    value  95 % interval");
    for difference in metrics.iter().filter_map(|metric| pair.differences.iter().find(|d| d.metric == *metric)) {
        let interval = ends(difference.interval, |x| format!("{x:+.4}"));
        text += &format!("\n{:width$}  {:+7.4}  {interval}", difference.metric.title(), difference.value);
    }
    text
}

fn ends(interval: Option<Interval>, number: impl Fn(f64) -> String) -> String {
    interval.map_or("-".into(), |interval| format!("{} to {}", number(interval.low), number(interval.high)))
}

/// A row that changes: its line, what it is, what both say, and the beginning of its text.
fn flip(row: &FlippedRow) -> String {
    let labels = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join("|") };
    let text: String = row.text.chars().take(TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let cut = if row.text.chars().count() > TEXT { "..." } else { "" };
    format!(
        "line {}: {} ({}: {}, {}: {})  {text}{cut}",
        row.line,
        labels(&row.truth),
        row.a,
        labels(&row.a_predicts),
        row.b,
        labels(&row.b_predicts),
    )
}
