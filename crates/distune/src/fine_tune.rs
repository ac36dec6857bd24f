//! A whole training in one call: what `distune train` does, for who uses the library. The command line calls it too.
//!
//! [`fine_tune`] takes what a recipe file says, a [`RecipeFile`], and says nothing while it works. [`FineTuning`] is the same in two
//! steps, each with an observer: everything that can be refused is refused by [`FineTuning::new`], [`FineTuning::run`] then trains.

use std::path::Path;
use std::time::Instant;

use crate::classifier::Classifier;
use crate::data::Splits;
use crate::engine::{Cpu, Engine, Inference, Precision};
use crate::eval::Evaluation;
use crate::hub;
use crate::memory;
use crate::model::thawed::Thawed;
use crate::model::{Config, Model, ModelFiles};
use crate::report::RunPage;
use crate::run::{Run, RunDirectory};
use crate::train::ending::{Beside, Ending, Judged};
use crate::train::start::{Rows, Start, check_thawed, complete_rows, open_model, read_rows};
use crate::train::{
    CacheLimits, Checkpoints, Observer, Origin, Outcome, PartOfModel, RecipeFile, Storage, fit_to_time, frozen_hash,
    parts, save_finished, train,
};
use crate::unfinished::UnfinishedRun;
use crate::{Error, Result};

/// Memory and disk for what frozen blocks put out, at most, where nothing else is said.
const CACHE_LIMIT: u64 = 8_000_000_000;

/// Fine-tunes a model as the settings say, judges it and calibrates it; silently, and without checkpoints.
///
/// ```
/// use distune::prelude::*;
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let csv = directory.path().join("reviews.csv");
/// # let row = |i: usize| format!("{} number {i},{}\n", ["a good film", "a dull film"][i % 2], ["yes", "no"][i % 2]);
/// # std::fs::write(&csv, "text,label\n".to_owned() + &(0..40).map(row).collect::<String>()).unwrap();
/// # let csv = csv.to_str().unwrap();
/// let mut settings = RecipeFile::new("bundled", csv);
/// settings.recipe.unfreeze = "head".parse()?;
/// let trained = fine_tune(&settings)?;
/// println!("{}", trained.evaluation().metrics);
/// # assert_eq!(trained.model().config.labels, ["no", "yes"]);
/// # Ok::<(), distune::Error>(())
/// ```
///
/// # Errors
/// All that a user may have given wrong: see [`FineTuning::new`] and [`FineTuning::run`].
pub fn fine_tune(settings: &RecipeFile) -> Result<FineTuned> {
    FineTuning::new(settings.clone(), &mut ())?.run(None, &mut ())
}

/// A training before its first step: the model is loaded, the rows are read and split, the settings are resolved.
pub struct FineTuning {
    /// Room for what frozen blocks put out.
    pub cache: CacheLimits,
    /// Whether the baselines are trained beside it.
    pub baselines: bool,
    /// When the work began.
    pub began: Instant,
    settings: RecipeFile,
    precision: Precision,
    /// Without its model.
    known: Known,
    /// With its adapters, if it is to have some.
    model: Model,
    head_is_trained: bool,
    thawed: Thawed,
}

/// What is known of a training from its beginning to its end.
struct Known {
    tokenizer: Vec<(String, Vec<u8>)>,
    max_length: usize,
    rows: Rows,
    notes: Vec<String>,
    problems: Vec<String>,
    parts: Vec<PartOfModel>,
    adapters: Option<String>,
}

impl FineTuning {
    /// Opens the model, fetching it from the hub if it is a name of there, and goes on as [`Self::of`]. Texts are cut at the model's
    /// positions, if it has fewer than the settings say.
    ///
    /// # Errors
    /// Those of [`Self::of`]; a model that is not there or not one.
    pub fn new(settings: RecipeFile, observer: &mut dyn hub::Observer) -> Result<Self> {
        let (settings, files, config) = opened(settings, observer)?;
        Self::of(settings, files, &config, observer)
    }

