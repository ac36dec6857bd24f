//! Progress of long work: a bar on a terminal, plain lines in a log, nothing with `--quiet`.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::Common;

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Work that is done sooner shows nothing in a log.
const FIRST_LINE_AFTER: Duration = Duration::from_secs(2);

/// A counted piece of work.
pub(crate) struct Progress {
    bar: ProgressBar,
    lines: bool,
    unit: &'static str,
    start: Instant,
    /// Pieces that were done before.
    before: usize,
    next_line: Instant,
}

impl Progress {
    /// Work whose pieces are called `unit`, such as "samples".
    pub(crate) fn new(common: &Common, unit: &'static str) -> Self {
        let terminal = stderr().is_terminal();
        let target =
            if terminal && !common.quiet { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let template = format!("{{bar:30}} {{human_pos}}/{{human_len}} {unit}, {{per_sec}}, {{eta}} left {{msg}}");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let rate = |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            // a template cannot report an error
            let _ = write!(out, "{:.0}/s", state.per_sec());
        };
        let bar = ProgressBar::with_draw_target(Some(0), target).with_style(style.with_key("per_sec", rate));
        let start = Instant::now();
        Self { bar, lines: !terminal && !common.quiet, unit, start, before: 0, next_line: start + FIRST_LINE_AFTER }
    }

    /// `done` of `total` pieces are done.
    pub(crate) fn set(&mut self, done: usize, total: usize, message: impl Fn() -> String) {
        if self.lines {
            self.line(done, total, &message);
        } else {
            self.bar.set_length(total as u64);
            self.bar.set_position(done as u64);
            self.bar.set_message(message());
        }
    }

    /// As [`Self::set`], where nobody knows of how many.
    pub(crate) fn count(&mut self, done: usize) {
        if !self.lines {
            self.bar.set_length(done as u64);
            self.bar.set_position(done as u64);
            return;
        }
        if let Some(rate) = self.line_is_due(done) {
            let unit = self.unit;
            // a closed standard error is no reason to stop
            let _ = writeln!(stderr(), "{done} {unit}, {rate:.0}/s");
        }
    }

    /// So many pieces were done before; the rate is that of the others.
    pub(crate) fn start_from(&mut self, done: usize) {
        self.before = done;
        self.bar.set_position(done as u64);
        self.bar.reset_eta();
    }

    /// Pieces a second, when it is time for a line.
    fn line_is_due(&mut self, done: usize) -> Option<f64> {
        let now = Instant::now();
        if now < self.next_line {
            return None;
        }
        self.next_line = now + LINE_EVERY;
        Some(done.saturating_sub(self.before) as f64 / (now - self.start).as_secs_f64())
    }

    fn line(&mut self, done: usize, total: usize, message: &dyn Fn() -> String) {
        let Some(rate) = self.line_is_due(done) else { return };
        let left = (total - done.min(total)) as f64 / rate.max(1e-9);
        let (unit, message) = (self.unit, message());
        // a closed standard error is no reason to stop
        let _ = writeln!(stderr(), "{done}/{total} {unit}, {rate:.0}/s, {left:.0} s left {message}");
    }

    /// Prints a line above the bar.
    pub(crate) fn note(&self, text: &str) {
        if self.lines {
            let _ = writeln!(stderr(), "{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
