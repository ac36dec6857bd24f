//! Models for other programs: a directory with `model.onnx`, which ONNX Runtime, OpenVINO and others run, laid out as Optimum does.
//! Called by `distune export`.

mod file;
mod graph;
mod proto;
#[cfg(test)]
mod tests;

use std::path::Path;

use prost::Message;
use serde_json::{Map, Value};

use crate::model::{Model, write};
use crate::{Error, Result};

use proto::{ModelProto, OperatorSetIdProto, StringStringEntryProto};

/// The version of the format, that of the operators' version.
const IR_VERSION: i64 = 8;
/// The version of the operators: the first one with layer norm.
const OPERATORS: i64 = 17;
/// What readers of protobuf take, at most.
const LARGEST: usize = i32::MAX as usize;

/// Writes `model.onnx`, `config.json` and the tokenizer's files into an existing directory. Returns the size of `model.onnx` in bytes.
///
/// The graph takes `input_ids` and `attention_mask`, int64 `[batch_size, sequence_length]`, and gives `logits`, f32 `[batch_size, C]`. Its
/// metadata tell `id2label` and `problem_type` as `config.json` does, and `max_length`, which texts were cut at in training. Adapters
/// become part of the weights.
///
/// # Errors
/// [`Error::File`] when a file cannot be written, or the model is larger than a file of this format may be.
pub fn export_onnx(directory: &Path, model: &Model, max_length: usize, tokenizer: &[(String, Vec<u8>)]) -> Result<u64> {
    if model.weights.table().lora().is_some() {
        return export_onnx(directory, &model.merged(), max_length, tokenizer);
    }
    let path = directory.join("model.onnx");
    let (graph, initializers) = graph::graph(model);
    let header = header(model, max_length);
    let size = file::graph_size(&graph, &initializers).saturating_add(header.encoded_len() + 16);
    check_size(&path, size)?;
    let written = file::write(&path, &header, &graph, &initializers).map_err(|e| Error::io(&path, "write", &e))?;
    write(&directory.join("config.json"), model.config.to_json().as_bytes())?;
    for (name, contents) in tokenizer {
        write(&directory.join(name), contents)?;
    }
    Ok(written)
}

/// Checks that a file of so many bytes can be read.
fn check_size(path: &Path, bytes: usize) -> Result<()> {
    if bytes <= LARGEST {
        return Ok(());
    }
    let problem = format!("the model has {bytes} bytes, but a file of ONNX at most {LARGEST}");
    Err(Error::file(path, problem, "Use its safetensors, which have no such limit"))
}

/// Everything but the graph.
fn header(model: &Model, max_length: usize) -> ModelProto {
    let names: Map<String, Value> =
        model.config.labels.iter().enumerate().map(|(id, name)| (id.to_string(), name.as_str().into())).collect();
    let properties = [
        ("id2label", Value::Object(names).to_string()),
        ("problem_type", model.config.problem_type.name().to_owned()),
        ("max_length", max_length.to_string()),
    ];
    ModelProto {
        ir_version: IR_VERSION,
        producer_name: "distune".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: None,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPERATORS }],
        metadata_props: properties.map(|(key, value)| StringStringEntryProto { key: key.to_owned(), value }).to_vec(),
    }
}
