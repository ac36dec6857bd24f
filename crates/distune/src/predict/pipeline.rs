//! Rows through reading, tokenization, the model and writing, each on a thread of its own, with few blocks of rows between them: neither
//! waits for another that is not slower, and the memory does not grow with the rows. Called by bulk prediction.

use std::sync::mpsc::sync_channel;
use std::thread::ScopedJoinHandle;

use super::sorted_logits;
use crate::data::check_text;
use crate::engine::Predict;
use crate::tokenize::{Encoded, Tokenizer};
use crate::{Error, Result};

/// Blocks that wait between two threads.
const WAITING: usize = 1;
/// A thread that tokenizes serves so many that compute: it is far faster.
const THREADS_SERVED: usize = 8;
/// Rows of a block, and bytes that end it, of [`predict_rows`].
const ROWS: usize = 8192;
const BYTES: usize = 4 << 20;

/// Rows that are tokenized and predicted together.
#[derive(Clone, Debug, Default)]
pub struct Block<T> {
    /// `[N]` texts.
    pub texts: Vec<String>,
    /// `[N]` second texts; empty where rows are single texts.
    pub pairs: Vec<String>,
    /// Whatever goes along with them.
    pub with: T,
}

/// Reads, tokenizes, computes and writes blocks of rows, in their order. `read` hands over block by block and `work` is called on this
/// thread, so that it may have an engine.
///
/// # Errors
/// The first one of those four, after all blocks before it have been written; what is behind it in the line is given up.
pub fn pipeline<T: Send, R: Send>(
    tokenizer: &Tokenizer,
    read: impl FnOnce(&mut dyn FnMut(Block<T>) -> Result<()>) -> Result<()> + Send,
    mut work: impl FnMut(Block<T>, Vec<Encoded>) -> Result<R>,
    write: impl FnMut(R) -> Result<()> + Send,
) -> Result<()> {
    let threads = (rayon::current_num_threads() / THREADS_SERVED).max(1);
    std::thread::scope(|scope| {
        let (to_tokenizer, blocks) = sync_channel(WAITING);
        let (to_model, tokenized) = sync_channel(WAITING);
        let (to_writer, done) = sync_channel(WAITING);
        let reading = scope.spawn(move || read(&mut |block| to_tokenizer.send(block).map_err(|_| given_up())));
        let tokenizing = scope.spawn(move || {
            for block in blocks {
                let tokens = encode(tokenizer, &block.texts, &block.pairs, threads)?;
                if to_model.send((block, tokens)).is_err() {
                    break;
                }
            }
            Ok(())
        });
        let writing = scope.spawn(move || done.into_iter().try_for_each(write));
        let mut worked = Ok(());
        for (block, tokens) in tokenized {
            match work(block, tokens) {
                Ok(result) => {
                    if to_writer.send(result).is_err() {
                        break;
                    }
                }
                Err(error) => {
                    worked = Err(error);
                    break;
                }
            }
        }
        drop(to_writer);
        // the first in the line only notice that the last have gone
        join(writing)?;
        worked?;
        join(tokenizing)?;
        join(reading)
    })
}

/// What a thread is told whose blocks nobody takes any more.
fn given_up() -> Error {
    Error::Interrupted { when: "while rows were read".into(), kept: "nothing was written of them".into() }
}

fn join(thread: ScopedJoinHandle<Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Tokenizes a block apart from the threads that compute.
fn encode(tokenizer: &Tokenizer, texts: &[String], pairs: &[String], threads: usize) -> Result<Vec<Encoded>> {
    let (rows, at_once) = (texts.len(), texts.len().div_ceil(threads).max(1));
    let one = |row: usize| match pairs.get(row) {
        None => tokenizer.encode_one(&texts[row]),
        Some(pair) => tokenizer.encode_pair(&texts[row], pair),
    };
    let part = |first: usize| (first..rows.min(first + at_once)).map(one).collect::<Result<Vec<_>>>();
    std::thread::scope(|scope| {
        // the first part is this thread's
        let others: Vec<_> = (0..rows).step_by(at_once).skip(1).map(|first| scope.spawn(move || part(first))).collect();
        let mut all = part(0)?;
        for other in others {
            all.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}

/// A row to predict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its text.
    pub text: String,
    /// The second text of a pair; all rows have one, or none has.
    pub pair: Option<String>,
}

/// What a model says of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct RowLogits {
    /// `[C]`; see [`super::probabilities`].
    pub logits: Vec<f32>,
    /// As [`Encoded::truncated`].
    pub truncated: bool,
}

/// Predicts rows of any number and hands over each with its logits, in their order. Rows are read, tokenized, computed and taken at the same
/// time, some thousand at once.
///
/// # Errors
/// The first one of `rows` or `take`, after all blocks of rows before it have been taken; rows with and without second texts; a token that
/// the model has not got.
pub fn predict_rows(
    engine: &mut dyn Predict,
    tokenizer: &Tokenizer,
    rows: impl Iterator<Item = Result<Row>> + Send,
    mut take: impl FnMut(Row, RowLogits) -> Result<()> + Send,
) -> Result<()> {
    let (config, combine) = (engine.config().clone(), tokenizer.combine());
    let work = |block: Block<()>, tokens: Vec<Encoded>| {
        let known = tokens.iter().try_for_each(|text| check_text(text, &config));
        known.map_err(|problem| Error::value("rows", "tokens", "those of the model", problem))?;
        let logits = sorted_logits(engine, &tokens, combine, |_, _| Ok::<_, Error>(()))?;
        Ok((block, tokens.iter().map(|text| text.truncated).collect::<Vec<_>>(), logits))
    };
    let classes = config.labels.len();
    let write = |(block, truncated, logits): (Block<()>, Vec<bool>, Vec<f32>)| {
        let mut pairs = block.pairs.into_iter();
        let all = block.texts.into_iter().zip(truncated).zip(logits.chunks_exact(classes));
        for ((text, truncated), logits) in all {
            take(Row { text, pair: pairs.next() }, RowLogits { logits: logits.to_vec(), truncated })?;
        }
        Ok(())
    };
    pipeline(tokenizer, |hand_over| in_blocks(rows, hand_over), work, write)
}

/// Puts rows together.
fn in_blocks(
    rows: impl Iterator<Item = Result<Row>>,
    hand_over: &mut dyn FnMut(Block<()>) -> Result<()>,
) -> Result<()> {
    let (mut block, mut bytes, mut pairs) = (Block::default(), 0, None);
    for row in rows {
        let Row { text, pair } = row?;
        if *pairs.get_or_insert(pair.is_some()) != pair.is_some() {
            return Err(Error::value("rows", "second text", "of all rows or of none", "of some"));
        }
        bytes += text.len() + pair.as_ref().map_or(0, String::len);
        block.texts.push(text);
        block.pairs.extend(pair);
        if block.texts.len() == ROWS || bytes >= BYTES {
            hand_over(std::mem::take(&mut block))?;
            bytes = 0;
        }
    }
    if block.texts.is_empty() { Ok(()) } else { hand_over(block) }
}
