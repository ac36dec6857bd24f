//! Which files of a repository are wanted, by their names. Called by `fetch` on what the hub lists and on what the cache has.

use std::collections::BTreeMap;

use super::name::{Kind, Repository, is_path};
use crate::data::of_split;

/// Small files of a model that are taken where they are there.
const MODEL_FILES: [&str; 6] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "added_tokens.json",
    // of a run of this program: where texts are cut
    "recipe.toml",
];
/// Names of the splits; those to train on last.
const SPLITS: [&[&str]; 3] = [&["test"], &["validation", "dev", "val", "valid"], TRAIN];
const TRAIN: &[&str] = &["train"];
/// Formats of data, the preferred one first.
const FORMATS: [&str; 5] = ["parquet", "jsonl", "json", "csv", "tsv"];

/// What is wanted of a repository.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// Where it lies in the repository: a directory, empty for its top, or one file.
    pub(super) directory: String,
    /// The files, in the order in which they are fetched: when the last one is there, all are.
    pub(super) files: Vec<String>,
    /// What should be there too and is not.
    pub(super) missing: Vec<String>,
}

/// Chooses among the names of a repository's files, or says what it lacks.
pub(super) fn choose(repository: &Repository, names: &[String]) -> Result<Choice, String> {
    let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| is_path(name)).collect();
    match repository.kind {
        Kind::Model => Ok(model(&names)),
        Kind::Dataset => dataset(&names, repository.folder.as_deref()),
    }
}

fn model(names: &[&str]) -> Choice {
    let has = |name: &str| names.contains(&name);
    let shards: Vec<&str> =
        names.iter().copied().filter(|name| shard(name).is_some_and(|(before, ..)| before == "model-")).collect();
    let mut weights = Vec::new();
    let mut missing = Vec::new();
    if has("model.safetensors") {
        weights.push("model.safetensors");
    } else if has("model.safetensors.index.json") {
        missing.extend(missing_shards(&shards));
        weights = shards.into_iter().filter(|name| name.ends_with(".safetensors")).collect();
        weights.push("model.safetensors.index.json");
        if weights.len() == 1 {
            missing.push("the parts that model.safetensors.index.json names".into());
        }
    } else if has("pytorch_model.bin") {
        weights.push("pytorch_model.bin");
    } else {
        missing.push("model.safetensors (or model.safetensors.index.json, or pytorch_model.bin)".into());
    }
    if !has("config.json") {
        missing.push("config.json".into());
    }
    if !has("tokenizer.json") && !has("vocab.txt") {
        missing.push("tokenizer.json (or vocab.txt)".into());
    }
    let small = MODEL_FILES.into_iter().chain(["config.json"]).filter(|name| has(name));
    let files = small.chain(weights).map(str::to_owned).collect();
    Choice { directory: String::new(), files, missing }
}

fn dataset(names: &[&str], folder: Option<&str>) -> Result<Choice, String> {
    let fits = |directory: &str| match folder {
        None => true,
        Some(folder) => directory == folder || directory.strip_suffix(folder).is_some_and(|rest| rest.ends_with('/')),
    };
    let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for name in names {
        let (directory, file) = name.rsplit_once('/').unwrap_or(("", name));
        let (above, last) = directory.rsplit_once('/').unwrap_or(("", directory));
        // the directory of a split is a part of the one above
        if SPLITS.iter().any(|split| split.contains(&last)) {
            folders.entry(above).or_default().push(&name[name.len() - last.len() - 1 - file.len()..]);
        } else {
            folders.entry(directory).or_default().push(file);
        }
    }
    let found: BTreeMap<&str, Vec<&str>> =
        folders.iter().map(|(folder, files)| (*folder, splits(files))).filter(|(_, files)| !files.is_empty()).collect();
    if found.is_empty() {
        return only_file(names, fits).ok_or_else(|| {
            let problem = "has no file that is named like train.parquet, train-00000-of-00001.parquet or train.csv";
            format!("{problem}; of many data sets the hub keeps a Parquet copy under NAME@refs/convert/parquet")
        });
    }
    let list = found.keys().map(|name| if name.is_empty() { "." } else { name }).collect::<Vec<_>>().join(", ");
    let fitting: Vec<&str> = found.keys().copied().filter(|directory| fits(directory)).collect();
    let directory = match (folder, fitting.as_slice()) {
        (_, [directory]) => *directory,
        (Some(folder), []) => return Err(format!("has no folder {folder} with a train file, but {list}")),
        (None, _) => return Err(format!("has several data sets ({list}): write :FOLDER after its name")),
        (Some(_), _) => return Err(format!("has several such folders ({list}): write a whole one")),
    };
    let path = |file: &&str| if directory.is_empty() { (*file).to_owned() } else { format!("{directory}/{file}") };
    let files: Vec<String> = found.get(directory).into_iter().flatten().map(path).collect();
    let missing = missing_shards(&files.iter().map(String::as_str).collect::<Vec<_>>());
    Ok(Choice { directory: directory.into(), files, missing })
}

