//! Every kernel against sums of single products, on ragged shapes.
#![allow(clippy::expect_used)]

use super::driver::{Activation, multiply_with};
use super::kernel::{Kernel, MOST_ROWS};
use super::tile::Tile;
use super::*;
use crate::gemm::Matrix;

/// Numbers between -1 and 1, some of them at the ends.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
        if state >> 33 & 15 == 0 { x.signum() } else { x }
    };
    (0..count).map(|_| next()).collect()
}

fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.available())
}

const SHAPES: [[usize; 3]; 12] = [
    [1, 1, 1],
    [1, 48, 64],
    [7, 49, 65],
    [8, 96, 128],
    [9, 47, 63],
    [25, 144, 768],
    [33, 2, 5],
    [31, 100, 3],
    [130, 50, 66],
    [300, 97, 130],
    [16, 48, 3072],
    [3, 200, 1000],
];

/// The sums of the kernels are exactly those of integers, with operands at their ends too, where products of two bytes do not fit 16 bits.
#[test]
fn sums_are_exact() {
    for kernel in kernels() {
        for [m, n, k] in SHAPES {
            for extreme in [false, true] {
                let values: Vec<i8> = if extreme {
                    (0..n * k).map(|i| if i / k % 2 == 0 { 127 } else { -127 }).collect()
                } else {
                    numbers(n * k, 3).iter().map(|x| (x * 127.0) as i8).collect()
                };
                let panels = Int8Panels::new(&Quantized { values: values.clone(), scales: vec![1.0; n] });
                let left: Vec<u8> =
                    numbers(m * k, 5).iter().map(|x| if extreme { 255 } else { (x * 127.0 + 128.0) as u8 }).collect();
                let stride = depth(k);
                let mut words = vec![0_u32; m.next_multiple_of(MOST_ROWS) * stride];
                for (words, row) in words.chunks_exact_mut(stride).zip(left.chunks_exact(k)) {
                    for (word, bytes) in words.iter_mut().zip(row.chunks(4)) {
                        *word = bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
                    }
                }
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the kernel is available.
                let _prepared = unsafe { kernel.prepared() };
                for panel in 0..panels.panels() {
                    for first in (0..m).step_by(kernel.rows()) {
                        let rows = kernel.rows().min(m - first);
                        let (right, mut sums) = (panels.panel(panel), [[-1; Panel::COLUMNS]; MOST_ROWS]);
                        let tile = Tile { left: words[first * stride..].as_ptr(), stride, rows, right, next: right };
                        // SAFETY: the kernel is available, and the rows are there.
                        unsafe { kernel.run(&tile, &mut sums) };
                        for (r, sums) in sums[..rows].iter().enumerate() {
                            for column in 0..Panel::COLUMNS.min(n - panel * Panel::COLUMNS) {
                                let w = &values[(panel * Panel::COLUMNS + column) * k..][..k];
                                let x = &left[(first + r) * k..][..k];
                                let x = x.iter().map(|x| i32::from(*x) - kernel.offset());
                                let want: i32 = x.zip(w).map(|(x, w)| x * i32::from(*w)).sum();
                                assert_eq!(sums[column], want, "{kernel:?}, {m} x {n} x {k}, row {r} column {column}");
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A product differs from that of the numbers by no more than half a step of each operand allows, and is the same to the bit whatever
/// the kernel and the number of threads.
#[test]
fn products_are_near_and_the_same_everywhere() {
    for [m, n, k] in SHAPES {
        let (x, w, bias) = (numbers(m * k, 7), numbers(n * k, 11), numbers(n, 13));
        let quantized = Quantized::new(&w, n);
        let panels = Int8Panels::new(&quantized);
        let mut first: Option<Vec<f32>> = None;
        for kernel in kernels() {
            for threads in [1, 2, 5] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                let mut y = vec![f32::NAN; m * n];
                let (mut rows, a) = (Rows::default(), Matrix::new(&x, [m, k]));
                pool.install(|| multiply_with(kernel, &mut rows, &mut y, a, &panels, (&bias, Activation::Nothing)));
                let first = first.get_or_insert_with(|| y.clone());
                assert_eq!(&y, first, "{kernel:?} with {threads} threads, {m} x {n} x {k}");
            }
        }
        let y = first.unwrap_or_default();
        for (row, y) in y.chunks_exact(n).enumerate() {
            let x = &x[row * k..][..k];
            let ends = x.iter().fold([0.0_f32; 2], |[low, high], x| [low.min(*x), high.max(*x)]);
            for (column, y) in y.iter().enumerate() {
                let w = &w[column * k..][..k];
                let want: f64 = x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                let half_steps =
                    [f64::from((ends[1] - ends[0]) / 255.0 / 2.0), f64::from(quantized.scales[column] / 2.0)];
                let bound: f64 = x
                    .iter()
                    .zip(w)
                    .map(|(x, w)| {
                        half_steps[0] * f64::from(w.abs())
                            + half_steps[1] * f64::from(x.abs())
                            + half_steps[0] * half_steps[1]
                    })
                    .sum();
                let difference = (f64::from(*y) - want - f64::from(bias[column])).abs();
                assert!(difference <= 1.001 * bound + 1e-5, "{difference}, more than {bound}: {m} x {n} x {k}");
            }
        }
    }
}

/// Columns are the same in a panel that is written as a whole, and in one that ends before; likewise after GELU.
#[test]
fn whole_panels_and_others() {
    let (m, k) = (9, 70);
    let (x, w, bias) = (numbers(m * k, 7), numbers(Panel::COLUMNS * k, 11), numbers(Panel::COLUMNS, 13));
    for activation in [Activation::Nothing, Activation::Gelu] {
        let product = |n: usize| {
            let (panels, mut y) = (Int8Panels::new(&Quantized::new(&w[..n * k], n)), vec![f32::NAN; m * n]);
            multiply_int8(&mut Rows::default(), &mut y, Matrix::new(&x, [m, k]), &panels, &bias[..n], activation);
            y
        };
        let (whole, part) = (product(Panel::COLUMNS), product(Panel::COLUMNS - 1));
        for (whole, part) in whole.chunks_exact(Panel::COLUMNS).zip(part.chunks_exact(Panel::COLUMNS - 1)) {
            assert_eq!(&whole[..part.len()], part, "{activation:?}");
        }
    }
}

/// A number that is none is seen in every output of its row, and in no other.
#[test]
fn what_is_not_a_number_is_not_hidden() {
    let (w, bias) = (numbers(10 * 70, 3), vec![0.0; 10]);
    let panels = Int8Panels::new(&Quantized::new(&w, 10));
    let mut x = numbers(3 * 70, 5);
    x[100] = f32::NAN;
    let mut y = vec![0.0; 30];
    multiply_int8(&mut Rows::default(), &mut y, Matrix::new(&x, [3, 70]), &panels, &bias, Activation::Gelu);
    assert!(y[..10].iter().chain(&y[20..]).all(|y| y.is_finite()) && y[10..20].iter().all(|y| y.is_nan()), "{y:?}");
}

/// Weights of zeros, and rounding at the ends.
#[test]
fn weights_are_rounded_to_their_largest() {
    let quantized = Quantized::new(&[0.0, 0.0, 0.5, -1.0, 1e-30, 2e-30], 3);
    assert_eq!(quantized.numbers()[..4], [0.0, 0.0, 64.0 / 127.0, -1.0]);
    assert_eq!(quantized.values, [0, 0, 64, -127, 64, 127]);
    assert_eq!(quantized.scales[0], 0.0);
    assert_eq!(quantized.scales[1], 1.0 / 127.0);
}
