//! Tiny models, servers of them, and a client that can misbehave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use distune::data::Batch;
use distune::engine::{Inference, Precision, Predict};
use distune::model::{Config, Model, ModelFiles, save};
use distune::tokenize::{Combine, Tokenizer};
use distune_server::{Loaded, Options, Source, Stop, Texts, serve};
use serde_json::{Value, json};

const WORDS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nfilm\ngood\nbad\nvery\n##ish\n";
/// Tokens of a text, at most.
pub(crate) const MAX_LENGTH: usize = 16;

/// Writes a model, other weights for each seed.
pub(crate) fn write_model(directory: &Path, seed: u64, more: Value) {
    let mut config = json!({
        "model_type": "distilbert", "dim": 16, "hidden_dim": 32, "n_heads": 2, "n_layers": 2, "initializer_range": 0.5,
        "max_position_embeddings": MAX_LENGTH, "vocab_size": WORDS.lines().count(), "activation": "gelu",
        "id2label": {"0": "negative", "1": "positive", "2": "other"},
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let config = Config::from_json(Path::new("config.json"), config.to_string().as_bytes()).unwrap();
    std::fs::create_dir_all(directory).unwrap();
    save(directory, &Model::random(config, seed), &[("vocab.txt".to_owned(), WORDS.into())]).unwrap();
}

/// Holds the engine back, and knows what it was given.
#[derive(Default)]
pub(crate) struct Gate {
    closed: Mutex<bool>,
    changed: Condvar,
    /// Sequences of each batch.
    pub(crate) batches: Mutex<Vec<usize>>,
    /// Whether every batch makes the engine panic.
    pub(crate) broken: AtomicBool,
}

impl Gate {
    pub(crate) fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    pub(crate) fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.changed.notify_all();
    }

    /// Waits until so many batches have come.
    pub(crate) fn wait_for(&self, batches: usize) {
        until("a batch", || self.batches.lock().unwrap().len() >= batches);
    }
}

pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what} does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// An engine behind a gate; a batch with an `[UNK]` makes it panic where that is wanted.
struct Gated {
    engine: Inference,
    gate: Arc<Gate>,
    panics: bool,
}

impl Predict for Gated {
    fn config(&self) -> &Config {
        self.engine.config()
    }

    fn logits(&mut self, batch: &Batch) -> &[f32] {
        self.gate.batches.lock().unwrap().push(batch.sequences());
        let mut closed = self.gate.closed.lock().unwrap();
        while *closed {
            closed = self.gate.changed.wait(closed).unwrap();
        }
        drop(closed);
        assert!(!self.gate.broken.load(Ordering::Relaxed), "as the test wants it");
        assert!(!self.panics || !batch.ids.contains(&1), "as the test wants it");
        self.engine.logits(batch)
    }
}

pub(crate) type Hook = Arc<dyn Fn(&Path) + Send + Sync>;

/// What a test changes of a model.
#[derive(Clone)]
pub(crate) struct How {
    pub(crate) texts: Texts,
    pub(crate) temperature: Option<f64>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) panics: bool,
    /// Whether long texts are read in windows.
    pub(crate) windows: bool,
    /// Called when a directory has been read.
    pub(crate) read: Hook,
}

impl Default for How {
    fn default() -> Self {
        Self {
            texts: Texts::Any,
            temperature: None,
            gate: Arc::default(),
            panics: false,
            windows: false,
            read: Arc::new(|_| {}),
        }
    }
}

/// The model in a directory.
pub(crate) fn source(name: &str, directory: &Path, how: &How) -> Source {
    let (path, how) = (directory.to_owned(), how.clone());
    let load = move || {
        let files = ModelFiles::open(&path)?;
        let model = Model::load(&files)?;
        let (file, json) = &files.tokenizer[0];
        let mut tokenizer = Tokenizer::from_bytes(&path.join(file), json, MAX_LENGTH)?;
        if how.windows {
            tokenizer = tokenizer.with_windows(None, Combine::Mean)?;
        }
        let engine =
            Gated { engine: Inference::new(&model, Precision::F32), gate: how.gate.clone(), panics: how.panics };
        (how.read)(&path);
        Ok(Loaded {
            engine: Box::new(engine),
            tokenizer,
            texts: how.texts,
            temperature: how.temperature,
            dtype: "float32",
            files,
        })
    };
    let directory_watched = Some(directory.to_owned());
    Source { name: name.into(), id: format!("runs/{name}"), directory: directory_watched, load: Box::new(load) }
}

