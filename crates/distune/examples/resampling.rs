//! Time of the intervals of all figures: `cargo run --release --example resampling -p distune -- [ROWS]`.
//!
//! Predictions are drawn for rows of two classes, of five classes and of five labels, about nine of ten right. The time is that of
//! [`estimates`]: every single number that is defined, with its interval from 10,000 resamples, nothing read before.

use std::time::Instant;

use distune::data::Answers;
use distune::eval::{Bootstrap, Predictions, estimates};
use distune::model::ProblemType;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows: usize = std::env::args().nth(1).as_deref().unwrap_or("100000").parse()?;
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
