//! The models that are served: each has a name and, at any time, one version. Requests keep the version that they began with, so that a
//! new one may take its place meanwhile.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use distune::data::Batch;
use distune::engine::{InferencePrecision, Predict};
use distune::model::{Config, Model, ModelFiles};
use distune::tokenize::Tokenizer;
use distune::{Classifier, Error, Result};

use crate::watch::{Look, look};

/// Something that loads, each time it is called.
pub type Load<T> = Box<dyn Fn() -> Result<T> + Send + Sync>;

/// A model to be served.
pub struct Source {
    /// Its name in routes.
    pub name: String,
    /// What `/info` calls it: the directory or name that the user gave.
    pub id: String,
    /// The directory that is watched for a new version.
    pub directory: Option<PathBuf>,
    /// Loads the version that is there now.
    pub load: Load<Loaded>,
}

/// A model that has been loaded.
pub struct Loaded {
    /// Computes logits.
    pub engine: Box<dyn Predict + Send>,
    /// Its tokenizer, which cuts where texts were cut in its training.
    pub tokenizer: Tokenizer,
    /// What it takes.
    pub texts: Texts,
    /// What logits are divided by before they become probabilities, where a calibration is wanted.
    pub temperature: Option<f64>,
    /// The number type of the linear layers, as `/info` tells it: `float32`, `bfloat16` or `int8`.
    pub dtype: &'static str,
    /// Its files, whose weights explanations need in f32. They stay open: a new version in their place does not change this one.
    pub files: ModelFiles,
}

impl Source {
    /// The model of a directory, in the precision that is fastest here, under its own name.
    pub fn of_directory(name: &str, directory: &Path) -> Self {
        let (id, path) = (directory.display().to_string(), directory.to_owned());
        let load = move || {
            let files = ModelFiles::open(&path)?;
            Ok(Loaded::new(Classifier::fastest(&files)?, None, files))
        };
        Self { name: name.to_owned(), id, directory: Some(directory.to_owned()), load: Box::new(load) }
    }
}

impl Loaded {
    /// A classifier, the temperature of its calibration where that is wanted, and the files that it was loaded from.
    pub fn new(classifier: Classifier, temperature: Option<f64>, files: ModelFiles) -> Self {
        let texts = match classifier.trained_on() {
            None => Texts::Any,
            Some((_, None)) => Texts::Single,
            Some((_, Some(_))) => Texts::Pairs,
        };
        let dtype = match classifier.precision {
            InferencePrecision::F32 => "float32",
            InferencePrecision::Bf16 => "bfloat16",
            InferencePrecision::Int8 => "int8",
        };
        let Classifier { engine, tokenizer, .. } = classifier;
        Self { engine: Box::new(engine), tokenizer, texts, temperature, dtype, files }
    }
}

/// What a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Texts {
    /// Whatever comes, where its training is not known.
    Any,
    /// Single texts alone.
    Single,
    /// Pairs of texts alone.
    Pairs,
}

/// One version of a model.
pub(crate) struct Version {
    pub(crate) config: Config,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) texts: Texts,
    pub(crate) temperature: f64,
    pub(crate) calibrated: bool,
    pub(crate) dtype: &'static str,
    engine: Mutex<Box<dyn Predict + Send>>,
    files: ModelFiles,
    explained: Mutex<Option<Arc<Model>>>,
}

impl Version {
    /// Takes a model over, if it computes numbers.
    fn new(loaded: Loaded) -> Result<Self> {
        let Loaded { mut engine, tokenizer, texts, temperature, dtype, files } = loaded;
        let config = engine.config().clone();
        let ids = tokenizer.encode_one("a")?.ids;
        distune::data::check_ids(&ids, &config).map_err(|problem| {
            Error::value(
                "tokenizer.json",
                "ids",
                "those of the model; use the tokenizer.json that belongs to it",
                problem,
            )
        })?;
        if engine.logits(&Batch::new([&ids[..]])).iter().any(|logit| !logit.is_finite()) {
            let expected = "numbers; the weights overflow: the model is damaged, or its training diverged";
            return Err(Error::value("model", "logits", expected, "others"));
        }
        let (engine, explained) = (Mutex::new(engine), Mutex::new(None));
        let (calibrated, temperature) = (temperature.is_some(), temperature.unwrap_or(1.0));
        Ok(Self { config, tokenizer, texts, temperature, calibrated, dtype, engine, files, explained })
    }

    pub(crate) fn engine(&self) -> MutexGuard<'_, Box<dyn Predict + Send>> {
        locked(&self.engine)
    }

    /// The weights in f32, loaded when they are first needed, from the files that the engine was loaded from.
    pub(crate) fn weights(&self) -> Result<Arc<Model>> {
        let mut explained = locked(&self.explained);
        if let Some(model) = &*explained {
            return Ok(model.clone());
        }
        self.files.check_weights_unchanged()?;
        let model = Arc::new(Model::load(&self.files)?);
        self.files.release_weights();
        // nor meanwhile
        self.files.check_weights_unchanged()?;
        *explained = Some(model.clone());
        Ok(model)
    }
}

/// A model that is served.
pub(crate) struct Served {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) directory: Option<PathBuf>,
    /// The directory before the first version was loaded.
    pub(crate) first: Option<Look>,
    load: Load<Loaded>,
    current: RwLock<Arc<Version>>,
}

impl Served {
    pub(crate) fn new(source: Source) -> Result<Self> {
        let Source { name, id, directory, load } = source;
        let first = directory.as_deref().and_then(look);
        let current = RwLock::new(Arc::new(Version::new(load()?)?));
        Ok(Self { name, id, directory, first, load, current })
    }

    /// The version that requests begin with now.
    pub(crate) fn current(&self) -> Arc<Version> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Loads the version that is there now and, if it was there all the time, puts it in the old one's place, which else stays. Tells
    /// whether it did.
    pub(crate) fn reload(&self, all_the_time: impl FnOnce() -> bool) -> Result<bool> {
        let version = Arc::new(Version::new((self.load)()?)?);
        if !all_the_time() {
            return Ok(false);
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = version;
        Ok(true)
    }
}

/// A lock whose value is whole whatever its last holder did.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All models, the default one first.
pub(crate) struct Models(Vec<Arc<Served>>);

impl Models {
    /// Loads them all.
    pub(crate) fn load(sources: Vec<Source>) -> Result<Self> {
        if let Some(twice) = (1..sources.len()).find(|&i| sources[..i].iter().any(|s| s.name == sources[i].name)) {
            let found = format!("{:?} twice", sources[twice].name);
            return Err(Error::value("command line", "--model", "a name for each model, as NAME=DIR", found));
        }
        if sources.is_empty() {
            return Err(Error::value("command line", "--model", "at least one", "none"));
        }
        sources.into_iter().map(|source| Served::new(source).map(Arc::new)).collect::<Result<_>>().map(Self)
    }

    pub(crate) fn all(&self) -> &[Arc<Served>] {
        &self.0
    }

    /// The one of that name, or the default one.
    pub(crate) fn get(&self, name: Option<&str>) -> Option<Arc<Served>> {
        let of_name = |served: &&Arc<Served>| name.is_none_or(|name| served.name == name);
        self.0.iter().find(of_name).cloned()
    }
}
