//! One column for each "vector": plain Rust, and the reference for the rest.

use super::Dot4;
use crate::simd::Scalar;

impl Dot4 for Scalar {
    const COLUMNS: usize = 4;
    const ROWS: usize = 2;
    type I32 = i32;

    #[inline(always)]
    fn splat(self, value: i32) -> i32 {
        value
    }

    #[inline(always)]
    fn add(self, a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }

    #[inline(always)]
    fn xor(self, a: i32, b: i32) -> i32 {
        a ^ b
    }

    #[inline(always)]
    fn sum(self, a: i32) -> i32 {
        a
    }

    #[inline(always)]
    unsafe fn load(self, ptr: *const u8) -> i32 {
        // SAFETY: the caller vouches for four bytes.
        i32::from_le_bytes(unsafe { ptr.cast::<[u8; 4]>().read() })
    }

    #[inline(always)]
    unsafe fn interleave(self, rows: [*const u8; 4]) -> [i32; 4] {
        // SAFETY: the caller vouches for four bytes of each row.
        let rows = rows.map(|row| unsafe { row.cast::<[u8; 4]>().read() });
        [0, 1, 2, 3].map(|column| {
            i32::from_le_bytes([rows[0][column], rows[1][column], rows[2][column], rows[3][column]])
        })
    }

    #[inline(always)]
    fn dot(self, acc: i32, unsigned: i32, signed: i32) -> i32 {
        let products = unsigned.to_le_bytes().into_iter().zip(signed.to_le_bytes());
        products.fold(acc, |acc, (a, b)| acc.wrapping_add(i32::from(a) * i32::from(b as i8)))
    }

    #[inline(always)]
    unsafe fn store(self, ptr: *mut i32, sums: [i32; 4]) {
        // SAFETY: the caller vouches for four integers.
        unsafe { ptr.cast::<[i32; 4]>().write_unaligned(sums) }
    }
}
