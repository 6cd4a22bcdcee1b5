//! Parameters by column, and the last columns of a row, which fill no vector.

use crate::error::{KernelError, Result};
use crate::simd::Simd;

pub(super) use crate::math::MAX_LANES;

/// A type that parameters have, and its vectors.
pub(super) trait Parameter: Copy + Default {
    /// `LANES` of them.
    type Vector<S: Simd>: Copy;

    /// `value` in every lane.
    fn splat<S: Simd>(s: S, value: Self) -> Self::Vector<S>;

    /// `LANES` values.
    ///
    /// # Safety
    /// `ptr` is valid for reading `LANES` values.
    unsafe fn load<S: Simd>(s: S, ptr: *const Self) -> Self::Vector<S>;
}

impl Parameter for f32 {
    type Vector<S: Simd> = S::F32;

    #[inline(always)]
    fn splat<S: Simd>(s: S, value: f32) -> S::F32 {
        s.splat_f32(value)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, ptr: *const f32) -> S::F32 {
        // SAFETY: the caller's promise.
        unsafe { s.load_f32(ptr) }
    }
}

impl Parameter for i32 {
    type Vector<S: Simd> = S::I32;

    #[inline(always)]
    fn splat<S: Simd>(s: S, value: i32) -> S::I32 {
        s.splat_i32(value)
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, ptr: *const i32) -> S::I32 {
        // SAFETY: the caller's promise.
        unsafe { s.load_i32(ptr) }
    }
}

/// A parameter by column: one value for all, or one for each.
pub(super) struct ByColumn<'a, T: Parameter, S: Simd> {
    s: S,
    each: &'a [T],
    one: T::Vector<S>,
}

impl<'a, T: Parameter, S: Simd> ByColumn<'a, T, S> {
    /// `values` from column `first` on; of length 1 they serve every column, of length 0 `none` does.
    #[inline(always)]
    pub(super) fn new(s: S, values: &'a [T], first: usize, none: T) -> Self {
        let one = T::splat(s, if values.is_empty() { none } else { values[0] });
        let each = if values.len() > 1 { &values[first..] } else { &[] };
        Self { s, each, one }
    }

    /// The vector from column `at` on.
    #[inline(always)]
    pub(super) fn at(&self, at: usize) -> T::Vector<S> {
        if self.each.is_empty() {
            return self.one;
        }
        let values = &self.each[at..at + S::LANES];
        // SAFETY: there are LANES values.
        unsafe { T::load(self.s, values.as_ptr()) }
    }

    /// The `count` columns from `at` on, which fill no vector.
    #[inline(always)]
    pub(super) fn few(&self, at: usize, count: usize) -> T::Vector<S> {
        if self.each.is_empty() {
            return self.one;
        }
        load_few(self.s, &self.each[at..at + count])
    }
}

/// A vector of fewer values than it has lanes.
#[inline(always)]
pub(super) fn load_few<T: Parameter, S: Simd>(s: S, values: &[T]) -> T::Vector<S> {
    let mut room = [T::default(); MAX_LANES];
    room[..values.len()].copy_from_slice(values);
    // SAFETY: the room has MAX_LANES elements.
    unsafe { T::load(s, room.as_ptr()) }
}

/// Checks that a parameter has one value, or one for each column.
pub(super) fn check_length(name: &str, found: usize, n: usize) -> Result<()> {
    if found == 1 || found == n {
        return Ok(());
    }
    Err(KernelError::Shape(format!("{name} has {found} elements; it must have 1 or {n}")))
}

/// The element of a column: `rest` if there is none, the only one if there is one.
pub(super) fn of_column<T: Copy>(values: &[T], column: usize, rest: T) -> T {
    match values {
        [] => rest,
        [one] => *one,
        each => each[column],
    }
}
