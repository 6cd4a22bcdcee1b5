//! Arithmetic on shapes, checked: sizes that do not fit are errors.

// Sizes are computed here: none may wrap.
#![deny(clippy::arithmetic_side_effects)]
#![expect(clippy::disallowed_methods, reason = "lists of dims, no more than a value has")]

use crate::dtype::DType;
use crate::error::{Result, shape_error, value_error};

/// The most dims that a loop over elements walks.
pub(crate) const MAX_RANK: usize = 8;

/// How many elements a shape has. Dims other than 0 have to fit together as well, as in NumPy: then
/// so does the [`product`] of any of them, and every stride.
pub(crate) fn count(dims: &[usize]) -> Result<usize> {
    dims.iter()
        .try_fold(1_usize, |product, &dim| product.checked_mul(dim.max(1)))
        .filter(|&product| product <= (isize::MAX / 16) as usize)
        .map(|product| if dims.contains(&0) { 0 } else { product })
        .ok_or_else(|| shape_error!("{dims:?} has more elements than memory can hold"))
}

/// About how much work so many steps of so many parts are: no more than can be said.
pub(crate) fn work(factors: &[usize]) -> usize {
    factors.iter().fold(1, |work, &factor| work.saturating_mul(factor))
}

/// How many bytes a value has.
pub(crate) fn nbytes(dims: &[usize], dtype: DType) -> Result<usize> {
    // A count leaves room for the widest element.
    Ok(count(dims)?.saturating_mul(dtype.size()))
}

/// Product of some dims of a shape whose [`count`] fits.
pub(crate) fn product(dims: &[usize]) -> usize {
    dims.iter().product()
}

/// Elements from an index to the next, row-major.
pub(crate) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; dims.len()];
    let mut stride = 1_usize;
    for (place, dim) in strides.iter_mut().zip(dims).rev() {
        *place = stride;
        stride = stride.saturating_mul((*dim).max(1));
    }
    strides
}

/// The same for each of some dims.
pub(crate) fn same<T: Clone>(value: T, rank: usize) -> Vec<T> {
    vec![value; rank]
}

/// The shape that operands are broadcast to, as NumPy does it.
pub(crate) fn broadcast(shapes: &[&[usize]]) -> Result<Vec<usize>> {
    let rank = shapes.iter().map(|dims| dims.len()).max().unwrap_or(0);
    let mut out = vec![1; rank];
    for dims in shapes {
        for (out, &dim) in out.iter_mut().rev().zip(dims.iter().rev()) {
            match (*out, dim) {
                (1, _) => *out = dim,
                (_, 1) => {}
                (a, b) if a == b => {}
                _ => return Err(shape_error!("{shapes:?} do not broadcast together")),
            }
        }
    }
    count(&out)?;
    Ok(out)
}

/// A shape with ones before it, up to a rank.
pub(crate) fn expanded(dims: &[usize], rank: usize) -> Vec<usize> {
    let mut out = vec![1; rank.saturating_sub(dims.len())];
    out.extend_from_slice(dims);
    out
}

/// Strides of an operand of `dims` when it is read at indices of the wider `out`: 0 where it repeats.
pub(crate) fn broadcast_strides(dims: &[usize], out: &[usize]) -> Vec<usize> {
    let wide = expanded(dims, out.len());
    let mut strides = strides(&wide);
    for (stride, (&dim, &target)) in strides.iter_mut().zip(wide.iter().zip(out)) {
        if dim == 1 && target != 1 {
            *stride = 0;
        }
    }
    strides
}

/// An axis that may count from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize> {
    let wide = rank as i64;
    let found = if axis < 0 { axis.saturating_add(wide) } else { axis };
    if (0..wide).contains(&found) {
        Ok(found as usize)
    } else {
        Err(value_error!("axis is {axis}; it must lie in [-{rank}, {rank})"))
    }
}

/// Axes that may count from the end, each at most once, sorted.
pub(crate) fn axes(axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut found = axes.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>>>()?;
    found.sort_unstable();
    if found.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(value_error!("axes {axes:?} name an axis twice"));
    }
    Ok(found)
}

/// `values[order[i]]` for each i.
pub(crate) fn permuted<T: Copy>(values: &[T], order: &[usize]) -> Vec<T> {
    order.iter().map(|&index| values[index]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast_as_numpy_does_it() {
        assert_eq!(broadcast(&[&[2, 1, 3], &[4, 1]]).unwrap(), [2, 4, 3]);
        assert_eq!(broadcast(&[&[1], &[0]]).unwrap(), [0]);
        assert!(broadcast(&[&[2], &[3]]).is_err());
        assert_eq!(broadcast_strides(&[4, 1], &[2, 4, 3]), [0, 1, 0]);
    }

    #[test]
    fn sizes_past_memory_are_errors() {
        assert!(count(&[1 << 40, 1 << 40]).is_err());
        assert!(count(&[1 << 60]).is_err());
        assert!(count(&[0, 1 << 40, 1 << 40]).is_err());
        assert_eq!(count(&[0, 1 << 40]).unwrap(), 0);
        assert_eq!(count(&[]).unwrap(), 1);
    }

    #[test]
    fn axes_count_from_either_end() {
        assert_eq!(axes(&[-1, 0], 3).unwrap(), [0, 2]);
        assert!(axes(&[2, -1], 3).is_err());
        assert!(axis(3, 3).is_err() && axis(i64::MIN, 3).is_err());
    }
}
