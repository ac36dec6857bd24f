//! A sweep as an SVG picture that is legible on light and on dark pages. Called by [`super::SweepDirectory`].

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::table::{in_percent, name_of};
use super::{Accuracies, Finished, Range, SettingSummary, Summary, Sweep, TestRows, Values, value_text};
use crate::train::Metric;

/// Size in pixels of the panels of a key, and of a picture of one key.
const PANEL: (u32, u32) = (460, 560);
const WIDTH_OF_ONE: u32 = 760;
/// Keys that are drawn, at most.
const KEYS: usize = 4;
/// Room for the title.
const TITLE: u32 = 34;
/// Letters of a value below the axis, at most.
const LETTERS: usize = 16;
/// Between black and white, so that both pages show it.
const GREY: RGBColor = RGBColor(0x76, 0x80, 0x8b);
const VALIDATION: RGBColor = RGBColor(0x2f, 0x7f, 0xd8);
const TEST: RGBColor = RGBColor(0xd0, 0x73, 0x1a);
const TIME: RGBColor = RGBColor(0x2c, 0x93, 0x62);

/// What stops a picture from being drawn: the text says it.
type Problem = Box<dyn std::error::Error>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// For each key that varies, above, the accuracy (or what is chosen by) of each setting with its interval and, as small points, of
/// each seed; below, the seconds of training. The best setting has a ring.
///
/// # Errors
/// The sentence that says why there is no picture: no trial is done.
pub fn picture(sweep: &Sweep, summary: &Summary) -> Result<String, String> {
    let keys: Vec<&str> = sweep.plan.keys.keys().map(String::as_str).take(KEYS).collect();
    let keys = if keys.is_empty() { vec![""] } else { keys };
    let width = if keys.len() == 1 { WIDTH_OF_ONE } else { PANEL.0 * keys.len() as u32 };
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (width, PANEL.1)).into_drawing_area();
        draw(&root, sweep, summary, &keys).map_err(|problem| problem.to_string())?;
    }
    Ok(svg)
}

fn draw(root: &Area, sweep: &Sweep, summary: &Summary, keys: &[&str]) -> Result<(), Problem> {
    let (title, panels) = root.split_vertically(TITLE);
    let text = format!("{} on {}", sweep.title(), sweep.base.data.join(", "));
    let style = ("sans-serif", 18).into_font().color(&GREY).pos(Pos::new(HPos::Center, VPos::Center));
    title.draw(&Text::new(text, (title.dim_in_pixel().0 as i32 / 2, TITLE as i32 / 2 + 4), style))?;
    for (key, panel) in keys.iter().zip(panels.split_evenly((1, keys.len()))) {
        let (upper, lower) = panel.split_vertically((PANEL.1 - TITLE) * 3 / 5);
        let axis = Axis::new(sweep, summary, key).ok_or("no trial is done")?;
        let (name, scores) = scores(sweep, summary);
        axis.panel(root, &upper, &name, &scores, false)?;
        let seconds = Series::new("", TIME, summary, 0, |setting| {
            setting.mean(Finished::seconds_alone).map(|mean| Point { mean, ..Point::default() })
        });
        axis.panel(root, &lower, "training, s", &[seconds], true)?;
    }
    root.present()?;
    Ok(())
}

/// A setting in a panel.
#[derive(Clone, Default)]
struct Point {
    mean: f64,
    interval: Option<(f64, f64)>,
    /// Of each seed, where there are several.
    seeds: Vec<f64>,
}

/// Points of one kind, one for each setting that has some.
struct Series<'a> {
    /// Not named where it is the only one.
    name: &'a str,
    color: RGBColor,
    /// Which setting, and where.
    points: Vec<(usize, Point)>,
    /// Moved aside by so many pixels, so that two series do not lie on each other.
    aside: i32,
}

impl<'a> Series<'a> {
    fn new(
        name: &'a str,
        color: RGBColor,
        summary: &Summary,
        aside: i32,
        of: impl Fn(&SettingSummary) -> Option<Point>,
    ) -> Self {
        let settings = summary.settings.iter().enumerate();
        let points = settings.filter_map(|(at, setting)| Some((at, of(setting)?))).collect();
        Self { name, color, points, aside }
    }
}

