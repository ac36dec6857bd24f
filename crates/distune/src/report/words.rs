//! How numbers are said on the page and in the card.

pub(super) use crate::data::audit::thousands;
use crate::eval::{Estimate, Interval, Metric};

/// "87.4 %"
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// "85.2 to 89.3 %"
pub(super) fn percents(interval: Interval) -> String {
    format!("{:.1} to {:.1} %", 100.0 * interval.low, 100.0 * interval.high)
}

/// "3 rows"
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{} {what}{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// "45 s", "3 min 5 s", "2 h 10 min"
pub(super) fn seconds(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// "512 MB"
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// "2", or "1.25" within an epoch
pub(super) fn epochs(epochs: f64) -> String {
    if epochs.fract() == 0.0 { format!("{epochs:.0}") } else { format!("{epochs:.2}") }
}

/// Four digits, as in the tables of the command line.
pub(super) fn figure(value: f64) -> String {
    format!("{value:.4}")
}

/// "0.8521 to 0.8934", or why there is none.
pub(super) fn interval(estimate: &Estimate, chance: f64) -> String {
    match estimate.interval {
        Some(interval) => format!("{:.4} to {:.4}", interval.low, interval.high),
        None if estimate.metric == Metric::ExpectedCalibrationError => format!("by chance {chance:.4}"),
        None => "not to be told from these rows".to_owned(),
    }
}

/// The first letter in upper case.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().collect::<String>() + chars.as_str())
}

/// A text that is not too long to be read.
pub(super) fn shortened(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((at, _)) => format!("{}…", text[..at].trim_end()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[test]
fn numbers_read_well() {
    assert_eq!([4.24, 59.6, 125.0, 7800.0].map(seconds), ["4.2 s", "1 min 0 s", "2 min 5 s", "2 h 10 min"]);
    assert_eq!([512_000_000, 1_240_000_000].map(bytes), ["512 MB", "1.2 GB"]);
    assert_eq!((counted(1, "row"), counted(1200, "row")), ("1 row".into(), "1,200 rows".into()));
    assert_eq!((percent(0.8736), epochs(2.0), epochs(1.25)), ("87.4 %".into(), "2".into(), "1.25".into()));
    assert_eq!((shortened("añb c", 3), shortened("añb", 3), capital("ñu")), ("añb…".into(), "añb".into(), "Ñu".into()));
}
