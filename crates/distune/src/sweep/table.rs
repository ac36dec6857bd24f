//! The settings of a sweep as a table: Markdown that reads well on a terminal too.

use super::{Accuracies, End, Method, SettingSummary, Summary, Sweep, TestRows, value_text};
use crate::data::audit::thousands;
use crate::train::Metric;

impl Summary<'_> {
    /// The document `table.md`.
    pub fn markdown(&self, sweep: &Sweep) -> String {
        let base = &sweep.base;
        let model = base.model.as_deref().unwrap_or_default();
        let mut text = format!("# {} on {}\n\n", sweep.title(), base.data.join(", "));
        text += &format!("Model {model}. {}\n\n", self.progress(sweep));
        text += &self.table(sweep);
        text += "\n";
        for line in self.notes(sweep) {
            text += &format!("{line}\n");
        }
        text
    }

    /// How much is done.
    pub fn progress(&self, sweep: &Sweep) -> String {
        let done: usize = self.settings.iter().map(|setting| setting.trials.len()).sum();
        let seeds = match &sweep.seeds()[..] {
            [seed] => format!("seed {seed}"),
            seeds => format!("seeds {}", seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
        };
        let failed: usize = self.settings.iter().map(SettingSummary::failed).sum();
        let failed = if failed > 0 { format!(", {failed} of them failed") } else { String::new() };
        format!("{done} of {} trials done{failed}; {seeds}.", sweep.trials())
    }

    /// The table alone: a line for each setting, the best one marked.
    pub fn table(&self, sweep: &Sweep) -> String {
        let columns = self.columns(sweep);
        let mut rows = vec![columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>()];
        let mut order: Vec<usize> = (0..self.settings.len()).collect();
        if sweep.plan.method != Method::Grid {
            // drawn ones have no order of their own: the best first
            order.sort_by(|&a, &b| self.settings[b].rank().total_cmp(&self.settings[a].rank()));
        }
        for (at, setting) in order.into_iter().map(|at| (at, &self.settings[at])) {
            let best = self.best == Some(at);
            let cell = |column: &Column| (column.of)(setting, best);
            rows.push(columns.iter().map(cell).collect());
        }
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns.len()).map(width).collect();
        let line = |row: &[String]| {
            let cells = row.iter().zip(&widths).zip(&columns).map(|((cell, width), column)| {
                if column.left { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let rule = widths.iter().zip(&columns).map(|(&width, column)| {
            if column.left { "-".repeat(width + 2) } else { format!("{}:", "-".repeat(width + 1)) }
        });
        let rule = format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
        line(&rows[0]) + &rule + &rows[1..].iter().map(|row| line(row)).collect::<String>()
    }

    fn columns(&self, sweep: &Sweep) -> Vec<Column<'_>> {
        let several = sweep.seeds().len() > 1;
        let mut columns = vec![Column::left("", |_, best| if best { "best" } else { "" }.to_owned())];
        for key in sweep.plan.keys.keys() {
            let of_setting = key.clone();
            columns.push(Column::left(key, move |setting, _| {
                setting.values.get(&of_setting).map(value_text).unwrap_or_default()
            }));
        }
        if several {
            columns.push(Column::right("seeds", |setting, _| setting.seeds_done()));
        }
        let metric = self.metric;
        if !self.metric_is_accuracy() {
            let name = format!("validation {}", name_of(metric));
            columns.push(Column::right(&name, move |setting, _| score_text(setting.score(), metric)));
        }
        columns.extend(accuracy_columns("validation", several, |setting, _| setting.validation()));
        if let Some(name) = self.test_name() {
            let whose = sweep.plan.test;
            let all = whose == TestRows::All;
            // of the settings that were not chosen, nobody asked
            let of = move |setting: &SettingSummary, best| if all || best { setting.test(whose) } else { None };
            columns.extend(accuracy_columns(name, several && all, of));
        }
        columns.extend([
            Column::right("trained parameters", |setting, _| {
                setting.finished().next().map(|f| thousands(f.trained_parameters)).unwrap_or_default()
            }),
            Column::right("training, s", |setting, _| number(setting.mean(|f| f.seconds_alone()), 1)),
            Column::right("samples/s", |setting, _| number(setting.mean(|f| f.samples_per_second), 0)),
            Column::right("memory, MB", |setting, _| {
                setting.peak_memory().map(|bytes| thousands((bytes / 1_000_000) as usize)).unwrap_or_default()
            }),
        ]);
        columns
    }

    /// Whether what is chosen by is the accuracy, under whichever name.
    pub(super) fn metric_is_accuracy(&self) -> bool {
        let same = || {
            self.settings
                .iter()
                .flat_map(SettingSummary::finished)
                .all(|f| f.validation.micro_f1 == f.validation.accuracy)
        };
        self.metric == Metric::Accuracy || self.metric == Metric::MicroF1 && same()
    }

    /// What the test rows are called, where there are some.
    pub(super) fn test_name(&self) -> Option<&str> {
        let mut finished = self.settings.iter().flat_map(SettingSummary::finished);
        finished.find(|f| f.test.is_some()).map(|f| f.test_split.as_str())
    }

    /// What the figures are of, and what went wrong.
    pub fn notes(&self, sweep: &Sweep) -> Vec<String> {
        let rows = |of: fn(&super::Finished) -> Option<usize>| {
            let mut finished = self.settings.iter().flat_map(SettingSummary::finished);
            finished.find_map(of).map(thousands).unwrap_or_default()
        };
        let mut notes = Vec::new();
        if self.best.is_some() {
            notes.push(format!(
                "validation: {} rows. They chose each trial's epoch and the best setting, so their figures are a little too good.",
                rows(|f| Some(f.validation.rows))
            ));
        }
        if let Some(name) = self.test_name() {
            let whose = match sweep.plan.test {
                TestRows::All => "They chose nothing; each trial was judged on them once",
                TestRows::Best => "They chose nothing; the best setting's are shown",
            };
            notes.push(format!("{name}: {} rows. {whose}.", rows(|f| f.test.as_ref().map(|test| test.rows))));
        }
        if self.best.is_some() {
            notes.push("In brackets: the 95 % interval of an accuracy on so many rows (Wilson).".to_owned());
            notes.push("training: seconds of the steps of a training that shares nothing with others; memory: the most that the process had.".to_owned());
        }
        for record in self.settings.iter().flat_map(|setting| setting.trials) {
            if let End::Failed(message) = &record.end {
                notes.push(format!("Trial {} failed: {message}", record.trial));
            }
        }
        notes
    }
}

impl Sweep {
    /// What a report of it is called.
    pub(super) fn title(&self) -> String {
        match self.plan.keys.keys().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => "Seeds".to_owned(),
            ["unfreeze"] => "Accuracy by layers thawed".to_owned(),
            ref keys => format!("Sweep of {}", keys.join(", ")),
        }
    }
}

impl SettingSummary<'_> {
    /// "3", or how many of them there are.
    fn seeds_done(&self) -> String {
        let (done, failed) = (self.finished().count(), self.failed());
        let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        if done == self.seeds { done.to_string() } else { format!("{done} of {}{failed}", self.seeds) }
    }

    fn peak_memory(&self) -> Option<u64> {
        self.finished().filter_map(|f| f.peak_memory).max()
    }
}

