//! A training loop of one's own over an `Engine`: `cargo run --release -p distune --example custom_loop`.
//!
//! What `fine_tune` does, without its schedule, checkpoints and records: batches in, losses out, every step yours.

use std::path::Path;

use distune::eval::evaluate;
use distune::prelude::*;

/// Trains on the first of the bundled reviews, judges and saves; returns the losses and the evaluation.
pub fn run(directory: &Path) -> Result<(Vec<f64>, Evaluation)> {
    // rows, their classes, a model with a head for them
    let some = |split, rows| -> Result<Table> {
        let mut table =
            distune::sources::table("reviews", Some(split), &Columns::default(), Labels::Required, &mut ())?;
        table.texts.truncate(rows);
        table.labels.truncate(rows);
        table.lines.truncate(rows);
        Ok(table)
    };
    let (train, validation) = (some("train", 320)?, some("validation", 200)?);
    let labels = LabelMap::from_tables(&[&train])?;
    let files = distune::sources::model("bundled", &mut ())?;
    let model = Model::load_with_new_head(&files, &labels, 42)?;
    let tokenizer = distune::sources::Reading::cut_at(64).tokenizer(&files, &model.config)?;
    let train = Examples::new(Dataset::new(train, &labels)?, &tokenizer, &model.config);
    let validation = Examples::new(Dataset::new(validation, &labels)?, &tokenizer, &model.config);

    // an engine that trains the last three blocks and the head
    let recipe = Recipe { unfreeze: Unfreeze::blocks(3), ..Recipe::recommended() };
    let thawed = recipe.thawed(model.weights.table())?;
    let options = recipe.step_options();
    let mut engine = Cpu::for_training(model, thawed, Precision::fastest());

    // three epochs of batches of 32 rows, at a learning rate of 5e-4 after ten steps of warmup
    let (mut losses, rows) = (Vec::new(), (0..train.len()).collect::<Vec<_>>());
    for _ in 0..3 {
        for rows in rows.chunks(32) {
            let sequences = rows.iter().map(|&row| train.sequence(row)).collect::<Result<Vec<_>>>()?;
            let targets = train.answers().pick(rows, labels.len());
            let step = losses.len() as u64 + 1;
            let learning_rate = 5e-4 * (step as f64 / 10.0).min(1.0);
            let done = engine.train_step(&Batch::new(sequences), targets.all(), step, learning_rate, &options);
            println!("step {step}: loss {:.3}, gradient norm {:.2}", done.loss, done.gradient_norm);
            losses.push(done.loss);
        }
    }
    let judged = evaluate(&mut engine, &validation, &mut ())?;
    println!("{}", judged.metrics);
    distune::model::save(directory, engine.model(), &files.tokenizer)?;
    Ok((losses, judged))
}

fn main() -> Result<()> {
    let directory = tempfile::tempdir().map_err(|error| Error::io(&std::env::temp_dir(), "write", &error))?;
    run(directory.path()).map(drop)
}
