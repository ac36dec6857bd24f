//! Every key of a recipe and every option of `train` changes what it says that it changes, and each key has its option.
//!
//! A new key is a line in [`keys`], with what it needs to do something and the function that sees what it changes; a new option that is
//! no key's is a line in [`other_options`].

use std::collections::{BTreeSet, HashMap};

use distune::train::RecipeFile;
use serde_json::Value;
use toml::Table;

use crate::support::{Checkpoint, Ran, Sandbox, feed};

/// How every training here begins: 24 rows in batches of 8, three steps an epoch.
const BASE: &str = "model = 'model'\ndata = 'data'\nprecision = 'f32'\nnum_train_epochs = 2\n\
                    per_device_train_batch_size = 8\nlearning_rate = 0.003\nwarmup_steps = 0";
/// Learns so little that the metric never improves, through five evaluations.
const STILL: &str = "learning_rate = 1e-6\nnum_train_epochs = 5\nmetric_for_best_model = 'accuracy'";
const PLATEAU: &str = "lr_scheduler_type = 'reduce_lr_on_plateau'";

/// Whether two trainings differ as they should: the first without a setting, the second with it.
type Differs = fn(&Trained, &Trained) -> bool;

/// One line a key: another value than the default (as TOML), and what it changes.
fn keys() -> Vec<Setting> {
    vec![
        set("model", "'other-model'", losses),
        set("data", "'other-data'", losses),
        set("precision", "'bf16'", rounding),
        set("new_head", "true", losses).with("model = 'classifier'").option("--new-head"),
        set("text_column", "'other'", losses),
        set("label_column", "'topic'", classes),
        set("pair_column", "'other'", losses).with("text_column = 'sentence'"),
        set("group_column", "'author'", losses).with("data = 'one-file.csv'"),
        set("skip_bad", "true", succeeds).with("data = 'bad-data'").option("--skip-bad"),
        set("trees", "'phrases'", train_rows).with("data = 'trees'"),
        set("unfreeze", "'blocks:1'", parts),
        set("gradual_unfreezing", "true", parts).with("num_train_epochs = 4").option("--gradual-unfreezing"),
        set("reinit_blocks", "1", losses),
        set("lora_rank", "2", parts),
        set("lora_alpha", "32.0", weights).with("lora_rank = 2"),
        set("lora_targets", "'all_linear'", parts).with("lora_rank = 2"),
        set("cache_frozen", "false", no_cache).with("unfreeze = 'blocks:1'").option("--no-cache"),
        set("num_train_epochs", "3", steps).option("--epochs 3"),
        set("per_device_train_batch_size", "4", steps).option("--batch-size 4"),
        set("gradient_accumulation_steps", "2", steps),
        set("max_batch_tokens", "20", rounding),
        set("learning_rate", "0.002", rates),
        set("head_learning_rate", "0.02", weights),
        set("lr_scheduler_type", "'cosine'", rates).option("--lr-scheduler cosine"),
        set("lr_power", "2.0", rates).with("lr_scheduler_type = 'polynomial'"),
        set("lr_factor", "0.5", rates).with(STILL).with(PLATEAU).with("lr_patience = 1"),
        set("lr_patience", "1", rates).with(STILL).with(PLATEAU),
        set("warmup_steps", "2.0", rates),
        set("weight_decay", "0.5", weights),
        set("optim", "'adam'", weights).option("--optimizer adam"),
        set("momentum", "0.5", weights).with("optim = 'sgd'"),
        set("adam_beta1", "0.5", weights),
        set("adam_beta2", "0.9", weights),
        set("adam_epsilon", "0.01", weights),
        set("ema_decay", "0.9", average),
        set("max_grad_norm", "0.01", weights),
        set("label_smoothing_factor", "0.3", losses).option("--label-smoothing 0.3"),
        set("focal_gamma", "2.0", losses),
        set("class_weights", "'balanced'", losses),
        set("r_drop", "1.0", losses),
        set("dropout", "0.4", training_alone),
        set("attention_dropout", "0.4", training_alone),
        set("seq_classif_dropout", "0.5", training_alone),
        set("layer_decay", "0.5", weights),
        set("max_seq_length", "6", losses).option("--max-length 6"),
        set("long", "'windows'", steps).with("max_seq_length = 6"),
        set("window_overlap", "3", steps).with("long = 'windows'\nmax_seq_length = 8"),
        set("window_combine", "'max'", judged).with("long = 'windows'\nmax_seq_length = 6"),
        set("select_on", "'dev'", train_rows).with("data = 'two-splits'"),
        set("max_steps", "4", steps),
        set("eval_steps", "1", evaluations),
        set("metric_for_best_model", "'loss'", best_metric),
        set("early_stopping_patience", "2", steps).with(STILL),
        set("early_stopping_threshold", "10.0", steps)
            .with("metric_for_best_model = 'loss'\nearly_stopping_patience = 1\nnum_train_epochs = 4"),
        set("save_steps", "2", checkpoints),
        set("save_total_limit", "3", checkpoints).with("save_steps = 1"),
        set("max_time", "'1h'", |_, after| after.event("max_time")["max_time"] == "1h"),
        set("seed", "7", losses),
        set("split_seed", "7", losses).with("data = 'one-file.csv'"),
    ]
}

