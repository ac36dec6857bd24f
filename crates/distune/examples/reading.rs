//! Time and memory of reading many rows in each format: `cargo run --release --example reading -- [ROWS]`.
//!
//! The texts are the bundled reviews over and over. Memory is what the process had at most while it read, beyond what it had
//! before and beyond the bytes of the texts; Linux alone tells it.

use std::path::Path;
use std::time::Instant;

use distune::data::{Columns, Labels, read_file, write_table};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows: usize = std::env::args().nth(1).as_deref().unwrap_or("1000000").parse()?;
    let reviews = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/reviews/train.tsv"));
    let reviews = read_file(reviews, &Columns::default(), Labels::Required)?;
    let mut table = reviews.without_rows();
    let indices: Vec<usize> = (0..rows).map(|row| row % reviews.len()).collect();
    table.extend_from(&reviews, &indices);
    // no two texts alike
    table.texts.iter_mut().enumerate().for_each(|(row, text)| *text = format!("{row} {text}"));
    let texts: usize = table.texts.iter().map(String::len).sum();
    println!("{rows} rows, texts of {} MB", texts / 1_000_000);

    let directory = tempfile::tempdir()?;
    let names = ["a.tsv", "a.csv", "a.jsonl", "a.parquet", "a.csv.gz", "a.jsonl.zst"];
    for name in names {
        write_table(&directory.path().join(name), &table, false)?;
    }
    drop(table);
    for name in names {
        let path = directory.path().join(name);
        let before = restart_peak();
        let start = Instant::now();
        let read = read_file(&path, &Columns::default(), Labels::Required)?;
        let seconds = start.elapsed().as_secs_f64();
        let beyond = kilobytes("VmHWM:").saturating_sub(before) * 1024;
        assert_eq!(read.len(), rows);
        let (size, beyond) =
            (std::fs::metadata(&path)?.len() / 1_000_000, beyond.saturating_sub(texts as u64) / 1_000_000);
        println!("{name:<12} {size:>5} MB  {seconds:>6.2} s  {beyond:>5} MB beyond the texts");
    }
    Ok(())
}

/// Kilobytes of this process now; from here on the peak counts anew.
fn restart_peak() -> u64 {
    // without the right to do so, the peak is that of the whole process
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    kilobytes("VmRSS:")
}

/// A line of the process's status, 0 where there is none.
fn kilobytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
