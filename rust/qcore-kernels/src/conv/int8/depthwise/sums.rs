//! The sums of places side by side, from interleaved rows.

#[cfg(target_arch = "aarch64")]
mod in_order;
#[cfg(target_arch = "aarch64")]
mod pairs;

#[cfg(target_arch = "aarch64")]
use crate::isa::runs_in_order;
use crate::simd::{Dot4, Dot4Op};

/// Places that are computed at once: each weight is loaded once for all of them.
const TOGETHER: usize = 4;
/// Quads that so many places of a window five wide read.
const MOST: usize = TOGETHER + 5 - 1;

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
    /// Whether no weight is -128.
    pub(super) small: bool,
}

/// What stays in registers while places slide over their quads: weights, what sums start from, and the
/// first quad of each row.
struct Kept<D: Dot4, const GROUPS: usize, const WIDE: usize, const VECTORS: usize> {
    weights: [[[D::I32; VECTORS]; WIDE]; GROUPS],
    start: [D::I32; VECTORS],
    rows: [*const u8; GROUPS],
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
        let Places { quads, taps, weights, start, step, count, .. } = self.places;
        let (width, lanes) = (start.len(), D::COLUMNS / 4);
        let reach = taps.iter().copied().max().unwrap_or(0);
        let last = count.saturating_sub(1) * step + reach + 4 * width;
        assert!(width >= lanes && self.sums.len() >= count * width);
        assert!(quads.len() >= last && weights.len() >= 4 * taps.len() * width);
        let (three, five) = (self.places.slides(1, 3), self.places.slides(2, 5));
        let mut at = 0;
        while at < width {
            // The last vector ends with the channels and so repeats some.
            at = at.min(width - lanes);
            let to = self.sums[at..].as_mut_ptr();
            if D::KEEPS && (three || five) {
                // Products of 16 bits need the registers for themselves.
                let two = three && !D::PAIRS && at + 2 * lanes <= width;
                // SAFETY: as below.
                unsafe {
                    if two {
                        self.places.slide::<D, 1, 3, 2>(d, at, to);
                    } else if three {
                        self.places.slide::<D, 1, 3, 1>(d, at, to);
                    } else {
                        self.places.slide::<D, 2, 5, 1>(d, at, to);
                    }
                }
                at += lanes * if two { 2 } else { 1 };
                continue;
            }
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
    /// Whether taps are `groups` rows of `wide` quads side by side, which the next place has in common
    /// with this one but for the first.
    fn slides(&self, groups: usize, wide: usize) -> bool {
        self.taps.len() == groups * wide
            && self.taps.iter().enumerate().all(|(index, &tap)| {
                tap == self.taps[index - index % wide] + index % wide * self.step
            })
    }

    /// [`Places::column`] of `VECTORS` vectors side by side, where places slide over `GROUPS` rows of
    /// `WIDE` quads: these stay in registers for the places that they are read for. Two vectors of a
    /// place are written as a pair, which costs some cores half of what two stores do.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn slide<D: Dot4, const GROUPS: usize, const WIDE: usize, const VECTORS: usize>(
        &self,
        d: D,
        at: usize,
        out: *mut i32,
    ) {
        let (width, lanes) = (self.start.len(), D::COLUMNS / 4);
        // SAFETY: the caller's promise.
        unsafe {
            let mut weights = [[[d.splat(0); VECTORS]; WIDE]; GROUPS];
            for group in 0..GROUPS {
                for column in 0..WIDE {
                    let quad = (group * WIDE + column) * width + at;
                    let first = self.weights.as_ptr().add(4 * quad);
                    for vector in 0..VECTORS {
                        weights[group][column][vector] = d.load(first.add(vector * D::COLUMNS));
                    }
                }
            }
            let mut start = [d.splat(0); VECTORS];
            for vector in 0..VECTORS {
                start[vector] = d.load(self.start.as_ptr().add(at + vector * lanes).cast());
            }
            let mut rows = [self.quads.as_ptr(); GROUPS];
            for group in 0..GROUPS {
                rows[group] = rows[group].add(self.taps[group * WIDE] + 4 * at);
            }
            let kept = Kept { weights, start, rows };
            let pairs = D::PAIRS && self.small;
            let mut place = 0;
            #[cfg(target_arch = "aarch64")]
            if runs_in_order() {
                place = self.slid_in_order(d, &kept, at, out);
            }
            while place + TOGETHER <= self.count {
                let to = out.add(place * width);
                if pairs {
                    self.slid::<D, GROUPS, WIDE, VECTORS, TOGETHER, true, false>(
                        d, &kept, place, at, to,
                    );
                } else {
                    self.slid::<D, GROUPS, WIDE, VECTORS, TOGETHER, false, false>(
                        d, &kept, place, at, to,
                    );
                }
                place += TOGETHER;
            }
            while place < self.count {
                let to = out.add(place * width);
                self.slid::<D, GROUPS, WIDE, VECTORS, 1, false, false>(d, &kept, place, at, to);
                place += 1;
            }
        }
    }

