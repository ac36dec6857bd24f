//! Train, evaluate, save, predict: `cargo run --release -p distune --example quick_start [MODEL [DATA [OUTPUT]]]`.
//!
//! Without arguments it fine-tunes the bundled encoder on the bundled movie reviews, which takes about a minute on two cores.

use distune::prelude::*;

/// The five lines.
pub fn run(model: &str, data: &str, output: &str) -> Result<Prediction> {
    let trained = fine_tune(&RecipeFile::new(model, data))?;
    println!("{}", trained.evaluation().metrics);
    trained.save(output)?;
    let mut classifier = Classifier::open(output)?;
    let prediction = classifier.predict(&["a charming and often affecting journey"])?.remove(0);
    println!("{} ({:.2}), saved in {output}", prediction.label(), prediction.probability());
    Ok(prediction)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize, default| arguments.get(at).map_or(default, String::as_str);
    run(argument(0, "bundled"), argument(1, "reviews"), argument(2, "runs/quick-start")).map(drop)
}
