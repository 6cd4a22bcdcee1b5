//! The one way in which memory is taken: it can fail, and every size is computed with checks.
//!
//! A buffer whose length depends on a caller's sizes comes from here, so that sizes which wrap or
//! which the machine cannot serve end in [`KernelError::Memory`], not in a process that is gone.
//! `clippy.toml` forbids the other ways.

// Sizes are computed here: none may wrap.
#![deny(clippy::arithmetic_side_effects)]
#![expect(
    clippy::disallowed_methods,
    reason = "the one place where memory is taken, after it was made sure of"
)]

use std::alloc::Layout;
use std::cell::RefCell;
use std::thread::LocalKey;

use crate::error::{KernelError, Result};

/// Bytes from which on it is asked first whether the machine has them: systems promise more than they
/// have, and end the process when it is used.
const LARGE: usize = 1 << 28;

/// The product of sizes.
pub fn size(factors: &[usize]) -> Result<usize> {
    let product = factors.iter().try_fold(1_usize, |product, &factor| product.checked_mul(factor));
    // No buffer is longer than an isize can tell.
    product.filter(|&size| isize::try_from(size).is_ok()).ok_or_else(|| {
        let text: Vec<String> = factors.iter().map(ToString::to_string).collect();
        KernelError::Memory(format!(
            "{} elements are more than there are addresses",
            text.join(" * ")
        ))
    })
}

/// The sum of sizes.
pub fn sum(terms: &[usize]) -> Result<usize> {
    let sum = terms.iter().try_fold(0_usize, |sum, &term| sum.checked_add(term));
    sum.filter(|&size| isize::try_from(size).is_ok()).ok_or_else(|| {
        let text: Vec<String> = terms.iter().map(ToString::to_string).collect();
        KernelError::Memory(format!(
            "{} elements are more than there are addresses",
            text.join(" + ")
        ))
    })
}

/// Refuses what the machine does not have.
pub fn admit(bytes: usize) -> Result<()> {
    if bytes < LARGE || available().is_none_or(|available| bytes as u64 <= available) {
        return Ok(());
    }
    Err(refused(bytes))
}

/// The error for so many bytes that are not there.
#[must_use]
pub fn refused(bytes: usize) -> KernelError {
    KernelError::Memory(format!("{bytes} bytes of memory are not available"))
}

/// Makes room for `more` elements.
pub fn reserve<T>(vector: &mut Vec<T>, more: usize) -> Result<()> {
    if more <= vector.capacity().saturating_sub(vector.len()) {
        return Ok(());
    }
    let wanted = size(&[sum(&[vector.len(), more])?, size_of::<T>().max(1)])?;
    admit(wanted)?;
    vector.try_reserve(more).map_err(|_| refused(wanted))
}

/// An empty vector with room for `len` elements, and no more.
pub fn with_capacity<T>(len: usize) -> Result<Vec<T>> {
    let wanted = size(&[len, size_of::<T>().max(1)])?;
    admit(wanted)?;
    let mut vector = Vec::new();
    vector.try_reserve_exact(len).map_err(|_| refused(wanted))?;
    Ok(vector)
}

/// Numbers for which zero bytes are 0.
///
/// # Safety
/// They are: a type whose bytes are all zero is a value of it.
pub unsafe trait Zero: Copy {}

macro_rules! zero {
    ($($type:ty)+) => {
        // SAFETY: zero bytes are the number 0 (or false).
        $(unsafe impl Zero for $type {})+
    };
}

zero!(u8 i8 u16 i16 u32 i32 u64 i64 usize f32 f64 bool);

/// `len` zeros, of which the system gives the pages when they are used.
pub fn zeroed<T: Zero>(len: usize) -> Result<Vec<T>> {
    let wanted = size(&[len, size_of::<T>()])?;
    if wanted == 0 {
        return Ok(Vec::new());
    }
    admit(wanted)?;
    let layout = Layout::array::<T>(len).map_err(|_| refused(wanted))?;
    // SAFETY: the layout has a size, and zero bytes are values of T.
    unsafe {
        let first = std::alloc::alloc_zeroed(layout).cast::<T>();
        if first.is_null() {
            Err(refused(wanted))
        } else {
            Ok(Box::from_raw(std::ptr::slice_from_raw_parts_mut(first, len)).into_vec())
        }
    }
}

/// `len` times the same value.
pub fn filled<T: Clone>(value: T, len: usize) -> Result<Vec<T>> {
    let mut vector = with_capacity(len)?;
    resize(&mut vector, len, value)?;
    Ok(vector)
}

