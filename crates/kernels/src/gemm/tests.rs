//! Every kernel that this CPU has, against products in f64 of the rounded operands.

use super::driver::multiply_with;
use super::kernel::Kernel;
use super::{Buffers, Epilogue, Matrix, Precision};
use crate::isa::{Isa, isa};

const SIZES: [usize; 16] = [0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 200];

fn kernels() -> Vec<Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.available()).collect()
}

/// Numbers in [-1, 1).
fn values(len: usize, seed: u32) -> Vec<f32> {
    let value = |i: u32| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    (0..len as u32).map(value).collect()
}

/// Rounds to bf16 by another road: through the two neighbours.
fn rounded(x: f32, precision: Precision) -> f64 {
    let (down, x64) = (f32::from_bits(x.to_bits() & 0xffff_0000), f64::from(x));
    let up = f32::from_bits((x.to_bits() & 0xffff_0000) + 0x1_0000);
    let (below, above) = ((x64 - f64::from(down)).abs(), (f64::from(up) - x64).abs());
    let even = (down.to_bits() >> 16) & 1 == 0;
    match precision {
        Precision::F32 => x64,
        Precision::Bf16 if below < above || below == above && even => f64::from(down),
        Precision::Bf16 => f64::from(up),
    }
}

fn transposed(x: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    (0..columns * rows).map(|i| x[i % rows * columns + i / rows]).collect()
}

/// A product in f64, and the sum of the products' magnitudes, which scales the error.
struct Reference {
    shape: [usize; 3],
    a: Vec<f32>,
    b: Vec<f32>,
    product: Vec<(f64, f64)>,
}

impl Reference {
    fn new([m, n, k]: [usize; 3], precision: Precision) -> Self {
        let (a, b) = (values(m * k, 1), values(k * n, 77_777));
        let round = |x: &[f32]| x.iter().map(|&x| rounded(x, precision)).collect::<Vec<f64>>();
        let (a64, b64) = (round(&a), round(&b));
        let mut product = vec![(0.0, 0.0); m * n];
        for i in 0..m {
            for l in 0..k {
                for j in 0..n {
                    let term = a64[i * k + l] * b64[l * n + j];
                    let (sum, magnitude) = &mut product[i * n + j];
                    (*sum, *magnitude) = (*sum + term, *magnitude + term.abs());
                }
            }
        }
        Self { shape: [m, n, k], a, b, product }
    }

    /// Multiplies the operands, each from a row-major source or from its transpose, with each epilogue, and compares.
    fn check(&self, kernel: Kernel, isa: Isa, buffers: &mut Buffers, transpose: [bool; 2]) {
        let [m, n, k] = self.shape;
        let (a, b) = (transposed(&self.a, [m, k]), transposed(&self.b, [k, n]));
        let choose = |transpose, x, y| if transpose { y } else { x };
        let a = choose(transpose[0], Matrix::new(&self.a, [m, k]), Matrix::new(&a, [k, m]).transposed());
        let b = choose(transpose[1], Matrix::new(&self.b, [k, n]), Matrix::new(&b, [n, k]).transposed());
        let (before, bias) = (values(m * n, 5), values(n, 6));
        for epilogue in [Epilogue::Overwrite, Epilogue::Add, Epilogue::Bias(&bias)] {
            let mut c = before.clone();
            if matches!(epilogue, Epilogue::Overwrite) {
                c.fill(f32::NAN); // must not be read
            }
            let mut squares = vec![0.0; m.div_ceil(kernel.rows()) * n.div_ceil(48)];
            let mut row_sums = if transpose[0] { values(m, 7) } else { Vec::new() };
            multiply_with(kernel, isa, buffers, [&mut c, &mut row_sums], a, b, epilogue, &mut squares);
            for (i, sum) in row_sums.into_iter().enumerate() {
                // in the order of K, not rounded to bf16
                let want = (0..k).fold(values(m, 7)[i], |sum, l| sum + self.a[i * k + l]);
                assert!(sum == want, "{kernel:?} {isa:?} {:?}: sum of row {i} is {sum}, not {want}", self.shape);
            }
            let (squares, want) = (squares.iter().sum::<f64>(), c.iter().map(|c| f64::from(*c).powi(2)).sum::<f64>());
            // 24 squares a lane of a tile in f32, each with a relative error of 2^-24
            assert!(
                (squares - want).abs() <= 25.0 * 2f64.powi(-24) * want,
                "{kernel:?} {:?}: {squares}, not {want}",
                self.shape
            );
            for (i, (&c, &(product, magnitude))) in c.iter().zip(&self.product).enumerate() {
                let start = match epilogue {
                    Epilogue::Overwrite => 0.0,
                    Epilogue::Add => f64::from(before[i]),
                    Epilogue::Bias(bias) => f64::from(bias[i % n]),
                };
                // k + 1 additions and as many multiplications at most, each with a relative error of 2^-24
                let bound = (2 * k + 2) as f64 * 2f64.powi(-24) * (magnitude + start.abs());
                let want = start + product;
                assert!(
                    (f64::from(c) - want).abs() <= bound,
                    "{kernel:?} {isa:?} {:?} {transpose:?} {epilogue:?} [{}, {}]: {c}, not {want} (bound {bound:e})",
                    self.shape,
                    i / n,
                    i % n
                );
            }
        }
    }
}

fn levels() -> Vec<Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.available()).collect()
}

