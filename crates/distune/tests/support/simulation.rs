//! Rows and predictions drawn from a known distribution, so that an interval can be held against the truth.

use std::collections::BTreeMap;

use distune::data::Answers;
use distune::eval::{Evaluation, Metric, Predictions};
use distune::model::ProblemType;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Rows of two classes with a normal score each, and models that see the score with noise of their own.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// The part of the rows that is of the second class.
    pub share: f64,
    /// The distance of the classes' scores.
    pub distance: f64,
    /// What the models' logits are, over what they should be.
    pub confidence: f64,
    /// The noise of a model, over that of the rows.
    pub noise: f64,
}

impl Scenario {
    pub const ALL: [Self; 4] = [
        Self { name: "balanced, overconfident", share: 0.5, distance: 2.5, confidence: 1.5, noise: 0.3 },
        Self { name: "calibrated", share: 0.5, distance: 2.5, confidence: 1.0, noise: 0.0 },
        Self { name: "a rare class", share: 0.15, distance: 2.0, confidence: 1.3, noise: 0.3 },
        Self { name: "nearly perfect", share: 0.5, distance: 4.0, confidence: 1.5, noise: 0.3 },
    ];

    /// Rows, and the predictions of so many models.
    pub fn draw(&self, rows: usize, models: usize, seed: u64) -> (Answers, Vec<Predictions>) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut normal = move || -> f64 { StandardNormal.sample(&mut random) };
        let (mut truth, mut predictions) = (Vec::new(), vec![Predictions::none(ProblemType::SingleLabel); models]);
        let below = quantile(self.share);
        for _ in 0..rows {
            let second = normal() < below;
            truth.push(u32::from(second));
            let score = normal() + self.distance * if second { 0.5 } else { -0.5 };
            for predictions in &mut predictions {
                let seen = (score + self.noise * normal()) / (1.0 + self.noise * self.noise);
                let logit = self.confidence * (self.distance * seen + (self.share / (1.0 - self.share)).ln());
                let p = 1.0 / (1.0 + (-logit).exp());
                predictions.push(&[1.0 - p, p]);
            }
        }
        (Answers::One(truth), predictions)
    }

    /// The figures of a model on very many rows.
    pub fn figures(&self, rows: usize) -> BTreeMap<Metric, f64> {
        let (truth, predictions) = self.draw(rows, 1, 0);
        figures(&truth, &predictions[0])
    }
}

pub fn names() -> Vec<String> {
    vec!["first".into(), "second".into()]
}

/// Every single number that is defined.
pub fn figures(truth: &Answers, predictions: &Predictions) -> BTreeMap<Metric, f64> {
    let evaluation = Evaluation::new(truth, predictions, &names()).unwrap();
    Metric::all().filter_map(|metric| Some((metric, metric.of(&evaluation)?))).collect()
}

/// The normal quantile.
fn quantile(share: f64) -> f64 {
    use statrs::distribution::{ContinuousCDF, Normal};
    Normal::standard().inverse_cdf(share)
}
