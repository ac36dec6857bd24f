//! Counts in sentences.

/// "371 of 67,349 rows (0.55 %)"
pub(super) fn counted(count: usize, of: usize, unit: &str) -> String {
    let percent = 100.0 * count as f64 / of.max(1) as f64;
    let percent = match percent {
        p if p >= 99.95 || p == 0.0 => format!("{p:.0}"),
        p if p >= 1.0 => format!("{p:.1}"),
        p if p >= 0.01 => format!("{p:.2}"),
        _ => "less than 0.01".to_owned(),
    };
    format!("{} of {} {unit}s ({percent} %)", thousands(count), thousands(of))
}

/// The same with a verb.
pub(super) fn are(count: usize, of: usize, unit: &str) -> String {
    format!("{} {}", counted(count, of, unit), if count == 1 { "is" } else { "are" })
}

/// The same with another one.
pub(super) fn have(count: usize, of: usize, unit: &str) -> String {
    format!("{} {}", counted(count, of, unit), if count == 1 { "has" } else { "have" })
}

/// The count by the wider definition, if that is more.
pub(super) fn wider(count: usize, exact: Option<usize>) -> String {
    match exact {
        Some(exact) if count > exact => format!("; {} when only letters and digits count", thousands(count)),
        _ => String::new(),
    }
}

/// 1234567 as "1,234,567".
pub(crate) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let (first, rest) = digits.split_at((digits.len() + 2) % 3 + 1);
    let groups = rest.as_bytes().chunks(3).map(|group| format!(",{}", String::from_utf8_lossy(group)));
    first.to_owned() + &groups.collect::<String>()
}

#[cfg(test)]
#[test]
fn counts_read_well() {
    let written = [7, 42, 999, 1000, 12_345, 123_456, 1_234_567].map(thousands);
    assert_eq!(written, ["7", "42", "999", "1,000", "12,345", "123,456", "1,234,567"]);
    assert_eq!(are(1, 2, "row"), "1 of 2 rows (50.0 %) is");
    assert_eq!(have(2, 20_001, "text"), "2 of 20,001 texts (less than 0.01 %) have");
    assert_eq!(counted(371, 67_349, "row"), "371 of 67,349 rows (0.55 %)");
    assert_eq!(counted(3, 3, "row"), "3 of 3 rows (100 %)");
    assert_eq!(
        (wider(3, Some(2)), wider(2, Some(2))),
        ("; 3 when only letters and digits count".into(), String::new())
    );
}
