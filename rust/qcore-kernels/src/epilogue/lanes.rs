//! Parameters by column, and the last columns of a row, which fill no vector.

use crate::error::{KernelError, Result};

/// The most lanes that a vector of any instruction set has.
pub(super) const MAX_LANES: usize = 16;

/// A parameter: one value for all columns, or one for each.
///
/// The one value is kept once for each lane, so that the same load serves both.
pub(super) struct ByColumn<'a, T> {
    each: &'a [T],
    one: [T; 4 * MAX_LANES],
}

impl<'a, T: Copy> ByColumn<'a, T> {
    /// `values` from column `first` on; of length 1 they serve every column, of length 0 `none` does.
    pub(super) fn new(values: &'a [T], first: usize, none: T) -> Self {
        let one = [values.first().copied().unwrap_or(none); 4 * MAX_LANES];
        let each = if values.len() > 1 { &values[first..] } else { &[] };
        Self { each, one }
    }

    /// Where `length` values from column `at` on lie; for tails, in `room`.
    #[inline(always)]
    pub(super) fn at(&self, at: usize, length: usize, wide: usize, room: &mut [T]) -> *const T {
        if self.each.is_empty() {
            return self.one.as_ptr();
        }
        load(&self.each[at..at + length], wide, room)
    }
}

/// Where the values lie, if there are `wide` of them; else in `room`, with whatever follows.
#[inline(always)]
pub(super) fn load<T: Copy>(values: &[T], wide: usize, room: &mut [T]) -> *const T {
    if values.len() == wide {
        return values.as_ptr();
    }
    room[..values.len()].copy_from_slice(values);
    room.as_ptr()
}

/// Checks that a parameter has one value, or one for each column.
pub(super) fn check_length(name: &str, found: usize, n: usize) -> Result<()> {
    if found == 1 || found == n {
        return Ok(());
    }
    Err(KernelError::Shape(format!("{name} has {found} elements; it must have 1 or {n}")))
}
