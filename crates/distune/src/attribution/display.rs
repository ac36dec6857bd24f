//! Attributions as coloured text.

use std::fmt::Write;

use super::Attribution;

/// A piece of a text: a word with its score, or what stands between two words and what the model did not read.
pub type Segment<'a> = (&'a str, Option<f64>);

/// The pieces of text 0, or of text 1, the second of a pair, in their order: together they are the whole text.
pub fn segments(attribution: &Attribution, text: usize) -> Vec<Segment<'_>> {
    let Some(whole) = attribution.texts.get(text) else { return Vec::new() };
    let starts: Vec<usize> = whole.char_indices().map(|(at, _)| at).chain([whole.len()]).collect();
    let byte = |character: usize| starts.get(character).copied().unwrap_or(whole.len());
    let (mut segments, mut at) = (Vec::new(), 0);
    for word in attribution.words.iter().filter(|word| word.text == text && word.start < word.end) {
        let (start, end) = (byte(word.start).max(at), byte(word.end).max(at));
        segments.push((&whole[at..start], None));
        segments.push((&whole[start..end], Some(word.score)));
        at = end;
    }
    segments.push((&whole[at..], None));
    segments.retain(|(piece, _)| !piece.is_empty());
    segments
}

/// The largest score of a word, by which colours are measured.
fn largest(attribution: &Attribution) -> f64 {
    attribution.words.iter().map(|word| word.score.abs()).fold(f64::MIN_POSITIVE, f64::max)
}

/// A fragment of HTML: the text, or both texts, with the words that speak for the class on blue and those against it on orange, the
/// stronger the more. Colours are translucent, so that it can be read on light and on dark.
pub fn html(attribution: &Attribution) -> String {
    let most = largest(attribution);
    let mut html = String::new();
    for text in 0..attribution.texts.len() {
        html += "<p style=\"white-space:pre-wrap;line-height:1.7\">";
        for (piece, score) in segments(attribution, text) {
            let piece = escaped(piece);
            // nothing can go wrong with a string
            let _ = match score {
                None => write!(html, "{piece}"),
                Some(score) => {
                    let colour = if score > 0.0 { "31,119,220" } else { "235,120,20" };
                    let strength = 0.6 * score.abs() / most;
                    write!(
                        html,
                        "<span style=\"background:rgba({colour},{strength:.2});border-radius:3px\" title=\"{score:+.3}\">{piece}</span>"
                    )
                }
            };
        }
        html += "</p>";
    }
    html
}

/// Text as HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            other => escaped.push(other),
        }
    }
    escaped
}

/// Backgrounds of a terminal's 256 colours, from weak to strong, with a foreground that can be read on them: for the class, against it.
const COLOURS: [[(u8, u8); 3]; 2] = [[(153, 16), (75, 16), (26, 231)], [(223, 16), (215, 16), (166, 16)]];
/// Words with less than that share of the largest score have no colour.
const FAINT: f64 = 0.15;

/// The text, or both texts on a line each, coloured for a terminal. Control characters, which could do more there than show, are blanks.
pub fn terminal(attribution: &Attribution) -> String {
    let most = largest(attribution);
    let mut lines = Vec::new();
    for text in 0..attribution.texts.len() {
        let mut line = String::new();
        for (piece, score) in segments(attribution, text) {
            let piece: String = piece.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let share = score.map_or(0.0, |score| score.abs() / most);
            if share < FAINT {
                line += &piece;
                continue;
            }
            let level = if share > 2.0 / 3.0 { 2 } else { usize::from(share > 1.0 / 3.0) };
            let (background, foreground) = COLOURS[usize::from(score < Some(0.0))][level];
            line += &format!("\x1b[48;5;{background}m\x1b[38;5;{foreground}m{piece}\x1b[0m");
        }
        lines.push(line);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::{Attribution, WordScore};
    use super::*;

    fn attribution() -> Attribution {
        let word = |word: &str, start: usize, score: f64| {
            let end = start + word.chars().count();
            WordScore { word: word.to_owned(), text: 0, start, end, score }
        };
        Attribution {
            texts: vec!["é <b>\n\u{1b}[1mgood the end".to_owned()],
            label: "positive".to_owned(),
            tokens: Vec::new(),
            words: vec![word("é", 0, -1.0), word("b", 3, 0.1), word("good", 10, 2.0)],
            sum: 1.1,
            logit: 1.0,
            baseline_logit: 0.0,
            logit_difference: 1.0,
            completeness_gap: 0.1,
            complete: true,
            steps: 11,
            truncated: true,
        }
    }

    #[test]
    fn segments_are_the_whole_text() {
        let expected = [
            ("é", Some(-1.0)),
            (" <", None),
            ("b", Some(0.1)),
            (">\n\u{1b}[1m", None),
            ("good", Some(2.0)),
            (" the end", None),
        ];
        assert_eq!(segments(&attribution(), 0), expected);
        assert_eq!(segments(&attribution(), 1), []);
    }

    #[test]
    fn html_is_escaped_and_coloured() {
        let html = html(&attribution());
        let strong = "<span style=\"background:rgba(31,119,220,0.60);border-radius:3px\" title=\"+2.000\">good</span> the end</p>";
        assert!(html.ends_with(strong), "{html}");
        let against =
            "<p style=\"white-space:pre-wrap;line-height:1.7\"><span style=\"background:rgba(235,120,20,0.30)";
        assert!(html.starts_with(against) && html.contains("&lt;<span"), "{html}");
    }

    #[test]
    fn a_terminal_gets_colours_and_no_commands() {
        let line = terminal(&attribution());
        assert_eq!(line, "\x1b[48;5;215m\x1b[38;5;16mé\x1b[0m <b>  [1m\x1b[48;5;26m\x1b[38;5;231mgood\x1b[0m the end");
    }
}
