//! Finds the files of a split in a directory, or among the names of a repository of the hub. Called by `splits` and by `hub`.

use std::path::{Path, PathBuf};

use super::quoted;
use super::read::name_parts;
use crate::{Error, Result};

/// What a directory is called that holds the files of one split.
const DIRECTORIES: [&str; 6] = ["train", "validation", "dev", "val", "valid", "test"];

/// The files of a directory that hold rows.
#[derive(Clone, Debug)]
pub(super) struct SplitFiles {
    directory: PathBuf,
    /// Names of its files and, as `train/a.csv`, of those in directories of splits, sorted.
    names: Vec<String>,
    /// Whether a split's name may be the beginning of a file's, as in `train_data.csv`.
    loose: bool,
}

impl SplitFiles {
    /// Lists a directory; where no file of it is one of a split of `train`, its `data` directory, as on the hub.
    pub(super) fn list(directory: &Path, train: &[&str]) -> Result<Self> {
        let data = directory.join("data");
        let here = Self::of(directory)?;
        let there = if data.is_dir() { Self::of(&data)? } else { Self { names: Vec::new(), ..here.clone() } };
        let tries = [(&here, false), (&there, false), (&here, true), (&there, true)];
        let found = tries.into_iter().find(|(files, loose)| !of_split(&files.names, train, *loose).is_empty());
        let (files, loose) = found.unwrap_or((&here, false));
        Ok(Self { loose, ..files.clone() })
    }

    fn of(directory: &Path) -> Result<Self> {
        let mut names = files_in(directory)?;
        for split in DIRECTORIES.into_iter().filter(|split| directory.join(split).is_dir()) {
            names.extend(files_in(&directory.join(split))?.into_iter().map(|name| format!("{split}/{name}")));
        }
        names.sort();
        Ok(Self { directory: directory.to_owned(), names, loose: false })
    }

    /// The files of the split with one of these names: one, all shards of one, or all in a directory of that name; none if there is
    /// no such split.
    pub(super) fn find(&self, split: &[&str]) -> Result<Vec<PathBuf>> {
        let found = of_split(&self.names, split, self.loose);
        let shards: Vec<Option<(usize, usize)>> =
            found.iter().map(|name| shard(stem(name)).map(|(_, shard)| shard)).collect();
        if let Some(&Some((_, count))) = shards.first() {
            let wanted: Vec<_> = (0..count).map(|number| Some((number, count))).collect();
            if shards != wanted {
                let problem = format!("the {} split has {count} parts, found {}", split[0], quoted(&found, 10));
                return Err(Error::file(
                    &self.directory,
                    problem,
                    "Copy or download the missing ones, or remove those of another version",
                ));
            }
        } else if found.len() > 1 && !found.iter().all(|name| name.contains('/')) {
            let problem = format!("{} are all the {} split, expected one file", quoted(&found, 10), split[0]);
            return Err(Error::file(&self.directory, problem, "Remove or rename the others"));
        }
        Ok(found.into_iter().map(|name| self.directory.join(name)).collect())
    }
}

fn files_in(directory: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(directory).map_err(|error| Error::io(directory, "list", &error))?;
    let files = entries.flatten().filter(|entry| entry.path().is_file());
    Ok(files.filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// Those of the names, relative to a directory, that are files of a split with one of these names: called after it, whole or in
/// shards; else in a directory called after it; else, if `loose`, with a name that begins with it (`train_data.csv`).
pub(crate) fn of_split<'a, S: AsRef<str>>(names: &'a [S], split: &[&str], loose: bool) -> Vec<&'a str> {
    let called =
        |name: &str| !name.contains('/') && parts(name).is_some_and(|(stem, _)| split.contains(&without_shard(stem)));
    let inside = |name: &str| {
        let file = name.split_once('/').filter(|(directory, _)| split.contains(directory));
        file.and_then(|(_, file)| parts(file)).is_some_and(|(_, known)| known)
    };
    let begins = |name: &str| {
        let stem = parts(name).filter(|(_, known)| *known && !name.contains('/')).map_or("", |(stem, _)| stem);
        split.iter().any(|split| stem.strip_prefix(split).is_some_and(|rest| rest.starts_with(['-', '_', '.', ' '])))
    };
    let matching =
        |fits: &dyn Fn(&str) -> bool| -> Vec<&str> { names.iter().map(S::as_ref).filter(|name| fits(name)).collect() };
    let mut found = matching(&called);
    if found.is_empty() {
        found = matching(&inside);
    }
    if found.is_empty() && loose {
        found = matching(&begins);
    }
    found
}

/// The stem of a name of a file with rows, and whether the name tells the format.
fn parts(name: &str) -> Option<(&str, bool)> {
    name_parts(name).map(|(stem, format, _)| (stem, format.is_some()))
}

/// The name of a file without its directory and endings.
fn stem(name: &str) -> &str {
    let file = name.rsplit_once('/').map_or(name, |(_, file)| file);
    parts(file).map_or(file, |(stem, _)| stem)
}

fn without_shard(stem: &str) -> &str {
    shard(stem).map_or(stem, |(split, _)| split)
}

/// `train-00001-of-00003`, also with a hash behind, as `train`, 1, 3.
fn shard(stem: &str) -> Option<(&str, (usize, usize))> {
    let number = |digits: &str| if digits.len() == 5 { digits.parse().ok() } else { None };
    let (split, rest) = stem.split_once('-')?;
    let (index, rest) = rest.split_once("-of-")?;
    let count = rest.split_once('-').map_or(rest, |(count, _hash)| count);
    Some((split, (number(index)?, number(count)?)))
}
