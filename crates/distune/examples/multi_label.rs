//! Rows with any number of labels: `cargo run --release -p distune --example multi_label`.
//!
//! Labels are joined with `|` in a CSV file, or are lists in JSON and Parquet; a row may have none. Each label has a probability of its own.

use std::path::Path;

use distune::prelude::*;

/// Trains on such a file; the directory gets the file.
pub fn run(directory: &Path) -> Result<(Evaluation, Vec<Prediction>)> {
    let file = directory.join("rooms.csv");
    let parts = [("the bed was hard", "bed"), ("breakfast came cold", "food"), ("the street is loud", "noise")];
    let mut rows = "text,labels\n".to_owned();
    for row in 0..240 {
        let chosen = parts.iter().enumerate().filter(|(i, _)| row >> i & 1 == 1).map(|(_, part)| part);
        let (texts, labels): (Vec<&str>, Vec<&str>) = chosen.copied().unzip();
        let (texts, labels) = (texts.join(" and "), labels.join("|"));
        rows += &format!("room {row}: {texts},{labels}\n");
    }
    std::fs::write(&file, rows).map_err(|error| Error::io(&file, "write", &error))?;

    let mut settings = RecipeFile::new("bundled", &file.display().to_string());
    settings.recipe = Recipe { num_train_epochs: 8, learning_rate: 5e-4, ..Recipe::recommended() };
    let trained = fine_tune(&settings)?;
    let judged = trained.evaluation().clone();
    println!("{}", judged.metrics);

    let mut classifier = trained.into_classifier();
    let predictions = classifier.predict(&["the street is loud and breakfast came cold", "all was well"])?;
    for prediction in &predictions {
        println!("{:?}, probabilities {:.2?}", prediction.labels, prediction.probabilities);
    }
    Ok((judged, predictions))
}

fn main() -> Result<()> {
    let directory = tempfile::tempdir().map_err(|error| Error::io(&std::env::temp_dir(), "write", &error))?;
    run(directory.path()).map(drop)
}
