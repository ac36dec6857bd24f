//! Training the last blocks alone, with what the frozen ones put out kept: `cargo run --release -p distune --example freeze_and_cache`.
//!
//! Frozen blocks run once for each row, in the first epoch; later epochs cost only what trains.

use std::path::Path;

use distune::prelude::*;

/// Trains the last two blocks and the head on a small file; the directory gets the file.
pub fn run(directory: &Path) -> Result<FineTuned> {
    let file = directory.join("films.csv");
    let row = |i: usize| format!("number {i} was {},{}\n", ["a good film", "a dull film"][i % 2], ["yes", "no"][i % 2]);
    let rows = "text,label\n".to_owned() + &(0..160).map(row).collect::<String>();
    std::fs::write(&file, rows).map_err(|error| Error::io(&file, "write", &error))?;

    let mut settings = RecipeFile::new("bundled", &file.display().to_string());
    settings.recipe = Recipe {
        unfreeze: Unfreeze::blocks(2),
        cache_frozen: true,
        num_train_epochs: 5,
        learning_rate: 5e-4,
        ..Recipe::recommended()
    };
    let training = FineTuning::new(settings, &mut ())?;
    for part in training.parts() {
        println!("{:<12} {:>10} parameters, {:>10} train", part.part, part.parameters, part.trained);
    }
    let trained = training.run(None, &mut ())?;
    if let Some(cache) = &trained.outcome().cache {
        println!("frozen blocks ran {} times and were spared {} times", cache.rows_computed, cache.rows_reused);
    }
    println!("SHA-256 of what did not change: {}", trained.frozen().unwrap_or("nothing"));
    println!("{}", trained.evaluation().metrics);
    Ok(trained)
}

fn main() -> Result<()> {
    let directory = tempfile::tempdir().map_err(|error| Error::io(&std::env::temp_dir(), "write", &error))?;
    run(directory.path()).map(drop)
}
