//! Sweeps: which trials come, what of them is kept, what they say together.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;

use distune::sweep::{End, Figures, Finished, Record, Summary, Sweep, SweepDirectory, Trial, picture};
use toml::Value;

fn read(text: &str) -> distune::Result<Sweep> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("r.toml");
    std::fs::write(&path, text).unwrap();
    Sweep::read(&path)?.resolve()
}

fn sweep(text: &str) -> Sweep {
    read(text).unwrap()
}

/// The message about a faulty file, after its path.
fn message(text: &str) -> String {
    let message = read(text).unwrap_err().to_string();
    message.split_once("r.toml: ").map_or(message.clone(), |(_, rest)| rest.to_owned())
}

/// The end of a trial with so many of 100 rows right.
fn right(correct: usize) -> End {
    let accuracy = correct as f64 / 100.0;
    let figures = Figures {
        rows: 100,
        correct,
        accuracy,
        accuracy_low: 0.0,
        accuracy_high: 1.0,
        micro_f1: accuracy,
        macro_f1: accuracy,
        loss: 1.0 - accuracy,
        others: BTreeMap::new(),
    };
    End::Done(Box::new(Finished {
        validation: figures.clone(),
        test: Some(figures),
        test_split: "test".to_owned(),
        best_epoch: 1.0,
        steps: 10,
        train_seconds: 2.0,
        seconds: 3.0,
        samples_per_second: 16.0,
        trained_parameters: 1000,
        peak_memory: Some(5_000_000),
        cache: None,
    }))
}

/// Runs a sweep to its end in a directory, with what `end` says of each trial; writes a run for each that may be the best.
fn run(directory: &mut SweepDirectory, end: impl Fn(&Trial) -> End) {
    run_some(directory, usize::MAX, end);
}

fn run_some(directory: &mut SweepDirectory, n: usize, end: impl Fn(&Trial) -> End) {
    for _ in 0..n {
        let Some(trial) = directory.next() else { return };
        begin(directory, &trial);
        let record = Record::new(&trial, end(&trial));
        write_run(directory, &record);
        directory.end(record).unwrap();
    }
}

fn begin(directory: &SweepDirectory, trial: &Trial) {
    let settings = directory.sweep().settings(&trial.values, trial.seed).unwrap();
    directory.begin(trial, &settings).unwrap();
}

fn write_run(directory: &SweepDirectory, record: &Record) {
    if let Some(run) = directory.wants_run(record).unwrap() {
        std::fs::write(run.join("trial"), record.trial.to_string()).unwrap();
    }
}

/// The values of each trial, as text.
fn trials(text: &str) -> Vec<String> {
    trials_with(text, |_| right(50))
}

fn trials_with(text: &str, end: impl Fn(&Trial) -> End) -> Vec<String> {
    let parent = tempfile::tempdir().unwrap();
    let mut directory = SweepDirectory::create(&parent.path().join("s"), sweep(text)).unwrap();
    run(&mut directory, end);
    let shown = |record: &Record| {
        let values: Vec<String> = record.values.values().map(|value| value.to_string().replace('"', "")).collect();
        format!("{} seed {}", values.join(" "), record.seed)
    };
    directory.records().iter().map(shown).collect()
}

#[test]
fn a_grid_has_every_combination_with_equal_parts_together() {
    let found =
        trials("[sweep]\nseeds = [1, 7]\nunfreeze = ['head', 'all']\nepochs = [1, 2]\nlearning_rate = [1e-4]\n");
    assert_eq!(
        found,
        [
            "0.0001 1 head seed 1",
            "0.0001 1 head seed 7",
            "0.0001 2 head seed 1",
            "0.0001 2 head seed 7",
            "0.0001 1 all seed 1",
            "0.0001 1 all seed 7",
            "0.0001 2 all seed 1",
            "0.0001 2 all seed 7",
        ]
    );
    assert_eq!(trials("seed = 5\n[sweep]\nseeds = 3"), [" seed 5", " seed 6", " seed 7"], "seeds alone");
    assert_eq!(trials(""), [" seed 42"]);
}

