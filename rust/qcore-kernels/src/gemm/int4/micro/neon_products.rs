//! What NEON kernels of nibbles are made of, with the dot product and without.

use std::arch::aarch64::{int8x16_t, int32x4_t};
use std::marker::PhantomData;

use super::Tile;
use super::neon::VECTORS;

/// What differs with the dot product.
pub(super) trait Products {
    /// Eight activations, as the products take them.
    type A: Copy;
    /// Whether registers are read in halves.
    const HALVES: bool = false;

    /// # Safety
    /// `a` is valid for 8 bytes; the CPU has the instructions.
    unsafe fn load(a: *const i8) -> Self::A;
    /// Adds the products of nibbles with eight activations.
    ///
    /// # Safety
    /// The CPU has the instructions.
    unsafe fn add(sums: int32x4_t, low: int8x16_t, high: int8x16_t, a: Self::A) -> int32x4_t;
    /// Adds the products of `most` lines from `first` on, of six rows and one panel, where there is a
    /// loop for it.
    ///
    /// # Safety
    /// As for [`super::TileFn`].
    #[inline(always)]
    unsafe fn six_rows(
        _sums: &mut [[int32x4_t; VECTORS]; 6],
        _t: &Tile,
        _first: usize,
        _most: usize,
    ) -> usize {
        0
    }
    /// Adds the products of up to `most` lines of one row and one panel, from `a` and `w` on, where there is
    /// a loop for it.
    ///
    /// # Safety
    /// The row and the panel are valid for so many lines.
    #[inline(always)]
    unsafe fn one_row(
        _sums: &mut [int32x4_t; VECTORS],
        _a: *const i8,
        _w: *const u8,
        _most: usize,
    ) -> usize {
        0
    }
    /// [`Products::one_row`] for cores that run in order.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn one_row_in_order(
        _sums: &mut [int32x4_t; VECTORS],
        _a: *const i8,
        _w: *const u8,
        _most: usize,
    ) -> usize {
        0
    }
    /// [`Products::six_rows`] for cores that run in order.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn six_rows_in_order(
        _sums: &mut [[int32x4_t; VECTORS]; 6],
        _t: &Tile,
        _first: usize,
        _most: usize,
    ) -> usize {
        0
    }
}

/// The same for cores that run in order.
pub(super) struct InOrder<P>(PhantomData<P>);

impl<P: Products> Products for InOrder<P> {
    type A = P::A;
    const HALVES: bool = true;

    #[inline(always)]
    unsafe fn load(a: *const i8) -> P::A {
        // SAFETY: the caller's promise.
        unsafe { P::load(a) }
    }

    #[inline(always)]
    unsafe fn add(sums: int32x4_t, low: int8x16_t, high: int8x16_t, a: P::A) -> int32x4_t {
        // SAFETY: the caller's promise.
        unsafe { P::add(sums, low, high, a) }
    }

    #[inline(always)]
    unsafe fn six_rows(
        sums: &mut [[int32x4_t; VECTORS]; 6],
        t: &Tile,
        first: usize,
        most: usize,
    ) -> usize {
        // SAFETY: the caller's promise.
        unsafe { P::six_rows_in_order(sums, t, first, most) }
    }

    #[inline(always)]
    unsafe fn one_row(
        sums: &mut [int32x4_t; VECTORS],
        a: *const i8,
        w: *const u8,
        most: usize,
    ) -> usize {
        // SAFETY: the caller's promise.
        unsafe { P::one_row_in_order(sums, a, w, most) }
    }
}
