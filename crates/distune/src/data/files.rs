//! Finds the files of a split in a directory. Called by `splits`.

use std::path::{Path, PathBuf};

use super::quoted;
use super::read::name_parts;
use crate::{Error, Result};

/// The files of a directory that hold rows, by the names of their splits.
#[derive(Debug)]
pub(super) struct SplitFiles {
    directory: PathBuf,
    files: Vec<File>,
}

/// A file whose name is that of a split or of a shard of it.
#[derive(Debug)]
struct File {
    name: String,
    /// `train` of `train-00001-of-00003.parquet`.
    split: String,
    /// Number of the shard, and of how many.
    shard: Option<(usize, usize)>,
}

impl SplitFiles {
    /// Lists a directory; where no file of it is called after a split of `train`, its `data` directory, as on the hub.
    pub(super) fn list(directory: &Path, train: &[&str]) -> Result<Self> {
        let data = directory.join("data");
        let here = Self::of(directory)?;
        let is_train = |files: &Self| files.files.iter().any(|file| train.contains(&file.split.as_str()));
        if is_train(&here) || !data.is_dir() {
            return Ok(here);
        }
        let there = Self::of(&data)?;
        Ok(if is_train(&there) { there } else { here })
    }

    fn of(directory: &Path) -> Result<Self> {
        let entries = std::fs::read_dir(directory).map_err(|error| Error::io(directory, "list", &error))?;
        let names = entries.flatten().filter(|entry| entry.path().is_file()).map(|entry| entry.file_name());
        let mut files: Vec<File> = names.filter_map(|name| File::new(&name.to_string_lossy())).collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { directory: directory.to_owned(), files })
    }

    /// The files of the split with one of these names: one, or all shards of one; none if there is no such split.
    pub(super) fn find(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let found: Vec<&File> = self.files.iter().filter(|file| names.contains(&file.split.as_str())).collect();
        let all: Vec<&str> = found.iter().map(|file| file.name.as_str()).collect();
        if let Some((_, count)) = found.first().and_then(|file| file.shard) {
            let numbers: Vec<_> = found.iter().map(|file| file.shard).collect();
            let wanted: Vec<_> = (0..count).map(|number| Some((number, count))).collect();
            if numbers != wanted {
                let problem = format!("the {} split has {count} parts, found {}", names[0], quoted(&all, 10));
                return Err(Error::file(
                    &self.directory,
                    problem,
                    "Copy or download the missing ones, or remove those of another version",
                ));
            }
        } else if found.len() > 1 {
            let problem = format!("{} are all the {} split, expected one file", quoted(&all, 10), names[0]);
            return Err(Error::file(&self.directory, problem, "Remove or rename the others"));
        }
        Ok(all.into_iter().map(|name| self.directory.join(name)).collect())
    }
}

impl File {
    /// A file of rows by its name: `dev.csv.gz`, `train-00000-of-00002.parquet`, also with a hash behind the numbers.
    fn new(name: &str) -> Option<Self> {
        let (stem, _, _) = name_parts(name)?;
        let number = |digits: &str| if digits.len() == 5 { digits.parse().ok() } else { None };
        let shard = |stem: &str| -> Option<(String, (usize, usize))> {
            let (split, rest) = stem.split_once('-')?;
            let (index, rest) = rest.split_once("-of-")?;
            let count = rest.split_once('-').map_or(rest, |(count, _hash)| count);
            Some((split.to_owned(), (number(index)?, number(count)?)))
        };
        let (split, shard) = match shard(stem) {
            Some((split, shard)) => (split, Some(shard)),
            None => (stem.to_owned(), None),
        };
        Some(Self { name: name.to_owned(), split, shard })
    }
}
