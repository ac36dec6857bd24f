//! The recipe: every setting of a training, saved with the run.

use std::sync::Arc;

use distune_kernels::{Decay, LossOptions};
use serde::{Deserialize, Serialize};

use crate::data::{Batch, SelectOn};
use crate::engine::StepOptions;
use crate::model::activations::DropoutRates;
use crate::model::thawed::Thawed;
use crate::model::weights::{Group, Table, Tensor};
use crate::tokenize::{Combine, Long};
use crate::train::freeze::parts_downwards;
use crate::train::lora::WITH_LORA_RANK;
use crate::train::{ClassWeights, LoraTargets, Metric, Schedule, Scheduler, TimeLimit, Unfreeze};
use crate::{Error, Result};

/// The optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Optimizer {
    /// Adam with decoupled weight decay.
    #[serde(rename = "adamw")]
    AdamW,
    /// Plain Adam; weight decay is an L2 penalty.
    #[serde(rename = "adam")]
    Adam,
    /// Stochastic gradient descent; weight decay is an L2 penalty. It wants a far higher learning rate than Adam.
    #[serde(rename = "sgd")]
    Sgd,
}

impl Optimizer {
    /// All of them, with their names.
    pub const NAMES: [(&'static str, Self); 3] = [("adamw", Self::AdamW), ("adam", Self::Adam), ("sgd", Self::Sgd)];
}

/// Settings of a training, under the names of Transformers' `TrainingArguments` where one exists.
///
/// The [`Default`] is theirs; [`Recipe::recommended`] is what the program uses when nothing is said.
///
/// ```
/// use distune::prelude::*;
///
/// let recipe = Recipe { unfreeze: Unfreeze::head(), num_train_epochs: 5, ..Recipe::recommended() };
/// recipe.check()?;
/// let wrong = Recipe { num_train_epochs: 0, ..recipe };
/// assert!(wrong.check().unwrap_err().to_string().contains("num_train_epochs"));
/// # Ok::<(), distune::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recipe {
    /// What trains.
    pub unfreeze: Unfreeze,
    /// The head trains alone in the first epoch, and each epoch thaws one block more of those that [`Self::unfreeze`] names, from the last
    /// one down; the embeddings come last.
    pub gradual_unfreezing: bool,
    /// So many of the last blocks start anew, with random weights.
    pub reinit_blocks: usize,
    /// Rank of the low-rank adapters (LoRA) that train instead of the weights that [`Self::unfreeze`] names; 0 for none.
    pub lora_rank: usize,
    /// What adapters add is multiplied by this over the rank.
    pub lora_alpha: f64,
    /// Which linear layers get adapters.
    pub lora_targets: LoraTargets,
    /// Frozen blocks run without dropout, so that what they put out is the same in each epoch and can be kept. Without it,
    /// they run in every step, with dropout, as in PyTorch.
    pub cache_frozen: bool,
    /// Passes over the training rows.
    pub num_train_epochs: usize,
    /// Rows of a batch.
    pub per_device_train_batch_size: usize,
    /// Batches of an optimizer step.
    pub gradient_accumulation_steps: usize,
    /// Tokens that are computed at once; a larger batch is computed in parts. It bounds the memory, and changes results by
    /// rounding only.
    pub max_batch_tokens: usize,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Peak learning rate of the head; without it, that of the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_learning_rate: Option<f64>,
    /// The course of the learning rate.
    pub lr_scheduler_type: Scheduler,
    /// Power of a polynomial schedule.
    pub lr_power: f64,
    /// Of a schedule that reduces on plateaus: what the learning rate is multiplied by.
    pub lr_factor: f64,
    /// And after how many evaluations without progress: after one more than this.
    pub lr_patience: usize,
    /// Steps of linear warmup; below 1, a share of all steps.
    pub warmup_steps: f64,
    /// Weight decay, on everything but biases and layer norms.
    pub weight_decay: f64,
    /// Which optimizer.
    pub optim: Optimizer,
    /// Of SGD: what the sum of the gradients of the steps before is multiplied by.
    pub momentum: f64,
    /// Decay rate of Adam's first moment.
    pub adam_beta1: f64,
    /// Decay rate of Adam's second moment.
    pub adam_beta2: f64,
    /// Added to the square root of the second moment.
    pub adam_epsilon: f64,
    /// Decay of an exponential moving average of the weights, lower in the first steps: in step t at most (1 + t) / (10 + t). What
    /// is evaluated, selected and saved is the average. 0 for none.
    pub ema_decay: f64,
    /// Limit of the global gradient norm; 0 for none.
    pub max_grad_norm: f64,
    /// Label smoothing.
    pub label_smoothing_factor: f64,
    /// Strength of the focal loss, which counts a row the less, the more certain the model is of its class; 0 for none. With label
    /// smoothing, each class's part of the target is weighed by that class's own probability; R-Drop's part of the loss is not.
    pub focal_gamma: f64,
    /// Weights of the classes in the loss.
    pub class_weights: ClassWeights,
    /// Strength of R-Drop; 0 for none. With it, each text goes through the model twice in a step.
    pub r_drop: f64,
    /// Dropout after the embeddings and the feed-forward networks while training; without it, the model's own. The saved
    /// `config.json` keeps that in any case, as do the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// Dropout on the attention weights while training; without it, the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention_dropout: Option<f64>,
    /// Dropout before the classifier while training; without it, the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq_classif_dropout: Option<f64>,
    /// What the learning rate shrinks by from each block to the one below it; the embeddings lie below the first.
    pub layer_decay: f64,
    /// Longest text in tokens, `[CLS]` and `[SEP]` included; what becomes of longer ones, [`Self::long`] says.
    pub max_seq_length: usize,
    /// Whether longer texts are truncated, or read in windows of that length. In training, each window is a row with the labels of its text.
    pub long: Long,
    /// Tokens that a window has in common with the one before; without a number, a quarter of what it has room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_overlap: Option<usize>,
    /// How the logits of the windows of a text become those of the text, wherever it is predicted.
    pub window_combine: Combine,
    /// The rows by which the best epoch is selected.
    pub select_on: SelectOn,
    /// Steps of the whole training, instead of [`Self::num_train_epochs`]; below 0 for none.
    pub max_steps: i64,
    /// Time for all steps and evaluations: of the steps asked for, as many as fit, with the whole schedule laid over them. A finished run
    /// says how many that were as [`Self::max_steps`] instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_time: Option<TimeLimit>,
    /// Steps between two evaluations of the validation rows; 0 for one after each epoch.
    pub eval_steps: usize,
    /// What selects the best weights; of equals, the lowest loss.
    pub metric_for_best_model: Metric,
    /// Ends the training when the metric has not risen for so many evaluations; 0 for never.
    pub early_stopping_patience: usize,
    /// By how much it must rise to count.
    pub early_stopping_threshold: f64,
    /// Steps between two checkpoints; 0 for one after an evaluation if the one before is older than a minute, and in between after ten
    /// minutes.
    pub save_steps: usize,
    /// Checkpoints that are kept, the newest ones; 0 for all.
    pub save_total_limit: usize,
    /// Seed of a new head, the shuffling, the dropout and, without [`Self::split_seed`], a split of the rows.
    pub seed: u64,
    /// Seed of a split of the rows, so that trainings of several seeds are judged on the same ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u64>,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            unfreeze: Unfreeze::all(),
            gradual_unfreezing: false,
            reinit_blocks: 0,
            lora_rank: 0,
            lora_alpha: 8.0,
            lora_targets: LoraTargets::QueryValue,
            cache_frozen: false,
            num_train_epochs: 3,
            per_device_train_batch_size: 8,
            gradient_accumulation_steps: 1,
            max_batch_tokens: 4096,
            learning_rate: 5e-5,
            head_learning_rate: None,
            lr_scheduler_type: Scheduler::Linear,
            lr_power: 1.0,
            lr_factor: 0.1,
            lr_patience: 10,
            warmup_steps: 0.0,
            weight_decay: 0.0,
            optim: Optimizer::AdamW,
            momentum: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            ema_decay: 0.0,
            max_grad_norm: 1.0,
            label_smoothing_factor: 0.0,
            focal_gamma: 0.0,
            class_weights: ClassWeights::None,
            r_drop: 0.0,
            dropout: None,
            attention_dropout: None,
            seq_classif_dropout: None,
            layer_decay: 1.0,
            max_seq_length: 128,
            long: Long::Truncate,
            window_overlap: None,
            window_combine: Combine::Mean,
            select_on: SelectOn::Auto,
            max_steps: -1,
            max_time: None,
            eval_steps: 0,
            metric_for_best_model: Metric::Loss,
            early_stopping_patience: 0,
            early_stopping_threshold: 0.0,
            save_steps: 0,
            save_total_limit: 0,
            seed: 42,
            split_seed: None,
        }
    }
}

