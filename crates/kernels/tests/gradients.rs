//! Every hand-written gradient against central finite differences in f64, on small and ragged shapes.
//!
//! For an operation y = f(x, ...) the scalar loss is `sum(y * r)` with fixed random r, so that dy = r.
#![allow(clippy::unwrap_used)]

use distune_kernels::*;

/// Step of the differences: the error is its square plus 1e-16 over it, about 1e-10 in all.
const STEP: f64 = 1e-5;
/// Largest relative error of a gradient; a wrong term shows as 1e-2 or more.
const TOLERANCE: f64 = 1e-7;

/// Numbers in [-1, 1) from a small generator (Knuth's MMIX).
fn random(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    };
    // the first few follow the seed too closely
    (0..n + 4).map(|_| next()).skip(4).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Checks `gradient` of `loss` at `x`; in long arrays, a sample of the elements.
fn check(what: &str, gradient: &[f64], x: &[f64], loss: impl Fn(&[f64]) -> f64) {
    assert_eq!(gradient.len(), x.len(), "{what}");
    let largest = gradient.iter().fold(0.0_f64, |m, g| m.max(g.abs()));
    let stride = (x.len() / 60).max(1);
    for i in (0..x.len()).step_by(stride) {
        let mut moved = x.to_vec();
        moved[i] = x[i] + STEP;
        let up = loss(&moved);
        moved[i] = x[i] - STEP;
        let want = (up - loss(&moved)) / (2.0 * STEP);
        let error = (gradient[i] - want).abs();
        assert!(error <= TOLERANCE * largest.max(1.0), "{what}[{i}]: {} by hand, {want} by differences", gradient[i]);
    }
}

#[test]
fn linear_layers() {
    for [m, n, k] in [[1, 1, 1], [1, 5, 7], [2, 64, 3], [63, 17, 9], [65, 8, 70]] {
        let (x, w, b, r) = (random(m * k, 1), random(n * k, 2), random(n, 3), random(m * n, 4));
        let loss = |x: &[f64], w: &[f64], b: &[f64]| {
            let mut y = vec![f64::NAN; m * n];
            linear(&mut Products::default(), &mut y, x, Weight::Ready(w), b);
            dot(&y, &r)
        };
        let (mut dx, mut dw, mut db) = (vec![f64::NAN; m * k], vec![f64::NAN; n * k], vec![f64::NAN; n]);
        linear_backward_input(&mut Products::default(), &mut dx, &r, &w, n, false);
        let backward = |dw: &mut [f64], db: &mut [f64], accumulate| {
            linear_backward_weight(&mut Products::default(), [dw, db], &r, &x, n, accumulate)
        };
        let squares = backward(&mut dw, &mut db, false);
        check("dx", &dx, &x, |x| loss(x, &w, &b));
        check("dw", &dw, &w, |w| loss(&x, w, &b));
        check("db", &db, &b, |b| loss(&x, &w, b));
        let (mut twice_dw, mut twice_db) = (dw.clone(), db.clone());
        backward(&mut twice_dw, &mut twice_db, true);
        let (mut dw_alone, mut db_alone) = (vec![f64::NAN; n * k], vec![f64::NAN; n]);
        assert_eq!((backward(&mut dw_alone, &mut [], false), backward(&mut [], &mut db_alone, false)), (squares, 0.0));
        assert_eq!((&dw_alone, &db_alone), (&dw, &db));
        for (twice, once) in [(twice_dw, dw), (twice_db, db)] {
            assert!(twice.iter().zip(&once).all(|(t, d)| (t - 2.0 * d).abs() < 1e-12), "accumulates");
        }
        let mut twice = dx.clone();
        linear_backward_input(&mut Products::default(), &mut twice, &r, &w, n, true);
        assert!(twice.iter().zip(&dx).all(|(t, d)| (t - 2.0 * d).abs() < 1e-12), "accumulates");
    }
}

