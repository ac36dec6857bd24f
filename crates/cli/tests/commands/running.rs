//! How a command line of a document is run.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::blocks::is_message;
use crate::directory::Prepared;

/// What is not run, by how it begins, and why.
pub const NOT_RUN: [(&str, &str); 5] = [
    ("cargo test ", "it would run this test"),
    ("cargo install ", "a build of minutes; .ci/run does it"),
    ("cargo doc ", "it opens a browser; .ci/run builds the documentation"),
    ("cargo run --release -p distune --example ", "crates/distune/tests/examples.rs runs the examples"),
    ("cargo run --release -p distune-server --example ", "it measures for a minute"),
];
/// What makes a command shorter than it is for a reader: the command, a word of it with which the rest does not hold, what is added.
pub const SHORTER: [(&str, &str, &str); 6] = [
    ("distune train", "--data", "--data few-reviews"),
    ("distune train", "--max-steps", "--max-steps 2"),
    ("distune sweep", "--data", "--data few-reviews"),
    ("distune sweep", ".toml", "--max-steps 1"),
    ("distune bench", "--data", "--data few-reviews"),
    ("distune bench", "--predict", "--steps 1 --batch-size 4"),
];
/// What is less.
const LESS: [(&str, &str); 4] = [
    ("--max-time 10m", "--max-time 4s"),
    ("--budget 30m", "--budget 2s"),
    ("--seeds 3", "--seeds 1"),
    ("--seeds 5", "--seeds 2"),
];
/// Other commands that a document may have.
const OF_THE_SHELL: [&str; 4] = ["cp ", "curl ", "mkdir ", "printf "];
/// Commands that end with the name of what they write, or have it after so many words.
const WRITES: [(&str, usize); 4] =
    [("distune data convert", 4), ("distune data split", 4), ("distune data sample", 4), ("distune convert", 3)];

/// A directory in which commands follow one another, and the server that runs meanwhile.
pub struct Session<'a> {
    prepared: &'a Prepared,
    directory: TempDir,
    server: Option<(Child, String)>,
}

impl<'a> Session<'a> {
    /// With a fresh directory.
    pub fn new(prepared: &'a Prepared) -> Self {
        Self { prepared, directory: prepared.fresh(), server: None }
    }

    fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// Runs a line, which must end as the document says.
    pub fn run(&mut self, line: &str, message: Option<&str>) -> Result<(), String> {
        if NOT_RUN.iter().any(|(begins, _)| format!("{line} ").starts_with(begins)) {
            return Ok(());
        }
        let line = line.replace("cargo run --release --", "distune");
        let (variable, line) = match line.split_once(' ') {
            Some((variable, rest)) if variable.contains('=') => (format!("{variable} "), rest.to_owned()),
            _ => (String::new(), line),
        };
        if line.starts_with("distune serve") {
            return self.serve(&line);
        }
        if line.starts_with("distune") {
            self.prepare(&line)?;
            return self.finish(&(variable + &shorter(&line)), message);
        }
        if !OF_THE_SHELL.iter().any(|begins| line.starts_with(begins)) {
            return Err("a kind of command that this test does not know: see NOT_RUN and OF_THE_SHELL".to_owned());
        }
        match &self.server {
            Some((_, address)) => self.finish(&line.replace("localhost:3000", address), message),
            None => self.finish(&line, message),
        }
    }

    /// Runs a line to its end.
    fn finish(&self, line: &str, message: Option<&str>) -> Result<(), String> {
        let mut shell = self.prepared.shell(&self.work(), line);
        let output = shell.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        let told = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        let expected = match message {
            None => 0,
            Some(message) if message.starts_with("error: ") => 2,
            Some(_) => 1,
        };
        if output.status.code() != Some(expected) {
            return Err(format!("as {line}: status {:?}, expected {expected}\n{told}", output.status.code()));
        }
        // progress and notes may stand before it
        let found = told.rfind(if expected == 2 { "error: " } else { "distune: " }).map_or("", |at| &told[at..]);
        match message {
            Some(message) if !is_message(found, message) => Err(format!("says\n  {found}\nexpected\n  {message}")),
            _ => Ok(()),
        }
    }

