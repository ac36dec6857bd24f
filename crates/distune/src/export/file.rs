//! The file: one protobuf message, of which the constants, nearly all of it, are written one by one, so that no second copy of the
//! model is in memory. Called by `mod.rs`.
//!
//! A message in a message is its tag, its length and its bytes, and the bytes of a message's fields may come in any order. So the graph's
//! length is summed up first, and then the graph without constants is followed by them, as their fields.

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

use prost::{Message, encode_length_delimiter, length_delimiter_len};

use crate::export::graph::Initializer;
use crate::export::proto::{GraphProto, ModelProto};

/// `ModelProto.graph`, `GraphProto.initializer` and `TensorProto.raw_data`: their numbers, and that a length follows.
const GRAPH: u8 = 7 << 3 | 2;
const INITIALIZER: u8 = 5 << 3 | 2;
const RAW_DATA: u8 = 9 << 3 | 2;

/// Writes a model; returns how many bytes.
pub(super) fn write(path: &Path, model: &ModelProto, graph: &GraphProto, constants: &[Initializer]) -> Result<u64> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&model.encode_to_vec())?;
    start(&mut file, GRAPH, graph_size(graph, constants))?;
    file.write_all(&graph.encode_to_vec())?;
    for constant in constants {
        start(&mut file, INITIALIZER, size(constant))?;
        file.write_all(&constant.header().encode_to_vec())?;
        start(&mut file, RAW_DATA, constant.bytes())?;
        file.write_all(&constant.numbers())?;
    }
    let file = file.into_inner()?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// How many bytes a graph has with its constants.
pub(super) fn graph_size(graph: &GraphProto, constants: &[Initializer]) -> usize {
    graph.encoded_len() + constants.iter().map(|constant| field(size(constant))).sum::<usize>()
}

/// How many bytes a constant has.
fn size(constant: &Initializer) -> usize {
    constant.header().encoded_len() + field(constant.bytes())
}

/// How many bytes a field of so many bytes has with its tag and its length.
fn field(bytes: usize) -> usize {
    1 + length_delimiter_len(bytes) + bytes
}

/// Tag and length of a field.
fn start(file: &mut impl Write, tag: u8, bytes: usize) -> Result<()> {
    let mut start = vec![tag];
    encode_length_delimiter(bytes, &mut start)?;
    file.write_all(&start)
}
