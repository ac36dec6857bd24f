//! Models and data by name, from a hub on loopback.

use std::process::Command;

use crate::hub_server::{COMMIT, Repository, Server, Wrong};
use crate::support::{Checkpoint, Ran, Sandbox, assert_says, feed, table};

const TOKEN: &str = "hf_secret";

/// A hub with a classifier and a data set, and a directory that has neither.
fn hub() -> (Sandbox, Server) {
    let sandbox = Sandbox::new();
    Checkpoint::classifier().write(&sandbox, "classifier");
    let names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    let files = names.map(|name| (name, sandbox.read(&format!("classifier/{name}"))));
    let model = Repository::new(&files.each_ref().map(|(name, bytes)| (*name, bytes.as_slice())));
    let (train, dev) = (table('\t', 0..32), table('\t', 32..44));
    let data = Repository::new(&[("toy/train.tsv", train.as_bytes()), ("toy/dev.tsv", dev.as_bytes())]);
    let private = Repository { private: true, ..model.clone() };
    let all = [("models/org/tiny", model), ("models/org/private", private), ("datasets/org/data", data)];
    let server = Server::start(&all, TOKEN);
    (sandbox, server)
}

fn with_hub(sandbox: &Sandbox, server: &Server, arguments: &str) -> Command {
    let mut command = sandbox.distune(arguments);
    command.env("HF_ENDPOINT", &server.url).env_remove("HF_HUB_OFFLINE");
    command
}

#[track_caller]
fn succeeds(mut command: Command) -> Ran {
    let ran = Ran::new(feed(&mut command, b""));
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert!(!ran.stderr.contains(TOKEN) && !ran.stdout.contains(TOKEN));
    ran
}

#[track_caller]
fn fails(mut command: Command) -> String {
    let ran = Ran::new(feed(command.arg("--quiet"), b""));
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
    assert!(!ran.stderr.contains(TOKEN));
    ran.message()
}

#[test]
fn predict_with_a_model_by_name() {
    let (sandbox, server) = hub();
    let expected = sandbox.succeeds("predict --model classifier film").stdout;
    assert_eq!(succeeds(with_hub(&sandbox, &server, "predict --model org/tiny film")).stdout, expected);
    let snapshot = format!("hf/hub/models--org--tiny/snapshots/{COMMIT}");
    assert_eq!(sandbox.read(&format!("{snapshot}/config.json")), sandbox.read("classifier/config.json"));
    // then without the hub, by branch and by commit, and by the path
    for name in ["org/tiny", "org/tiny@main", &format!("org/tiny@{COMMIT}"), &snapshot] {
        assert_eq!(sandbox.succeeds(&format!("predict --model {name} film")).stdout, expected);
    }
    // a directory of that name wins
    sandbox.write("org/tiny/config.json", "{}");
    assert_says(&sandbox.fails("predict --model org/tiny film"), &["org/tiny/tokenizer.json: no such file"]);
}

#[test]
fn train_and_eval_by_name() {
    let (sandbox, server) = hub();
    let train =
        with_hub(&sandbox, &server, "train --model org/tiny --data org/data:toy --epochs 1 --learning-rate 1e-3");
    succeeds(train);
    let eval = |model: &str, data: &str| {
        let arguments = format!("eval --json --model {model} --data {data}");
        succeeds(with_hub(&sandbox, &server, &arguments)).stdout
    };
    let (ours, theirs) = (eval("runs/data-toy-1", "org/data:toy"), eval("org/tiny", "org/data"));
    assert!(ours.contains("\"eval_accuracy\"") && theirs.contains("\"model\":\"org/tiny\""), "{ours}{theirs}");
    let bench = "bench --model org/tiny --data org/data:toy --steps 1 --batch-size 2 --json";
    assert!(succeeds(with_hub(&sandbox, &server, bench)).stdout.contains("org/data:toy"));
}

#[test]
fn names_that_are_nowhere() {
    let (sandbox, server) = hub();
    let host = server.host();
    let message = fails(with_hub(&sandbox, &server, "predict --model org/none film"));
    assert_says(&message, &["org/none: no such model directory, and as a name of the hub:", host, "401", "HF_TOKEN"]);
    let message = fails(with_hub(&sandbox, &server, "eval --model org/tiny --data dta"));
    assert_says(&message, &["dta: no such file or directory, and as a name of the hub:", host, "no such repository"]);
    // what looks like a path or a file is no name
    let message = fails(with_hub(&sandbox, &server, "eval --model org/tiny --data dta.tsv"));
    assert_eq!(message, "dta.tsv: no such file or directory. Check the path");
    let message = fails(with_hub(&sandbox, &server, "predict --model ./org/tiny film"));
    assert_says(&message, &["./org/tiny: no such model directory"]);
    let message = sandbox.fails("predict --model org/other film");
    assert_says(&message, &["org/other: no such model directory", "HF_HUB_OFFLINE is set", "hf/hub has no copy of it"]);
}

#[test]
fn the_token_comes_from_the_environment_or_from_a_login() {
    let (sandbox, server) = hub();
    let predict = || with_hub(&sandbox, &server, "predict --model org/private film");
    assert_says(&fails(predict()), &["org/private", "private (status 401)", "Set HF_TOKEN"]);
    let mut wrong = predict();
    wrong.env("HF_TOKEN", "hf_secret_but_wrong");
    fails(wrong);
    let mut right = predict();
    succeeds({
        right.env("HF_TOKEN", TOKEN).env("HF_HUB_CACHE", sandbox.path("elsewhere"));
        right
    });
    assert!(sandbox.path("elsewhere/models--org--private/refs/main").exists() && !sandbox.path("hf/hub").exists());
    sandbox.write("hf/token", format!("{TOKEN}\n"));
    succeeds(predict());
    let mut bad = predict();
    bad.env("HF_ENDPOINT", "ftp://host");
    assert_says(&fails(bad), &["HF_ENDPOINT: expected an address like https://host"]);
}

#[test]
fn what_goes_wrong_on_the_way_is_told() {
    let (sandbox, server) = hub();
    server.fail("GET /cdn", &[Wrong::Cut(1000)]);
    server.fail("GET /api/models", &[Wrong::Status(429, "Retry-After: 1")]);
    let ran = succeeds(with_hub(&sandbox, &server, "predict --model org/tiny film"));
    assert_says(&ran.stderr, &[server.host(), "429", "next attempt in 1 s", "was cut after 1000 of"]);
    // an answer from the cache is told too
    server.fail("GET /api/models", &[Wrong::Status(429, "Retry-After: 9999")]);
    let ran = succeeds(with_hub(&sandbox, &server, "predict --model org/tiny film"));
    assert_says(&ran.stderr, &["org/tiny: ", "asks to wait 9999 s; the copy in the cache is used."]);
    server.fail("GET /api/models", &[Wrong::Status(429, "Retry-After: 9999")]);
    assert_eq!(succeeds(with_hub(&sandbox, &server, "predict --quiet --model org/tiny film")).stderr, "");
}
