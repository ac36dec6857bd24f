//! Measures attention, forward and backward, on sequences of SST-2's lengths and of 512 tokens.
//!
//! `cargo run --release -p distune-kernels --example attention_bench -- [threads]`
//!
//! One line a shape: microseconds for a head of a sequence, without dropout, with it, and backward with it; then the same with queries of
//! first tokens alone, where the products with the weights of keys and values are part of it. The best of several repetitions counts. `DISTUNE_ISA` chooses a lower level of instructions.

use std::time::Instant;

use distune_kernels::{
    Dropout, FirstTokens, FirstTokensGradient, Folded, Heads, LargePages, Site, attention, attention_backward,
    first_token_attention, first_token_attention_backward,
};

/// The program's.
#[global_allocator]
static ALLOCATOR: LargePages = LargePages;

const REPETITIONS: usize = 60;
const HEADS: usize = 12;

fn main() {
    let threads: usize = std::env::args().nth(1).and_then(|x| x.parse().ok()).unwrap_or(1);
    let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(threads).build() else {
        return eprintln!("no thread pool");
    };
    print!("{:>6} {:>7} {:>10}", "width", "tokens", "sequences");
    println!("{0} {0}", format_args!(" {:>10} {:>12} {:>10}", "forward", "with dropout", "backward"));
    // the phrases of SST-2's training rows have 13 tokens in the mean, the sentences of its dev rows 25
    for (width, tokens, sequences) in [(384, 13, 32), (384, 25, 40), (768, 13, 32), (768, 25, 40), (768, 512, 4)] {
        let times = pool.install(|| measure(width, tokens, sequences));
        print!("{width:6} {tokens:7} {sequences:10}");
        for times in times {
            let [forward, dropped, backward] = times.map(|seconds| seconds / (sequences * HEADS) as f64 * 1e6);
            print!(" {forward:10.2} {dropped:12.2} {backward:10.2} ");
        }
        println!();
    }
}

/// Seconds for sequences of half to one and a half times so many tokens: all queries, and first ones.
fn measure(width: usize, tokens: usize, sequences: usize) -> [[f64; 3]; 2] {
    let lengths = (0..sequences).map(|i| tokens / 2 + i * 7919 % tokens);
    let mut offsets = vec![0];
    for length in lengths {
        offsets.push(offsets[offsets.len() - 1] + length);
    }
    let all = offsets[sequences] * width;
    let numbers = |len: usize, salt: usize| -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + salt) % 2003) as f32 / 1001.0 - 1.0).collect()
    };
    let (q, kv, dcontext) = (numbers(all, 0), numbers(2 * all, 1), numbers(all, 2));
    let (mut context, mut dq, mut dkv) = (vec![0.0; all], vec![0.0; all], vec![0.0; 2 * all]);
    let heads = Heads { queries: &offsets, keys: &offsets, count: HEADS, width };
    let dropout = Dropout::new(0.1, 1, 1, 1, Site::Attention);
    let (weight, bias) = (numbers(2 * width * width, 3), numbers(2 * width, 4));
    let (mut dweight, mut dbias) = (vec![0.0; weight.len()], vec![0.0; bias.len()]);
    let first = ..sequences * width;
    let x = &kv[..all];
    let input = FirstTokens { q: &q[first], x, weight: &weight, bias: &bias, tokens: &offsets, heads: HEADS };
    let [mut folded, mut dfolded] = [Folded::default(), Folded::default()];
    let mut best = [[f64::MAX; 3]; 2];
    for _ in 0..REPETITIONS {
        for (i, best) in best.as_flattened_mut().iter_mut().enumerate() {
            let start = Instant::now();
            match i {
                0 => attention(&mut context, &q, &kv, heads, &Dropout::NONE),
                1 => attention(&mut context, &q, &kv, heads, &dropout),
                2 => attention_backward(&mut dq, &mut dkv, &dcontext, &q, &kv, heads, &dropout),
                3 => first_token_attention(&mut context[first], &mut folded, input, &Dropout::NONE),
                4 => first_token_attention(&mut context[first], &mut folded, input, &dropout),
                _ => {
                    let (q, x) = (&mut dq[first], &mut dkv[..all]);
                    let gradient = FirstTokensGradient { q, x, weight: &mut dweight, bias: &mut dbias };
                    let dcontext = &dcontext[first];
                    first_token_attention_backward(gradient, &mut dfolded, dcontext, input, &folded, &dropout, false);
                }
            }
            *best = best.min(start.elapsed().as_secs_f64());
        }
    }
    best
}
