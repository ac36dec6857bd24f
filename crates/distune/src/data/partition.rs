//! Divides the rows of a table into train, validation and test at random. Called by `splits` and the command line.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::Table;
use super::normalise::normalise;

/// The parts of all rows that go to validation and to test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// At least 0; together below 1.
    pub validation: f64,
    /// At least 0.
    pub test: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Self { validation: 0.1, test: 0.1 }
    }
}

/// Where a row goes.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Train,
    Validation,
    Test,
}

/// Train, validation and test rows of a table, each in the table's order; one that would have no rows is nothing.
///
/// The division is random by `seed` and stratified: of each class (where a row has several labels, its rarest one) its share of the rows, rounded so that the sums come out, goes to validation and to test. Rows with the same text (letters and
/// digits alone, in lower case) stay together, and so do rows of the same group, which count to the class of the first of
/// them; with groups, a class gets what the classes before it could not take, and where each group is larger than a part should
/// be, the smallest one is it, as long as train keeps as many rows. Every class keeps rows to train on.
pub fn partition(table: &Table, shares: Shares, seed: u64) -> [Option<Table>; 3] {
    let parts = assign(table, shares, seed);
    [Part::Train, Part::Validation, Part::Test].map(|wanted| {
        let rows: Vec<usize> = (0..table.len()).filter(|&row| parts[row] == wanted).collect();
        let mut part = table.without_rows();
        part.extend_from(table, &rows);
        (!part.is_empty()).then_some(part)
    })
}

/// Decides for each row where it goes.
fn assign(table: &Table, shares: Shares, seed: u64) -> Vec<Part> {
    let together = together(table);
    let mut rows_of: HashMap<&str, usize> = HashMap::new();
    table.label_names().for_each(|name| *rows_of.entry(name).or_default() += 1);
    let stratum = |row: usize| table.names_of(row).min_by_key(|name| (rows_of.get(name), *name)).unwrap_or("");
    let mut classes: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, rows) in together.iter().enumerate() {
        classes.entry(stratum(rows[0])).or_default().push(i);
    }
    let mut parts = vec![Part::Train; table.len()];
    let mut trained = Trained(rows_of.clone());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut seen = 0;
    let rounded = |share: f64, rows: usize| (share * rows as f64 + 0.5) as usize;
    let mut left = [(Part::Validation, shares.validation, 0), (Part::Test, shares.test, 0)];
    for class in classes.values_mut() {
        class.shuffle(&mut random);
        let rows: usize = class.iter().map(|&i| together[i].len()).sum();
        for (_, share, left) in &mut left {
            let before = if table.groups.is_empty() { 0 } else { *left };
            *left = before + rounded(*share, seen + rows) - rounded(*share, seen);
        }
        seen += rows;
        // all but one: a class must have something to train on
        for &i in class.iter().skip(1) {
            let rows = &together[i];
            if let Some((part, _, left)) = left.iter_mut().find(|(_, _, left)| rows.len() <= *left)
                && trained.spares(table, rows)
            {
                *left -= rows.len();
                rows.iter().for_each(|&row| parts[row] = *part);
            }
        }
    }
    if !table.groups.is_empty() {
        let wanted = left.into_iter().filter(|(_, share, _)| *share > 0.0).map(|(part, ..)| part);
        wanted.for_each(|part| give_a_group(table, part, &together, &mut parts, &mut trained));
    }
    parts
}

/// Where a part has no rows because all groups are larger than it should be: the smallest group that train can spare.
fn give_a_group(table: &Table, part: Part, together: &[Vec<usize>], parts: &mut [Part], trained: &mut Trained) {
    if parts.contains(&part) {
        return;
    }
    let in_train = parts.iter().filter(|&&part| part == Part::Train).count();
    let mut by_size: Vec<&Vec<usize>> = together.iter().filter(|rows| parts[rows[0]] == Part::Train).collect();
    by_size.sort_by_key(|rows| rows.len());
    let spared = by_size.into_iter().find(|rows| 2 * rows.len() <= in_train && trained.spares(table, rows));
    spared.into_iter().flatten().for_each(|&row| parts[row] = part);
}

/// How many rows of each class are still to train on.
struct Trained<'a>(HashMap<&'a str, usize>);

impl Trained<'_> {
    /// Whether rows can go elsewhere because each of their classes keeps others; if so, they are gone.
    fn spares(&mut self, table: &Table, rows: &[usize]) -> bool {
        let names = || rows.iter().flat_map(|&row| table.names_of(row));
        names().for_each(|name| self.add(name, -1));
        let spared = names().all(|name| self.0.get(name).is_none_or(|&rows| rows > 0));
        if !spared {
            names().for_each(|name| self.add(name, 1));
        }
        spared
    }

    fn add(&mut self, name: &str, change: isize) {
        if let Some(rows) = self.0.get_mut(name) {
            *rows = rows.saturating_add_signed(change);
        }
    }
}

/// The rows of each set that must not be divided, in the order of the first rows.
fn together(table: &Table) -> Vec<Vec<usize>> {
    let mut sets = Sets((0..table.len()).collect());
    let mut first: HashMap<(&str, u64), usize> = HashMap::new();
    for row in 0..table.len() {
        let text = key(&table.texts[row], table.pairs.get(row).map_or("", String::as_str));
        let group = table.groups.get(row).map(|group| ("group", hash(group)));
        for key in [Some(("text", text)), group].into_iter().flatten() {
            let other = *first.entry(key).or_insert(row);
            sets.join(other, row);
        }
    }
    let (mut together, mut index): (Vec<Vec<usize>>, HashMap<usize, usize>) = (Vec::new(), HashMap::new());
    for row in 0..table.len() {
        let i = *index.entry(sets.of(row)).or_insert_with(|| {
            together.push(Vec::new());
            together.len() - 1
        });
        together[i].push(row);
    }
    together
}

/// What rows with the same text have in common. Two others have it with a chance of 2^-64, and then stay together for nothing.
fn key(text: &str, second: &str) -> u64 {
    hash(&[text, second].map(|text| {
        let mut plain = String::new();
        normalise(text, &mut plain);
        plain
    }))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Disjoint sets of rows: each row points at one of its set, at last at itself (Galler and Fischer 1964).
struct Sets(Vec<usize>);

impl Sets {
    /// The row that stands for the set of a row, the lowest one.
    fn of(&mut self, mut row: usize) -> usize {
        while self.0[row] != row {
            self.0[row] = self.0[self.0[row]];
            row = self.0[row];
        }
        row
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.of(a), self.of(b));
        self.0[a.max(b)] = a.min(b);
    }
}
