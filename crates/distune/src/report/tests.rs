//! The page and the card of trainings of many kinds, made of plain data.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::analysis::{Lengths as WordLengths, Texts, analyse};
use crate::calibration::Goal;
use crate::eval::{Bootstrap, Group, compare, estimates};
use crate::train::{EvaluationRecord, PartOfModel, StepRecord};

/// What a page must not take for its own.
const BAD: &str = "<script>alert('&\"`')</script><img src=x onerror=alert(1)>|*_[a](javascript:b)\u{202e}";

/// A training to be told of.
struct Told {
    name: String,
    model: Source,
    data: Vec<Source>,
    settings: RecipeFile,
    labels: Vec<String>,
    notes: Vec<String>,
    truth: Answers,
    predictions: Predictions,
    chose_the_epoch: bool,
    text: String,
}

impl Told {
    /// One of `classes` labels a row, of which three of four are right.
    fn new(classes: usize, rows: usize) -> Self {
        let labels: Vec<String> = (0..classes).map(|class| format!("label {class}")).collect();
        let truth: Vec<u32> = (0..rows).map(|row| (row % classes) as u32).collect();
        let mut predictions = Predictions::none(crate::model::ProblemType::SingleLabel);
        for (row, &class) in truth.iter().enumerate() {
            let said = if row % 4 == 3 { (class as usize + 1) % classes } else { class as usize };
            let rest = 0.3 / (classes - 1) as f64;
            predictions.push(&(0..classes).map(|class| if class == said { 0.7 } else { rest }).collect::<Vec<_>>());
        }
        Self::of(labels, Answers::One(truth), predictions)
    }

    /// Any number of three labels a row.
    fn several() -> Self {
        let truth = (0..60).map(|row| (0..3).filter(|id| row % (id + 2) == 0).collect()).collect();
        let mut predictions = Predictions::none(crate::model::ProblemType::MultiLabel);
        (0..60).for_each(|row| predictions.push(&[0.9, if row % 3 == 0 { 0.8 } else { 0.1 }, 0.2]));
        Self::of(vec!["a".into(), "b".into(), "c".into()], Answers::Several(truth), predictions)
    }

    fn of(labels: Vec<String>, truth: Answers, predictions: Predictions) -> Self {
        let settings = RecipeFile { model: Some("m".into()), data: vec!["d.csv".into()], ..RecipeFile::default() };
        let (model, data) = (Source::local(Path::new("/home/me/secret/m")), Source::local(Path::new("secret/d.csv")));
        let (name, notes) = ("run-1".to_owned(), Vec::new());
        let (text, chose_the_epoch) = ("מה קורה".to_owned(), false);
        Self { name, model, data: vec![data], settings, labels, notes, truth, predictions, chose_the_epoch, text }
    }

    /// The page and the card.
    fn written(&self) -> (String, String) {
        let evaluation = Evaluation::new(&self.truth, &self.predictions, &self.labels).unwrap();
        let few = Bootstrap { resamples: 100, seed: 1 };
        let estimates = estimates(&self.truth, &self.predictions, &self.labels, few).unwrap();
        let groups = ["The starting model", "b"].map(|name| Group { name: name.into(), runs: vec![&self.predictions] });
        let pair = compare(&self.truth, &groups, &self.labels, None, few).unwrap().pairs.remove(0);
        let step =
            |step| StepRecord { step, epoch: step as f64 / 10.0, loss: 0.5, grad_norm: 1.0, learning_rate: 1e-4 };
        let judged = EvaluationRecord {
            epoch: 1.0,
            step: 10,
            train_loss: 0.5,
            seconds: 1.0,
            validation: evaluation.clone(),
            best: true,
        };
        let outcome = Outcome {
            steps: (1..=10).map(step).collect(),
            evaluations: vec![judged],
            stopped_early: false,
            train_seconds: 75.0,
            cache: None,
        };
        let part = PartOfModel { part: "head".into(), trains: true, parameters: 10, trained: 10, from_epoch: Some(2) };
        let rows = SplitRows {
            name: "train",
            rows: 100,
            of_classes: vec![7; self.labels.len()],
            lengths: Lengths { rows: 100, tokens: 900, windows: 100, truncated: 1 },
            purpose: "trained on",
        };
        let calibration = Calibration::fit(&self.truth, &self.predictions, &self.labels, Goal::F1).unwrap();
        let texts: Vec<String> = (0..self.truth.len()).map(|row| format!("{row} {}", self.text)).collect();
        let lines: Vec<u64> = (1..=texts.len() as u64).collect();
        let texts = Texts { texts: &texts, pairs: &[], lines: &lines };
        let lengths = WordLengths::in_words(texts);
        let errors = analyse(texts, &self.truth, &self.predictions, &self.labels, &lengths, &[]).unwrap();
        let model = |name| ModelRow { name, figures: &estimates, seconds: None, note: None };
        let report = TrainingReport {
            name: &self.name,
            model: &self.model,
            data: &self.data,
            settings: &self.settings,
            labels: &self.labels,
            notes: &self.notes,
            problems: &self.notes,
            splits: &[rows],
            parts: &[part],
            adapters: None,
            frozen: Some("0123456789abcdef0123456789abcdef"),
            outcome: &outcome,
            judged: Judged {
                split: "test",
                chose_the_epoch: self.chose_the_epoch,
                truth: &self.truth,
                predictions: &self.predictions,
                evaluation: &evaluation,
                estimates: &estimates,
            },
            models: &[model("The starting model"), model("The trained model")],
            start: Some(&pair),
            baseline: None,
            calibration: Some(&calibration),
            errors: Some(&errors),
            explanations: &[],
            environment: &Environment::new("f32", Duration::from_secs(80), Some(1 << 29)),
            checksums: &[("train rows", "100 (checksum 0)")],
        };
        (report.html(), report.card().unwrap())
    }
}

