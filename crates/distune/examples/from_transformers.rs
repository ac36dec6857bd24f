//! What a `Trainer` of Transformers does with a model and data of the hub: `cargo run --release -p distune --example from_transformers`.
//!
//! `docs/book/src/transformers.md` has the Python beside it. Other names than those of the hub may be given as arguments.

use distune::prelude::*;

/// The last three blocks and the head, two epochs.
pub fn run(model: &str, data: &str, output: &str) -> Result<Evaluation> {
    let mut settings = RecipeFile::new(model, data);
    settings.recipe = Recipe {
        unfreeze: Unfreeze::blocks(3),
        learning_rate: 5e-5,
        per_device_train_batch_size: 32,
        num_train_epochs: 2,
        seed: 1,
        ..Recipe::recommended()
    };
    let trained = fine_tune(&settings)?;
    trained.save(output)?;
    Ok(trained.evaluation().clone())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize, default| arguments.get(at).map_or(default, String::as_str);
    let judged =
        run(argument(0, "distilbert-base-uncased"), argument(1, "stanfordnlp/sst2"), argument(2, "runs/sst2"))?;
    println!("{}", judged.metrics);
    Ok(())
}
