//! Pictures of the page. They are drawn in black, and in [`TRAINED`] and [`OTHER`]; the page's style sheet gives each of these the
//! colour that fits a light or a dark page. Each is narrow enough for a phone, so that its letters need not shrink.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::curves::{self, OTHER, TRAINED};
use crate::eval::{Abstention, Interval, ReliabilityBin};
use crate::train::Outcome;

/// Width in pixels, and the height of a curve and of what is nearly square.
const WIDTH: u32 = 460;
const CURVE: u32 = 290;
const SQUARE: u32 = 360;
/// Height of a line of the picture of scores, and of its axis.
const LINE: u32 = 48;
const AXIS: u32 = 32;
/// Room beside the axis, for half a number.
const ASIDE: f64 = 26.0;
/// Size of letters; plotters divides it by 1.24.
const LETTERS: i32 = 19;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Problem = Box<dyn std::error::Error>;

/// A model's score, as a share.
#[derive(Clone, Debug)]
pub(super) struct Score {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) interval: Option<Interval>,
    /// Whether it is the model that the page is about.
    pub(super) trained: bool,
}

/// An empty picture that `draw` fills.
fn picture(size: (u32, u32), draw: impl FnOnce(&Area) -> Result<(), Problem>) -> Result<String, String> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&root).and_then(|()| Ok(root.present()?)).map_err(|problem| problem.to_string())?;
    }
    Ok(svg)
}

/// Loss and score over the steps of a training.
pub(super) fn curves(outcome: &Outcome) -> Result<[String; 2], String> {
    Ok([
        picture((WIDTH, CURVE), |area| curves::loss_panel(area, outcome))?,
        picture((WIDTH, CURVE), |area| curves::score_panel(area, outcome))?,
    ])
}

/// Scores below each other: a point, and its interval as a line.
pub(super) fn scores(scores: &[Score]) -> Result<String, String> {
    let ends = |score: &Score| score.interval.map_or([score.value; 2], |interval| [interval.low, interval.high]);
    let low = scores.iter().map(|score| ends(score)[0]).fold(1.0, f64::min);
    let high = scores.iter().map(|score| ends(score)[1]).fold(0.0, f64::max);
    let step = [0.01, 0.02, 0.05, 0.1].into_iter().find(|step| (high - low) / step <= 5.0).unwrap_or(0.2);
    // a number of whole steps
    let (first, last) = ((low / step - 0.1).floor(), (high / step + 0.1).ceil());
    let (first, last) = (first.max(0.0), last.min((1.0 / step).round()).max(first + 1.0));
    let x = |share: f64| (ASIDE + (share / step - first) / (last - first) * (f64::from(WIDTH) - 2.0 * ASIDE)) as i32;
    let height = LINE * scores.len() as u32 + AXIS;
    picture((WIDTH, height), |area| {
        let bottom = (height - AXIS) as i32 + 4;
        for tick in first as u32..=last as u32 {
            let share = f64::from(tick) * step;
            for line in 0..scores.len() as i32 {
                let top = line * LINE as i32;
                let ends = [(x(share), top + 28), (x(share), top + LINE as i32 - 2)];
                area.draw(&PathElement::new(ends, BLACK.mix(0.25)))?;
            }
            area.draw(&Text::new(
                format!("{:.0} %", 100.0 * share),
                (x(share), bottom + 6),
                label(HPos::Center, VPos::Top),
            ))?;
        }
        for (score, line) in scores.iter().zip(0..) {
            let (top, color) = (line * LINE as i32, if score.trained { TRAINED } else { OTHER });
            let (middle, [low, high]) = (top + 37, ends(score).map(x));
            area.draw(&Text::new(score.name.clone(), (2, top + 6), label(HPos::Left, VPos::Top)))?;
            let value = format!("{:.1} %", 100.0 * score.value);
            area.draw(&Text::new(value, (WIDTH as i32 - 2, top + 6), label(HPos::Right, VPos::Top)))?;
            area.draw(&PathElement::new([(low, middle), (high, middle)], color.stroke_width(4)))?;
            area.draw(&Circle::new((x(score.value), middle), 6, color.filled()))?;
        }
        Ok(())
    })
}

fn label(h: HPos, v: VPos) -> TextStyle<'static> {
    ("sans-serif", LETTERS).into_font().color(&BLACK).pos(Pos::new(h, v))
}

