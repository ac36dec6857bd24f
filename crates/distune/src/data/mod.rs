//! Rows of text and label: reading them, splitting them, class ids, packed batches.
//!
//! [`read_splits`] turns what the user points at into [`Table`]s, [`LabelMap`] gives the classes their ids,
//! [`Dataset`] has texts with class ids, [`Examples`] token ids with class ids, [`Batch`] is what an engine eats. Called by
//! `train`, `eval` and the command line.

mod answers;
pub mod audit;
mod batch;
mod columns;
mod examples;
mod files;
mod labels;
mod normalise;
mod partition;
mod read;
mod sample;
mod splits;
#[cfg(test)]
mod tests;
mod write;

pub use answers::{Answers, PickedTargets};
pub use batch::Batch;
pub use columns::{Columns, Labels};
pub use examples::{Examples, Lengths, check_ids, check_text};
pub(crate) use files::of_split;
pub use labels::{Dataset, LabelMap, MAX_CLASSES};
pub use partition::{Shares, partition};
pub use read::{Chunk, Chunking, Input, PredictionFile, Table, Trees, read_bytes, read_chunks, read_file, read_files};
pub(crate) use read::{Header, Record};
pub use splits::{SelectOn, Splits, note_table, read_as_one, read_split, read_splits, read_train, split_files};
pub use write::{can_write, write_rows, write_table};
pub(crate) use write::{list_type, text_type, write_lists};

/// `"a", "b", "c" and 4 more`: names for a message, each cut at 40 characters, at most `most` of them; `none` for none.
pub(crate) fn quoted<S: AsRef<str>>(names: &[S], most: usize) -> String {
    let cut = |name: &str| match name.char_indices().nth(40) {
        Some((at, _)) => format!("{:?}...", &name[..at]),
        None => format!("{name:?}"),
    };
    let shown: Vec<String> = names.iter().take(most).map(|name| cut(name.as_ref())).collect();
    let rest = names.len().saturating_sub(most);
    if names.is_empty() {
        return "none".into();
    }
    if rest == 0 { shown.join(", ") } else { format!("{} and {rest} more", shown.join(", ")) }
}