/// The files of the splits among those of a folder, in the best format that has rows to train on; none if there is none.
fn splits<'a>(files: &[&'a str]) -> Vec<&'a str> {
    for loose in [false, true] {
        for wanted in FORMATS {
            let files: Vec<&'a str> = files.iter().copied().filter(|file| format(file) == Some(wanted)).collect();
            let of = |split: &[&str]| -> Vec<&'a str> {
                let found = of_split(&files, split, loose);
                files.iter().copied().filter(|file| found.contains(file)).collect()
            };
            if !of(TRAIN).is_empty() {
                return SPLITS.into_iter().flat_map(of).collect();
            }
        }
    }
    Vec::new()
}

/// The only file of rows there is, where it is not one of several splits by its name.
fn only_file(names: &[&str], fits: impl Fn(&str) -> bool) -> Option<Choice> {
    let mut files = names.iter().filter(|name| format(name).is_some_and(|format| format != "json"));
    let (file, None) = (files.next()?, files.next()) else { return None };
    let (directory, name) = file.rsplit_once('/').unwrap_or(("", file));
    let of_a_split = SPLITS.iter().any(|split| !of_split(&[name], split, true).is_empty());
    let choice = Choice { directory: (*file).into(), files: vec![(*file).into()], missing: Vec::new() };
    (fits(directory) && !of_a_split).then_some(choice)
}

/// The format of a data file, by its name.
fn format(file: &str) -> Option<&'static str> {
    let plain = file.strip_suffix(".gz").or_else(|| file.strip_suffix(".zst")).unwrap_or(file);
    FORMATS.into_iter().find(|format| plain.rsplit_once('.').is_some_and(|(_, end)| end == *format))
}

/// `train-00002-of-00005.parquet` as "train-", 5, ".parquet".
fn shard(name: &str) -> Option<(&str, usize, &str)> {
    let (before, after) = name.split_once("-of-")?;
    let (before, number) = before.split_at_checked(before.len().checked_sub(5)?)?;
    let (count, ending) = after.split_at_checked(5)?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    (digits(number) && digits(count)).then_some((before, count.parse().ok()?, ending))
}

