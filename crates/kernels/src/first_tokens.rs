//! Attention whose only queries are the first tokens of their sequences, as in the last block: keys and values are not formed.
//!
//! With the weights of keys and values of a head, `Wk` and `Wv [D / H, D]`, and the rows `x` of a sequence,
//!
//! ```text
//! q · (Wk x + bk)       = (q · Wk) · x + q · bk         the last term is the same for all keys: it leaves the softmax as it is
//! Σ p (Wv x + bv)       = Wv (Σ p x) + bv Σ p           without dropout, Σ p = 1
//! ```
//!
//! so that of each sequence one row a head goes through the weights, not every token. It comes in three parts, forward and backward: heads
//! go through the weights of keys ([`expand`]), sequences attend ([`Sequence`]), heads go through the weights of values ([`contract`]).
//!
//! Arrays `[H, B, D]` have the rows of a head together.

use crate::attention::{copy_transposed, resize, scale, softmax_backward, softmax_of, whole_lanes, write_rows};
use crate::isa::{MultiplyAdd, vectorize, vectorize_fused};
use crate::parallel::Strided;
use crate::pool::{each, each_with_state};
use crate::profile::{Operation, timer};
use crate::real::lane_sum;
use crate::small_matmul::{matmul, padded, small_matmul};
use crate::{Dropout, Real};

/// Sequences that a task takes through the weights at once.
const SEQUENCES: usize = 32;
/// Sequences for which it is less work to transpose the weights of a head than to multiply with vectors that are mostly padding.
const FEW: usize = 6;
/// Tokens that are transposed at once: they stay in a level-2 cache.
const TOKENS: usize = 64;

/// What goes in.
#[derive(Clone, Copy, Debug)]
pub struct FirstTokens<'a, T> {
    /// Queries `[B, D]`.
    pub q: &'a [T],
    /// The rows `[T, D]` that keys and values would be made of.
    pub x: &'a [T],
    /// Weights of keys, then of values `[2D, D]`.
    pub weight: &'a [T],
    /// Biases of keys, which have no effect, then of values `[2D]`.
    pub bias: &'a [T],
    /// `[B + 1]`: the tokens of each sequence.
    pub tokens: &'a [usize],
    /// H; divides the width.
    pub heads: usize,
}

/// What the forward pass leaves for the backward pass; or the gradients of queries and sums.
#[derive(Debug, Default)]
pub struct Folded<T> {
    /// Queries times the weights of keys `[H, B, D]`.
    queries: Vec<T>,
    /// Sums of the rows of each sequence, weighted by the probabilities after dropout `[H, B, D]`.
    sums: Vec<T>,
    /// The sums of these weights `[H, B]`: 1 without dropout.
    weights: Vec<T>,
}

impl<T: Real> Folded<T> {
    /// Makes room for so many sequences.
    fn resize(&mut self, sequences: usize, [heads, d]: [usize; 2]) {
        resize(&mut self.queries, heads * sequences * d);
        resize(&mut self.sums, heads * sequences * d);
        resize(&mut self.weights, heads * sequences);
    }
}

/// Gradients.
#[derive(Debug)]
pub struct FirstTokensGradient<'a, T> {
    /// `[B, D]`
    pub q: &'a mut [T],
    /// `[T, D]`, or empty where it is not wanted.
    pub x: &'a mut [T],
    /// `[2D, D]`, or empty where it is not wanted.
    pub weight: &'a mut [T],
    /// `[2D]`, or empty where it is not wanted.
    pub bias: &'a mut [T],
}

