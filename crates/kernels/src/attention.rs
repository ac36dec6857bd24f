//! Scaled dot-product attention (Vaswani et al. 2017) over packed sequences, forward and backward.
//!
//! For each sequence and head: `P = softmax(Q Kᵀ / sqrt(D / H))`, `context = dropout(P) V`. The backward pass computes
//! P again from Q and K, a block of query rows at a time, so memory grows with the length, not with its square.

use crate::isa::{MultiplyAdd, vectorize_fused};
use crate::parallel::{Strided, prefetch};
use crate::pool::each_with_state;
use crate::profile::{Operation, timer};
use crate::real::fold_lanes;
use crate::small_matmul::{LANES, padded, small_matmul};
use crate::{Dropout, Real};

/// Query rows that are in work at once.
const QUERY_BLOCK: usize = 32;
/// Rows of an array that are asked for ahead, at most.
const ROWS_AHEAD: usize = 32;

/// Which rows belong to which sequence, and how a row is divided into heads.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a> {
    /// `[B + 1]`: the query rows of each sequence, either all of its tokens or only the first ones.
    pub queries: &'a [usize],
    /// `[B + 1]`: the tokens of each sequence.
    pub keys: &'a [usize],
    /// H; divides the width.
    pub count: usize,
    /// D, the width of a query row; head h has columns `h * D / H..(h + 1) * D / H`.
    pub width: usize,
}

/// One head of one sequence.
#[derive(Clone, Copy)]
struct Task {
    head: usize,
    /// First query row and number of query rows.
    query: usize,
    queries: usize,
    /// First token and number of tokens.
    key: usize,
    keys: usize,
}

impl Heads<'_> {
    fn tasks(&self) -> Vec<Task> {
        let sequences = self.queries.windows(2).zip(self.keys.windows(2));
        let spans = sequences.map(|(q, k)| (q[0], q[1] - q[0], k[0], k[1] - k[0]));
        let heads =
            |(query, queries, key, keys)| (0..self.count).map(move |head| Task { head, query, queries, key, keys });
        spans.flat_map(heads).collect()
    }

    /// Multiplications of `products` matrix products of queries with keys or values.
    fn multiplications(&self, products: usize) -> usize {
        let pairs = self.queries.windows(2).zip(self.keys.windows(2)).map(|(q, k)| (q[1] - q[0]) * (k[1] - k[0]));
        products * self.width * pairs.sum::<usize>()
    }

    /// D / H
    fn head_width(&self) -> usize {
        self.width / self.count
    }

    /// The dropout row of a query: the same number whether all queries are computed or only the first.
    fn dropout_row(&self, task: Task, query: usize) -> u64 {
        ((task.key + query) * self.count + task.head) as u64
    }
}

/// `context [Tq, D]` from the queries `q [Tq, D]` and the keys and values `kv [T, 2D]` (keys first). Overwrites `context`.
pub fn attention<T: Real>(context: &mut [T], q: &[T], kv: &[T], heads: Heads, dropout: &Dropout) {
    let _timer = timer(Operation::Attention, heads.multiplications(2));
    assert!(context.len() == q.len() && heads.width.is_multiple_of(heads.count));
    let context = Strided::new(context, heads.width);
    let upcoming = |next: Option<&Task>| Next::new(next, heads);
    each_with_state(heads.tasks().into_iter(), usize::MAX, upcoming, Scratch::default, |scratch, task, next| {
        vectorize_fused(
            #[inline(always)]
            |how| forward_head(how, &context, q, kv, heads, dropout, task, next, scratch),
        );
    });
}

/// Backward of [`attention`]. Overwrites `dq [Tq, D]` and `dkv [T, 2D]`.
pub fn attention_backward<T: Real>(
    dq: &mut [T],
    dkv: &mut [T],
    dcontext: &[T],
    q: &[T],
    kv: &[T],
    heads: Heads,
    dropout: &Dropout,
) {
    let _timer = timer(Operation::AttentionBackward, heads.multiplications(5));
    assert!(dq.len() == q.len() && dkv.len() == kv.len() && dcontext.len() == q.len());
    let (dq, dkv) = (Strided::new(dq, heads.width), Strided::new(dkv, 2 * heads.width));
    let upcoming = |next: Option<&Task>| Next::new(next, heads);
    each_with_state(heads.tasks().into_iter(), usize::MAX, upcoming, Scratch::default, |scratch, task, next| {
        vectorize_fused(
            #[inline(always)]
            |how| backward_head(how, &dq, &dkv, dcontext, q, kv, heads, dropout, task, next, scratch),
        );
    });
}

