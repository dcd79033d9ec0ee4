//! The two searches that every fit is made of: least squares over coefficients that are not negative, and the
//! minimum of a function of one variable that may have several valleys.

/// At most this many coefficients are linear in any form.
pub const COLUMNS: usize = 4;

/// Coefficients, and the sum of squared residuals that they leave.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    pub coefficients: [f64; COLUMNS],
    pub squares: f64,
}

/// The coefficients z >= 0 with the least sum over rows of (row . z - 1)^2, exactly: every set of coefficients that are
/// not zero is tried. Rows are basis functions over the measured value, so the residuals are relative.
pub fn non_negative<const N: usize>(rows: impl Iterator<Item = [f64; N]>) -> Linear {
    let mut gram = [[0.0; N]; N];
    let mut right = [0.0; N];
    let mut count = 0.0;
    for row in rows {
        for i in 0..N {
            for j in 0..=i {
                gram[i][j] += row[i] * row[j];
            }
            right[i] += row[i];
        }
        count += 1.0;
    }
    let mut best = Linear { coefficients: [0.0; COLUMNS], squares: count };
    for set in 1..1_usize << N {
        let Some(z) = solve(&gram, &right, set) else { continue };
        if z.iter().any(|value| *value < 0.0) {
            continue;
        }
        // |Az - 1|^2 = n - z . A^T 1 at the solution of the normal equations.
        let squares = count - z.iter().zip(&right).map(|(z, r)| z * r).sum::<f64>();
        // A larger set has to be better by more than rounding.
        if squares < best.squares - 1e-13 * count {
            best.squares = squares.max(0.0);
            best.coefficients[..N].copy_from_slice(&z);
        }
    }
    best
}

/// Solves the normal equations of the columns in `set` by Cholesky's method; `None` where they depend on each other.
fn solve<const N: usize>(gram: &[[f64; N]; N], right: &[f64; N], set: usize) -> Option<[f64; N]> {
    let mut chosen = [0; N];
    let mut n = 0;
    for column in (0..N).filter(|column| set >> column & 1 == 1) {
        chosen[n] = column;
        n += 1;
    }
    let mut factor = [[0.0; N]; N];
    let mut y = [0.0; N];
    for i in 0..n {
        for j in 0..=i {
            let known: f64 = factor[i].iter().zip(&factor[j]).take(j).map(|(a, b)| a * b).sum();
            let sum = gram[chosen[i]][chosen[j]] - known;
            if i == j {
                if sum <= 1e-12 * gram[chosen[i]][chosen[i]] {
                    return None;
                }
                factor[i][i] = sum.sqrt();
            } else {
                factor[i][j] = sum / factor[j][j];
            }
        }
        let known: f64 = (0..i).map(|k| factor[i][k] * y[k]).sum();
        y[i] = (right[chosen[i]] - known) / factor[i][i];
    }
    let mut z = [0.0; N];
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|k| factor[k][i] * z[chosen[k]]).sum();
        z[chosen[i]] = (y[i] - known) / factor[i][i];
    }
    Some(z)
}

/// Where `f` is least between `low` and `high`: a grid, then golden section in each of its three deepest valleys down to
/// a share `fine` of a cell.
pub fn minimum(low: f64, high: f64, cells: usize, fine: f64, mut f: impl FnMut(f64) -> f64) -> f64 {
    let at = |i: usize| low + (high - low) * i as f64 / cells as f64;
    let values: std::vec::Vec<f64> = (0..=cells).map(|i| f(at(i))).collect();
    let mut valleys: std::vec::Vec<usize> = (0..=cells)
        .filter(|&i| (i == 0 || values[i] <= values[i - 1]) && (i == cells || values[i] <= values[i + 1]))
        .collect();
    valleys.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut best = (low, f64::INFINITY);
    for &i in valleys.iter().take(3) {
        for (x, value) in [(at(i), values[i]), golden(at(i.saturating_sub(1)), at((i + 1).min(cells)), fine, &mut f)] {
            if value < best.1 {
                best = (x, value);
            }
        }
    }
    best.0
}

fn golden(mut low: f64, mut high: f64, fine: f64, f: &mut impl FnMut(f64) -> f64) -> (f64, f64) {
    const RATIO: f64 = 0.618_033_988_749_894_9;
    let tolerance = fine * (high - low);
    let (mut a, mut b) = (high - RATIO * (high - low), low + RATIO * (high - low));
    let (mut fa, mut fb) = (f(a), f(b));
    while high - low > tolerance {
        if fa <= fb {
            (high, b, fb) = (b, a, fa);
            a = high - RATIO * (high - low);
            fa = f(a);
        } else {
            (low, a, fa) = (a, b, fb);
            b = low + RATIO * (high - low);
            fb = f(b);
        }
    }
    if fa <= fb { (a, fa) } else { (b, fb) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coefficients_are_exact_and_not_negative() {
        // t = 2/x + 3 over the measured value
        let rows = [0.1, 0.3, 0.6, 1.0].map(|x: f64| {
            let t = 2.0 / x + 3.0;
            [1.0 / x / t, 1.0 / t]
        });
        let fit = non_negative(rows.into_iter());
        assert!((fit.coefficients[0] - 2.0).abs() < 1e-9 && (fit.coefficients[1] - 3.0).abs() < 1e-9, "{fit:?}");
        assert!(fit.squares < 1e-12);
        // t = 2/x - 1 would need a negative constant
        let rows = [0.1, 0.3, 0.6, 1.0].map(|x: f64| {
            let t = 2.0 / x - 1.0;
            [1.0 / x / t, 1.0 / t]
        });
        let fit = non_negative(rows.into_iter());
        assert_eq!(fit.coefficients[1], 0.0);
        assert!(fit.coefficients[0] > 0.0 && fit.squares > 0.0);
    }

    #[test]
    fn equal_columns_do_not_confuse_it() {
        let fit = non_negative([[1.0, 1.0], [1.0, 1.0]].into_iter());
        assert!((fit.coefficients[0] + fit.coefficients[1] - 1.0).abs() < 1e-12, "{fit:?}");
        let none = non_negative(std::iter::empty::<[f64; 2]>());
        assert_eq!(none.coefficients, [0.0; COLUMNS]);
    }

    #[test]
    fn the_deeper_of_two_valleys_is_found() {
        let f = |x: f64| (x * x - 1.0).powi(2) + 0.1 * x;
        let x = minimum(-3.0, 3.0, 24, 1e-7, f);
        assert!((x + 1.012_3).abs() < 1e-3, "{x}");
        assert!((minimum(0.0, 1.0, 8, 1e-7, |x| x)).abs() < 1e-9);
        assert!((minimum(0.0, 1.0, 8, 1e-7, |x| -x) - 1.0).abs() < 1e-6);
    }
}
