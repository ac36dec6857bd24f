//! Softmax cross-entropy and its multi-label sibling, with their gradients.

use crate::Real;

/// What the rows of a batch should be classified as.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// One class id a row: `[B]`.
    Classes(&'a [u32]),
    /// Several labels a row: sigmoid and binary cross-entropy.
    MultiLabel {
        /// For each row and class whether it holds (0 or 1): `[B, C]`.
        holds: &'a [f32],
        /// C.
        classes: usize,
    },
}

/// Variations of the two losses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossOptions {
    /// A weight for each class; empty for none. With classes, `weight` of `torch.nn.functional.cross_entropy`: of the rows of a
    /// class. With several labels a row, `pos_weight` of `binary_cross_entropy_with_logits`: of the rows that have the label.
    pub class_weights: Vec<f64>,
    /// Part of the target that is spread evenly over all classes, or over a label's yes and no, in [0, 1).
    pub label_smoothing: f64,
    /// Focal loss (Lin et al. 2017): a log-likelihood counts the less, the more probable the model holds it, by the factor
    /// `(1 - p)^focal_gamma`; 0 for none.
    pub focal_gamma: f64,
    /// R-Drop (Liang et al. 2021): the strength of what draws two passes of a text, with different dropout, to each other. With
    /// it, rows 2i and 2i + 1 are such a pair.
    pub r_drop: f64,
}

impl LossOptions {
    /// What the sum of the losses of some rows is divided by: the weights of their classes, or the number of targets.
    pub fn total_weight(&self, targets: Targets) -> f64 {
        match targets {
            Targets::Classes(classes) => classes.iter().map(|&y| self.weight(y as usize)).sum(),
            Targets::MultiLabel { holds, .. } => holds.len() as f64,
        }
    }

    fn weight(&self, class: usize) -> f64 {
        self.class_weights.get(class).copied().unwrap_or(1.0)
    }
}

/// Loss of `logits [B, C]`: the mean when `total_weight` is that of these rows; else, when they are a part of a batch and
/// it is the whole one's ([`LossOptions::total_weight`]), their share of the mean. Overwrites `dlogits [B, C]`.
///
/// Cross-entropy with class weights w and smoothing s is, as in PyTorch,
/// `((1 - s) sum_i w[y_i] nll_i(y_i) + s / C sum_i sum_c w[c] nll_i(c)) / sum_i w[y_i]`, `nll_i(c) = -log softmax_i(c)`.
/// Multi-label loss is the mean over rows and classes of `-w[c] t log σ(x) - (1 - t) log(1 - σ(x))`, `t = (1 - s) y + s / 2`.
/// With a focal γ, each `-log p` in both, also of a class that smoothing has spread the target over, is multiplied by `(1 - p)^γ`
/// (as Keras' `CategoricalFocalCrossentropy`, a label of several being two classes, yes and no); R-Drop's term is not.
///
/// R-Drop adds the mean over pairs of `r_drop (KL(p || q) + KL(q || p)) / 2`, the divergences of the pair's distributions; with
/// class weights, weighted by that of the pair's class. With several labels a row, it is the mean over pairs and labels, each
/// label a distribution of yes and no.
pub fn loss<T: Real>(
    dlogits: &mut [T],
    logits: &[T],
    targets: Targets,
    options: &LossOptions,
    total_weight: f64,
) -> f64 {
    assert_eq!(dlogits.len(), logits.len());
    match targets {
        Targets::Classes(classes) => {
            let loss = cross_entropy(dlogits, logits, classes, options, total_weight);
            let pairs = options.r_drop > 0.0;
            loss + if pairs { r_drop(dlogits, logits, classes, options, total_weight) } else { 0.0 }
        }
        Targets::MultiLabel { holds, classes } => {
            let loss = binary_cross_entropy(dlogits, logits, holds, classes, options, total_weight);
            let pairs = options.r_drop > 0.0;
            loss + if pairs { binary_r_drop(dlogits, logits, classes, options.r_drop / total_weight) } else { 0.0 }
        }
    }
}

/// See [`loss`]; adds to the gradient. With logits a of p and b of q, the two divergences are together
/// `sum_c (p_c - q_c) (a_c - b_c)`: the logarithms of the softmax's sums meet a sum of differences, which is zero.
fn r_drop<T: Real>(dlogits: &mut [T], logits: &[T], classes: &[u32], options: &LossOptions, total_weight: f64) -> f64 {
    assert!(classes.len().is_multiple_of(2), "rows in pairs");
    let c = logits.len() / classes.len();
    let pairs = dlogits.chunks_exact_mut(2 * c).zip(logits.chunks_exact(2 * c)).zip(classes.chunks_exact(2));
    let mut loss = 0.0;
    for ((dlogits, logits), classes) in pairs {
        let (a, b) = logits.split_at(c);
        let (p, q) = (softmax(a), softmax(b));
        let gaps: Vec<f64> = a.iter().zip(b).map(|(a, b)| a.to_f64() - b.to_f64()).collect();
        let mean = |p: &[f64]| p.iter().zip(&gaps).map(|(p, gap)| p * gap).sum::<f64>();
        let (mean_p, mean_q) = (mean(&p), mean(&q));
        // half of the divergences, of half as many pairs as rows
        let strength = options.r_drop * options.weight(classes[0] as usize) / total_weight;
        loss += strength * (mean_p - mean_q);
        let (da, db) = dlogits.split_at_mut(c);
        for k in 0..c {
            da[k] += T::from_f64(strength * (p[k] - q[k] + p[k] * (gaps[k] - mean_p)));
            db[k] += T::from_f64(strength * (q[k] - p[k] - q[k] * (gaps[k] - mean_q)));
        }
    }
    loss
}

