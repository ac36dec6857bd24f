//! What goes to standard output (results) and to standard error (notes).

use std::io::{Write, stderr, stdout};

use crate::Common;

/// Notes for a human: nothing with `--quiet`; on standard error, so that results can be piped.
pub(crate) fn note(common: &Common, text: impl std::fmt::Display) {
    if !common.quiet {
        // a closed standard error is no reason to stop
        let _ = writeln!(stderr(), "{text}");
    }
}

/// A line of results on standard output.
pub(crate) fn line(text: impl std::fmt::Display) -> std::io::Result<()> {
    writeln!(stdout(), "{text}")
}

/// 1234567 as "1,234,567".
pub(crate) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
