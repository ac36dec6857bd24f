//! The file read back, without ONNX's own tools, which `crates/cli/tests/python/onnx.rs` has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{HashMap, HashSet};
use std::path::Path;

use prost::Message;

use super::proto::{GraphProto, ModelProto, Size, TensorProto, ValueInfoProto};
use super::{LARGEST, check_size, export_onnx};
use crate::model::weights::Group;
use crate::model::{Config, Model};

/// Two blocks, 8 wide, three classes of which a row may have several; sizes that all differ.
fn model() -> Model {
    let config = serde_json::json!({
        "model_type": "distilbert", "dim": 8, "hidden_dim": 20, "n_heads": 2, "n_layers": 2, "max_position_embeddings": 16,
        "vocab_size": 30, "id2label": {"0": "good", "1": "caf\u{e9} \"x\"", "2": "odd"},
        "problem_type": "multi_label_classification",
    });
    Model::random(Config::from_json(Path::new("config.json"), config.to_string().as_bytes()).unwrap(), 3)
}

fn exported(model: &Model) -> (ModelProto, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    let tokenizer = [("tokenizer.json".to_owned(), b"{}".to_vec())];
    let size = export_onnx(directory.path(), model, 12, &tokenizer).unwrap();
    let bytes = std::fs::read(directory.path().join("model.onnx")).unwrap();
    assert_eq!(bytes.len() as u64, size);
    assert_eq!(std::fs::read(directory.path().join("tokenizer.json")).unwrap(), b"{}");
    let config = std::fs::read_to_string(directory.path().join("config.json")).unwrap();
    assert_eq!(config, model.config.to_json());
    (ModelProto::decode(&bytes[..]).unwrap(), bytes)
}

/// Name, number type and shape.
fn shown(value: &ValueInfoProto) -> String {
    let tensor = value.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
    let size = |size: &Option<Size>| match size.clone().unwrap() {
        Size::Value(value) => value.to_string(),
        Size::Param(name) => name,
    };
    let shape: Vec<String> = tensor.shape.as_ref().unwrap().dim.iter().map(|dim| size(&dim.value)).collect();
    format!("{} {} {}", value.name, tensor.elem_type, shape.join(" x "))
}

fn floats(tensor: &TensorProto) -> Vec<f32> {
    tensor.raw_data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[test]
fn inputs_outputs_and_metadata() {
    let (onnx, bytes) = exported(&model());
    // by hand: field 1, a number, 8; field 2, seven bytes
    assert_eq!(bytes[..11], *b"\x08\x08\x12\x07distune");
    assert_eq!(onnx.ir_version, 8);
    assert_eq!(onnx.opset_import.iter().map(|set| (set.domain.as_str(), set.version)).collect::<Vec<_>>(), [("", 17)]);
    let metadata: HashMap<_, _> =
        onnx.metadata_props.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
    let names: serde_json::Value = serde_json::from_str(metadata["id2label"]).unwrap();
    assert_eq!(names, serde_json::json!({"0": "good", "1": "caf\u{e9} \"x\"", "2": "odd"}));
    assert_eq!((metadata["problem_type"], metadata["max_length"]), ("multi_label_classification", "12"));
    let graph = onnx.graph.unwrap();
    let inputs: Vec<String> = graph.input.iter().map(shown).collect();
    assert_eq!(inputs, ["input_ids 7 batch_size x sequence_length", "attention_mask 7 batch_size x sequence_length"]);
    assert_eq!(graph.output.iter().map(shown).collect::<Vec<_>>(), ["logits 1 batch_size x 3"]);
}

#[test]
fn every_value_is_made_once_before_it_is_used_and_every_constant_is_used() {
    let GraphProto { node, initializer, input, output, .. } = exported(&model()).0.graph.unwrap();
    let constants: HashSet<&str> = initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(constants.len(), initializer.len());
    let mut known = constants.clone();
    known.extend(input.iter().map(|value| value.name.as_str()));
    let (mut used, mut names) = (HashSet::new(), HashSet::new());
    for node in &node {
        for input in &node.input {
            assert!(known.contains(input.as_str()), "{} uses {input}", node.name);
            used.insert(input.as_str());
        }
        assert!(names.insert(&node.name), "{} twice", node.name);
        assert!(node.output.iter().all(|output| known.insert(output)), "{} twice", node.output[0]);
    }
    assert!(known.contains(output[0].name.as_str()));
    assert_eq!(constants.difference(&used).collect::<Vec<_>>(), Vec::<&&str>::new());
    // 12 layer norms and GELUs would be a model of other depth
    let count = |op: &str| node.iter().filter(|node| node.op_type == op).count();
    assert_eq!(["LayerNormalization", "Erf", "Softmax", "Gemm"].map(count), [5, 2, 2, 2]);
}

#[test]
fn constants_are_the_weight_table() {
    let model = model();
    let graph = exported(&model).0.graph.unwrap();
    let constants: HashMap<&str, &TensorProto> = graph.initializer.iter().map(|t| (t.name.as_str(), t)).collect();
    for tensor in &graph.initializer {
        let size = if tensor.data_type == 1 { 4 } else { 8 };
        assert_eq!(tensor.dims.iter().product::<i64>() as usize * size, tensor.raw_data.len(), "{}", tensor.name);
    }
    for tensor in model.weights.table().tensors() {
        let values = model.weights.tensor(tensor);
        let matrix = tensor.group < Group::Head && tensor.is_linear();
        let name = if matrix { format!("{}.transposed", tensor.name) } else { tensor.name.clone() };
        let constant = constants[name.as_str()];
        let mut shape: Vec<i64> = tensor.shape.iter().map(|&n| n as i64).collect();
        if !matrix {
            assert_eq!((&constant.dims, floats(constant)), (&shape, values.to_vec()), "{name}");
            continue;
        }
        let (n, k, got) = (tensor.shape[0], tensor.shape[1], floats(constant));
        shape.reverse();
        assert_eq!(constant.dims, shape, "{name}");
        for row in 0..n {
            assert!((0..k).all(|column| got[column * n + row] == values[row * k + column]), "{name}, row {row}");
        }
    }
}

#[test]
fn what_is_too_large_for_the_format_is_refused() {
    assert!(check_size(Path::new("model.onnx"), LARGEST).is_ok());
    let error = check_size(Path::new("model.onnx"), LARGEST + 1).unwrap_err().to_string();
    assert!(error.starts_with("model.onnx: the model has 2147483648 bytes"), "{error}");
}