#[test]
fn trials_differ_in_what_varies_and_share_the_split() {
    let sweep =
        sweep("seed = 5\nweight_decay = 0.5\n[sweep]\nseeds = 2\nlearning_rate = [1e-3, 2e-3]\nmodel = ['a', 'b']");
    let mut values = toml::Table::new();
    values.insert("learning_rate".into(), Value::Float(2e-3));
    values.insert("model".into(), Value::String("b".into()));
    let settings = sweep.settings(&values, 6).unwrap();
    assert_eq!((settings.model.as_deref(), settings.recipe.learning_rate), (Some("b"), 2e-3));
    let recipe = settings.recipe;
    assert_eq!((recipe.seed, recipe.split_seed, recipe.weight_decay), (6, Some(5), 0.5));
}

#[test]
fn random_settings_are_a_function_of_the_seed() {
    let text = "[sweep]\ntrials = 12\nlearning_rate = { min = 1e-5, max = 1e-3, log = true }\nepochs = { min = 1, max = 4 }\nunfreeze = ['head', 'all']";
    let found = trials(text);
    assert_eq!(found.len(), 12);
    assert_eq!(found, trials(text));
    assert_ne!(found, trials(&format!("seed = 1\n{text}")));
    let heads = found.iter().filter(|trial| trial.contains("head")).count();
    assert!(heads > 0 && heads < 12);
    let together = found.windows(2).filter(|pair| pair[0].contains("head") != pair[1].contains("head")).count();
    assert_eq!(together, 1, "{found:?}");
    for trial in &found {
        let rate: f64 = trial.split(' ').next().unwrap().parse().unwrap();
        assert!((1e-5..=1e-3).contains(&rate));
    }
    // there are no more than these
    let all = trials("[sweep]\nmethod = 'random'\ntrials = 50\nepochs = [1, 2, 3]");
    assert_eq!(all.len(), 3);
}

/// Tpe comes nearer to the best learning rate than chance does, always with the same trials.
#[test]
fn tpe_draws_near_what_was_good() {
    let text = |method: &str| {
        format!(
            "[sweep]\nmethod = '{method}'\ntrials = 32\nlearning_rate = {{ min = 1e-6, max = 1, log = true }}\nunfreeze = ['head', 'all', 'blocks:1']"
        )
    };
    // best at 1e-3, and with all
    let judge = |trial: &Trial| {
        let rate = trial.values["learning_rate"].as_float().unwrap();
        let away =
            (rate.log10() + 3.0).abs() + if trial.values["unfreeze"].as_str() == Some("all") { 0.0 } else { 1.0 };
        if rate > 0.3 { End::Failed("diverged".into()) } else { right(90 - (20.0 * away) as usize % 90) }
    };
    let near = |method: &str| {
        let found = trials_with(&text(method), judge);
        let near = found.iter().skip(8).filter(|trial| {
            let rate: f64 = trial.split(' ').next().unwrap().parse().unwrap();
            trial.contains("all") && (rate.log10() + 3.0).abs() < 1.0
        });
        (near.count(), found)
    };
    let ((tpe, first), (random, _)) = (near("tpe"), near("random"));
    assert!(tpe >= 8 && tpe > 2 * random, "{tpe} of 24 near, {random} by chance");
    assert_eq!(near("tpe").1, first);
}

