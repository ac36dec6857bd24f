//! Rows whose label is probably wrong, by confident learning (C. Northcutt, L. Jiang and I. Chuang, Confident Learning: Estimating
//! Uncertainty in Dataset Labels, JAIR 70, 2021). The predictions must be of rows that the model was not trained on.
//!
//! Of each class, the threshold is the mean of its probability over the rows that are labelled so. A row is confidently of the
//! most probable class among those whose probability is at least their threshold, if there are such. Rows that are confidently of
//! another class than their label, off the diagonal of the confident joint, are issues (the paper's method "C confusion"), but for those whose
//! label is the most probable class all the same. They are ranked by the normalised margin, the label's probability less that of
//! the most probable other class. cleanlab's `find_label_issues(filter_by="confident_learning")` is the same but for rows of which
//! several classes are confident and none of them is the most probable one: it takes the latter, we follow the paper.

use serde::Serialize;

use super::{RowText, Texts, named};
use crate::data::Answers;
use crate::eval::Predictions;

/// What a probability may lie below a threshold: a mean of equal numbers is not quite that number. As cleanlab's.
const ROUNDING: f64 = 1e-6;

/// Rows whose label is probably wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LabelIssues {
    /// How many rows have one.
    pub rows: usize,
    /// What is labelled as what, the most frequent first: the confident joint without its diagonal.
    pub pairs: Vec<LabelPair>,
    /// The labels in question, the most doubtful first; where a row may have several labels, each of them is judged on its own.
    pub issues: Vec<LabelIssue>,
}

/// Rows with one label that are confidently of another class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelPair {
    /// Their label; where a row may have several, "no NAME" stands for none.
    pub given: String,
    /// What they are confidently.
    pub suggested: String,
    /// How many.
    pub rows: usize,
}

/// A label that is probably wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LabelIssue {
    /// The row.
    #[serde(flatten)]
    pub at: RowText,
    /// Its labels.
    pub given: Vec<String>,
    /// What they should probably be.
    pub suggested: Vec<String>,
    /// The probability of the label as it is.
    pub self_confidence: f64,
    /// That less the probability of the most probable other class; below 0.
    pub margin: f64,
}

/// An issue among rows of one label each.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Doubt {
    row: usize,
    given: u32,
    suggested: u32,
    self_confidence: f64,
    margin: f64,
}

impl LabelIssues {
    /// Finds them; nothing is told by predictions without probabilities.
    pub(super) fn find(texts: Texts, truth: &Answers, predictions: &Predictions, names: &[String]) -> Option<Self> {
        let probabilities = predictions.probabilities.as_ref()?;
        let mut found: Vec<(Doubt, LabelPair, [Vec<u32>; 2])> = match truth {
            Answers::One(labels) => {
                let pair = |doubt: &Doubt| [doubt.given, doubt.suggested].map(|id| names[id as usize].clone());
                let all = doubts(labels, probabilities, names.len()).into_iter();
                all.map(|doubt| (doubt, label_pair(pair(&doubt)), [vec![doubt.given], vec![doubt.suggested]])).collect()
            }
            Answers::Several(rows) => {
                (0..names.len()).flat_map(|id| of_label(id, rows, probabilities, names)).collect()
            }
        };
        found.sort_by(|(a, ..), (b, ..)| a.margin.total_cmp(&b.margin).then(a.row.cmp(&b.row)));
        let mut rows: Vec<usize> = found.iter().map(|(doubt, ..)| doubt.row).collect();
        rows.sort_unstable();
        rows.dedup();
        let pairs = counted(found.iter().map(|(_, pair, _)| pair));
        let issue = |(doubt, _, [given, suggested]): (Doubt, LabelPair, [Vec<u32>; 2])| LabelIssue {
            at: texts.row(doubt.row),
            given: named(&given, names),
            suggested: named(&suggested, names),
            self_confidence: doubt.self_confidence,
            margin: doubt.margin,
        };
        Some(Self { rows: rows.len(), pairs, issues: found.into_iter().map(issue).collect() })
    }
}

/// The rows in which one of several labels is doubtful: its presence or absence.
fn of_label(
    id: usize,
    rows: &[Vec<u32>],
    probabilities: &[f64],
    names: &[String],
) -> Vec<(Doubt, LabelPair, [Vec<u32>; 2])> {
    let label = id as u32;
    let holds: Vec<u32> = rows.iter().map(|row| u32::from(row.contains(&label))).collect();
    let both: Vec<f64> = probabilities.chunks_exact(names.len()).flat_map(|row| [1.0 - row[id], row[id]]).collect();
    let change = |doubt: Doubt| {
        let given = rows[doubt.row].clone();
        let mut suggested: Vec<u32> = given.iter().copied().filter(|&other| other != label).collect();
        if doubt.suggested == 1 {
            suggested.push(label);
            suggested.sort_unstable();
        }
        let name = |holds| if holds == 1 { names[id].clone() } else { format!("no {}", names[id]) };
        (doubt, label_pair([name(doubt.given), name(doubt.suggested)]), [given, suggested])
    };
    doubts(&holds, &both, 2).into_iter().map(change).collect()
}

fn label_pair([given, suggested]: [String; 2]) -> LabelPair {
    LabelPair { given, suggested, rows: 1 }
}

/// Equal pairs counted, the most frequent first.
fn counted<'a>(pairs: impl Iterator<Item = &'a LabelPair>) -> Vec<LabelPair> {
    let mut counts = std::collections::BTreeMap::new();
    pairs.for_each(|pair| *counts.entry((&pair.given, &pair.suggested)).or_insert(0) += 1);
    let mut pairs: Vec<LabelPair> = counts
        .into_iter()
        .map(|((given, suggested), rows)| LabelPair { given: given.clone(), suggested: suggested.clone(), rows })
        .collect();
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.rows));
    pairs
}

/// The issues among rows of one label each, `labels [N]` with `probabilities [N, C]`, in the order of the rows.
fn doubts(labels: &[u32], probabilities: &[f64], classes: usize) -> Vec<Doubt> {
    let rows = || labels.iter().zip(probabilities.chunks_exact(classes.max(1)));
    let mut sums = vec![(0.0, 0.0); classes];
    for (&label, p) in rows() {
        let (sum, count) = &mut sums[label as usize];
        (*sum, *count) = (*sum + p[label as usize], *count + 1.0);
    }
    // of a class without rows, nothing is confident
    let thresholds: Vec<f64> =
        sums.iter().map(|&(sum, count)| if count > 0.0 { sum / count - ROUNDING } else { f64::INFINITY }).collect();
    let doubt = |(row, (&given, p)): (usize, (&u32, &[f64]))| {
        let confident = (0_u32..).zip(p.iter().zip(&thresholds)).filter(|(_, (p, threshold))| p >= threshold);
        let confident = confident.map(|(id, (&p, _))| (id, p));
        let (suggested, _) = confident.reduce(|best, next| if next.1 > best.1 { next } else { best })?;
        let others = (0_u32..).zip(p).filter(|(id, _)| *id != given).map(|(_, &p)| p);
        let self_confidence = p[given as usize];
        let margin = self_confidence - others.fold(0.0, f64::max);
        (suggested != given && margin < 0.0).then_some(Doubt { row, given, suggested, self_confidence, margin })
    };
    rows().enumerate().filter_map(doubt).collect()
}
