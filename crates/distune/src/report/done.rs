//! What was done: model, recipe, what trained, the data, and the curves of the training.

use maud::{Markup, html};

use super::page::{Section, facts, figure, wide};
use super::words::{self, percent, shortened, thousands};
use super::{Source, SplitRows, TrainingReport, pictures};
use crate::tokenize::Long;
use crate::train::{PartOfModel, RecipeFile};

/// Classes that a table of the splits shows, at most.
const CLASSES: usize = 12;

impl TrainingReport<'_> {
    pub(super) fn done_section(&self) -> Section {
        let recipe = &self.settings.recipe;
        let steps = self.outcome.steps.len();
        let early = if self.outcome.stopped_early { ", ended early because the score no longer rose" } else { "" };
        let named: Vec<(&str, Markup)> = vec![
            ("Model", source(self.model)),
            ("Data", html! { @for (at, data) in self.data.iter().enumerate() { @if at > 0 { br; } (source(data)) } }),
            ("Classes", self.class_names()),
            (
                "Training",
                html! {
                    (words::epochs(self.outcome.epochs())) " " (if self.outcome.epochs() == 1.0 { "epoch" } else { "epochs" }) ", " (words::counted(steps, "step")) " of "
                    (recipe.rows_per_step()) " rows, " (words::seconds(self.outcome.train_seconds)) (early)
                },
            ),
            (
                "Kept",
                html! {
                    @if let Some(best) = self.outcome.best() {
                        "the weights after epoch " (words::epochs(best.epoch)) ", the best by "
                        (self.selected_by()) " on the validation rows"
                    }
                },
            ),
        ];
        let body = html! {
            (facts(&named))
            (self.changed_settings())
            (self.parts_table())
        };
        Section { id: "done", title: "What was done", body }
    }

    /// The names of the classes, of many the first ones.
    fn class_names(&self) -> Markup {
        let more = self.labels.len().saturating_sub(CLASSES);
        html! {
            (thousands(self.labels.len())) ": "
            @for (at, label) in self.labels.iter().take(CLASSES).enumerate() {
                @if at > 0 { ", " } bdi { (shortened(label, 60)) }
            }
            @if more > 0 { " and " (thousands(more)) " more" }
            @if self.judged.evaluation.metrics.several_labels() { "; any number of them a row" }
        }
    }

    /// What was set in another way than distune does by itself.
    fn changed_settings(&self) -> Markup {
        let table = |file: &RecipeFile| toml::Table::try_from(file).unwrap_or_default();
        let (usual, used) = (table(&RecipeFile::default()), table(self.settings));
        let known = ["model", "data", "precision", "text_column", "label_column", "pair_column"];
        let changed: Vec<(&String, &toml::Value)> = used
            .iter()
            .filter(|(key, value)| !known.contains(&key.as_str()) && usual.get(*key) != Some(*value))
            .collect();
        let rows = |names: &[(&String, &toml::Value)]| {
            html! {
                table { tbody { @for (key, value) in names { tr { th scope="row" { code { (key) } } td { (shortened(&value.to_string(), 200)) } } } } }
            }
        };
        let all: Vec<(&String, &toml::Value)> = used.iter().collect();
        html! {
            h3 { "Recipe" }
            @if changed.is_empty() { p { "Every setting is the recommended one." } } @else {
                p { "Settings that differ from the recommended ones:" }
                (wide("Changed settings", &rows(&changed)))
            }
            details { summary { "All settings" } (wide("All settings", &rows(&all))) }
        }
    }

    /// What trained and what was frozen.
    fn parts_table(&self) -> Markup {
        let (trained, all) = self.parameters();
        let table = html! {
            table {
                caption { (thousands(trained)) " of " (thousands(all)) " parameters trained" }
                thead { tr { th scope="col" { "Part" } th scope="col" { "State" } th.n scope="col" { "Trained" } th.n scope="col" { "Parameters" } } }
                tbody {
                    @for part in self.parts {
                        tr {
                            th scope="row" { (part.part) }
                            td { (state(part)) }
                            td.n { (thousands(part.trained)) }
                            td.n { (thousands(part.parameters)) }
                        }
                    }
                }
            }
        };
        html! {
            h3 { "What trained" }
            (wide("What trained", &table))
            @if let Some(adapters) = self.adapters { p { (adapters) " They have become part of the saved weights." } }
            @if let Some(hash) = self.frozen {
                p { "Frozen tensors are the same bytes as before the training: their SHA-256 was compared (" code { (shortened(hash, 16)) } ")." }
            }
        }
    }

    pub(super) fn data_section(&self) -> Section {
        let classes = self.labels.len();
        let shown = classes.min(CLASSES);
        let table = html! {
            table {
                caption { "Rows of each split" @if shown == classes { ", and of each class" } }
                thead { tr { th scope="col" { } @for split in self.splits { th.n scope="col" { (words::capital(split.name)) } } } }
                tbody {
                    tr { th scope="row" { "Rows" } @for split in self.splits { td.n { (thousands(split.rows)) } } }
                    @if shown == classes {
                        @for (class, label) in self.labels.iter().enumerate() {
                            tr {
                                th scope="row" { bdi { (shortened(label, 60)) } }
                                @for split in self.splits { @let count = split.of_classes.get(class).copied().unwrap_or(0); td.n {
                                    (thousands(count)) small { (percent(count as f64 / split.rows.max(1) as f64)) }
                                } }
                            }
                        }
                    } @else {
                        tr { th scope="row" { "Rows of the rarest class" } @for split in self.splits { td.n { (thousands(split.of_classes.iter().copied().min().unwrap_or(0))) } } }
                        tr { th scope="row" { "Rows of the commonest class" } @for split in self.splits { td.n { (thousands(split.of_classes.iter().copied().max().unwrap_or(0))) } } }
                    }
                    tr { th scope="row" { "Tokens a row" } @for split in self.splits { td.n { (tokens(split)) } } }
                    @if self.settings.recipe.long == Long::Windows {
                        tr { th scope="row" { "Windows" } @for split in self.splits { td.n { (thousands(split.lengths.windows)) } } }
                    } @else {
                        tr { th scope="row" { "Texts cut" } @for split in self.splits { td.n { (thousands(split.lengths.truncated)) } } }
                    }
                    tr { th scope="row" { "What for" } @for split in self.splits { td.n.what { (split.purpose) } } }
                }
            }
        };
        let body = html! {
            (wide("Rows of each split", &table))
            p.how { "Texts longer than " (self.settings.recipe.max_seq_length) " tokens are " (self.long_texts()) "." }
            @if self.problems.is_empty() {
                p { "The quick check of the data (repeated texts, texts with several labels, texts in two splits) found nothing." }
            } @else {
                h3 { "What the check found" }
                ul.problems { @for problem in self.problems { li dir="auto" { (problem) } } }
            }
            @if !self.notes.is_empty() {
                h3 { "How the data were read" }
                ul { @for note in self.notes { li dir="auto" { (shortened(note, 400)) } } }
            }
        };
        Section { id: "data", title: "Data", body }
    }

    pub(super) fn curves_section(&self) -> Option<Section> {
        let [loss, score] = pictures::curves(self.outcome).ok()?;
        let body = html! {
            div.pair {
                (figure(&loss, "Training and validation loss over the steps", &html! {
                    "Loss: both lines should fall. Where the validation loss rises while the training loss falls, the model learns its rows by heart."
                    @if self.settings.recipe.label_smoothing_factor > 0.0 {
                        " The training loss is that of smoothed labels, so it does not fall to 0 and may lie above the other one."
                    }
                }))
                (figure(&score, "Score on the validation rows over the steps", &html! {
                    "Score on the validation rows. The ring is at the weights that were kept."
                }))
            }
        };
        Some(Section { id: "curves", title: "Learning curves", body })
    }
}

/// A model or data by its name, and what is known of it.
fn source(source: &Source) -> Markup {
    html! {
        bdi { (source.name) }
        @if let Some(hub) = &source.hub { " (Hugging Face hub, revision " (hub.revision) ")" }
        @if let Some(about) = &source.about { span.about { (about) } }
    }
}

/// Whether a part trained.
fn state(part: &PartOfModel) -> Markup {
    let from = part.from_epoch.filter(|&epoch| epoch > 1);
    html! {
        @if part.trained == 0 { span.frozen { "frozen" } }
        @else if part.trained == part.parameters { span.trains { "trains" } }
        @else { span.trains { "trains in part" } }
        @if let Some(epoch) = from { " from epoch " (epoch) " on" }
    }
}

fn tokens(split: &SplitRows) -> String {
    let lengths = &split.lengths;
    if lengths.rows == 0 { "–".to_owned() } else { format!("{:.1}", lengths.tokens as f64 / lengths.rows as f64) }
}