impl Recipe {
    /// Good for the bundled encoder on a few thousand to a hundred thousand sentences; `docs/LOG.md` has the search.
    pub fn recommended() -> Self {
        Self {
            unfreeze: Unfreeze::all(),
            cache_frozen: true,
            num_train_epochs: 2,
            per_device_train_batch_size: 32,
            learning_rate: 1e-4,
            warmup_steps: 0.06,
            weight_decay: 0.01,
            label_smoothing_factor: 0.1,
            metric_for_best_model: Metric::MicroF1,
            save_total_limit: 2,
            ..Self::default()
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Value`] that names the key.
    pub fn check(&self) -> Result<()> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let not_negative = |x: f64| x.is_finite() && x >= 0.0;
        let below_1 = |x: f64| (0.0..1.0).contains(&x);
        let at_least = |key: &'static str, least: usize, found: usize| {
            (key, found >= least, format!("{least} or more"), found.to_string())
        };
        let number = |key: &'static str, good: bool, expected: &str, found: f64| {
            (key, good, expected.to_owned(), found.to_string())
        };
        let probability = |key: &'static str, found: Option<f64>| {
            number(key, found.is_none_or(below_1), "0 or more and below 1", found.unwrap_or_default())
        };
        let checks = [
            at_least("num_train_epochs", 1, self.num_train_epochs),
            at_least("per_device_train_batch_size", 1, self.per_device_train_batch_size),
            at_least("gradient_accumulation_steps", 1, self.gradient_accumulation_steps),
            at_least("max_batch_tokens", 1, self.max_batch_tokens),
            at_least("max_seq_length", 3, self.max_seq_length),
            (
                "max_steps",
                self.max_steps != 0,
                "a number of steps, or -1 for none".to_owned(),
                self.max_steps.to_string(),
            ),
            number(
                "early_stopping_threshold",
                not_negative(self.early_stopping_threshold),
                "0 or more",
                self.early_stopping_threshold,
            ),
            number("learning_rate", positive(self.learning_rate), "a number above 0", self.learning_rate),
            number("head_learning_rate", positive(self.head_rate()), "a number above 0", self.head_rate()),
            number("lr_power", positive(self.lr_power), "a number above 0", self.lr_power),
            number(
                "lr_factor",
                self.lr_factor > 0.0 && below_1(self.lr_factor),
                "a number above 0 and below 1",
                self.lr_factor,
            ),
            number("warmup_steps", not_negative(self.warmup_steps), "0 or more", self.warmup_steps),
            number("weight_decay", not_negative(self.weight_decay), "0 or more", self.weight_decay),
            number("momentum", below_1(self.momentum), "0 or more and below 1", self.momentum),
            number("adam_beta1", below_1(self.adam_beta1), "0 or more and below 1", self.adam_beta1),
            number("adam_beta2", below_1(self.adam_beta2), "0 or more and below 1", self.adam_beta2),
            number("adam_epsilon", positive(self.adam_epsilon), "a number above 0", self.adam_epsilon),
            number("ema_decay", below_1(self.ema_decay), "0 or more and below 1", self.ema_decay),
            number("max_grad_norm", not_negative(self.max_grad_norm), "0 or more", self.max_grad_norm),
            number(
                "label_smoothing_factor",
                below_1(self.label_smoothing_factor),
                "0 or more and below 1",
                self.label_smoothing_factor,
            ),
            number("focal_gamma", not_negative(self.focal_gamma), "0 or more", self.focal_gamma),
            probability("dropout", self.dropout),
            probability("attention_dropout", self.attention_dropout),
            probability("seq_classif_dropout", self.seq_classif_dropout),
            number("r_drop", not_negative(self.r_drop), "0 or more", self.r_drop),
            number("lora_alpha", positive(self.lora_alpha), "a number above 0", self.lora_alpha),
            number(
                "lora_alpha",
                self.lora_rank > 0 || self.lora_alpha == Self::default().lora_alpha,
                WITH_LORA_RANK,
                self.lora_alpha,
            ),
            (
                "lora_targets",
                self.lora_rank > 0 || self.lora_targets == LoraTargets::default(),
                WITH_LORA_RANK.to_owned(),
                self.lora_targets.name().to_owned(),
            ),
            (
                "reinit_blocks",
                self.lora_rank == 0 || self.reinit_blocks == 0,
                "0 with lora_rank: blocks of random weights must train as a whole".to_owned(),
                self.reinit_blocks.to_string(),
            ),
            number(
                "layer_decay",
                positive(self.layer_decay) && self.layer_decay <= 1.0,
                "a number above 0, up to 1",
                self.layer_decay,
            ),
        ];
        match checks.into_iter().find(|(_, good, ..)| !good) {
            Some((key, _, expected, found)) => Err(Error::value("recipe", key, expected, found)),
            None => self.check_of_use(),
        }
    }

    /// Refuses settings that would silently do nothing: those of another optimizer or schedule.
    fn check_of_use(&self) -> Result<()> {
        let default = Self::default();
        let (sgd, plateau) = (self.optim == Optimizer::Sgd, self.lr_scheduler_type == Scheduler::ReduceLrOnPlateau);
        let polynomial = self.lr_scheduler_type == Scheduler::Polynomial;
        let (of_adam, of_plateaus) = ("optim is adamw or adam", "lr_scheduler_type is reduce_lr_on_plateau");
        for (key, used, when, idle, found) in [
            ("lr_power", polynomial, "lr_scheduler_type is polynomial", default.lr_power, self.lr_power),
            ("lr_factor", plateau, of_plateaus, default.lr_factor, self.lr_factor),
            ("lr_patience", plateau, of_plateaus, default.lr_patience as f64, self.lr_patience as f64),
            ("momentum", sgd, "optim is sgd", default.momentum, self.momentum),
            ("adam_beta1", !sgd, of_adam, default.adam_beta1, self.adam_beta1),
            ("adam_beta2", !sgd, of_adam, default.adam_beta2, self.adam_beta2),
            ("adam_epsilon", !sgd, of_adam, default.adam_epsilon, self.adam_epsilon),
        ] {
            if !used && found != idle {
                return Err(Error::value("recipe", key, format!("{idle} unless {when}"), found));
            }
        }
        let (overlap, combine) = (self.window_overlap, self.window_combine);
        if self.long == Long::Windows || (overlap, combine) == (None, Combine::default()) {
            return Ok(());
        }
        let idle = |key, found| Err(Error::value("recipe", key, "nothing unless long is windows", found));
        overlap.map_or(idle("window_combine", "max".to_owned()), |overlap| idle("window_overlap", overlap.to_string()))
    }

    /// The tensors of a model that train.
    ///
    /// # Errors
    /// [`Error::Value`] that names the key when the model has not got what [`Self::unfreeze`] names, when a block that should start anew
    /// does not train, when there are fewer epochs than gradual unfreezing needs, or when the adapters that it asks for are missing.
    pub fn thawed(&self, table: &Arc<Table>) -> Result<Thawed> {
        let thawed = match table.lora() {
            Some(_) => Thawed::new(table, Tensor::is_adapter),
            None if self.lora_rank > 0 => {
                return Err(Error::value("recipe", "lora_rank", "0 for a model without adapters", self.lora_rank));
            }
            None => self.unfreeze.resolve(table)?,
        };
        let n = table.n_layers();
        if self.reinit_blocks > n {
            let expected = format!("at most the model's {n} blocks");
            return Err(Error::value("recipe", "reinit_blocks", expected, self.reinit_blocks));
        }
        let anew = table.tensors_from(Group::Block(n - self.reinit_blocks));
        if let Some(frozen) = anew.iter().find(|tensor| !thawed.trains(tensor)) {
            let expected = "blocks that train as a whole: random weights that stay frozen are of no use";
            let found = format!("{}, with {} frozen by unfreeze = {}", self.reinit_blocks, frozen.name, self.unfreeze);
            return Err(Error::value("recipe", "reinit_blocks", expected, found));
        }
        let parts = parts_downwards(&thawed).len();
        if self.gradual_unfreezing && self.max_steps < 0 && self.num_train_epochs < parts {
            let expected = format!(
                "{parts} or more, since gradual_unfreezing thaws one of {parts} parts in each; or name fewer parts in unfreeze"
            );
            return Err(Error::value("recipe", "num_train_epochs", expected, self.num_train_epochs));
        }
        Ok(thawed)
    }

    /// Peak learning rate of the head.
    fn head_rate(&self) -> f64 {
        self.head_learning_rate.unwrap_or(self.learning_rate)
    }

    /// The seed that rows are split by.
    pub fn seed_of_split(&self) -> u64 {
        self.split_seed.unwrap_or(self.seed)
    }

    /// Rows of an optimizer step.
    pub fn rows_per_step(&self) -> usize {
        self.per_device_train_batch_size.saturating_mul(self.gradient_accumulation_steps)
    }

    /// How often a row goes through the model in a step: R-Drop compares two passes.
    pub fn passes(&self) -> usize {
        if self.r_drop > 0.0 { 2 } else { 1 }
    }

    /// The batches that a step's rows are computed in, one after another; each row as often as [`Self::passes`] says.
    pub fn parts(&self, sequences: &[&[u32]]) -> Vec<Batch> {
        let max_tokens = self.max_batch_tokens / self.passes();
        let parts = Batch::parts(sequences, self.per_device_train_batch_size, max_tokens);
        if self.passes() == 2 { parts.iter().map(Batch::doubled).collect() } else { parts }
    }

    /// Steps of an epoch of `rows` rows; the last one may be smaller.
    pub fn steps_per_epoch(&self, rows: usize) -> usize {
        rows.div_ceil(self.rows_per_step())
    }

    /// Rows that all steps of a training on `rows` rows see.
    pub fn total_rows(&self, rows: usize) -> usize {
        self.rows_of(self.schedule(rows).total_steps, rows)
    }

    /// Rows that the first `steps` steps of a training on `rows` rows see.
    pub fn rows_of(&self, steps: usize, rows: usize) -> usize {
        let steps_per_epoch = self.steps_per_epoch(rows).max(1);
        steps / steps_per_epoch * rows + (steps % steps_per_epoch) * self.rows_per_step()
    }

    /// The learning rates of a training on `rows` rows.
    pub fn schedule(&self, rows: usize) -> Schedule {
        let total_steps = match usize::try_from(self.max_steps) {
            Ok(steps) => steps,
            Err(_) => self.steps_per_epoch(rows) * self.num_train_epochs,
        };
        let warmup =
            if self.warmup_steps < 1.0 { (self.warmup_steps * total_steps as f64).ceil() } else { self.warmup_steps };
        // the first step of a warmup has learning rate zero; a training is never that step alone
        let warmup_steps = (warmup as usize).min(total_steps.saturating_sub(1));
        Schedule {
            scheduler: self.lr_scheduler_type,
            power: self.lr_power,
            ..Schedule::linear(self.learning_rate, warmup_steps, total_steps)
        }
    }

    /// The optimizer with its constants.
    fn optimizer(&self) -> distune_kernels::Optimizer {
        let adam = |decay| distune_kernels::Optimizer::Adam {
            beta1: self.adam_beta1,
            beta2: self.adam_beta2,
            epsilon: self.adam_epsilon,
            decay,
        };
        match self.optim {
            Optimizer::AdamW => adam(Decay::Decoupled),
            Optimizer::Adam => adam(Decay::Penalty),
            Optimizer::Sgd => distune_kernels::Optimizer::Sgd { momentum: self.momentum },
        }
    }

    /// What an engine needs of it, but for class weights and the stages of gradual unfreezing, which only the rows can tell.
    pub fn step_options(&self) -> StepOptions {
        StepOptions {
            seed: self.seed,
            dropout: DropoutRates {
                hidden: self.dropout,
                attention: self.attention_dropout,
                classifier: self.seq_classif_dropout,
            },
            optimizer: self.optimizer(),
            weight_decay: self.weight_decay,
            ema_decay: self.ema_decay,
            max_grad_norm: self.max_grad_norm,
            layer_decay: self.layer_decay,
            head_rate: self.head_rate() / self.learning_rate,
            stages: Vec::new(),
            loss: LossOptions {
                class_weights: Vec::new(),
                label_smoothing: self.label_smoothing_factor,
                focal_gamma: self.focal_gamma,
                r_drop: self.r_drop,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// As `transformers.TrainingArguments()` of version 5 has them; `max_seq_length` as in its example scripts; `cache_frozen`,
    /// `max_batch_tokens`, `class_weights`, `lr_power`, `focal_gamma`, `r_drop`, `ema_decay`, `layer_decay`, `gradual_unfreezing`,
    /// `reinit_blocks`, `select_on`, `eval_steps` (0 for epochs), `save_steps` (0 for evaluations) and the keys of early stopping are
    /// ours, as are `long` and the keys of windows; `save_total_limit` 0 is their `None`. `lr_factor` and `lr_patience` are those of PyTorch's `ReduceLROnPlateau`, `momentum`
    /// that of its `SGD`. The dropouts are the model's own, and not written, as `max_time` and `split_seed`, which are ours, are not where
    /// there are none.
    /// The keys of adapters are as in PEFT's `LoraConfig()`, but for the rank, which is 8 there.
    #[test]
    fn defaults_are_those_of_training_arguments() {
        let recipe = serde_json::to_value(Recipe::default()).unwrap();
        let mut theirs = serde_json::json!({
            "unfreeze": "all", "gradual_unfreezing": false, "reinit_blocks": 0, "lora_rank": 0, "lora_alpha": 8.0,
            "lora_targets": "query_value", "cache_frozen": false, "num_train_epochs": 3, "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 1, "max_batch_tokens": 4096, "learning_rate": 5e-5,
            "lr_scheduler_type": "linear", "lr_power": 1.0, "lr_factor": 0.1, "lr_patience": 10, "warmup_steps": 0.0, "weight_decay": 0.0, "optim": "adamw", "momentum": 0.0, "adam_beta1": 0.9, "adam_beta2": 0.999,
            "adam_epsilon": 1e-8, "ema_decay": 0.0, "max_grad_norm": 1.0, "label_smoothing_factor": 0.0, "focal_gamma": 0.0, "class_weights": "none",
            "r_drop": 0.0, "layer_decay": 1.0, "max_seq_length": 128, "select_on": "auto", "max_steps": -1, "eval_steps": 0,
            "metric_for_best_model": "loss", "early_stopping_patience": 0, "early_stopping_threshold": 0.0,
            "save_steps": 0, "save_total_limit": 0, "seed": 42,
        });
        // one macro takes no more keys
        (theirs["long"], theirs["window_combine"]) = ("truncate".into(), "mean".into());
        assert_eq!(recipe, theirs);
        assert_eq!(serde_json::from_value::<Recipe>(theirs).unwrap(), Recipe::default());
    }

    #[test]
    fn a_written_recipe_is_read_back() {
        let named = ClassWeights::Named([("no".to_owned(), 1.0), ("yes".to_owned(), 2.5)].into());
        for class_weights in [ClassWeights::None, ClassWeights::Balanced, named] {
            let recipe =
                Recipe { class_weights, select_on: SelectOn::HeldOut, seed: u64::MAX, ..Recipe::recommended() };
            let written = toml::to_string(&recipe).unwrap();
            assert_eq!(toml::from_str::<Recipe>(&written).unwrap(), recipe, "{written}");
        }
    }

    #[test]
    fn bad_values_are_named() {
        let bad = |change: fn(&mut Recipe)| {
            let mut recipe = Recipe::default();
            change(&mut recipe);
            recipe.check().unwrap_err().to_string()
        };
        assert_eq!(bad(|r| r.num_train_epochs = 0), "recipe: num_train_epochs: expected 1 or more, found 0");
        assert_eq!(bad(|r| r.learning_rate = f64::NAN), "recipe: learning_rate: expected a number above 0, found NaN");
        assert_eq!(
            bad(|r| r.head_learning_rate = Some(0.0)),
            "recipe: head_learning_rate: expected a number above 0, found 0"
        );
        assert_eq!(bad(|r| r.layer_decay = 0.0), "recipe: layer_decay: expected a number above 0, up to 1, found 0");
        assert_eq!(bad(|r| r.r_drop = -1.0), "recipe: r_drop: expected 0 or more, found -1");
        assert_eq!(bad(|r| r.adam_beta2 = 1.0), "recipe: adam_beta2: expected 0 or more and below 1, found 1");
    }

    #[test]
    fn warmup_is_a_share_or_a_number_of_steps() {
        let warmup = |warmup_steps, rows| Recipe { warmup_steps, ..Recipe::default() }.schedule(rows).warmup_steps;
        // 3 epochs of 13 steps
        assert_eq!((warmup(0.1, 100), warmup(7.0, 100), warmup(0.0, 100)), (4, 7, 0));
        // 3 steps: the last one trains
        assert_eq!(warmup(9.0, 1), 2);
    }
}