impl<T: Real> FirstTokens<'_, T> {
    fn sequences(&self) -> usize {
        self.tokens.len() - 1
    }

    fn width(&self) -> usize {
        self.bias.len() / 2
    }

    /// H and D.
    fn shape(&self) -> [usize; 2] {
        [self.heads, self.width()]
    }

    /// The weights of keys and those of values, `[D, D]` each.
    fn weights(&self) -> [&[T]; 2] {
        let (keys, values) = self.weight.split_at(self.weight.len() / 2);
        [keys, values]
    }

    /// Multiplications of some products of a row a head with the weights, and of some with the rows of its sequence.
    fn multiplications(&self, [weights, rows]: [usize; 2]) -> usize {
        weights * self.q.len() * self.width() + rows * self.heads * self.x.len()
    }

    /// Its sequences.
    fn tasks(&self) -> impl ExactSizeIterator<Item = Sequence<'_, T>> {
        let (d, count) = (self.width(), self.sequences());
        self.tokens.windows(2).enumerate().map(move |(index, tokens)| Sequence {
            index,
            first: tokens[0],
            x: &self.x[tokens[0] * d..tokens[1] * d],
            heads: self.heads,
            sequences: count,
            width: d,
        })
    }

    /// `context` is that or its gradient.
    fn check(&self, context: &[T]) {
        let (d, b) = (self.width(), self.sequences());
        assert!(d.is_multiple_of(self.heads) && self.bias.len() == 2 * d && self.weight.len() == 2 * d * d);
        assert!(self.q.len() == b * d && context.len() == b * d, "queries and contexts of {b} sequences");
        assert_eq!(self.x.len(), self.tokens[b] * d, "rows of {b} sequences");
    }
}

/// `context [B, D]`: what [`crate::attention`] computes from queries, keys and values. Overwrites `context` and `folded`.
pub fn first_token_attention<T: Real>(
    context: &mut [T],
    folded: &mut Folded<T>,
    input: FirstTokens<T>,
    dropout: &Dropout,
) {
    let _timer = timer(Operation::Attention, input.multiplications([2, 2]));
    input.check(context);
    let (b, d) = (input.sequences(), input.width());
    let [keys, values] = input.weights();
    folded.resize(b, input.shape());
    expand(&mut folded.queries, input.q, keys, input.shape());
    let (sums, weights) = (Strided::new(&mut folded.sums, d), Strided::new(&mut folded.weights, 1));
    each_with_scratch(input.tasks(), |scratch, sequence| {
        vectorize_fused(
            #[inline(always)]
            |how| sequence.forward(how, [&sums, &weights], &folded.queries, dropout, scratch),
        );
    });
    contract(context, &folded.sums, values, input.shape());
    let biases = input.bias[d..].chunks_exact(d / input.heads);
    for (h, bias) in biases.enumerate() {
        for (context, weight) in context.chunks_exact_mut(d).zip(&folded.weights[h * b..]) {
            let context = &mut context[h * bias.len()..];
            context.iter_mut().zip(bias).for_each(|(context, bias)| *context += *bias * *weight);
        }
    }
}

/// Backward of [`first_token_attention`]. Overwrites the gradients and `dfolded`; with `accumulate`, adds to those of weights and biases.
pub fn first_token_attention_backward<T: Real>(
    gradient: FirstTokensGradient<T>,
    dfolded: &mut Folded<T>,
    dcontext: &[T],
    input: FirstTokens<T>,
    folded: &Folded<T>,
    dropout: &Dropout,
    accumulate: bool,
) {
    let of_rows = if gradient.x.is_empty() { 3 } else { 5 };
    let _timer = timer(Operation::AttentionBackward, input.multiplications([4, of_rows]));
    input.check(dcontext);
    assert!(gradient.q.len() == input.q.len() && [0, input.x.len()].contains(&gradient.x.len()));
    let d = input.width();
    let [keys, values] = input.weights();
    dfolded.resize(input.sequences(), input.shape());
    expand(&mut dfolded.sums, dcontext, values, input.shape());
    let (dqueries, dx) = (Strided::new(&mut dfolded.queries, d), Strided::new(gradient.x, d));
    each_with_scratch(input.tasks(), |scratch, sequence| {
        vectorize_fused(
            #[inline(always)]
            |how| {
                let dweights = sequence.gradient_of_weights(dcontext, &input.bias[d..]);
                let factors = [&folded.queries[..], &dfolded.sums, &dweights];
                sequence.backward(how, [&dqueries, &dx], factors, dropout, scratch);
            },
        );
    });
    contract(gradient.q, &dfolded.queries, keys, input.shape());
    if !gradient.weight.is_empty() {
        let (dkeys, dvalues) = gradient.weight.split_at_mut(d * d);
        weight_gradient(dkeys, input.q, &dfolded.queries, input.shape(), accumulate);
        weight_gradient(dvalues, dcontext, &folded.sums, input.shape(), accumulate);
    }
    if !gradient.bias.is_empty() {
        let (dkeys, dvalues) = gradient.bias.split_at_mut(d);
        if !accumulate {
            dkeys.fill(T::ZERO);
            dvalues.fill(T::ZERO);
        }
        for (h, dbias) in dvalues.chunks_exact_mut(d / input.heads).enumerate() {
            for (dcontext, weight) in dcontext.chunks_exact(d).zip(&folded.weights[h * input.sequences()..]) {
                let dcontext = &dcontext[h * dbias.len()..];
                dbias.iter_mut().zip(dcontext).for_each(|(db, dcontext)| *db += *dcontext * *weight);
            }
        }
    }
}

