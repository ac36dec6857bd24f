//! The options of `distune train` that make its recipe.

use std::path::Path;

use clap::{Args, ValueEnum};
use distune::Result;
use distune::data::SelectOn;
use distune::model::Config;
use distune::tokenize::{Combine, Long};
use distune::train::{ClassWeights, Metric, Optimizer, Recipe, Scheduler, TimeLimit, Unfreeze};

use super::lora::LoraArgs;
use crate::length;

/// Changes to the recipe of a file, or else to the recommended one.
#[derive(Args, Debug)]
#[command(next_help_heading = "Recipe")]
pub(super) struct RecipeArgs {
    /// What trains beside the head, which always does: head, blocks:N (the last N blocks), blocks:0,2 (these, counted from 0; one alone is
    /// blocks:4,), embeddings, bias (all biases and layer norms), all, or a pattern of tensor names such as '*.attention.q_lin.*';
    /// several joined with + [default: all]
    #[arg(long, value_name = "PARTS")]
    unfreeze: Option<Unfreeze>,
    /// Train the head alone in the first epoch, and thaw one block more in each, from the last one down; the embeddings come last
    #[arg(long)]
    gradual_unfreezing: bool,
    /// Let the last N blocks start anew, with random weights [default: 0]
    #[arg(long, value_name = "N")]
    reinit_blocks: Option<usize>,
    #[command(flatten)]
    lora: LoraArgs,
    /// Run frozen blocks in every epoch, with dropout, instead of keeping what they put out
    #[arg(long)]
    no_cache: bool,
    /// Passes over the training rows [default: 2]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Rows of a batch [default: 32]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Batches of a step: their gradients are averaged [default: 1]
    #[arg(long, value_name = "N")]
    gradient_accumulation_steps: Option<usize>,
    /// Tokens computed at once: larger batches are computed in parts, to bound the memory [default: 4096]
    #[arg(long, value_name = "N")]
    max_batch_tokens: Option<usize>,
    /// Peak learning rate [default: 1e-4]
    #[arg(long, value_name = "X")]
    learning_rate: Option<f64>,
    /// Peak learning rate of the head [default: that of the rest]
    #[arg(long, value_name = "X")]
    head_learning_rate: Option<f64>,
    /// Course of the learning rate: linear, cosine, polynomial, constant, constant_with_warmup, one_cycle or reduce_lr_on_plateau
    /// [default: linear]
    #[arg(long, value_name = "NAME", value_parser = scheduler)]
    lr_scheduler: Option<Scheduler>,
    /// Power of a polynomial schedule [default: 1]
    #[arg(long, value_name = "X")]
    lr_power: Option<f64>,
    /// Of reduce_lr_on_plateau: what the learning rate is multiplied by when the metric has not improved [default: 0.1]
    #[arg(long, value_name = "X")]
    lr_factor: Option<f64>,
    /// Of reduce_lr_on_plateau: evaluations without progress that are borne [default: 10]
    #[arg(long, value_name = "N")]
    lr_patience: Option<usize>,
    /// Steps of linear warmup; below 1, a share of all steps [default: 0.06]
    #[arg(long, value_name = "X")]
    warmup_steps: Option<f64>,
    /// Weight decay [default: 0.01]
    #[arg(long, value_name = "X")]
    weight_decay: Option<f64>,
    /// Optimizer: adamw, adam or sgd, which wants a far higher learning rate [default: adamw]
    #[arg(long, value_name = "NAME", value_parser = optimizer)]
    optimizer: Option<Optimizer>,
    /// Of sgd: what the sum of the gradients of the steps before is multiplied by; 0.9 is usual [default: 0]
    #[arg(long, value_name = "X")]
    momentum: Option<f64>,
    /// Decay rate of Adam's first moment [default: 0.9]
    #[arg(long, value_name = "X")]
    adam_beta1: Option<f64>,
    /// Decay rate of Adam's second moment [default: 0.999]
    #[arg(long, value_name = "X")]
    adam_beta2: Option<f64>,
    /// Added to the square root of Adam's second moment [default: 1e-8]
    #[arg(long, value_name = "X")]
    adam_epsilon: Option<f64>,
    /// Moving average of the weights, which is evaluated and saved instead of them: its decay, such as 0.999 [default: 0, none]
    #[arg(long, value_name = "X")]
    ema_decay: Option<f64>,
    /// Limit of the gradient norm; 0 for none [default: 1]
    #[arg(long, value_name = "X")]
    max_grad_norm: Option<f64>,
    /// Label smoothing [default: 0.1]
    #[arg(long, value_name = "X")]
    label_smoothing: Option<f64>,
    /// Focal loss: a row counts the less, the more certain the model is of its class; 0 for none, 2 is usual [default: 0]
    #[arg(long, value_name = "X")]
    focal_gamma: Option<f64>,
    /// Weights of the classes in the loss: balanced, which counts rare classes more, or a JSON file such as {"no": 1, "yes": 2.5}
    #[arg(long, value_name = "balanced|FILE")]
    class_weights: Option<String>,
    /// R-Drop: strength of the pull between two passes of each text with different dropout, at twice the cost of a step [default: 0]
    #[arg(long, value_name = "X")]
    r_drop: Option<f64>,
    /// Dropout after the embeddings and the feed-forward networks [default: the model's]
    #[arg(long, value_name = "P")]
    dropout: Option<f64>,
    /// Dropout on the attention weights [default: the model's]
    #[arg(long, value_name = "P")]
    attention_dropout: Option<f64>,
    /// Dropout before the classifier [default: the model's]
    #[arg(long, value_name = "P")]
    seq_classif_dropout: Option<f64>,
    /// What the learning rate is multiplied by from each block to the one below it, and to the embeddings [default: 1]
    #[arg(long, value_name = "X")]
    layer_decay: Option<f64>,
    /// Longest text in tokens [default: 128, or the model's limit if lower]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// What becomes of longer texts: truncate, or windows, which reads them in overlapping pieces of that length; each is a row of the
    /// training, with the labels of its text [default: truncate]
    #[arg(long, value_name = "truncate|windows", value_parser = length::long)]
    long: Option<Long>,
    /// Tokens that a window has in common with the one before [default: a quarter of what it has room for]
    #[arg(long, value_name = "N")]
    window_overlap: Option<usize>,
    /// What becomes of the logits of the windows of a text where it is predicted: their mean, or the largest one of each class, max
    /// [default: mean]
    #[arg(long, value_name = "mean|max", value_parser = length::combine)]
    window_combine: Option<Combine>,
    /// Rows by which the best epoch is selected, where there are train and dev rows but no test rows [default: held-out]
    #[arg(long, value_enum)]
    select_on: Option<SelectOnChoice>,
    /// Steps of the whole training, instead of --epochs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    max_steps: Option<i64>,
    /// Time for all steps and evaluations, such as 10m or 1h 30m: as many of the steps as fit, with the whole schedule laid over them
    #[arg(long, value_name = "TIME")]
    max_time: Option<TimeLimit>,
    /// Steps between two evaluations of the validation rows [default: one after each epoch]
    #[arg(long, value_name = "N")]
    eval_steps: Option<usize>,
    /// What selects the best weights: any single number that `eval --json` tells, by its name, such as micro_f1 (with one label a row,
    /// the accuracy), macro_f1, matthews_corrcoef, roc_auc or loss [default: micro_f1]
    #[arg(long, value_name = "NAME", value_parser = Metric::from_name)]
    metric_for_best_model: Option<Metric>,
    /// End the training when the metric has not risen for N evaluations
    #[arg(long, value_name = "N")]
    early_stopping_patience: Option<usize>,
    /// By how much the metric must rise to count [default: 0]
    #[arg(long, value_name = "X")]
    early_stopping_threshold: Option<f64>,
    /// Steps between two checkpoints, from which --resume goes on [default: one after an evaluation, at most one a minute, and at least
    /// one in ten minutes]
    #[arg(long, value_name = "N")]
    save_steps: Option<usize>,
    /// Checkpoints that are kept, the newest ones; 0 for all [default: 2]
    #[arg(long, value_name = "N")]
    save_total_limit: Option<usize>,
    /// Seed of the new head, the shuffling, the dropout and a split of the rows [default: 42]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Seed of a split of the rows [default: that of all else]
    #[arg(long, value_name = "N")]
    split_seed: Option<u64>,
}

