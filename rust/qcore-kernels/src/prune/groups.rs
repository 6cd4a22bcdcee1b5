//! N:M sparsity: of each M neighbours, N are kept.

use super::magnitude::{Magnitude, first_nan};
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;

/// The longest group.
const MOST: usize = 64;

/// Writes into `mask` which weights to keep so that of each `m` neighbours along rows of length
/// `row` the `n` largest magnitudes stay; a shorter last group keeps up to `n`. Ties go from the
/// lower index on.
pub fn keep_n_of_m<T: Magnitude>(
    weights: &[T],
    row: usize,
    n: usize,
    m: usize,
    mask: &mut [bool],
) -> Result<()> {
    if mask.len() != weights.len() {
        return Err(KernelError::Shape("mask must have the weights' length".to_owned()));
    }
    if n == 0 || n > m || m > MOST {
        return Err(KernelError::Value(format!("{n}:{m} is not 1 to m of at most {MOST}")));
    }
    if weights.is_empty() {
        return Ok(());
    }
    if row == 0 || !weights.len().is_multiple_of(row) {
        let size = weights.len();
        return Err(KernelError::Shape(format!("{size} weights are not rows of {row}")));
    }
    if let Some(at) = first_nan(weights)? {
        return Err(KernelError::Value(format!("weight {at} is NaN")));
    }
    let mut pace = Pace::new();
    for (weights, mask) in weights.chunks_exact(row).zip(mask.chunks_exact_mut(row)) {
        for (group, mask) in weights.chunks(m).zip(mask.chunks_mut(m)) {
            pace.check(m * m)?;
            keep_in_group(group, n, mask);
        }
    }
    Ok(())
}

/// Keeps a weight that fewer than `n` of its group come before: larger ones, and equals to its
/// right.
fn keep_in_group<T: Magnitude>(group: &[T], n: usize, mask: &mut [bool]) {
    for (at, keep) in mask.iter_mut().enumerate() {
        let key = group[at].key();
        let larger = group[..at].iter().filter(|other| other.key() > key).count();
        let right = group[at + 1..].iter().filter(|other| other.key() >= key).count();
        *keep = larger + right < n;
    }
}
