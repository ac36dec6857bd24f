//! An integral over the path, taken more finely where it is not exact yet.
//!
//! The path is cut into panels, each with the five points of Gauss-Lobatto quadrature, ends and middle among them. What is integrated is
//! the slope of a logit, and the logit at both ends of a panel is known, so each panel knows its own error. The worst panels are halved,
//! which keeps three of their points. This finds the places where the head's ReLU bends the logit, near which no rule is exact.

/// The five points of Gauss-Lobatto quadrature between 0 and 1, and their weights: exact for polynomials of degree 7 (M. Abramowitz and
/// I. Stegun, Handbook of Mathematical Functions, table 25.6).
const RULE: [(f64, f64); 5] =
    [(0.0, 1.0 / 20.0), (INNER, 49.0 / 180.0), (0.5, 16.0 / 45.0), (1.0 - INNER, 49.0 / 180.0), (1.0, 1.0 / 20.0)];
/// `(1 - sqrt(3/7)) / 2`
const INNER: f64 = 0.172_673_164_646_011_43;

/// How many times what is allowed the errors may be before some of them cancel out.
const CANCELLED: f64 = 5.0;

/// What is known at a point of the path.
#[derive(Clone, Debug)]
pub(super) struct Point {
    /// The logit.
    pub(super) logit: f64,
    /// Each token's share of its slope along the path `[L]`.
    pub(super) slopes: Vec<f64>,
}

/// A part of the path.
#[derive(Clone, Copy)]
struct Panel {
    start: f64,
    length: f64,
    /// Places of its points.
    points: [usize; 5],
}

/// The integral.
pub(super) struct Integral {
    /// Of each token's slope `[L]`.
    pub(super) scores: Vec<f64>,
    /// The logit at 0 and at 1.
    pub(super) ends: [f64; 2],
    /// Points at which the slope was taken.
    pub(super) steps: usize,
}

/// Integrates from 0 to 1. `at` computes the points at some places; panels are halved until their errors sum to at most `allowed` of the
/// logit at 0 and at 1, and without their signs to [`CANCELLED`] times that, or until there are `most` points (eleven at least).
///
/// # Errors
/// The first one of `at`.
pub(super) fn integrate<E>(
    most: usize,
    allowed: impl Fn([f64; 2]) -> f64,
    mut at: impl FnMut(&[f64]) -> Result<Vec<Point>, E>,
) -> Result<Integral, E> {
    // both halves at once: a single panel is hardly ever enough
    let whole = Panel { start: 0.0, length: 1.0, points: [0, 1, 2, 3, 4] };
    let places: Vec<f64> = RULE.iter().map(|(place, _)| *place).chain(whole.new_places()).collect();
    let mut points = at(&places)?;
    let mut panels = whole.halves(RULE.len()).to_vec();
    let ends = [points[0].logit, points[4].logit];
    let allowed = allowed(ends);
    loop {
        let (worst, rest) = worst(&panels, &points, allowed, most.saturating_sub(points.len()) / 6);
        if worst.is_empty() {
            break;
        }
        panels = rest;
        let places: Vec<f64> = worst.iter().flat_map(Panel::new_places).collect();
        panels.extend((points.len()..).step_by(6).zip(&worst).flat_map(|(new, panel)| panel.halves(new)));
        points.extend(at(&places)?);
    }
    let mut scores = vec![0.0; points[0].slopes.len()];
    for panel in &panels {
        for (&point, (_, weight)) in panel.points.iter().zip(RULE) {
            let slopes = scores.iter_mut().zip(&points[point].slopes);
            slopes.for_each(|(score, slope)| *score += panel.length * weight * slope);
        }
    }
    Ok(Integral { scores, ends, steps: points.len() })
}

/// The panels to be halved: none where their errors sum to what is allowed, and do not cancel out by far; else the worst, so that about
/// half of what is too much is left, but no more than `most`.
fn worst(panels: &[Panel], points: &[Point], allowed: f64, most: usize) -> (Vec<Panel>, Vec<Panel>) {
    let mut errors: Vec<(f64, Panel)> = panels.iter().map(|panel| (panel.error(points), *panel)).collect();
    errors.sort_by(|(a, _), (b, _)| b.abs().total_cmp(&a.abs()));
    let signed: f64 = errors.iter().map(|(error, _)| error).sum();
    let mut left: f64 = errors.iter().map(|(error, _)| error.abs()).sum();
    let enough = match signed.abs() <= allowed && left <= CANCELLED * allowed {
        true => left,
        false => left.min(CANCELLED * allowed) / 2.0,
    };
    let halved = errors.iter().take_while(|(error, _)| {
        let too_much = left > enough;
        left -= error.abs();
        too_much
    });
    let halved = halved.count().min(most);
    let panels: Vec<Panel> = errors.into_iter().map(|(_, panel)| panel).collect();
    let (worst, rest) = panels.split_at(halved);
    (worst.to_vec(), rest.to_vec())
}

impl Panel {
    /// What the rule makes of the slope, less the difference of the logit.
    fn error(&self, points: &[Point]) -> f64 {
        let slopes = self.points.iter().zip(RULE).map(|(&at, (_, w))| w * points[at].slopes.iter().sum::<f64>());
        let [first, .., last] = self.points;
        self.length * slopes.sum::<f64>() - (points[last].logit - points[first].logit)
    }

    /// The places of the six points that its halves need beside its own.
    fn new_places(&self) -> [f64; 6] {
        let place = |share: f64| self.start + self.length * share;
        [INNER / 2.0, 0.25, 0.5 - INNER / 2.0, 0.5 + INNER / 2.0, 0.75, 1.0 - INNER / 2.0].map(place)
    }

    /// Its halves, whose new points begin at place `new`.
    fn halves(&self, new: usize) -> [Self; 2] {
        let ([first, _, middle, _, last], length) = (self.points, self.length / 2.0);
        [
            Self { start: self.start, length, points: [first, new, new + 1, new + 2, middle] },
            Self { start: self.start + length, length, points: [middle, new + 3, new + 4, new + 5, last] },
        ]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The integral of a function with the given slope, as the only token's.
    fn of(most: usize, allowed: f64, logit: fn(f64) -> f64, slope: fn(f64) -> f64) -> Integral {
        let point = |x: &f64| Point { logit: logit(*x), slopes: vec![slope(*x)] };
        let at = |places: &[f64]| Ok::<_, ()>(places.iter().map(point).collect());
        integrate(most, |_| allowed, at).unwrap()
    }

    #[test]
    fn exact_for_polynomials() {
        let got = of(256, 1e-9, |x| x.powi(8) - x, |x| 8.0 * x.powi(7) - 1.0);
        // rounding
        assert!(got.scores[0].abs() < 1e-14, "{}", got.scores[0]);
        assert_eq!(got.steps, 11);
    }

    #[test]
    fn a_bend_is_found() {
        let got = of(256, 1e-4, |x| (x - 0.3).max(0.0), |x| f64::from(x > 0.3));
        assert!((got.scores[0] - 0.7).abs() < 1e-4, "{}", got.scores[0]);
        // each round halves the panel with the bend
        assert!(got.steps < 100, "{}", got.steps);
        let few = of(20, 1e-4, |x| (x - 0.3).max(0.0), |x| f64::from(x > 0.3));
        assert!(few.steps <= 20 && few.steps > 11);
    }
}
