//! Whether two shares differ by more than chance, and what many such tests allow. Called by `compare` and by the error analysis.

/// The p-value of Fisher's exact test (The Design of Experiments, 1935), two-sided, of `a` successes in `n` rows against `b` in `m` others:
/// how often a table with these totals comes up that is no more probable than this one. As `scipy.stats.fisher_exact`.
pub fn fisher_exact([a, n]: [usize; 2], [b, m]: [usize; 2]) -> f64 {
    let (a, n, b, m) = (a.min(n), n, b.min(m), m);
    let successes = a + b;
    let (least, most) = (successes.saturating_sub(m), successes.min(n));
    // the probability of x successes in the n rows goes from x - 1 to x with this ratio
    let ratio = |x: usize| {
        let (up, down) = ((successes - x + 1) as f64 * (n - x + 1) as f64, x as f64 * (m + x - successes) as f64);
        (up / down).ln()
    };
    // logarithms of the probabilities, less that of this table
    let mut logs = vec![0.0];
    let mut log = 0.0;
    (least + 1..=a).rev().for_each(|x| {
        log -= ratio(x);
        logs.push(log);
    });
    log = 0.0;
    (a + 1..=most).for_each(|x| {
        log += ratio(x);
        logs.push(log);
    });
    let largest = logs.iter().copied().fold(0.0, f64::max);
    let sum = |logs: &mut dyn Iterator<Item = &f64>| logs.map(|log| (log - largest).exp()).sum::<f64>();
    // equal probabilities differ in the rounding of sums
    let extreme = sum(&mut logs.iter().filter(|log| **log <= 1e-7));
    (extreme / sum(&mut logs.iter())).min(1.0)
}

/// p-values that allow for their number (S. Holm, Scandinavian Journal of Statistics 6, 1979): the smallest of n times n, the next one
/// times n - 1 and so on, none below the one before.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let (mut adjusted, mut before) = (vec![0.0; p_values.len()], 0.0);
    for (left, place) in (1..=p_values.len()).rev().zip(order) {
        before = (p_values[place] * left as f64).min(1.0).max(before);
        adjusted[place] = before;
    }
    adjusted
}