/// The metadata of a card.
fn metadata(card: &str) -> Value {
    let (yaml, _) = card.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    serde_saphyr::from_str(yaml).unwrap()
}

/// Texts of users are text, wherever they stand.
#[test]
fn nothing_of_a_user_becomes_markup() {
    let mut told = Told::new(3, 40);
    let plain = told.written().0;
    told.name = BAD.into();
    told.model = Source { name: BAD.into(), about: Some(BAD.into()), ..Source::default() };
    told.data = vec![told.model.clone(), told.model.clone()];
    told.labels = (0..3).map(|n| format!("{n}{BAD}")).collect();
    told.notes = vec![BAD.into()];
    told.text = BAD.into();
    told.settings.data = vec![BAD.into()];
    told.settings.columns.text = Some(BAD.into());
    told.settings.columns.pair = Some(BAD.into());
    let (page, card) = told.written();
    for tag in ["<script", "<img", "<svg", "<h1", "<style"] {
        let count = |page: &str| page.matches(tag).count();
        assert_eq!(count(&page), count(&plain), "{tag}");
    }
    assert!(page.contains("&lt;script&gt;alert("));
    // Markdown lets markup through but in code
    let (_, body) = card.split_once("\n---\n").unwrap();
    let outside: String = body.split("```").step_by(2).collect();
    for line in outside.lines() {
        let text: String = line.replace("\\`", "").replace("\\]", "").split('`').step_by(2).collect();
        assert!(!text.contains("<img") && !text.contains("](javascript"), "{line}");
    }
    assert_eq!(metadata(&card)["model-index"][0]["name"], BAD);
}

#[test]
fn the_page_stands_alone_and_says_what_was_done() {
    let (page, _) = Told::new(2, 40).written();
    for elsewhere in ["http://", "https://", "url(", "@import", "<script", "<link rel=\"stylesheet\""] {
        let page = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    for said in [
        "Whether fine-tuning helped cannot be told.",
        "75.0 %",
        "1 min 15 s",
        "trains</span> from epoch 2 on",
        "0123456789abcdef…",
        "537 MB",
        "distune train recipe.toml",
        "prefers-color-scheme: dark",
        "@media print",
        "lang=\"en\"",
    ] {
        assert!(page.contains(said), "{said}");
    }
    // each entry of the contents leads somewhere
    let links: Vec<&str> = page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(links.len() > 6);
    links.iter().for_each(|id| assert!(page.contains(&format!("<section id=\"{id}\">")), "{id}"));
}

#[test]
fn many_classes_and_several_labels() {
    for classes in [2, 12, 13, 100, 1000] {
        let told = Told::new(classes, 3000);
        let (page, card) = told.written();
        assert!(page.len() < 1_000_000, "{classes} classes: {} bytes", page.len());
        assert_eq!(page.contains("class=\"matrix\""), classes <= 12);
        assert_eq!(page.contains("The most frequent confusions"), classes > 12);
        assert!(card.len() < 10_000, "{classes} classes: {} bytes", card.len());
    }
    let (page, card) = Told::several().written();
    assert!(page.contains("Micro F1") && !page.contains("id=\"confusion\""));
    assert!(card.contains("any number of the labels `a`, `b`, `c`") && card.contains("top_k=None"));
}

#[test]
fn without_rows_of_their_own_figures_are_favourable() {
    let mut told = Told::new(2, 40);
    assert!(!told.written().0.contains("on the favourable side"));
    told.chose_the_epoch = true;
    let (page, card) = told.written();
    assert!(page.contains("on the favourable side") && card.contains("on the favourable side"));
    assert!(!page.contains("On validation"));
}

#[test]
fn the_card_is_for_the_hub() {
    let mut told = Told::new(2, 40);
    let (_, card) = told.written();
    let yaml = metadata(&card);
    let known: Vec<&str> = yaml.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(known, ["library_name", "pipeline_tag", "tags", "metrics", "model-index"]);
    let result = &yaml["model-index"][0]["results"][0];
    assert_eq!((&result["dataset"]["type"], &result["dataset"]["name"]), (&"d".into(), &"d.csv".into()));
    assert_eq!(result["metrics"][0]["type"], "accuracy");
    assert_eq!(result["metrics"][0]["value"], 0.75);
    let name = result["metrics"][0]["name"].as_str().unwrap();
    assert!(name.starts_with("Accuracy (95 % interval 0.5981 to 0.85"), "{name}");
    // where something lies on this machine is nobody else's business
    assert!(!card.contains("secret") && !card.contains("/home"), "{card}");

    let hub = |kind, name| Source::of_hub(&crate::hub::Repository::parse(kind, name).unwrap());
    told.model = hub(crate::hub::Kind::Model, "distilbert-base-uncased");
    told.data = vec![hub(crate::hub::Kind::Dataset, "nyu-mll/glue:sst2@abc")];
    let yaml = metadata(&told.written().1);
    let dataset = &yaml["model-index"][0]["results"][0]["dataset"];
    assert_eq!(
        (&yaml["base_model"], &yaml["datasets"][0]),
        (&"distilbert-base-uncased".into(), &"nyu-mll/glue".into())
    );
    assert_eq!((&dataset["config"], &dataset["revision"]), (&"sst2".into(), &"abc".into()));
    for unknown in ["license", "language"] {
        assert!(yaml.get(unknown).is_none());
    }
    // a language is that of the data
    told.model.language = Some("en".into());
    assert!(metadata(&told.written().1).get("language").is_none());
    told.data[0].language = Some("de".into());
    assert_eq!(metadata(&told.written().1)["language"][0], "de");
}