#[test]
fn faults_name_the_key() {
    let unknown = message("[sweep]\nlerning_rate = [1e-4]");
    assert!(unknown.starts_with("no such key: \"lerning_rate\", the nearest one is \"learning_rate\""), "{unknown}");
    assert!(message("[sweep]\nbudgett = '1m'").contains("the nearest one is \"budget\""));
    assert!(
        message("[sweep]\nseed = [1, 2]").contains("sweep.seed: may not vary. Name the seeds as seeds = [1, 2, 3]")
    );
    assert!(message("[sweep]\nmax_time = ['5m']").contains("sweep.max_time: may not vary. How many steps fit differs"));
    assert!(message("[sweep]\nselect_on = ['dev']").contains("sweep.select_on: may not vary. It decides which rows"));
    assert!(message("[sweep]\ntext_column = ['a']").contains("sweep.text_column: may not vary. It decides which rows"));
    assert!(message("[sweep]\nlearning_rate = ['fast']").starts_with("learning_rate = \"fast\": invalid type"));
    assert!(message("[sweep]\nlearning_rate = [-1.0]").contains("learning_rate: expected a number above 0, found -1"));
    assert!(
        message("[sweep]\nepochs = [1]\nnum_train_epochs = [2]")
            .contains("sweep.num_train_epochs is there under two names")
    );
    assert!(message("[sweep]\nbudget = 'soon'").contains("expected a time such as 90s, 30m or 1h 30m, found \"soon\""));
    assert!(message("[sweep]\nmethod = 'luck'").contains("unknown variant `luck`"));
    assert!(message("[sweep]\nseeds = [1, 1]").contains("seeds: expected different ones, found 1 twice"));
    assert!(message("[sweep]\nseeds = 'x'").contains("expected a number of seeds, or a list of them"));
    assert!(message("[sweep]\nseeds = 0").contains("seeds: expected 1 or more, found none"));
    assert!(
        message("[sweep]\nmethod = 'grid'\nlearning_rate = { min = 1e-5, max = 1e-3 }")
            .contains("grid, and learning_rate has one")
    );
    assert!(message("[sweep]\nseeds = 2000000000").contains("seeds: expected at most 1000, found 2000000000"));
    assert!(message("[sweep]\ntrials = 0").contains("trials: expected 1 to 10000, found 0"));
    assert!(message("sweep = 5").contains("sweep = 5: expected a table"));
}

#[test]
fn layers_are_those_that_the_model_has() {
    let parts = |n_layers: usize| {
        let mut sweep = sweep("");
        sweep.plan.over_layers(n_layers).unwrap();
        let parent = tempfile::tempdir().unwrap();
        let directory = SweepDirectory::create(&parent.path().join("s"), sweep.clone()).unwrap();
        drop(directory);
        assert_eq!(SweepDirectory::open(&parent.path().join("s")).unwrap().sweep(), &sweep, "written and read");
        sweep.known_settings().iter().map(|values| values["unfreeze"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(parts(6), ["head", "blocks:1", "blocks:2", "blocks:3", "blocks:6", "all"]);
    assert_eq!(parts(2), ["head", "blocks:1", "blocks:2", "all"]);
    let mut twice = sweep("[sweep]\nunfreeze = ['head', 'all']");
    let error = twice.plan.over_layers(6).unwrap_err().to_string();
    assert_eq!(error, "sweep: unfreeze: expected no values of its own beside --layers, found some in [sweep]");
}

const TWO_KEYS: &str = "[sweep]\nseeds = [1, 2]\nlearning_rate = [1e-3, 1e-4]\nunfreeze = ['head', 'all']";

/// Right rows of a trial: the second learning rate is better, all is better than head, the seeds differ.
fn of(trial: &Trial) -> End {
    let rate = if trial.values["learning_rate"].as_float() == Some(1e-4) { 10 } else { 0 };
    let part = if trial.values["unfreeze"].as_str() == Some("all") { 20 } else { 0 };
    right(50 + rate + part + 3 * trial.seed as usize)
}

#[test]
fn the_mean_over_seeds_chooses_and_its_best_run_stays() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("s");
    let mut directory = SweepDirectory::create(&path, sweep(TWO_KEYS)).unwrap();
    // the best single trial is of a setting whose other one is bad
    run(&mut directory, |trial| match (trial.number, trial.seed) {
        (1, _) => right(99),
        (2, _) => right(10),
        _ => of(trial),
    });
    let summary = directory.summary();
    let best = &summary.settings[summary.best.unwrap()];
    assert_eq!(best.values["unfreeze"].as_str(), Some("all"));
    let validation = best.validation().unwrap();
    assert!((validation.mean - 0.845).abs() < 1e-12);
    assert_eq!((validation.low, validation.high, validation.rows), (0.83, 0.86, 100));
    let interval = distune::eval::wilson(85, 100, distune::eval::Z_95);
    assert_eq!(validation.interval, interval, "of the rows, not of rows times seeds");
    assert_eq!(directory.close().unwrap(), Some(path.join("best")));
    assert_eq!(std::fs::read_to_string(path.join("best/trial")).unwrap(), "8");
    let mut names: Vec<_> = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["best", "results.jsonl", "sweep.svg", "sweep.toml", "table.md", "trials"]);
}

/// A setting with a failed trial is not the best while there is another.
#[test]
fn failures_are_recorded_and_passed_over() {
    let parent = tempfile::tempdir().unwrap();
    let mut directory = SweepDirectory::create(&parent.path().join("s"), sweep(TWO_KEYS)).unwrap();
    run(&mut directory, |trial| if trial.number == 8 { End::Failed("step 3: NaN".into()) } else { of(trial) });
    let summary = directory.summary();
    assert_eq!(summary.best, Some(2));
    let table = summary.markdown(directory.sweep());
    assert!(table.contains("8 of 8 trials done, 1 of them failed; seeds 1, 2."), "{table}");
    assert!(table.contains("Trial 8 failed: step 3: NaN") && table.contains("1 of 2, 1 failed"), "{table}");

    let best = directory.close().unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(best.join("trial")).unwrap(), "6");
    assert!(!parent.path().join("s/.best-7").exists(), "no candidate any more");

    // of settings that all have a failed trial, one under way does not push out the best so far
    let three = sweep("[sweep]\nseeds = 3\nlearning_rate = [1e-3, 1e-4]");
    let mut some_fail = SweepDirectory::create(&parent.path().join("u"), three).unwrap();
    run(&mut some_fail, |trial| match trial.number {
        1 => right(60),
        4 => right(99),
        5 => right(1),
        _ => End::Failed("no".into()),
    });
    let best = some_fail.close().unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(best.join("trial")).unwrap(), "1");

    let mut all_fail = SweepDirectory::create(&parent.path().join("t"), sweep(TWO_KEYS)).unwrap();
    run(&mut all_fail, |_| End::Failed("no".into()));
    assert_eq!(all_fail.summary().best, None);
    assert!(picture(all_fail.sweep(), &all_fail.summary()).unwrap_err().contains("no trial is done"));
    assert_eq!(all_fail.close().unwrap(), None);
}

