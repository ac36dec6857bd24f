//! Steps of the optimizers against the papers' formulas and PyTorch, the moving average of the weights, and steps that a product makes.
#![allow(clippy::unwrap_used)]

use distune_kernels::*;

fn adam(decay: Decay) -> Optimizer {
    Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay }
}

fn numbers(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
}

/// A step of the weights without moments and average.
fn update<'a, T>(w: &'a mut [T], g: &'a [T], step: u64) -> Update<'a, T> {
    Update { w, m: &mut [], v: &mut [], average: &mut [], g, weight_decay: 0.0, rate: 1.0, step }
}

/// Two steps by hand, from the formulas of the papers.
#[test]
fn adam_steps() {
    for (decay, want) in [(Decay::Decoupled, [0.9489, 0.897_856_21]), (Decay::Penalty, [0.95, 0.9])] {
        let (mut w, mut m, mut v) = (vec![1.0_f64], vec![0.0], vec![0.0]);
        for (number, want) in (1..).zip(want) {
            let step =
                OptimizerStep { optimizer: adam(decay), learning_rate: 0.1, gradient_scale: 0.5, average_decay: 0.0 };
            let (m, v) = (&mut m, &mut v);
            optimizer_step(
                vec![Update { m, v, weight_decay: 0.022, rate: 0.5, ..update(&mut w, &[4.0], number) }],
                &step,
            );
            // A constant gradient moves Adam by the learning rate at each step; the decay adds 0.05 * 0.022 * w. The
            // penalty makes the gradient not quite constant, which is worth 7e-7.
            assert!((w[0] - want).abs() < 1e-6, "{decay:?}, step {number}: {}", w[0]);
        }
    }
}

/// PyTorch 2.15; `python -c`
/// ```text
/// import torch
/// for momentum, decay in (0, 0), (0, 0.1), (0.9, 0), (0.9, 0.1):
///     w = torch.tensor([1, -2], dtype=torch.float64, requires_grad=True)
///     optimizer = torch.optim.SGD([w], lr=0.1, momentum=momentum, weight_decay=decay)
///     for g in [0.5, 1], [-1, 0.25], [2, -0.5]:
///         w.grad = torch.tensor(g, dtype=torch.float64); optimizer.step()
///     print(w.tolist())
/// ```
#[test]
fn sgd_steps_are_those_of_pytorch() {
    for (momentum, weight_decay, want) in [
        (0.0, 0.0, [0.85, -2.075]),
        (0.0, 0.1, [0.820294, -2.013358]),
        (0.9, 0.0, [0.8545, -2.2685]),
        (0.9, 0.1, [0.799774, -2.153218]),
    ] {
        let optimizer = Optimizer::Sgd { momentum };
        assert_eq!(optimizer.moments(), [momentum > 0.0, false]);
        let step = OptimizerStep { optimizer, learning_rate: 0.2, gradient_scale: 0.5, average_decay: 0.0 };
        let (mut w, mut sum) = (vec![1.0_f64, -2.0], vec![0.0; if momentum > 0.0 { 2 } else { 0 }]);
        for (number, g) in (1..).zip([[1.0, 2.0], [-2.0, 0.5], [4.0, -1.0]]) {
            let update = update(&mut w, &g, number);
            optimizer_step(vec![Update { m: &mut sum, weight_decay, rate: 0.5, ..update }], &step);
        }
        // the rounding of a few sums
        assert!(w.iter().zip(want).all(|(w, want)| (w - want).abs() < 1e-12), "{momentum}, {weight_decay}: {w:?}");
    }
}

/// The average of the weights after each step, with the decay of that step.
#[test]
fn averages() {
    for (average_decay, decays) in [(0.999, [2.0 / 11.0, 3.0 / 12.0, 4.0 / 13.0]), (0.2, [2.0 / 11.0, 0.2, 0.2])] {
        let optimizer = Optimizer::Sgd { momentum: 0.0 };
        let step = OptimizerStep { optimizer, learning_rate: 0.1, gradient_scale: 1.0, average_decay };
        let (mut w, mut average, mut want) = (vec![1.0_f64], vec![1.0], 1.0);
        for (number, decay) in (1..).zip(decays) {
            optimizer_step(vec![Update { average: &mut average, ..update(&mut w, &[1.0], number) }], &step);
            want = decay * want + (1.0 - decay) * (1.0 - 0.1 * number as f64);
            assert!((average[0] - want).abs() < 1e-12, "{average_decay}, step {number}: {} not {want}", average[0]);
        }
    }
    // weights that do not move: the average is theirs to the bit
    let step = OptimizerStep {
        optimizer: Optimizer::Sgd { momentum: 0.0 },
        learning_rate: 0.1,
        gradient_scale: 1.0,
        average_decay: 0.99,
    };
    let (mut w, still) = (numbers(1000, 1), numbers(1000, 1));
    let mut average = w.clone();
    for number in 1..200 {
        optimizer_step(vec![Update { average: &mut average, ..update(&mut w, &[0.0; 1000], number) }], &step);
    }
    assert!(average == still);
}

/// A product whose weights wait for a step of the optimizer gives the bits of the step and then the product: with few rows (the
/// step is made panel by panel), many (beforehand), and a last panel that is not whole.
#[test]
fn a_product_makes_the_step_that_its_weights_wait_for() {
    let kept = |optimizer: Optimizer, average| [optimizer.moments()[0], optimizer.moments()[1], average];
    let sgd = |momentum| Optimizer::Sgd { momentum };
    for (optimizer, average) in
        [(adam(Decay::Decoupled), false), (adam(Decay::Penalty), true), (sgd(0.9), true), (sgd(0.0), false)]
    {
        let step = OptimizerStep { optimizer, learning_rate: 0.01, gradient_scale: 0.7, average_decay: 0.9 };
        for [m, n, k] in [[1, 5, 7], [40, 384, 130], [70, 100, 64], [1100, 96, 48]] {
            for precision in [Precision::F32, Precision::Bf16] {
                let (x, b, g) = (numbers(m * k, 1), numbers(n, 2), numbers(n * k, 3));
                let run = |waiting| {
                    let mut w = numbers(n * k, 4);
                    let mut arrays = [5, 6, 7].map(|seed| numbers(n * k, seed));
                    arrays[1].iter_mut().for_each(|variance| *variance = variance.abs());
                    arrays
                        .iter_mut()
                        .zip(kept(optimizer, average))
                        .filter(|(_, kept)| !kept)
                        .for_each(|(a, _)| a.clear());
                    let [moment, variance, mean] = &mut arrays;
                    let (mut p, mut y) = (Products::new(precision), vec![0.0; m * n]);
                    let update = Update {
                        m: moment,
                        v: variance,
                        average: mean,
                        weight_decay: 0.1,
                        rate: 0.8,
                        ..update(&mut w, &g, 3)
                    };
                    if waiting {
                        linear(&mut p, &mut y, &x, Weight::Waiting(update, &step), &b);
                    } else {
                        optimizer_step(vec![update], &step);
                        linear(&mut p, &mut y, &x, Weight::Ready(&w), &b);
                    }
                    let bits = |x: &Vec<f32>| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
                    ([&y, &w].map(bits), arrays.each_ref().map(bits))
                };
                assert!(run(true) == run(false), "{optimizer:?}, {precision:?} [{m}, {n}, {k}]");
            }
        }
    }
}
