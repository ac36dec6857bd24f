//! The program as its users run it: command lines in, exit status, messages and files out.
//!
//! - `support.rs`: a directory to run in, tiny models and data, what success and failure must look like
//! - `data_convert.rs`: `data convert` and `data sample`
//! - `controls.rs`: steps, schedules, evaluations, early stopping
//! - `errors_data.rs`: data that cannot be used, and what the message says about it
//! - `errors_model.rs`: models that cannot be used
//! - `errors_train.rs`: settings and output directories that cannot be used, a training that diverges
//! - `tasks.rs`: several labels a row, pairs of texts, class weights, many classes
//! - `splits.rs`: what is held out, `data split`, `data convert` and `data sample`
//! - `sweep.rs`: sweeps, killed and gone on with too
//! - `train.rs`: what a training writes, and that it loads again
//! - `recipes.rs`: recipe files
//! - `settings.rs`: every recipe key and every option changes what it says
//! - `reproducible.rs`: seeds, threads, frozen tensors
//! - `thaw.rs`: what trains, gradual unfreezing, blocks that start anew
//! - `lora.rs`: low-rank adapters
//! - `hub.rs`: models and data by name, from a hub on loopback
//! - `predict.rs`: `predict` and `eval`
//! - `quantize.rs`: int8 models, and precisions that do not fit
//! - `bulk.rs`: `predict` from files to files, killed and gone on with too
//! - `serve.rs`: `serve`, and its end by a signal
//! - `compare.rs`: `compare`, `eval` of files of predictions, whether a training helped
//! - `calibrate.rs`: `calibrate`, what `eval` and `predict` make of probabilities, baselines
//! - `errors.rs`: `errors`, and `predict --explain`
//! - `report.rs`: the page and the model card of a run
//! - `export.rs`: `export`
//! - `check.rs`: `data check`
//! - `checkpoints.rs`: every form of checkpoint, `convert` and `info`
//! - `interrupt.rs`: signals
//! - `resume.rs`: trainings that are killed again and again, damaged checkpoints, data that have changed
//! - `terminal.rs`: `doctor`, completions and manual pages, colours, what is said to be next
//! - `time_limit.rs`: `--max-time`
//! - `windows.rs`: long texts in windows

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
#[cfg(unix)]
mod bulk;
mod calibrate;
mod check;
mod checkpoints;
mod compare;
mod controls;
mod data_convert;
mod errors;
mod errors_data;
mod errors_model;
mod errors_train;
mod export;
mod hub;
#[path = "../../../distune/tests/support/hub_server.rs"]
#[allow(dead_code, unreachable_pub, missing_docs)]
mod hub_server;
#[cfg(unix)]
mod interrupt;
mod lora;
mod predict;
mod quantize;
mod recipes;
mod report;
mod reproducible;
#[cfg(unix)]
mod resume;
#[cfg(unix)]
mod serve;
mod settings;
mod splits;
mod support;
mod sweep;
mod tasks;
mod terminal;
mod thaw;
mod time_limit;
mod train;
mod windows;