/// Where the rows lie that a thread's next task reads. They are asked for while the one before is in work, an array at a time: a
/// core waits for some two dozen cache lines at most, and from the memory they take longer than the work.
#[derive(Clone, Copy, Default)]
struct Next {
    /// The first element and the number of query rows; the same for keys.
    queries: (usize, usize),
    keys: (usize, usize),
    /// The width of a query row and of a head.
    widths: [usize; 2],
}

impl Next {
    fn new(task: Option<&Task>, heads: Heads) -> Self {
        let Some(task) = task else { return Self::default() };
        let (d, width) = (heads.width, heads.head_width());
        let column = task.head * width;
        Self {
            queries: (task.query * d + column, task.queries.min(ROWS_AHEAD)),
            keys: (task.key * 2 * d + column, task.keys.min(ROWS_AHEAD)),
            widths: [d, width],
        }
    }

    /// Of an array with the rows of queries.
    #[inline(always)]
    fn ask_for_queries<T>(self, q: &[T]) {
        let ((start, rows), [d, width]) = (self.queries, self.widths);
        prefetch(q, start, d, [rows, width]);
    }

    #[inline(always)]
    fn ask_for_keys<T>(self, kv: &[T]) {
        let ((start, rows), [d, width]) = (self.keys, self.widths);
        prefetch(kv, start, 2 * d, [rows, width]);
    }

    #[inline(always)]
    fn ask_for_values<T>(self, kv: &[T]) {
        let ((start, rows), [d, width]) = (self.keys, self.widths);
        prefetch(kv, start + d, 2 * d, [rows, width]);
    }
}

/// Buffers of one thread; each holds padded rows.
#[derive(Default)]
struct Scratch<T> {
    keys: Vec<T>,
    keys_transposed: Vec<T>,
    values: Vec<T>,
    values_transposed: Vec<T>,
    queries: Vec<T>,
    dcontext: Vec<T>,
    probabilities: Vec<T>,
    dropped: Vec<T>,
    dscores: Vec<T>,
    rows: Vec<T>,
    dkeys: Vec<T>,
    dvalues: Vec<T>,
}

