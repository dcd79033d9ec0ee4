//! Small dense systems: symmetric matrices by their lower factor.

use std::vec::Vec;

/// The lower factor of a symmetric matrix of any size; `None` where it is singular.
pub fn cholesky(matrix: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let n = matrix.len();
    let mut factor = std::vec![std::vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..=i {
            let sum = matrix[i][j] - dot(&factor[i][..j], &factor[j][..j]);
            if i == j {
                // Relative to the diagonal, so that "singular" does not depend on the parameters' units.
                if sum <= 1e-12 * matrix[i][i] {
                    return None;
                }
                factor[i][i] = sum.sqrt();
            } else {
                factor[i][j] = sum / factor[j][j];
            }
        }
    }
    Some(factor)
}

/// y of L y = right, for a lower factor L. The square of its length is right . (L L^T)^-1 . right.
pub fn forward(factor: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let mut y: Vec<f64> = Vec::with_capacity(right.len());
    for (row, r) in factor.iter().zip(right) {
        let known = dot(&row[..y.len()], &y);
        y.push((r - known) / row[y.len()]);
    }
    y
}

/// x of L^T x = right, for a lower factor L.
pub fn backward(factor: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let n = right.len();
    let mut x = right.to_vec();
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|k| factor[k][i] * x[k]).sum();
        x[i] = (x[i] - known) / factor[i][i];
    }
    x
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
