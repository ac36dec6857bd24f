//! Packed batches. Made by `train`, `eval` and prediction, eaten by engines.

/// A packed batch: B sequences of T tokens in all, no padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// `[T]` token ids, one sequence after the other.
    pub ids: Vec<u32>,
    /// `[B+1]` where each sequence begins; `offsets[0]` is 0 and `offsets[B]` is T.
    pub offsets: Vec<usize>,
    /// Sequences before this batch in the whole that it is a part of; see [`Batch::parts`].
    pub sequences_before: usize,
    /// Tokens before this batch, likewise.
    pub tokens_before: usize,
}

impl Batch {
    /// Packs sequences in the order given.
    pub fn new<'a>(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut batch = Self { ids: Vec::new(), offsets: vec![0], sequences_before: 0, tokens_before: 0 };
        for sequence in sequences {
            batch.ids.extend_from_slice(sequence);
            batch.offsets.push(batch.ids.len());
        }
        batch
    }

    /// Packs sequences, in order, into batches that are computed one after another: each has at most `max_sequences`, and
    /// at most `max_tokens` unless a single sequence has more.
    pub fn parts(sequences: &[&[u32]], max_sequences: usize, max_tokens: usize) -> Vec<Self> {
        let (mut parts, mut sequences_before, mut tokens_before) = (Vec::new(), 0, 0);
        while sequences_before < sequences.len() {
            let rest = &sequences[sequences_before..];
            let mut tokens = 0;
            let fits = rest.iter().take(max_sequences).take_while(|sequence| {
                tokens += sequence.len();
                tokens <= max_tokens
            });
            let part = Self::new(rest[..fits.count().max(1)].iter().copied());
            let (sequences, tokens) = (part.sequences(), part.tokens());
            parts.push(Self { sequences_before, tokens_before, ..part });
            sequences_before += sequences;
            tokens_before += tokens;
        }
        parts
    }

    /// Each sequence twice, one after the other.
    #[must_use]
    pub fn doubled(&self) -> Self {
        let twice = (0..self.sequences()).flat_map(|b| [self.sequence(b); 2]);
        let (sequences_before, tokens_before) = (2 * self.sequences_before, 2 * self.tokens_before);
        Self { sequences_before, tokens_before, ..Self::new(twice) }
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
    fn parts_are_the_whole() {
        let sequences: Vec<Vec<u32>> = [3, 1, 9, 2, 2, 4].iter().map(|&n| vec![n; n as usize]).collect();
        let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
        for (max_sequences, max_tokens, want) in
            [(6, 100, vec![6]), (4, 100, vec![4, 2]), (9, 5, vec![2, 1, 2, 1]), (2, 4, vec![2, 1, 2, 1])]
        {
            let parts = Batch::parts(&sequences, max_sequences, max_tokens);
            assert_eq!(parts.iter().map(Batch::sequences).collect::<Vec<_>>(), want);
            let whole = Batch::new(sequences.iter().copied());
            assert_eq!(parts.iter().flat_map(|p| p.ids.clone()).collect::<Vec<_>>(), whole.ids);
            for part in &parts {
                assert_eq!(whole.offsets[part.sequences_before], part.tokens_before);
            }
        }
        assert!(Batch::parts(&[], 4, 4).is_empty());
    }

    #[test]
    fn doubled_parts_are_the_doubled_whole() {
        let sequences: [&[u32]; 3] = [&[1, 2], &[3], &[4, 5, 6]];
        let whole = Batch::new(sequences).doubled();
        assert_eq!(whole.ids, [1, 2, 1, 2, 3, 3, 4, 5, 6, 4, 5, 6]);
        assert_eq!(whole.offsets, [0, 2, 4, 5, 6, 9, 12]);
        for part in Batch::parts(&sequences, 2, 100).iter().map(Batch::doubled) {
            assert_eq!(whole.offsets[part.sequences_before], part.tokens_before);
            assert_eq!(whole.ids[part.tokens_before..][..part.tokens()], part.ids);
        }
    }

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
