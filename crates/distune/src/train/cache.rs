//! What the frozen part (all that lies below everything that ever trains) puts out, kept from epoch to epoch: it is the same each time, so it runs once for each row.
//!
//! Kept as bf16, in memory and, where that is used up, in a temporary file. The first epoch trains on the rounded values
//! too, so that it makes no difference to the bits which rows are kept and where.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use half::bf16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use serde::{Deserialize, Serialize};

use crate::data::Batch;
use crate::engine::Engine;
use crate::model::Model;
use crate::model::thawed::Thawed;
use crate::model::weights::{Group, Tensor};
use crate::train::{Recipe, Storage};
use crate::{Error, Result};

/// Room for the frozen part's outputs.
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    /// Bytes in all; rows beyond are computed in every epoch.
    pub limit: u64,
    /// Bytes of memory; what needs more goes to a temporary file.
    pub memory: u64,
}

/// What the cache did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheReport {
    /// How often the frozen part ran for a row.
    pub rows_computed: usize,
    /// How often that was not needed.
    pub rows_reused: usize,
    /// Rows of those that an earlier training with the same frozen part had left.
    pub rows_inherited: usize,
    /// Bytes kept in memory.
    pub memory: u64,
    /// Bytes kept in the file.
    pub file: u64,
    /// Seconds in the frozen part.
    pub seconds_computing: f64,
    /// Seconds that the frozen part takes for a row.
    pub seconds_a_row: f64,
    /// Why the file could not be written, when it could not.
    pub problem: Option<String>,
}

impl CacheReport {
    /// Seconds that the reused rows would have taken.
    pub fn seconds_saved(&self) -> f64 {
        self.seconds_a_row * self.rows_reused as f64
    }

    /// Seconds that this training would have taken longer alone.
    pub fn seconds_inherited(&self) -> f64 {
        self.seconds_a_row * self.rows_inherited as f64
    }
}

/// What the frozen part puts out, kept for several trainings on the same rows and by engines of the same precision, one after
/// another. It serves a training whose frozen part has the same weights as the one before, and gives way to any other.
#[derive(Debug, Default)]
pub struct SharedCache(Option<FrozenCache>);

impl SharedCache {
    /// Makes it that of a training that wants `new`: what was kept stays, if it is the same.
    pub(super) fn serve(&mut self, new: Option<FrozenCache>) -> Option<&mut FrozenCache> {
        self.0 = match (self.0.take(), new) {
            (Some(mut old), Some(new)) if old.holds_what_is_wanted(&new) => {
                old.begin(new.limits);
                Some(old)
            }
            (_, new) => new,
        };
        self.0.as_mut()
    }
}

/// Where a row's values are.
#[derive(Debug)]
enum Place {
    Nowhere,
    Memory(Box<[bf16]>),
    /// At this byte of the file.
    File(u64),
}

/// Outputs of the frozen part by row.
#[derive(Debug)]
pub(super) struct FrozenCache {
    limits: CacheLimits,
    directory: PathBuf,
    rows: Vec<Place>,
    file: Option<File>,
    report: CacheReport,
    /// D
    dim: usize,
    /// Whether only the head trains, which reads a single token of each row.
    first_token_only: bool,
    /// Checksum of the frozen part's weights.
    weights: u128,
    values: Vec<f32>,
    /// Rows that an earlier training left, and that this one has not come to yet.
    inherited: Vec<bool>,
    /// Rows computed in all trainings, and the seconds of that.
    computed: (usize, f64),
}

