//! What the program is on a terminal: `doctor`, completions and manual pages, colours, the line that says what is next.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::hub_server::Server;
use crate::support::{Ran, Sandbox, assert_says, feed};

fn doctor(sandbox: &Sandbox, variables: &[(&str, &str)], arguments: &str) -> Ran {
    let mut command = sandbox.distune(&format!("doctor {arguments}"));
    command.env_remove("HF_HUB_OFFLINE").env_remove("DISTUNE_ISA").envs(variables.iter().copied());
    let ran = Ran::new(feed(&mut command, b""));
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    ran
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn doctor_tells_what_is_there() {
    let sandbox = Sandbox::new();
    sandbox.write("hf/hub/models--org--tiny/blobs/0123", [0; 1500]);
    let server = Server::start(&[], "hf_secret");
    let here = ("HF_ENDPOINT", server.url.as_str());
    let text = doctor(&sandbox, &[here, ("HF_TOKEN", "hf_secret")], "").stdout;
    let host = format!("{}, answers in ", server.url);
    for expected in
        [env!("CARGO_PKG_VERSION"), "instructions: ", " CPUs", "GFLOP/s", "1 models and data sets, 1.5 kB", &host]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(text.contains("with a token") && !text.contains("hf_secret"), "{text}");
    // asked once, without the token
    let requests = server.requests();
    assert!(requests.len() == 1 && !format!("{requests:?}").contains("hf_secret"), "{requests:?}");

    let found = json(&doctor(&sandbox, &[here], "--json --threads 1 --precision f32"));
    assert_eq!((found["event"].as_str(), found["threads"]["used"].as_u64()), (Some("doctor"), Some(1)));
    assert_eq!((found["cache"]["bytes"].as_u64(), found["multiplication"]["used"].as_str()), (Some(1500), Some("f32")));
    assert!(found["multiplication"]["f32_gflops"].as_f64().unwrap() > 0.0);
    assert!(found["hub"]["milliseconds"].is_u64() && found["hub"]["problem"].is_null(), "{found}");
    assert!(found["memory"]["available"].as_u64().unwrap() > 0 && found["temporary"]["problem"].is_null());
    assert_eq!(found["bundled"]["there"], cfg!(feature = "bundled"));
    let levels = found["cpu"]["levels"].as_array().unwrap();
    assert!(levels.iter().any(|level| level[0] == found["cpu"]["instructions"] && level[1] == true), "{levels:?}");
}

#[test]
fn doctor_tells_what_is_amiss() {
    let sandbox = Sandbox::new();
    let server = Server::start(&[], "");
    let offline = doctor(&sandbox, &[("HF_ENDPOINT", &server.url), ("HF_HUB_OFFLINE", "1")], "").stdout;
    assert!(offline.contains("not asked: HF_HUB_OFFLINE is set") && server.requests().is_empty(), "{offline}");
    // nobody listens on this port
    let nobody = ("HF_ENDPOINT", "http://127.0.0.1:1");
    let gone = doctor(&sandbox, &[nobody, ("DISTUNE_ISA", "baseline")], "").stdout;
    assert!(gone.contains("cannot be reached") && gone.contains("What could be better:"), "{gone}");
    assert!(gone.contains("baseline, because DISTUNE_ISA says so") || cfg!(target_arch = "aarch64"), "{gone}");
    let wrong = json(&doctor(&sandbox, &[("HF_HUB_OFFLINE", "1"), ("DISTUNE_ISA", "mmx")], "--json"));
    assert_says(&wrong["advice"].to_string(), &["DISTUNE_ISA=mmx is not a level that this CPU has"]);
    // settings that cannot be used are told, not the end of it
    let wrong = json(&doctor(&sandbox, &[("HF_ENDPOINT", "nowhere")], "--json"));
    assert_says(&wrong["hub"]["problem"].to_string(), &["HF_ENDPOINT"]);
    // a cache that is a file
    sandbox.write("file", "");
    let file = sandbox.path("file");
    let cache = json(&doctor(&sandbox, &[("HF_HUB_CACHE", file.to_str().unwrap()), ("HF_HUB_OFFLINE", "1")], "--json"));
    assert_says(&cache["advice"].to_string(), &["set HF_HOME"]);
}

#[test]
fn completions_and_manual_pages() {
    let sandbox = Sandbox::new();
    let bash = sandbox.succeeds("completions bash").stdout;
    let read = feed(Command::new("bash").arg("-n"), bash.as_bytes());
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    for shell in ["zsh", "fish", "powershell", "elvish"] {
        assert!(sandbox.succeeds(&format!("completions {shell}")).stdout.contains("doctor"), "{shell}");
    }
    let wrote = sandbox.succeeds("man --output man/man1").stdout;
    let pages = std::fs::read_dir(sandbox.path("man/man1")).unwrap().count();
    assert_eq!(wrote, format!("Wrote {pages} pages to man/man1.\n"));
    assert!(sandbox.path("man/man1/distune-data-check.1").is_file());
    sandbox.write("file", "");
    assert_says(&sandbox.fails("man --output file"), &["file: cannot create the directory"]);
}

/// The commands after "Next:" on standard error.
fn next(ran: &Ran) -> Vec<String> {
    assert!(!ran.stdout.contains("Next:"), "not among the results: {}", ran.stdout);
    let after = ran.stderr.split_once("\nNext:\n").map_or("", |(_, after)| after);
    after.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn what_is_next_can_be_done_next() {
    let sandbox = Sandbox::new();
    let training = "train --model model --data data --epochs 1 --output";
    let ran = sandbox.succeeds(&format!("{training} run"));
    assert!(ran.stdout.ends_with("Report: run/report.html\nSaved to run.\n"), "{}", ran.stdout);
    let (mut open, mut done) = (next(&ran), Vec::new());
    assert_eq!(open.len(), 3);
    // and what is next after that, until nothing new is; a text is one word here
    while let Some(command) = open.pop() {
        if done.contains(&command) || !command.contains("run") {
            continue;
        }
        let arguments = command.strip_prefix("distune ").unwrap().replace("\"your text\"", "film");
        open.extend(next(&sandbox.succeeds(&arguments)));
        done.push(command);
    }
    assert!(done.iter().any(|command| command.contains("--explain")), "{done:?}");
    assert!(done.iter().any(|command| command.contains("errors --model run --data data --output")), "{done:?}");
    // nothing of it for programs and for who wants none
    for option in ["--quiet", "--json"] {
        let ran = sandbox.succeeds(&format!("{training} run{option} {option}"));
        assert!(next(&ran).is_empty(), "{option}");
        assert!(next(&sandbox.succeeds(&format!("eval --model run --data data {option}"))).is_empty(), "{option}");
    }
}

/// Whether there is a colour or a style in a text; the place of the cursor, which a progress bar moves, is none.
fn styled(text: &str) -> bool {
    let is_style = |rest: &str| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m');
    text.split("\x1b[").skip(1).any(is_style)
}

#[test]
#[cfg(target_os = "linux")]
fn colours_are_for_terminals_that_want_them() {
    if Command::new("script").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED: there is no `script`, so nothing runs on a terminal");
        return;
    }
    let sandbox = Sandbox::trained();
    let program = assert_cmd::cargo::cargo_bin!("distune").display().to_string();
    let on_a_terminal = |arguments: &str, no_colour: Option<&str>| {
        let mut command = Command::new("script");
        command.args(["-qec", &format!("{program} {arguments}"), "/dev/null"]).current_dir(sandbox.path("."));
        command.env("HF_HUB_OFFLINE", "1").env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.envs(no_colour.map(|value| ("NO_COLOR", value)));
        String::from_utf8(feed(&mut command, b"").stdout).unwrap()
    };
    // background and foreground of a word; bold headings of a help text
    for (arguments, colour) in [("predict --model run --explain good", "\x1b[48;5;"), ("eval -h", "\x1b[1m")] {
        assert!(on_a_terminal(arguments, None).contains(colour), "{arguments}");
        assert!(on_a_terminal(arguments, Some("")).contains(colour), "{arguments}: an empty NO_COLOR is none");
        let without = on_a_terminal(arguments, Some("1"));
        assert!(!without.is_empty() && !styled(&without), "{arguments}: NO_COLOR: {without:?}");
        let piped = Ran::new(feed(&mut sandbox.distune(arguments), b""));
        assert!(!piped.stdout.contains('\x1b') && !piped.stderr.contains('\x1b'), "{arguments}: no terminal");
    }
}
