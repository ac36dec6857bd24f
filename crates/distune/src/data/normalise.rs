//! What texts that count as the same have in common. Called by `audit` and `partition`.

/// Letters and digits in lower case, nothing else; the trimmed text if it has none. Added to `out`; returns whether there were any.
pub(super) fn normalise(text: &str, out: &mut String) -> bool {
    let before = out.len();
    for c in text.chars() {
        if c.is_ascii() {
            if c.is_ascii_alphanumeric() {
                out.push(c.to_ascii_lowercase());
            }
        } else if c.is_alphanumeric() {
            out.extend(c.to_lowercase());
        }
    }
    let any = out.len() > before;
    if !any {
        out.push_str(text.trim());
    }
    any
}
