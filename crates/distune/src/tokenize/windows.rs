//! Windows over texts that are longer than what the model reads at once, and what is made of their logits. Called by the tokenizer,
//! prediction and attributions.

use serde::{Deserialize, Serialize};

/// What becomes of a text that is longer than the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Long {
    /// Its end is cut off.
    #[default]
    Truncate,
    /// It is read in overlapping windows.
    Windows,
}

impl Long {
    /// All of them, with their names.
    pub const NAMES: [(&'static str, Self); 2] = [("truncate", Self::Truncate), ("windows", Self::Windows)];
}

/// How the logits of the windows of a text become those of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// Their mean.
    #[default]
    Mean,
    /// The largest one of each class.
    Max,
}

impl Combine {
    /// All of them, with their names.
    pub const NAMES: [(&'static str, Self); 2] = [("mean", Self::Mean), ("max", Self::Max)];

    /// The logits `[C]` of a text from those of its windows, `[W, C]`. Those of a single window stay as they are.
    ///
    /// # Panics
    /// If there are no classes.
    pub fn logits(self, windows: &[f32], classes: usize) -> Vec<f32> {
        let rows = windows.chunks_exact(classes);
        let count = rows.len() as f64;
        let of_class = |class: usize| {
            let mut all = rows.clone().map(|row| row[class]);
            match self {
                _ if rows.len() == 1 => windows[class],
                // a sum that is not a number stays one
                Self::Mean => (all.map(f64::from).sum::<f64>() / count) as f32,
                Self::Max if all.clone().any(f32::is_nan) => f32::NAN,
                Self::Max => all.by_ref().fold(f32::NEG_INFINITY, f32::max),
            }
        };
        (0..classes).map(of_class).collect()
    }
}

/// How windows are laid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Tokens that a window has in common with the one before.
    pub overlap: usize,
    /// What is made of their logits.
    pub combine: Combine,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_are_combined() {
        let windows = [1.0, -2.0, 4.0, -3.0, 1.0, -4.0];
        assert_eq!(Combine::Mean.logits(&windows, 2), [2.0, -3.0]);
        assert_eq!(Combine::Max.logits(&windows, 2), [4.0, -2.0]);
        assert_eq!(Combine::Mean.logits(&[0.1, 0.7], 2), [0.1, 0.7]);
        assert!(Combine::Max.logits(&[f32::NAN, 1.0], 1)[0].is_nan());
        assert!(Combine::Mean.logits(&[f32::NAN, 1.0], 1)[0].is_nan());
    }
}