/// What a column says of a setting, which may be the best one.
type Cell<'a> = Box<dyn Fn(&SettingSummary, bool) -> String + 'a>;

/// A column.
struct Column<'a> {
    name: String,
    left: bool,
    of: Cell<'a>,
}

impl<'a> Column<'a> {
    fn left(name: &str, of: impl Fn(&SettingSummary, bool) -> String + 'a) -> Self {
        Self { name: name.to_owned(), left: true, of: Box::new(of) }
    }

    fn right(name: &str, of: impl Fn(&SettingSummary, bool) -> String + 'a) -> Self {
        Self { left: false, ..Self::left(name, of) }
    }
}

/// The mean accuracy on some rows with its interval, and of several seeds the lowest and the highest.
fn accuracy_columns<'a>(
    rows: &str,
    several: bool,
    of: impl Fn(&SettingSummary, bool) -> Option<Accuracies> + Copy + 'a,
) -> Vec<Column<'a>> {
    let percent = |x: f64| format!("{:.2}", 100.0 * x);
    let mean = Column::right(&format!("{rows} accuracy, %"), move |setting, best| {
        let text = |a: Accuracies| {
            format!("{} ({:.1} to {:.1})", percent(a.mean), 100.0 * a.interval.low, 100.0 * a.interval.high)
        };
        of(setting, best).map(text).unwrap_or_default()
    });
    let spread = Column::right("of seeds", move |setting, best| {
        of(setting, best).map(|a| format!("{} to {}", percent(a.low), percent(a.high))).unwrap_or_default()
    });
    [mean].into_iter().chain(several.then_some(spread)).collect()
}

/// What a metric is called in a table.
pub(super) fn name_of(metric: Metric) -> String {
    format!("{}{}", metric.title(), if in_percent(metric) { ", %" } else { "" })
}

/// Whether a metric is told in percent.
pub(super) fn in_percent(metric: Metric) -> bool {
    matches!(metric, Metric::Accuracy | Metric::MicroF1 | Metric::MacroF1)
}

fn score_text(score: Option<f64>, metric: Metric) -> String {
    match in_percent(metric) {
        false => number(score, 4),
        true => number(score.map(|score| 100.0 * score), 2),
    }
}

fn number(x: Option<f64>, digits: usize) -> String {
    x.map(|x| format!("{x:.digits$}")).unwrap_or_default()
}
