//! What a program that fine-tunes and predicts needs: `use distune::prelude::*`.
//!
//! ```no_run
//! use distune::prelude::*;
//!
//! fn main() -> Result<()> {
//!     let trained = fine_tune(&RecipeFile::new("bundled", "reviews"))?;
//!     println!("{}", trained.evaluation().metrics);
//!     trained.save("runs/mine")?;
//!     let mut classifier = Classifier::open("runs/mine")?;
//!     println!("{}", classifier.predict(&["a charming and often affecting journey"])?[0].label());
//!     Ok(())
//! }
//! ```
//!
//! It takes a minute, which is why it is not run here; `examples/quick_start.rs` is, by the tests.

pub use crate::classifier::{Classifier, Prediction};
pub use crate::data::{Batch, Columns, Dataset, Examples, LabelMap, Labels, Table, read_file};
pub use crate::engine::{Cpu, Engine, Precision, Targets};
pub use crate::eval::{Evaluation, Metric};
pub use crate::fine_tune::{FineTuned, FineTuning, fine_tune};
pub use crate::model::{Model, ModelFiles, ProblemType};
pub use crate::tokenize::Tokenizer;
pub use crate::train::{ClassWeights, Recipe, RecipeFile, Unfreeze};
pub use crate::{Error, Result};
