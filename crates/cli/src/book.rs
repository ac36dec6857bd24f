//! The two generated chapters of `docs/book`: every command with its options, and every key of a recipe. They say what the command line and
//! the recipe themselves say: descriptions are clap's, defaults the recipe's. The tests below fail when a chapter is not what they
//! generate; with `DISTUNE_BOOK=write` they write it.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;

use clap::{Arg, ArgAction, Command, Id};
use distune::train::{Recipe, RecipeFile};
use toml::Value;

use crate::help;

const RENEW: &str = "DISTUNE_BOOK=write cargo test --release -p distune-cli --bin distune book";
/// The key whose option says the opposite.
const OPPOSITE: (&str, &str) = ("cache_frozen", "no_cache");

/// Compares a chapter with what is generated, or writes it.
fn check(name: &str, generated: &str) {
    let path = format!("{}/../../docs/book/src/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var("DISTUNE_BOOK").is_ok_and(|wish| wish == "write") {
        return std::fs::write(path, generated).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    let differs = written.lines().zip(generated.lines()).find(|(written, generated)| written != generated);
    assert!(
        written == generated,
        "docs/book/src/{name} is out of date, renew it with\n  {RENEW}\nIt differs at {differs:?}"
    );
}

#[test]
fn every_command_and_option_is_in_the_book() {
    check("commands.md", &commands());
}

#[test]
fn every_key_of_a_recipe_is_in_the_book() {
    check("recipe.md", &recipe());
}

/// The chapter of the commands.
fn commands() -> String {
    let mut root = help::command().disable_help_subcommand(true);
    root.build();
    let mut page = format!(
        "# Commands and options\n\n<!-- generated from the program: {RENEW} -->\n\n\
         `distune COMMAND -h` shows the options that are wanted most, `--help` all of them, as they stand here.\n\n\
         ## Options of every command\n\n"
    );
    for arg in root.get_arguments().filter(|arg| arg.is_global_set()) {
        page += &option(arg);
    }
    let of_train: Vec<_> = root.find_subcommand("train").unwrap().get_arguments().map(Arg::get_id).collect();
    for command in root.get_subcommands() {
        // a sweep trains: what it has of a training stands there
        let elsewhere = if command.get_name() == "sweep" { &of_train[..] } else { &[] };
        page += &of_command(command, "distune", elsewhere);
    }
    page + "\nExit statuses: 0 done; 1 an error, or problems that `data check --strict` found; 2 a wrong command line; 130 interrupted.\n"
}

/// A command, and those below it, without options that stand elsewhere.
fn of_command(command: &Command, above: &str, elsewhere: &[&Id]) -> String {
    let name = format!("{above} {}", command.get_name());
    let mut text = format!("\n## {name}\n\n");
    let about = command.get_long_about().or(command.get_about()).unwrap().to_string();
    for paragraph in about.split("\n\n") {
        let _ = writeln!(text, "{}.\n", prose(paragraph.trim_end_matches('.')));
    }
    if command.has_subcommands() {
        return command.get_subcommands().fold(text, |text, below| text + &of_command(below, &name, elsewhere));
    }
    let usage = command.clone().render_usage().to_string();
    let _ = writeln!(text, "```text\n{}\n```", usage.trim_start_matches("Usage: "));
    let headings = headings(command.get_arguments());
    for heading in headings {
        let shown = |arg: &&Arg| !arg.is_global_set() && arg.get_id() != "help" && !elsewhere.contains(&arg.get_id());
        let below: Vec<&Arg> =
            command.get_arguments().filter(shown).filter(|arg| arg.get_help_heading() == heading).collect();
        if !below.is_empty() {
            let _ = writeln!(text, "\n{}:\n", heading.unwrap_or("Arguments and options"));
            below.into_iter().for_each(|arg| text += &option(arg));
        }
    }
    if !elsewhere.is_empty() {
        text += "\nAnd the options of [distune train](#distune-train).\n";
    }
    let examples = command.get_after_help().unwrap().to_string();
    let examples =
        examples.trim_start_matches("Examples:\n").lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
    let _ = writeln!(text, "\n```sh\n{examples}\n```");
    text
}

/// The headings of options in their order, each once; first what has none.
fn headings<'a>(args: impl Iterator<Item = &'a Arg>) -> Vec<Option<&'a str>> {
    let mut headings: Vec<Option<&str>> = vec![None];
    for heading in args.map(Arg::get_help_heading) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    headings
}

/// A line of an option or an argument, with one for each of its values that has a meaning of its own.
fn option(arg: &Arg) -> String {
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    let value = if takes_value(arg) { value_name(arg) } else { String::new() };
    let names = [short, long].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let mut line = format!("- `{}`: {}", format!("{names} {value}").trim(), prose(&description(arg)));
    let shown = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(", ");
    if takes_value(arg) && !shown.is_empty() {
        let _ = write!(line, " \\[default: {}\\]", prose(&shown));
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(line, " \\[environment: `{}`\\]", variable.to_string_lossy());
    }
    line + "\n" + &values(arg, |_| true)
}