/// How often what is said with some probability is true, over that probability; the dashed line is where they are the same.
pub(super) fn reliability(bins: &[ReliabilityBin]) -> Result<String, String> {
    let lowest = bins.first().map_or(0.0, |bin| bin.low.min(bin.interval.low));
    let low = (lowest * 10.0).floor() / 10.0;
    let most = bins.iter().map(|bin| bin.decisions).max().unwrap_or(1) as f64;
    picture((WIDTH, SQUARE), |area| {
        let left = bins.first().map_or(0.0, |bin| bin.low);
        let mut chart = chart(area, left..1.02, low..1.02, ["probability that is said", "share that is true"])?;
        let steps = 24;
        let on_line = |step: i32| left + (1.0 - left) * f64::from(step) / f64::from(steps);
        let dashes = (0..steps).step_by(2).map(|step| {
            let ends = [on_line(step), on_line(step + 1)].map(|p| (p, p));
            PathElement::new(ends, BLACK.mix(0.6).stroke_width(2))
        });
        chart.draw_series(dashes)?;
        chart.draw_series(bins.iter().map(|bin| {
            let ends = [bin.interval.low, bin.interval.high].map(|share| (bin.confidence, share));
            PathElement::new(ends, TRAINED.stroke_width(2))
        }))?;
        chart.draw_series(bins.iter().map(|bin| {
            let size = 3.0 + 5.0 * (bin.decisions as f64 / most).sqrt();
            Circle::new((bin.confidence, bin.accuracy), size as i32, TRAINED.filled())
        }))?;
        Ok(())
    })
}

/// Accuracy over the share of rows that are answered.
pub(super) fn abstention(curve: &Abstention) -> Result<String, String> {
    let points: Vec<(f64, f64)> = curve.points.iter().map(|point| (point.coverage, point.accuracy)).collect();
    let low = points.iter().map(|(_, accuracy)| *accuracy).fold(1.0, f64::min);
    let low = ((low * 20.0).floor() / 20.0).min(0.95);
    picture((WIDTH, SQUARE), |area| {
        let mut chart =
            chart(area, 0.0..1.02, low..1.0 + (1.0 - low) * 0.03, ["share of rows answered", "share of them right"])?;
        chart.draw_series(LineSeries::new(points, TRAINED.stroke_width(3)))?;
        Ok(())
    })
}

/// Axes of shares, in percent.
fn chart<'a, 'b>(
    area: &'a Area<'b>,
    x: Range<f64>,
    y: Range<f64>,
    names: [&str; 2],
) -> Result<ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>, Problem> {
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(34)
        .x_label_area_size(52)
        .y_label_area_size(80)
        .build_cartesian_2d(x, y)?;
    let percent = |share: &f64| format!("{:.0} %", 100.0 * share);
    chart
        .configure_mesh()
        .label_style(("sans-serif", LETTERS))
        .axis_desc_style(("sans-serif", LETTERS))
        .x_labels(6)
        .y_labels(6)
        .x_desc(names[0])
        .y_desc(names[1])
        .x_label_formatter(&percent)
        .y_label_formatter(&percent)
        .light_line_style(TRANSPARENT)
        .draw()?;
    Ok(chart)
}

/// A confusion matrix of many classes: a square for each cell that has rows, the darker the larger its share of the rows of its true
/// class. At most `cells` of them, the fullest ones.
pub(super) fn heat(confusion: &[Vec<usize>], cells: usize) -> Result<String, String> {
    let mut full: Vec<(usize, usize, usize)> = Vec::new();
    for (truth, row) in confusion.iter().enumerate() {
        full.extend(row.iter().enumerate().filter(|(_, rows)| **rows > 0).map(|(said, &rows)| (truth, said, rows)));
    }
    full.sort_by_key(|&(_, _, rows)| std::cmp::Reverse(rows));
    full.truncate(cells);
    let (margin, count) = (28, confusion.len().max(1) as f64);
    let side = f64::from(WIDTH) - f64::from(margin) - 2.0;
    let at = |class: usize| (class as f64 / count * side) as i32;
    picture((WIDTH, WIDTH), |area| {
        let rectangle = |x: [i32; 2], y: [i32; 2]| [(margin + x[0], y[0] + 1), (margin + x[1], y[1] + 1)];
        for (truth, said, rows) in full {
            let share = rows as f64 / confusion[truth].iter().sum::<usize>().max(1) as f64;
            let color = if truth == said { TRAINED } else { OTHER };
            let corners = rectangle([at(said), at(said + 1)], [at(truth), at(truth + 1)]);
            area.draw(&Rectangle::new(corners, color.mix(0.15 + 0.85 * share).filled()))?;
        }
        let end = at(confusion.len());
        area.draw(&Rectangle::new(rectangle([0, end], [0, end]), BLACK.mix(0.4)))?;
        let middle = end / 2;
        area.draw(&Text::new("predicted class", (margin + middle, end + 6), label(HPos::Center, VPos::Top)))?;
        let turned = ("sans-serif", LETTERS).into_font().transform(FontTransform::Rotate270).color(&BLACK);
        area.draw(&Text::new("true class", (6, middle), turned.pos(Pos::new(HPos::Center, VPos::Top))))?;
        Ok(())
    })
}