/// Parts that others among the names announce.
fn missing_shards(names: &[&str]) -> Vec<String> {
    let mut sets: BTreeMap<(&str, usize, &str), usize> = BTreeMap::new();
    for (before, count, ending) in names.iter().filter_map(|name| shard(name)) {
        // some have a hash of their own in front of it
        let ending = ending.find('.').map_or(ending, |dot| &ending[dot..]);
        *sets.entry((before, count, ending)).or_default() += 1;
    }
    let incomplete = sets.into_iter().filter(|((_, count, _), found)| found < count);
    incomplete
        .map(|((before, count, ending), found)| {
            format!("{} of the {count} files {before}*-of-{count:05}{ending}", count - found)
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chosen(kind: Kind, text: &str, names: &[&str]) -> Result<Choice, String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        choose(&Repository::parse(kind, text).unwrap(), &names)
    }

    fn model_files(names: &[&str]) -> (Vec<String>, Vec<String>) {
        let choice = chosen(Kind::Model, "m", names).unwrap();
        (choice.files, choice.missing)
    }

    #[test]
    fn weights_in_the_order_of_preference() {
        let small = ["README.md", "config.json", "tokenizer.json", "vocab.txt", "onnx/model.onnx"];
        let parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let index = "model.safetensors.index.json";
        let with = |more: &[&str]| model_files(&[&small, more].concat());
        let files = |weights: &[&str]| {
            let names = [&["tokenizer.json", "vocab.txt", "config.json"], weights].concat();
            (names.into_iter().map(str::to_owned).collect::<Vec<_>>(), Vec::new())
        };
        assert_eq!(with(&["pytorch_model.bin", "model.safetensors", "tf_model.h5"]), files(&["model.safetensors"]));
        assert_eq!(with(&["pytorch_model.bin", index, parts[0], parts[1]]), files(&[parts[0], parts[1], index]));
        assert_eq!(with(&["pytorch_model.bin"]), files(&["pytorch_model.bin"]));
        let (_, missing) = with(&[index, parts[0]]);
        assert_eq!(missing, ["1 of the 2 files model-*-of-00002.safetensors"]);
        let (_, missing) = model_files(&["README.md"]);
        assert_eq!(missing.len(), 3);
        assert!(missing[0].contains("pytorch_model.bin") && missing[1] == "config.json", "{missing:?}");
    }

    #[test]
    fn splits_of_data_sets() {
        let sst2 = ["README.md", "data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"];
        let choice = chosen(Kind::Dataset, "stanfordnlp/sst2", &sst2).unwrap();
        assert_eq!((choice.directory.as_str(), choice.files.as_slice()), ("data", &sst2.map(str::to_owned)[1..]));
        let glue = ["cola/train.parquet", "sst2/train.parquet", "sst2/validation.parquet", "sst2/notes.parquet"];
        let choice = chosen(Kind::Dataset, "glue:sst2", &glue).unwrap();
        assert_eq!(choice.directory, "sst2");
        assert_eq!(choice.files, ["sst2/validation.parquet", "sst2/train.parquet"]);
        assert!(chosen(Kind::Dataset, "glue", &glue).unwrap_err().contains("(cola, sst2): write :FOLDER"));
        assert!(chosen(Kind::Dataset, "glue:rte", &glue).unwrap_err().contains("no folder rte"));
        assert!(chosen(Kind::Dataset, "x", &["a.bin"]).unwrap_err().contains("train.parquet"));
        // a repository at its top, in two formats
        let both = ["train.csv", "train.parquet", "test.csv", "test.parquet", "training_notes.csv"];
        let choice = chosen(Kind::Dataset, "x", &both).unwrap();
        assert_eq!(
            (choice.directory.as_str(), choice.files),
            ("", vec!["test.parquet".into(), "train.parquet".into()])
        );
        assert_eq!(chosen(Kind::Dataset, "x", &["dev.tsv.gz", "train.tsv.gz"]).unwrap().files.len(), 2);
    }

    #[test]
    fn other_layouts_of_data_sets() {
        let found = |text: &str, names: &[&str]| {
            let choice = chosen(Kind::Dataset, text, names).unwrap();
            (choice.directory, choice.files, choice.missing.len())
        };
        let expected = |directory: &str, files: &[&str]| {
            (directory.to_owned(), files.iter().map(|&file| file.to_owned()).collect::<Vec<_>>(), 0)
        };
        // each part of a split with a hash of its own
        let hashed = ["data/train-00000-of-00002-ab12.parquet", "data/train-00001-of-00002-cd34.parquet"];
        assert_eq!(found("x", &hashed), expected("data", &hashed));
        // the copies that the hub makes
        let copies = ["default/test/0000.parquet", "default/train/0000.parquet", "default/train/0001.parquet"];
        assert_eq!(found("x@refs/convert/parquet", &copies), expected("default", &copies));
        assert_eq!(found("x", &["train/a.csv", "README.md"]), expected("", &["train/a.csv"]));
        assert_eq!(found("x", &["test_b.csv", "train_b.csv"]), expected("", &["test_b.csv", "train_b.csv"]));
        // exact names come first
        assert_eq!(found("x", &["test_b.csv", "train_b.csv", "train.csv"]), expected("", &["train.csv"]));
        assert_eq!(found("x", &["data/all.parquet", "info.json"]), expected("data/all.parquet", &["data/all.parquet"]));
        for names in [&["a.parquet", "b.parquet"][..], &["test.parquet"], &["data/test-00000-of-00001.parquet"]] {
            let problem = chosen(Kind::Dataset, "x", names).unwrap_err();
            assert!(problem.contains("refs/convert/parquet"), "{problem}");
        }
    }

    #[test]
    fn names_that_leave_the_directory_are_not_taken() {
        let names = ["../train.parquet", "/train.parquet", "a/../../train.parquet", "a\\train.parquet"];
        assert!(chosen(Kind::Dataset, "x", &names).is_err());
    }

    #[test]
    fn a_missing_part_of_a_split() {
        let names = ["data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet"];
        let choice = chosen(Kind::Dataset, "x", &names).unwrap();
        assert_eq!(choice.missing, ["1 of the 3 files data/train-*-of-00003.parquet"]);
    }
}