/// A running server, which must end well.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stop: Stop,
    pub(crate) gate: Arc<Gate>,
    thread: Option<JoinHandle<distune::Result<()>>>,
    directory: tempfile::TempDir,
}

impl Server {
    /// Of one model with default options.
    pub(crate) fn new() -> Self {
        Self::with(How::default(), |_| {})
    }

    pub(crate) fn with(how: How, change: impl FnOnce(&mut Options)) -> Self {
        Self::of(how, json!({}), change)
    }

    /// Of two models, `first` and `second`, of other weights.
    pub(crate) fn of(how: How, config: Value, change: impl FnOnce(&mut Options)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (seed, name) in [(1, "first"), (2, "second")] {
            write_model(&directory.path().join(name), seed, config.clone());
        }
        let mut options =
            Options { port: 0, threads: 2, reload_every: Duration::from_millis(10), ..Options::default() };
        change(&mut options);
        let sources = ["first", "second"].map(|name| source(name, &directory.path().join(name), &how)).into();
        let (stop, (to, from)) = (Stop::default(), channel());
        let stopping = stop.clone();
        let thread =
            std::thread::spawn(move || serve(options, sources, &stopping, |address| to.send(address).unwrap()));
        let address = from.recv().unwrap_or_else(|_| panic!("the server does not start"));
        how.gate.batches.lock().unwrap().clear();
        Self { address, stop, gate: how.gate, thread: Some(thread), directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.client().request("GET", path, &[], None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.client().post(path, body)
    }

    /// What `/predict` says of some inputs.
    pub(crate) fn predict(&self, inputs: Value) -> Reply {
        self.post("/predict", &json!({"inputs": inputs}))
    }

    /// A line of `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.get("/metrics").body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Stops it and waits for its end.
    pub(crate) fn end(&mut self) {
        self.stop.request();
        self.gate.open();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The body of a request that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// Checks status and type of an error; returns what it says.
    #[track_caller]
    pub(crate) fn fails(&self, status: u16, kind: &str) -> String {
        let json = self.json();
        assert_eq!((self.status, &json["error_type"]), (status, &json!(kind)), "{json}");
        assert_eq!(json.as_object().unwrap().len(), 2);
        json["error"].as_str().unwrap().to_owned()
    }
}

/// A connection that is kept.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    /// Sends bytes as they are; a server that has gone is no error.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes);
    }

    pub(crate) fn send_request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) {
        let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: test\r\n");
        for (name, value) in headers {
            bytes += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = body {
            bytes += &format!("content-length: {}\r\n", body.len());
        }
        bytes += "\r\n";
        self.send(&[bytes.as_bytes(), body.unwrap_or_default()].concat());
    }

    pub(crate) fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Reply {
        self.send_request(method, path, headers, body);
        self.reply().unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Reply {
        let headers = [("content-type", "application/json")];
        self.request("POST", path, &headers, Some(body.to_string().as_bytes()))
    }

    /// Sends a text to predict, without waiting for the answer.
    pub(crate) fn send_text(&mut self, text: &str) {
        let body = json!({"inputs": text}).to_string();
        let headers = [("content-type", "application/json")];
        self.send_request("POST", "/predict", &headers, Some(body.as_bytes()));
    }

    /// The next answer, whole or in parts; an error of `UnexpectedEof` at the end of the connection.
    pub(crate) fn reply(&mut self) -> std::io::Result<Reply> {
        let status = self.line()?;
        let status = status.split(' ').nth(1).unwrap_or_else(|| panic!("{status:?}")).parse().unwrap();
        self.rest(status)
    }

    /// What comes behind the line with the status.
    pub(crate) fn rest(&mut self, status: u16) -> std::io::Result<Reply> {
        let mut headers = Vec::new();
        loop {
            let header = self.line()?;
            let Some((name, value)) = header.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut reply = Reply { status, headers, body: Vec::new() };
        if reply.header("transfer-encoding") == Some("chunked") {
            loop {
                let length = usize::from_str_radix(&self.line()?, 16).unwrap();
                let start = reply.body.len();
                reply.body.resize(start + length, 0);
                self.stream.read_exact(&mut reply.body[start..])?;
                assert_eq!(self.line()?, "");
                if length == 0 {
                    return Ok(reply);
                }
            }
        }
        let length = reply.header("content-length").unwrap_or_else(|| panic!("no length: {reply:?}"));
        reply.body = vec![0; length.parse().unwrap()];
        self.stream.read_exact(&mut reply.body)?;
        Ok(reply)
    }

    pub(crate) fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    /// Whether the server has closed the connection.
    pub(crate) fn closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0) | Err(_))
    }
}
