//! `distune quantize`: a trained model as int8, for everything that predicts.

use std::path::PathBuf;

use clap::Args;
use distune::Error;
use distune::model::{Model, save_quantized, write};
use distune::run::RunDirectory;
use serde_json::json;

use crate::length::LengthArgs;
use crate::output::line;
use crate::{Common, sources};

/// What else a model's directory has that predictions need: how its texts were read, its temperature and thresholds.
const COMPANIONS: [&str; 2] = ["recipe.toml", "calibration.json"];

/// Save a trained model with weights of 8-bit integers, a quarter of the size, for predict, eval, compare and all else that predicts
#[derive(Args, Debug)]
pub(crate) struct QuantizeArgs {
    /// Directory of a trained model, or its name on the Hugging Face hub
    #[arg(long, short)]
    model: String,
    /// Directory to write
    #[arg(long, short)]
    output: PathBuf,
    /// Replace the output directory if it exists
    #[arg(long)]
    overwrite: bool,
}

pub(crate) fn run(args: &QuantizeArgs, common: &Common) -> anyhow::Result<()> {
    let directory = RunDirectory::create(&args.output, args.overwrite)?;
    let mut files = sources::model(&args.model, common)?;
    let model = Model::load(&files)?;
    // a tokenizer that cannot be read is of no use
    LengthArgs::default().tokenizer(&files, &model.config)?;
    let before: usize = files.weight_files().map(|(_, bytes)| bytes.len()).sum();
    files.forget_weights();
    save_quantized(directory.path(), &model, &files.tokenizer)?;
    for name in COMPANIONS {
        let path = files.file(name);
        if path.exists() {
            let contents = std::fs::read(&path).map_err(|e| Error::io(&path, "read", &e))?;
            write(&directory.path().join(name), &contents)?;
        }
    }
    let path = directory.path().join("model.safetensors");
    let after = std::fs::metadata(&path).map_err(|e| Error::io(&path, "read", &e))?.len();
    directory.finish()?;
    if common.json {
        return Ok(line(json!({
            "event": "quantize", "model": args.model, "output": args.output, "bytes": after, "bytes_before": before,
        }))?);
    }
    let (output, [before, after]) = (args.output.display(), [before as u64, after].map(|bytes| bytes as f64 / 1e6));
    line(format!(
        "Wrote an int8 model of {after:.1} MB to {output}; it was {before:.1} MB. It predicts; it cannot be trained further."
    ))?;
    Ok(line(format!("Judge it beside the one that it was made of: distune compare {} {output}", args.model))?)
}