/// Options that are no key's: they stand here with what they do. `--output` and `--overwrite` are in every training.
fn other_options() -> Vec<(&'static str, &'static str, Differs)> {
    vec![
        ("--help", "", |_, after| after.ran.stdout.contains("Usage: distune train")),
        ("--quiet", "", |before, after| !before.ran.stderr.is_empty() && after.ran.stderr.is_empty()),
        ("--threads", "1", |before, after| {
            let threads = |trained: &Trained, n: usize| trained.ran.stderr.contains(&format!(", {n} threads."));
            threads(after, 1) && after.weights == before.weights
        }),
        ("--no-baselines", "", |before, after| {
            let named = |trained: &Trained| trained.result()["baselines"]["models"].as_array().map(Vec::len);
            (named(before), named(after)) == (Some(3), None) && after.weights == before.weights
        }),
        // what it does is in resume.rs; other settings beside it are refused
        ("--resume", "elsewhere", |_, after| {
            after.ran.status == Some(2) && after.ran.stderr.contains("--resume <DIR>")
        }),
        ("--cache-limit", "1B", |before, after| {
            let reused = |trained: &Trained| trained.result()["cache"]["rows_reused"].as_u64();
            (reused(before), reused(after)) == (Some(24), Some(0)) && after.weights == before.weights
        }),
    ]
}

// What a setting may change, of a training with its default and one with another value.

fn weights(before: &Trained, after: &Trained) -> bool {
    before.weights != after.weights && losses(before, after)
}

/// From the second step on, every setting that changes a step changes the loss.
fn losses(before: &Trained, after: &Trained) -> bool {
    before.values("step", "loss") != after.values("step", "loss")
}

/// What is judged and saved, and nothing of the training.
fn average(before: &Trained, after: &Trained) -> bool {
    before.weights != after.weights && judged(before, after)
}

/// What is judged, and nothing of the training.
fn judged(before: &Trained, after: &Trained) -> bool {
    !losses(before, after) && judged_losses(before) != judged_losses(after)
}

fn judged_losses(trained: &Trained) -> Vec<f64> {
    let evaluations = trained.events.iter().filter(|event| event["event"] == "evaluation");
    evaluations.map(|event| event["validation"]["loss"].as_f64().unwrap()).collect()
}

/// Only rounding, at the beginning.
fn rounding(before: &Trained, after: &Trained) -> bool {
    let first = |trained: &Trained| trained.values("step", "loss")[0];
    weights(before, after) && !steps(before, after) && (first(before) - first(after)).abs() < 0.02
}

/// The model's own config is saved.
fn training_alone(before: &Trained, after: &Trained) -> bool {
    losses(before, after) && before.files["config.json"] == after.files["config.json"]
}

fn steps(before: &Trained, after: &Trained) -> bool {
    before.values("step", "loss").len() != after.values("step", "loss").len()
}

fn rates(before: &Trained, after: &Trained) -> bool {
    before.values("step", "learning_rate") != after.values("step", "learning_rate")
}

fn evaluations(before: &Trained, after: &Trained) -> bool {
    let steps = |trained: &Trained| trained.values("evaluation", "step").len();
    steps(before) != steps(after) && !losses(before, after)
}

/// How many there are after each, and nothing of the training.
fn checkpoints(before: &Trained, after: &Trained) -> bool {
    let kept = |trained: &Trained| trained.values("checkpoint", "kept");
    kept(before) != kept(after) && before.weights == after.weights
}

fn best_metric(before: &Trained, after: &Trained) -> bool {
    before.files["trainer_state.json"]["best_metric"] != after.files["trainer_state.json"]["best_metric"]
        && !losses(before, after)
}

fn train_rows(before: &Trained, after: &Trained) -> bool {
    before.files["train_results.json"]["train_samples"] != after.files["train_results.json"]["train_samples"]
}

