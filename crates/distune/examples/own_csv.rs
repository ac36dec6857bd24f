//! A CSV file with columns of any names: `cargo run --release -p distune --example own_csv`.
//!
//! The file is written first, so that there is one; with yours, begin at `settings`.

use std::fmt::Write;
use std::path::Path;

use distune::prelude::*;

/// Trains on such a file; the directory gets the file and the run.
pub fn run(directory: &Path) -> Result<FineTuned> {
    let file = directory.join("tickets.csv");
    let mut rows = "id,message,team\n".to_owned();
    for row in 0..120 {
        let (what, team) = [("the invoice is wrong", "billing"), ("the page does not load", "web")][row % 2];
        let _ = writeln!(rows, "{row},\"Hello, this is {row}: {what}\",{team}");
    }
    std::fs::write(&file, rows).map_err(|error| Error::io(&file, "write", &error))?;

    let mut settings = RecipeFile::new("bundled", &file.display().to_string());
    settings.columns = Columns { text: Some("message".into()), label: Some("team".into()), ..Columns::default() };
    settings.recipe = Recipe { num_train_epochs: 4, learning_rate: 3e-4, ..Recipe::recommended() };
    // one file is split into 80 % train, 10 % validation and 10 % test rows; who wants to know what is assumed looks on
    let training = FineTuning::new(settings, &mut Told)?;
    let trained = training.run(None, &mut Told)?;
    println!("{}", trained.evaluation().metrics);
    trained.save(directory.join("run"))?;
    Ok(trained)
}

/// Prints what it is told.
struct Told;

impl distune::hub::Observer for Told {
    fn note(&mut self, text: &str) {
        println!("{text}");
    }
}

impl distune::train::Observer for Told {
    fn evaluated(&mut self, record: &distune::train::EvaluationRecord) {
        println!("epoch {}: loss {:.3}, {}", record.epoch, record.train_loss, record.validation.metrics);
    }
}

fn main() -> Result<()> {
    let directory = tempfile::tempdir().map_err(|error| Error::io(&std::env::temp_dir(), "write", &error))?;
    run(directory.path()).map(drop)
}
