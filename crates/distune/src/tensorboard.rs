//! A training's figures as a TensorBoard event file, written as it goes: what `trainer_state.json` logs, under the names that
//! Transformers gives it (`train/loss`, `eval/accuracy`). Called by whoever follows a training.
//!
//! An event file is a sequence of records (TensorFlow's `TFRecord`), each a protobuf `Event`:
//!
//! ```text
//! u64  length of the event
//! u32  masked CRC-32C of the length's eight bytes
//! ...  the event
//! u32  masked CRC-32C of the event
//! ```
//!
//! Of the messages (`tensorflow/core/util/event.proto`, `framework/summary.proto`) these fields are written:
//! `Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; SessionLog session_log = 7; }`,
//! `Summary { repeated Value value = 1; }`, `Value { string tag = 1; float simple_value = 2; }`, `SessionLog { SessionStatus status = 1; }`.
//!
//! A training that goes on writes another file, which begins with a session log: its step tells TensorBoard which figures of the files
//! before are not valid any more.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crc::{CRC_32_ISCSI, Crc};
use serde_json::{Map, Value};

use crate::run::{logged_evaluation, logged_step};
use crate::train::{EvaluationRecord, StepRecord};
use crate::{Error, Result};

/// CRC-32C, which its catalogue calls by the protocol that uses it.
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Protobuf's wire types.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// An event file, which begins with the first figure. TensorBoard finds it in the directory that it is made in, or below another one.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    /// From the first figure on.
    file: Option<File>,
    problem: Option<String>,
}

impl EventFile {
    /// `events.out.tfevents.SECONDS.distune` in a directory, beside those that a training which goes on has there.
    pub fn new(directory: &Path) -> Self {
        let named = |seconds: u64| directory.join(format!("events.out.tfevents.{seconds:010}.distune"));
        let free = (now() as u64..).map(named).find(|path| !path.exists());
        Self { path: free.unwrap_or_else(|| named(u64::MAX)), file: None, problem: None }
    }

    /// Says that what follows begins with this step: figures of earlier files from it on are of a process that was killed.
    pub fn begins_with(&mut self, step: usize) {
        // SessionStatus START
        self.write(&event(now(), step as u64, |event| bytes_field(event, 7, &[1 << 3, 1])));
    }

    /// Writes a step, if it is one that is logged.
    pub fn step(&mut self, record: &StepRecord) {
        if record.step == 1 {
            self.begins_with(1);
        }
        if let Some(entry) = logged_step(record) {
            self.write_entry(record.step, &entry);
        }
    }

    /// Writes an evaluation of the validation rows.
    pub fn evaluated(&mut self, record: &EvaluationRecord) {
        self.write_entry(record.step, &logged_evaluation(record));
    }

    /// Copies what is written so far into another directory.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written.
    pub fn copy(&self, directory: &Path) -> Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        let to = directory.join(self.path.file_name().unwrap_or_default());
        std::fs::copy(&self.path, &to).map(drop).map_err(|e| Error::io(&to, "write", &e))
    }

    /// Why the file ends before the training did, if it does: a full disk is no reason to lose a training.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Writes the figures of a log entry as one event.
    fn write_entry(&mut self, step: usize, entry: &Map<String, Value>) {
        self.write(&event(now(), step as u64, |event| bytes_field(event, 5, &summary(entry))));
    }

    fn write(&mut self, event: &[u8]) {
        if self.problem.is_none()
            && let Err(error) = self.append(&record(event))
        {
            self.problem = Some(format!("{}: cannot write: {error}", self.path.display()));
        }
    }

    /// Appends a record, after the one that says what the file is.
    fn append(&mut self, next: &[u8]) -> std::io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = self.file.insert(File::create_new(&self.path)?);
                file.write_all(&record(&event(now(), 0, |event| bytes_field(event, 3, b"brain.Event:2"))))?;
                file
            }
        };
        file.write_all(next)
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The record of an event.
fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    [&length, &masked_crc(&length).to_le_bytes()[..], event, &masked_crc(event).to_le_bytes()].concat()
}