    /// As [`Self::new`], of rows that are at hand: a sample, or what a program has from elsewhere. The data of the settings are the name
    /// by which records call them. Splits that are missing are made.
    ///
    /// ```
    /// use distune::prelude::*;
    ///
    /// let mut settings = RecipeFile::new("bundled", "reviews");
    /// settings.recipe.unfreeze = Unfreeze::head();
    /// let mut splits = distune::sources::splits(&settings.data, &settings.columns, &mut ())?;
    /// splits.train = splits.train.map(|rows| rows.sample(1000, 42));
    /// let training = FineTuning::with_rows(settings, splits, &mut ())?;
    /// assert_eq!(training.rows().train.len(), 1000);
    /// # Ok::<(), distune::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_rows(settings: RecipeFile, splits: Splits, observer: &mut dyn hub::Observer) -> Result<Self> {
        let began = Instant::now();
        let (settings, files, config) = opened(settings, observer)?;
        check_thawed(&settings, &config)?;
        let splits = complete_rows(&settings, splits, observer);
        Self::start(settings, files, &config, splits, began, observer)
    }

    /// Reads the rows, makes the splits that are missing, loads the model and gives it a new head where its own does not fit. What is
    /// assumed on the way is told to the observer.
    ///
    /// # Errors
    /// A model or data that cannot be used; parts to thaw that the model has not got; rows without labels or of one class alone.
    pub fn of(
        settings: RecipeFile,
        files: ModelFiles,
        config: &Config,
        observer: &mut dyn hub::Observer,
    ) -> Result<Self> {
        let began = Instant::now();
        // cheapest check first
        check_thawed(&settings, config)?;
        let splits = read_rows(&settings, observer)?;
        Self::start(settings, files, config, splits, began, observer)
    }

    /// With the rows in the splits that it wants.
    fn start(
        mut settings: RecipeFile,
        files: ModelFiles,
        config: &Config,
        splits: Splits,
        began: Instant,
        observer: &mut dyn hub::Observer,
    ) -> Result<Self> {
        let precision = settings.precision();
        settings.precision = Some(precision.to_string());
        let start = Start::new(&mut settings, files, config, splits, observer)?;
        let Start { model, new_head, tokenizer, max_length, rows, notes, problems } = start;
        let recipe = &settings.recipe;
        observer.note(&format!("Linear layers in {precision}, {} threads.", rayon::current_num_threads()));
        let mut model = recipe.adapt(model)?;
        let table = model.weights.table().clone();
        let thawed = recipe.thawed(&table)?;
        if recipe.reinit_blocks > 0 {
            model.reinitialise_blocks(recipe.reinit_blocks, recipe.seed);
            observer.note(&format!("Blocks that start anew, with random weights: the last {}.", recipe.reinit_blocks));
        }
        let adapters = table.lora().map(ToString::to_string);
        adapters.iter().for_each(|text| observer.note(text));
        let parts = parts(&table, &thawed, recipe.gradual_unfreezing);
        let cache = CacheLimits { limit: CACHE_LIMIT, memory: memory::available() / 4 };
        let head_is_trained = !new_head && recipe.reinit_blocks == 0;
        let known = Known { tokenizer, max_length, rows, notes, problems, parts, adapters };
        Ok(Self { cache, baselines: true, began, settings, precision, known, model, head_is_trained, thawed })
    }

    /// What trains and what is frozen.
    pub fn parts(&self) -> &[PartOfModel] {
        &self.known.parts
    }

    /// The rows in their splits.
    pub fn rows(&self) -> &Rows {
        &self.known.rows
    }

    /// Where texts are cut, in tokens.
    pub fn max_length(&self) -> usize {
        self.known.max_length
    }

    /// Whether frozen blocks run once for each row, and what they put out is kept.
    pub fn keeps_frozen_outputs(&self) -> bool {
        let recipe = &self.settings.recipe;
        recipe.cache_frozen && recipe.num_train_epochs > 1 && self.thawed.frozen_blocks() > 0
    }

    /// Trains, and keeps the weights of the best evaluation; then calibrates on the validation rows, judges the test rows once, and
    /// compares with the baselines and with the model that it started from.
    ///
    /// With a directory, checkpoints are kept there, and the training goes on from the newest one; without one, there are none, and what
    /// does not fit into the memory is put into the system's directory for temporary files.
    ///
    /// # Errors
    /// Those of [`train`]; files that cannot be written.
    pub fn run(self, directory: Option<&mut UnfinishedRun>, observer: &mut dyn Observer) -> Result<FineTuned> {
        let Self { cache, baselines, began, mut settings, precision, known, model, head_is_trained, thawed } = self;
        let Rows { train: train_rows, validation, test, test_name } = &known.rows;
        let table = model.weights.table().clone();
        let before = frozen_hash(&model.weights, &thawed);
        let mut engine = Cpu::for_training(model, thawed.clone(), precision);
        let place = directory.as_ref().map_or_else(std::env::temp_dir, |run| run.path().to_owned());
        let mut storage = Storage { directory: place.clone(), cache, checkpoints: None };
        let judged = Judged { test: test.as_ref(), validation };
        let at_the_end = judged.rows(head_is_trained);
        let mut run = directory;
        write_settings(&mut run, &settings)?;
        let recipe = &mut settings.recipe;
        if let Some(fitted) = fit_to_time(&mut engine, train_rows, validation, at_the_end, recipe, &storage, observer)?
        {
            observer.fitted(&fitted);
            write_settings(&mut run, &settings)?;
        }
        let recipe = &settings.recipe;
        let origin = run
            .is_some()
            .then(|| Origin::new(engine.model(), precision, &known.tokenizer, &known.rows.parts(), recipe));
        storage.checkpoints = origin.map(|origin| Checkpoints { directory: place, origin });
        let judged_before = judged.before(head_is_trained, &mut engine, observer)?;
        let outcome = train(&mut engine, train_rows, validation, recipe, &storage, observer)?;
        check_frozen(&before, &frozen_hash(&engine.model().weights, &thawed))?;
        // test rows are judged by the weights that are saved
        let mut merged = table.lora().map(|_| Cpu::new(engine.model().merged(), precision));
        if merged.is_some() {
            observer.note("The adapters have become part of the weights.");
        }
        let beside = Beside { train: train_rows, test_name, seconds: outcome.train_seconds };
        let beside = baselines.then_some(beside);
        let ended = judged.after(&judged_before, beside, merged.as_mut().unwrap_or(&mut engine), observer);
        let ending = ended.map_err(|error| save_finished(error, &mut engine, &outcome, recipe, &storage))?;
        let frozen = table.tensors().iter().any(|tensor| !thawed.trains(tensor)).then_some(before);
        let (model, origin) = (merged.unwrap_or(engine).into_model(), storage.checkpoints.map(|kept| kept.origin));
        Ok(FineTuned { began, settings, precision, known, model, outcome, ending, frozen, origin })
    }
}

