//! Kernels against naive versions on random shapes, and the same bits at every thread count.
#![allow(clippy::unwrap_used)]

use distune_kernels::*;
use proptest::prelude::*;

/// A row-major matrix product in f64: `a [m, k]` times the transpose of `w [n, k]`, plus `b`.
fn naive_linear([m, n, k]: [usize; 3], x: &[f32], w: &[f32], b: &[f32]) -> Vec<f64> {
    let dot = |i: usize, j: usize| (0..k).map(|p| f64::from(x[i * k + p]) * f64::from(w[j * k + p])).sum::<f64>();
    (0..m * n).map(|at| dot(at / n, at % n) + f64::from(b[at % n])).collect()
}

/// Attention of one query over keys and values in f64, for one head of `width` columns.
fn naive_attention(q: &[f32], keys: &[&[f32]], values: &[&[f32]]) -> Vec<f64> {
    let dot = |k: &[f32]| q.iter().zip(k).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let scores: Vec<f64> = keys.iter().map(|k| (dot(k) / (q.len() as f64).sqrt()).exp()).collect();
    let total: f64 = scores.iter().sum();
    let mean = |c: usize| scores.iter().zip(values).map(|(p, v)| p / total * f64::from(v[c])).sum();
    (0..q.len()).map(mean).collect()
}

fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn linear_is_a_matrix_product(m in 0_usize..70, n in 1_usize..70, k in 1_usize..140) {
        let (x, w, b) = (numbers(m * k, 1), numbers(n * k, 2), numbers(n, 3));
        let mut y = vec![f32::NAN; m * n];
        linear(&mut Products::default(), &mut y, &x, Weight::Ready(&w), &b);
        let size = |x: &[f32]| x.iter().map(|x| x.abs()).collect::<Vec<_>>();
        let sizes = naive_linear([m, n, k], &size(&x), &size(&w), &size(&b));
        for ((got, want), size) in y.iter().zip(naive_linear([m, n, k], &x, &w, &b)).zip(sizes) {
            // the usual bound of a sum of k + 1 rounded terms (Higham 2002, section 3.1)
            prop_assert!((f64::from(*got) - want).abs() <= 2.0_f64.powi(-24) * (k + 2) as f64 * size);
        }
    }

    /// A row comes out with the same bits in whatever batch it is: what is kept of a row must not depend on those beside it.
    #[test]
    fn rows_are_the_same_in_any_batch(m in 1_usize..70, n in 1_usize..70, k in 1_usize..140, bf16: bool) {
        let (x, w, b) = (numbers(m * k, 1), numbers(n * k, 2), numbers(n, 3));
        let mut products = Products::new(if bf16 { Precision::Bf16 } else { Precision::F32 });
        let mut together = vec![f32::NAN; m * n];
        linear(&mut products, &mut together, &x, Weight::Ready(&w), &b);
        for (x, together) in x.chunks(k).zip(together.chunks(n)) {
            let mut alone = vec![f32::NAN; n];
            linear(&mut products, &mut alone, x, Weight::Ready(&w), &b);
            prop_assert_eq!(bits(&alone), bits(together));
        }
    }

    /// In f32, with whole vectors of columns and without.
    #[test]
    fn low_rank_products(m in 0_usize..100, width in 1_usize..150, rank in 1_usize..40, half in 0_usize..2) {
        let (x, u, columns) = (numbers(m * 2 * width, 1), numbers(rank * width, 2), Columns::half(width, half));
        let part: Vec<f32> = x.chunks_exact(2 * width).flat_map(|row| row[half * width..][..width].to_vec()).collect();
        let mut p = vec![f32::NAN; m * low_rank_width(rank)];
        low_rank_down(&mut p, &x, columns, &u, 0.5);
        let want = naive_linear([m, rank, width], &part, &u, &vec![0.0; rank]);
        for (p, want) in p.chunks_exact(low_rank_width(rank)).zip(want.chunks_exact(rank)) {
            // sums of up to 150 rounded terms below 1
            prop_assert!(p.iter().zip(want).all(|(p, want)| (f64::from(*p) - 0.5 * want).abs() < 1e-4));
            prop_assert!(p[rank..].iter().all(|p| *p == 0.0));
        }
        let mut y = x.clone();
        low_rank_up(&mut y, columns, &p, &u);
        for (t, (y, x)) in y.chunks_exact(2 * width).zip(x.chunks_exact(2 * width)).enumerate() {
            let p = &p[t * low_rank_width(rank)..][..rank];
            for (c, (y, x)) in y.iter().zip(x).enumerate() {
                let inside = (half * width..(half + 1) * width).contains(&c);
                let added = |c: usize| (0..rank).map(|j| f64::from(p[j]) * f64::from(u[j * width + c])).sum::<f64>();
                let want = f64::from(*x) + if inside { added(c - half * width) } else { 0.0 };
                // up to 40 products of numbers below 75
                prop_assert!((f64::from(*y) - want).abs() < 1e-3, "{t}, {c}: {y}, not {want}");
            }
        }
    }

    #[test]
    fn attention_is_a_softmax_mean(lengths in prop::collection::vec(1_usize..80, 1..5), count in 1_usize..4, head in 1_usize..40) {
        let keys: Vec<usize> = (0..=lengths.len()).map(|b| lengths[..b].iter().sum()).collect();
        let (tokens, width) = (*keys.last().unwrap(), count * head);
        let (q, kv) = (numbers(tokens * width, 1), numbers(tokens * 2 * width, 2));
        let mut context = vec![f32::NAN; tokens * width];
        let heads = Heads { queries: &keys, keys: &keys, count, width };
        attention(&mut context, &q, &kv, heads, &Dropout::NONE);
        for span in keys.windows(2) {
            for h in 0..count {
                let key = |t: usize| &kv[t * 2 * width + h * head..][..head];
                let value = |t: usize| &kv[t * 2 * width + width + h * head..][..head];
                let (k, v): (Vec<_>, Vec<_>) = (span[0]..span[1]).map(|t| (key(t), value(t))).unzip();
                let t = span[1] - 1;
                let want = naive_attention(&q[t * width + h * head..][..head], &k, &v);
                for (got, want) in context[t * width + h * head..].iter().zip(want) {
                    // exponents of up to sqrt(40) are rounded to f32
                    prop_assert!((f64::from(*got) - want).abs() < 5e-6);
                }
            }
        }
    }
}