/// What `--select-on` takes.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SelectOnChoice {
    /// A tenth of the train rows, at most 2,000, which are not trained on; dev is judged once, at the end
    HeldOut,
    /// Dev: all train rows are trained on, and the figure on dev is optimistic, because dev chose the epoch
    Dev,
}

impl From<SelectOnChoice> for SelectOn {
    fn from(choice: SelectOnChoice) -> Self {
        match choice {
            SelectOnChoice::HeldOut => Self::HeldOut,
            SelectOnChoice::Dev => Self::Dev,
        }
    }
}

/// The value of a name in a list of all.
pub(crate) fn named<T: Copy>(all: &[(&str, T)], name: &str) -> Result<T, String> {
    let names: Vec<&str> = all.iter().map(|(known, _)| *known).collect();
    let found = all.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    found.ok_or_else(|| format!("expected {}", names.join(", ")))
}

fn optimizer(name: &str) -> Result<Optimizer, String> {
    named(&Optimizer::NAMES, name)
}

fn scheduler(name: &str) -> Result<Scheduler, String> {
    named(&Scheduler::NAMES, name)
}

impl RecipeArgs {
    /// Fits a recipe to a model: without `--max-length`, texts are no longer than the model's positions.
    pub(super) fn fit(&self, recipe: &mut Recipe, config: &Config) {
        if self.max_length.is_none() {
            recipe.max_seq_length = recipe.max_seq_length.min(config.max_position_embeddings);
        }
    }

