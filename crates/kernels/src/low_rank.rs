//! Products with matrices of few rows, which low-rank adapters (LoRA, Hu et al. 2021) are made of.
//!
//! An adapter of rank R adds `s · (x · Aᵀ) · Bᵀ` to the output of a linear layer `[N, K]`. Both of its matrices are kept with R rows: A
//! `[R, K]`, and B transposed, `[R, N]`. Then three products are all that it needs, none of them of the size of the layer:
//!
//! ```text
//! p = s · x · Aᵀ     y  += p · Bᵀ     forward
//! q = s · dy · B     dx += q · A      backward
//! dA = qᵀ · x        dBᵀ = pᵀ · dy    gradients
//! ```
//!
//! They are never rounded to bf16. Rows of `p` and `q` are padded with zeros to [`low_rank_width`].

use crate::Real;
use crate::isa::vectorize;
use crate::parallel::rows_per_task;
use crate::pool::{each, each_with_state};
use crate::profile::{Operation, timer};
use crate::small_matmul::{matmul, padded, small_matmul};

/// Rows that one task projects; a multiple of the rows that are in work at once.
const ROWS: usize = 32;
/// Columns of a gradient that one task sums.
const COLUMNS: usize = 48;

/// Neighbouring columns of a row-major matrix.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// Elements from row to row.
    stride: usize,
    first: usize,
    width: usize,
}

impl Columns {
    /// All columns of a matrix that has `width`.
    pub fn all(width: usize) -> Self {
        Self { stride: width, first: 0, width }
    }

    /// The left (0) or right (1) half of the columns of a matrix that has `2 * width`.
    pub fn half(width: usize, half: usize) -> Self {
        Self { stride: 2 * width, first: half * width, width }
    }
}

/// Elements of a row of `p` for this rank.
pub fn low_rank_width(rank: usize) -> usize {
    padded(rank)
}

/// `p [M, R] = scale · x · uᵀ`, for some columns `[M, W]` of `x` and `u [R, W]`. Overwrites `p`.
pub fn low_rank_down<T: Real>(p: &mut [T], x: &[T], at: Columns, u: &[T], scale: f64) {
    let (rank, rows) = (u.len() / at.width, x.len() / at.stride);
    let (n, scale) = (padded(rank), T::from_f64(scale));
    let _timer = timer(Operation::LowRank, rows * u.len());
    assert_eq!(p.len(), rows * n, "{rows} rows of rank {rank}");
    let mut u_transposed = vec![T::ZERO; at.width * n];
    vectorize(
        #[inline(always)]
        || T::transpose(&mut u_transposed, u, at.width, [rank, at.width]),
    );
    each(p.chunks_mut(ROWS * n).zip(x.chunks(ROWS * at.stride)), |(p, x)| {
        vectorize(
            #[inline(always)]
            || {
                let shape = [p.len() / n, n, at.width];
                small_matmul(p, (&x[at.first..], [at.stride, 1]), (&u_transposed, n), shape, false);
                p.iter_mut().for_each(|p| *p *= scale);
            },
        );
    });
}

/// `y += p · u`, for some columns `[M, W]` of `y`, `p [M, R]` and `u [R, W]`.
pub fn low_rank_up<T: Real>(y: &mut [T], at: Columns, p: &[T], u: &[T]) {
    let rank = u.len() / at.width;
    let (n, rows) = (padded(rank), rows_per_task(y.len() / at.stride, at.width).next_multiple_of(8));
    let _timer = timer(Operation::LowRank, y.len() / at.stride * u.len());
    assert_eq!(p.len() / n, y.len() / at.stride, "rows of rank {rank}");
    let tasks = y.chunks_mut(rows * at.stride).zip(p.chunks(rows * n));
    let add = |product: &mut Vec<T>, (y, p): (&mut [T], &[T]), ()| {
        vectorize(
            #[inline(always)]
            || {
                let rows = p.len() / n;
                product.resize(rows * at.width, T::ZERO);
                matmul(product, (p, [n, 1]), (u, at.width), [rows, at.width, rank], false);
                for (y, product) in y.chunks_exact_mut(at.stride).zip(product.chunks_exact(at.width)) {
                    y[at.first..].iter_mut().zip(product).for_each(|(y, product)| *y += *product);
                }
            },
        );
    };
    each_with_state(tasks, usize::MAX, |_| (), Vec::new, add);
}

/// `g [R, W] = pᵀ · x`, for `p [M, R]` and some columns `[M, W]` of `x`; with `accumulate`, `g +=`.
pub fn low_rank_gradient<T: Real>(g: &mut [T], p: &[T], x: &[T], at: Columns, accumulate: bool) {
    let (rank, rows) = (g.len() / at.width, x.len() / at.stride);
    let n = padded(rank);
    let _timer = timer(Operation::LowRank, rows * g.len());
    assert_eq!(p.len(), rows * n, "{rows} rows of rank {rank}");
    let mut sums = vec![Vec::new(); at.width.div_ceil(COLUMNS)];
    each(sums.iter_mut().enumerate(), |(task, sums)| {
        let first = task * COLUMNS;
        let columns = COLUMNS.min(at.width - first);
        sums.resize(rank * columns, T::ZERO);
        let x = x.get(at.first + first..).unwrap_or_default();
        vectorize(
            #[inline(always)]
            || matmul(sums, (p, [1, n]), (x, at.stride), [rank, columns, rows], false),
        );
    });
    for (task, sums) in sums.into_iter().enumerate() {
        let columns = sums.len() / rank.max(1);
        for (g, sums) in g.chunks_exact_mut(at.width).zip(sums.chunks_exact(columns)) {
            for (g, sum) in g[task * COLUMNS..].iter_mut().zip(sums) {
                *g = if accumulate { *g + *sum } else { *sum };
            }
        }
    }
}