/// Visits tasks on all threads, each with buffers of its own.
fn each_with_scratch<T: Real, I: Send>(
    tasks: impl ExactSizeIterator<Item = I> + Send,
    visit: impl Fn(&mut Scratch<T>, I) + Sync,
) {
    each_with_state(tasks, usize::MAX, |_| (), Scratch::default, |scratch, task, ()| visit(scratch, task));
}

/// `out [H, B, D]`: of each head `a [B, D / H] · w [D / H, D]`. Overwrites `out`.
fn expand<T: Real>(out: &mut [T], a: &[T], w: &[T], [heads, d]: [usize; 2]) {
    let width = d / heads;
    let parts = out.chunks_mut(a.len().max(1)).zip(w.chunks(width * d)).enumerate();
    let tasks: Vec<_> = parts
        .flat_map(|(h, (out, w))| {
            let rows = a.chunks(SEQUENCES * d).map(move |a| &a[h * width..]);
            out.chunks_mut(SEQUENCES * d).zip(rows).map(move |(out, a)| (out, a, w))
        })
        .collect();
    each(tasks.into_iter(), |(out, a, w)| {
        vectorize(
            #[inline(always)]
            || matmul(out, (a, [d, 1]), (w, d), [out.len() / d, d, width], false),
        );
    });
}

/// `out [B, D]`: of each head `a [B, D] · wᵀ`, for `a [H, B, D]` and `w [D / H, D]`, and for each head its part of `out`. Overwrites `out`.
fn contract<T: Real>(out: &mut [T], a: &[T], w: &[T], [heads, d]: [usize; 2]) {
    let (rows, width) = (out.len(), d / heads);
    let out = Strided::new(out, d);
    let parts = a.chunks(rows.max(1)).zip(w.chunks(width * d)).enumerate();
    let tasks: Vec<_> = parts
        .flat_map(|(h, (a, w))| {
            a.chunks(SEQUENCES * d).enumerate().map(move |(i, a)| ([i * SEQUENCES, h * width], a, w))
        })
        .collect();
    each_with_scratch(tasks.into_iter(), |s, ([row, column], a, w)| {
        vectorize(
            #[inline(always)]
            || {
                let rows = a.len() / d;
                if rows <= FEW {
                    copy_transposed(&mut s.transposed, w, d, [width, d]);
                    resize(&mut s.rows, rows * padded(width));
                    let w = (&s.transposed[..], padded(width));
                    small_matmul(&mut s.rows, (a, [d, 1]), w, [rows, padded(width), d], false);
                } else {
                    copy_transposed(&mut s.transposed, a, d, [rows, d]);
                    resize(&mut s.block, width * padded(rows));
                    let a = (&s.transposed[..], padded(rows));
                    small_matmul(&mut s.block, (w, [d, 1]), a, [width, padded(rows), d], false);
                    copy_transposed(&mut s.rows, &s.block, padded(rows), [width, rows]);
                }
                write_rows(&out, row, column, width, &s.rows);
            },
        );
    });
}