impl FrozenCache {
    /// An empty cache for so many rows; none where the recipe wants none, or no block is frozen. `shared` says that other
    /// trainings may follow.
    pub(super) fn new(
        storage: &Storage,
        rows: usize,
        engine: &mut dyn Engine,
        recipe: &Recipe,
        thawed: &Thawed,
        shared: bool,
    ) -> Option<Self> {
        let config = engine.config();
        let frozen_blocks = thawed.frozen_blocks();
        if !recipe.cache_frozen || frozen_blocks == 0 {
            return None;
        }
        let (dim, first_token_only) = (config.dim, frozen_blocks == config.n_layers);
        // a single epoch comes to no row again
        let nothing = CacheLimits { limit: 0, memory: 0 };
        Some(Self {
            limits: if recipe.num_train_epochs > 1 || shared { storage.cache } else { nothing },
            directory: storage.directory.clone(),
            rows: (0..rows).map(|_| Place::Nowhere).collect(),
            file: None,
            report: CacheReport::default(),
            dim,
            first_token_only,
            weights: if shared { checksum(engine.model(), frozen_blocks) } else { 0 },
            values: Vec::new(),
            inherited: vec![false; rows],
            computed: (0, 0.0),
        })
    }

    /// Whether what is kept here is what a new cache would keep.
    fn holds_what_is_wanted(&self, new: &Self) -> bool {
        let identity = |cache: &Self| (cache.weights, cache.rows.len(), cache.dim, cache.first_token_only);
        identity(self) == identity(new)
    }

    /// Begins another training.
    fn begin(&mut self, limits: CacheLimits) {
        self.limits = limits;
        self.inherited = self.rows.iter().map(|place| !matches!(place, Place::Nowhere)).collect();
        let CacheReport { memory, file, .. } = self.report;
        let problem = self.report.problem.take();
        self.report = CacheReport { memory, file, problem, ..CacheReport::default() };
    }

    /// What the frozen part puts out for a batch of these rows. A row that comes again follows itself.
    ///
    /// # Errors
    /// [`Error::File`] when the temporary file cannot be read.
    pub(super) fn output(&mut self, engine: &mut dyn Engine, rows: &[usize], batch: &Batch) -> Result<&[f32]> {
        let kept = |row: &usize| !matches!(self.rows[*row], Place::Nowhere);
        let again = |b: usize| b > 0 && rows[b - 1] == rows[b];
        let missing: Vec<usize> = (0..rows.len()).filter(|&b| !kept(&rows[b]) && !again(b)).collect();
        let mut computed = Vec::new();
        if !missing.is_empty() {
            let start = Instant::now();
            let output = engine.frozen_output(&Batch::new(missing.iter().map(|&b| batch.sequence(b))));
            computed.resize(output.len(), bf16::ZERO);
            computed.convert_from_f32_slice(output);
            let seconds = start.elapsed().as_secs_f64();
            self.report.seconds_computing += seconds;
            self.computed = (self.computed.0 + missing.len(), self.computed.1 + seconds);
        }
        self.report.rows_computed += missing.len();
        self.report.rows_reused += rows.len() - missing.len();
        self.report.rows_inherited += rows.iter().filter(|&&row| std::mem::take(&mut self.inherited[row])).count();
        let mut computed = computed.as_slice();
        self.values.clear();
        for (b, &row) in rows.iter().enumerate() {
            let tokens = if self.first_token_only { 1 } else { batch.sequence(b).len() };
            let (start, len) = (self.values.len(), tokens * self.dim);
            if again(b) {
                self.values.extend_from_within(start - len..);
                continue;
            }
            self.values.resize(start + len, 0.0);
            let values = &mut self.values[start..];
            match &self.rows[row] {
                Place::Nowhere => {
                    let (new, rest) = computed.split_at(len);
                    computed = rest;
                    new.convert_to_f32_slice(values);
                    self.rows[row] = keep(self.limits, &self.directory, &mut self.file, &mut self.report, new);
                }
                Place::Memory(kept) => kept.convert_to_f32_slice(values),
                Place::File(at) => read(self.file.as_mut(), *at, values)
                    .map_err(|e| Error::io(&self.directory, "read the temporary file of the cache in", &e))?,
            }
        }
        Ok(&self.values)
    }

