//! `distune serve`: what the command line says, models and their calibrations, the end by a signal. What is served is tested in
//! `crates/server/tests`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{Checkpoint, Ran, Sandbox, assert_says, end};

/// A running server, killed in the end.
struct Serving {
    child: Option<Child>,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Serving {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stdout, mut line) = (BufReader::new(child.stdout.take().unwrap()), String::new());
        if stdout.read_line(&mut line).unwrap() == 0 {
            panic!("it does not start: {}", Ran::new(end(child)).stderr);
        }
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["event"], "listening");
        let address = event["address"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
        Self { child: Some(child), stdout, address }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Its end, which a signal has asked for.
    fn ended(mut self) -> Ran {
        self.stdout.read_to_end(&mut Vec::new()).unwrap();
        Ran::new(end(self.child.take().unwrap()))
    }

    /// Status and JSON of an answer.
    fn post(&self, path: &str, headers: &str, body: &Value) -> (u16, Value) {
        ask(&mut BufReader::new(TcpStream::connect(self.address).unwrap()), path, headers, body).unwrap().1
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

type Answer = (bool, (u16, Value));

/// Sends a request over a connection that is kept; whether it is closed afterwards, status and JSON.
fn ask(stream: &mut BufReader<TcpStream>, path: &str, headers: &str, body: &Value) -> std::io::Result<Answer> {
    let body = body.to_string();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    stream.get_mut().write_all((head + &body).as_bytes())?;
    let (mut status, mut length, mut closes) = (String::new(), 0, false);
    if stream.read_line(&mut status)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "connection" => closes = value == "close",
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((closes, (status[9..12].parse().unwrap(), serde_json::from_slice(&body).unwrap())))
}

fn with_classifiers() -> Sandbox {
    let sandbox = Sandbox::new();
    Checkpoint::classifier().write(&sandbox, "classifier");
    let mut other = Checkpoint::classifier();
    other.values("classifier.bias")[0] += 2.0;
    other.write(&sandbox, "other");
    sandbox
}

const SERVE: &str = "serve --model classifier --port 0 --json --precision f32";

#[test]
fn says_what_predict_says() {
    let sandbox = with_classifiers();
    let serving = Serving::start(&mut sandbox.distune(&format!("{SERVE} --model second=other")));
    let predict = |model: &str| -> Value {
        let ran = sandbox.succeeds(&format!("predict --model {model} --json --precision f32 film"));
        serde_json::from_str::<Value>(&ran.stdout).unwrap()["probabilities"].clone()
    };
    for (path, model) in
        [("/predict", "classifier"), ("/models/classifier/predict", "classifier"), ("/models/second/predict", "other")]
    {
        let (status, answer) = serving.post(path, "", &json!({"inputs": "film"}));
        let want = predict(model);
        assert_eq!((status, answer.as_array().unwrap().len()), (200, 2));
        for prediction in answer.as_array().unwrap() {
            let want = want[prediction["label"].as_str().unwrap()].as_f64().unwrap();
            assert!((prediction["score"].as_f64().unwrap() - want).abs() < 1e-6, "{path}");
        }
    }
    serving.signal("-INT");
    let ran = serving.ended();
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert_says(&ran.stderr, &["path=\"/models/second/predict\"", "status=200", "asked to stop"]);
    assert!(!ran.stderr.contains("film"), "the log has no texts: {}", ran.stderr);
}

#[test]
fn long_texts_are_served_in_windows() {
    let sandbox = with_classifiers();
    let text = "film plot ".repeat(40);
    let options = "--long windows --max-length 16 --window-overlap 4";
    let serving = Serving::start(&mut sandbox.distune(&format!("{SERVE} {options}")));
    let (status, answer) = serving.post("/predict", "", &json!({"inputs": text}));
    assert_eq!(status, 200, "nothing is cut: {answer}");
    let predicted = |options: &str| -> Value {
        let command = format!("predict --model classifier --json --precision f32 {options} --");
        let mut command = sandbox.distune(&command);
        serde_json::from_slice(&command.arg(&text).output().unwrap().stdout).unwrap()
    };
    let (want, cut) = (predicted(options), predicted("--max-length 16"));
    for prediction in answer.as_array().unwrap() {
        let want = want["probabilities"][prediction["label"].as_str().unwrap()].as_f64().unwrap();
        assert!((prediction["score"].as_f64().unwrap() - want).abs() < 1e-6, "{answer} {want}");
    }
    assert_ne!(want["probabilities"], cut["probabilities"]);
    serving.signal("-TERM");
    assert_eq!(serving.ended().status, Some(0));
}

#[test]
fn a_run_is_served_as_it_was_trained() {
    let sandbox = Sandbox::trained();
    let mut calibration: Value = sandbox.json("run/calibration.json");
    calibration["temperature"] = json!(2.0);
    sandbox.write("run/calibration.json", calibration.to_string());
    let [plain, calibrated] = ["", "--calibrated"].map(|option| {
        let model = SERVE.replace("classifier", "run");
        let serving = Serving::start(&mut sandbox.distune(&format!("{model} --quiet {option}")));
        let (status, answer) = serving.post("/predict", "", &json!({"inputs": "a very good film"}));
        assert_eq!(serving.post("/predict", "", &json!({"inputs": ["a film", "the plot"]})).0, 422, "pairs");
        assert_eq!(status, 200);
        serving.signal("-TERM");
        let ran = serving.ended();
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
        answer
    });
    assert_eq!(plain[0]["label"], calibrated[0]["label"]);
    assert_ne!(plain[0]["score"], calibrated[0]["score"]);
}

/// Under load, each request that was sent is answered before the program ends.
#[test]
fn sigterm_under_load() {
    let sandbox = with_classifiers();
    let serving = Serving::start(&mut sandbox.distune(&format!("{SERVE} --quiet")));
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..16)
            .map(|i| {
                let (answered, address) = (&answered, serving.address);
                scope.spawn(move || {
                    // some come with a new connection each time
                    let keeps = i % 4 != 0;
                    let connect = || TcpStream::connect(address).map(BufReader::new);
                    let mut stream = connect().unwrap();
                    for n in 0.. {
                        let inputs: Vec<_> = (0..1 + n % 8).map(|_| ["a very good film beyond the plot"]).collect();
                        let (closes, (status, answer)) = ask(&mut stream, "/predict", "", &json!({"inputs": inputs}))
                            .unwrap_or_else(|e| panic!("request {n} of client {i} was not answered: {e}"));
                        assert_eq!((status, answer.as_array().unwrap().len()), (200, inputs.len()));
                        answered.fetch_add(1, Ordering::Relaxed);
                        if closes {
                            return;
                        }
                        if !keeps {
                            match connect() {
                                Ok(new) => stream = new,
                                Err(_) => return,
                            }
                        }
                    }
                })
            })
            .collect();
        while answered.load(Ordering::Relaxed) < 100 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        serving.signal("-TERM");
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    let ran = serving.ended();
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
}

#[test]
fn keys_come_from_the_environment_too() {
    let sandbox = with_classifiers();
    for option in ["--api-key sesame", ""] {
        let mut command = sandbox.distune(&format!("{SERVE} --quiet {option}"));
        if option.is_empty() {
            command.env("DISTUNE_API_KEY", "sesame");
        }
        let serving = Serving::start(&mut command);
        let body = json!({"inputs": "film"});
        assert_eq!(serving.post("/predict", "", &body).0, 401);
        assert_eq!(serving.post("/predict", "authorization: Bearer sesame\r\n", &body).0, 200);
    }
    let help = sandbox.distune("help serve").env("DISTUNE_API_KEY", "sesame").output().unwrap();
    assert!(!String::from_utf8(help.stdout).unwrap().contains("sesame"));
}

#[test]
fn logs_as_json_with_texts_where_asked() {
    let sandbox = with_classifiers();
    let serving = Serving::start(&mut sandbox.distune(&format!("{SERVE} --log-format json --log-texts")));
    let body = json!({"inputs": "a \u{1b}[31m film"});
    assert_eq!(serving.post("/predict", "x-request-id: mine\r\n", &body).0, 200);
    serving.signal("-TERM");
    let ran = serving.ended();
    let lines: Vec<Value> = ran.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let request = |line: &&Value| line["span"]["id"] == "mine";
    assert_eq!(lines.iter().filter(request).count(), 2);
    assert!(lines.iter().filter(request).any(|line| line["texts"].to_string().contains("film")));
    assert!(lines.iter().filter(request).any(|line| line["status"] == 200 && line["ms"].is_number()));
}

#[cfg(feature = "bundled")]
#[test]
fn what_cannot_be_served() {
    let sandbox = with_classifiers();
    assert_says(&sandbox.fails("serve --model nothing --port 0"), &["nothing"]);
    assert_says(&sandbox.fails("serve --model model --port 0"), &["has no trained head"]);
    assert_says(&sandbox.fails("serve --model bundled --port 0"), &["has no trained head"]);
    assert_says(&sandbox.fails("serve --model classifier --model classifier"), &["a name for each model, as NAME=DIR"]);
    assert_says(&sandbox.fails("serve --model classifier --calibrated"), &["calibration.json"]);
    assert_says(&sandbox.fails("serve --model classifier --max-length 65"), &["at most 64, the positions"]);
    assert_says(
        &sandbox.fails("serve --model classifier --host nowhere.invalid"),
        &["--host and --port", "nowhere.invalid:3000"],
    );
    assert_says(
        &sandbox.fails("serve --model classifier --tls-cert a.pem --tls-key b.pem"),
        &["a.pem: cannot be used"],
    );
    let message =
        Ran::new(crate::support::feed(&mut sandbox.distune("serve --model classifier --max-batch-tokens 0"), b""));
    assert_eq!(message.status, Some(2));
    let secret = sandbox.fails_with("serve --model classifier --port 0 --api-key \u{e9}", "").0;
    assert_says(&secret, &["--api-key: expected letters, digits and signs of ASCII"]);
}
