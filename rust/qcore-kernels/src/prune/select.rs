//! The largest magnitudes, by selection on the digits of their bits.

use super::magnitude::{AT_ONCE, Magnitude, first_nan};
use crate::error::{KernelError, Result};
use crate::{interrupt, memory};

/// Bits looked at in one pass: a histogram of so many fits the first cache.
const DIGIT: u32 = 11;

/// Writes into `masks` which weights to keep so that the `count` smallest magnitudes of all `parts`
/// together go; true is kept.
///
/// Weights that are 0 already are the smallest, so they count; where they are more than `count`, the
/// rest of them is kept, to be free to grow in training. Ties go from the lower part and index on.
pub fn keep_largest<T: Magnitude>(
    parts: &[&[T]],
    count: usize,
    masks: &mut [&mut [bool]],
) -> Result<()> {
    let size: usize = parts.iter().map(|part| part.len()).sum();
    if parts.len() != masks.len() || parts.iter().zip(masks.iter()).any(|(p, m)| p.len() != m.len())
    {
        return Err(KernelError::Shape("every mask must have its weights' length".to_owned()));
    }
    if count > size {
        return Err(KernelError::Value(format!("count is {count}; there are {size} weights")));
    }
    for (index, part) in parts.iter().enumerate() {
        if let Some(at) = first_nan(part)? {
            return Err(KernelError::Value(format!("weight {at} of array {index} is NaN")));
        }
    }
    if count == 0 {
        for mask in masks.iter_mut() {
            mask.fill(true);
        }
        return Ok(());
    }
    let (key, mut ties) = smallest(parts, count)?;
    for (part, mask) in parts.iter().zip(masks) {
        ties -= cut(part, key, ties, mask)?;
    }
    Ok(())
}

/// The greatest key of the `count` smallest, and how many of these have it; `count` is not 0.
fn smallest<T: Magnitude>(parts: &[&[T]], count: usize) -> Result<(T::Key, usize)> {
    let key = |value: &T| -> u64 { value.key().into() };
    let mut shift = T::BITS - DIGIT;
    let chunks = || parts.iter().flat_map(|part| part.chunks(AT_ONCE));
    let (mut prefix, mut rank) = pick(chunks(), key, shift, count)?;
    // One key in many shares the first digit: only these go through the later passes.
    let mut left: Vec<u64> = Vec::new();
    for chunk in chunks() {
        interrupt::check()?;
        for key in chunk.iter().map(key).filter(|key| key >> shift == prefix) {
            memory::push(&mut left, key)?;
        }
    }
    while shift > 0 {
        let width = shift.min(DIGIT);
        shift -= width;
        let lower = (1 << (shift + width)) - 1;
        let (digit, within) = pick(left.chunks(AT_ONCE), |key| key & lower, shift, rank)?;
        prefix = (prefix << width) | digit;
        rank = within;
        left.retain(|key| key >> shift == prefix);
    }
    Ok((T::key_from(prefix), rank))
}

/// The digit above `shift` of the key of rank `rank` (from 1 on), and its rank among those that
/// share the digit.
fn pick<'a, V: 'a>(
    chunks: impl Iterator<Item = &'a [V]>,
    key: impl Fn(&V) -> u64,
    shift: u32,
    rank: usize,
) -> Result<(u64, usize)> {
    let mut counts = [0_usize; 1 << DIGIT];
    for chunk in chunks {
        interrupt::check()?;
        for value in chunk {
            counts[(key(value) >> shift) as usize] += 1;
        }
    }
    let mut below = 0;
    for (digit, &count) in counts.iter().enumerate() {
        if below + count >= rank {
            return Ok((digit as u64, rank - below));
        }
        below += count;
    }
    // There were as many when they were counted.
    Err(KernelError::Value("the weights have changed, by another thread".to_owned()))
}

/// Writes the mask of the keys above `key` and of those equal to it but for the first `ties`;
/// returns how many of the ties went.
fn cut<T: Magnitude>(part: &[T], key: T::Key, ties: usize, mask: &mut [bool]) -> Result<usize> {
    let mut equal = 0;
    for (mask, part) in mask.chunks_mut(AT_ONCE).zip(part.chunks(AT_ONCE)) {
        interrupt::check()?;
        for (keep, value) in mask.iter_mut().zip(part) {
            *keep = value.key() > key;
            equal += (value.key() == key) as usize;
        }
    }
    if equal > ties {
        let tied = mask.iter_mut().zip(part).filter(|(_, value)| value.key() == key);
        tied.skip(ties).for_each(|(keep, _)| *keep = true);
    }
    Ok(equal.min(ties))
}
