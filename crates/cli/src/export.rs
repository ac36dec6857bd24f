//! `distune export`: a trained model for other programs.

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use distune::export::export_onnx;
use distune::model::Model;
use distune::run::RunDirectory;
use serde_json::json;

use crate::length::LengthArgs;
use crate::output::{line, note, thousands};
use crate::{Common, sources};

/// Write a trained model for other programs: ONNX, for ONNX Runtime, OpenVINO and Hugging Face's Optimum
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// The directory of a trained model, or its name on the Hugging Face hub
    #[arg(long, value_name = "DIR")]
    model: String,
    /// What to write; a run is in the Hugging Face format anyway
    #[arg(long, value_enum, default_value_t = Format::Onnx)]
    format: Format,
    /// Directory to write: model.onnx, config.json and the tokenizer
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Replace the output directory if it exists
    #[arg(long)]
    overwrite: bool,
}

/// What `--format` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// f32, of any batch size and length
    Onnx,
}

pub(crate) fn run(args: &ExportArgs, common: &Common) -> anyhow::Result<()> {
    let Format::Onnx = args.format;
    let directory = RunDirectory::create(&args.output, args.overwrite)?;
    let mut files = sources::model(&args.model, common)?;
    files.notes.iter().for_each(|text| note(common, text));
    let model = Model::load(&files)?;
    files.forget_weights();
    let max_length = LengthArgs::default().tokenizer(&files, &model.config)?.max_length();
    let bytes = export_onnx(directory.path(), &model, max_length, &files.tokenizer)?;
    directory.finish()?;
    let parameters = model.weights.table().len();
    if common.json {
        return Ok(line(json!({
            "event": "export", "model": args.model, "format": "onnx", "output": args.output, "parameters": parameters,
            "bytes": bytes, "max_length": max_length,
        }))?);
    }
    let (file, parameters, size) =
        (args.output.join("model.onnx"), thousands(parameters), ByteSize(bytes).display().si());
    Ok(line(format!(
        "Wrote {parameters} parameters to {} ({size}); texts are cut at {max_length} tokens.",
        file.display()
    ))?)
}
