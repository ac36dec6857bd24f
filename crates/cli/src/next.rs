//! The line after a command that says what may be next: for people, so on standard error, and not with `--quiet` or `--json`.

use std::path::Path;

use clap::ArgMatches;
use distune::model::Config;
use distune::unfinished::shell_quoted;

use crate::Common;
use crate::output::note;

/// Says what may be next, if there is something.
pub(crate) fn say(common: &Common, commands: &[String]) {
    if common.json || commands.is_empty() {
        return;
    }
    note(common, format!("\nNext:\n  {}", commands.join("\n  ")));
}

/// What may follow a training whose run is in a directory; `data` is what it was trained on.
pub(crate) fn after_training(run: &Path, data: &[String], text: &str) -> Vec<String> {
    let run = shell_quoted(run);
    let mut commands = vec![format!("distune predict --model {run} {text}")];
    // rows that were split have no name of their own: the reviews and directories have
    if let [data] = data
        && (data == crate::sources::REVIEWS || Path::new(data).is_dir())
    {
        let data = quoted(data);
        commands.push(format!("distune eval --model {run} --data {data}"));
        commands.push(format!("distune errors --model {run} --data {data}"));
    }
    commands
}

/// What may follow a command that its line alone tells; nothing for those that say it themselves.
pub(crate) fn after(matches: &ArgMatches) -> Vec<String> {
    let Some((command, given)) = matches.subcommand() else { return Vec::new() };
    match command {
        "eval" => judged(given).map(|judged| format!("distune errors {judged}")).into_iter().collect(),
        "errors" => match (judged(given), value(given, "output")) {
            (Some(judged), None) => vec![format!("distune errors {judged} --output errors")],
            _ => Vec::new(),
        },
        "calibrate" => match value(given, "model") {
            Some(model) => vec![
                format!("distune predict --model {model} --calibrated \"your text\""),
                format!("distune eval --model {model} --threshold saved{}", data_option(given)),
            ],
            None => Vec::new(),
        },
        "compare" if value(given, "flips").is_none() => {
            let models = values(given, "models").join(" ");
            vec![format!("distune compare {models}{} --flips flips.jsonl", data_option(given))]
        }
        "predict" => match (value(given, "model"), &values(given, "texts")[..], given.contains_id("explain")) {
            (Some(model), [text, ..], false) if !is_quantized(given) => {
                vec![format!("distune predict --model {model} --explain {text}")]
            }
            _ => Vec::new(),
        },
        "quantize" => match value(given, "output") {
            Some(output) => vec![format!("distune predict --model {output} \"your text\"")],
            None => Vec::new(),
        },
        "bench" => vec!["distune doctor".to_owned()],
        "doctor" => vec!["distune train".to_owned()],
        "convert" => match value(given, "output") {
            Some(output) => vec![format!("distune info {output}"), format!("distune train --model {output}")],
            None => Vec::new(),
        },
        "info" => match value(given, "model") {
            Some(model) if is_quantized(given) => vec![format!("distune predict --model {model} \"your text\"")],
            Some(model) => vec![format!("distune train --model {model}")],
            None => Vec::new(),
        },
        "data" => after_data(given),
        _ => Vec::new(),
    }
}

/// Whether a command's model is one of int8, which cannot be explained.
fn is_quantized(given: &ArgMatches) -> bool {
    let Some(model) = given.try_get_raw("model").ok().flatten().and_then(|mut raw| raw.next()) else { return false };
    let path = Path::new(model).join("config.json");
    let config = std::fs::read(&path).ok().and_then(|json| Config::from_json(&path, &json).ok());
    config.is_some_and(|config| config.is_quantized())
}

/// After `data check`, `data split` and the others.
fn after_data(given: &ArgMatches) -> Vec<String> {
    let Some((command, given)) = given.subcommand() else { return Vec::new() };
    let train = |data: String| format!("distune train --data {data}");
    match (command, value(given, "output")) {
        ("check", _) => match &values(given, "data")[..] {
            [data] if data != "-" => vec![train(data.clone())],
            _ => Vec::new(),
        },
        (_, Some(output)) if output != "-" => vec![format!("distune data check {output}"), train(output)],
        _ => Vec::new(),
    }
}

