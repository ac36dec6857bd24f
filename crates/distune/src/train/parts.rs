//! What trains and what is frozen, part by part, as it is shown before a training. Called by [`crate::FineTuning`], the command line and
//! reports.

use serde::Serialize;

use super::freeze::parts_downwards;
use crate::data::audit::thousands;
use crate::model::thawed::Thawed;
use crate::model::weights::{Group, Table};

/// One line of the table that is shown before training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartOfModel {
    /// Embeddings, a block or the head.
    pub part: String,
    /// Whether anything of it trains.
    pub trains: bool,
    /// Its parameters.
    pub parameters: usize,
    /// How many of them train.
    pub trained: usize,
    /// In gradual unfreezing, the epoch in which it begins to train, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_epoch: Option<usize>,
}

/// What trains and what is frozen, part by part.
pub fn parts(table: &Table, thawed: &Thawed, gradual: bool) -> Vec<PartOfModel> {
    let downwards = if gradual { parts_downwards(thawed) } else { Vec::new() };
    let mut parts: Vec<(Group, PartOfModel)> = Vec::new();
    for tensor in table.tensors() {
        let trained = if thawed.trains(tensor) { tensor.range.len() } else { 0 };
        match parts.last_mut() {
            Some((group, part)) if *group == tensor.group => {
                part.parameters += tensor.range.len();
                part.trained += trained;
                part.trains |= trained > 0;
            }
            _ => {
                let from_epoch = downwards.iter().position(|&group| group == tensor.group).map(|at| at + 1);
                let (part, parameters) = (tensor.group.to_string(), tensor.range.len());
                parts.push((tensor.group, PartOfModel { part, trains: trained > 0, parameters, trained, from_epoch }));
            }
        }
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

/// The parts as a plain-text table, a line each, and a last one with their sum.
///
/// ```
/// use distune::prelude::*;
/// use distune::train::{parts, parts_table};
///
/// let labels = LabelMap::from_names(vec!["negative".into(), "positive".into()]);
/// let model = Model::load_with_new_head(&distune::sources::model("bundled", &mut ())?, &labels, 1)?;
/// let thawed = Unfreeze::blocks(3).resolve(model.weights.table())?;
/// let table = parts_table(&parts(model.weights.table(), &thawed, false));
/// println!("{table}");
/// # assert!(table.contains("5,472,002  of 22,713,218 parameters train"), "{table}");
/// # Ok::<(), distune::Error>(())
/// ```
pub fn parts_table(parts: &[PartOfModel]) -> String {
    let mut text = String::new();
    for PartOfModel { part, parameters, trained, from_epoch, .. } in parts {
        let state = match *trained {
            0 => "frozen".to_owned(),
            trained if trained == *parameters => "trains".to_owned(),
            trained => format!("{} of them train", thousands(trained)),
        };
        let from = from_epoch.filter(|&epoch| epoch > 1);
        let from = from.map(|epoch| format!(" from epoch {epoch} on")).unwrap_or_default();
        text += &format!("{part:<10} {:>12}  {state}{from}\n", thousands(*parameters));
    }
    let (all, trained) = parts.iter().fold((0, 0), |(all, trained), p| (all + p.parameters, trained + p.trained));
    text + &format!("{:<10} {:>12}  of {} parameters train\n", "all", thousands(trained), thousands(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned() {
        let part = |part: &str, parameters, trained, from_epoch| PartOfModel {
            part: part.to_owned(),
            trains: trained > 0,
            parameters,
            trained,
            from_epoch,
        };
        let parts = [
            part("embeddings", 11_915_136, 0, None),
            part("block 0", 1_774_464, 3_456, Some(2)),
            part("head", 148_610, 148_610, Some(1)),
        ];
        let expected = "embeddings   11,915,136  frozen\n\
                        block 0       1,774,464  3,456 of them train from epoch 2 on\n\
                        head            148,610  trains\n\
                        all             152,066  of 13,838,210 parameters train\n";
        assert_eq!(parts_table(&parts), expected);
    }
}
