//! Memory that starts on a cache line.

use std::ops::{Deref, DerefMut};

use crate::error::Result;
use crate::memory;

/// One cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Bytes on cache-line boundaries, zero at first; for packed operands and scratch.
#[derive(Debug, Clone, Default)]
pub struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBytes {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Result<Self> {
        Ok(Self { lines: memory::filled(Line([0; 64]), len.div_ceil(64))?, len })
    }

    /// The first bytes as floats; there are as many as fill the length.
    pub(crate) fn as_floats(&self) -> *const f32 {
        self.lines.as_ptr().cast()
    }

    /// [`AlignedBytes::as_floats`], to be written.
    pub(crate) fn as_mut_floats(&mut self) -> *mut f32 {
        self.lines.as_mut_ptr().cast()
    }

    /// Makes room for `len` bytes; what they hold is left as it happens to be.
    pub fn resize_scratch(&mut self, len: usize) -> Result<()> {
        let lines = len.div_ceil(64);
        if lines > self.lines.len() {
            // The old contents are not worth copying, nor keeping meanwhile.
            *self = Self::default();
            self.lines = memory::filled(Line([0; 64]), lines)?;
        }
        self.len = len;
        Ok(())
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the lines hold at least `len` initialised bytes.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the lines hold at least `len` initialised bytes.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_start_on_a_cache_line() {
        for len in [0, 1, 63, 64, 65, 1000] {
            let mut bytes = AlignedBytes::zeroed(len).unwrap();
            assert_eq!(bytes.len(), len);
            assert!(len == 0 || bytes.as_ptr().addr().is_multiple_of(64));
            bytes.fill(7);
            assert!(bytes.iter().all(|&byte| byte == 7));
            bytes.resize_scratch(len + 100).unwrap();
            assert_eq!(bytes.len(), len + 100);
        }
    }
}