fn classes(before: &Trained, after: &Trained) -> bool {
    before.files["config.json"]["id2label"] != after.files["config.json"]["id2label"]
}

fn parts(before: &Trained, after: &Trained) -> bool {
    before.event("start")["parts"] != after.event("start")["parts"] && weights(before, after)
}

fn no_cache(before: &Trained, after: &Trained) -> bool {
    !before.result()["cache"].is_null() && after.result()["cache"].is_null() && weights(before, after)
}

fn succeeds(before: &Trained, after: &Trained) -> bool {
    (before.ran.status, after.ran.status) == (Some(1), Some(0))
}

/// A training with a key's default, one with another value in the recipe and one with the option.
struct Setting {
    key: &'static str,
    value: &'static str,
    changes: Differs,
    /// Lines of the recipe of all three.
    with: Vec<&'static str>,
    option: Option<&'static str>,
}

fn set(key: &'static str, value: &'static str, changes: Differs) -> Setting {
    Setting { key, value, changes, with: Vec::new(), option: None }
}

impl Setting {
    /// What the key needs to do something.
    fn with(mut self, lines: &'static str) -> Self {
        self.with.push(lines);
        self
    }

    /// The option, where it is not the key's name and the value.
    fn option(self, option: &'static str) -> Self {
        Self { option: Some(option), ..self }
    }

    fn command_line(&self) -> String {
        let value = self.value.trim_matches('\'');
        self.option.map_or_else(|| format!("--{} {value}", self.key.replace('_', "-")), str::to_owned)
    }

    /// The recipe with the key's default, or with what all trainings here begin with.
    fn recipe(&self) -> Table {
        let lines = [BASE].into_iter().chain(self.with.iter().copied());
        lines.flat_map(|lines| toml::from_str::<Table>(lines).unwrap()).collect()
    }
}

/// What a training told and left.
struct Trained {
    ran: Ran,
    events: Vec<Value>,
    weights: Vec<u8>,
    recipe: String,
    files: HashMap<&'static str, Value>,
}

impl Trained {
    fn new(sandbox: &Sandbox, recipe: &Table, options: &str) -> Self {
        sandbox.write("r.toml", toml::to_string(recipe).unwrap());
        let arguments = format!("train r.toml --output out --overwrite --json {options}");
        let ran = Ran::new(feed(&mut sandbox.distune(&arguments), b""));
        let events = ran.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut trained = Self { ran, events, weights: Vec::new(), recipe: String::new(), files: HashMap::new() };
        if trained.ran.status == Some(0) && sandbox.path("out").exists() {
            let names = ["config.json", "train_results.json", "trainer_state.json"];
            trained.files = names.map(|name| (name, sandbox.json(&format!("out/{name}")))).into();
            trained.weights = sandbox.read("out/model.safetensors");
            trained.recipe = String::from_utf8(sandbox.read("out/recipe.toml")).unwrap();
            std::fs::remove_dir_all(sandbox.path("out")).unwrap();
        }
        trained
    }

    fn event(&self, kind: &str) -> &Value {
        self.events
            .iter()
            .find(|event| event["event"] == kind)
            .unwrap_or_else(|| panic!("no {kind}: {}", self.ran.stderr))
    }

    fn result(&self) -> &Value {
        self.event("result")
    }

    fn values(&self, kind: &str, key: &str) -> Vec<f64> {
        self.events.iter().filter(|event| event["event"] == kind).map(|event| event[key].as_f64().unwrap()).collect()
    }
}

/// Models and data for every key.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut other = Checkpoint::tiny();
    other.values("distilbert.embeddings.word_embeddings.weight")[..64].fill(0.25);
    other.write(&sandbox, "other-model");
    Checkpoint::classifier().write(&sandbox, "classifier");
    let rows = |rows: std::ops::Range<usize>| -> String { rows.map(row).collect() };
    let header = "sentence,label,other,topic,author\n";
    sandbox.remove("data/train.tsv");
    for (split, range) in [("train", 0..24), ("dev", 24..36), ("test", 36..48)] {
        for (directory, shift) in [("data", 0), ("other-data", 100), ("bad-data", 0)] {
            let bad = if directory == "bad-data" && split == "train" { ",positive,,long,1\n" } else { "" };
            let rows = rows(range.start + shift..range.end + shift);
            sandbox.write(&format!("{directory}/{split}.csv"), format!("{header}{bad}{rows}"));
        }
    }
    for split in ["dev", "test"] {
        sandbox.remove(&format!("data/{split}.tsv"));
    }
    for split in ["train", "dev"] {
        sandbox.write(&format!("two-splits/{split}.csv"), sandbox.read(&format!("data/{split}.csv")));
    }
    sandbox.write("one-file.csv", format!("{header}{}", rows(0..60)));
    let tree = |i: usize| {
        let (label, word) = if i.is_multiple_of(2) { (4, "good") } else { (0, "bad") };
        format!("({label} (2 the) ({label} ({label} {word}) (2 film{i})))\n")
    };
    for (split, range) in [("train", 0..16), ("dev", 16..24), ("test", 24..32)] {
        sandbox.write(&format!("trees/{split}.txt"), range.map(tree).collect::<String>());
    }
    sandbox
}