/// What a low-rank adapter adds to the left or right half of a layer's columns.
#[test]
fn low_rank_adapters() {
    for [m, n, k, rank] in [[1, 1, 1, 1], [3, 5, 7, 2], [63, 64, 3, 3], [65, 50, 32, 16], [2, 100, 9, 17]] {
        let (x, a, b, r) = (random(m * k, 1), random(rank * k, 2), random(rank * n, 3), random(m * 2 * n, 4));
        let (input, scale, y) = (Columns::all(k), 0.7, random(m * 2 * n, 5));
        for half in [0, 1] {
            let output = Columns::half(n, half);
            let forward = |x: &[f64], a: &[f64], b: &[f64]| {
                let (mut p, mut y) = (vec![f64::NAN; m * low_rank_width(rank)], y.clone());
                low_rank_down(&mut p, x, input, a, scale);
                low_rank_up(&mut y, output, &p, b);
                (p, dot(&y, &r))
            };
            let (p, mut q) = (forward(&x, &a, &b).0, vec![f64::NAN; m * low_rank_width(rank)]);
            let (mut da, mut db, mut dx) = (vec![f64::NAN; rank * k], vec![f64::NAN; rank * n], vec![0.0; m * k]);
            low_rank_gradient(&mut db, &p, &r, output, false);
            low_rank_down(&mut q, &r, output, &b, scale);
            low_rank_gradient(&mut da, &q, &x, input, false);
            low_rank_up(&mut dx, input, &q, &a);
            check("dA", &da, &a, |a| forward(&x, a, &b).1);
            check("dB", &db, &b, |b| forward(&x, &a, b).1);
            check("dx", &dx, &x, |x| forward(x, &a, &b).1);
            let mut twice = da.clone();
            low_rank_gradient(&mut twice, &q, &x, input, true);
            assert!(twice.iter().zip(&da).all(|(t, d)| (t - 2.0 * d).abs() < 1e-12), "accumulates");
        }
    }
}

#[test]
fn gelu_and_relu() {
    let (x, r) = (random(100, 1).iter().map(|x| 4.0 * x).collect::<Vec<_>>(), random(100, 2));
    let (mut dx, mut slope) = (r.clone(), x.clone());
    gelu(&mut vec![f64::NAN; x.len()], &mut slope);
    gelu_backward(&mut dx, &slope);
    check("gelu", &dx, &x, |x| {
        let mut y = vec![f64::NAN; x.len()];
        gelu(&mut y, &mut x.to_vec());
        dot(&y, &r)
    });
    let forward = |x: &[f64]| {
        let mut y = x.to_vec();
        relu(&mut y);
        y
    };
    let mut dx = r.clone();
    relu_backward(&mut dx, &forward(&x));
    check("relu", &dx, &x, |x| dot(&forward(x), &r));
}

#[test]
fn layer_norm_with_and_without_residual() {
    for (t, d) in [(1, 2), (3, 16), (65, 33), (2, 130)] {
        let (x, residual, gamma, beta) = (random(t * d, 1), random(t * d, 2), random(d, 3), random(d, 4));
        let r = random(t * d, 5);
        for residual in [&residual[..], &[]] {
            let forward = |x: &[f64], residual: &[f64], gamma: &[f64], beta: &[f64]| {
                let (mut y, mut x, mut rstd) = (vec![f64::NAN; t * d], x.to_vec(), vec![f64::NAN; t]);
                layer_norm(&mut y, &mut x, &mut rstd, residual, gamma, beta);
                (y, x, rstd)
            };
            let loss = |x: &[f64], residual: &[f64], g: &[f64], b: &[f64]| dot(&forward(x, residual, g, b).0, &r);
            let (_, normalized, rstd) = forward(&x, residual, &gamma, &beta);
            let (mut ds, mut dgamma, mut dbeta) = (r.clone(), vec![f64::NAN; d], vec![f64::NAN; d]);
            layer_norm_backward(&mut ds, &mut dgamma, &mut dbeta, &normalized, &rstd, &gamma, false);
            for wanted in [[true, false], [false, true], [false, false]] {
                let [mut dgamma_alone, mut dbeta_alone] =
                    wanted.map(|wanted| vec![f64::NAN; if wanted { d } else { 0 }]);
                let mut again = r.clone();
                layer_norm_backward(&mut again, &mut dgamma_alone, &mut dbeta_alone, &normalized, &rstd, &gamma, false);
                assert_eq!(again, ds);
                assert!(
                    (dgamma_alone.is_empty() || dgamma_alone == dgamma)
                        && (dbeta_alone.is_empty() || dbeta_alone == dbeta)
                );
            }
            check("dx", &ds, &x, |x| loss(x, residual, &gamma, &beta));
            check("dgamma", &dgamma, &gamma, |gamma| loss(&x, residual, gamma, &beta));
            check("dbeta", &dbeta, &beta, |beta| loss(&x, residual, &gamma, beta));
            if !residual.is_empty() {
                check("dresidual", &ds, residual, |residual| loss(&x, residual, &gamma, &beta));
            }
        }
    }
}