#[inline(always)]
#[allow(clippy::too_many_arguments)] // the output and two inputs of the formula
fn forward_head<T: Real>(
    how: MultiplyAdd,
    context: &Strided<T>,
    q: &[T],
    kv: &[T],
    heads: Heads,
    dropout: &Dropout,
    task: Task,
    next: Next,
    s: &mut Scratch<T>,
) {
    let (d, width) = (heads.width, heads.head_width());
    let (n, columns) = (task.keys, padded(task.keys));
    let (k, v) = (&kv[task.key * 2 * d + task.head * width..], &kv[task.key * 2 * d + d + task.head * width..]);
    next.ask_for_keys(kv);
    copy_transposed(&mut s.keys_transposed, k, 2 * d, [n, width]);
    next.ask_for_values(kv);
    context.ask_for([task.query, task.head * width], [task.queries.min(ROWS_AHEAD), width]);
    let v = whole_lanes(&mut s.values, v, 2 * d, [n, width]);
    for first in (0..task.queries).step_by(QUERY_BLOCK) {
        let rows = QUERY_BLOCK.min(task.queries - first);
        let queries = &q[(task.query + first) * d + task.head * width..];
        probabilities(how, &mut s.probabilities, queries, d, &s.keys_transposed, [rows, n, width]);
        next.ask_for_queries(q);
        if !dropout.is_none() {
            for (r, p) in s.probabilities.chunks_exact_mut(columns).enumerate() {
                // the padding too: it stays zero, and whole vectors are faster
                dropout.apply_row(p, heads.dropout_row(task, first + r));
            }
        }
        resize(&mut s.rows, rows * padded(width));
        small_matmul(&mut s.rows, (&s.probabilities, [columns, 1]), v, [rows, padded(width), n], false);
        write_rows(context, task.query + first, task.head * width, width, &s.rows);
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)] // the two outputs and four inputs of the formula
fn backward_head<T: Real>(
    how: MultiplyAdd,
    dq: &Strided<T>,
    dkv: &Strided<T>,
    dcontext: &[T],
    q: &[T],
    kv: &[T],
    heads: Heads,
    dropout: &Dropout,
    task: Task,
    next: Next,
    s: &mut Scratch<T>,
) {
    let (d, width) = (heads.width, heads.head_width());
    let (n, columns, padded_width) = (task.keys, padded(task.keys), padded(width));
    let column = task.head * width;
    let (k, v) = (&kv[task.key * 2 * d + column..], &kv[task.key * 2 * d + d + column..]);
    next.ask_for_keys(kv);
    copy_transposed(&mut s.keys_transposed, k, 2 * d, [n, width]);
    next.ask_for_values(kv);
    let k = whole_lanes(&mut s.keys, k, 2 * d, [n, width]);
    copy_transposed(&mut s.values_transposed, v, 2 * d, [n, width]);
    next.ask_for_queries(q);
    dq.ask_for([task.query, column], [task.queries.min(ROWS_AHEAD), width]);
    for gradient in [&mut s.dkeys, &mut s.dvalues] {
        resize(gradient, n * padded_width);
    }
    for first in (0..task.queries).step_by(QUERY_BLOCK) {
        let rows = QUERY_BLOCK.min(task.queries - first);
        let start = (task.query + first) * d + column;
        let q_rows = whole_lanes(&mut s.queries, &q[start..], d, [rows, width]);
        let dcontext_rows = whole_lanes(&mut s.dcontext, &dcontext[start..], d, [rows, width]);
        probabilities(how, &mut s.probabilities, &q[start..], d, &s.keys_transposed, [rows, n, width]);
        next.ask_for_queries(dcontext);
        // the gradient of the dropped probabilities, then of the scores
        resize(&mut s.dscores, rows * columns);
        small_matmul(
            &mut s.dscores,
            (&dcontext[start..], [d, 1]),
            (&s.values_transposed, columns),
            [rows, columns, width],
            false,
        );
        s.dropped.clear();
        s.dropped.extend_from_slice(&s.probabilities);
        if !dropout.is_none() {
            for r in 0..rows {
                let part = r * columns..(r + 1) * columns;
                let row = heads.dropout_row(task, first + r);
                dropout.apply_rows(&mut s.dropped[part.clone()], &mut s.dscores[part], row);
            }
        }
        softmax_backward(&mut s.dscores, &s.probabilities, columns, scale(width));
        resize(&mut s.rows, rows * padded_width);
        small_matmul(&mut s.rows, (&s.dscores, [columns, 1]), k, [rows, padded_width, n], false);
        write_rows(dq, task.query + first, column, width, &s.rows);
        if first == 0 {
            dkv.ask_for([task.key, column], [n.min(ROWS_AHEAD), width]);
            dkv.ask_for([task.key, d + column], [n.min(ROWS_AHEAD), width]);
        }
        small_matmul(&mut s.dkeys, (&s.dscores, [1, columns]), q_rows, [n, padded_width, rows], first > 0);
        small_matmul(&mut s.dvalues, (&s.dropped, [1, columns]), dcontext_rows, [n, padded_width, rows], first > 0);
    }
    write_rows(dkv, task.key, column, width, &s.dkeys);
    write_rows(dkv, task.key, d + column, width, &s.dvalues);
}

/// 1 / sqrt(D / H)
pub(crate) fn scale<T: Real>(width: usize) -> T {
    T::from_f64(1.0 / (width as f64).sqrt())
}

/// `p [rows, padded(n)] = softmax(q · keysᵀ * scale)`, zero in the padding. Overwrites `p`.
#[inline(always)]
fn probabilities<T: Real>(
    how: MultiplyAdd,
    p: &mut Vec<T>,
    q: &[T],
    stride: usize,
    keys: &[T],
    [rows, n, width]: [usize; 3],
) {
    let columns = padded(n);
    resize(p, rows * columns);
    small_matmul(p, (q, [stride, 1]), (keys, columns), [rows, columns, width], false);
    softmax_of(how, p, n, scale(width));
}

/// `p = softmax(p * scale)` of rows of `n` elements, zero in the padding that follows each.
#[inline(always)]
pub(crate) fn softmax_of<T: Real>(how: MultiplyAdd, p: &mut [T], n: usize, scale: T) {
    let columns = padded(n);
    let end = End::new(columns - n);
    let chunks = p.as_chunks_mut::<LANES>().0;
    // rows of short sequences stay in registers where the compiler knows how long they are
    match columns / LANES {
        1 => softmax_rows::<T, 1>(how, chunks, scale, end),
        2 => softmax_rows::<T, 2>(how, chunks, scale, end),
        IN_REGISTERS => softmax_rows::<T, IN_REGISTERS>(how, chunks, scale, end),
        n => {
            for row in chunks.chunks_exact_mut(n) {
                softmax(how, row, scale, end);
            }
        }
    }
}

/// Chunks of lanes of a row that registers hold.
const IN_REGISTERS: usize = 3;

