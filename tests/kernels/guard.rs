//! Buffers that end where readable memory ends: a read or write past the last element is a crash,
//! not luck.

use std::ops::{Deref, DerefMut};

/// A slice whose end touches a page that may be neither read nor written, unless
/// `QCORE_TEST_OPEN_PAGES` is set.
pub(crate) struct Guarded<T> {
    map: *mut libc::c_void,
    bytes: usize,
    start: *mut T,
    len: usize,
}

impl<T: Copy> Guarded<T> {
    /// A guarded copy of a slice.
    pub(crate) fn new(values: &[T]) -> Self {
        // SAFETY: asks a constant of the system.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let body = size_of_val(values).div_ceil(page).max(1) * page;
        let bytes = body + page;
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: maps fresh memory; the result is checked.
        let map = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
        assert_ne!(map, libc::MAP_FAILED);
        // An emulator may touch what a mask leaves out, which no CPU does: QEMU 7.2 does on AVX2.
        if std::env::var_os("QCORE_TEST_OPEN_PAGES").is_none() {
            // SAFETY: the page after `body` lies within the mapping.
            let closed = unsafe { libc::mprotect(map.byte_add(body), page, libc::PROT_NONE) };
            assert_eq!(closed, 0);
        }
        // SAFETY: body is at least the size of `values`, so the start lies within the mapping; page
        // boundaries are aligned for T, and so is what lies whole elements before.
        let start = unsafe { map.byte_add(body - size_of_val(values)).cast::<T>() };
        // SAFETY: the target has room for values.len() elements and overlaps nothing.
        unsafe { start.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        Self { map, bytes, start, len: values.len() }
    }
}

impl<T> Deref for Guarded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the constructor wrote len elements at start.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own.
        unsafe { libc::munmap(self.map, self.bytes) };
    }
}
