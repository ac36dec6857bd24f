//! `distune convert`: any checkpoint that loads, as a clean DistilBERT directory.

use std::path::PathBuf;

use clap::Args;
use distune::model::{Model, save, save_encoder};
use distune::run::RunDirectory;
use serde_json::json;

use crate::length::LengthArgs;
use crate::output::{line, note, thousands};
use crate::{Common, sources};

/// Write any model that loads (BERT or DistilBERT, safetensors, shards or .bin) as a clean DistilBERT directory
#[derive(Args, Debug)]
pub(crate) struct ConvertArgs {
    /// "bundled", the directory of a model, or its name on the Hugging Face hub
    model: String,
    /// Directory to write: config.json, model.safetensors (f32) and the tokenizer, as Transformers loads them
    output: PathBuf,
    /// Replace the output directory if it exists
    #[arg(long)]
    overwrite: bool,
}

pub(crate) fn run(args: &ConvertArgs, common: &Common) -> anyhow::Result<()> {
    let directory = RunDirectory::create(&args.output, args.overwrite)?;
    let mut files = sources::model(&args.model, common)?;
    let config = files.config()?;
    sources::notes(&files, &config).iter().for_each(|text| note(common, text));
    // a tokenizer that cannot be read is of no use
    LengthArgs::default().tokenizer(&files, &config)?;
    let head = Model::has_head(&files)?;
    let model = if head { Model::load(&files)? } else { Model::load_encoder(&files)? };
    files.forget_weights();
    let write = if head { save } else { save_encoder };
    write(directory.path(), &model, &files.tokenizer)?;
    directory.finish()?;
    let table = model.weights.table();
    let written = table.tensors().iter().filter(|t| head || t.group < distune::model::weights::Group::Head);
    let parameters = written.map(|t| t.range.len()).sum::<usize>();
    if common.json {
        return Ok(line(json!({
            "event": "convert", "model": args.model, "output": args.output, "parameters": parameters, "head": head,
        }))?);
    }
    let kind = if head { "a DistilBERT classifier" } else { "a DistilBERT encoder without a head" };
    let (output, parameters) = (args.output.display(), thousands(parameters));
    Ok(line(format!("Wrote {kind} of {parameters} parameters to {output}."))?)
}
