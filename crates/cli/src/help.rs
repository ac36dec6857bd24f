//! The command line as users read it: which options `-h` shows, under which headings `--help` lists all, examples. Called by `main`, and
//! by what is generated from it: completions and manual pages.

use clap::{Arg, Command, CommandFactory};

use crate::Cli;

/// Options of `train` and `sweep` that `-h` shows, with what it says of them where `--help` says more.
const COMMON: [(&str, &str); 21] = [
    ("recipe_file", ""),
    ("model", "A directory, \"bundled\" or a name of the Hugging Face hub [default: bundled]"),
    ("data", "A directory of splits, a file, \"reviews\", \"-\" or a name of the hub [default: reviews]"),
    ("text_column", ""),
    ("label_column", ""),
    ("output", ""),
    ("overwrite", ""),
    ("resume", "Go on with what was interrupted"),
    ("layers", "Compare what is thawed: the head, the last 1, 2, 3 and 6 blocks, everything"),
    ("seeds", "Train each setting with N seeds [default: 1]"),
    ("budget", "End after so much time, such as 30m"),
    ("unfreeze", "What trains: head, blocks:N, blocks:0,2, embeddings, bias, all, a pattern [default: all]"),
    ("lora_rank", "Rank of low-rank adapters, which train instead; 0 for none [default: 0]"),
    ("epochs", ""),
    ("batch_size", ""),
    ("learning_rate", ""),
    ("max_length", ""),
    ("max_time", "Time for the whole training, such as 10m"),
    ("metric_for_best_model", "What selects the best weights [default: micro_f1]"),
    ("early_stopping_patience", "End when it has not risen for N evaluations"),
    ("seed", "Seed of all that is random [default: 42]"),
];

/// Options of the other commands that `-h` leaves to `--help`.
const RARE: [&str; 13] = [
    "pair_column",
    "group_column",
    "skip_bad",
    "trees",
    "lora_alpha",
    "lora_targets",
    "long",
    "window_overlap",
    "window_combine",
    "threads",
    "precision",
    "no_baselines",
    "logits",
];

/// The headings of `train` and `sweep`, and what is under them; what is not named is under "Options", but for those of every command.
const HEADINGS: [(&str, &[&str]); 6] = [
    (
        "Data",
        &[
            "data",
            "text_column",
            "label_column",
            "pair_column",
            "group_column",
            "skip_bad",
            "trees",
            "max_length",
            "long",
            "window_overlap",
            "window_combine",
            "select_on",
            "split_seed",
        ],
    ),
    (
        "What trains",
        &[
            "unfreeze",
            "gradual_unfreezing",
            "reinit_blocks",
            "new_head",
            "lora_rank",
            "lora_alpha",
            "lora_targets",
            "no_cache",
            "cache_limit",
        ],
    ),
    (
        "Steps and learning rate",
        &[
            "epochs",
            "batch_size",
            "gradient_accumulation_steps",
            "max_batch_tokens",
            "max_steps",
            "max_time",
            "learning_rate",
            "head_learning_rate",
            "layer_decay",
            "lr_scheduler",
            "lr_power",
            "lr_factor",
            "lr_patience",
            "warmup_steps",
            "seed",
        ],
    ),
    (
        "Optimizer",
        &[
            "optimizer",
            "momentum",
            "adam_beta1",
            "adam_beta2",
            "adam_epsilon",
            "weight_decay",
            "max_grad_norm",
            "ema_decay",
        ],
    ),
    (
        "Loss and dropout",
        &[
            "label_smoothing",
            "focal_gamma",
            "class_weights",
            "r_drop",
            "dropout",
            "attention_dropout",
            "seq_classif_dropout",
        ],
    ),
    (
        "Evaluation and checkpoints",
        &[
            "eval_steps",
            "metric_for_best_model",
            "early_stopping_patience",
            "early_stopping_threshold",
            "no_baselines",
            "save_steps",
            "save_total_limit",
        ],
    ),
];