/// Killed after any trial, in the middle of a line, before a line, or after the last one: the end is the same.
#[test]
fn what_was_interrupted_goes_on_to_the_same_end() {
    let parent = tempfile::tempdir().unwrap();
    let whole = parent.path().join("whole");
    let mut directory = SweepDirectory::create(&whole, sweep(TWO_KEYS)).unwrap();
    run(&mut directory, of);
    directory.close().unwrap();
    let file = |path: &Path, name: &str| std::fs::read_to_string(path.join(name)).unwrap();
    for done in [0, 1, 3, 4, 7, 8] {
        for (cut, run_written, closed) in
            [(false, false, false), (true, true, false), (false, true, false), (false, false, true)]
        {
            let path = parent.path().join(format!("{done}-{cut}-{run_written}-{closed}"));
            let mut directory = SweepDirectory::create(&path, sweep(TWO_KEYS)).unwrap();
            run_some(&mut directory, done, of);
            if let Some(trial) = directory.next().filter(|_| run_written) {
                begin(&directory, &trial);
                write_run(&directory, &Record::new(&trial, of(&trial)));
            }
            if closed {
                directory.close().unwrap();
            } else {
                drop(directory);
            }
            if cut {
                let results = path.join("results.jsonl");
                let text = std::fs::read_to_string(&results).unwrap();
                std::fs::write(&results, text + "{\"trial\":9,\"val").unwrap();
            }
            let mut directory = SweepDirectory::open(&path).unwrap();
            assert_eq!(directory.records().len(), done);
            run(&mut directory, of);
            directory.close().unwrap();
            for name in ["sweep.toml", "results.jsonl", "table.md", "sweep.svg", "best/trial"] {
                assert_eq!(file(&path, name), file(&whole, name), "{done} {cut} {run_written} {closed}: {name}");
            }
            assert!(!path.join(".best-8").exists());
        }
    }
}