/// `dw [D, D]`: of each head `aᵀ · b`, for its columns of `a [B, D]` and `b [H, B, D]`; with `accumulate`, `dw +=`.
fn weight_gradient<T: Real>(dw: &mut [T], a: &[T], b: &[T], [heads, d]: [usize; 2], accumulate: bool) {
    let width = d / heads;
    let tasks = dw.chunks_mut(width * d).zip(b.chunks(a.len().max(1))).enumerate();
    each(tasks, |(h, (dw, b))| {
        vectorize(
            #[inline(always)]
            || matmul(dw, (&a[h * width..], [1, d]), (b, d), [width, d, a.len() / d], accumulate),
        );
    });
}

/// A sequence of some rows, and one query a head.
#[derive(Clone, Copy)]
struct Sequence<'a, T> {
    index: usize,
    /// Its first token.
    first: usize,
    /// `[n, D]`
    x: &'a [T],
    heads: usize,
    /// How many sequences there are.
    sequences: usize,
    width: usize,
}

/// Buffers of one thread; each holds padded rows.
#[derive(Default)]
struct Scratch<T> {
    transposed: Vec<T>,
    block: Vec<T>,
    probabilities: Vec<T>,
    dropped: Vec<T>,
    dscores: Vec<T>,
    x: Vec<T>,
    queries: Vec<T>,
    dsums: Vec<T>,
    rows: Vec<T>,
}

