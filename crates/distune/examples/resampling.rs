//! Time of the intervals of all figures: `cargo run --release --example resampling -p distune -- [ROWS] [DIRECTORY]`.
//!
//! Predictions are drawn for rows of two classes, of five classes and of five labels, about nine of ten right. The time is that of
//! [`estimates`]: every single number that is defined, with its interval from 10,000 resamples, nothing read before. With a DIRECTORY,
//! the rows of two classes are written there, with the bundled reviews for texts, and nothing is measured but what
//! `time distune eval --predictions DIRECTORY/predictions.jsonl --data DIRECTORY/rows.tsv` then does.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use distune::data::{Answers, Columns, Labels, read_file};
use distune::eval::{Bootstrap, Predictions, estimates};
use distune::model::ProblemType;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows: usize = std::env::args().nth(1).as_deref().unwrap_or("100000").parse()?;
    if let Some(directory) = std::env::args().nth(2) {
        return write(rows, Path::new(&directory));
    }
    println!("{rows} rows, {} threads", rayon::current_num_threads());
    for (what, classes, problem) in [
        ("two classes", 2, ProblemType::SingleLabel),
        ("five classes", 5, ProblemType::SingleLabel),
        ("five labels", 5, ProblemType::MultiLabel),
    ] {
        let (truth, predictions) = draw(rows, classes, problem);
        let names: Vec<String> = (0..classes).map(|id| id.to_string()).collect();
        let start = Instant::now();
        let estimates = estimates(&truth, &predictions, &names, Bootstrap::default())?;
        let seconds = start.elapsed().as_secs_f64();
        println!("\n{what}: {} figures in {seconds:.2} s", estimates.len());
        for estimate in estimates {
            let interval = estimate.interval.map_or("none".into(), |i| format!("{:.5} to {:.5}", i.low, i.high));
            println!("{:<28} {:8.5}  {interval}", estimate.metric.name(), estimate.value);
        }
    }
    Ok(())
}

/// Labels, and probabilities that know them about nine times of ten.
fn draw(rows: usize, classes: usize, problem: ProblemType) -> (Answers, Predictions) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    // the sum of four uniform numbers is near enough to normal
    let mut noise = move || 1.7 * (0..4).map(|_| random.random_range(-1.0..1.0)).sum::<f64>();
    let (mut truth, mut predictions) = (Answers::none(problem), Predictions::none(problem));
    for row in 0..rows {
        let ids: Vec<u32> = match problem {
            ProblemType::SingleLabel => vec![(row % classes) as u32],
            ProblemType::MultiLabel => (0..classes as u32).filter(|id| row >> id & 3 == 0).collect(),
        };
        let logits: Vec<f32> =
            (0..classes as u32).map(|id| (noise() + if ids.contains(&id) { 3.0 } else { -2.0 }) as f32).collect();
        predictions.push(&distune::predict::probabilities(&logits, problem));
        truth.push(ids);
    }
    (truth, predictions)
}

/// Writes rows, and what `predict --json` would print for them.
fn write(rows: usize, directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let reviews = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/reviews/train.tsv"));
    let texts = read_file(reviews, &Columns::default(), Labels::Required)?.texts;
    let (truth, predictions) = draw(rows, 2, ProblemType::SingleLabel);
    let names = ["negative", "positive"];
    let mut data = BufWriter::new(File::create(directory.join("rows.tsv"))?);
    let mut predicted = BufWriter::new(File::create(directory.join("predictions.jsonl"))?);
    writeln!(data, "sentence\tlabel")?;
    let probabilities = predictions.probabilities.unwrap_or_default();
    for (row, p) in probabilities.chunks_exact(2).enumerate() {
        let text = format!("{} {row}", texts[row % texts.len()]);
        writeln!(data, "{text}\t{}", truth.row(row)[0])?;
        let label = names[predictions.answers.row(row)[0] as usize];
        let line = serde_json::json!({"text": text, "label": label,
            "probabilities": {"negative": p[0], "positive": p[1]}, "truncated": false});
        writeln!(predicted, "{line}")?;
    }
    data.flush()?;
    predicted.flush()?;
    Ok(())
}
