//! How a command line of a document is run.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::blocks::is_message;
use crate::directory::Prepared;

/// What is not run, by how it begins, and why.
pub const NOT_RUN: [(&str, &str); 5] = [
    ("notebooks/setup ", "a build of minutes; .ci/run does it and runs the notebook"),
    ("cargo test ", "it would run this test"),
    ("cargo install ", "a build of minutes; .ci/run does it"),
    ("cargo doc ", "it opens a browser; .ci/run builds the documentation"),
    ("cargo run --release -p distune --example ", "crates/distune/tests/examples.rs runs the examples"),
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
    ("--max-time 10m", "--max-time 30s"),
    ("--budget 30m", "--budget 10s"),
    ("--seeds 3", "--seeds 1"),
    ("--seeds 5", "--seeds 2"),
];
/// Other commands that a document may have.
const OF_THE_SHELL: [&str; 4] = ["cp ", "curl ", "mkdir ", "printf "];
/// Commands that name what they write after so many words.
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
            self.prepare(&line, message.is_some())?;
            return self.finish(&(variable + &shorter(&line)), message);
        }
        if !OF_THE_SHELL.iter().any(|begins| line.starts_with(begins)) {
            return Err("a kind of command that this test does not know: see NOT_RUN and OF_THE_SHELL".to_owned());
        }
        if line.starts_with("curl ") && Command::new("curl").arg("--version").output().is_err() {
            println!("SKIPPED: there is no curl, so nobody has tried {line}");
            return Ok(());
        }
        let address = self.server.as_ref().map_or("localhost:3000", |(_, address)| address);
        self.finish(&line.replace("localhost:3000", address), message)
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

    /// What a reader has, or has not, when a command is typed that works or fails.
    fn prepare(&self, line: &str, fails: bool) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after =
            |option: &str| words.iter().position(|word| *word == option).and_then(|at| words.get(at + 1).copied());
        let positional =
            WRITES.iter().find(|(begins, _)| line.starts_with(begins)).and_then(|(_, at)| words.get(*at).copied());
        match (after("--resume"), after("--output").or(positional)) {
            // what is there already is what the message is about
            _ if fails => Ok(()),
            (Some(run), None) if line.starts_with("distune train") => {
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
                let data = self.work().join(after("--data").unwrap());
                let good = std::fs::read(&data).unwrap();
                self.replace(&data, &[&good[..], &zstd_frame(b"{\"body\": \"\"}\n")].concat());
                let failed = self.finish(&format!("! {} --quiet 2> told", line.replace("--resume", "")), None);
                self.replace(&data, &good);
                failed
            }
            // what it writes is not there yet
            (_, Some(output)) => {
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

    /// Another file in the place of one, which other directories have too.
    fn replace(&self, path: &Path, bytes: &[u8]) {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, bytes).unwrap();
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
        let (mut stream, mut answer) = (TcpStream::connect(&address).unwrap(), String::new());
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
        stream.read_to_string(&mut answer).unwrap();
        self.server = Some((child, address));
        if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(format!("it answers {answer}")) }
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

/// Less than 256 bytes as a frame of Zstandard (RFC 8878), which may follow others: one raw block.
fn zstd_frame(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    let [low, high, ..] = (u32::from(length) << 3 | 1).to_le_bytes();
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, length, low, high, 0], bytes].concat()
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
