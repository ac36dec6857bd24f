//! What is read, what is refused and in which words, how files are split, which ids labels get.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod labels;
mod read;
mod splits;

use std::path::Path;

use super::*;

/// Reads bytes with guessed columns and labels required.
fn parse(name: &str, bytes: impl AsRef<[u8]>) -> crate::Result<Table> {
    read_bytes(Path::new(name), bytes.as_ref(), &Columns::default(), Labels::Required)
}

/// The message of what must fail.
fn message<T>(result: crate::Result<T>) -> String {
    result.err().expect("an error").to_string()
}

/// Columns named by the user.
fn columns(text: &str, label: &str) -> Columns {
    Columns { text: Some(text.to_owned()), label: Some(label.to_owned()), ..Columns::default() }
}