impl<T: Real> Sequence<'_, T> {
    fn len(&self) -> usize {
        self.x.len() / self.width
    }

    /// Its rows of an array `[H, B, D]`, one a head, and how far they are apart.
    fn rows_of<'b>(&self, x: &'b [T]) -> (&'b [T], usize) {
        (&x[self.index * self.width..], self.sequences * self.width)
    }

    /// See [`first_token_attention`].
    #[inline(always)]
    fn forward(
        &self,
        how: MultiplyAdd,
        [sums, weights]: [&Strided<T>; 2],
        queries: &[T],
        dropout: &Dropout,
        s: &mut Scratch<T>,
    ) {
        let (d, n, columns) = (self.width, self.len(), padded(self.len()));
        self.products([&mut s.probabilities], [queries], [&mut s.transposed, &mut s.block]);
        softmax_of(how, &mut s.probabilities, n, scale(d / self.heads));
        self.drop(&mut [&mut s.probabilities], dropout);
        let (x, stride) = whole_lanes(&mut s.x, self.x, d, [n, d]);
        resize(&mut s.rows, self.heads * padded(d));
        small_matmul(&mut s.rows, (&s.probabilities, [columns, 1]), (x, stride), [self.heads, padded(d), n], false);
        self.write(sums, &s.rows);
        for (h, p) in s.probabilities.chunks_exact(columns).enumerate() {
            // SAFETY: each task has a sequence of its own.
            unsafe { weights.write(h * self.sequences + self.index, 0, &[lane_sum(p, p, |p, _| p)]) };
        }
    }

    /// See [`first_token_attention_backward`]. `dweights [H]` are the gradients of the sums of probabilities.
    #[inline(always)]
    fn backward(
        &self,
        how: MultiplyAdd,
        [dqueries, dx]: [&Strided<T>; 2],
        [queries, dsums, dweights]: [&[T]; 3],
        dropout: &Dropout,
        s: &mut Scratch<T>,
    ) {
        let (d, n, heads, columns) = (self.width, self.len(), self.heads, padded(self.len()));
        let products = [&mut s.probabilities, &mut s.dscores];
        self.products(products, [queries, dsums], [&mut s.transposed, &mut s.block]);
        let scale = scale(d / heads);
        softmax_of(how, &mut s.probabilities, n, scale);
        for (row, dweight) in s.dscores.chunks_exact_mut(columns).zip(dweights) {
            row.iter_mut().for_each(|dp| *dp += *dweight);
        }
        s.dropped.clear();
        s.dropped.extend_from_slice(&s.probabilities);
        self.drop(&mut [&mut s.dropped, &mut s.dscores], dropout);
        softmax_backward(&mut s.dscores, &s.probabilities, columns, scale);
        let x = whole_lanes(&mut s.x, self.x, d, [n, d]);
        resize(&mut s.rows, heads * padded(d));
        small_matmul(&mut s.rows, (&s.dscores, [columns, 1]), x, [heads, padded(d), n], false);
        self.write(dqueries, &s.rows);
        if dx.is_empty() {
            return;
        }
        let [(queries, stride), (dsums, _)] = [queries, dsums].map(|rows| self.rows_of(rows));
        let queries = whole_lanes(&mut s.queries, queries, stride, [heads, d]);
        let dsums = whole_lanes(&mut s.dsums, dsums, stride, [heads, d]);
        for first in (0..n).step_by(TOKENS) {
            let rows = TOKENS.min(n - first);
            resize(&mut s.rows, rows * padded(d));
            small_matmul(&mut s.rows, (&s.dscores[first..], [1, columns]), queries, [rows, padded(d), heads], false);
            small_matmul(&mut s.rows, (&s.dropped[first..], [1, columns]), dsums, [rows, padded(d), heads], true);
            write_rows(dx, self.first + first, 0, d, &s.rows);
        }
    }

    /// Products `[H, padded(n)]` of the sequence's rows `[H, D]` of some arrays with the rows that it attends to. Overwrites them.
    #[inline(always)]
    fn products<const N: usize>(
        &self,
        mut products: [&mut Vec<T>; N],
        factors: [&[T]; N],
        [transposed, block]: [&mut Vec<T>; 2],
    ) {
        let (d, n) = (self.width, self.len());
        for products in &mut products {
            resize(products, self.heads * padded(n));
        }
        for first in (0..n).step_by(TOKENS) {
            let tokens = TOKENS.min(n - first);
            let columns = padded(tokens);
            copy_transposed(transposed, &self.x[first * d..], d, [tokens, d]);
            for (products, factors) in products.iter_mut().zip(factors) {
                let (rows, stride) = self.rows_of(factors);
                resize(block, self.heads * columns);
                small_matmul(block, (rows, [stride, 1]), (transposed, columns), [self.heads, columns, d], false);
                for (products, block) in products.chunks_exact_mut(padded(n)).zip(block.chunks_exact(columns)) {
                    products[first..][..columns].copy_from_slice(block);
                }
            }
        }
    }

    /// Drops what [`crate::attention`] drops of the probabilities, of all these arrays.
    #[inline(always)]
    fn drop(&self, arrays: &mut [&mut Vec<T>], dropout: &Dropout) {
        if dropout.is_none() {
            return;
        }
        for array in arrays {
            for (h, row) in array.chunks_exact_mut(padded(self.len())).enumerate() {
                dropout.apply_row(row, (self.first * self.heads + h) as u64);
            }
        }
    }

    /// Writes padded `rows [H, D]` as the sequence's own of an array `[H, B, D]`.
    #[inline(always)]
    fn write(&self, out: &Strided<T>, rows: &[T]) {
        for (h, row) in rows.chunks_exact(padded(self.width)).enumerate() {
            write_rows(out, h * self.sequences + self.index, 0, self.width, row);
        }
    }

    /// `[H]`: a context has the biases of values so often.
    fn gradient_of_weights(&self, dcontext: &[T], bias: &[T]) -> Vec<T> {
        let width = self.width / self.heads;
        let heads = dcontext[self.index * self.width..].chunks_exact(width).zip(bias.chunks_exact(width));
        heads.map(|(dcontext, bias)| lane_sum(dcontext, bias, |a, b| a * b)).collect()
    }
}
