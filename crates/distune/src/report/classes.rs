//! Each class on its own, and which are taken for which.

use maud::{Markup, html};

use super::TrainingReport;
use super::page::{Section, figure, wide};
use super::pictures;
use super::words::{self, percent, shortened, thousands};
use crate::eval::{ClassIntervals, ClassMetrics, Interval};

/// Classes that are shown at once; of more, the weakest ones are, and the rest unfolds.
const SHOWN: usize = 30;
const WEAKEST: usize = 10;
/// Classes of a confusion matrix in numbers, and of one in colours.
const MATRIX: usize = 12;
const HEAT: usize = 200;
/// Cells that are drawn, at most, and confusions that are listed.
const CELLS: usize = 4000;
const LISTED: usize = 12;
/// Letters of a class's name.
const NAME: usize = 40;

type Row<'a> = (&'a ClassMetrics, &'a ClassIntervals);

impl TrainingReport<'_> {
    pub(super) fn classes_section(&self) -> Section {
        let classes = &self.judged.evaluation.metrics.classes;
        let predicted = &self.judged.predictions.answers;
        let intervals = ClassIntervals::all(self.judged.truth, predicted, classes.len());
        let mut rows: Vec<Row> = classes.iter().zip(&intervals).collect();
        let body = if rows.len() <= SHOWN {
            html! { (wide("Classes", &class_table(&rows, "Each class, with 95 % intervals"))) (how()) }
        } else {
            let all = class_table(&rows, "All classes, with 95 % intervals");
            rows.sort_by(|a, b| a.0.f1.total_cmp(&b.0.f1));
            rows.truncate(WEAKEST);
            html! {
                (wide("Weakest classes", &class_table(&rows, "The classes with the lowest F1, with 95 % intervals")))
                (how())
                details { summary { "All " (thousands(classes.len())) " classes" } (wide("All classes", &all)) }
            }
        };
        Section { id: "classes", title: "Classes", body }
    }

    pub(super) fn confusion_section(&self) -> Option<Section> {
        let confusion = &self.judged.evaluation.metrics.confusion;
        let body = match confusion.len() {
            0 => return None,
            1..=MATRIX => html! { (wide("Confusion matrix", &self.matrix(confusion))) (matrix_how()) },
            classes => html! {
                @if classes <= HEAT { @if let Ok(svg) = pictures::heat(confusion, CELLS) {
                    (figure(&svg, "Confusion matrix in colours", &html! {
                        "Each line is a true class, each column a predicted one, in the order of the classes. What lies off the diagonal is wrong; "
                        "the darker a square, the larger its share of the class's rows."
                    }))
                } }
                (self.confusions(confusion))
            },
        };
        Some(Section { id: "confusion", title: "What is taken for what", body })
    }

    /// The confusion matrix in numbers.
    fn matrix(&self, confusion: &[Vec<usize>]) -> Markup {
        html! {
            table.matrix {
                caption { "Rows by true and predicted class" }
                thead {
                    tr { td {} th scope="colgroup" colspan=(self.labels.len()) { "Predicted" } }
                    tr { th scope="col" { "True" } @for label in self.labels { th.n scope="col" { bdi { (shortened(label, NAME)) } } } }
                }
                tbody {
                    @for (truth, (row, label)) in confusion.iter().zip(self.labels).enumerate() {
                        tr {
                            th scope="row" { bdi { (shortened(label, NAME)) } }
                            @for (said, &rows) in row.iter().enumerate() {
                                (matrix_cell(rows, row.iter().sum(), truth == said))
                            }
                        }
                    }
                }
            }
        }
    }

    /// The most frequent confusions of many classes.
    fn confusions(&self, confusion: &[Vec<usize>]) -> Markup {
        let mut wrong: Vec<(usize, usize, usize)> = Vec::new();
        for (truth, row) in confusion.iter().enumerate() {
            let others = row.iter().enumerate().filter(|&(said, &rows)| said != truth && rows > 0);
            wrong.extend(others.map(|(said, &rows)| (truth, said, rows)));
        }
        if wrong.is_empty() {
            return html! { p { "Every row is right." } };
        }
        wrong.sort_by_key(|&(_, _, rows)| std::cmp::Reverse(rows));
        wrong.truncate(LISTED);
        let share =
            |truth: usize, rows: usize| percent(rows as f64 / confusion[truth].iter().sum::<usize>().max(1) as f64);
        let table = html! {
            table {
                caption { "The most frequent confusions" }
                thead { tr { th scope="col" { "True class" } th scope="col" { "Taken for" } th.n scope="col" { "Rows" } th.n scope="col" { "Of the class" } } }
                tbody { @for (truth, said, rows) in wrong { tr {
                    th scope="row" { bdi { (shortened(&self.labels[truth], NAME)) } }
                    td { bdi { (shortened(&self.labels[said], NAME)) } }
                    td.n { (thousands(rows)) } td.n { (share(truth, rows)) }
                } } }
            }
        };
        wide("Confusions", &table)
    }
}

/// A table of classes.
fn class_table(rows: &[Row], caption: &str) -> Markup {
    let number = |value: f64, interval: Option<Interval>| {
        html! {
            td.n { (words::figure(value)) @if let Some(i) = interval { small { (format!("{:.2} to {:.2}", i.low, i.high)) } } }
        }
    };
    html! {
        table {
            caption { (caption) }
            thead { tr {
                th scope="col" { "Class" } th.n scope="col" { "Precision" } th.n scope="col" { "Recall" } th.n scope="col" { "F1" } th.n scope="col" { "Rows" }
            } }
            tbody { @for (class, intervals) in rows { tr {
                th scope="row" { bdi { (shortened(&class.label, NAME)) } }
                (number(class.precision, intervals.precision)) (number(class.recall, intervals.recall)) (number(class.f1, intervals.f1))
                td.n { (thousands(class.support)) }
            } } }
        }
    }
}

fn how() -> Markup {
    html! {
        p.how {
            "Precision: of the rows that the model gives this class, the part that has it. Recall: of the rows that have it, the part that the model "
            "finds. F1 is between the two. Few rows make wide intervals."
        }
    }
}

fn matrix_cell(rows: usize, of: usize, right: bool) -> Markup {
    let share = rows as f64 / of.max(1) as f64;
    let class = if right { "right" } else { "wrong" };
    html! {
        td.n.(class) style=(format!("--share:{:.0}%", 60.0 * share)) { (thousands(rows)) small { (percent(share)) } }
    }
}

fn matrix_how() -> Markup {
    html! { p.how { "Each line is a true class: where its rows went, and which part of them. The diagonal is right." } }
}
