//! Which settings come, and in which order.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use toml::{Table, Value};
use tpe::{TpeOptimizer, histogram_estimator, parzen_estimator};

use super::{Method, Record, Summary, Sweep, Values};

/// Settings that tpe draws at random, before it looks at those that were good.
pub(super) const AT_RANDOM: usize = 8;
/// Draws that give a setting that was there before, after which it is taken that there is no other.
const REPEATED: usize = 200;
/// Keys by which trials lie next to one another, so that a model and what its frozen blocks put out serve several.
const TOGETHER: [&str; 8] =
    ["model", "new_head", "precision", "max_seq_length", "long", "window_overlap", "window_combine", "unfreeze"];

impl Sweep {
    /// The settings of a grid or a random search, in the order of their trials.
    pub(super) fn planned(&self) -> Vec<Table> {
        together(match self.plan.method {
            Method::Grid => self.combinations(),
            Method::Random | Method::Tpe => self.at_random(self.plan.trials),
        })
    }

    /// Every combination of listed values; those of the last key change fastest.
    fn combinations(&self) -> Vec<Table> {
        let mut settings = vec![Table::new()];
        for (key, values) in &self.plan.keys {
            let Values::List(list) = values else { continue };
            let with = |setting: &Table, value: &Value| {
                let mut setting = setting.clone();
                setting.insert(key.clone(), value.clone());
                setting
            };
            settings = settings.iter().flat_map(|setting| list.iter().map(move |value| with(setting, value))).collect();
        }
        settings
    }

    /// The first settings of a random search: so many, unless there are fewer.
    pub(super) fn at_random(&self, n: usize) -> Vec<Table> {
        let mut settings = Vec::new();
        while settings.len() < n {
            let Some(new) = self.another(&settings, |_, values, random| values.at(random.random())) else { break };
            settings.push(new);
        }
        settings
    }

    /// The setting that tpe chooses after those of these trials, if there is another.
    pub(super) fn chosen_next(&self, records: &[Record]) -> Option<Table> {
        let tried = Summary::new(self, records).settings;
        let before: Vec<Table> = tried.iter().map(|setting| setting.values.clone()).collect();
        match before.len() {
            n if n >= self.plan.trials => None,
            n if n < AT_RANDOM => self.at_random(n + 1).into_iter().nth(n),
            _ => self.another(&before, |key, values, random| {
                let tried =
                    tried.iter().filter_map(|setting| Some((values.place(setting.values.get(key)?), setting.cost())));
                values.at(good_place(values, tried, random))
            }),
        }
    }

    /// A setting that was not there before: a function of the seed and of how many were.
    fn another(
        &self,
        before: &[Table],
        mut draw: impl FnMut(&str, &Values, &mut ChaCha8Rng) -> Value,
    ) -> Option<Table> {
        let mut random = ChaCha8Rng::seed_from_u64(self.base.recipe.seed);
        random.set_stream(before.len() as u64);
        let mut setting = || -> Table {
            self.plan.keys.iter().map(|(key, values)| (key.clone(), draw(key, values, &mut random))).collect()
        };
        (0..REPEATED).map(|_| setting()).find(|setting| !before.contains(setting))
    }
}

/// A place where good values are likelier than bad ones, of places that were tried and what they cost.
fn good_place(values: &Values, tried: impl Iterator<Item = (f64, f64)>, random: &mut ChaCha8Rng) -> f64 {
    let estimator = match values {
        Values::List(_) => histogram_estimator(),
        Values::Range(_) => parzen_estimator(),
    };
    // of a list, the estimator counts whole numbers
    let scale = match values {
        Values::List(list) => list.len() as f64,
        Values::Range(_) => 1.0,
    };
    let Ok(range) = tpe::range(0.0, scale) else { return random.random() };
    let mut optimizer = TpeOptimizer::new(estimator, range);
    for (place, cost) in tried {
        // refused are costs that are not numbers, which there are none of, and places outside the range, likewise
        let _ = optimizer.tell((place * scale).min(scale.next_down()), cost);
    }
    optimizer.ask(random).map_or_else(|_| random.random(), |place| place / scale)
}

/// Brings settings of the same model and thawed part together; each key's values come in the order in which they did.
fn together(mut settings: Vec<Table>) -> Vec<Table> {
    let before = settings.clone();
    settings.sort_by_cached_key(|setting| {
        TOGETHER.map(|key| before.iter().position(|first| first.get(key) == setting.get(key)))
    });
    settings
}