/// Examples of each command, by its path.
pub(crate) const EXAMPLES: [(&[&str], &[&str]); 22] = [
    (&[], &["distune train", "distune train --data reviews.csv --output runs/mine", "distune help train"]),
    (
        &["train"],
        &[
            "distune train                                            # the bundled encoder on the bundled reviews",
            "distune train --data reviews.csv --text-column body --label-column stars",
            "distune train --model distilbert-base-uncased --data stanfordnlp/sst2 --unfreeze blocks:3",
            "distune train --data my-data/ --max-time 10m --output runs/mine",
        ],
    ),
    (
        &["sweep"],
        &["distune sweep --layers --seeds 3 --data my-data/", "distune sweep recipes/sweep.toml --budget 30m"],
    ),
    (
        &["eval"],
        &["distune eval --model runs/mine --data my-data/", "distune eval --predictions theirs.csv --data my-data/"],
    ),
    (
        &["compare"],
        &[
            "distune compare runs/a runs/b --data my-data/",
            "distune compare base.jsonl runs/a,runs/b,runs/c --data my-data/ --flips flips.jsonl",
        ],
    ),
    (&["calibrate"], &["distune calibrate --model runs/mine --data my-data/ --recall 0.95"]),
    (&["errors"], &["distune errors --model runs/mine --data my-data/ --slice-by source --output errors/"]),
    (
        &["predict"],
        &[
            "distune predict --model runs/mine \"a charming and often affecting journey\"",
            "distune predict --model runs/mine --json < texts.txt",
            "distune predict --model runs/mine --data new.csv --calibrated --abstain-below 0.9",
            "distune predict --model runs/mine --data new.csv.gz --output predicted.parquet",
        ],
    ),
    (
        &["serve"],
        &[
            "distune serve --model runs/mine",
            "distune serve --model good=runs/mine --model other=runs/other --host 0.0.0.0 --port 8080",
        ],
    ),
    (&["quantize"], &["distune quantize --model runs/mine --output runs/mine-int8"]),
    (&["export"], &["distune export --model runs/mine --output runs/mine-onnx"]),
    (&["bench"], &["distune bench", "distune bench --model distilbert-base --length 128 --unfreeze blocks:3"]),
    (&["data"], &["distune data check my-data/", "distune data split reviews.csv my-data/"]),
    (&["data", "check"], &["distune data check my-data/ --strict", "distune data check reviews.csv --json"]),
    (&["data", "convert"], &["distune data convert reviews.parquet reviews.csv"]),
    (&["data", "sample"], &["distune data sample reviews.csv small.jsonl -n 1000"]),
    (&["data", "split"], &["distune data split reviews.csv my-data/ --group-column author"]),
    (&["convert"], &["distune convert sentence-transformers/all-MiniLM-L6-v2 minilm"]),
    (&["info"], &["distune info distilbert-base-uncased"]),
    (&["doctor"], &["distune doctor", "distune doctor --json"]),
    (
        &["completions"],
        &[
            "distune completions bash > ~/.local/share/bash-completion/completions/distune",
            "distune completions zsh > ~/.zfunc/_distune",
            "distune completions fish > ~/.config/fish/completions/distune.fish",
        ],
    ),
    (&["man"], &["distune man --output ~/.local/share/man/man1"]),
];

/// The whole command line.
pub(crate) fn command() -> Command {
    dressed(Cli::command(), &mut Vec::new())
}

/// A command and those below it, with headings and examples.
fn dressed(command: Command, path: &mut Vec<String>) -> Command {
    let trains = path.len() == 1 && ["train", "sweep"].contains(&path[0].as_str());
    let mut command = command.mut_args(|arg| if trains { of_training(arg) } else { of_others(arg) });
    if let Some((_, examples)) = EXAMPLES.iter().find(|(of, _)| of == path) {
        command = command.after_help(format!("Examples:\n  {}", examples.join("\n  ")));
    }
    command.mut_subcommands(|below| {
        path.push(below.get_name().to_owned());
        let below = dressed(below, path);
        path.pop();
        below
    })
}