    /// What a reader has, or has not, when the command is typed.
    fn prepare(&self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after =
            |option: &str| words.iter().position(|word| *word == option).and_then(|at| words.get(at + 1).copied());
        let positional =
            WRITES.iter().find(|(begins, _)| line.starts_with(begins)).and_then(|(_, at)| words.get(*at).copied());
        match (after("--resume"), after("--output").or(positional)) {
            (Some(run), None) if line.starts_with("distune train") && run != "runs/nothing" => {
                self.remove(run);
                let options = "--data my-data --max-steps 40 --save-steps 1 --unfreeze head";
                self.interrupt(&format!("distune train {options} --output {run}"), "\"checkpoint\"")
            }
            (Some(run), None) if line.starts_with("distune sweep") => {
                self.interrupt(&format!("distune sweep --data few-reviews --seeds 3 --output {run}"), "\"trial\"")
            }
            // a row that cannot be used ends the prediction, and is then repaired
            (_, Some(output)) if words.contains(&"--resume") => {
                self.remove(output);
                let (data, line) = (after("--data").unwrap(), line.replace("--resume", ""));
                let broken = format!(
                    "mv {data} good && zstd -qdc good > bad && echo '{{\"body\": \"\"}}' >> bad && zstd -q bad -o {data} && \
                     ! {line} --quiet 2>/dev/null && mv good {data}"
                );
                self.finish(&broken, None)
            }
            // what it writes is not there yet; that it is, is what some messages are about
            (_, Some(output)) if !line.contains("runs/a") => {
                self.remove(output);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn remove(&self, name: &str) {
        let path = self.work().join(name);
        let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    }

    /// Runs a command until it has said something, then presses Ctrl-C.
    fn interrupt(&self, line: &str, said: &str) -> Result<(), String> {
        let mut shell = self.prepared.shell(&self.work(), &format!("exec {line} --json --quiet"));
        let mut child = shell.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let found = lines.any(|line| line.is_ok_and(|line| line.contains(said)));
        signal(&child, "-INT");
        lines.for_each(drop);
        let status = child.wait().unwrap();
        if found && status.code() == Some(130) { Ok(()) } else { Err(format!("{line}, interrupted: {status}")) }
    }

    /// Starts a server at a free port, in the place of the one before, and asks it.
    fn serve(&mut self, line: &str) -> Result<(), String> {
        self.end()?;
        let line = line.replace("--port 8080", "") + " --port 0 --json";
        let mut child = self
            .prepared
            .shell(&self.work(), &format!("exec {line}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut listening = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut listening).unwrap();
        let address = listening.split("http://").nth(1).and_then(|rest| rest.split('"').next());
        let Some(address) = address.map(str::to_owned) else {
            return Err(format!("it does not start: {listening}{:?}", child.wait()));
        };
        self.server = Some((child, address.clone()));
        self.finish(&format!("curl -sSf {address}/health"), None)
    }

    /// Ends the server, if there is one.
    pub fn end(&mut self) -> Result<(), String> {
        let Some((mut child, _)) = self.server.take() else { return Ok(()) };
        signal(&child, "-TERM");
        let status = child.wait().unwrap();
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}")) }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.server {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn signal(child: &Child, signal: &str) {
    Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
}

/// The line with what makes it shorter, in front of its redirections.
fn shorter(line: &str) -> String {
    let at = [" < ", " > "].iter().find_map(|sign| line.find(sign)).unwrap_or(line.len());
    let (command, redirection) = line.split_at(at);
    let mut command = command.to_owned();
    if !command.contains("--resume") {
        for (begins, without, more) in SHORTER {
            if command.starts_with(begins) && !command.contains(without) {
                command = format!("{command} {more}");
            }
        }
    }
    LESS.iter().fold(command, |command, (more, less)| command.replace(more, less)) + redirection
}