/// The values that an option can only have, of these the good ones.
fn values(arg: &Arg, good: impl Fn(&str) -> bool) -> String {
    let mut possible = if takes_value(arg) { arg.get_possible_values() } else { Vec::new() };
    possible.retain(|value| good(value.get_name()));
    let line = |value: clap::builder::PossibleValue| match value.get_help() {
        Some(help) => format!("  - `{}`: {}\n", value.get_name(), prose(&help.to_string())),
        None => format!("  - `{}`\n", value.get_name()),
    };
    possible.into_iter().map(line).collect()
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

fn value_name(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(" ")
}

/// What `--help` says of an option.
fn description(arg: &Arg) -> String {
    arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default()
}

/// Plain text as Markdown: options, and what stands in backticks, are code, and nothing else is markup.
fn prose(text: &str) -> String {
    if let [before, code, after] = text.splitn(3, '`').collect::<Vec<_>>()[..] {
        return format!("{} `{code}` {}", prose(before), prose(after));
    }
    let word = |word: &str| {
        let option = word.trim_end_matches([',', '.', ';', ':', ')']);
        if option.starts_with("--") && option.len() > 2 {
            return format!("`{option}`{}", &word[option.len()..]);
        }
        word.chars().fold(String::new(), |escaped, c| match c {
            '\\' | '*' | '_' | '<' | '>' | '[' | ']' | '|' => escaped + "\\" + &c.to_string(),
            c => escaped + &c.to_string(),
        })
    };
    text.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// The chapter of the recipe.
fn recipe() -> String {
    let mut root = help::command();
    root.build();
    let (train, sweep) = (root.find_subcommand("train").unwrap(), root.find_subcommand("sweep").unwrap());
    let mut page = format!(
        "# Keys of a recipe\n\n<!-- generated from the program: {RENEW} -->\n\n\
         A recipe is a TOML file of such keys, for `distune train RECIPE`; what it does not say is as without it, and options win over it. \
         Each run keeps its own, complete, as `recipe.toml`. In brackets stand what a key may have and its option. Where Transformers' \
         `TrainingArguments` have another default, or PyTorch does something else, \"theirs\" says so.\n"
    );
    let options: Vec<(&Arg, String)> = train.get_arguments().filter_map(|arg| Some((arg, key_of(arg)?))).collect();
    let without: Vec<_> =
        RecipeFile::keys().into_iter().filter(|key| options.iter().all(|(_, of)| of != key)).collect();
    assert!(without.is_empty(), "keys without an option: {without:?}");
    for heading in headings(options.iter().map(|(arg, _)| *arg)) {
        let _ = writeln!(page, "\n## {}\n", heading.unwrap_or("Model and machine"));
        let below = options.iter().filter(|(arg, _)| arg.get_help_heading() == heading);
        below.for_each(|(arg, key)| page += &line_of(key, arg));
    }
    page += "\n## Other names\n\nThese are understood too:\n\n";
    for (other, key) in RecipeFile::ALIASES {
        let _ = writeln!(page, "- `{other}` for `{key}`");
    }
    let about = sweep.get_long_about().unwrap().to_string();
    let (what, keys_of_table) = about.split_once("\n\n").unwrap();
    let _ = writeln!(
        page,
        "\n## The table `[sweep]`\n\n{}.\n\n{}.",
        prose(what),
        prose(keys_of_table.trim_end_matches('.'))
    );
    page
}

/// The key that an option of `train` sets.
fn key_of(arg: &Arg) -> Option<String> {
    let id = arg.get_id().as_str();
    let other = RecipeFile::ALIASES.iter().find(|(other, _)| *other == id).map(|(_, key)| *key);
    let key = if id == OPPOSITE.1 { OPPOSITE.0 } else { other.unwrap_or(id) };
    RecipeFile::keys().into_iter().find(|known| known == key)
}

/// A key with its default, its type, its option and what it does.
fn line_of(key: &str, arg: &Arg) -> String {
    let help = description(arg);
    let (does, told) = match help.split_once(" [default: ") {
        Some((does, told)) => (does, Some(told.trim_end_matches(']'))),
        None => (&*help, None),
    };
    let ours = RecipeFile::default();
    let theirs = RecipeFile { recipe: Recipe::default(), ..ours.clone() };
    let default = match (ours.get(key), told) {
        (Some(value), told) => {
            let value = code(&value);
            let more = told.map(|told| told.strip_prefix(value.trim_matches(['`', '"'])).unwrap_or(told));
            match more.map(|more| more.trim_start_matches(", ")) {
                None | Some("") => value,
                Some(more) => format!("{value} ({})", prose(more)),
            }
        }
        (None, Some(told)) if told.contains(' ') => prose(told),
        (None, Some(told)) => format!("`\"{told}\"`"),
        (None, None) if takes_value(arg) => "none".to_owned(),
        (None, None) => "`false`".to_owned(),
    };
    let other = match theirs.get(key) {
        value if value == ours.get(key) => String::new(),
        value => format!(" (theirs: {})", code(&value.unwrap())),
    };
    let does = if key == OPPOSITE.0 { format!("`false`: {}", prose(does)) } else { prose(does) };
    let option = arg.get_long().unwrap();
    let good = |value: &str| ours.with(key, Value::String(value.to_owned())).is_ok();
    let values = values(arg, good);
    format!("- **`{key}`** ({}, `--{option}`), default {default}{other}. {does}.\n{values}", kind(key, arg))
}

/// A value as a recipe has it, numbers as short as they can be.
fn code(value: &Value) -> String {
    match value {
        Value::Float(x) if x.fract() == 0.0 => format!("`{x}`"),
        Value::Float(x) => format!("`{x:?}`"),
        value => format!("`{value}`"),
    }
}

/// What a key may have.
fn kind(key: &str, arg: &Arg) -> &'static str {
    match (key, value_name(arg).as_str()) {
        _ if !takes_value(arg) => "true or false",
        ("data", _) => "text, or a list of texts",
        ("class_weights", _) => "text, or a table of numbers",
        (_, "N") => "whole number",
        (_, "X" | "P") => "number",
        _ => "text",
    }
}
