//! Float products with one column.

use std::ops::Range;

use super::csr::Csr;
use super::float::Float;
use super::indices::Index;
use crate::simd::{Simd, SimdOp};

/// Rows of a product with one column.
pub(super) struct Vector<'a, I, V> {
    pub(super) a: &'a Csr<V>,
    pub(super) indices: &'a [I],
    pub(super) rows: Range<usize>,
    pub(super) x: &'a [V],
    pub(super) out: &'a mut [V],
}

/// Values that are multiplied between two prefetches, about a cache line of them.
const LINE: usize = 16;

/// How many values ahead of the multiplication they are fetched: the latency of memory.
const AHEAD: usize = 512;

/// Sums of a row that a product with a vector keeps apart, for the latency of an addition.
pub(super) const CHAINS: usize = 4;

/// Values that a vector of the product with one column takes at once.
pub(super) const EIGHT: usize = 8;

impl<I: Index, V: Float> SimdOp for Vector<'_, I, V> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Self { a, indices, rows, x, out } = self;
        let values = a.values();
        assert!(x.len() == a.cols() && values.len() == indices.len());
        for (row, out) in rows.zip(out) {
            let range = a.indptr()[row]..a.indptr()[row + 1];
            // SAFETY: a matrix has no index beyond its columns, of which x has an element each.
            *out = unsafe { V::dot(s, &values[range.clone()], &indices[range], x) };
        }
    }
}

/// The sum of values times the elements of `x` that they meet, four chains of one each.
///
/// # Safety
/// `x` has an element for every index.
#[inline(always)]
pub(super) unsafe fn dot_by_ones<S: Simd, I: Index, V: Float>(
    s: S,
    values: &[V],
    indices: &[I],
    x: &[V],
) -> V {
    let mut at = 0;
    let mut sums = [V::default(); CHAINS];
    let (lines, rest) = indices.as_chunks::<LINE>();
    for line in lines {
        s.prefetch(values.as_ptr().wrapping_add(at + AHEAD));
        s.prefetch(indices.as_ptr().wrapping_add(at + AHEAD));
        for four in line.as_chunks::<CHAINS>().0 {
            let columns = I::positions(four);
            for chain in 0..CHAINS {
                // SAFETY: as `term` asks, by the caller's promise.
                let (value, x) = unsafe { term(values, x, at + chain, columns[chain]) };
                sums[chain] = value.fused::<S>(x, sums[chain]);
            }
            at += CHAINS;
        }
    }
    let (fours, rest) = rest.as_chunks::<CHAINS>();
    for four in fours {
        for chain in 0..CHAINS {
            // SAFETY: as above.
            let (value, x) = unsafe { term(values, x, at + chain, four[chain].position()) };
            sums[chain] = value.fused::<S>(x, sums[chain]);
        }
        at += CHAINS;
    }
    for index in rest {
        // SAFETY: as above.
        let (value, x) = unsafe { term(values, x, at, index.position()) };
        sums[0] = value.fused::<S>(x, sums[0]);
        at += 1;
    }
    V::total(sums)
}

/// The same, eight values at once: half of the loads are of many values, which leaves the load units to
/// the elements of `x`.
///
/// # Safety
/// `x` has an element for every index; vectors have eight lanes.
#[inline(always)]
pub(super) unsafe fn dot_by_eights<S: Simd, I: Index>(
    s: S,
    values: &[f32],
    indices: &[I],
    x: &[f32],
) -> f32 {
    let mut sums = [s.splat_f32(0.0); 2];
    let (lines, rest) = indices.as_chunks::<LINE>();
    let (value_lines, last) = values.as_chunks::<LINE>();
    for (line, values) in lines.iter().zip(value_lines) {
        s.prefetch(values.as_ptr().wrapping_add(AHEAD));
        s.prefetch(line.as_ptr().wrapping_add(AHEAD));
        for half in 0..2 {
            let fours = line[half * EIGHT..(half + 1) * EIGHT].as_chunks::<4>().0;
            let (low, high) = (I::positions(&fours[0]), I::positions(&fours[1]));
            // SAFETY: by the caller's promise.
            unsafe {
                let values = s.load_f32(values.as_ptr().add(half * EIGHT));
                sums[half] = s.mul_add(values, s.pick_f32(x.as_ptr(), low, high), sums[half]);
            }
        }
    }
    // SAFETY: by the caller's promise.
    s.reduce_add(s.add(sums[0], sums[1])) + unsafe { dot_by_ones(s, last, rest, x) }
}

/// A stored value, and the element of `x` that it multiplies.
///
/// # Safety
/// There is a value at `at`, and `x` has an element for every column of the matrix.
#[inline(always)]
unsafe fn term<V: Copy>(values: &[V], x: &[V], at: usize, column: usize) -> (V, V) {
    // Volatile, or the compiler makes one gather of four loads, which takes longer than they do.
    // SAFETY: by the caller's promise; a matrix has no index beyond its columns.
    unsafe { (*values.get_unchecked(at), x.as_ptr().add(column).read_volatile()) }
}
