//! The one error type of the library: what is at fault, what was expected and found, what to do.

use std::path::Path;

/// A result whose error is [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong with what a user gives. Each variant prints as one message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory that cannot be used.
    #[error("{path}: {problem}{}", sentence(hint))]
    File {
        /// The file or directory as the user named it.
        path: String,
        /// What is wrong with it.
        problem: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// A row of a data file.
    #[error("{path}, line {line}: {problem}{}", sentence(hint))]
    Row {
        /// The data file.
        path: String,
        /// Line in the file, counted from 1 (a header is line 1).
        line: u64,
        /// What is wrong with it, with the column's name.
        problem: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// A tensor of a checkpoint.
    #[error("{path}: tensor {tensor}: expected {expected}, found {found}{}", sentence(hint))]
    Tensor {
        /// The checkpoint.
        path: String,
        /// The tensor's Hugging Face name.
        tensor: String,
        /// Shape or dtype that the config asks for.
        expected: String,
        /// What the file has.
        found: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// A key of a `config.json` or of a recipe, or an option of the command line.
    #[error("{path}: {key}: expected {expected}, found {found}")]
    Value {
        /// The file, or "recipe".
        path: String,
        /// The key at fault.
        key: String,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The loss, the gradient or a weight stopped being a number.
    #[error(
        "step {step}: the {what} is {value} at learning rate {learning_rate:e}; training stopped. Use a smaller \
         --learning-rate, or check the starting weights"
    )]
    NotFinite {
        /// The optimizer step, counted from 1.
        step: usize,
        /// "loss", "gradient norm" and the like.
        what: &'static str,
        /// The value, NaN or infinite.
        value: f64,
        /// The step's learning rate.
        learning_rate: f64,
    },
    /// A repository of the Hugging Face hub, or a file of it.
    #[error("{name}: {problem}{}", sentence(hint))]
    Hub {
        /// The repository as the user named it, and the file.
        name: String,
        /// What is wrong, with the host that said so.
        problem: String,
        /// What to do; may be empty.
        hint: String,
    },
    /// The user asked to stop.
    #[error("interrupted {when}; {kept}")]
    Interrupted {
        /// Where the work stood.
        when: String,
        /// What remains on disk.
        kept: String,
    },
}

/// " Hint." or nothing.
fn sentence(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(". {hint}") }
}

impl Error {
    /// A [`Error::File`].
    pub fn file(path: &Path, problem: impl ToString, hint: impl ToString) -> Self {
        Self::File { path: path.display().to_string(), problem: problem.to_string(), hint: hint.to_string() }
    }

    /// A [`Error::File`] from a failed read or write, with a hint where the cause is a usual one.
    pub fn io(path: &Path, doing: &str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let hint = match error.kind() {
            K::NotFound => "Check the path",
            K::PermissionDenied => "Check the permissions",
            K::StorageFull | K::QuotaExceeded => "Free some space and try again",
            _ => "",
        };
        let problem = match error.kind() {
            K::NotFound => "no such file or directory".to_owned(),
            _ => format!("cannot {doing}: {error}"),
        };
        Self::file(path, problem, hint)
    }

    /// A [`Error::Hub`] about a repository as a whole.
    pub fn hub(repository: &crate::hub::Repository, problem: impl ToString, hint: impl ToString) -> Self {
        Self::Hub { name: repository.to_string(), problem: problem.to_string(), hint: hint.to_string() }
    }

    /// A [`Error::Row`].
    pub fn row(path: &Path, line: u64, problem: impl ToString, hint: impl ToString) -> Self {
        Self::Row { path: path.display().to_string(), line, problem: problem.to_string(), hint: hint.to_string() }
    }

    /// A [`Error::Tensor`].
    pub fn tensor(
        path: &Path,
        tensor: &str,
        expected: impl ToString,
        found: impl ToString,
        hint: impl ToString,
    ) -> Self {
        Self::Tensor {
            path: path.display().to_string(),
            tensor: tensor.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
            hint: hint.to_string(),
        }
    }

    /// A [`Error::Value`].
    pub fn value(path: impl ToString, key: &str, expected: impl ToString, found: impl ToString) -> Self {
        Self::Value {
            path: path.to_string(),
            key: key.to_owned(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}