/// The settings' model, with texts cut at its positions, if it has fewer than the settings say.
fn opened(mut settings: RecipeFile, observer: &mut dyn hub::Observer) -> Result<(RecipeFile, ModelFiles, Config)> {
    settings.recipe.check()?;
    let (files, config) = open_model(&settings, observer)?;
    let recipe = &mut settings.recipe;
    recipe.max_seq_length = recipe.max_seq_length.min(config.max_position_embeddings);
    Ok((settings, files, config))
}

/// Records the settings where a run is being written.
fn write_settings(run: &mut Option<&mut UnfinishedRun>, settings: &RecipeFile) -> Result<()> {
    run.as_mut().map_or(Ok(()), |run| run.write_settings(settings))
}

/// Makes sure that frozen tensors have not changed, by their checksums.
fn check_frozen(before: &str, after: &str) -> Result<()> {
    if before == after {
        return Ok(());
    }
    let expected = format!("{before} as before the training (please report this)");
    Err(Error::value("training", "SHA-256 of the frozen tensors", expected, after))
}

/// A fine-tuned model with everything that its training has shown.
pub struct FineTuned {
    began: Instant,
    settings: RecipeFile,
    precision: Precision,
    known: Known,
    model: Model,
    outcome: Outcome,
    ending: Ending,
    frozen: Option<String>,
    origin: Option<Origin>,
}

impl FineTuned {
    /// The model, with adapters as part of its weights.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// All settings, as they were used.
    pub fn settings(&self) -> &RecipeFile {
        &self.settings
    }

    /// Every step and every evaluation.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// What is known at the end: calibration, baselines, comparisons.
    pub fn ending(&self) -> &Ending {
        &self.ending
    }

    /// How good it is on the test rows, or where there are none on the validation rows, which also chose the epoch.
    pub fn evaluation(&self) -> &Evaluation {
        &self.ending.judged
    }

    /// SHA-256 of the frozen tensors, which did not change; nothing where all trained.
    pub fn frozen(&self) -> Option<&str> {
        self.frozen.as_deref()
    }

    /// What the test rows are called.
    pub fn test_name(&self) -> &'static str {
        self.known.rows.test_name
    }

    /// Writes the run directory: what Transformers loads, the records, the page and the model card. It is there whole or not at all.
    ///
    /// # Errors
    /// A directory that exists, or cannot be written.
    pub fn save(&self, directory: impl AsRef<Path>) -> Result<()> {
        let run = RunDirectory::create(directory.as_ref(), false)?;
        self.write(run.path(), directory.as_ref(), &())?;
        run.finish().map(drop)
    }

    /// Writes the files of a run that will be called `name` into an existing directory. The observer may end the explanations of the page.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, directory: &Path, name: &Path, observer: &dyn Observer) -> Result<()> {
        let page = RunPage {
            run: name,
            began: self.began,
            settings: &self.settings,
            precision: self.precision,
            model: &self.model,
            rows: &self.known.rows,
            notes: &self.known.notes,
            problems: &self.known.problems,
            parts: &self.known.parts,
            adapters: self.known.adapters.as_deref(),
            frozen: self.frozen.as_deref(),
            outcome: &self.outcome,
            ending: &self.ending,
            origin: self.origin.as_ref(),
        };
        page.with(observer, |report| {
            let run = Run {
                model: &self.model,
                tokenizer: &self.known.tokenizer,
                settings: &self.settings,
                train_rows: self.known.rows.train.len(),
                outcome: &self.outcome,
                test: self.ending.test.as_ref(),
                calibration: Some(&self.ending.calibration),
                models: self.ending.models.as_ref(),
                report: Some(report),
            };
            run.write(directory)
        })
    }

    /// The model, ready to predict.
    pub fn into_classifier(self) -> Classifier {
        let columns = &self.settings.columns;
        let trained_on = columns.text.clone().map(|text| (text, columns.pair.clone()));
        let tokenizer = self.known.rows.train.tokenizer().clone();
        Classifier::new(Inference::new(&self.model, self.precision), self.precision.into(), tokenizer, trained_on)
    }
}
