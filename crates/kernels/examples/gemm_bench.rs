//! Measures the packed matrix multiplication against the peak that the machine shows at the same moment.
//!
//! `cargo run --release -p distune-kernels --example gemm_bench -- [threads] [filter,...] [copies]`
//!
//! `packed` and `int8` are the products of predictions, of weights that were arranged beforehand; `twice` is a product, its GELU and a
//! product back, as in a feed-forward network. The peak beside int8 is that of bf16.
//!
//! One line a shape, use and precision: GFLOP/s as a training step multiplies (operands in f32, rounded and rearranged in the
//! call), the percentage of the peak, and the same for the `gemm` crate (f32). The best of several repetitions counts. With
//! `copies`, so many products of as many operands and outputs take turns, as those of the layers do in a step: what they read comes
//! from the memory.
//! `DISTUNE_ISA` chooses a lower level of instructions.

use std::time::Instant;

use distune_kernels::{
    Buffers, Epilogue, LargePages, Matrix, PackedWeights, Precision, Products, Quantized, Weight, feed_forward, linear,
    multiply, peak,
};

/// The program's.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

/// Repetitions of a measurement; the best counts.
const REPETITIONS: usize = 7;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads: usize = arguments.first().and_then(|x| x.parse().ok()).unwrap_or(1);
    let filter = arguments.get(1).cloned().unwrap_or_default();
    let copies: usize = arguments.get(2).and_then(|x| x.parse().ok()).unwrap_or(1);
    let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(threads).build() else {
        return eprintln!("no thread pool");
    };
    println!("{:34} {:>6} {:>11} {:>11}", "use, precision, M x N x K", "peak", "distune", "gemm");
    let mut shapes: Vec<[usize; 3]> = vec![[440, 768, 768], [440, 3072, 768], [440, 768, 3072], [2048, 768, 768]];
    shapes.extend([[2048, 3072, 768], [2048, 768, 3072]]);
    shapes.extend([[870, 384, 384], [870, 1152, 384], [870, 1536, 384], [870, 384, 1536]]);
    shapes.extend([[106, 768, 768], [106, 3072, 768], [106, 768, 3072], [32, 768, 768], [1, 768, 768]]);
    for precision in [Precision::Bf16, Precision::F32] {
        for shape in shapes.clone() {
            for name in ["forward", "input", "weight", "packed", "packed twice", "int8", "int8 twice"] {
                let title = format!("{name} {precision:?} {}x{}x{}", shape[0], shape[1], shape[2]).to_lowercase();
                if name.starts_with("int8") && precision == Precision::F32 {
                    continue;
                }
                if filter.split(',').any(|filter| title.contains(filter)) {
                    pool.install(|| measure(&title, name, precision, shape, copies));
                }
            }
        }
    }
}