    /// What the options say, and for the rest what `r` says.
    pub(super) fn over(&self, r: Recipe) -> Result<Recipe> {
        let r = self.lora.over(r)?;
        let recipe = Recipe {
            unfreeze: self.unfreeze.clone().unwrap_or(r.unfreeze),
            gradual_unfreezing: self.gradual_unfreezing || r.gradual_unfreezing,
            reinit_blocks: self.reinit_blocks.unwrap_or(r.reinit_blocks),
            lora_rank: r.lora_rank,
            lora_alpha: r.lora_alpha,
            lora_targets: r.lora_targets,
            cache_frozen: r.cache_frozen && !self.no_cache,
            num_train_epochs: self.epochs.unwrap_or(r.num_train_epochs),
            per_device_train_batch_size: self.batch_size.unwrap_or(r.per_device_train_batch_size),
            gradient_accumulation_steps: self.gradient_accumulation_steps.unwrap_or(r.gradient_accumulation_steps),
            max_batch_tokens: self.max_batch_tokens.unwrap_or(r.max_batch_tokens),
            learning_rate: self.learning_rate.unwrap_or(r.learning_rate),
            head_learning_rate: self.head_learning_rate.or(r.head_learning_rate),
            lr_scheduler_type: self.lr_scheduler.unwrap_or(r.lr_scheduler_type),
            lr_power: self.lr_power.unwrap_or(r.lr_power),
            lr_factor: self.lr_factor.unwrap_or(r.lr_factor),
            lr_patience: self.lr_patience.unwrap_or(r.lr_patience),
            warmup_steps: self.warmup_steps.unwrap_or(r.warmup_steps),
            weight_decay: self.weight_decay.unwrap_or(r.weight_decay),
            optim: self.optimizer.unwrap_or(r.optim),
            momentum: self.momentum.unwrap_or(r.momentum),
            adam_beta1: self.adam_beta1.unwrap_or(r.adam_beta1),
            adam_beta2: self.adam_beta2.unwrap_or(r.adam_beta2),
            adam_epsilon: self.adam_epsilon.unwrap_or(r.adam_epsilon),
            ema_decay: self.ema_decay.unwrap_or(r.ema_decay),
            max_grad_norm: self.max_grad_norm.unwrap_or(r.max_grad_norm),
            label_smoothing_factor: self.label_smoothing.unwrap_or(r.label_smoothing_factor),
            focal_gamma: self.focal_gamma.unwrap_or(r.focal_gamma),
            class_weights: self.class_weights.as_deref().map_or(Ok(r.class_weights), class_weights)?,
            r_drop: self.r_drop.unwrap_or(r.r_drop),
            dropout: self.dropout.or(r.dropout),
            attention_dropout: self.attention_dropout.or(r.attention_dropout),
            seq_classif_dropout: self.seq_classif_dropout.or(r.seq_classif_dropout),
            layer_decay: self.layer_decay.unwrap_or(r.layer_decay),
            max_seq_length: self.max_length.unwrap_or(r.max_seq_length),
            long: self.long.unwrap_or(r.long),
            window_overlap: self.window_overlap.or(r.window_overlap),
            window_combine: self.window_combine.unwrap_or(r.window_combine),
            select_on: self.select_on.map_or(r.select_on, SelectOn::from),
            max_steps: self.max_steps.unwrap_or(r.max_steps),
            max_time: self.max_time.or(r.max_time),
            eval_steps: self.eval_steps.unwrap_or(r.eval_steps),
            metric_for_best_model: self.metric_for_best_model.unwrap_or(r.metric_for_best_model),
            early_stopping_patience: self.early_stopping_patience.unwrap_or(r.early_stopping_patience),
            early_stopping_threshold: self.early_stopping_threshold.unwrap_or(r.early_stopping_threshold),
            save_steps: self.save_steps.unwrap_or(r.save_steps),
            save_total_limit: self.save_total_limit.unwrap_or(r.save_total_limit),
            seed: self.seed.unwrap_or(r.seed),
            split_seed: self.split_seed.or(r.split_seed),
        };
        recipe.check()?;
        Ok(recipe)
    }
}

fn class_weights(name: &str) -> Result<ClassWeights> {
    match name {
        "balanced" => Ok(ClassWeights::Balanced),
        file => ClassWeights::read(Path::new(file)),
    }
}
