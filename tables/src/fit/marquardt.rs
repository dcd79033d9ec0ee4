//! Levenberg-Marquardt within bounds, for the few forms that are not linear behind one shape parameter.

use std::vec::Vec;

use crate::linear::{cholesky, forward};

const STEPS: usize = 60;

/// The parameters within `bounds` (low, high) that make the sum of squared residuals least near `start`, and that sum.
/// `residuals` fills a cleared list, always with as many entries.
pub fn descend<const N: usize>(
    start: [f64; N],
    bounds: &[(f64, f64); N],
    mut residuals: impl FnMut(&[f64; N], &mut Vec<f64>),
) -> ([f64; N], f64) {
    let mut at = start;
    clamp(&mut at, bounds);
    let mut here = Vec::new();
    let mut there = Vec::new();
    residuals(&at, &mut here);
    let mut squares: f64 = here.iter().map(|r| r * r).sum();
    let mut damping = 1e-3;
    let mut columns: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..STEPS {
        for (j, column) in columns.iter_mut().enumerate() {
            let mut moved = at;
            let step = 1e-6 * at[j].abs().max(1e-3 * (bounds[j].1 - bounds[j].0).min(1.0));
            // At the upper bound the difference is taken downwards.
            let step = if at[j] + step > bounds[j].1 { -step } else { step };
            moved[j] += step;
            there.clear();
            residuals(&moved, &mut there);
            column.clear();
            column.extend(there.iter().zip(&here).map(|(b, a)| (b - a) / step));
        }
        let gradient: [f64; N] = std::array::from_fn(|j| dot(&columns[j], &here));
        let mut improved = false;
        while damping < 1e10 {
            let mut matrix = [[0.0; N]; N];
            for i in 0..N {
                for j in 0..N {
                    matrix[i][j] = dot(&columns[i], &columns[j]);
                }
            }
            for (i, row) in matrix.iter_mut().enumerate() {
                row[i] = row[i] * (1.0 + damping) + 1e-300;
            }
            let Some(step) = gauss(matrix, gradient) else {
                damping *= 10.0;
                continue;
            };
            let mut moved: [f64; N] = std::array::from_fn(|j| at[j] - step[j]);
            clamp(&mut moved, bounds);
            there.clear();
            residuals(&moved, &mut there);
            let new: f64 = there.iter().map(|r| r * r).sum();
            if new < squares {
                improved = squares - new > 1e-12 * squares;
                (at, squares) = (moved, new);
                std::mem::swap(&mut here, &mut there);
                damping = (damping * 0.3).max(1e-12);
                break;
            }
            damping *= 4.0;
        }
        if !improved {
            break;
        }
    }
    (at, squares)
}

fn clamp<const N: usize>(at: &mut [f64; N], bounds: &[(f64, f64); N]) {
    for (value, (low, high)) in at.iter_mut().zip(bounds) {
        *value = value.clamp(*low, *high);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Solves a small system by elimination with pivoting; `None` where it is singular.
fn gauss<const N: usize>(mut matrix: [[f64; N]; N], mut right: [f64; N]) -> Option<[f64; N]> {
    for column in 0..N {
        let pivot = (column..N).max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()))?;
        if matrix[pivot][column].abs() < 1e-290 {
            return None;
        }
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        for row in column + 1..N {
            let factor = matrix[row][column] / matrix[column][column];
            let above = matrix[column];
            for (cell, above) in matrix[row].iter_mut().zip(above).skip(column) {
                *cell -= factor * above;
            }
            right[row] -= factor * right[column];
        }
    }
    let mut solution = [0.0; N];
    for row in (0..N).rev() {
        let known: f64 = (row + 1..N).map(|k| matrix[row][k] * solution[k]).sum();
        solution[row] = (right[row] - known) / matrix[row][row];
    }
    solution.iter().all(|value| value.is_finite()).then_some(solution)
}

/// The diagonal of the inverse of a symmetric matrix; `None` where it is singular.
pub fn inverse_diagonal(matrix: &[Vec<f64>]) -> Option<Vec<f64>> {
    let factor = cholesky(matrix)?;
    let unit = |j: usize| -> Vec<f64> { (0..matrix.len()).map(|i| if i == j { 1.0 } else { 0.0 }).collect() };
    Some((0..matrix.len()).map(|j| forward(&factor, &unit(j)).iter().map(|y| y * y).sum()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn it_walks_down_a_curved_valley() {
        // Rosenbrock's function.
        let (at, squares) = descend([-1.2, 1.0], &[(-5.0, 5.0), (-5.0, 5.0)], |[x, y], out| {
            out.extend([10.0 * (y - x * x), 1.0 - x]);
        });
        assert!(squares < 1e-12 && (at[0] - 1.0).abs() < 1e-5, "{at:?} {squares}");
    }

    #[test]
    fn it_stops_at_a_bound() {
        let (at, _) = descend([3.0], &[(2.0, 5.0)], |[x], out| out.push(x - 1.0));
        assert_eq!(at, [2.0]);
    }

    #[test]
    fn inverses_by_hand() {
        // [[4, 2], [2, 3]] has determinant 8 and inverse [[3, -2], [-2, 4]] / 8.
        let diagonal = inverse_diagonal(&[vec![4.0, 2.0], vec![2.0, 3.0]]).unwrap();
        assert!((diagonal[0] - 0.375).abs() < 1e-12 && (diagonal[1] - 0.5).abs() < 1e-12, "{diagonal:?}");
        assert_eq!(inverse_diagonal(&[vec![1.0, 1.0], vec![1.0, 1.0]]), None);
    }
}
