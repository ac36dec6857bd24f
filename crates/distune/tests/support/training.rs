//! A small training: the bundled encoder on some of the bundled reviews.

use std::ops::Range;

use distune::data::{Columns, Dataset, Examples, LabelMap, Labels, read_file};
use distune::model::Model;
use distune::tokenize::Tokenizer;
use distune::train::Observer;

use super::{asset, bundled};

/// The bundled encoder with a new head for the reviews' two classes.
pub fn two_class_model() -> Model {
    let labels = LabelMap::from_names(vec!["0".into(), "1".into()]);
    Model::load_with_new_head(&bundled(), &labels, 1).unwrap()
}

/// Some of the reviews, cut at so many tokens.
pub fn reviews(rows: Range<usize>, max_length: usize, model: &Model) -> Examples {
    let mut table = read_file(&asset("reviews/train.tsv"), &Columns::default(), Labels::Required).unwrap();
    (table.texts, table.labels) = (table.texts[rows.clone()].to_vec(), table.labels[rows.clone()].to_vec());
    table.lines = table.lines[rows].to_vec();
    let json = std::fs::read(asset("encoder/tokenizer.json")).unwrap();
    let tokenizer = Tokenizer::from_bytes("tokenizer.json".as_ref(), &json, max_length).unwrap();
    Examples::new(Dataset::new(table, &LabelMap::of_model(&model.config)).unwrap(), &tokenizer, &model.config)
}

/// Looks on.
pub struct Silent;

impl Observer for Silent {}
