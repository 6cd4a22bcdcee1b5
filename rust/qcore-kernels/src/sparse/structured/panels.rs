//! The inner loop of float32 bands.

use super::bands::FloatBands;
use crate::simd::{Simd, SimdOp};

/// How many values ahead of the multiplication they are fetched: the latency of memory.
const AHEAD: usize = 512;

/// The sums of a chunk with `WIDTH` columns of `x`.
pub(super) struct Chunk<'a, const WIDTH: usize> {
    pub(super) a: &'a FloatBands,
    pub(super) index: usize,
    pub(super) x: &'a [f32],
    pub(super) out: &'a mut [f32],
}

/// A band in a panel: what it multiplies, and its sums.
#[derive(Clone, Copy)]
struct Place<'a> {
    columns: &'a [u8],
    /// A value for each column and row.
    values: *const f32,
    /// The rows of `x` of the panel.
    x: *const f32,
    out: *mut f32,
    /// Whether sums start at zero.
    first: bool,
}

impl<const WIDTH: usize> SimdOp for Chunk<'_, WIDTH> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        match WIDTH / S::LANES {
            1 => self.run::<S, 1>(s),
            2 => self.run::<S, 2>(s),
            4 => self.run::<S, 4>(s),
            _ => self.run::<S, 8>(s),
        }
    }
}

impl<const WIDTH: usize> Chunk<'_, WIDTH> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize>(self, s: S) {
        let Self { a, index: chunk, x, out } = self;
        let bands = &a.chunks[chunk];
        let (first, rows) = (a.rows[bands.start], a.rows[bands.end] - a.rows[bands.start]);
        assert!(x.len() == a.cols() * WIDTH && out.len() == rows * WIDTH);
        let (mut column, mut value) = a.starts[chunk];
        let panels = a.panels();
        let counts = &a.counts[bands.start * panels..bands.end * panels];
        if panels == 0 {
            out.fill(0.0);
        }
        for (panel, counts) in counts.chunks_exact(bands.len()).enumerate() {
            let x = x[panel * a.panel * WIDTH..].as_ptr();
            for (band, &count) in bands.clone().zip(counts) {
                let (count, top) = (usize::from(count), a.rows[band] - first);
                let tall = a.rows[band + 1] - a.rows[band];
                let place = Place {
                    columns: &a.columns[column..column + count],
                    values: a.values[value..value + count * tall].as_ptr(),
                    x,
                    out: out[top * WIDTH..(top + tall) * WIDTH].as_mut_ptr(),
                    first: panel == 0,
                };
                column += count;
                value += count * tall;
                // SAFETY: a column is one of this panel, of which x has a row of WIDTH floats each;
                // there is a value for each column and row of the band, and `out` has its rows.
                unsafe {
                    match tall {
                        1 => Self::single::<S, VECTORS>(s, place),
                        2 => Self::band::<S, VECTORS, 2>(s, place),
                        3 => Self::band::<S, VECTORS, 3>(s, place),
                        _ => Self::band::<S, VECTORS, 4>(s, place),
                    }
                }
            }
        }
    }

    /// One row: even and odd columns have sums of their own, for the latency of a multiplication.
    ///
    /// # Safety
    /// The pointers of `place` are valid for what its columns say, `out` for `WIDTH` floats.
    #[allow(clippy::needless_range_loop, reason = "unrolled whole, so that sums stay in registers")]
    #[inline(always)]
    unsafe fn single<S: Simd, const VECTORS: usize>(s: S, place: Place<'_>) {
        let Place { columns, mut values, x, out, first } = place;
        let mut sums = [[s.splat_f32(0.0); VECTORS]; 2];
        // SAFETY: by the caller's promise.
        unsafe {
            let (fours, rest) = columns.as_chunks::<4>();
            for four in fours {
                s.prefetch(values.wrapping_add(AHEAD));
                for at in 0..4 {
                    let value = s.splat_f32(*values.add(at));
                    let x = x.add(usize::from(four[at]) * WIDTH);
                    for vector in 0..VECTORS {
                        let x = s.load_f32(x.add(vector * S::LANES));
                        sums[at % 2][vector] = s.mul_add(value, x, sums[at % 2][vector]);
                    }
                }
                values = values.add(4);
            }
            for &column in rest {
                let value = s.splat_f32(*values);
                let x = x.add(usize::from(column) * WIDTH);
                for vector in 0..VECTORS {
                    let x = s.load_f32(x.add(vector * S::LANES));
                    sums[0][vector] = s.mul_add(value, x, sums[0][vector]);
                }
                values = values.add(1);
            }
            for vector in 0..VECTORS {
                let out = out.add(vector * S::LANES);
                let sum = s.add(sums[0][vector], sums[1][vector]);
                // Panels are added up: a sum of them all would lose what is small beside it.
                s.store_f32(out, if first { sum } else { s.add(s.load_f32(out), sum) });
            }
        }
    }

    /// `TALL` rows at once.
    ///
    /// # Safety
    /// The pointers of `place` are valid for what its columns say, `out` for `TALL * WIDTH` floats.
    #[allow(clippy::needless_range_loop, reason = "unrolled whole, so that sums stay in registers")]
    #[inline(always)]
    unsafe fn band<S: Simd, const VECTORS: usize, const TALL: usize>(s: S, place: Place<'_>) {
        let Place { columns, mut values, x, out, first } = place;
        let mut sums = [[s.splat_f32(0.0); VECTORS]; TALL];
        // SAFETY: by the caller's promise.
        unsafe {
            for &column in columns {
                s.prefetch(values.wrapping_add(AHEAD));
                let from = x.add(usize::from(column) * WIDTH);
                let mut x = [s.splat_f32(0.0); VECTORS];
                for vector in 0..VECTORS {
                    x[vector] = s.load_f32(from.add(vector * S::LANES));
                }
                for row in 0..TALL {
                    let value = s.splat_f32(*values.add(row));
                    for vector in 0..VECTORS {
                        sums[row][vector] = s.mul_add(value, x[vector], sums[row][vector]);
                    }
                }
                values = values.add(TALL);
            }
            for row in 0..TALL {
                for vector in 0..VECTORS {
                    let (out, sum) = (out.add(row * WIDTH + vector * S::LANES), sums[row][vector]);
                    s.store_f32(out, if first { sum } else { s.add(s.load_f32(out), sum) });
                }
            }
        }
    }
}
