//! The sums of places side by side, from interleaved rows.

use crate::simd::{Dot4, Dot4Op};

/// Places that are computed at once: each weight is loaded once for all of them.
const TOGETHER: usize = 4;

/// Places side by side: where their quads lie, and what these are multiplied with.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    /// From the first quad of the first place on.
    pub(super) quads: &'a [u8],
    /// Bytes from the first quad of a place to each that is summed.
    pub(super) taps: &'a [usize],
    /// As many quads of weights for each tap as there are starts.
    pub(super) weights: &'a [u8],
    /// What the sums start from.
    pub(super) start: &'a [i32],
    /// Bytes from a place to the next.
    pub(super) step: usize,
    pub(super) count: usize,
}

/// The sums of places, as many for each as there are starts.
pub(super) struct Sums<'a> {
    pub(super) places: Places<'a>,
    pub(super) sums: &'a mut [i32],
}

impl Dot4Op for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<D: Dot4>(self, d: D) {
        let Places { quads, taps, weights, start, step, count } = self.places;
        let (width, lanes) = (start.len(), D::COLUMNS / 4);
        let reach = taps.iter().copied().max().unwrap_or(0);
        let last = count.saturating_sub(1) * step + reach + 4 * width;
        assert!(width >= lanes && self.sums.len() >= count * width);
        assert!(quads.len() >= last && weights.len() >= 4 * taps.len() * width);
        let mut at = 0;
        while at < width {
            // The last vector ends with the channels and so repeats some.
            at = at.min(width - lanes);
            let to = self.sums[at..].as_mut_ptr();
            // SAFETY: the quads of the last place, the weights and the sums were just checked, and
            // those of the places before it lie before them.
            unsafe {
                // 3 x 3 and 5 x 5: weights stay in registers.
                match taps.len() {
                    3 => self.places.column::<D, 3>(d, at, to),
                    10 => self.places.column::<D, 10>(d, at, to),
                    _ => self.places.any(d, at, to),
                }
            }
            at += lanes;
        }
    }
}

#[allow(clippy::needless_range_loop, reason = "loops over indices are unrolled whole")]
impl Places<'_> {
    /// A vector of sums of every place, from `at` on; there are `TAPS` taps.
    ///
    /// # Safety
    /// The places have their quads and weights; `out` is valid for writing a vector of each place.
    #[inline(always)]
    unsafe fn column<D: Dot4, const TAPS: usize>(&self, d: D, at: usize, out: *mut i32) {
        let (width, step) = (self.start.len(), self.step);
        // SAFETY: the caller's promise; a vector of D is lanes of int32.
        unsafe {
            let start = self.start.as_ptr().add(at).cast::<D::I32>().read_unaligned();
            let mut weights = [start; TAPS];
            let mut taps = [0; TAPS];
            for tap in 0..TAPS {
                weights[tap] = d.load(self.weights.as_ptr().add(4 * (tap * width + at)));
                taps[tap] = *self.taps.get_unchecked(tap);
            }
            let mut from = self.quads.as_ptr().add(4 * at);
            let mut to = out;
            for _ in 0..self.count / TOGETHER {
                let mut sums = [start; TOGETHER];
                for tap in 0..TAPS {
                    for place in 0..TOGETHER {
                        let quad = d.load(from.add(taps[tap] + place * step));
                        sums[place] = d.dot_data(sums[place], quad, weights[tap]);
                    }
                }
                for place in 0..TOGETHER {
                    to.add(place * width).cast::<D::I32>().write_unaligned(sums[place]);
                }
                from = from.wrapping_add(TOGETHER * step);
                to = to.wrapping_add(TOGETHER * width);
            }
            for _ in 0..self.count % TOGETHER {
                let mut sum = start;
                for tap in 0..TAPS {
                    sum = d.dot_data(sum, d.load(from.add(taps[tap])), weights[tap]);
                }
                to.cast::<D::I32>().write_unaligned(sum);
                from = from.wrapping_add(step);
                to = to.wrapping_add(width);
            }
        }
    }

    /// [`Places::column`] of any number of taps.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn any<D: Dot4>(&self, d: D, at: usize, out: *mut i32) {
        let mut place = 0;
        while place < self.count {
            // SAFETY: the caller's promise.
            unsafe {
                let to = out.add(place * self.start.len());
                if place + TOGETHER <= self.count {
                    self.group::<D, TOGETHER>(d, place, at, to);
                    place += TOGETHER;
                } else {
                    self.group::<D, 1>(d, place, at, to);
                    place += 1;
                }
            }
        }
    }

    /// A vector of sums, from `at` on, of `N` places.
    ///
    /// # Safety
    /// As [`Places::column`].
    #[inline(always)]
    unsafe fn group<D: Dot4, const N: usize>(&self, d: D, place: usize, at: usize, out: *mut i32) {
        let width = self.start.len();
        // SAFETY: the caller's promise; a vector of D is lanes of int32.
        unsafe {
            let start = self.start.as_ptr().add(at).cast::<D::I32>().read_unaligned();
            let mut sums = [start; N];
            let origin = self.quads.as_ptr().add(place * self.step + 4 * at);
            let mut weights = self.weights.as_ptr().add(4 * at);
            for &tap in self.taps {
                let weight = d.load(weights);
                weights = weights.wrapping_add(4 * width);
                let from = origin.add(tap);
                for index in 0..N {
                    let quad = d.load(from.add(index * self.step));
                    sums[index] = d.dot_data(sums[index], quad, weight);
                }
            }
            for index in 0..N {
                out.add(index * width).cast::<D::I32>().write_unaligned(sums[index]);
            }
        }
    }

    /// Few channels, without vectors; `signed` is whether quads are.
    pub(super) fn one_by_one(&self, outputs: usize, signed: bool, sums: &mut [i32]) {
        for (place, sums) in sums.chunks_exact_mut(outputs).take(self.count).enumerate() {
            for (output, sum) in sums.iter_mut().enumerate() {
                *sum = self.start[output];
                for (index, tap) in self.taps.iter().enumerate() {
                    let quad = &self.quads[place * self.step + tap + 4 * output..][..4];
                    let weights = &self.weights[4 * (index * self.start.len() + output)..][..4];
                    for (&code, &weight) in quad.iter().zip(weights) {
                        let code = if signed { i32::from(code as i8) } else { i32::from(code) };
                        *sum += code * i32::from(weight as i8);
                    }
                }
            }
        }
    }
}
