//! The number type of the kernels: f32 to train, f64 to check gradients.

use crate::gemm::{Activation, Epilogue, Matrix, Small, small, transpose_small};
use crate::isa::MultiplyAdd;
use crate::matmul::{Products, multiply_f64, update_and_multiply, weight_gradient};
use crate::optimizer::{OptimizerStep, Update};
use crate::packed::PackedWeights;
use crate::small_matmul::{sums_of_rows, transpose_by_element};
use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub};

/// A floating-point number that the kernels compute with.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
{
    /// Weights arranged for inference; there are none but of f32.
    type Packed: Debug + Send + Sync;
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// Rounds to this type.
    fn from_f64(x: f64) -> Self;
    /// Exact.
    fn to_f64(self) -> f64;
    /// Square root.
    fn sqrt(self) -> Self;
    /// The larger of two numbers; the other one when `self` is NaN.
    fn max(self, other: Self) -> Self;
    /// e to the power of `self`, for `self <= 88`; vectorizes in f32.
    fn exp(self, how: MultiplyAdd) -> Self;
    /// Standard normal distribution: (cumulative probability, density) at `self`; vectorizes in f32.
    fn normal(self, how: MultiplyAdd) -> (Self, Self);
    /// See [`crate::small_matmul`].
    #[doc(hidden)]
    fn small_matmul(c: &mut [Self], a: (&[Self], [usize; 2]), b: (&[Self], usize), shape: [usize; 3], accumulate: bool);
    /// See [`crate::small_matmul`].
    #[doc(hidden)]
    #[inline(always)]
    fn transpose(out: &mut [Self], x: &[Self], stride: usize, shape: [usize; 2]) {
        transpose_by_element(out, x, stride, shape);
    }
    /// `c [M, N] = a [M, K] · b [K, N]`, or as the epilogue says.
    fn multiply(p: &mut Products, c: &mut [Self], a: Matrix<Self>, b: Matrix<Self>, epilogue: Epilogue<Self>);
    /// See [`crate::linear_backward_weight`].
    fn weight_gradient(
        p: &mut Products,
        gradients: [&mut [Self]; 2],
        dy: Matrix<Self>,
        x: Matrix<Self>,
        accumulate: bool,
    ) -> f64 {
        weight_gradient(p, gradients, dy, x, accumulate)
    }
    /// `c [M, N] = a [M, K] · wᵀ + bias` for arranged weights `w [N, K]`.
    fn multiply_packed(p: &mut Products, c: &mut [Self], a: Matrix<Self>, w: &Self::Packed, bias: &[Self]);
    /// See [`crate::feed_forward`].
    fn multiply_packed_twice(
        p: &mut Products,
        outputs: [&mut [Self]; 2],
        a: Matrix<Self>,
        layers: [(&Self::Packed, &[Self]); 2],
    );
    /// `c [M, N] = a [M, K] · wᵀ + bias` after a step of the optimizer for `w [N, K]`.
    fn multiply_updating(
        p: &mut Products,
        c: &mut [Self],
        a: Matrix<Self>,
        update: Update<Self>,
        step: &OptimizerStep,
        bias: &[Self],
    ) {
        update_and_multiply(p, c, a, update, step, bias);
    }
}

/// The sum of `term(a[i], b[i])` in sixteen lanes whose order is fixed, so that it vectorizes.
#[inline(always)]
pub(crate) fn lane_sum<A: Copy, S: Real>(a: &[A], b: &[A], term: impl Fn(A, A) -> S) -> S {
    const LANES: usize = 16;
    let mut lanes = [S::ZERO; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_tail, b_tail) = (a_chunks.remainder(), b_chunks.remainder());
    for (a, b) in a_chunks.zip(b_chunks) {
        for l in 0..LANES {
            lanes[l] += term(a[l], b[l]);
        }
    }
    for (l, (a, b)) in a_tail.iter().zip(b_tail).enumerate() {
        lanes[l] += term(*a, *b);
    }
    fold_lanes(lanes, |a, b| a + b)
}