fn of_training(arg: Arg) -> Arg {
    let id = arg.get_id().as_str();
    let heading = HEADINGS.iter().find(|(_, of)| of.contains(&id)).map(|(heading, _)| *heading);
    let common = COMMON.iter().find(|(common, _)| *common == id);
    let arg = if arg.is_positional() { arg } else { arg.help_heading(heading) };
    match common {
        None => arg.hide_short_help(true),
        Some((_, "")) => arg,
        Some((_, short)) => {
            let long = arg.get_help().cloned().unwrap_or_default();
            arg.long_help(long).help(*short)
        }
    }
}

fn of_others(arg: Arg) -> Arg {
    let rare = RARE.contains(&arg.get_id().as_str());
    arg.hide_short_help(rare)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
pub(crate) mod tests {
    use super::*;

    /// Lines of a screen, and its width.
    const SCREEN: (usize, usize) = (50, 100);

    /// Every command with its path, those with others below them too.
    pub(crate) fn commands() -> Vec<(Vec<String>, Command)> {
        let mut root = command().disable_help_subcommand(true);
        // options of every command are on each
        root.build();
        let (mut all, mut open) = (Vec::new(), vec![(Vec::new(), root)]);
        while let Some((path, command)) = open.pop() {
            for below in command.get_subcommands() {
                let path = path.iter().cloned().chain([below.get_name().to_owned()]).collect();
                open.push((path, below.clone()));
            }
            all.push((path, command));
        }
        all
    }

    #[test]
    fn short_help_fits_a_screen_and_long_help_has_every_option() {
        let ((lines, width), mut high) = (SCREEN, Vec::new());
        for (path, command) in commands() {
            let mut command = command.term_width(width);
            let short = command.render_help().to_string();
            let height = short.lines().count();
            if height > lines {
                high.push(format!("{} lines:\n{short}", height));
            }
            assert!(
                short.lines().all(|line| line.chars().count() <= width || line.starts_with("  distune")),
                "{short}"
            );
            assert!(short.contains("Examples:\n  distune"), "{path:?}");
            let long = command.render_long_help().to_string();
            let options = command.get_arguments().filter_map(|arg| arg.get_long());
            options.for_each(|option| assert!(long.contains(&format!("--{option}")), "{path:?}: --{option}"));
        }
        assert!(high.is_empty(), "{}", high.join("\n"));
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_command_ends_with_examples_that_parse() {
        for (path, command) in commands() {
            let of = EXAMPLES.iter().find(|(of, _)| *of == path);
            let (_, examples) = of.unwrap_or_else(|| panic!("{path:?} has no examples"));
            assert!(command.get_after_help().is_some());
            for example in *examples {
                let words = crate::next::words(example);
                let parsed = super::command().try_get_matches_from(&words);
                let shows_help = parsed.as_ref().is_err_and(|e| e.kind() == clap::error::ErrorKind::DisplayHelp);
                assert!(parsed.is_ok() || shows_help, "{example}: {}", parsed.unwrap_err());
                let named: Vec<String> = path.clone();
                assert!(path.is_empty() || words[1..].starts_with(&named), "{example} is not of {path:?}");
            }
        }
    }

    #[test]
    fn the_lists_name_options_that_exist() {
        let ids = |names: &[&str]| -> Vec<String> {
            let all = commands();
            let of = all.iter().filter(|(path, _)| names.is_empty() || path.len() == 1 && names.contains(&&*path[0]));
            of.flat_map(|(_, command)| command.get_arguments()).map(|arg| arg.get_id().to_string()).collect()
        };
        let (training, all) = (ids(&["train", "sweep"]), ids(&[]));
        let headed: Vec<&str> = HEADINGS.iter().flat_map(|(_, of)| of.iter().copied()).collect();
        for id in headed.iter().copied().chain(COMMON.map(|(id, _)| id)) {
            assert!(training.iter().any(|known| known == id), "{id}");
        }
        for id in &RARE {
            assert!(all.iter().any(|known| known == id), "{id}");
        }
        let mut once = headed.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), headed.len(), "an option under two headings");
    }
}
