//! Packed batches. Made by `train`, `eval` and prediction, eaten by engines.

/// A packed batch: B sequences of T tokens in all, no padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `[T]` token ids, one sequence after the other.
    pub ids: Vec<u32>,
    /// `[B+1]` where each sequence begins; `offsets[0]` is 0 and `offsets[B]` is T.
    pub offsets: Vec<usize>,
}

impl Batch {
    /// Packs sequences in the order given.
    pub fn new<'a>(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut batch = Self { ids: Vec::new(), offsets: vec![0] };
        for sequence in sequences {
            batch.ids.extend_from_slice(sequence);
            batch.offsets.push(batch.ids.len());
        }
        batch
    }

    /// B, the number of sequences.
    pub fn sequences(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// T, the number of tokens of all sequences.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// The ids of sequence `b`.
    ///
    /// # Panics
    /// If `b` is not below [`Batch::sequences`].
    pub fn sequence(&self, b: usize) -> &[u32] {
        &self.ids[self.offsets[b]..self.offsets[b + 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_without_padding() {
        let sequences: [&[u32]; 3] = [&[1, 2], &[], &[3, 4, 5]];
        let batch = Batch::new(sequences);
        assert_eq!(batch.ids, [1, 2, 3, 4, 5]);
        assert_eq!(batch.offsets, [0, 2, 2, 5]);
        assert_eq!((batch.sequences(), batch.tokens()), (3, 5));
        for (b, sequence) in sequences.iter().enumerate() {
            assert_eq!(batch.sequence(b), *sequence);
        }
        let none = Batch::new([]);
        assert_eq!((none.sequences(), none.tokens(), none.offsets), (0, 0, vec![0]));
    }
}
