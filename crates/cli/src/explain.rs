//! Attributions on the command line: computed with progress, shown as coloured text or as a list of words. Called by `predict` and
//! `errors`.

use std::io::{IsTerminal, stdout};

use distune::attribution::{Attribution, Explainer, Options, WordScore, terminal};
use distune::tokenize::Tokenizer;

use crate::Common;
use crate::progress::Progress;
use crate::stop;

/// Words that are listed where there are no colours, at most.
const LISTED: usize = 12;

/// What a text's logit of a class, or else of the most probable one, rests on.
pub(crate) fn explain(
    explainer: &mut Explainer,
    tokenizer: &Tokenizer,
    texts: (&str, Option<&str>),
    class: Option<usize>,
    common: &Common,
) -> distune::Result<Attribution> {
    let mut progress = Progress::new(common, "points");
    let mut go_on = |done, all| {
        progress.set(done, all, String::new);
        !stop::requested()
    };
    let attribution = explainer.explain(&tokenizer.trace(texts.0, texts.1)?, class, &mut go_on);
    progress.finish();
    attribution
}

/// How exactly explanations are computed.
pub(crate) fn options() -> Options {
    Options::default()
}

/// Whether standard output shows colours: a terminal, unless `NO_COLOR` is set (https://no-color.org).
pub(crate) fn colours() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// An attribution for a reader, each line indented.
pub(crate) fn shown(attribution: &Attribution, colours: bool) -> String {
    let Attribution { label, sum, completeness_gap, .. } = attribution;
    let mut lines = vec![match attribution.complete {
        true => format!("for {label}, {sum:+.2} in all:"),
        false => {
            format!("for {label}, {sum:+.2} in all (inexact: {completeness_gap:.2} of its logit is not accounted for):")
        }
    }];
    match colours {
        true => lines.extend(terminal(attribution).lines().map(str::to_owned)),
        false => lines.push(listed(attribution)),
    }
    let indented: Vec<String> = lines.iter().map(|line| format!("    {line}")).collect();
    indented.join("\n")
}

/// The words with the largest scores.
fn listed(attribution: &Attribution) -> String {
    let mut words: Vec<&WordScore> = attribution.words.iter().collect();
    words.sort_by(|a, b| b.score.abs().total_cmp(&a.score.abs()));
    // smaller ones are nothing to two digits
    let shown = words
        .iter()
        .take(LISTED)
        .take_while(|word| word.score.abs() >= 0.005)
        .map(|word| format!("{} {:+.2}", word.word, word.score));
    let mut shown: Vec<String> = shown.collect();
    let rest = &words[shown.len()..];
    if !rest.is_empty() {
        let sum: f64 = rest.iter().map(|word| word.score).sum();
        shown.push(format!("{} others {sum:+.2}", rest.len()));
    }
    shown.join(", ")
}
