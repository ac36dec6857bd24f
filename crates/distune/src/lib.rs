//! Fine-tunes DistilBERT-family encoders for text classification on CPUs.
//!
//! The way of the data: [`data`] reads rows, [`tokenize`] makes token ids, [`data::Batch`] packs them, an
//! [`engine::Engine`] computes logits and training steps, [`train`] runs the epochs, [`eval`] judges, [`calibration`] fits what
//! probabilities are worth, [`baselines`] say whether a transformer is worth it, [`run`] writes
//! the directory that Transformers loads, [`report`] its page, [`unfinished`] keeps it until then, [`predict`] uses it, [`export`] takes it elsewhere, [`analysis`] and
//! [`attribution`] say where and why it errs. [`hub`] fetches models and data by name.
//!
//! Who wants a trained model and no more begins with the [`prelude`]: [`fine_tune()`] is the whole of it, [`Classifier`] what comes of it.
//! `examples/` has a program for each task. The feature `bundled` (on, unless `default-features = false`) compiles in an encoder and
//! movie reviews to begin with, 46 MB.

pub mod analysis;
pub mod attribution;
pub mod baselines;
pub mod calibration;
pub mod cgroup;
mod classifier;
pub mod curves;
pub mod data;
pub mod engine;
mod error;
pub mod eval;
pub mod export;
mod fine_tune;
pub mod hub;
mod inference;
pub mod memory;
pub mod model;
pub mod predict;
pub mod prelude;
pub mod report;
pub mod run;
pub mod sources;
pub mod sweep;
pub mod tensorboard;
pub mod tokenize;
pub mod train;
pub mod unfinished;
pub mod vocabulary;

pub use classifier::{Classifier, Prediction};
pub use error::{Error, Result};
pub use fine_tune::{FineTuned, FineTuning, fine_tune};

/// The program in README.md, which `cargo test` compiles as it stands there.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