/// The first query of each sequence gives the same bits alone as among all queries, dropout included.
#[test]
fn first_queries_alone_are_the_same() {
    let (keys, firsts) = ([0, 3, 40, 105], [0, 1, 2, 3]);
    let (count, width) = (2, 24);
    let (q, kv) = (numbers(105 * width, 1), numbers(105 * 2 * width, 2));
    let dropout = Dropout::new(0.2, 1, 2, 3, Site::Attention);
    let mut all = vec![0.0; 105 * width];
    attention(&mut all, &q, &kv, Heads { queries: &keys, keys: &keys, count, width }, &dropout);
    let (mut q_first, mut want, mut first) = (vec![0.0; 3 * width], vec![0.0; 3 * width], vec![0.0; 3 * width]);
    gather_rows(&mut q_first, &q, &keys[..3], width);
    gather_rows(&mut want, &all, &keys[..3], width);
    attention(&mut first, &q_first, &kv, Heads { queries: &firsts, keys: &keys, count, width }, &dropout);
    assert_eq!(bits(&first), bits(&want));
}

/// Context and gradients `[q, x, weight, bias]` of attention of first tokens; those of weight and bias twice.
fn first_tokens<T: Real>([q, x, weight, bias, r]: [&[T]; 5], tokens: &[usize], heads: usize) -> [Vec<T>; 5] {
    let zeros = |like: &[T]| vec![T::ZERO; like.len()];
    let dropout = Dropout::new(0.2, 1, 2, 3, Site::Attention);
    let input = FirstTokens { q, x, weight, bias, tokens, heads };
    let [mut folded, mut dfolded] = [Folded::default(), Folded::default()];
    let [mut context, mut dq, mut dx, mut dweight, mut dbias] =
        [zeros(q), zeros(q), zeros(x), zeros(weight), zeros(bias)];
    first_token_attention(&mut context, &mut folded, input, &dropout);
    for accumulate in [false, true] {
        let gradient = FirstTokensGradient { q: &mut dq, x: &mut dx, weight: &mut dweight, bias: &mut dbias };
        first_token_attention_backward(gradient, &mut dfolded, r, input, &folded, &dropout, accumulate);
    }
    [context, dq, dx, dweight, dbias]
}

