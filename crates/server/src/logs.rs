//! Logs on standard error, as lines or as JSON. Called by the command line.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For a reader.
    Text,
    /// An object a line.
    Json,
}

/// Logs from now on: warnings and errors alone where it is `quiet`. Only the first call counts.
pub fn log(format: LogFormat, quiet: bool) {
    use std::io::IsTerminal;
    let level = if quiet { LevelFilter::WARN } else { LevelFilter::INFO };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    let builder = builder.with_timer(SystemTime).with_ansi(std::io::stderr().is_terminal());
    // an error is that there are logs already
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
    };
}