#[test]
fn what_cannot_be_gone_on_with() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("s");
    let text = |result: distune::Result<SweepDirectory>| result.unwrap_err().to_string();
    assert!(text(SweepDirectory::open(&path)).contains("is not the directory of a sweep: it has no sweep.toml"));
    let mut directory = SweepDirectory::create(&path, sweep(TWO_KEYS)).unwrap();
    run_some(&mut directory, 2, of);
    assert!(text(SweepDirectory::open(&path)).contains("another process works on this sweep"));
    drop(directory);
    let again = text(SweepDirectory::create(&path, sweep(TWO_KEYS)));
    assert!(again.contains("is a sweep that was begun before. Go on with it: distune sweep --resume "), "{again}");
    let settings = std::fs::read_to_string(path.join("sweep.toml")).unwrap();
    std::fs::write(path.join("sweep.toml"), settings.replace("0.0001", "0.0002").replace("0.001", "0.003")).unwrap();
    let changed = text(SweepDirectory::open(&path));
    assert!(
        changed.contains("results.jsonl, line 1: not the result of this sweep's next trial. sweep.toml"),
        "{changed}"
    );
    std::fs::write(path.join("sweep.toml"), settings).unwrap();
    std::fs::write(path.join("results.jsonl"), "{}\n").unwrap();
    assert!(text(SweepDirectory::open(&path)).contains("results.jsonl, line 1: not a result: missing field `trial`"));
}

#[test]
fn tables_and_pictures_say_what_they_show() {
    let parent = tempfile::tempdir().unwrap();
    let mut layers = sweep("model = 'm'\ndata = 'd'\n[sweep]\nseeds = [1, 2]");
    layers.plan.over_layers(2).unwrap();
    let mut directory = SweepDirectory::create(&parent.path().join("s"), layers).unwrap();
    run(&mut directory, |trial| right(60 + trial.number));
    let summary = directory.summary();
    let table = summary.markdown(directory.sweep());
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "# Accuracy by layers thawed on d");
    assert_eq!(lines[2], "Model m. 8 of 8 trials done; seeds 1, 2.");
    assert!(lines[4].contains("| validation accuracy, % |") && lines[4].contains(" test accuracy, % |"), "{table}");
    assert!(
        lines[9].starts_with("| best | all ") && lines[9].contains("67.50 (58.3 to 76.3) | 67.00 to 68.00 |"),
        "{table}"
    );
    assert!(table.contains("validation: 100 rows. They chose each trial's epoch and the best setting"));
    assert!(table.contains("test: 100 rows. They chose nothing; each trial was judged on them once."));
    let widths: Vec<usize> = lines[4..10].iter().map(|line| line.chars().count()).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{table}");
    let svg = picture(directory.sweep(), &summary).unwrap();
    for said in ["head", "blocks:1", "all", "unfreeze", "accuracy, %", "training, s", "validation", "test"] {
        assert!(svg.contains(&format!("\n{said}\n")), "{said}: {svg}");
    }

    let rates =
        "[sweep]\ntrials = 6\nlearning_rate = { min = 1e-5, max = 1e-3, log = true }\nepochs = { min = 1, max = 4 }";
    let mut directory = SweepDirectory::create(&parent.path().join("r"), sweep(rates)).unwrap();
    run(&mut directory, |trial| right(60 + trial.number));
    let summary = directory.summary();
    // the test rows of settings that were not chosen stay unseen
    let table = summary.table(directory.sweep());
    assert_eq!(table.matches("66.00 (").count(), 2, "{table}");
    assert_eq!(table.matches("65.00 (").count(), 1, "{table}");
    let svg = picture(directory.sweep(), &summary).unwrap();
    for said in ["learning_rate", "num_train_epochs", "1e-5", "1e-4", "0.001", "validation"] {
        assert!(svg.contains(&format!("\n{said}\n")), "{said}: {svg}");
    }
    assert!(Summary::new(directory.sweep(), &[]).best.is_none());
}

#[test]
fn the_recipe_of_the_repository() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/sweep.toml");
    let sweep = Sweep::read(&path).unwrap().resolve().unwrap();
    assert_eq!((sweep.trials(), sweep.plan.keys.len(), sweep.seeds()), (24, 3, vec![42]));
}
