//! Sparse rows of numbers.

/// A sparse matrix, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Matrix {
    /// `[N + 1]` where each row begins and ends in the other two.
    starts: Vec<usize>,
    /// `[E]` the column of each entry, ascending in a row.
    columns: Vec<u32>,
    /// `[E]` its value.
    values: Vec<f32>,
    /// Columns.
    pub(super) width: usize,
}

impl Matrix {
    /// From rows of columns with their values.
    pub(super) fn new(rows: &[Vec<(u32, f32)>], width: usize) -> Self {
        let entries = rows.iter().map(Vec::len).sum();
        let mut matrix = Self { width, ..Self::default() };
        matrix.columns.reserve(entries);
        matrix.values.reserve(entries);
        matrix.starts.push(0);
        for row in rows {
            matrix.columns.extend(row.iter().map(|(column, _)| column));
            matrix.values.extend(row.iter().map(|(_, value)| value));
            matrix.starts.push(matrix.columns.len());
        }
        matrix
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The columns of a row and their values.
    pub(super) fn row(&self, row: usize) -> impl Iterator<Item = (usize, f64)> {
        let entries = self.starts[row]..self.starts[row + 1];
        let columns = self.columns[entries.clone()].iter().map(|&column| column as usize);
        columns.zip(self.values[entries].iter().map(|&value| f64::from(value)))
    }

    /// The same, column by column; the rows of a column ascend.
    pub(super) fn transposed(&self) -> Self {
        let mut starts = vec![0; self.width + 1];
        self.columns.iter().for_each(|&column| starts[column as usize + 1] += 1);
        (0..self.width).for_each(|column| starts[column + 1] += starts[column]);
        let mut next = starts.clone();
        let (mut columns, mut values) = (vec![0; self.columns.len()], vec![0.0; self.values.len()]);
        for row in 0..self.rows() {
            for entry in self.starts[row]..self.starts[row + 1] {
                let place = &mut next[self.columns[entry] as usize];
                (columns[*place], values[*place]) = (row as u32, self.values[entry]);
                *place += 1;
            }
        }
        Self { starts, columns, values, width: self.rows() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposed_twice_is_the_same() {
        let rows = [vec![(0, 1.0), (3, 2.0)], vec![], vec![(0, 3.0), (1, 4.0)]];
        let matrix = Matrix::new(&rows, 5);
        let turned = matrix.transposed();
        assert_eq!((turned.rows(), turned.width), (5, 3));
        assert_eq!(turned.row(0).collect::<Vec<_>>(), [(0, 1.0), (2, 3.0)]);
        assert_eq!((turned.row(2).count(), turned.row(3).collect::<Vec<_>>()), (0, vec![(0, 2.0)]));
        assert_eq!(turned.transposed(), matrix);
    }
}
