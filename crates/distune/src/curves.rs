//! Learning curves of a training as an SVG picture. Called by `run`; the page draws each panel on its own.

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::eval::Evaluation;
use crate::train::Outcome;

/// Size in pixels.
const SIZE: (u32, u32) = (900, 640);
/// Points of the training loss, at most: each is the mean of the steps around it.
const POINTS: usize = 200;
/// Size of letters in a panel; plotters divides it by 1.24.
const LETTERS: i32 = 18;
/// What is about the model itself, and what it is seen beside; the page's style sheet knows them.
pub(crate) const TRAINED: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
pub(crate) const OTHER: RGBColor = RGBColor(0xc2, 0x57, 0x0c);

/// A line: its name, its points, its colour.
type Line<'a> = (&'a str, &'a [(f64, f64)], RGBColor);

/// What stops a picture from being drawn: the text says it.
type Problem = Box<dyn std::error::Error>;

/// Two panels over the steps: above, the training loss (a running mean) and the validation loss; below, accuracy (with several labels
/// a row, micro F1) of the validation rows, the best one marked.
///
/// # Errors
/// The sentence that says why there is no picture, such as a loss that is not a number.
pub fn learning_curves(outcome: &Outcome) -> Result<String, String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&root, outcome).map_err(|problem| problem.to_string())?;
    }
    Ok(svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{}\" ", described(outcome)), 1))
}

/// What is told of the picture to who does not see it.
fn described(outcome: &Outcome) -> String {
    let steps = outcome.steps.len();
    let scores: Vec<String> = judged(outcome, score).iter().map(|(_, score)| format!("{score:.2}")).collect();
    let name = score_name(outcome);
    format!(
        "Learning curves over {steps} steps: training and validation loss; {name}, of validation {}",
        scores.join(", ")
    )
}

fn draw(root: &DrawingArea<SVGBackend, Shift>, outcome: &Outcome) -> Result<(), Problem> {
    root.fill(&WHITE)?;
    let (upper, lower) = root.split_vertically(SIZE.1 / 2);
    loss_panel(&upper, outcome)?;
    score_panel(&lower, outcome)?;
    root.present()?;
    Ok(())
}

/// The training loss and the validation loss.
pub(crate) fn loss_panel(area: &DrawingArea<SVGBackend, Shift>, outcome: &Outcome) -> Result<(), Problem> {
    let (training, validation) = (running_mean(outcome), judged(outcome, |e| e.loss));
    let lines = [("training", &training[..], OTHER), ("validation", &validation[..], TRAINED)];
    panel(area, "loss", outcome.steps.len() as f64, &lines, &[])
}

/// What the validation rows say of the model, the best one marked.
pub(crate) fn score_panel(area: &DrawingArea<SVGBackend, Shift>, outcome: &Outcome) -> Result<(), Problem> {
    let best: Vec<(f64, f64)> = outcome.best().map(|e| (e.step as f64, score(&e.validation))).into_iter().collect();
    let lines = [("validation", &judged(outcome, score)[..], TRAINED)];
    panel(area, score_name(outcome), outcome.steps.len() as f64, &lines, &best)
}

/// Accuracy; with several labels a row, micro F1, which is the same number where there is one.
fn score(e: &Evaluation) -> f64 {
    100.0 * e.metrics.micro_f1
}

fn score_name(outcome: &Outcome) -> &'static str {
    let several = outcome.evaluations.first().is_some_and(|e| e.validation.metrics.several_labels());
    if several { "micro F1, %" } else { "accuracy, %" }
}

/// A figure of each evaluation, at its step.
fn judged(outcome: &Outcome, of: impl Fn(&Evaluation) -> f64) -> Vec<(f64, f64)> {
    outcome.evaluations.iter().map(|e| (e.step as f64, of(&e.validation))).collect()
}