/// A third of the rows are positive, five follow one author.
fn row(row: usize) -> String {
    let (word, label) = if row.is_multiple_of(3) { ("good", "positive") } else { ("bad", "negative") };
    let very = "very ".repeat(1 + row % 5);
    let topic = if row % 5 > 2 { "long" } else { "short" };
    format!("the film number {row} was {very}{word},{label},the plot {row} was fine,{topic},author {}\n", row / 5)
}

#[test]
fn each_key_and_its_option_change_what_they_say() {
    let sandbox = sandbox();
    let mut defaults: HashMap<String, Trained> = HashMap::new();
    let mut wrong = Vec::new();
    for setting in keys() {
        let mut recipe = setting.recipe();
        let before =
            defaults.entry(toml::to_string(&recipe).unwrap()).or_insert_with(|| Trained::new(&sandbox, &recipe, ""));
        let by_option = Trained::new(&sandbox, &recipe, &setting.command_line());
        recipe.extend(toml::from_str::<Table>(&format!("{} = {}", setting.key, setting.value)).unwrap());
        let after = Trained::new(&sandbox, &recipe, "");
        let problem = if after.ran.status != Some(0) {
            format!("the training fails: {}", after.ran.stderr)
        } else if !(setting.changes)(before, &after) {
            "does not change what it should".to_owned()
        } else if by_option.recipe != after.recipe || by_option.weights != after.weights {
            format!("{:?} is not the same: {}{}", setting.command_line(), by_option.ran.stderr, by_option.recipe)
        } else {
            continue;
        };
        wrong.push(format!("{}: {problem}", setting.key));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn other_options_do_what_they_say() {
    let sandbox = sandbox();
    let recipe: Table = toml::from_str(&format!("{BASE}\nunfreeze = 'blocks:1'")).unwrap();
    let before = Trained::new(&sandbox, &recipe, "");
    for (option, value, does) in other_options() {
        assert!(does(&before, &Trained::new(&sandbox, &recipe, &format!("{option} {value}"))), "{option}");
    }
    let text = Ran::new(feed(&mut sandbox.distune("train r.toml --output told"), b""));
    assert!(!text.stdout.contains("{\"") && !before.events.is_empty(), "--json");
    assert!(sandbox.fails("train r.toml --output told").contains("exists"), "--output, --overwrite");
}

#[test]
fn no_key_and_no_option_is_forgotten() {
    let tested: BTreeSet<String> = keys().iter().map(|setting| setting.key.to_owned()).collect();
    assert_same("keys of `keys()` or of a recipe", &tested, &RecipeFile::keys().into_iter().collect());

    let ran = Sandbox::new().succeeds("train --help");
    let option = |line: &str| {
        let words = line.strip_prefix("  ")?.split([' ', ',']).filter(|word| !word.is_empty());
        // descriptions are indented by more
        let at = line.len() - line.trim_start().len();
        words.take(2).find(|word| word.starts_with("--") && at < 8).map(str::to_owned)
    };
    let there: BTreeSet<String> = ran.stdout.lines().filter_map(option).collect();
    let first = |line: String| line.split(' ').next().unwrap().to_owned();
    let of_keys = keys().into_iter().map(|setting| first(setting.command_line()));
    let others = other_options().into_iter().map(|(option, ..)| option.to_owned());
    let everywhere = ["--output", "--overwrite", "--json"].map(str::to_owned);
    let tested: BTreeSet<String> = of_keys.chain(others).chain(everywhere).collect();
    assert_same("options of `keys()` and `other_options()` or of `train --help`", &tested, &there);
}

fn assert_same(what: &str, tested: &BTreeSet<String>, there: &BTreeSet<String>) {
    let other: Vec<&String> = tested.symmetric_difference(there).collect();
    assert!(other.is_empty(), "not in both of the {what}: {other:?}");
}
