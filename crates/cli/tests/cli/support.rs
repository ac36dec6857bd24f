//! A directory to run the program in, tiny models and data, what success and failure must look like.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// The words that the tiny tokenizer knows, after its five special tokens; every other word is `[UNK]`.
const WORDS: [&str; 12] =
    ["a", "the", "film", "good", "bad", "fine", "dull", "very", "not", "plot", "actors", "beyond"];
/// Its token ids.
pub(crate) const VOCABULARY: usize = 5 + WORDS.len();
/// Position embeddings of the tiny model.
pub(crate) const POSITIONS: usize = 64;

/// A temporary directory that the program runs in, so that paths in messages are as short as those on command lines.
pub(crate) struct Sandbox(TempDir);

impl Sandbox {
    /// With the tiny encoder in `model` and a small data set in `data`.
    pub(crate) fn new() -> Self {
        let sandbox = Self(tempfile::tempdir().unwrap());
        Checkpoint::tiny().write(&sandbox, "model");
        for (split, rows) in [("train", 0..32), ("dev", 32..44), ("test", 44..60)] {
            sandbox.write(&format!("data/{split}.tsv"), table('\t', rows));
        }
        sandbox
    }

    /// As [`Self::new`], with a trained model in `run`.
    pub(crate) fn trained() -> Self {
        let sandbox = Self::new();
        let options = "--epochs 4 --batch-size 4 --learning-rate 0.01 --seed 1 --unfreeze blocks:2 --label-smoothing 0";
        sandbox.succeeds(&format!("train --model model --data data --output run {options}"));
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file; directories above it are made.
    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), contents).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Every path below, those whose names begin with a dot too.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let (mut found, mut open) = (Vec::new(), vec![self.0.path().to_owned()]);
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path.clone());
                }
                found.push(path);
            }
        }
        found.sort();
        found
    }

    /// The program with arguments separated by spaces.
    pub(crate) fn distune(&self, arguments: &str) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("distune"));
        // a backtrace that the user did not ask for would show
        command.args(arguments.split_whitespace()).current_dir(self.0.path()).env("RUST_BACKTRACE", "1");
        // no test asks the real hub, or finds what this machine has of it
        command.env("HF_HUB_OFFLINE", "1").env("HF_HOME", self.path("hf")).env_remove("HF_HUB_CACHE");
        command.env_remove("HF_ENDPOINT").env_remove("HF_TOKEN").env("NO_PROXY", "127.0.0.1");
        command
    }

    /// Runs the program; it must succeed.
    pub(crate) fn succeeds(&self, arguments: &str) -> Ran {
        let ran = self.succeeds_with(arguments, "");
        assert!(!ran.stdout.is_empty(), "{arguments}: no results");
        ran
    }

    /// As [`Self::succeeds`], with standard input.
    pub(crate) fn succeeds_with(&self, arguments: &str, input: impl AsRef<[u8]>) -> Ran {
        let ran = Ran::new(feed(&mut self.distune(arguments), input.as_ref()));
        assert_eq!(ran.status, Some(0), "{arguments}\n{}", ran.stderr);
        ran
    }

    /// Runs the program, which must fail as a user may expect; returns the message.
    pub(crate) fn fails(&self, arguments: &str) -> String {
        let (message, stdout) = self.fails_with(arguments, "");
        assert_eq!(stdout, "", "{arguments}: results of what failed");
        message
    }

    /// As [`Self::fails`], with standard input; returns the message and standard output.
    pub(crate) fn fails_with(&self, arguments: &str, input: impl AsRef<[u8]>) -> (String, String) {
        let before = self.paths();
        let ran = Ran::new(feed(self.distune(arguments).arg("--quiet"), input.as_ref()));
        assert_eq!(ran.status, Some(1), "{arguments}\n{}", ran.stderr);
        assert_eq!(self.paths(), before, "{arguments}: files were left or removed");
        (ran.message(), ran.stdout)
    }
}

/// What a run of the program left.
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn new(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The one message that standard error must be.
    pub(crate) fn message(&self) -> String {
        let message = self.stderr.strip_prefix("distune: ").and_then(|m| m.strip_suffix('\n'));
        let message = message.unwrap_or_else(|| panic!("not a message: {}", self.stderr));
        assert!(!message.contains('\n') && !message.contains("panicked"), "not one message: {message}");
        message.to_owned()
    }
}

/// Runs a command with standard input; one that does not read it all is no error. One that hangs is killed, which
/// leaves no exit status.
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        end(child)
    })
}

