//! Names on the command line resolved, as [`distune::sources`] does, with this program's progress and notes.

use distune::Result;
use distune::data::audit::Part;
use distune::data::{Columns, Input, Labels, Splits, Table};
use distune::model::ModelFiles;
use distune::sources;

pub(crate) use distune::Classifier;
pub(crate) use distune::sources::{BUNDLED, REVIEWS, bundled_reviews, notes, trained_with};

use crate::Common;
use crate::hub::watched;
use crate::length::LengthArgs;

/// The files of a model by its name.
pub(crate) fn model(name: &str, common: &Common) -> Result<ModelFiles> {
    watched(common, |observer| sources::model(name, observer))
}

/// Data by its name, in the splits that there are; several names are files that are read as one.
pub(crate) fn splits(names: &[String], columns: &Columns, common: &Common) -> Result<Splits> {
    watched(common, |observer| sources::splits(names, columns, observer))
}

/// Data by its name for a check: splits as they are, or files as one part; and what was assumed.
pub(crate) fn parts(names: &[String], columns: &Columns, common: &Common) -> Result<(Vec<Part>, Vec<String>)> {
    watched(common, |observer| sources::parts(names, columns, observer))
}

/// The rows of a file; nothing where the name stands for several splits.
pub(crate) fn file(name: &str, columns: &Columns, labels: Labels, common: &Common) -> Result<Option<Table>> {
    watched(common, |observer| sources::file(name, columns, labels, observer))
}

/// The rows of `data` to evaluate or to predict: those of one split, or all of a file.
pub(crate) fn table(
    name: &str,
    split: Option<&str>,
    columns: &Columns,
    labels: Labels,
    common: &Common,
) -> Result<Table> {
    watched(common, |observer| sources::table(name, split, columns, labels, observer))
}

/// What is read of `data` where it is read in chunks: the files of one split, or a file.
pub(crate) fn inputs(name: &str, split: Option<&str>, common: &Common) -> Result<Vec<Input>> {
    watched(common, |observer| sources::inputs(name, split, observer))
}

/// Says what was assumed about a file.
pub(crate) fn say(columns: &Columns, table: &Table, common: &Common) {
    watched(common, |observer| sources::say(columns, table, observer));
}

/// Whether data has splits of which one can be named.
pub(crate) fn has_splits(name: &str, common: &Common) -> Result<bool> {
    watched(common, |observer| sources::has_splits(name, observer))
}

/// The rows of the train split of `data`; nothing where it has none.
pub(crate) fn train_table(name: &str, columns: &Columns, common: &Common) -> Result<Option<Table>> {
    watched(common, |observer| sources::train_table(name, columns, observer))
}

/// The classifier that a model's files are, in the precision that was asked for.
pub(crate) fn classifier(files: &ModelFiles, length: &LengthArgs, common: &Common) -> Result<Classifier> {
    let config = files.config()?;
    Classifier::of(files, &length.reading(), common.inference_precision(files, &config)?)
}