/// What the upper panels show, and what it is called.
fn scores<'a>(sweep: &Sweep, summary: &Summary<'a>) -> (String, Vec<Series<'a>>) {
    if !summary.metric_is_accuracy() {
        let metric = summary.metric;
        let scale = if in_percent(metric) { 100.0 } else { 1.0 };
        let point = |setting: &SettingSummary| {
            let seeds = setting.finished().map(|f| scale * f.validation.of(metric)).collect();
            Some(Point { mean: scale * setting.score()?, interval: None, seeds })
        };
        let validation = Series::new("validation", VALIDATION, summary, 0, point);
        return (name_of(metric), vec![validation]);
    }
    let point = |accuracies: Accuracies, seeds: Vec<f64>| Point {
        mean: 100.0 * accuracies.mean,
        interval: Some((100.0 * accuracies.interval.low, 100.0 * accuracies.interval.high)),
        seeds,
    };
    let all = sweep.plan.test == TestRows::All && summary.test_name().is_some();
    let aside = if all { 5 } else { 0 };
    let mut series = vec![Series::new("validation", VALIDATION, summary, -aside, |setting| {
        let seeds = setting.finished().map(|f| 100.0 * f.validation.accuracy).collect();
        Some(point(setting.validation()?, seeds))
    })];
    if all {
        let name = if summary.test_name() == Some("dev") { "dev" } else { "test" };
        series.push(Series::new(name, TEST, summary, aside, |setting| {
            let seeds = setting.finished().filter_map(|f| Some(100.0 * f.test.as_ref()?.accuracy)).collect();
            Some(point(setting.test(TestRows::All)?, seeds))
        }));
    }
    (name_of(Metric::Accuracy), series)
}

/// Where the settings lie from left to right.
struct Axis {
    name: String,
    low: f64,
    high: f64,
    ticks: Vec<(f64, String)>,
    /// By setting.
    places: Vec<f64>,
    /// Whether a line joins the points: there is one at each place, and the places are in order.
    joined: bool,
    best: Option<usize>,
}

impl Axis {
    /// The axis of a key; nothing before a trial is done.
    fn new(sweep: &Sweep, summary: &Summary, key: &str) -> Option<Self> {
        summary.settings.iter().find(|setting| setting.finished().next().is_some())?;
        let (name, best) = (key.to_owned(), summary.best);
        if let Some(Values::Range(range)) = sweep.plan.keys.get(key) {
            let number = |setting: &SettingSummary| {
                let value = setting.values.get(key)?;
                let x = value.as_float().or(value.as_integer().map(|x| x as f64))?;
                Some(if range.log { x.ln() } else { x })
            };
            let places = summary.settings.iter().map(|setting| number(setting).unwrap_or_default()).collect();
            let (low, high) = if range.log { (range.min.ln(), range.max.ln()) } else { (range.min, range.max) };
            let margin = (high - low) * 0.05;
            let ticks = ticks(range);
            return Some(Self { name, low: low - margin, high: high + margin, ticks, places, joined: false, best });
        }
        let value = |setting: &SettingSummary| setting.values.get(key).map(value_text).unwrap_or_default();
        let listed = sweep.plan.keys.get(key).map(Values::some).unwrap_or_default();
        let mut values: Vec<(usize, String)> = Vec::new();
        for setting in &summary.settings {
            let text = value(setting);
            if !values.iter().any(|(_, known)| *known == text) {
                let at = listed.iter().position(|value| value_text(value) == text).unwrap_or_default();
                // what thaws more lies further right; all else as it is listed
                let trained = setting.finished().next().map_or(usize::MAX, |f| f.trained_parameters);
                values.push((if key == "unfreeze" { trained } else { at }, text));
            }
        }
        values.sort_by_key(|(order, _)| *order);
        let place = |setting: &SettingSummary| values.iter().position(|(_, known)| *known == value(setting));
        let columns: Vec<usize> = summary.settings.iter().map(|setting| place(setting).unwrap_or_default()).collect();
        let places = (0..columns.len()).map(|at| {
            // those of one value lie side by side
            let same = |range: &[usize]| range.iter().filter(|&&column| column == columns[at]).count() as f64;
            let (before, all) = (same(&columns[..at]), same(&columns));
            columns[at] as f64 + (before - (all - 1.0) / 2.0) * (0.6 / all).min(0.12)
        });
        let places = places.collect();
        let shortened = |text: &str| match text.chars().count() > LETTERS {
            true => text.chars().take(LETTERS - 1).chain(['…']).collect(),
            false => text.to_owned(),
        };
        let ticks = values.iter().enumerate().map(|(at, (_, text))| (at as f64, shortened(text))).collect();
        let joined = sweep.plan.keys.len() == 1;
        Some(Self { name, low: -0.6, high: values.len() as f64 - 0.4, ticks, places, joined, best })
    }