/// Lines by name, with their points where they are few, and marked points.
fn panel(
    area: &DrawingArea<SVGBackend, Shift>,
    y_name: &str,
    steps: f64,
    lines: &[Line],
    marked: &[(f64, f64)],
) -> Result<(), Problem> {
    let values = || lines.iter().flat_map(|(_, points, _)| points.iter().map(|(_, y)| *y));
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    if !values().all(f64::is_finite) || !low.is_finite() {
        return Err(format!("a {y_name} of the training is not a number").into());
    }
    let margin = ((high - low) * 0.08).max(high.abs() * 0.01).max(1e-3);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(50)
        .y_label_area_size(78)
        .build_cartesian_2d(0.0..steps.max(1.0), low - margin..high + margin)?;
    let digits = if margin < 0.1 { 3 } else { 2 };
    chart
        .configure_mesh()
        .label_style(("sans-serif", LETTERS))
        .axis_desc_style(("sans-serif", LETTERS))
        .x_labels(6)
        .y_labels(6)
        .x_desc("step")
        .y_desc(y_name)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.digits$}"))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (name, points, color) in lines {
        let line = chart.draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(2)))?;
        line.label(*name).legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        if points.len() <= POINTS / 4 {
            chart.draw_series(points.iter().map(|&point| Circle::new(point, 3, color.filled())))?;
        }
    }
    for &point in marked {
        let mark = chart.draw_series([Circle::new(point, 7, BLACK.stroke_width(2))])?;
        mark.label("kept").legend(|(x, y)| Circle::new((x + 9, y), 5, BLACK.stroke_width(2)));
    }
    // where a loss has fallen from, and where a score has risen to
    let corner = if marked.is_empty() { SeriesLabelPosition::UpperRight } else { SeriesLabelPosition::LowerRight };
    chart
        .configure_series_labels()
        .position(corner)
        .label_font(("sans-serif", LETTERS))
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

/// The training loss, each point the mean of equally many steps, at the last of them.
fn running_mean(outcome: &Outcome) -> Vec<(f64, f64)> {
    let size = outcome.steps.len().div_ceil(POINTS).max(1);
    let mean = |steps: &[crate::train::StepRecord]| {
        let sum: f64 = steps.iter().map(|step| step.loss).sum();
        (steps.last().map_or(0.0, |step| step.step as f64), sum / steps.len() as f64)
    };
    outcome.steps.chunks(size).map(mean).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::data::Answers;
    use crate::eval::Predictions;
    use crate::train::{EvaluationRecord, StepRecord};

    fn outcome(steps: usize, loss: f64) -> Outcome {
        let step = |step| StepRecord { step, epoch: 1.0, loss, grad_norm: 1.0, learning_rate: 1e-4 };
        let rows = Answers::One(vec![0, 1]);
        let predictions = Predictions { answers: rows.clone(), probabilities: Some(vec![0.8, 0.2, 0.1, 0.9]) };
        let judged = Evaluation::new(&rows, &predictions, &["a".into(), "b".into()]).unwrap();
        let validation = Evaluation { loss: 0.5, ..judged };
        let record =
            EvaluationRecord { epoch: 1.0, step: steps, train_loss: loss, seconds: 1.0, validation, best: true };
        let steps = (1..=steps).map(step).collect();
        Outcome { steps, evaluations: vec![record], stopped_early: false, train_seconds: 1.0, cache: None }
    }

    #[test]
    fn a_picture_of_any_length_is_small() {
        for steps in [1, 7, 100_000] {
            let svg = learning_curves(&outcome(steps, 0.7)).unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
            let alone = format!("aria-label=\"Learning curves over {steps} steps:");
            for said in ["accuracy, %", "loss", "validation", "kept", "role=\"img\"", &alone] {
                assert!(svg.contains(said), "{said}");
            }
            assert!(svg.len() < 30_000, "{} bytes", svg.len());
        }
        assert_eq!(running_mean(&outcome(100_000, 0.7)).len(), POINTS);
    }

    #[test]
    fn what_is_no_number_is_not_drawn() {
        assert_eq!(learning_curves(&outcome(3, f64::NAN)).unwrap_err(), "a loss of the training is not a number");
    }
}
