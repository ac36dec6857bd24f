//! Time and memory of a check of many rows: `cargo run --release --example auditing -- [ROWS] [FILE]`.
//!
//! The rows are made of the bundled reviews, 20 words on average: the beginning of one and the end of another (six of ten), one with
//! some words exchanged (two), a part of one (one), one as it is (one). So each review lies near a hundred others, as in data that was
//! collected twice. Everything is measured in one process with the bundled tokenizer: reading the file, and the check itself; the
//! peak is that of the whole process, which Linux alone tells. With FILE the rows stay there, for
//! `/usr/bin/time -v distune data check FILE`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use distune::data::audit::{Options, Watcher, check, counting_tokenizer, read_parts};
use distune::data::{Columns, Labels, Table, read_file};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let rows: usize = arguments.next().as_deref().unwrap_or("1000000").parse()?;
    let directory = tempfile::tempdir()?;
    let path = arguments.next().map_or_else(|| directory.path().join("rows.tsv"), PathBuf::from);
    let assets = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets"));
    let words = write_rows(&path, rows, &assets.join("reviews/train.tsv"))?;
    println!("{rows} rows of {:.1} words", words as f64 / rows as f64);

    let start = Instant::now();
    let (parts, _) = read_parts(std::slice::from_ref(&path), &Columns::default())?;
    println!("{:<30} {:>6.1} s", "reading", start.elapsed().as_secs_f64());
    let json = assets.join("encoder/tokenizer.json");
    let tokenizer = counting_tokenizer(&json, &std::fs::read(&json)?)?;
    let mut clock = Clock { work: "", start: Instant::now() };
    let report = check(&parts, &Options { tokenizer: Some(&tokenizer), max_length: 128, bundled: None }, &mut clock)?;
    clock.end("");
    for finding in &report.findings {
        println!("{}", finding.message);
    }
    println!(
        "{:<30} {:>6.1} s, peak {} MB",
        "in all",
        start.elapsed().as_secs_f64(),
        peak_kilobytes() * 1024 / 1_000_000
    );
    Ok(())
}

/// Writes the rows; returns how many words they have.
fn write_rows(path: &Path, rows: usize, reviews: &Path) -> Result<usize, Box<dyn std::error::Error>> {
    let table = read_file(reviews, &Columns::default(), Labels::Required)?;
    let texts: Vec<Vec<&str>> = table.texts.iter().map(|text| text.split_whitespace().collect()).collect();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut out = BufWriter::new(File::create(path)?);
    writeln!(out, "sentence\tlabel")?;
    let mut words = 0;
    for _ in 0..rows {
        let (text, label) = row(&table, &texts, &mut random);
        words += text.len();
        writeln!(out, "{}\t{label}", text.join(" "))?;
    }
    out.flush()?;
    Ok(words)
}

/// A text and its label.
fn row<'a>(table: &'a Table, texts: &[Vec<&'a str>], random: &mut ChaCha8Rng) -> (Vec<&'a str>, &'a str) {
    let at = random.random_range(0..texts.len());
    let (text, other) = (&texts[at], &texts[random.random_range(0..texts.len())]);
    let made = match random.random_range(0..10) {
        0..6 => [&text[..text.len().div_ceil(2)], &other[other.len() / 2..]].concat(),
        6..8 => {
            let mut text = text.clone();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..text.len());
                text[at] = other[random.random_range(0..other.len())];
            }
            text
        }
        8 => text[random.random_range(0..text.len().div_ceil(2))..].to_vec(),
        _ => text.clone(),
    };
    (made, &table.labels[at])
}

/// Prints how long each part of the work takes.
struct Clock {
    work: &'static str,
    start: Instant,
}

impl Clock {
    /// Ends one part and begins another.
    fn end(&mut self, next: &'static str) {
        if !self.work.is_empty() {
            println!(
                "{:<30} {:>6.1} s, peak {} MB",
                self.work,
                self.start.elapsed().as_secs_f64(),
                peak_kilobytes() / 1000
            );
        }
        (self.work, self.start) = (next, Instant::now());
    }
}

impl Watcher for Clock {
    fn progress(&mut self, work: &'static str, _done: usize, _total: usize) {
        if work != self.work {
            self.end(work);
        }
    }
}

/// The most memory that this process has had, 0 where the system does not tell.
fn peak_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