#[test]
fn attention_over_ragged_sequences() {
    let lengths = [1, 2, 63, 64, 65];
    let keys: Vec<usize> = (0..=lengths.len()).map(|b| lengths[..b].iter().sum()).collect();
    let firsts: Vec<usize> = (0..=lengths.len()).collect();
    let tokens = *keys.last().unwrap();
    for (queries, count, width) in [(&keys, 2, 6), (&firsts, 1, 5), (&keys, 1, 17), (&firsts, 3, 48)] {
        let rows = *queries.last().unwrap();
        let heads = Heads { queries, keys: &keys, count, width };
        let (q, kv, r) = (random(rows * width, 1), random(tokens * 2 * width, 2), random(rows * width, 3));
        for dropout in [Dropout::NONE, Dropout::new(0.3, 1, 2, 3, Site::Attention)] {
            let loss = |q: &[f64], kv: &[f64]| {
                let mut context = vec![f64::NAN; rows * width];
                attention(&mut context, q, kv, heads, &dropout);
                dot(&context, &r)
            };
            let (mut dq, mut dkv) = (vec![f64::NAN; q.len()], vec![f64::NAN; kv.len()]);
            attention_backward(&mut dq, &mut dkv, &r, &q, &kv, heads, &dropout);
            check("dq", &dq, &q, |q| loss(q, &kv));
            check("dkv", &dkv, &kv, |kv| loss(&q, kv));
        }
    }
}

/// Without keys and values, the context is that of attention with them, and so are the gradients.
#[test]
fn attention_of_first_tokens() {
    let lengths = [1, 2, 17, 64, 65, 3];
    let tokens: Vec<usize> = (0..=lengths.len()).map(|b| lengths[..b].iter().sum()).collect();
    let firsts: Vec<usize> = (0..=lengths.len()).collect();
    let (b, t) = (lengths.len(), *tokens.last().unwrap());
    for (heads, d) in [(1, 5), (3, 48), (2, 6)] {
        let (q, x, r) = (random(b * d, 1), random(t * d, 2), random(b * d, 3));
        let (weight, bias) = (random(2 * d * d, 4), random(2 * d, 5));
        for dropout in [Dropout::NONE, Dropout::new(0.3, 1, 2, 3, Site::Attention)] {
            let mut context = vec![f64::NAN; b * d];
            let input = FirstTokens { q: &q, x: &x, weight: &weight, bias: &bias, tokens: &tokens, heads };
            let [mut folded, mut dfolded] = [Folded::default(), Folded::default()];
            first_token_attention(&mut context, &mut folded, input, &dropout);

            let loss = |q: &[f64], x: &[f64], weight: &[f64], bias: &[f64]| {
                let (mut kv, mut context) = (vec![f64::NAN; t * 2 * d], vec![f64::NAN; b * d]);
                linear(&mut Products::default(), &mut kv, x, Weight::Ready(weight), bias);
                let heads = Heads { queries: &firsts, keys: &tokens, count: heads, width: d };
                attention(&mut context, q, &kv, heads, &dropout);
                (dot(&context, &r), context)
            };
            let want = loss(&q, &x, &weight, &bias).1;
            assert!(
                context.iter().zip(&want).all(|(got, want)| (got - want).abs() < 1e-12),
                "{context:?}, not {want:?}"
            );

            let [mut dq, mut dx] = [q.clone(), x.clone()];
            let [mut dweight, mut dbias] = [vec![f64::NAN; 2 * d * d], vec![f64::NAN; 2 * d]];
            let mut backward = |x: &mut [f64], weight: &mut [f64], bias: &mut [f64], accumulate| {
                let gradient = FirstTokensGradient { q: &mut dq, x, weight, bias };
                first_token_attention_backward(gradient, &mut dfolded, &r, input, &folded, &dropout, accumulate);
                dq.clone()
            };
            let alone = backward(&mut [], &mut [], &mut [], false);
            assert_eq!(alone, backward(&mut dx, &mut dweight, &mut dbias, false));
            let (mut twice, mut bias_twice) = (dweight.clone(), dbias.clone());
            backward(&mut dx, &mut twice, &mut bias_twice, true);
            for (twice, once) in [(twice, &dweight), (bias_twice, &dbias)] {
                assert!(twice.iter().zip(once).all(|(twice, once)| (twice - 2.0 * once).abs() < 1e-12));
            }
            check("dq", &dq, &q, |q| loss(q, &x, &weight, &bias).0);
            check("dx", &dx, &x, |x| loss(&q, x, &weight, &bias).0);
            check("dweight", &dweight, &weight, |weight| loss(&q, &x, weight, &bias).0);
            check("dbias", &dbias, &bias, |bias| loss(&q, &x, &weight, bias).0);
        }
    }
}

