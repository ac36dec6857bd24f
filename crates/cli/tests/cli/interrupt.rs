//! Signals: Ctrl-C sends INT, a service manager TERM.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use crate::support::{Checkpoint, Ran, Sandbox, assert_says, end};

fn send(signal: &str, child: &Child) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn training_stops_and_leaves_nothing() {
    for signal in ["-INT", "-TERM"] {
        let sandbox = Sandbox::new();
        let before = sandbox.paths();
        let mut command =
            sandbox.distune("train --model model --data data --output out --epochs 1000000 --quiet --json");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("\"event\":\"step\"") {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "it ended by itself");
        }
        assert_ne!(sandbox.paths(), before, "it has somewhere to write");
        send(signal, &child);
        stdout.read_to_end(&mut Vec::new()).unwrap();
        let ran = Ran::new(end(child));
        assert_eq!(ran.status, Some(130), "{}", ran.stderr);
        assert_says(&ran.message(), &["interrupted after ", "nothing was written"]);
        assert_eq!(sandbox.paths(), before);
    }
}

/// The second signal quits at once, whether the first one's end is over or not.
#[test]
fn a_second_signal_leaves_nothing_either() {
    let sandbox = Sandbox::new();
    let before = sandbox.paths();
    for _ in 0..5 {
        let mut command =
            sandbox.distune("train --model model --data data --output out --epochs 1000000 --quiet --json");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        let kill = format!("kill -INT {0}; kill -INT {0}", child.id());
        Command::new("sh").args(["-c", &kill]).stderr(Stdio::null()).status().unwrap();
        stdout.read_to_end(&mut Vec::new()).unwrap();
        assert_eq!(Ran::new(end(child)).status, Some(130));
        assert_eq!(sandbox.paths(), before);
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