/// The last lanes of a row, of which some are padding: what is added to their scores, and what their probabilities are multiplied by.
#[derive(Clone, Copy)]
struct End<T> {
    score: [T; LANES],
    probability: [T; LANES],
}

impl<T: Real> End<T> {
    #[inline(always)]
    fn new(padding: usize) -> Self {
        let (mut score, mut probability) = ([T::ZERO; LANES], [T::ONE; LANES]);
        score[LANES - padding..].fill(T::from_f64(f64::NEG_INFINITY));
        probability[LANES - padding..].fill(T::ZERO);
        Self { score, probability }
    }
}

/// [`softmax`] of rows of `CHUNKS` chunks.
#[inline(always)]
fn softmax_rows<T: Real, const CHUNKS: usize>(how: MultiplyAdd, rows: &mut [[T; LANES]], scale: T, end: End<T>) {
    for row in rows.as_chunks_mut::<CHUNKS>().0 {
        softmax(how, row, scale, end);
    }
}

/// `row = softmax(row * scale)`, zero in the padding.
#[inline(always)]
fn softmax<T: Real>(how: MultiplyAdd, row: &mut [[T; LANES]], scale: T, end: End<T>) {
    let last = row.len() - 1;
    for l in 0..LANES {
        row[last][l] += end.score[l];
    }
    let mut largest = row[0];
    for chunk in &row[1..] {
        for l in 0..LANES {
            largest[l] = chunk[l].max(largest[l]);
        }
    }
    let largest = fold_lanes(largest, |a, b| a.max(b));
    row.as_flattened_mut().iter_mut().for_each(|x| *x = ((*x - largest) * scale).exp(how));
    for l in 0..LANES {
        row[last][l] *= end.probability[l];
    }
    let mut total = [T::ZERO; LANES];
    for chunk in &*row {
        for l in 0..LANES {
            total[l] += chunk[l];
        }
    }
    let inverse = T::ONE / fold_lanes(total, |a, b| a + b);
    if row.len() <= IN_REGISTERS {
        for chunk in row {
            for x in chunk {
                *x *= inverse;
            }
        }
    } else {
        // of unknown length, the loop above would be compiled to scalars
        row.as_flattened_mut().iter_mut().for_each(|x| *x *= inverse);
    }
}

/// `dp` becomes the gradient of the unscaled scores: `p (dp - sum(p dp)) * scale`, row by row.
#[inline(always)]
pub(crate) fn softmax_backward<T: Real>(dp: &mut [T], p: &[T], columns: usize, scale: T) {
    for (dp, p) in dp.chunks_exact_mut(columns).zip(p.chunks_exact(columns)) {
        let dot = crate::real::lane_sum(dp, p, |dp, p| dp * p);
        dp.iter_mut().zip(p).for_each(|(dp, p)| *dp = *p * (*dp - dot) * scale);
    }
}

/// Makes room; what was there stays, and is overwritten by the caller.
#[inline(always)]
pub(crate) fn resize<T: Real>(x: &mut Vec<T>, len: usize) {
    x.resize(len, T::ZERO);
}

/// Rows of whole lanes and their stride: `x` itself, whose rows are `stride` apart, or where the width is no multiple of the
/// lanes a copy in `out [rows, padded(width)]` with zeros in the padding.
#[inline(always)]
pub(crate) fn whole_lanes<'a, T: Real>(
    out: &'a mut Vec<T>,
    x: &'a [T],
    stride: usize,
    [rows, width]: [usize; 2],
) -> (&'a [T], usize) {
    if width == padded(width) {
        return (x, stride);
    }
    resize(out, rows * padded(width));
    for (r, out) in out.chunks_exact_mut(padded(width)).enumerate() {
        out[..width].copy_from_slice(&x[r * stride..][..width]);
        out[width..].fill(T::ZERO);
    }
    (out, padded(width))
}

/// `out [width, padded(rows)] = xᵀ`; zero in the padding.
#[inline(always)]
pub(crate) fn copy_transposed<T: Real>(out: &mut Vec<T>, x: &[T], stride: usize, shape: [usize; 2]) {
    resize(out, shape[1] * padded(shape[0]));
    T::transpose(out, x, stride, shape);
}

/// Writes padded `rows` of `width` used columns at (row, column) of `out`.
#[inline(always)]
pub(crate) fn write_rows<T: Real>(out: &Strided<T>, row: usize, column: usize, width: usize, rows: &[T]) {
    for (r, values) in rows.chunks_exact(padded(width)).enumerate() {
        // SAFETY: no two tasks of the operations that write so have the same sequence and head, hence the same rows and columns.
        unsafe { out.write(row + r, column, &values[..width]) };
    }
}