#[test]
fn embeddings() {
    let (ids, offsets, width) = ([3, 0, 3, 1, 3], [0, 1, 5], 4);
    let (words, positions, r) = (random(5 * width, 1), random(6 * width, 2), random(5 * width, 3));
    let loss = |words: &[f64], positions: &[f64]| {
        let mut x = vec![f64::NAN; 5 * width];
        embed(&mut x, &ids, &offsets, Words::Full(words), positions, width);
        dot(&x, &r)
    };
    let (mut dwords, mut dpositions) = (vec![f64::NAN; words.len()], vec![f64::NAN; positions.len()]);
    embed_backward(&mut dwords, &mut dpositions, &r, &ids, &offsets, width, false);
    let (mut words_alone, mut positions_alone) = (vec![f64::NAN; words.len()], vec![f64::NAN; positions.len()]);
    embed_backward(&mut words_alone, &mut [], &r, &ids, &offsets, width, false);
    embed_backward(&mut [], &mut positions_alone, &r, &ids, &offsets, width, false);
    assert_eq!((&words_alone, &positions_alone), (&dwords, &dpositions));
    check("dwords", &dwords, &words, |words| loss(words, &positions));
    check("dpositions", &dpositions, &positions, |positions| loss(&words, positions));
}

#[test]
fn losses() {
    let (logits, classes) = (random(8 * 4, 1), [0, 3, 1, 1, 2, 0, 3, 3]);
    let multi: Vec<f32> = (0..32).map(|i| f32::from(u8::from(i % 3 == 0))).collect();
    let several = Targets::MultiLabel { holds: &multi, classes: 4 };
    for (targets, class_weights, label_smoothing, focal_gamma, r_drop) in [
        (Targets::Classes(&classes), vec![], 0.0, 0.0, 0.0),
        (Targets::Classes(&classes), vec![0.5, 1.0, 2.0, 0.1], 0.0, 0.0, 0.0),
        (Targets::Classes(&classes), vec![], 0.1, 0.0, 0.0),
        (Targets::Classes(&classes), vec![0.5, 1.0, 2.0, 0.1], 0.2, 0.0, 0.0),
        (Targets::Classes(&classes), vec![], 0.0, 2.0, 0.0),
        (Targets::Classes(&classes), vec![0.5, 1.0, 2.0, 0.1], 0.2, 0.5, 0.0),
        (Targets::Classes(&classes), vec![], 0.0, 0.0, 3.0),
        (Targets::Classes(&classes), vec![0.5, 1.0, 2.0, 0.1], 0.2, 1.5, 0.7),
        (several, vec![], 0.0, 0.0, 0.0),
        (several, vec![], 0.0, 2.0, 0.0),
        (several, vec![0.5, 1.0, 2.0, 0.1], 0.2, 0.0, 0.0),
        (several, vec![0.5, 1.0, 2.0, 0.1], 0.1, 0.5, 0.7),
    ] {
        let options = LossOptions { class_weights, label_smoothing, focal_gamma, r_drop };
        let mut dlogits = vec![f64::NAN; logits.len()];
        let weight = options.total_weight(targets);
        loss(&mut dlogits, &logits, targets, &options, weight);
        check("dlogits", &dlogits, &logits, |logits| {
            loss(&mut vec![0.0; logits.len()], logits, targets, &options, weight)
        });
    }
}

