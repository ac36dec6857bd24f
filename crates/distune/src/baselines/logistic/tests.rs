#![allow(clippy::unwrap_used)]
use super::*;

/// Rows that overlap, of which no weight but zero is certain.
fn rows() -> Matrix {
    let row = |i: u32| vec![(i % 3, 1.0), (3 + i * i % 4, 0.5)];
    Matrix::new(&(0..40).map(row).collect::<Vec<_>>(), 7)
}

fn answers(classes: u32) -> Answers {
    Answers::One((0..40).map(|i| (i * 7 + i % 3) % classes).collect())
}

/// The gradient by central differences, for each kind of answers.
#[test]
fn the_gradient_is_the_slope_of_the_loss() {
    let several =
        Answers::Several((0..40).map(|i| (0..3).filter(|label| (i + label) % 3 > 0 && i % 2 == 0).collect()).collect());
    for (answers, classes) in [(answers(2), 2), (answers(3), 3), (several, 3)] {
        let rows = rows();
        let (link, targets) = link(&answers, classes);
        let outputs = link.outputs();
        let problem = Problem { rows: &rows, columns: rows.transposed(), targets, outputs, last: Mutex::default() };
        let weights: Vec<f64> = (0..8 * outputs).map(|i| (i as f64 * 0.7).sin()).collect();
        let gradient = problem.point(&weights).gradient;
        for place in 0..weights.len() {
            let at = |step: f64| {
                let mut weights = weights.clone();
                weights[place] += step;
                problem.point(&weights).loss
            };
            let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
            // the third derivative times 1e-10, and the rounding of losses over 2e-5
            assert!((slope - gradient[place]).abs() < 1e-9, "{classes} {place}: {slope} {}", gradient[place]);
        }
    }
}

#[test]
fn the_same_bits_at_any_number_of_threads() {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Logistic::fit(&rows(), &answers(3), 3).unwrap())
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn classes_without_rows() {
    let rows = rows();
    let of = |ids: Vec<u32>, classes| Logistic::fit(&rows, &Answers::One(ids), classes).unwrap().probabilities(&rows);
    assert_eq!(of(vec![1; 40], 3), [0.0, 1.0, 0.0].repeat(40));
    let two = of((0..40).map(|i| 2 * (i % 2)).collect(), 3);
    assert!(two.chunks_exact(3).all(|row| row[1] == 0.0 && (row[0] + row[2] - 1.0).abs() < 1e-12 && row[0] > 0.0));
    let rows_of = |i: u32| if i.is_multiple_of(2) { vec![0, 2] } else { vec![0] };
    let several = Logistic::fit(&rows, &Answers::Several((0..40).map(rows_of).collect()), 3).unwrap();
    let several = several.probabilities(&rows);
    assert!(several.chunks_exact(3).all(|row| row[0] == 1.0 && row[1] == 0.0 && row[2] > 0.0 && row[2] < 1.0));
}