    /// A panel of some series over this axis.
    fn panel(&self, root: &Area, area: &Area, y_name: &str, series: &[Series], from_zero: bool) -> Result<(), Problem> {
        let points = || series.iter().flat_map(|series| &series.points).map(|(_, point)| point);
        let ends = |point: &Point| {
            let (low, high) = point.interval.unwrap_or((point.mean, point.mean));
            point.seeds.iter().fold((low, high), |(low, high), &x| (low.min(x), high.max(x)))
        };
        let low = points().map(|point| ends(point).0).fold(f64::INFINITY, f64::min);
        let high = points().map(|point| ends(point).1).fold(f64::NEG_INFINITY, f64::max);
        let lowest = if from_zero { 0.0 } else { low };
        let margin = ((high - lowest) * 0.08).max(high.abs() * 0.01).max(1e-3);
        let low = if from_zero { 0.0 } else { low - margin };
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_top(26)
            .margin_right(16)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(self.low..self.high, low..high + margin)?;
        let text = |size: i32| ("sans-serif", size).into_font().color(&GREY);
        let digits = if high - low < 0.5 { 3 } else { 1 };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(6)
            .y_label_formatter(&|y| format!("{y:.digits$}"))
            .y_desc(y_name)
            .axis_style(GREY)
            .label_style(text(15))
            .axis_desc_style(text(16))
            .bold_line_style(GREY.mix(0.3))
            .light_line_style(TRANSPARENT)
            .draw()?;
        let pixel = |place: f64, y: f64| chart.backend_coord(&(place, y));
        let below = text(15).pos(Pos::new(HPos::Center, VPos::Top));
        for (place, name) in &self.ticks {
            let (x, y) = pixel(*place, low);
            root.draw(&PathElement::new([(x, y), (x, y + 4)], GREY))?;
            root.draw(&Text::new(name.as_str(), (x, y + 8), below.clone()))?;
        }
        let (x, y) = pixel((self.low + self.high) / 2.0, low);
        root.draw(&Text::new(self.name.as_str(), (x, y + 26), text(16).pos(Pos::new(HPos::Center, VPos::Top))))?;
        for series in series {
            self.draw_series(root, series, &pixel)?;
        }
        if !series.iter().all(|series| series.name.is_empty()) {
            let (left, top) = pixel(self.low, high + margin);
            legend(root, series, (left + 10, top - 12))?;
        }
        Ok(())
    }

    fn draw_series(&self, root: &Area, series: &Series, pixel: &dyn Fn(f64, f64) -> (i32, i32)) -> Result<(), Problem> {
        let color = series.color;
        let at = |setting: usize, y: f64| {
            let (x, y) = pixel(self.places[setting], y);
            (x + series.aside, y)
        };
        let mut line: Vec<(i32, i32)> = series.points.iter().map(|(setting, point)| at(*setting, point.mean)).collect();
        line.sort_unstable();
        if self.joined {
            root.draw(&PathElement::new(line, color.mix(0.6).stroke_width(1)))?;
        }
        for (setting, point) in &series.points {
            let (setting, centre) = (*setting, at(*setting, point.mean));
            if let Some((low, high)) = point.interval {
                let ((x, bottom), (_, top)) = (at(setting, low), at(setting, high));
                let bar = color.stroke_width(2);
                root.draw(&PathElement::new([(x, bottom), (x, top)], bar))?;
                for y in [bottom, top] {
                    root.draw(&PathElement::new([(x - 4, y), (x + 4, y)], bar))?;
                }
            }
            // on the side where no other series is
            let beside = if series.aside < 0 { -9 } else { 9 };
            for &seed in point.seeds.iter().filter(|_| point.seeds.len() > 1) {
                let (x, y) = at(setting, seed);
                root.draw(&Circle::new((x + beside, y), 2, color.filled()))?;
            }
            root.draw(&Circle::new(centre, 4, color.filled()))?;
            if self.best == Some(setting) {
                root.draw(&Circle::new(centre, 8, ring()))?;
            }
        }
        Ok(())
    }
}

/// What the marks mean, from a pixel on to the right.
fn legend(root: &Area, series: &[Series], (mut x, y): (i32, i32)) -> Result<(), Problem> {
    let text = ("sans-serif", 15).into_font().color(&GREY).pos(Pos::new(HPos::Left, VPos::Center));
    let marks = series.iter().map(|series| (series.name, series.color.filled(), 4));
    for (name, mark, size) in marks.chain([("best", ring(), 6)]) {
        root.draw(&Circle::new((x, y), size, mark))?;
        root.draw(&Text::new(name, (x + 11, y), text.clone()))?;
        x += 32 + 7 * name.len() as i32;
    }
    Ok(())
}

/// What the best setting is marked with.
fn ring() -> ShapeStyle {
    GREY.stroke_width(2)
}

/// Round numbers of a range, and where they lie.
fn ticks(range: &Range) -> Vec<(f64, String)> {
    let Range { min, max, log, .. } = *range;
    let within = |x: &f64| *x >= min * (1.0 - 1e-9) && *x <= max * (1.0 + 1e-9);
    if log {
        let powers = (min.log10().floor() as i32..=max.log10().ceil() as i32).map(|power| 10_f64.powi(power));
        let few = max / min < 30.0;
        let steps: &[f64] = if few { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let numbers = powers.flat_map(|power| steps.iter().map(move |step| step * power)).filter(within);
        return numbers.map(|x| (x.ln(), value_text(&toml::Value::Float(x)))).collect();
    }
    let rough = (max - min) / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= rough).unwrap_or(rough);
    let first = (min / step).ceil() as i64;
    let numbers = (first..first + 12).map(|i| i as f64 * step).take_while(|x| *x <= max + 1e-9);
    numbers.map(|x| (x, format!("{}", (x * 1e6).round() / 1e6))).collect()
}