/// The end of a process, which is killed after a time that none of them needs.
pub(crate) fn end(mut child: Child) -> Output {
    let read = |mut pipe: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).map(|_| bytes).unwrap()
        })
    };
    let stdout = child.stdout.take().map(|pipe| read(Box::new(pipe)));
    let stderr = child.stderr.take().map(|pipe| read(Box::new(pipe)));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let bytes = |reader: Option<JoinHandle<Vec<u8>>>| reader.map(|r| r.join().unwrap()).unwrap_or_default();
    Output { status, stdout: bytes(stdout), stderr: bytes(stderr) }
}

#[track_caller]
pub(crate) fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in the message:\n{message}");
    }
}

/// Rows of distinct texts, every second one positive.
pub(crate) fn table(separator: char, rows: std::ops::Range<usize>) -> String {
    let mut table = format!("sentence{separator}label\n");
    for row in rows {
        let (what, label) = if row % 2 == 0 { ("good", "positive") } else { ("bad", "negative") };
        let very = "very ".repeat(1 + row % 5);
        table += &format!("the film number {row} was {very}{what}{separator}{label}\n");
    }
    table
}

/// A model to be written, whole or damaged.
pub(crate) struct Checkpoint {
    pub(crate) config: Value,
    /// By name: shape and values.
    pub(crate) tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    pub(crate) dtype: Dtype,
}

impl Checkpoint {
    /// An encoder of two blocks without a head.
    pub(crate) fn tiny() -> Self {
        Self::encoder(16, 32)
    }

    /// An encoder of a width and a feed-forward width. Every value has few digits, so that f16 and bf16 hold it.
    pub(crate) fn encoder(d: usize, f: usize) -> Self {
        let config = json!({
            "model_type": "distilbert", "dim": d, "hidden_dim": f, "n_heads": 2, "n_layers": 2,
            "max_position_embeddings": POSITIONS, "vocab_size": VOCABULARY, "activation": "gelu",
            "dropout": 0.1, "attention_dropout": 0.1, "seq_classif_dropout": 0.2,
            "pad_token_id": 0, "of_ours": {"kept": [1, 2.5, null]},
        });
        let mut model = Self { config, tensors: BTreeMap::new(), dtype: Dtype::F32 };
        model.add("distilbert.embeddings.word_embeddings.weight", &[VOCABULARY, d]);
        model.add("distilbert.embeddings.position_embeddings.weight", &[POSITIONS, d]);
        model.add_norm("distilbert.embeddings.LayerNorm", d);
        for block in 0..2 {
            let layer = format!("distilbert.transformer.layer.{block}");
            for name in ["q_lin", "k_lin", "v_lin", "out_lin"] {
                model.add_linear(&format!("{layer}.attention.{name}"), d, d);
            }
            model.add_norm(&format!("{layer}.sa_layer_norm"), d);
            model.add_linear(&format!("{layer}.ffn.lin1"), f, d);
            model.add_linear(&format!("{layer}.ffn.lin2"), d, f);
            model.add_norm(&format!("{layer}.output_layer_norm"), d);
        }
        model
    }

    /// The tiny encoder with a head for the classes `negative` and `positive`.
    pub(crate) fn classifier() -> Self {
        let mut model = Self::tiny();
        model.add_linear("pre_classifier", 16, 16);
        model.add_linear("classifier", 2, 16);
        model.config["id2label"] = json!({"0": "negative", "1": "positive"});
        model
    }