/// All sixteen together, halves first: as few steps, one after another, as can be.
#[inline(always)]
pub(crate) fn fold_lanes<S: Copy>(lanes: [S; 16], join: impl Fn(S, S) -> S) -> S {
    let mut eight = [lanes[0]; 8];
    for l in 0..8 {
        eight[l] = join(lanes[l], lanes[l + 8]);
    }
    let mut four = [eight[0]; 4];
    for l in 0..4 {
        four[l] = join(eight[l], eight[l + 4]);
    }
    join(join(four[0], four[2]), join(four[1], four[3]))
}

/// 1 / sqrt(2 pi), the density of the standard normal distribution at 0.
const DENSITY_AT_0: f64 = 0.398_942_280_401_432_7;

impl Real for f64 {
    type Packed = std::convert::Infallible;
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.max(other)
    }
    #[inline(always)]
    fn exp(self, _: MultiplyAdd) -> Self {
        self.exp()
    }
    #[inline(always)]
    fn normal(self, _: MultiplyAdd) -> (Self, Self) {
        let cumulative = 0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2);
        (cumulative, DENSITY_AT_0 * (-0.5 * self * self).exp())
    }
    #[inline(always)]
    fn small_matmul(
        c: &mut [Self],
        a: (&[Self], [usize; 2]),
        b: (&[Self], usize),
        shape: [usize; 3],
        accumulate: bool,
    ) {
        sums_of_rows(c, a, b, shape, accumulate);
    }
    fn multiply(_: &mut Products, c: &mut [Self], a: Matrix<Self>, b: Matrix<Self>, epilogue: Epilogue<Self>) {
        multiply_f64(c, a, b, epilogue);
    }
    fn multiply_packed(_: &mut Products, _: &mut [Self], _: Matrix<Self>, w: &Self::Packed, _: &[Self]) {
        match *w {}
    }
    fn multiply_packed_twice(
        _: &mut Products,
        _: [&mut [Self]; 2],
        _: Matrix<Self>,
        [(w, _), _]: [(&Self::Packed, &[Self]); 2],
    ) {
        match *w {}
    }
}

/// Coefficients of erfcx(x) = exp(x^2) erfc(x) as a polynomial in t = 1 / (1 + x / 2), highest power first.
///
/// Least-squares fit at Chebyshev nodes of t for x in [0, 20]; largest relative error 5e-8
/// (`docs/erfcx.py` makes them).
const ERFCX: [f32; 10] = [
    -0.059_929_173,
    0.288_832_16,
    -0.496_182_86,
    0.288_613_7,
    -0.034_165_718,
    0.206_061_74,
    0.242_168_49,
    0.282_527_74,
    0.282_073_47,
    4.199_194_7e-7,
];