    pub(super) fn report(&self) -> CacheReport {
        let (rows, seconds) = self.computed;
        CacheReport { seconds_a_row: seconds / rows.max(1) as f64, ..self.report.clone() }
    }

    /// Seconds that the frozen part takes for a row, and how many rows there is room for, from the rows so far.
    pub(super) fn costs(&self) -> (f64, usize) {
        let CacheReport { memory, file, seconds_a_row, .. } = self.report();
        let room = match (memory + file) / self.computed.0.max(1) as u64 {
            0 => 0,
            bytes_a_row => usize::try_from(self.limits.limit / bytes_a_row).unwrap_or(usize::MAX),
        };
        (seconds_a_row, room)
    }

    /// Counts on from what was done before a checkpoint. What was kept then is gone.
    pub(super) fn goes_on(&mut self, before: &CacheReport) {
        let CacheReport { rows_computed, rows_reused, rows_inherited, seconds_computing, .. } = *before;
        self.report =
            CacheReport { rows_computed, rows_reused, rows_inherited, seconds_computing, ..CacheReport::default() };
        self.computed = (rows_computed, seconds_computing);
    }
}

/// A checksum of the embeddings and of the first blocks.
fn checksum(model: &Model, blocks: usize) -> u128 {
    let mut hash = twox_hash::XxHash3_128::new();
    let below = |tensor: &&Tensor| match tensor.group {
        Group::Embeddings => true,
        Group::Block(block) => block < blocks,
        Group::Head => false,
    };
    for tensor in model.weights.table().tensors().iter().filter(below) {
        hash.write(bytemuck::cast_slice(model.weights.tensor(tensor)));
    }
    hash.finish_128()
}

/// Keeps a row where there is room.
fn keep(
    limits: CacheLimits,
    directory: &Path,
    file: &mut Option<File>,
    report: &mut CacheReport,
    values: &[bf16],
) -> Place {
    let bytes = size_of_val(values) as u64;
    if report.memory + report.file + bytes > limits.limit || report.problem.is_some() {
        return Place::Nowhere;
    }
    if report.memory + bytes <= limits.memory {
        report.memory += bytes;
        return Place::Memory(values.into());
    }
    match append(file, directory, report.file, values) {
        Ok(()) => {
            let at = report.file;
            report.file += bytes;
            Place::File(at)
        }
        Err(error) => {
            // the training can go on without
            report.problem = Some(format!("{}: {error}", directory.display()));
            Place::Nowhere
        }
    }
}

fn append(file: &mut Option<File>, directory: &Path, at: u64, values: &[bf16]) -> std::io::Result<()> {
    let file = match file {
        Some(file) => file,
        None => file.insert(tempfile::tempfile_in(directory)?),
    };
    file.seek(SeekFrom::Start(at))?;
    file.write_all(bytemuck::cast_slice::<u16, u8>(values.reinterpret_cast()))
}

fn read(file: Option<&mut File>, at: u64, values: &mut [f32]) -> std::io::Result<()> {
    let file = file.ok_or(std::io::ErrorKind::NotFound)?;
    let mut bits = vec![0_u16; values.len()];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(bytemuck::cast_slice_mut(&mut bits))?;
    bits.reinterpret_cast::<bf16>().convert_to_f32_slice(values);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that is full, or a directory that is gone, costs time and not the training.
    #[test]
    fn what_cannot_be_written_is_done_without() {
        let limits = CacheLimits { limit: 1000, memory: 8 };
        let (mut file, mut report) = (None, CacheReport::default());
        let values = [bf16::ONE; 4];
        let mut keep = || keep(limits, Path::new("/no/such/directory"), &mut file, &mut report, &values);
        assert!(matches!(keep(), Place::Memory(_)));
        assert!(matches!(keep(), Place::Nowhere));
        assert!(matches!(keep(), Place::Nowhere));
        assert_eq!((report.memory, report.file), (8, 0));
        assert!(report.problem.is_some_and(|p| p.starts_with("/no/such/directory: ")), "says where");
    }
}
