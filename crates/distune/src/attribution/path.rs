//! The integral along the path from the baseline to the text.
//!
//! Legend: B points of the path, L tokens of the text, T = B L, D width, C classes.

use std::ops::Range;

use distune_kernels::{Precision, Real, inside_pool};

use super::integral::{Integral, Point, integrate};
use super::{Attribution, TokenScore, WordScore};
use crate::data::{Batch, check_ids};
use crate::model::activations::{Activations, Pass};
use crate::model::backward::{Scratch, backward};
use crate::model::forward::forward;
use crate::model::thawed::Thawed;
use crate::model::weights::{Parameters, Weights};
use crate::model::{Config, Model};
use crate::tokenize::{Combine, Token, Traced, TracedWindow};
use crate::{Error, Result};

/// Tokens of points that are computed at once: enough to fill the cores. A longer text is a batch alone.
const BATCH_TOKENS: usize = 1024;
/// The gap may be that share of this many logits where the logit differs by less: a tenth of a logit hardly moves a probability.
const LEAST_DIFFERENCE: f64 = 0.1;

/// How exactly the integral is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// The completeness gap that is good enough, as a share of the logit difference.
    pub tolerance: f64,
    /// Points of the path at which the gradient is taken, at most.
    pub max_steps: usize,
}

impl Options {
    /// How large the gap may be.
    fn allowed(&self, logit_difference: f64) -> f64 {
        self.tolerance * logit_difference.abs().max(LEAST_DIFFERENCE)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { tolerance: 0.01, max_steps: 256 }
    }
}

/// Computes attributions of one model, in f32.
#[derive(Debug)]
pub struct Explainer<'a, T = f32> {
    config: &'a Config,
    weights: &'a Parameters<T>,
    options: Options,
    thawed: Thawed,
    activations: Activations<T>,
    gradients: Parameters<T>,
    scratch: Scratch<T>,
}

impl<'a> Explainer<'a> {
    /// For a model.
    pub fn new(model: &'a Model, options: Options) -> Self {
        Self::of_weights(&model.config, &model.weights, options)
    }
}

impl<'a, T: Real> Explainer<'a, T> {
    /// For weights in any precision, of the layout that the config asks for.
    pub fn of_weights(config: &'a Config, weights: &'a Parameters<T>, options: Options) -> Self {
        let thawed = Thawed::least_from_embeddings(weights.table());
        let gradients = Parameters::zeros_where(weights.table(), |tensor| thawed.has_gradient(tensor));
        let (activations, scratch) = (Activations::new(Precision::F32), Scratch::new(Precision::F32));
        Self { config, weights, options, thawed, activations, gradients, scratch }
    }

    /// What the logit of `class` rests on; without one, that of the largest logit. After every batch, `go_on` is told how many points of how
    /// many known to be needed are done, and may stop the work.
    ///
    /// # Errors
    /// No token, a token or class that the model has not got, more tokens than it has positions, a logit that is not a number,
    /// [`Error::Interrupted`].
    pub fn explain(
        &mut self,
        text: &Traced,
        class: Option<usize>,
        go_on: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Attribution> {
        self.check(text, class)?;
        let class = match class {
            Some(class) => class,
            None => self.largest_logit(text),
        };
        let (mut scores, mut ends, mut steps) = (vec![0.0; text.tokens.len()], [0.0; 2], 0);
        let (mut earlier, mut allowed) = (0, 0.0);
        for (window, weight) in self.weighed(text, class) {
            let integral = self.window(text, window, class, &mut |done, all| go_on(earlier + done, earlier + all))?;
            window.tokens.iter().zip(&integral.scores).for_each(|(&token, score)| scores[token] += weight * score);
            ends.iter_mut().zip(integral.ends).for_each(|(end, of_window)| *end += weight * of_window);
            // where windows speak against each other, the gap is measured by what each of them says
            let [baseline_logit, logit] = integral.ends;
            allowed += weight * self.options.allowed(logit - baseline_logit);
            steps += integral.steps;
            earlier = steps;
        }
        let [baseline_logit, logit] = ends;
        let sum: f64 = scores.iter().sum();
        let completeness_gap = (sum - (logit - baseline_logit)).abs();
        Ok(Attribution {
            texts: text.texts.clone(),
            label: self.config.labels[class].clone(),
            words: words(text, &scores),
            tokens: text.tokens.iter().zip(&scores).map(|(token, &score)| token_score(token, score)).collect(),
            sum,
            logit,
            baseline_logit,
            logit_difference: logit - baseline_logit,
            completeness_gap,
            complete: completeness_gap <= allowed,
            steps,
            truncated: text.truncated,
        })
    }

    /// The windows that the logit of a class comes from, each with its share: all of them where it is their mean, or else the one with the
    /// largest logit.
    fn weighed<'t>(&mut self, text: &'t Traced, class: usize) -> Vec<(&'t TracedWindow, f64)> {
        let share = 1.0 / text.windows.len() as f64;
        if text.combine == Combine::Mean || text.windows.len() < 2 {
            return text.windows.iter().map(|window| (window, share)).collect();
        }
        let logits: Vec<f64> = text.windows.iter().map(|window| self.logits(&window.ids)[class].to_f64()).collect();
        let largest = (0..logits.len()).reduce(|best, i| if logits[i] > logits[best] { i } else { best });
        largest.and_then(|i| text.windows.get(i)).map(|window| (window, 1.0)).into_iter().collect()
    }