/// CRC-32C as `TFRecord` stores it: rotated and shifted, so that a checksum of bytes with a checksum in them is still one
/// (`tensorflow/core/lib/hash/crc32c.h`).
fn masked_crc(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// An `Event` of this time and step, and what `what` adds to it.
fn event(wall_time: f64, step: u64, what: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut event = Vec::new();
    key(&mut event, 1, FIXED_64);
    event.extend(wall_time.to_le_bytes());
    key(&mut event, 2, VARINT);
    varint(&mut event, step);
    what(&mut event);
    event
}

/// The `Summary` of a log entry's figures; its step is the event's.
fn summary(entry: &Map<String, Value>) -> Vec<u8> {
    let mut summary = Vec::new();
    for (name, figure) in entry {
        let Some(figure) = figure.as_f64().filter(|_| name != "step") else { continue };
        let mut value = Vec::new();
        bytes_field(&mut value, 1, tag(name).as_bytes());
        key(&mut value, 2, FIXED_32);
        value.extend((figure as f32).to_le_bytes());
        bytes_field(&mut summary, 1, &value);
    }
    summary
}

/// `eval/X` for `eval_X`, `train/X` for all else, as Transformers' `rewrite_logs` has it.
fn tag(name: &str) -> String {
    match name.strip_prefix("eval_") {
        Some(rest) => format!("eval/{rest}"),
        None => format!("train/{name}"),
    }
}

/// A field's number and wire type.
fn key(to: &mut Vec<u8>, field: u64, wire_type: u64) {
    varint(to, field << 3 | wire_type);
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn varint(to: &mut Vec<u8>, mut x: u64) {
    while x >= 0x80 {
        to.push(x as u8 | 0x80);
        x >>= 7;
    }
    to.push(x as u8);
}

/// A field of bytes: a string, or a message.
fn bytes_field(to: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    key(to, field, BYTES);
    varint(to, bytes.len() as u64);
    to.extend(bytes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// RFC 3720, appendix B.4.
    #[test]
    fn crc_gives_the_published_values() {
        let ascending: Vec<u8> = (0..32).collect();
        for (bytes, crc) in [
            (&[0_u8; 32][..], 0x8a91_36aa_u32),
            (&[0xff; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
            (b"123456789", 0xe306_9283),
        ] {
            assert_eq!(CRC.checksum(bytes), crc, "{bytes:?}");
        }
    }

    /// The bytes that `tensorboard` 2.21.0 writes:
    /// `RecordWriter(open(p, "wb")).write(Event(wall_time=1.5, step=300, summary=Summary(value=[Summary.Value(tag="train/loss",
    /// simple_value=0.25)])).SerializeToString())`, from `tensorboard.summary.writer.record_writer`.
    #[test]
    fn a_record_is_what_tensorboard_writes() {
        let entry = serde_json::json!({"loss": 0.25, "step": 300});
        let event = event(1.5, 300, |event| bytes_field(event, 5, &summary(entry.as_object().unwrap())));
        let hex: String = record(&event).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "2100000000000000017becf609000000000000f83f10ac022a130a110a0a747261696e2f6c6f7373150000803e6557981f"
        );
    }

    #[test]
    fn numbers_take_as_many_bytes_as_they_need() {
        let bytes = |x| {
            let mut to = Vec::new();
            varint(&mut to, x);
            to
        };
        assert_eq!((bytes(0), bytes(127), bytes(128), bytes(300)), (vec![0], vec![127], vec![0x80, 1], vec![0xac, 2]));
        assert_eq!(bytes(u64::MAX).len(), 10);
    }

    fn step(step: usize) -> StepRecord {
        StepRecord { step, epoch: 0.5, loss: 0.7, grad_norm: 2.0, learning_rate: 1e-4 }
    }

    /// Record after record, each with both of its checksums; what `trainer_state.json` does not log is not there.
    #[test]
    fn a_file_is_a_sequence_of_records() {
        let directory = tempfile::tempdir().unwrap();
        let mut events = EventFile::new(directory.path());
        (1..=20).for_each(|n| events.step(&step(n)));
        let bytes = std::fs::read(&events.path).unwrap();
        let (mut rest, mut found) = (&bytes[..], Vec::new());
        while let Some((length, after)) = rest.split_first_chunk() {
            let (event, after) = after[4..].split_at(u64::from_le_bytes(*length) as usize);
            assert_eq!(record(event), rest[..8 + 4 + event.len() + 4]);
            rest = &after[4..];
            found.push(String::from_utf8_lossy(event).into_owned());
        }
        assert!(rest.is_empty());
        // the version, where it begins, then steps 1, 10 and 20
        assert_eq!(found.len(), 5);
        assert!(found[0].ends_with("brain.Event:2"), "{found:?}");
        assert!(found[1].ends_with("\x10\x01\x3a\x02\x08\x01"), "{found:?}");
        for event in &found[2..] {
            let at = |name| event.find(name).unwrap();
            assert!(at("train/epoch") < at("train/loss") && at("train/grad_norm") < at("train/learning_rate"));
            assert!(!event.contains("step"), "{event}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_costs_the_rest_of_the_file_only() {
        let path = PathBuf::from("/dev/full");
        let file = File::options().write(true).open(&path).ok();
        let mut events = EventFile { file, path, problem: None };
        assert_eq!(events.problem(), None);
        events.step(&step(1));
        assert!(events.problem().unwrap().starts_with("/dev/full: cannot write: "), "{events:?}");
    }

    #[test]
    fn names_are_those_of_transformers() {
        let names = ["loss", "grad_norm", "epoch", "eval_loss", "eval_macro_f1"].map(tag);
        assert_eq!(names, ["train/loss", "train/grad_norm", "train/epoch", "eval/loss", "eval/macro_f1"]);
    }
}