/// PyTorch 2.15 in float64, with x the logits, w the weights and s the smoothing:
/// `F.cross_entropy(x, tensor([2, 1]), weight=w, label_smoothing=s)` and, with `h = tensor([[1, 0, 1], [0, 0, 1]])`,
/// `F.binary_cross_entropy_with_logits(x, h * (1 - s) + s / 2, pos_weight=w)`; the gradients are those of x, to 12 digits.
#[test]
fn weighted_losses_are_those_of_pytorch() {
    let (logits, w) = ([0.5, -1.0, 2.0, 1.5, 0.25, -0.75], [0.5, 1.0, 2.0]);
    let (one, several) =
        (Targets::Classes(&[2, 1]), Targets::MultiLabel { holds: &[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], classes: 3 });
    for (targets, label_smoothing, want, gradient) in [
        (
            one,
            0.0,
            0.6877650675738461,
            [0.116860261427, 0.026075048847, -0.142935310274, 0.239480113717, -0.264721132001, 0.025241018284],
        ),
        (
            one,
            0.1,
            0.7467879349411876,
            [0.106435528312, 0.013877477367, -0.120313005679, 0.23791589339, -0.24135537309, 0.0034394797],
        ),
        (
            several,
            0.0,
            0.9342084852976028,
            [-0.0314617224, 0.044823570228, -0.039734307341, 0.136262412699, 0.093696083481, -0.226392899725],
        ),
        (
            several,
            0.1,
            0.9331462589304428,
            [-0.024701475187, 0.036490236895, -0.030407616324, 0.128689185715, 0.085362750148, -0.212399743899],
        ),
    ] {
        let options = LossOptions { class_weights: w.to_vec(), label_smoothing, ..LossOptions::default() };
        let mut dlogits = [f64::NAN; 6];
        let found = loss(&mut dlogits, &logits, targets, &options, options.total_weight(targets));
        // the rounding of a few sums in f64
        assert!((found - want).abs() < 1e-14, "{found} is not {want}");
        // half a unit of the last digit that is written here
        assert!(dlogits.iter().zip(gradient).all(|(a, b)| (a - b).abs() < 6e-13), "{dlogits:?}");
    }
}