    /// [`Places::slide`] of `N` places; with `PAIRS`, of weights none of which is -128; with `HALVES`, as
    /// cores that run in order read registers.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn slid<
        D: Dot4,
        const GROUPS: usize,
        const WIDE: usize,
        const VECTORS: usize,
        const N: usize,
        const PAIRS: bool,
        const HALVES: bool,
    >(
        &self,
        d: D,
        kept: &Kept<D, GROUPS, WIDE, VECTORS>,
        place: usize,
        at: usize,
        to: *mut i32,
    ) {
        let (width, step, lanes) = (self.start.len(), self.step, D::COLUMNS / 4);
        // SAFETY: the caller's promise; a vector of D is lanes of int32.
        unsafe {
            let start = self.start.as_ptr().add(at);
            // To copy takes a pipe that multiplies, to read takes another: both have time for some.
            let mut sums = [kept.start; N];
            if !HALVES {
                for index in 1..N {
                    for vector in 0..VECTORS {
                        sums[index][vector] = d.read(start.add(vector * lanes));
                    }
                }
            }
            for group in 0..GROUPS {
                let mut weights = kept.weights[group];
                if HALVES && GROUPS > 1 {
                    // They are not in registers.
                    for column in 0..WIDE {
                        for vector in 0..VECTORS {
                            let weight = &raw const kept.weights[group][column][vector];
                            weights[column][vector] = d.load_in_halves(weight.cast());
                        }
                    }
                }
                let first = kept.rows[group].add(place * step);
                let mut quads = [[d.splat(0); VECTORS]; MOST];
                for column in 0..N + WIDE - 1 {
                    for vector in 0..VECTORS {
                        let quad = first.add(column * step + vector * D::COLUMNS);
                        quads[column][vector] =
                            if HALVES { d.load_in_halves(quad) } else { d.load(quad) };
                    }
                }
                // Not a loop: it would not be unrolled, and quads be in memory.
                macro_rules! place {
                    ($($index:literal)+) => {$(
                        if $index < N {
                            for vector in 0..VECTORS {
                                let mut data = [quads[$index][vector]; WIDE];
                                let mut each = [weights[0][vector]; WIDE];
                                for column in 1..WIDE {
                                    data[column] = quads[$index + column][vector];
                                    each[column] = weights[column][vector];
                                }
                                let sum = &mut sums[$index][vector];
                                if PAIRS {
                                    *sum = d.dot_several(*sum, data, each);
                                } else {
                                    for column in 0..WIDE {
                                        *sum = d.dot_data(*sum, data[column], each[column]);
                                    }
                                }
                            }
                        }
                    )+};
                }
                place!(0 1 2 3);
            }
            for index in 0..N {
                for vector in 0..VECTORS {
                    let to = to.add(index * width + vector * lanes);
                    to.cast::<D::I32>().write_unaligned(sums[index][vector]);
                }
            }
        }
    }

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

#[cfg(test)]
mod tests;