    /// The integral of a window.
    fn window(
        &mut self,
        text: &Traced,
        window: &TracedWindow,
        class: usize,
        go_on: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Integral> {
        let special: Vec<bool> = window.tokens.iter().map(|&token| text.tokens[token].text.is_none()).collect();
        let (embedded, difference) = self.ends(&window.ids, &special);
        let ends = Ends { ids: &window.ids, embedded: &embedded, difference: &difference, width: self.config.dim };
        let (options, mut done) = (self.options, 0);
        integrate(
            options.max_steps,
            |[baseline, text]| options.allowed(text - baseline),
            |places| {
                let points = self.points(ends, class, places, &mut |more| go_on(done + more, done + places.len()))?;
                done += places.len();
                check_finite(&points)?;
                Ok::<_, Error>(points)
            },
        )
    }

    fn check(&self, text: &Traced, class: Option<usize>) -> Result<()> {
        let wrong = |key: &str, expected: String, found: String| Err(Error::value("attribution", key, expected, found));
        let (classes, positions) = (self.config.labels.len(), self.config.max_position_embeddings);
        if let Some(class) = class.filter(|&class| class >= classes) {
            return wrong("class", format!("below {classes}, the number of classes"), class.to_string());
        }
        if text.windows.is_empty() {
            return wrong("windows", "one or more".into(), "none".into());
        }
        for TracedWindow { ids, tokens } in &text.windows {
            if !(1..=positions).contains(&ids.len()) {
                return wrong("tokens", format!("1 to {positions}, the positions of the model"), ids.len().to_string());
            }
            if tokens.len() != ids.len() || tokens.iter().any(|&token| token >= text.tokens.len()) {
                return wrong("tokens", format!("{}, one for each id", ids.len()), tokens.len().to_string());
            }
            check_ids(ids, self.config).or_else(|problem| wrong("tokens", "ids of the model".into(), problem))?;
        }
        Ok(())
    }

    /// The text's sums of embeddings `[L, D]`, and what they are beyond the baseline's.
    fn ends(&self, ids: &[u32], special: &[bool]) -> (Vec<T>, Vec<T>) {
        let (d, embeddings) = (self.config.dim, self.weights.embeddings());
        let word = |id: u32| &embeddings.words[id as usize * d..][..d];
        let pad = word(self.config.pad_token_id());
        let (mut embedded, mut difference) = (Vec::new(), Vec::new());
        for ((&id, &special), position) in ids.iter().zip(special).zip(embeddings.positions.chunks_exact(d)) {
            embedded.extend(word(id).iter().zip(position).map(|(word, position)| *word + *position));
            difference.extend(word(id).iter().zip(pad).map(|(word, pad)| if special { T::ZERO } else { *word - *pad }));
        }
        (embedded, difference)
    }

    /// The class of a text's largest logit.
    fn largest_logit(&mut self, text: &Traced) -> usize {
        let windows: Vec<f32> = text
            .windows
            .iter()
            .flat_map(|window| self.logits(&window.ids).iter().map(|logit| logit.to_f64() as f32).collect::<Vec<_>>())
            .collect();
        let logits = text.combine.logits(&windows, self.config.labels.len());
        (0..logits.len()).reduce(|best, id| if logits[id] > logits[best] { id } else { best }).unwrap_or(0)
    }

    /// The logits `[C]` of token ids.
    fn logits(&mut self, ids: &[u32]) -> &[T] {
        let batch = Batch::new([ids]);
        let pass = Pass::inference(self.config, &batch);
        inside_pool(|| forward(&mut self.activations, Weights::Ready(self.weights), pass));
        &self.activations.logits
    }

    /// The points at some places of the path, in batches.
    fn points(
        &mut self,
        ends: Ends<T>,
        class: usize,
        places: &[f64],
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Vec<Point>> {
        let mut points = Vec::new();
        for places in places.chunks((BATCH_TOKENS / ends.ids.len()).max(1)) {
            points.extend(self.points_at_once(ends, class, places));
            if !go_on(points.len()) {
                let when = "while a prediction was explained".to_owned();
                return Err(Error::Interrupted { when, kept: "what was printed is complete".into() });
            }
        }
        Ok(points)
    }

    /// As [`Self::points`], as one batch.
    fn points_at_once(&mut self, ends: Ends<T>, class: usize, places: &[f64]) -> Vec<Point> {
        let (batch, classes) = (Batch::new(places.iter().map(|_| ends.ids)), self.config.labels.len());
        let at = |place: &f64| {
            let rest = T::from_f64(1.0 - place);
            ends.embedded.iter().zip(ends.difference).map(move |(x, difference)| *x - rest * *difference)
        };
        let embedded: Vec<T> = places.iter().flat_map(at).collect();
        let thawed = Some(&self.thawed);
        let pass = Pass { embedded: Some(&embedded), thawed, ..Pass::inference(self.config, &batch) };
        let mut dlogits = vec![T::ZERO; places.len() * classes];
        dlogits.iter_mut().skip(class).step_by(classes).for_each(|d| *d = T::ONE);
        let (a, scratch, gradients) = (&mut self.activations, &mut self.scratch, &mut self.gradients);
        inside_pool(|| {
            forward(a, Weights::Ready(self.weights), pass);
            backward(gradients, scratch, &dlogits, a, self.weights, pass);
        });
        let logits = self.activations.logits.iter().skip(class).step_by(classes).map(|logit| logit.to_f64());
        let gradients = self.scratch.input_gradient().chunks_exact(ends.difference.len());
        logits.zip(gradients).map(|(logit, gradient)| Point { logit, slopes: ends.slopes(gradient) }).collect()
    }
}

/// Both ends of the path, `[L, D]` each: the text, and what it is beyond the baseline.
#[derive(Clone, Copy)]
struct Ends<'a, T> {
    ids: &'a [u32],
    embedded: &'a [T],
    difference: &'a [T],
    width: usize,
}

impl<T: Real> Ends<'_, T> {
    /// Each token's share of the slope along the path, from the gradient `[L, D]` at a point.
    fn slopes(&self, gradient: &[T]) -> Vec<f64> {
        let product = |(g, x): (&T, &T)| g.to_f64() * x.to_f64();
        let tokens = gradient.chunks_exact(self.width).zip(self.difference.chunks_exact(self.width));
        tokens.map(|(gradient, difference)| gradient.iter().zip(difference).map(product).sum()).collect()
    }
}