    fn add_linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.add(&format!("{name}.weight"), &[outputs, inputs]);
        self.add(&format!("{name}.bias"), &[outputs]);
    }

    fn add_norm(&mut self, name: &str, width: usize) {
        self.tensors.insert(format!("{name}.weight"), (vec![width], vec![1.0; width]));
        self.add(&format!("{name}.bias"), &[width]);
    }

    /// Values from -0.5 to 0.5 in steps of 1/128, other ones for each name.
    fn add(&mut self, name: &str, shape: &[usize]) {
        let mut state = name.bytes().fold(1_u64, |state, byte| state.wrapping_mul(31) + u64::from(byte));
        let mut value = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 33) % 129) as f32 / 128.0 - 0.5
        };
        let values = (0..shape.iter().product()).map(|_| value()).collect();
        self.tensors.insert(name.to_owned(), (shape.to_vec(), values));
    }

    /// The values of a tensor, to change them.
    pub(crate) fn values(&mut self, name: &str) -> &mut Vec<f32> {
        &mut self.tensors.get_mut(name).unwrap().1
    }

    /// As checkpoints of the bare encoder name their tensors.
    pub(crate) fn without_prefix(mut self) -> Self {
        let bare = |name: String| name.strip_prefix("distilbert.").unwrap_or(&name).to_owned();
        self.tensors = self.tensors.into_iter().map(|(name, tensor)| (bare(name), tensor)).collect();
        self
    }

    /// The contents of `model.safetensors`.
    pub(crate) fn weights(&self) -> Vec<u8> {
        let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|&x| number(x, self.dtype)).collect() };
        let all: Vec<_> = self.tensors.iter().map(|(name, (shape, x))| (name, shape.clone(), bytes(x))).collect();
        let views = all.iter().map(|(name, shape, x)| (name, TensorView::new(self.dtype, shape.clone(), x).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    pub(crate) fn write(&self, sandbox: &Sandbox, name: &str) {
        sandbox.write(&format!("{name}/config.json"), self.config.to_string());
        sandbox.write(&format!("{name}/model.safetensors"), self.weights());
        sandbox.write(&format!("{name}/tokenizer.json"), tokenizer().to_string());
        sandbox.write(&format!("{name}/tokenizer_config.json"), json!({"do_lower_case": true}).to_string());
    }
}

/// The bytes of a number that the dtype holds exactly.
fn number(x: f32, dtype: Dtype) -> Vec<u8> {
    let bits = x.to_bits();
    match dtype {
        Dtype::BF16 => ((bits >> 16) as u16).to_le_bytes().to_vec(),
        Dtype::F16 if x == 0.0 => vec![0, 0],
        Dtype::F16 => {
            // sign, exponent with another bias, the upper ten digits of the mantissa
            let exponent = (bits >> 23 & 0xff) + 15 - 127;
            ((bits >> 16 & 0x8000 | exponent << 10 | bits >> 13 & 0x3ff) as u16).to_le_bytes().to_vec()
        }
        Dtype::I64 => (x as i64).to_le_bytes().to_vec(),
        _ => x.to_le_bytes().to_vec(),
    }
}

/// A `tokenizer.json` as BERT's, of few words.
fn tokenizer() -> Value {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let vocabulary: Map<_, _> =
        special.into_iter().chain(WORDS).enumerate().map(|(id, word)| (word.to_owned(), json!(id))).collect();
    let added = special.iter().enumerate().map(|(id, token)| {
        json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    });
    let piece = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let [text, second] = ["A", "B"].map(|id| json!({"Sequence": {"id": id, "type_id": 0}}));
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [piece("[CLS]"), text, piece("[SEP]")],
            "pair": [piece("[CLS]"), text, piece("[SEP]"), second, piece("[SEP]")],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
            },
        },
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
}

/// What a run directory says, without times: its files by name, JSON without the values that differ from run to run; of TensorBoard's
/// files, which have times in their names and in each record, of the page and of the model card only that there is one.
pub(crate) fn records(sandbox: &Sandbox, run: &str) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(sandbox.path(run)).unwrap();
    let names = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let without_times = |name: String| {
        if name.starts_with("events.out.tfevents") {
            return ("events.out.tfevents".to_owned(), Vec::new());
        }
        if ["report.html", "README.md"].contains(&name.as_str()) {
            return (name, Vec::new());
        }
        let mut bytes = sandbox.read(&format!("{run}/{name}"));
        if name.ends_with("_results.json") || ["trainer_state.json", "baselines.json"].contains(&name.as_str()) {
            let mut value: Value = serde_json::from_slice(&bytes).unwrap();
            remove_times(&mut value);
            bytes = serde_json::to_vec_pretty(&value).unwrap();
        }
        (name, bytes)
    };
    names.map(without_times).collect()
}

fn remove_times(value: &mut Value) {
    match value {
        Value::Object(values) => {
            values.retain(|key, _| !key.ends_with("_runtime") && !key.ends_with("_per_second") && key != "seconds");
            values.values_mut().for_each(remove_times);
        }
        Value::Array(values) => values.iter_mut().for_each(remove_times),
        _ => {}
    }
}

/// Checks that two runs are the same but for their times.
#[track_caller]
pub(crate) fn assert_same_run(sandbox: &Sandbox, run: &str, want: &BTreeMap<String, Vec<u8>>, what: &str) {
    let got = records(sandbox, run);
    assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{what}");
    for (name, bytes) in &got {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        match name.ends_with(".safetensors") {
            true => assert!(bytes == &want[name], "{what}: other bits in {name}"),
            false => assert_eq!(text(bytes), text(&want[name]), "{what}: {name}"),
        }
    }
}

/// The f32 tensors of a file by name: shape and bytes.
pub(crate) fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, view): (&str, TensorView)| {
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        (name.to_owned(), (view.shape().to_vec(), view.data().to_vec()))
    };
    file.iter().map(tensor).collect()
}
