//! Signals: Ctrl-C sends INT, a service manager TERM.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::{Checkpoint, Ran, Sandbox, assert_same_run, assert_says, end, records, table};

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Starts a training and reads its events up to one that contains `event`.
fn train_until(sandbox: &Sandbox, options: &str, event: &str) -> (Child, BufReader<ChildStdout>) {
    let mut command =
        sandbox.distune(&format!("train --model model --data data --output out --quiet --json {options}"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(event) {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "it ended by itself");
    }
    (child, stdout)
}

/// The end of a process that was interrupted.
fn ended((child, mut stdout): (Child, BufReader<ChildStdout>)) -> Ran {
    stdout.read_to_end(&mut Vec::new()).unwrap();
    let ran = Ran::new(end(child));
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    ran
}

#[test]
fn training_saves_and_says_how_to_go_on() {
    let sandbox = Sandbox::new();
    let options = "--batch-size 4 --epochs 100";
    sandbox.succeeds(&format!("train --model model --data data --output whole {options}"));
    let want = records(&sandbox, "whole");
    for signal in ["-INT", "-TERM"] {
        let training = train_until(&sandbox, options, "\"event\":\"step\"");
        send(signal, &training.0);
        let message = ended(training).message();
        assert_says(&message, &["interrupted after step ", " of 800; saved in out.unfinished/checkpoint-"]);
        // the command that it names
        let command = message.split_once("Go on with: distune ").unwrap().1;
        sandbox.succeeds(command);
        assert_same_run(&sandbox, "out", &want, signal);
        std::fs::remove_dir_all(sandbox.path("out")).unwrap();
    }
}

/// Between steps there are rows to judge: on the way and at the end.
#[test]
fn an_evaluation_is_interrupted_too() {
    let sandbox = Sandbox::new();
    for split in ["dev", "test"] {
        sandbox.write(&format!("data/{split}.tsv"), table('\t', 100..12_000));
    }
    let options = "--batch-size 8 --epochs 2";
    sandbox.succeeds(&format!("train --model model --data data --output whole {options}"));
    let want = records(&sandbox, "whole");
    for (event, says) in [
        ("\"step\":4,", "interrupted after step 4 of 8; saved in out.unfinished/checkpoint-4"),
        ("\"step\":8,\"train_loss\"", " of 11900 evaluated rows; saved in out.unfinished/checkpoint-8"),
    ] {
        let training = train_until(&sandbox, options, event);
        send("-INT", &training.0);
        assert_says(&ended(training).message(), &[says, "Go on with: distune train --resume out"]);
        sandbox.succeeds("train --resume out --quiet");
        assert_same_run(&sandbox, "out", &want, event);
        std::fs::remove_dir_all(sandbox.path("out")).unwrap();
    }
}

#[test]
fn before_the_first_step_there_is_nothing_to_save() {
    let sandbox = Sandbox::new();
    let before = sandbox.paths();
    // the speed is measured first
    let mut command =
        sandbox.distune("train --model model --data data --output out --quiet --max-time 30m --epochs 10000000");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = std::time::Instant::now();
    while !sandbox.path("out.unfinished/recipe.toml").exists() {
        assert!(start.elapsed().as_secs() < 60, "it does not begin");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    send("-INT", &child);
    let ran = Ran::new(end(child));
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    assert_says(&ran.message(), &["interrupted while the speed was measured; nothing was written"]);
    assert_eq!(sandbox.paths(), before);
}

/// The second signal quits at once, whether the first one's end is over or not, and harms no checkpoint.
#[test]
fn a_second_signal_quits_at_once() {
    let sandbox = Sandbox::new();
    let options = "--batch-size 4 --epochs 100 --save-steps 3";
    sandbox.succeeds(&format!("train --model model --data data --output whole {options}"));
    let want = records(&sandbox, "whole");
    for _ in 0..5 {
        let training = train_until(&sandbox, options, "\"event\":\"checkpoint\"");
        let kill = format!("kill -INT {0}; kill -INT {0}", training.0.id());
        Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status().unwrap();
        ended(training);
        sandbox.succeeds("train --resume out --quiet");
        assert_same_run(&sandbox, "out", &want, "after two signals");
        std::fs::remove_dir_all(sandbox.path("out")).unwrap();
    }
}

#[test]
fn predict_stops_while_it_waits_for_a_line() {
    let sandbox = Sandbox::new();
    Checkpoint::classifier().write(&sandbox, "classifier");
    let mut command = sandbox.distune("predict --model classifier");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // as many lines as are read at once; when all are answered, it waits for the next one
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&b"film\n".repeat(512)).unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..512 {
        stdout.read_line(&mut String::new()).unwrap();
    }
    send("-INT", &child);
    let ran = Ran::new(end(child));
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    assert_says(&ran.message(), &["interrupted", "what was printed is complete"]);
}