/// In f32, attention of first tokens is what it is in f64, whatever the width and the lengths; with the same bits at every thread count, and
/// for the first sequence with or without others.
#[test]
fn first_tokens_in_f32() {
    for (lengths, heads, d) in [
        (vec![7, 1, 300, 16, 65], 12, 384),
        (vec![3, 2], 2, 6),
        ((0..70).map(|i| 2 + i % 30).collect(), 4, 80),
        (vec![512], 1, 16),
    ] {
        let tokens: Vec<usize> = (0..=lengths.len()).map(|b| lengths[..b].iter().sum()).collect();
        let (b, t) = (lengths.len(), tokens[lengths.len()]);
        let input = [numbers(b * d, 1), numbers(t * d, 2), numbers(2 * d * d, 3), numbers(2 * d, 4), numbers(b * d, 5)];
        let run = |threads: usize, b: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let [q, x, weight, bias, r] = input.each_ref().map(|values| &values[..]);
            let input = [&q[..b * d], &x[..tokens[b] * d], weight, bias, &r[..b * d]];
            pool.install(|| first_tokens(input, &tokens[..=b], heads))
        };
        let got = run(1, b);
        for threads in [2, 3] {
            let same = run(threads, b).iter().zip(&got).all(|(a, b)| bits(a) == bits(b));
            assert!(same, "{d}: {threads} threads give other bits than one");
        }
        let [context, dq, dx, ..] = run(1, 1);
        for (alone, among) in [(context, &got[0]), (dq, &got[1]), (dx, &got[2])] {
            assert!(bits(&alone) == bits(&among[..alone.len()]), "{d}: other bits among others");
        }
        let wide = input.each_ref().map(|values| values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>());
        let want = first_tokens(wide.each_ref().map(|values| &values[..]), &tokens, heads);
        for (what, (got, want)) in got.iter().zip(&want).enumerate() {
            let largest = want.iter().fold(1.0_f64, |m, x| m.max(x.abs()));
            for (got, want) in got.iter().zip(want) {
                // scores of up to 70, whose exponentials have 70 times the rounding of f32
                assert!((f64::from(*got) - want).abs() < 2e-5 * largest, "{d}, {what}: {got}, not {want}");
            }
        }
    }
}

#[test]
fn same_bits_at_every_thread_count() {
    let run = |threads: usize, precision| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let [m, n, k] = [611, 384, 1536];
            let mut p = Products::new(precision);
            let (x, w, b) = (numbers(m * k, 1), numbers(n * k, 2), numbers(n, 3));
            let (mut y, mut dx, mut dw, mut db) = (vec![0.0; m * n], vec![0.0; m * k], vec![0.0; n * k], vec![0.0; n]);
            linear(&mut p, &mut y, &x, Weight::Ready(&w), &b);
            linear_backward_input(&mut p, &mut dx, &y, &w, n, false);
            linear_backward_weight(&mut p, [&mut dw, &mut db], &y, &x, n, false);
            let norm = gradient_norm(&[&dw, &db], 0.0);
            let (mut down, mut gradient) = (vec![0.0; m * low_rank_width(8)], vec![0.0; 8 * k]);
            low_rank_down(&mut down, &x, Columns::all(k), &w[..8 * k], 0.5);
            low_rank_gradient(&mut gradient, &down, &x, Columns::all(k), false);
            low_rank_up(&mut dx, Columns::all(k), &down, &w[..8 * k]);
            let mut out = bits(&y);
            [dx, dw, db, down, gradient].iter().for_each(|part| out.extend(bits(part)));
            (out, norm.to_bits())
        })
    };
    for precision in [Precision::F32, Precision::Bf16] {
        let one = run(1, precision);
        for threads in [2, 3, 5] {
            assert!(run(threads, precision) == one, "{precision:?}: {threads} threads give other bits than one");
        }
    }
}
