//! Trainings that end before their time and go on: to the same bits as without the interruption.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::{Checkpoint, Ran, Sandbox, assert_same_run, assert_says, end, feed, records};

/// Steps of a learning rate at which the metric rises and falls.
const ALL: &str = "--batch-size 4 --epochs 6 --learning-rate 0.003";
const BLOCKS: &str =
    "--batch-size 4 --epochs 6 --learning-rate 0.01 --unfreeze blocks:1 --r-drop 1 --gradient-accumulation-steps 2";
const STOPS: &str = "--batch-size 4 --epochs 60 --learning-rate 0.02 --eval-steps 5 --early-stopping-patience 4 \
                     --metric-for-best-model loss --lr-scheduler cosine";

fn train(sandbox: &Sandbox, options: &str, output: &str) -> Command {
    sandbox.distune(&format!("train --model model --data data --json --quiet --output {output} {options}"))
}

/// The records of a run that nothing interrupts.
fn uninterrupted(sandbox: &Sandbox, options: &str) -> BTreeMap<String, Vec<u8>> {
    let ran = Ran::new(feed(&mut train(sandbox, options, "whole"), b""));
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    records(sandbox, "whole")
}

/// Random numbers, other ones in each run of the tests; the seed is shown when one fails.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
        println!("seed {seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Kills a process at a random moment: some time after its start, or after some of its events. Returns whether it was still there.
fn kill(mut child: Child, random: &mut Random) -> bool {
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    if random.below(3) == 0 {
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
    } else {
        let mut line = String::new();
        for _ in 0..=random.below(12) {
            stdout.read_line(&mut line).unwrap();
        }
        std::thread::sleep(Duration::from_micros(random.below(4_000)));
    }
    child.kill().unwrap();
    stdout.read_to_end(&mut Vec::new()).unwrap();
    let ran = Ran::new(end(child));
    // nothing but the signal ends it before it is done
    assert!(ran.status.is_none() || ran.status == Some(0), "{:?}: {}", ran.status, ran.stderr);
    ran.status.is_none()
}

/// Trains, kills and goes on, from the beginning again when it is done, until it has been killed so often.
fn killed(options: &str, times: usize) {
    let sandbox = Sandbox::new();
    let want = uninterrupted(&sandbox, options);
    let (mut random, mut kills, mut finished) = (Random::new(), 0, 0);
    while kills < times || finished == 0 {
        let mut command = match sandbox.path("out.unfinished/recipe.toml").exists() {
            true => sandbox.distune("train --resume out --json --quiet"),
            false => train(&sandbox, &format!("{options} --save-steps {}", 1 + random.below(4)), "out"),
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        kills += usize::from(kill(child, &mut random));
        if sandbox.path("out/trainer_state.json").exists() {
            // it may have been killed while it removed its checkpoints: then this does
            let said = Ran::new(feed(sandbox.distune("train --resume out --quiet").stdin(Stdio::null()), b""));
            assert_says(&said.message(), &["out: is finished, there is nothing to go on with"]);
            assert!(!sandbox.path("out.unfinished").exists());
            assert_same_run(&sandbox, "out", &want_with(&want, &sandbox), options);
            std::fs::remove_dir_all(sandbox.path("out")).unwrap();
            finished += 1;
        }
    }
}

/// The records with the recipe of a run, which has another `save_steps`.
fn want_with(want: &BTreeMap<String, Vec<u8>>, sandbox: &Sandbox) -> BTreeMap<String, Vec<u8>> {
    let recipe = |bytes: &[u8]| -> Value {
        let mut recipe: Value = toml::from_str(std::str::from_utf8(bytes).unwrap()).unwrap();
        recipe.as_object_mut().unwrap().remove("save_steps");
        recipe
    };
    let own = sandbox.read("out/recipe.toml");
    assert_eq!(recipe(&own), recipe(&want["recipe.toml"]));
    let mut want = want.clone();
    want.insert("recipe.toml".into(), own);
    want
}

#[test]
fn killed_while_all_trains() {
    killed(ALL, 30);
}

#[test]
fn killed_while_frozen_outputs_are_kept() {
    killed(BLOCKS, 30);
}

#[test]
fn killed_while_it_waits_for_progress() {
    killed(STOPS, 30);
    let sandbox = Sandbox::new();
    uninterrupted(&sandbox, STOPS);
    let state = sandbox.json("whole/trainer_state.json");
    let step = |key: &str| state[key].as_u64().unwrap();
    assert!(step("best_global_step") < step("global_step") && step("global_step") < step("max_steps"), "{state}");
}

/// A training that was interrupted when it had written some checkpoints; returns their steps, the newest first.
fn interrupted(sandbox: &Sandbox, options: &str) -> Vec<usize> {
    let mut command = train(sandbox, &format!("{options} --save-steps 3"), "out");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut checkpoints = 0;
    while checkpoints < 4 {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "it ended by itself");
        checkpoints += usize::from(line.contains("\"event\":\"checkpoint\""));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    stdout.read_to_end(&mut Vec::new()).unwrap();
    let ran = Ran::new(end(child));
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    let steps = checkpoints_in(&sandbox.path("out.unfinished"));
    assert_eq!(steps.len(), 2, "save_total_limit");
    steps
}

fn checkpoints_in(directory: &Path) -> Vec<usize> {
    let names = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut steps: Vec<usize> = names.filter_map(|name| name.strip_prefix("checkpoint-")?.parse().ok()).collect();
    steps.sort_by(|a, b| b.cmp(a));
    steps
}

/// An interrupted training under another name.
fn copy(sandbox: &Sandbox, name: &str) {
    let status = Command::new("cp")
        .arg("-r")
        .args([sandbox.path("out.unfinished"), sandbox.path(&format!("{name}.unfinished"))])
        .status()
        .unwrap();
    assert!(status.success());
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let sandbox = Sandbox::new();
    let options = format!("{ALL} --eval-steps 5 --max-steps 160");
    let mut want = uninterrupted(&sandbox, &options);
    let steps = interrupted(&sandbox, &options);
    let newest = |name: &str, file: &str| sandbox.path(&format!("{name}.unfinished/checkpoint-{}/{file}", steps[0]));
    let flip = |path: &Path| change(path, |bytes| *bytes.get_mut(500).unwrap() ^= 1);
    for (i, (file, says)) in [
        ("engine.bin", "engine.bin has another checksum than manifest.json says"),
        ("state.json", "state.json has another checksum than manifest.json says"),
        ("cut engine.bin", " bytes, expected "),
        ("cut manifest.json", "manifest.json is no manifest: "),
        ("no engine.bin", "engine.bin is missing"),
        ("no manifest.json", "manifest.json is missing"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("damaged-{i}");
        copy(&sandbox, &name);
        match file.split_once(' ') {
            Some(("cut", file)) => change(&newest(&name, file), |bytes| bytes.truncate(bytes.len() / 2)),
            Some((_, file)) => std::fs::remove_file(newest(&name, file)).unwrap(),
            None => flip(&newest(&name, file)),
        }
        // the user is told even if progress and notes are not wanted
        let ran = sandbox.succeeds(&format!("train --resume {name} --quiet"));
        let going_on = format!("goes on from checkpoint-{}, the one before", steps[1]);
        assert_says(&ran.stderr, &["Damaged: ", &format!("checkpoint-{}: ", steps[0]), says, &going_on]);
        want.insert("recipe.toml".into(), sandbox.read(&format!("{name}/recipe.toml")));
        assert_same_run(&sandbox, &name, &want, file);
    }

    copy(&sandbox, "both");
    for step in &steps {
        flip(&sandbox.path(&format!("both.unfinished/checkpoint-{step}/engine.bin")));
    }
    let message = sandbox.fails("train --resume both");
    let each = steps.iter().map(|step| format!("checkpoint-{step}: engine.bin has another checksum"));
    let each: Vec<String> = each.collect();
    assert_says(&message, &["both.unfinished: no checkpoint is whole: ", &each[0], &each[1], "--overwrite"]);
}

#[test]
fn what_has_changed_is_named() {
    let sandbox = Sandbox::new();
    interrupted(&sandbox, "--batch-size 4 --epochs 60 --unfreeze blocks:1");
    let train = String::from_utf8(sandbox.read("data/train.tsv")).unwrap();
    let dev = String::from_utf8(sandbox.read("data/dev.tsv")).unwrap();
    let tokenizer = String::from_utf8(sandbox.read("model/tokenizer.json")).unwrap();
    let recipe = String::from_utf8(sandbox.read("out.unfinished/recipe.toml")).unwrap();
    let one_row_less = train.trim_end().rsplit_once('\n').unwrap().0.to_owned();
    for (file, contents, says) in [
        ("data/train.tsv", train.replacen("good", "fine", 1), "train rows was 32 (checksum "),
        ("data/train.tsv", train.replacen("positive", "negative", 1), "train rows was 32 (checksum "),
        ("data/train.tsv", one_row_less, ", is 31 (checksum "),
        ("data/train.tsv", train.replacen("positive", "neutral", 1), "labels was \"negative\", \"positive\" ("),
        ("data/dev.tsv", dev.replacen("good", "fine", 1), "validation rows was 12 (checksum "),
        ("model/tokenizer.json", tokenizer.replacen("\"dull\"", "\"dulls\"", 1), "tokenizer was files of checksum "),
        (
            "out.unfinished/recipe.toml",
            recipe.replace("learning_rate = 0.0001", "learning_rate = 0.1"),
            "setting learning_rate was 0.0001, is 0.1",
        ),
    ] {
        let before = sandbox.read(file);
        assert!(before != contents.as_bytes());
        sandbox.write(file, contents);
        let message = sandbox.fails("train --resume out");
        assert_says(
            &message,
            &["out.unfinished/checkpoint-", "is of another training: ", says, "start anew with --overwrite"],
        );
        sandbox.write(file, before);
    }
    let mut model = Checkpoint::tiny();
    model.values("distilbert.transformer.layer.0.ffn.lin1.bias")[0] = 0.75;
    model.write(&sandbox, "model");
    assert_says(&sandbox.fails("train --resume out"), &["starting model was config and weights of checksum "]);
    Checkpoint::tiny().write(&sandbox, "model");
    sandbox.succeeds("train --resume out.unfinished/ --quiet");
}

#[test]
fn another_level_of_instructions_is_told() {
    let sandbox = Sandbox::new();
    interrupted(&sandbox, "--batch-size 4 --epochs 60 --precision f32");
    let ran = Ran::new(feed(sandbox.distune("train --resume out --quiet").env("DISTUNE_ISA", "baseline"), b""));
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let forced = std::env::var("DISTUNE_ISA").is_ok_and(|isa| isa == "baseline");
    let says = if forced || cfg!(not(target_arch = "x86_64")) { vec![] } else { vec!["bits may differ from here on"] };
    assert_says(&ran.stderr, &says);
}

#[test]
fn what_cannot_be_gone_on_with() {
    let sandbox = Sandbox::trained();
    let says = |arguments: &str, parts: &[&str]| assert_says(&sandbox.fails(arguments), parts);
    says("train --resume run", &["run: is finished, there is nothing to go on with", "distune train --model run"]);
    says("train --resume nowhere", &["nowhere.unfinished: no such directory", "no unfinished training", "--output"]);
    says("train --resume data", &["data.unfinished: no such directory"]);
    sandbox.write("early.unfinished/recipe.toml.part", "");
    says("train --resume early", &["early.unfinished: its training was stopped before it began", "Start it anew"]);
    sandbox.succeeds("train --model model --data data --output early --epochs 1");
    for option in ["--epochs 3", "--model run", "--text-column a", "--new-head", "--output x", "--max-time 1h"] {
        let ran = sandbox.distune(&format!("train --resume run {option}")).output().unwrap();
        assert_eq!(ran.status.code(), Some(2));
        let stderr = String::from_utf8(ran.stderr).unwrap();
        let option = option.split(' ').next().unwrap();
        assert_says(&stderr, &["'--resume <DIR>' cannot be used with", option]);
    }
}

/// Killed before its first checkpoint, it has settings alone.
#[test]
fn without_a_checkpoint_it_begins_again() {
    let sandbox = Sandbox::new();
    let want = uninterrupted(&sandbox, ALL);
    sandbox.write("out.unfinished/recipe.toml", sandbox.read("whole/recipe.toml"));
    sandbox.write("out.unfinished/lock", "");
    let message = sandbox.fails("train --resume out --precision bf16");
    assert_says(&message, &["--precision: expected that of the training", "leave it out", "found bf16"]);
    let ran = sandbox.succeeds("train --resume out");
    assert_says(&ran.stderr, &["out.unfinished: no checkpoint yet, starts from the beginning."]);
    assert_same_run(&sandbox, "out", &want, "from the beginning");
    assert!(!sandbox.path("out.unfinished").exists());
}

#[test]
fn an_unfinished_training_is_not_lost_by_accident() {
    let sandbox = Sandbox::new();
    let steps = interrupted(&sandbox, "--batch-size 4 --epochs 60");
    let anew = "train --model model --data data --output out --epochs 1";
    let (message, last) = (sandbox.fails(anew), format!("its last checkpoint: step {}", steps[0]));
    assert_says(&message, &["out.unfinished: a training that has not finished is there", &last]);
    assert_says(&message, &["Go on with distune train --resume out, or start anew with --overwrite"]);
    // what cannot begin removes nothing
    sandbox.fails(&format!("{anew} --overwrite --unfreeze blocks:9"));
    sandbox.succeeds(&format!("{anew} --overwrite"));
    assert_eq!(sandbox.json("out/trainer_state.json")["global_step"], 1);
    assert!(!sandbox.path("out.unfinished").exists());
    // nor is a directory of something else taken
    sandbox.write("more.unfinished/notes.txt", "mine");
    let message = sandbox.fails("train --model model --data data --output more --epochs 1 --overwrite");
    assert_says(&message, &["more.unfinished: is not the directory of an unfinished training", "another --output"]);
    // the next free number is free of both
    sandbox.write("runs/data-1.unfinished/recipe.toml", "");
    sandbox.succeeds("train --model model --data data --epochs 1");
    assert!(sandbox.path("runs/data-2").exists() && !sandbox.path("runs/data-1").exists());
}

/// With `--overwrite`, the old run stays until the new one is done, however often that is interrupted.
#[test]
fn a_run_that_will_be_replaced_stays_until_then() {
    let sandbox = Sandbox::new();
    let options = "--batch-size 4 --epochs 60";
    let want = uninterrupted(&sandbox, &format!("{options} --save-steps 3"));
    sandbox.succeeds("train --model model --data data --output out --epochs 1");
    let before = records(&sandbox, "out");
    interrupted(&sandbox, &format!("{options} --overwrite"));
    assert_says(&sandbox.fails("train --resume out"), &["out: the output directory exists", "Add --overwrite"]);
    assert_same_run(&sandbox, "out", &before, "the old run");
    sandbox.succeeds("train --resume out --overwrite");
    assert_same_run(&sandbox, "out", &want, "the new run");
    let mut left: Vec<_> = std::fs::read_dir(sandbox.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["data", "model", "out", "whole"]);
}

#[test]
fn one_process_at_a_time() {
    let sandbox = Sandbox::new();
    let mut command = train(&sandbox, "--epochs 1000000 --save-steps 2", "out");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"event\":\"checkpoint\"") {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "it ended by itself");
    }
    for again in ["--resume out", "--model model --data data --output out --overwrite"] {
        let ran = Ran::new(feed(sandbox.distune(&format!("train {again} --quiet")).stdin(Stdio::null()), b""));
        assert_eq!(ran.status, Some(1));
        assert_says(&ran.message(), &["out.unfinished: another process is training into it", "another --output"]);
    }
    child.kill().unwrap();
    stdout.read_to_end(&mut Vec::new()).unwrap();
    end(child);
}

#[test]
fn checkpoints_as_often_as_asked_for() {
    let sandbox = Sandbox::new();
    let events = |options: &str| -> Vec<u64> {
        let ran = Ran::new(feed(
            &mut train(&sandbox, &format!("--batch-size 4 --epochs 2 --overwrite {options}"), "out"),
            b"",
        ));
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        let events = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["event"] == "checkpoint").map(|event| event["step"].as_u64().unwrap()).collect()
    };
    assert_eq!(events("--save-steps 5"), [5, 10, 15]);
    assert_eq!(events("--save-steps 8"), [8, 16], "after the evaluation of that step");
    assert_eq!(events(""), [0_u64; 0], "a quick training pays nothing");
    interrupted(&sandbox, "--batch-size 4 --epochs 60 --overwrite");
}