/// Makes a vector `len` long; new elements are `value`.
pub fn resize<T: Clone>(vector: &mut Vec<T>, len: usize, value: T) -> Result<()> {
    reserve(vector, len.saturating_sub(vector.len()))?;
    vector.resize(len, value);
    Ok(())
}

/// A copy of a slice.
pub fn copied<T: Clone>(values: &[T]) -> Result<Vec<T>> {
    let mut vector = with_capacity(values.len())?;
    extend(&mut vector, values)?;
    Ok(vector)
}

/// Appends a slice.
pub fn extend<T: Clone>(vector: &mut Vec<T>, values: &[T]) -> Result<()> {
    reserve(vector, values.len())?;
    vector.extend_from_slice(values);
    Ok(())
}

/// Appends one element.
#[inline]
pub fn push<T>(vector: &mut Vec<T>, value: T) -> Result<()> {
    if vector.len() == vector.capacity() {
        reserve(vector, 1)?;
    }
    vector.push(value);
    Ok(())
}

/// The elements of an iterator.
pub fn collected<T>(values: impl IntoIterator<Item = T>) -> Result<Vec<T>> {
    let values = values.into_iter();
    let mut vector = with_capacity(values.size_hint().0)?;
    for value in values {
        push(&mut vector, value)?;
    }
    Ok(vector)
}

/// Runs with what this thread keeps from call to call; a call within a call gets its own.
pub fn with_kept<T: Default, R>(
    kept: &'static LocalKey<RefCell<T>>,
    run: impl FnOnce(&mut T) -> R,
) -> R {
    kept.with(|kept| match kept.try_borrow_mut() {
        Ok(mut kept) => run(&mut kept),
        Err(_) => run(&mut T::default()),
    })
}

/// Bytes that a process can still be given, where the system tells.
fn available() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| free_of(&text));
    let group = group_left();
    match (machine, group) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (machine, group) => machine.or(group),
    }
}

/// Memory and swap that are free or can be freed.
fn free_of(meminfo: &str) -> Option<u64> {
    let field = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(field("MemAvailable:")?.saturating_add(field("SwapFree:").unwrap_or(0)))
}

/// What the limit of a control group leaves; files in memory can be dropped.
fn group_left() -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
    let number = |text: String| text.trim().parse::<u64>().ok();
    let limit = read("memory.max").and_then(number)?;
    let used = read("memory.current").and_then(number)?;
    let files = read("memory.stat")
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("file ")?.parse().ok()))
        .unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(files)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_wrap_are_errors() {
        assert_eq!(size(&[3, 5, 7]).unwrap(), 105);
        assert_eq!(size(&[0, usize::MAX]).unwrap(), 0);
        for factors in [&[1 << 32, 1 << 32][..], &[usize::MAX, 2], &[1 << 63, 1]] {
            assert!(matches!(size(factors), Err(KernelError::Memory(_))), "{factors:?}");
        }
        assert!(matches!(sum(&[usize::MAX, 1]), Err(KernelError::Memory(_))));
    }

    #[test]
    fn what_no_machine_has_is_an_error() {
        for len in [1 << 46, 1 << 60, usize::MAX] {
            assert!(matches!(filled(0_u64, len), Err(KernelError::Memory(_))), "{len}");
            assert!(matches!(zeroed::<u64>(len), Err(KernelError::Memory(_))), "{len}");
            let mut vector = copied(&[1_u8]).unwrap();
            assert!(matches!(resize(&mut vector, len, 0), Err(KernelError::Memory(_))), "{len}");
            assert_eq!(vector, [1]);
        }
    }

    #[test]
    fn what_there_is_holds_what_was_asked_for() {
        assert_eq!(filled(7_u8, 3).unwrap(), [7, 7, 7]);
        assert_eq!(zeroed::<f64>(3).unwrap(), [0.0; 3]);
        assert!(zeroed::<i8>(0).unwrap().is_empty());
        assert_eq!(collected((0..5).filter(|i| i % 2 == 0)).unwrap(), [0, 2, 4]);
        let mut vector = with_capacity::<u8>(0).unwrap();
        for value in 0..100 {
            push(&mut vector, value).unwrap();
        }
        extend(&mut vector, &[100]).unwrap();
        assert!(vector.into_iter().eq(0..=100));
    }

    #[test]
    fn free_memory_is_read_from_what_the_system_says() {
        let text = "MemTotal: 100 kB\nMemAvailable:   20 kB\nSwapFree:  4 kB\n";
        assert_eq!(free_of(text), Some(24 * 1024));
        assert_eq!(free_of("MemTotal: 100 kB\n"), None);
    }
}
