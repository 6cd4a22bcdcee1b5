//! The sums of a block of places.

use std::ops::Range;

use super::Sparse;
use super::bands::PLACES;
use crate::simd::{Dot4, Dot4Op};

/// The sums of some outputs, [`PLACES`] places for each. Whoever makes one vouches for an offset of
/// every tap, for the bytes that lie there, for a start of each output, and for room for the sums of
/// whole groups.
pub(super) struct Multiply<'a> {
    pub(super) weights: &'a Sparse,
    pub(super) outputs: Range<usize>,
    pub(super) x: *const u8,
    /// None where taps are offsets.
    pub(super) offsets: Option<*const u32>,
    pub(super) start: *const i32,
    pub(super) sums: *mut i32,
}

impl Dot4Op for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<D: Dot4>(self, d: D) {
        match self.offsets {
            None => self.all::<D, true>(d),
            Some(_) => self.all::<D, false>(d),
        }
    }
}

impl Multiply<'_> {
    #[inline(always)]
    fn all<D: Dot4, const POINT: bool>(&self, d: D) {
        let together = self.weights.together;
        for output in self.outputs.clone().step_by(together) {
            match together {
                4 if D::ROWS >= 4 => self.rows::<D, POINT, 4>(d, output, 0),
                1 => self.rows::<D, POINT, 1>(d, output, 0),
                _ if D::ROWS >= 2 => {
                    for first in (0..together).step_by(2) {
                        self.rows::<D, POINT, 2>(d, output, first);
                    }
                }
                _ => {
                    for first in 0..together {
                        self.rows::<D, POINT, 1>(d, output, first);
                    }
                }
            }
        }
    }

    /// Where a tap's bytes lie from those of a place.
    ///
    /// # Safety
    /// `offsets` has one for every tap, unless taps are offsets.
    #[inline(always)]
    unsafe fn place<const POINT: bool>(offsets: *const u32, tap: u32) -> usize {
        if POINT {
            return tap as usize;
        }
        // SAFETY: the caller's promise.
        unsafe { *offsets.add(tap as usize) as usize }
    }

    /// The sums of `ROWS` outputs of the group that starts with `output`, from the `first` on.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "loops of known length keep sums in registers")]
    fn rows<D: Dot4, const POINT: bool, const ROWS: usize>(
        &self,
        d: D,
        output: usize,
        first: usize,
    ) {
        let offsets = self.offsets.unwrap_or(std::ptr::null());
        let Self { weights, outputs, x, start, sums, .. } = self;
        let together = weights.together;
        let steps = weights.starts[output / together]..weights.starts[output / together + 1];
        let (taps, codes) =
            (&weights.taps[steps.clone()], &weights.codes[steps.start * together..]);
        assert!(first + ROWS <= together && codes.len() >= taps.len() * together, "their codes");
        for column in (0..PLACES).step_by(D::COLUMNS) {
            // SAFETY: the maker's promise; every step has a code for each output of the group.
            unsafe {
                let x = x.add(column);
                let mut found = [[d.splat(0); 4]; ROWS];
                for row in 0..ROWS {
                    found[row] = [d.splat(*start.add(output + first + row)); 4];
                }
                let mut codes = codes.as_ptr().add(first);
                for taps in taps {
                    let columns = d.interleave([
                        x.add(Self::place::<POINT>(offsets, taps[0])),
                        x.add(Self::place::<POINT>(offsets, taps[1])),
                        x.add(Self::place::<POINT>(offsets, taps[2])),
                        x.add(Self::place::<POINT>(offsets, taps[3])),
                    ]);
                    for row in 0..ROWS {
                        let code = d.splat(*codes.add(row));
                        for quarter in 0..4 {
                            let sum = found[row][quarter];
                            found[row][quarter] = d.dot_data(sum, columns[quarter], code);
                        }
                    }
                    codes = codes.wrapping_add(together);
                }
                for row in 0..ROWS {
                    let at = (output - outputs.start + first + row) * PLACES + column;
                    d.store(sums.add(at), found[row]);
                }
            }
        }
    }
}
