//! Bytes as elements, and memory that may not be there: with `run`, the only files that need `unsafe`.

use qcore_kernels::aligned::AlignedBytes;
use qcore_kernels::interrupt;

use crate::error::{GraphError, Result};

/// Elements that a plain loop goes through before it looks whether it is to stop.
pub(crate) const AT_ONCE: usize = 1 << 16;

mod sealed {
    pub trait Plain {}
    impl Plain for f32 {}
    impl Plain for i64 {}
    impl Plain for i32 {}
    impl Plain for u8 {}
    impl Plain for i8 {}
}

/// Types of which every pattern of bits is a value and that have no gaps.
pub trait Element: sealed::Plain + Copy + Default + PartialEq + Send + Sync + 'static {}
impl<T: sealed::Plain + Copy + Default + PartialEq + Send + Sync + 'static> Element for T {}

/// Bytes as elements.
///
/// # Panics
/// If they are not aligned or not a whole number of elements; arenas, tensors and checked inputs are.
#[must_use]
pub fn cast<T: Element>(bytes: &[u8]) -> &[T] {
    // SAFETY: any bytes are values of an Element.
    let (before, elements, after) = unsafe { bytes.align_to::<T>() };
    assert!(before.is_empty() && after.is_empty(), "bytes are not whole aligned elements");
    elements
}

/// Bytes as elements that can be written.
///
/// # Panics
/// As [`cast`].
#[must_use]
pub fn cast_mut<T: Element>(bytes: &mut [u8]) -> &mut [T] {
    // SAFETY: any bytes are values of an Element, and any elements are bytes: it has no gaps.
    let (before, elements, after) = unsafe { bytes.align_to_mut::<T>() };
    assert!(before.is_empty() && after.is_empty(), "bytes are not whole aligned elements");
    elements
}

/// Elements as bytes.
#[must_use]
pub fn bytes_of<T: Element>(elements: &[T]) -> &[u8] {
    // SAFETY: an Element has no gaps, so each of its bytes is initialised.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), size_of_val(elements)) }
}

/// Copies bytes, and looks now and then whether to stop.
pub(crate) fn copy<T: Copy>(from: &[T], to: &mut [T]) -> Result<()> {
    for (from, to) in from.chunks(1 << 20).zip(to.chunks_mut(1 << 20)) {
        interrupt::check()?;
        to.copy_from_slice(from);
    }
    Ok(())
}

/// Zero bytes on cache lines, or an error.
pub(crate) fn zeroed(len: usize) -> Result<AlignedBytes> {
    AlignedBytes::zeroed(len).map_err(GraphError::Kernel)
}