/// The model or the predictions of a command, and its rows; nothing where these came from standard input.
fn judged(given: &ArgMatches) -> Option<String> {
    let (option, name) = match value(given, "predictions") {
        Some(file) => ("--predictions", file),
        None => ("--model", value(given, "model")?),
    };
    (name != "-" && value(given, "data").is_none_or(|data| data != "-"))
        .then(|| format!("{option} {name}{}", data_option(given)))
}

/// " --data NAME", where the rows have one and it is not the one that stands for none.
fn data_option(given: &ArgMatches) -> String {
    let data =
        value(given, "data").filter(|_| given.value_source("data") == Some(clap::parser::ValueSource::CommandLine));
    data.map(|data| format!(" --data {data}")).unwrap_or_default()
}

/// The values of an option, as a shell takes them.
fn values(given: &ArgMatches, id: &str) -> Vec<String> {
    let raw = given.try_get_raw(id).ok().flatten();
    raw.into_iter().flatten().map(|value| quoted(&value.to_string_lossy())).collect()
}

fn value(given: &ArgMatches, id: &str) -> Option<String> {
    values(given, id).into_iter().next()
}

fn quoted(text: &str) -> String {
    shell_quoted(Path::new(text))
}

/// The words of a command line, without its comment and its redirections.
#[cfg(test)]
pub(crate) fn words(line: &str) -> Vec<String> {
    let line = line.split(['#', '<', '>']).next().unwrap_or_default();
    let (mut words, mut quote, mut chars) = (vec![String::new()], None, line.chars());
    while let Some(c) = chars.next() {
        let word = words.len() - 1;
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '\\') => words[word].extend(chars.next()),
            (None, ' ') => words.push(String::new()),
            (_, c) => words[word].push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::help::command;

    fn parse(line: &str) -> ArgMatches {
        command().try_get_matches_from(words(line)).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Command lines and how many commands may follow.
    const LINES: [(&str, usize); 23] = [
        ("distune quantize --model runs/a --output runs/b", 1),
        ("distune eval --model runs/a --data my-data/", 1),
        ("distune eval --model 'runs/a b'", 1),
        ("distune eval --predictions theirs.csv --data my-data/", 1),
        ("distune eval --model runs/a --data -", 0),
        ("distune errors --model runs/a --data my-data/", 1),
        ("distune errors --model runs/a --output errors", 0),
        ("distune calibrate --model runs/a --data my-data/", 2),
        ("distune compare runs/a runs/b,runs/c --data my-data/", 1),
        ("distune compare runs/a runs/b --flips f.jsonl", 0),
        ("distune predict --model runs/a \"it's good\"", 1),
        ("distune predict --model runs/a --explain \"it's good\"", 0),
        ("distune predict --model runs/a --data new.csv", 0),
        ("distune bench", 1),
        ("distune doctor", 1),
        ("distune convert org/name there", 2),
        ("distune info", 1),
        ("distune data check my-data/", 1),
        ("distune data check a.csv b.csv", 0),
        ("distune data convert a.csv b.tsv", 2),
        ("distune data convert a.csv -", 0),
        ("distune data sample a.csv b.csv -n 10", 2),
        ("distune data split a.csv there", 2),
    ];

    #[test]
    fn what_is_next_is_a_command_line() {
        for (line, expected) in LINES {
            let commands = after(&parse(line));
            assert_eq!(commands.len(), expected, "{line}: {commands:?}");
            commands.iter().for_each(|command| drop(parse(command)));
        }
        let quoted = after(&parse("distune eval --model 'runs/a b'"));
        assert_eq!(words(&quoted[0]), ["distune", "errors", "--model", "runs/a b"]);
    }

    #[test]
    fn after_a_training() {
        let here = std::env::current_dir().unwrap().display().to_string();
        for (data, expected) in [(vec!["reviews".to_owned()], 3), (vec![here], 3), (vec!["a.csv".to_owned()], 1)] {
            let commands = after_training("runs/it's one".as_ref(), &data, "\"your text\"");
            assert_eq!(commands.len(), expected);
            for command in commands {
                assert!(words(&command).contains(&"--model".to_owned()));
                drop(parse(&command));
            }
        }
    }
}