/// The same buffers serve all of them: what they held before must leave nothing behind.
#[test]
fn every_size_and_layout() {
    let mut buffers = Buffers::default();
    for m in SIZES {
        for n in SIZES {
            for k in SIZES {
                for precision in [Precision::F32, Precision::Bf16] {
                    let reference = Reference::new([m, n, k], precision);
                    // one of the four pairs of layouts a shape, each again and again over the grid
                    let layout = m / 2 + n + k;
                    for kernel in kernels().into_iter().filter(|kernel| kernel.precision() == precision) {
                        reference.check(kernel, isa(), &mut buffers, [layout & 1 == 1, layout & 2 == 2]);
                    }
                }
            }
        }
    }
}

#[test]
fn big() {
    let mut buffers = Buffers::default();
    for shape in [[150, 300, 1700], [1, 400, 3100], [330, 100, 1700], [260, 97, 800], [30, 768, 2049], [1100, 50, 33]] {
        for precision in [Precision::F32, Precision::Bf16] {
            let reference = Reference::new(shape, precision);
            for layout in 0..4 {
                for kernel in kernels().into_iter().filter(|kernel| kernel.precision() == precision) {
                    reference.check(kernel, isa(), &mut buffers, [layout & 1 == 1, layout & 2 == 2]);
                }
            }
        }
    }
}

#[test]
fn every_level_rounds_and_transposes_alike() {
    let mut buffers = Buffers::default();
    for shape in [[1, 1, 1], [8, 48, 16], [13, 50, 37], [65, 200, 129], [7, 96, 0], [33, 64, 64]] {
        for precision in [Precision::F32, Precision::Bf16] {
            let reference = Reference::new(shape, precision);
            for isa in levels() {
                for layout in 0..4 {
                    for kernel in kernels().into_iter().filter(|kernel| kernel.precision() == precision) {
                        reference.check(kernel, isa, &mut buffers, [layout & 1 == 1, layout & 2 == 2]);
                    }
                }
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() -> Result<(), rayon::ThreadPoolBuildError> {
    let [m, n, k] = [131, 500, 1601];
    for kernel in kernels() {
        let run = |threads| -> Result<Vec<u32>, rayon::ThreadPoolBuildError> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
            let mut c = values(m * n, 3);
            pool.install(|| {
                let (a, b) = (values(m * k, 1), values(k * n, 2));
                let (a, b) = (Matrix::new(&a, [m, k]), Matrix::new(&b, [n, k]).transposed());
                multiply_with(kernel, isa(), &mut Buffers::default(), [&mut c, &mut []], a, b, Epilogue::Add, &mut []);
            });
            Ok(c.into_iter().map(f32::to_bits).collect())
        };
        let one = run(1)?;
        assert!(run(2)? == one && run(3)? == one, "{kernel:?}");
    }
    Ok(())
}

#[test]
fn specials_survive_rounding() {
    let special = [f32::NAN, f32::from_bits(0x7fff_ffff), f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MAX];
    for (kernel, isa) in kernels().into_iter().flat_map(|kernel| levels().into_iter().map(move |isa| (kernel, isa))) {
        for (i, x) in special.into_iter().enumerate() {
            for transposed in [false, true] {
                let (x_matrix, one) = (&[x], Matrix::new(&[1.0], [1, 1]));
                let x_matrix = Matrix::new(x_matrix, [1, 1]);
                let x_matrix = if transposed { x_matrix.transposed() } else { x_matrix };
                for [a, b] in [[x_matrix, one], [one, x_matrix]] {
                    let mut c = [0.5];
                    multiply_with(
                        kernel,
                        isa,
                        &mut Buffers::default(),
                        [&mut c, &mut []],
                        a,
                        b,
                        Epilogue::Overwrite,
                        &mut [],
                    );
                    let is_max = i == 5;
                    match kernel.precision() {
                        Precision::Bf16 if is_max => assert!(c[0] == f32::INFINITY, "{kernel:?} {isa:?}: {c:?}"),
                        _ => assert!(c[0] == x || c[0].is_nan() && x.is_nan(), "{kernel:?} {isa:?}: {c:?}, not {x}"),
                    }
                }
            }
        }
    }
}

/// 2^40 rows without a column times 2^40 columns without a row: the output's size must not wrap to 0.
#[test]
#[should_panic(expected = "output of")]
fn a_size_that_overflows_is_refused() {
    let (a, b) = (Matrix::new(&[], [1 << 40, 0]), Matrix::new(&[], [0, 1 << 40]));
    multiply_with(
        Kernel::best(Precision::F32),
        isa(),
        &mut Buffers::default(),
        [&mut [], &mut []],
        a,
        b,
        Epilogue::Overwrite,
        &mut [],
    );
}

#[test]
#[should_panic(expected = "output of [2, 4]")]
fn a_short_output_is_refused() {
    let (a, b) = ([0.0; 6], [0.0; 12]);
    let (a, b) = (Matrix::new(&a, [2, 3]), Matrix::new(&b, [3, 4]));
    multiply_with(
        Kernel::best(Precision::F32),
        isa(),
        &mut Buffers::default(),
        [&mut [0.0; 7], &mut []],
        a,
        b,
        Epilogue::Overwrite,
        &mut [],
    );
}

#[test]
fn the_faster_precision_is_chosen() {
    // machines are noisy: only a clear difference says anything, and one that holds whenever it is measured
    let contradicted = || {
        let chosen = Precision::fastest();
        assert!(chosen.accelerated());
        let [f32, bf16] = [Precision::F32, Precision::Bf16].map(|precision| super::peak(precision, 5));
        match chosen {
            Precision::F32 => bf16 > 1.5 * f32 && Precision::Bf16.accelerated(),
            Precision::Bf16 => f32 > 1.5 * bf16,
        }
    };
    assert!((0..5).any(|_| !contradicted()));
}
