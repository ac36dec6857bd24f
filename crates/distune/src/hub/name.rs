//! Names of repositories as they are written on command lines. Called by the program.

use std::fmt;

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

impl Kind {
    /// Its word in paths of the hub and of the cache.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// A repository of the hub at a revision. Prints as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// A model or a data set.
    pub kind: Kind,
    /// "org/name", or "name" for the few that have no owner.
    pub id: String,
    /// The folder of a data set that has several configurations.
    pub folder: Option<String>,
    /// A branch, a tag or a commit.
    pub revision: String,
    text: String,
}

/// What a name of data ends with that was meant as a file.
const FILES: [&str; 11] =
    [".tsv", ".csv", ".txt", ".json", ".jsonl", ".parquet", ".gz", ".zst", ".bin", ".safetensors", ".toml"];

impl Repository {
    /// Understands `name`, `org/name`, each with `@revision`, and for data sets with `:folder` before it. Nothing when the text
    /// cannot be the name of a repository, because it looks like a path or a file.
    #[must_use]
    pub fn parse(kind: Kind, text: &str) -> Option<Self> {
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (id, folder) = match name.split_once(':') {
            Some((id, folder)) if kind == Kind::Dataset => (id, Some(folder)),
            _ => (name, None),
        };
        let parts: Vec<&str> = id.split('/').collect();
        let file = FILES.iter().any(|ending| id.to_ascii_lowercase().ends_with(ending));
        let valid = parts.len() <= 2
            && id.len() <= 96
            && !file
            && parts.iter().all(|part| is_name(part))
            && is_path(revision)
            && folder.is_none_or(is_path);
        let (id, folder, revision, text) =
            (id.to_owned(), folder.map(str::to_owned), revision.to_owned(), text.to_owned());
        valid.then_some(Self { kind, id, folder, revision, text })
    }

    /// Whether the revision is a whole commit, whose files never change.
    pub(super) fn is_commit(&self) -> bool {
        is_hash(&self.revision, 40)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Letters, digits and `-_.`, as the hub allows them.
fn is_name(part: &str) -> bool {
    let edge = |c: char| c == '-' || c == '.';
    !part.is_empty()
        && !part.starts_with(edge)
        && !part.ends_with(edge)
        && !part.contains("--")
        && !part.contains("..")
        && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// A relative path that stays below where it starts: the names of files, folders and branches.
pub(super) fn is_path(path: &str) -> bool {
    path.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && !path.contains(['\\', ':', '\0'])
        && !path.chars().any(char::is_control)
}

/// So many hexadecimal digits in lower case.
pub(super) fn is_hash(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parts(kind: Kind, text: &str) -> Option<(String, Option<String>, String)> {
        Repository::parse(kind, text).map(|r| (r.id, r.folder, r.revision))
    }

    fn some(id: &str, folder: Option<&str>, revision: &str) -> Option<(String, Option<String>, String)> {
        Some((id.into(), folder.map(Into::into), revision.into()))
    }

    #[test]
    fn names() {
        assert_eq!(parts(Kind::Model, "distilbert-base-uncased"), some("distilbert-base-uncased", None, "main"));
        assert_eq!(parts(Kind::Model, "org/a.b_c@refs/pr/1"), some("org/a.b_c", None, "refs/pr/1"));
        assert_eq!(parts(Kind::Dataset, "nyu-mll/glue:sst2"), some("nyu-mll/glue", Some("sst2"), "main"));
        assert_eq!(parts(Kind::Dataset, "glue:sst2@v1"), some("glue", Some("sst2"), "v1"));
        assert_eq!(Repository::parse(Kind::Dataset, "glue:sst2@v1").unwrap().to_string(), "glue:sst2@v1");
    }

    #[test]
    fn paths_and_files_are_no_names() {
        let paths = [
            "",
            "/a/b",
            "./a",
            "../a",
            "a/b/c",
            "a/",
            "data/train.tsv",
            "x.CSV",
            "-",
            "~",
            "a b",
            "ä",
            "a--b",
            "a@",
            "a@../b",
        ];
        for text in paths.iter().chain(&["a@b//c", "a:b", ".a/b", "a./b", "a@b\\c", "a@b\nc", "C:\\data"]) {
            assert_eq!(parts(Kind::Model, text), None, "{text:?}");
        }
        for text in ["a:", "a:..", "a:/b", "a:b:c"] {
            assert_eq!(parts(Kind::Dataset, text), None, "{text:?}");
        }
    }
}