/// Focal losses from their definition (Lin et al. 2017) in PyTorch 2.15, float64, for the weights w; `python -c`
/// ```text
/// import torch, torch.nn.functional as F
/// x = torch.tensor([[0.5, -1, 2], [1.5, 0.25, -0.75]], dtype=torch.float64, requires_grad=True)
/// w = torch.tensor([0.5, 1, 2], dtype=torch.float64)
/// y, h = torch.tensor([2, 1]), torch.tensor([[1, 0, 1], [0, 0, 1]], dtype=torch.float64)
/// def one(g):
///     p = x.softmax(1)[[0, 1], y]
///     return ((1 - p) ** g * F.cross_entropy(x, y, w, reduction="none")).sum() / w[y].sum()
/// def several(g):
///     p, bce = x.sigmoid(), F.binary_cross_entropy_with_logits(x, h, reduction="none", pos_weight=w)
///     return (((1 - p) * h + p * (1 - h)) ** g * bce).mean()
/// for loss in one(0.5), one(2), several(0.5), several(2):
///     print(loss.item(), torch.autograd.grad(loss, x)[0])
/// ```
#[test]
fn focal_losses_are_those_of_their_definition() {
    let (logits, w) = ([0.5, -1.0, 2.0, 1.5, 0.25, -0.75], [0.5, 1.0, 2.0]);
    let (one, several) =
        (Targets::Classes(&[2, 1]), Targets::MultiLabel { holds: &[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], classes: 3 });
    for (targets, focal_gamma, want, gradient) in [
        (
            one,
            0.5,
            0.5440339088473948,
            [0.0780326680579, 0.0174114417206, -0.0954441097784, 0.257131598954, -0.284233070094, 0.0271014711401],
        ),
        (
            one,
            2.0,
            0.3397028670659412,
            [0.0148715020796, 0.00331828064067, -0.0181897827203, 0.274797192615, -0.303760603629, 0.0289634110134],
        ),
        (
            several,
            0.5,
            0.7378805028706825,
            [-0.026886377738, 0.0331423869666, -0.0201517556032, 0.146595413976, 0.0928463331128, -0.236672990319],
        ),
        (
            several,
            2.0,
            0.41786604601919947,
            [-0.0114947497792, 0.00876352166293, -0.0016236467318, 0.160237447912, 0.0677072355003, -0.216594775081],
        ),
    ] {
        let options = LossOptions { class_weights: w.to_vec(), focal_gamma, ..LossOptions::default() };
        let mut dlogits = [f64::NAN; 6];
        let found = loss(&mut dlogits, &logits, targets, &options, options.total_weight(targets));
        // the rounding of a few sums in f64
        assert!((found - want).abs() < 1e-14, "{found} is not {want}");
        // half a unit of the last digit that is written here
        assert!(dlogits.iter().zip(gradient).all(|(a, b)| (a - b).abs() < 6e-13), "{dlogits:?}");
    }
}

/// With smoothing, every class's part of the target is focused by that class's own probability.
#[test]
fn focal_losses_with_smoothing() {
    let (logits, focal_gamma, smoothing) = (random(4, 1), 1.5, 0.2);
    let options = LossOptions { focal_gamma, label_smoothing: smoothing, ..LossOptions::default() };
    let of = |targets| loss(&mut [0.0; 4], &logits, targets, &options, 1.0);
    let focused = |p: f64| -(1.0 - p).powf(focal_gamma) * p.ln();
    let target = |class: usize| if class == 2 { 0.85 } else { 0.05 };
    let want: f64 = softmax(&logits).iter().enumerate().map(|(class, &p)| target(class) * focused(p)).sum();
    assert!((of(Targets::Classes(&[2])) - want).abs() < 1e-14);
    let holds = [1.0, 0.0, 0.0, 1.0];
    let label = |(&x, held): (&f64, f64)| {
        let (p, t) = (sigmoid(x), 0.8 * held + 0.1);
        t * focused(p) + (1.0 - t) * focused(1.0 - p)
    };
    let want: f64 = logits.iter().zip(holds).map(label).sum();
    let several = Targets::MultiLabel { holds: &holds.map(|held| held as f32), classes: 4 };
    assert!((of(several) - want).abs() < 1e-14);
}

/// Where a probability is 0 or 1 to the last bit, focal losses and their gradients are still numbers, and their limits.
#[test]
fn focal_losses_of_certainty() {
    for focal_gamma in [0.5, 1.0, 2.0] {
        let options = LossOptions { focal_gamma, ..LossOptions::default() };
        let of = |targets, logits: [f64; 2]| {
            let mut dlogits = [f64::NAN; 2];
            (loss(&mut dlogits, &logits, targets, &options, 1.0), dlogits)
        };
        assert_eq!(of(Targets::Classes(&[0]), [900.0, -900.0]), (0.0, [0.0, 0.0]));
        assert_eq!(of(Targets::Classes(&[1]), [900.0, -900.0]), (1800.0, [1.0, -1.0]));
        let several = Targets::MultiLabel { holds: &[1.0, 1.0], classes: 2 };
        assert_eq!(of(several, [900.0, -900.0]), (900.0, [0.0, -1.0]));
    }
}

