//! Fewer rows of a table in the same proportions. Called by `distune data sample` and by programs.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::Table;

/// Indices of `count` rows in their order (of all, if there are no more), at random by `seed`. Each label gets its share, rounded
/// so that the sum comes out: down, and one more where the largest fractions were cut off. Without labels all rows are alike.
fn sample(table: &Table, count: usize, seed: u64) -> Vec<usize> {
    let total = table.len();
    let mut classes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for row in 0..total {
        classes.entry(table.labels.get(row).map_or("", String::as_str)).or_default().push(row);
    }
    let count = count.min(total);
    let share = |rows: &Vec<usize>| (rows.len() * count / total.max(1), rows.len() * count % total.max(1));
    let mut shares: Vec<(usize, usize)> = classes.values().map(share).collect();
    let mut by_fraction: Vec<usize> = (0..shares.len()).collect();
    by_fraction.sort_by_key(|&class| std::cmp::Reverse(shares[class].1));
    let rest = count - shares.iter().map(|(whole, _)| whole).sum::<usize>();
    by_fraction.iter().take(rest).for_each(|&class| shares[class].0 += 1);

    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut taken = Vec::with_capacity(count);
    for (rows, (share, _)) in classes.values_mut().zip(shares) {
        rows.shuffle(&mut random);
        taken.extend_from_slice(&rows[..share]);
    }
    taken.sort_unstable();
    taken
}

impl Table {
    /// So many of its rows (all, if there are no more), at random by `seed`, in their order. Each label keeps its share.
    ///
    /// ```
    /// use distune::prelude::*;
    ///
    /// let reviews = distune::sources::table("reviews", Some("train"), &Columns::default(), Labels::Required, &mut ())?;
    /// assert_eq!(reviews.sample(100, 42).len(), 100);
    /// # Ok::<(), distune::Error>(())
    /// ```
    #[must_use]
    pub fn sample(&self, rows: usize, seed: u64) -> Self {
        let mut sampled = self.without_rows();
        sampled.extend_from(self, &sample(self, rows, seed));
        sampled
    }
}
