//! What a tensor of the weight table may be called in a checkpoint. Called by `load.rs`.

use crate::model::Architecture;

/// BERT's names of a DistilBERT's parts, each without the prefix of its model.
const BERT: [(&str, &str); 8] = [
    ("transformer.layer.", "encoder.layer."),
    (".attention.q_lin.", ".attention.self.query."),
    (".attention.k_lin.", ".attention.self.key."),
    (".attention.v_lin.", ".attention.self.value."),
    (".attention.out_lin.", ".attention.output.dense."),
    (".sa_layer_norm.", ".attention.output.LayerNorm."),
    (".ffn.lin1.", ".intermediate.dense."),
    (".ffn.lin2.", ".output.dense."),
];
/// Last, because other names of BERT end in the same way.
const BERT_OUTPUT_NORM: (&str, &str) = (".output_layer_norm.", ".output.LayerNorm.");

/// The names to look for, in this order, for a tensor of the table: with the model's prefix and without, layer norms by their
/// present names and by the oldest ones, `gamma` and `beta`.
pub(super) fn candidates(architecture: Architecture, name: &str) -> Vec<String> {
    let bare = name.strip_prefix("distilbert.");
    let names = match (architecture, bare) {
        // a head's tensors have no prefix
        (_, None) => vec![name.to_owned()],
        (Architecture::DistilBert, Some(bare)) => vec![name.to_owned(), bare.to_owned()],
        (Architecture::Bert { .. }, Some(bare)) => {
            let renamed = BERT.iter().chain([&BERT_OUTPUT_NORM]);
            let bare = renamed.fold(bare.to_owned(), |name, (ours, theirs)| name.replace(ours, theirs));
            vec![format!("bert.{bare}"), bare]
        }
    };
    let old: Vec<String> = names.iter().filter_map(|name| old_norm(name)).collect();
    names.into_iter().chain(old).collect()
}

/// A layer norm's name in checkpoints converted from TensorFlow long ago.
fn old_norm(name: &str) -> Option<String> {
    let (layer, part) = name.rsplit_once('.')?;
    let part = match part {
        _ if !layer.ends_with("LayerNorm") && !layer.ends_with("layer_norm") => return None,
        "weight" => "gamma",
        _ => "beta",
    };
    Some(format!("{layer}.{part}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_distilbert() {
        let names = |name: &str| candidates(Architecture::DistilBert, name);
        assert_eq!(names("pre_classifier.weight"), ["pre_classifier.weight"]);
        let word = "embeddings.word_embeddings.weight";
        assert_eq!(names(&format!("distilbert.{word}")), [format!("distilbert.{word}"), word.into()]);
        let norm = "transformer.layer.3.sa_layer_norm";
        assert_eq!(
            names(&format!("distilbert.{norm}.bias")),
            [
                format!("distilbert.{norm}.bias"),
                format!("{norm}.bias"),
                format!("distilbert.{norm}.beta"),
                format!("{norm}.beta")
            ]
        );
    }

    #[test]
    fn of_bert() {
        for (ours, theirs) in [
            ("embeddings.LayerNorm.weight", "embeddings.LayerNorm.weight"),
            ("embeddings.position_embeddings.weight", "embeddings.position_embeddings.weight"),
            ("transformer.layer.11.attention.q_lin.bias", "encoder.layer.11.attention.self.query.bias"),
            ("transformer.layer.0.attention.k_lin.weight", "encoder.layer.0.attention.self.key.weight"),
            ("transformer.layer.0.attention.v_lin.weight", "encoder.layer.0.attention.self.value.weight"),
            ("transformer.layer.0.attention.out_lin.weight", "encoder.layer.0.attention.output.dense.weight"),
            ("transformer.layer.0.sa_layer_norm.bias", "encoder.layer.0.attention.output.LayerNorm.bias"),
            ("transformer.layer.0.ffn.lin1.weight", "encoder.layer.0.intermediate.dense.weight"),
            ("transformer.layer.0.ffn.lin2.weight", "encoder.layer.0.output.dense.weight"),
            ("transformer.layer.0.output_layer_norm.weight", "encoder.layer.0.output.LayerNorm.weight"),
        ] {
            let names = candidates(Architecture::Bert { token_types: 2 }, &format!("distilbert.{ours}"));
            assert_eq!(names[..2], [format!("bert.{theirs}"), theirs.to_owned()]);
        }
    }
}