/// Where the file system takes no more, a checkpoint is missing and the training goes on. A limit of the process stands for a full disk:
/// the weights of the best step fit, those with the optimizer's moments do not.
#[test]
fn a_full_disk_costs_checkpoints_and_not_the_training() {
    let sandbox = Sandbox::new();
    // of which the page is a small part
    Checkpoint::encoder(48, 192).write(&sandbox, "model");
    let want = uninterrupted(&sandbox, &format!("{ALL} --save-steps 5"));
    let weights = sandbox.path("whole/model.safetensors").metadata().unwrap().len();
    // in blocks of 512 bytes
    let limit = (weights + weights / 2) / 512;
    let distune = train(&sandbox, &format!("{ALL} --save-steps 5"), "out");
    let arguments = distune.get_args().map(|a| a.to_str().unwrap()).collect::<Vec<_>>().join(" ");
    let script = format!("trap '' XFSZ; ulimit -f {limit}; exec {} {arguments}", distune.get_program().display());
    let mut limited = Command::new("sh");
    limited.args(["-c", &script]).current_dir(sandbox.path(""));
    limited.envs(distune.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let ran = Ran::new(feed(&mut limited, b""));
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert_says(
        &ran.stderr,
        &["warning: out.unfinished/checkpoint-5: cannot write the checkpoint: ", "The training goes on"],
    );
    assert_same_run(&sandbox, "out", &want, "without checkpoints");
}