/// The loss of several labels a row from its definition.
#[test]
fn binary_cross_entropy_is_the_mean_over_rows_and_labels() {
    let (logits, weights, smoothing, r_drop) = (random(4 * 3, 1), [0.5, 1.0, 3.0], 0.2, 5.0);
    let holds = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0];
    let of = |logits: &[f64], r_drop| {
        let class_weights = weights.to_vec();
        let options = LossOptions { class_weights, label_smoothing: smoothing, r_drop, ..LossOptions::default() };
        loss(&mut [0.0; 12], logits, Targets::MultiLabel { holds: &holds, classes: 3 }, &options, 12.0)
    };
    let p: Vec<f64> = logits.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
    let of_label = |i: usize| {
        let t = f64::from(holds[i]) * (1.0 - smoothing) + smoothing / 2.0;
        -weights[i % 3] * t * p[i].ln() - (1.0 - t) * (1.0 - p[i]).ln()
    };
    let want = (0..12).map(of_label).sum::<f64>() / 12.0;
    assert!((of(&logits, 0.0) - want).abs() < 1e-12);

    let divergence = |p: f64, q: f64| p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
    let pairs = [(0, 3), (1, 4), (2, 5), (6, 9), (7, 10), (8, 11)];
    let pairs = pairs.iter().map(|&(a, b)| (divergence(p[a], p[b]) + divergence(p[b], p[a])) / 2.0);
    assert!((of(&logits, r_drop) - want - r_drop * pairs.sum::<f64>() / 6.0).abs() < 1e-12);
    // nothing overflows
    assert!(
        (loss(
            &mut [0.0; 2],
            &[-900.0, 900.0],
            Targets::MultiLabel { holds: &[1.0, 0.0], classes: 2 },
            &LossOptions::default(),
            2.0
        ) - 900.0)
            .abs()
            < 1e-9
    );
}

/// The divergences from their definition, and none between equal rows.
#[test]
fn r_drop_is_the_mean_divergence_of_pairs() {
    let logits = random(4 * 3, 1);
    let of = |logits: &[f64], r_drop| {
        let options = LossOptions { r_drop, ..LossOptions::default() };
        loss(&mut [0.0; 12], logits, Targets::Classes(&[0, 0, 2, 2]), &options, 4.0)
    };
    let divergence = |p: &[f64], q: &[f64]| p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum::<f64>();
    let pairs = logits.chunks_exact(6).map(|pair| {
        let (p, q) = (softmax(&pair[..3]), softmax(&pair[3..]));
        (divergence(&p, &q) + divergence(&q, &p)) / 2.0
    });
    let want = 5.0 * pairs.sum::<f64>() / 2.0;
    assert!((of(&logits, 5.0) - of(&logits, 0.0) - want).abs() < 1e-12);
    let equal: Vec<f64> = logits.chunks_exact(6).flat_map(|pair| [&pair[..3], &pair[..3]].concat()).collect();
    assert_eq!(of(&equal, 5.0), of(&equal, 0.0));
}

#[test]
fn rows_and_dropout() {
    let (x, width, rows) = (random(6 * 5, 1), 5, [4, 0]);
    let r = random(rows.len() * width, 2);
    let mut dx = vec![0.0; x.len()];
    scatter_add_rows(&mut dx, &r, &rows, width);
    check("rows", &dx, &x, |x| {
        let mut out = vec![f64::NAN; r.len()];
        gather_rows(&mut out, x, &rows, width);
        dot(&out, &r)
    });
    let (dropout, r) = (Dropout::new(0.4, 1, 2, 3, Site::FeedForward), random(30, 3));
    let mut dx = r.clone();
    dropout.apply(&mut dx, width);
    check("dropout", &dx, &x, |x| {
        let mut y = x.to_vec();
        dropout.apply(&mut y, width);
        dot(&y, &r)
    });
}