fn cross_entropy<T: Real>(
    dlogits: &mut [T],
    logits: &[T],
    classes: &[u32],
    options: &LossOptions,
    total_weight: f64,
) -> f64 {
    let c = logits.len() / classes.len();
    let smoothing = options.label_smoothing;
    let mut loss = 0.0;
    for ((dlogits, logits), &y) in dlogits.chunks_exact_mut(c).zip(logits.chunks_exact(c)).zip(classes) {
        let log_sum = log_sum_exp(logits);
        // the weight of each class's negative log-likelihood in this row's loss
        let share = |class: usize| {
            let hit = if class == y as usize { 1.0 - smoothing } else { 0.0 };
            options.weight(class) * (hit + smoothing / c as f64) / total_weight
        };
        let focus = |logit: &T| Focus::new(logit.to_f64() - log_sum, options.focal_gamma);
        let pulls: f64 = logits.iter().enumerate().map(|(class, logit)| share(class) * focus(logit).slope).sum();
        for (class, (dlogit, logit)) in dlogits.iter_mut().zip(logits).enumerate() {
            let log_p = logit.to_f64() - log_sum;
            let focus = focus(logit);
            loss -= share(class) * log_p * focus.factor;
            *dlogit = T::from_f64(pulls * log_p.exp() - share(class) * focus.slope);
        }
    }
    loss
}

fn binary_cross_entropy<T: Real>(
    dlogits: &mut [T],
    logits: &[T],
    holds: &[f32],
    classes: usize,
    options: &LossOptions,
    n: f64,
) -> f64 {
    assert_eq!(logits.len(), holds.len());
    let smoothing = options.label_smoothing;
    let mut loss = 0.0;
    for (i, ((dlogit, logit), &held)) in dlogits.iter_mut().zip(logits).zip(holds).enumerate() {
        let (x, t) = (logit.to_f64(), (1.0 - smoothing) * f64::from(held) + 0.5 * smoothing);
        let yes = options.weight(i % classes) * t;
        // log(1 + exp(-|x|)), so that nothing overflows: -log σ(x) is it for positive x, and it - x for others
        let tail = (-x.abs()).exp().ln_1p();
        let (log_yes, log_no) = (-tail - (-x).max(0.0), -tail - x.max(0.0));
        let focus = [log_yes, log_no].map(|log_p| Focus::new(log_p, options.focal_gamma));
        loss -= yes * focus[0].factor * log_yes + (1.0 - t) * focus[1].factor * log_no;
        let (p, pulls) = (sigmoid(*logit), [yes * focus[0].slope, (1.0 - t) * focus[1].slope]);
        *dlogit = T::from_f64((p * (pulls[0] + pulls[1]) - pulls[0]) / n);
    }
    loss / n
}

/// What focal loss makes of `-log p`: `-factor log p`, whose derivative in log p is `-slope`.
struct Focus {
    /// `(1 - p)^γ`
    factor: f64,
    /// `(1 - p)^γ - γ (1 - p)^(γ - 1) p log p`
    slope: f64,
}

impl Focus {
    fn new(log_p: f64, gamma: f64) -> Self {
        if gamma == 0.0 {
            return Self { factor: 1.0, slope: 1.0 };
        }
        let rest = -log_p.exp_m1();
        let factor = rest.powf(gamma);
        // log p / (1 - p) is -1 where p is 1
        let quotient = if rest > 0.0 { log_p / rest } else { -1.0 };
        Self { factor, slope: factor * (1.0 - gamma * log_p.exp() * quotient) }
    }
}

/// See [`loss`]; adds to the gradient. With p = σ(a) and q = σ(b), the divergences of a label are together `(p - q) (a - b)`.
fn binary_r_drop<T: Real>(dlogits: &mut [T], logits: &[T], classes: usize, strength: f64) -> f64 {
    let mut loss = 0.0;
    for (dlogits, logits) in dlogits.chunks_exact_mut(2 * classes).zip(logits.chunks_exact(2 * classes)) {
        let ((da, db), (a, b)) = (dlogits.split_at_mut(classes), logits.split_at(classes));
        for k in 0..classes {
            let (p, q, gap) = (sigmoid(a[k]), sigmoid(b[k]), a[k].to_f64() - b[k].to_f64());
            loss += strength * (p - q) * gap;
            da[k] += T::from_f64(strength * (p - q + p * (1.0 - p) * gap));
            db[k] += T::from_f64(strength * (q - p - q * (1.0 - q) * gap));
        }
    }
    loss
}

/// The probability of a label of several, from its logit: `1 / (1 + exp(-x))`.
pub fn sigmoid<T: Real>(logit: T) -> f64 {
    1.0 / (1.0 + (-logit.to_f64()).exp())
}

/// The probabilities of one row of logits.
pub fn softmax<T: Real>(logits: &[T]) -> Vec<f64> {
    let log_sum = log_sum_exp(logits);
    logits.iter().map(|x| (x.to_f64() - log_sum).exp()).collect()
}

/// log(sum(exp(x))), without overflow. NaN when a logit is.
fn log_sum_exp<T: Real>(logits: &[T]) -> f64 {
    let max = logits.iter().map(|x| x.to_f64()).fold(f64::NEG_INFINITY, f64::max);
    max + logits.iter().map(|x| (x.to_f64() - max).exp()).sum::<f64>().ln()
}
