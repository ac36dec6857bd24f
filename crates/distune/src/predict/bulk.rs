//! Files of any length to a file of predictions, in constant memory. Called by the program's `predict`.

use std::path::Path;

use super::output::{Output, Predicted, State, checksum};
use super::pipeline::{Block, pipeline};
use crate::data::{Chunk, Chunking, Columns, Input, Table, read_chunks};
use crate::model::ModelFiles;
use crate::tokenize::{Encoded, Tokenizer};
use crate::{Error, Result};

/// How far a prediction is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BulkProgress {
    /// Rows that were done before this process began.
    pub before: usize,
    /// Rows that are done.
    pub rows: usize,
    /// Rows in all, as far as that can be told from the part of the input that was read.
    pub total: Option<usize>,
}

/// A chunk with what is known of it.
struct Passed {
    chunk: Chunk,
    checksum: String,
    /// Rows that were read up to its end, those of earlier processes included.
    rows: usize,
}

/// What predicts the rows of a chunk.
pub type Work<'a> = dyn FnMut(&Chunk, &[Encoded], BulkProgress) -> Result<Vec<Predicted>> + 'a;

/// Predicts the rows of `inputs` and writes them, behind those that are in `output` already. `work` predicts a chunk; `told` hears, ahead of
/// that, what was assumed of its rows and which of them were left out.
///
/// # Errors
/// Those of reading, `work` and writing, after all blocks before have been written: [`Output::open`] goes on behind them. Rows in front of
/// that place that are not those that were predicted.
pub fn bulk(
    inputs: &[Input],
    columns: &Columns,
    chunking: Chunking,
    tokenizer: &Tokenizer,
    output: &mut Output,
    work: &mut Work,
    told: &mut (dyn FnMut(&Table) + Send),
) -> Result<()> {
    let done = output.state.clone();
    let before = done.rows;
    let read = |hand_over: &mut dyn FnMut(Block<Passed>) -> Result<()>| {
        let mut passed = State::default();
        read_chunks(inputs, columns, chunking, &mut |mut chunk| {
            let skip = passed.blocks < done.blocks;
            passed.checksum = checksum(&passed.checksum, &chunk);
            passed.blocks += 1;
            passed.rows += chunk.records.len();
            if skip && passed.blocks == done.blocks && passed.checksum != done.checksum {
                return Err(other_rows(inputs, &done));
            }
            if !skip {
                told(&chunk.table);
            }
            if skip {
                return Ok(());
            }
            let (texts, pairs) = (std::mem::take(&mut chunk.table.texts), std::mem::take(&mut chunk.table.pairs));
            let with = Passed { chunk, checksum: passed.checksum.clone(), rows: passed.rows };
            hand_over(Block { texts, pairs, with })
        })?;
        if passed.blocks < done.blocks { Err(other_rows(inputs, &done)) } else { Ok(()) }
    };
    let mut rows = before;
    let work = |mut block: Block<Passed>, tokens: Vec<Encoded>| {
        let Passed { chunk, rows: read, .. } = &mut block.with;
        // which whoever predicts may want to see
        (chunk.table.texts, chunk.table.pairs) = (std::mem::take(&mut block.texts), std::mem::take(&mut block.pairs));
        let total = chunk.share.filter(|share| *share > 0.0).map(|share| (*read as f64 / share).round() as usize);
        let predicted = work(chunk, &tokens, BulkProgress { before, rows, total })?;
        rows += predicted.len();
        Ok((block.with, predicted))
    };
    let write =
        |(passed, predicted): (Passed, Vec<Predicted>)| output.append(&passed.chunk, &predicted, passed.checksum);
    pipeline(tokenizer, read, work, write)
}

/// A checksum of a model: its weights, its `config.json` and its tokenizer.
pub fn fingerprint(files: &ModelFiles) -> String {
    let weights = files.weight_files().map(|(_, bytes)| bytes);
    let tokenizer = files.tokenizer.iter().map(|(_, bytes)| bytes.as_slice());
    let checksum = crate::train::checksum(weights.chain(tokenizer).chain([files.config.as_slice()]));
    files.release_weights();
    format!("{checksum:032x}")
}

fn other_rows(inputs: &[Input], done: &State) -> Error {
    let name = match inputs.first() {
        Some(Input::File(path)) => path.clone(),
        Some(Input::Bytes(name, _)) => Path::new(name).to_owned(),
        None => Path::new("--data").to_owned(),
    };
    let problem = format!("its first rows, of which {} are predicted, are not those that they were", done.rows);
    Error::file(&name, problem, "Start anew with --overwrite")
}
