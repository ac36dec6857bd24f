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

/// "accuracy 89.50 % (95 % interval 87.4 to 91.3, 781 of 872 rows)"; with several labels a row F1, and the rows that are all right.
pub(crate) fn score(metrics: &distune::eval::Metrics) -> String {
    let interval = &metrics.interval;
    let (several, name) = match metrics.several_labels() {
        true => {
            let (micro, macro_f1) = (100.0 * metrics.micro_f1, 100.0 * metrics.macro_f1);
            (format!("micro F1 {micro:.2} %, macro F1 {macro_f1:.2} %, "), "all labels of a row right")
        }
        false => (String::new(), "accuracy"),
    };
    format!(
        "{several}{name} {:.2} % (95 % interval {:.1} to {:.1}, {} of {} rows)",
        100.0 * metrics.accuracy,
        100.0 * interval.low,
        100.0 * interval.high,
        thousands(metrics.correct),
        thousands(metrics.rows),
    )
}
