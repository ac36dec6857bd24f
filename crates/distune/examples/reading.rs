//! Time and memory of reading many rows in each format: `cargo run --release --example reading -p distune -- [ROWS]`.
//!
//! The texts are the bundled reviews over and over, each with its number. Each file is read by a process of its own, which has no
//! memory left over from writing. Memory is the most that it had while it read, beyond what it had before and beyond the bytes of
//! the texts; Linux alone tells it.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use distune::data::{Columns, Labels, Table, read_file, write_table};

/// The argument before the name of a file that is to be read.
const READ: &str = "--read";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [option, file] = &arguments[..]
        && option == READ
    {
        return measure(Path::new(file));
    }
    let rows = arguments.first().map_or("1000000", String::as_str).parse()?;
    let table = table(rows)?;
    println!("{rows} rows, texts of {} MB", bytes(&table) / 1_000_000);
    let directory = tempfile::tempdir()?;
    for name in ["a.tsv", "a.csv", "a.jsonl", "a.parquet", "a.csv.gz", "a.jsonl.zst"] {
        let path = directory.path().join(name);
        write_table(&path, &table, false)?;
        let child = Command::new(std::env::current_exe()?).arg(READ).arg(&path).status()?;
        if !child.success() {
            return Err(format!("{name} could not be read").into());
        }
    }
    Ok(())
}

/// Rows of which no two are alike.
fn table(rows: usize) -> Result<Table, distune::Error> {
    let reviews = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/reviews/train.tsv"));
    let reviews = read_file(reviews, &Columns::default(), Labels::Required)?;
    let mut table = reviews.without_rows();
    let indices: Vec<usize> = (0..rows).map(|row| row % reviews.len()).collect();
    table.extend_from(&reviews, &indices);
    table.texts.iter_mut().enumerate().for_each(|(row, text)| *text = format!("{row} {text}"));
    Ok(table)
}

/// Bytes of the texts.
fn bytes(table: &Table) -> usize {
    table.texts.iter().map(String::len).sum()
}

/// Reads a file and prints what it took.
fn measure(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let (before, start) = (kilobytes("VmRSS:"), Instant::now());
    let table = read_file(path, &Columns::default(), Labels::Required)?;
    let seconds = start.elapsed().as_secs_f64();
    let most = kilobytes("VmHWM:").saturating_sub(before) * 1024;
    let name = path.file_name().unwrap_or_default().display();
    let (size, beyond) = (std::fs::metadata(path)?.len() / 1_000_000, most.saturating_sub(bytes(&table)) / 1_000_000);
    println!("{name:<12} {size:>5} MB  {seconds:>6.2} s  {beyond:>5} MB beyond the texts");
    Ok(())
}

/// A line of the process's status, 0 where there is none.
fn kilobytes(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
