//! Four taps of a channel side by side: what one dot instruction takes.
//!
//! Rows of codes are interleaved byte by byte, so that channel `c` of pixel `x` has its four taps at
//! `4 * (x * channels + c)`, as the data of dot products.

use crate::simd::{Dot4, Dot4Op};

/// Interleaves four rows of `len` bytes into `4 * len`, their bits flipped by `flip`.
///
/// # Safety
/// Each row is valid for reading `len` bytes, `out` for writing `4 * len`.
#[inline(always)]
unsafe fn interleave<D: Dot4>(d: D, rows: [*const u8; 4], len: usize, flip: u8, out: *mut u8) {
    let bits = d.splat(i32::from_ne_bytes([flip; 4]));
    // SAFETY: the caller's promise; a vector that would reach past the end ends with it.
    unsafe {
        if len < D::COLUMNS {
            for at in 0..len {
                for (tap, row) in rows.iter().enumerate() {
                    out.add(4 * at + tap).write(*row.add(at) ^ flip);
                }
            }
            return;
        }
        let mut at = 0;
        while at < len {
            at = at.min(len - D::COLUMNS);
            let [a, b, c, e] = rows;
            let quads = d.interleave([a.add(at), b.add(at), c.add(at), e.add(at)]);
            let [a, b, c, e] = quads;
            let quads = [d.xor(a, bits), d.xor(b, bits), d.xor(c, bits), d.xor(e, bits)];
            d.store(out.add(4 * at).cast(), quads);
            at += D::COLUMNS;
        }
    }
}

/// Four rows of the same length, and the room for their quads.
pub(super) struct Interleave<'a> {
    pub(super) from: [&'a [u8]; 4],
    pub(super) flip: u8,
    pub(super) out: &'a mut [u8],
}

impl Dot4Op for Interleave<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<D: Dot4>(self, d: D) {
        let [a, b, c, e] = self.from;
        let len = a.len();
        assert!(b.len() == len && c.len() == len && e.len() == len && self.out.len() >= 4 * len);
        let rows = [a.as_ptr(), b.as_ptr(), c.as_ptr(), e.as_ptr()];
        // SAFETY: the lengths were just checked.
        unsafe { interleave(d, rows, len, self.flip, self.out.as_mut_ptr()) };
    }
}