fn check_finite(points: &[Point]) -> Result<()> {
    let finite = |point: &Point| point.logit.is_finite() && point.slopes.iter().all(|slope| slope.is_finite());
    if points.iter().all(finite) {
        return Ok(());
    }
    let expected = "numbers; the weights overflow: the model is damaged, or its training diverged";
    Err(Error::value("attribution", "logits and their gradients", expected, "others"))
}

fn token_score(token: &Token, score: f64) -> TokenScore {
    let Token { token, text, place, .. } = token;
    TokenScore { token: token.clone(), text: *text, start: place.start, end: place.end, score }
}

/// The words of a text, as the tokenizer tells them apart, with the scores of their tokens.
fn words(text: &Traced, scores: &[f64]) -> Vec<WordScore> {
    let mut words: Vec<(WordScore, Option<u32>)> = Vec::new();
    for (token, &score) in text.tokens.iter().zip(scores) {
        let (Some(of), Range { start, end }) = (token.text, token.place.clone()) else { continue };
        match words.last_mut() {
            Some((word, number)) if token.word.is_some() && *number == token.word && word.text == of => {
                word.score += score;
                word.end = word.end.max(end);
            }
            _ => words.push((WordScore { word: String::new(), text: of, start, end, score }, token.word)),
        }
    }
    for (word, _) in &mut words {
        let characters = text.texts.get(word.text).map_or("", String::as_str).chars();
        word.word = characters.skip(word.start).take(word.end.saturating_sub(word.start)).collect();
    }
    words.into_iter().map(|(word, _)| word).collect()
}
