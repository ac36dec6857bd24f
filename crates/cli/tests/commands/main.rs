//! Every command in README.md and in `docs/book`, run as it stands there, in a directory with the files that they speak of.
//!
//! - `blocks.rs`: the commands of a document, and the message that it says a command ends with
//! - `directory.rs`: the files, the models and the hub on loopback that they find
//! - `running.rs`: how a line is shortened ([`running::SHORTER`]), what is not run ([`running::NOT_RUN`]), servers
//!
//! Each block of `sh` has a fresh directory. A command must end with status 0; one whose block is followed by a block of `text` that
//! begins with "distune: " (or "error: ") with status 1 (or 2) and that message, in which "…" stands for anything.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod blocks;
mod directory;
#[path = "../../../distune/tests/support/hub_server.rs"]
#[allow(dead_code, missing_docs)]
mod hub_server;
mod running;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::blocks::{Block, blocks};
use crate::directory::Prepared;
use crate::running::Session;

/// README.md and the chapters.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let chapters = std::fs::read_dir(root.join("docs/book/src")).unwrap().map(|entry| entry.unwrap().path());
    let mut chapters: Vec<_> = chapters.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    chapters.sort();
    [root.join("README.md")].into_iter().chain(chapters).collect()
}

#[test]
fn every_command_of_the_documents_does_what_they_say() {
    let prepared = Prepared::new();
    // the reference and the README repeat what the chapters have: each command is run once
    let (mut done, mut wrong) = (HashSet::new(), Vec::new());
    for document in documents() {
        let name = document.file_name().unwrap().to_string_lossy().into_owned();
        for block in blocks(&std::fs::read_to_string(&document).unwrap()) {
            let began = Instant::now();
            if let Err(problem) = run(&block, &prepared, &mut done) {
                wrong.push(format!("{name}, line {}: {problem}", block.line));
            }
            println!("{name}, line {}: {:.1} s", block.line, began.elapsed().as_secs_f64());
        }
    }
    let done = done.len();
    assert!(wrong.is_empty(), "{done} commands are as they should be, these are not:\n\n{}", wrong.join("\n\n"));
    // that they are found at all
    assert!(done > 100, "{done} commands");
}

/// `crates/distune/tests/examples.rs` runs what they include; README's program is a doctest of the library.
#[test]
fn rust_in_the_book_is_of_the_examples() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../distune");
    let tested = std::fs::read_to_string(examples.join("tests/examples.rs")).unwrap();
    let mut found = 0;
    for chapter in documents().into_iter().skip(1) {
        let text = std::fs::read_to_string(&chapter).unwrap();
        for block in text.split("```rust").skip(1) {
            let name =
                block.strip_prefix("\n{{#include ../../../crates/distune/").and_then(|rest| rest.split_once(':'));
            let name =
                name.unwrap_or_else(|| panic!("{}: Rust that is not included: {block:.60}", chapter.display())).0;
            assert!(examples.join(name).is_file() && tested.contains(&format!("\"../{name}\"")), "{name}");
            found += 1;
        }
    }
    assert!(found > 0);
}

/// Runs the commands of a block one after another, but for those that are `done`.
fn run(block: &Block, prepared: &Prepared, done: &mut HashSet<String>) -> Result<(), String> {
    let mut session = Session::new(prepared);
    for (i, command) in block.commands.iter().enumerate() {
        let message = block.message.as_deref().filter(|_| i + 1 == block.commands.len());
        let again = command.starts_with("distune") && !command.starts_with("distune serve") && done.contains(command);
        if message.is_some() || !again {
            session.run(command, message).map_err(|problem| format!("{command}\n{problem}"))?;
            done.insert(command.clone());
        }
    }
    session.end()
}