/// One line: a linear layer of weights `[N, K]` with M rows.
fn measure(title: &str, name: &str, precision: Precision, [m, n, k]: [usize; 3], copies: usize) {
    let [rows, columns, depth] = match name {
        "input" => [m, k, n],
        "weight" => [n, k, m],
        _ => [m, n, k],
    };
    // weights as small as those of a model, so that GELU gets what it gets there
    let weights = || values(n * k, 77_777).into_iter().map(|w| w / 16.0).collect();
    let sources: Vec<_> = (0..copies).map(|_| [values(m * k, 1), values(m * n, 2), weights()]).collect();
    let mut outputs = vec![vec![0.0; rows * columns]; copies];
    let (bias, mut buffers) = (values(n, 3), Buffers::default());
    let pack = |w: &[f32], outputs: usize| match name {
        "packed" | "packed twice" => Some(PackedWeights::new(w, outputs, precision)),
        "int8" | "int8 twice" => Some(PackedWeights::quantized(&Quantized::new(w, outputs))),
        _ => None,
    };
    let packed: Vec<_> = sources.iter().map(|[_, _, w]| pack(w, n).zip(pack(w, k))).collect();
    let (mut last, last_bias) = (vec![0.0; m * k], values(k, 4));
    let mut products = Products::new(precision);
    let mut product = |copy: usize| {
        if let Some((w1, w2)) = &packed[copy] {
            let (y, x) = (&mut outputs[copy][..], &sources[copy][0][..]);
            return match name.ends_with("twice") {
                true => feed_forward(&mut products, [&mut last, y], x, [(w1, &bias), (w2, &last_bias)]),
                false => linear(&mut products, y, x, Weight::Packed(w1), &bias),
            };
        }
        let [x, dy, w] = &sources[copy];
        let (x, dy, w) = (Matrix::new(x, [m, k]), Matrix::new(dy, [m, n]), Matrix::new(w, [n, k]));
        let (a, b, epilogue) = match name {
            "input" => (dy, w, Epilogue::Overwrite),
            "weight" => (dy.transposed(), x, Epilogue::Overwrite),
            _ => (x, w.transposed(), Epilogue::Bias(&bias[..])),
        };
        multiply(&mut buffers, &mut outputs[copy], a, b, precision, epilogue);
    };
    let products_of_call = if name.ends_with("twice") { 2.0 } else { 1.0 };
    let operations = products_of_call * 2.0 * rows as f64 * columns as f64 * depth as f64;
    let calls = ((1e7 / operations).ceil() as usize).next_multiple_of(copies);
    let operations = operations * calls as f64;
    let (mut best, mut best_peer, mut best_peak) = (0.0_f64, 0.0_f64, 0.0_f64);
    let mut peer_output = vec![0.0; rows * columns];
    for _ in 0..REPETITIONS {
        best_peak = best_peak.max(peak(precision, 1) / 1e9);
        best = best.max(rate(operations, || (0..calls).for_each(|call| product(call % copies))));
        if precision == Precision::F32 {
            let peer = || (0..calls).for_each(|call| peer(&mut peer_output, name, [m, n, k], &sources[call % copies]));
            best_peer = best_peer.max(rate(operations, peer));
        }
    }
    let cell = |rate: f64| format!("{rate:6.1} {:3.0}%", 100.0 * rate / best_peak);
    let peer = if best_peer > 0.0 { cell(best_peer) } else { String::new() };
    println!("{title:34} {best_peak:6.1} {:>11} {peer:>11}", cell(best));
}

/// The same product by the `gemm` crate.
fn peer(c: &mut [f32], name: &str, [m, n, k]: [usize; 3], [x, dy, w]: &[Vec<f32>; 3]) {
    let (shape, a, a_strides, b, b_strides) = match name {
        "input" => ([m, k, n], dy, [n, 1], w, [k, 1]),
        "weight" => ([n, k, m], dy, [1, n], x, [k, 1]),
        _ => ([m, n, k], x, [k, 1], w, [1, k]),
    };
    let parallel = gemm::Parallelism::Rayon(0);
    let [rows, columns, depth] = shape;
    assert!(c.len() == rows * columns && a.len() == rows * depth && b.len() == depth * columns);
    // SAFETY: the lengths were checked, and the strides enumerate each matrix.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            c.as_mut_ptr(),
            1,
            columns as isize,
            true,
            a.as_ptr(),
            a_strides[1] as isize,
            a_strides[0] as isize,
            b.as_ptr(),
            b_strides[1] as isize,
            b_strides[0] as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallel,
        );
    }
}

/// Operations per nanosecond of `f`.
fn rate(operations: f64, mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    f();
    operations / start.elapsed().as_nanos() as f64
}

/// Numbers in [-1, 1) that know nothing of each other.
fn values(len: usize, seed: u32) -> Vec<f32> {
    let value = |i: u32| {
        let mixed = i.wrapping_add(seed).wrapping_mul(2_654_435_761);
        let mixed = (mixed ^ mixed >> 15).wrapping_mul(2_246_822_519);
        ((mixed ^ mixed >> 13) >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len as u32).map(value).collect()
}