impl Real for f32 {
    type Packed = PackedWeights;
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        if self > other { self } else { other }
    }

    /// exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2; Taylor polynomial of degree 7 (error below 1e-8).
    #[inline(always)]
    fn exp(self, how: MultiplyAdd) -> Self {
        // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
        const ROUND: f32 = 12_582_912.0;
        // ln 2 in two parts, so that n * LN_2_HIGH is exact.
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        let x = if self < -87.0 { -87.0 } else { self };
        let shifted = how.of(x, std::f32::consts::LOG2_E, ROUND);
        let n = shifted - ROUND;
        let r = how.of(-n, LN_2_LOW, how.of(-n, LN_2_HIGH, x));
        let mut p = 1.0 / 5040.0;
        for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = how.of(p, r, c);
        }
        let two_to_n = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
        p * two_to_n
    }

    /// The tail below -|x| is erfcx(|x| / sqrt 2) exp(-x^2 / 2) / 2, which keeps its relative accuracy far out.
    #[inline(always)]
    fn normal(self, how: MultiplyAdd) -> (Self, Self) {
        let e = Real::exp(-0.5 * self * self, how);
        let t = 1.0 / how.of(self.abs(), 0.5 * std::f32::consts::FRAC_1_SQRT_2, 1.0);
        let mut p = ERFCX[0];
        for c in &ERFCX[1..] {
            p = how.of(p, t, *c);
        }
        let tail = 0.5 * e * p;
        (if self > 0.0 { 1.0 - tail } else { tail }, DENSITY_AT_0 as f32 * e)
    }

    #[inline(always)]
    fn small_matmul(
        c: &mut [Self],
        (a, strides): (&[Self], [usize; 2]),
        (b, stride): (&[Self], usize),
        shape: [usize; 3],
        accumulate: bool,
    ) {
        if let Some(Small { c, .. }) = small(Small { c, a, strides, b, stride, shape, accumulate }) {
            sums_of_rows(c, (a, strides), (b, stride), shape, accumulate);
        }
    }

    #[inline(always)]
    fn transpose(out: &mut [Self], x: &[Self], stride: usize, shape: [usize; 2]) {
        transpose_small(out, x, stride, shape);
    }

    fn multiply(p: &mut Products, c: &mut [Self], a: Matrix<Self>, b: Matrix<Self>, epilogue: Epilogue<Self>) {
        p.multiply_f32(c, a, b, epilogue);
    }

    fn multiply_packed(p: &mut Products, c: &mut [Self], a: Matrix<Self>, w: &PackedWeights, bias: &[Self]) {
        w.multiply(p, c, a, bias, Activation::Nothing);
    }

    fn multiply_packed_twice(
        p: &mut Products,
        outputs: [&mut [Self]; 2],
        a: Matrix<Self>,
        layers: [(&PackedWeights, &[Self]); 2],
    ) {
        PackedWeights::multiply_twice(p, outputs, a, layers);
    }

    fn weight_gradient(
        p: &mut Products,
        gradients: [&mut [Self]; 2],
        dy: Matrix<Self>,
        x: Matrix<Self>,
        accumulate: bool,
    ) -> f64 {
        p.weight_gradient_f32(gradients, dy, x, accumulate)
    }

    fn multiply_updating(
        p: &mut Products,
        c: &mut [Self],
        a: Matrix<Self>,
        update: Update<Self>,
        step: &OptimizerStep,
        bias: &[Self],
    ) {
        p.multiply_updating_f32(c, a, update, step, bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAYS: [MultiplyAdd; 2] = [MultiplyAdd::PORTABLE, MultiplyAdd::FUSED];

    #[test]
    fn exp_is_accurate() {
        for how in WAYS {
            for i in 0..200_000 {
                let x = -87.0 + f64::from(i) * (175.0 / 200_000.0);
                let x = f64::from(x as f32);
                let (got, want) = (f64::from(Real::exp(x as f32, how)), x.exp());
                // three units in the last place of f32
                assert!((got / want - 1.0).abs() < 3.6e-7, "{how:?}: exp({x}) = {got}, not {want}");
            }
            assert!(Real::exp(-1e30_f32, how) < 2e-38);
        }
    }

    #[test]
    fn normal_is_accurate() {
        for how in WAYS {
            for i in 0..200_000 {
                let x = f64::from((-10.0 + f64::from(i) * 1e-4) as f32);
                let ((p, d), (want_p, want_d)) = ((x as f32).normal(how), x.normal(how));
                // the exponent -x^2/2 is rounded to f32: its error grows as x^2
                let bound = 6e-7 + 6e-8 * x * x;
                assert!((f64::from(p) / want_p - 1.0).abs() < bound, "{how:?}: cumulative at {x}: {p}, not {want_p}");
                assert!((f64::from(d) / want_d - 1.0).abs() < bound, "{how:?}: density at {x}: {d}, not {want_d}");
            }
        }
    }
}
