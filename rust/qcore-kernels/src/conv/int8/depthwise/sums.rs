//! The sums of places side by side, from interleaved rows.

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
                // SAFETY: as below.
                unsafe {
                    if three {
                        self.places.slide::<D, 1, 3>(d, at, to);
                    } else {
                        self.places.slide::<D, 2, 5>(d, at, to);
                    }
                }
                at += lanes;
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

    /// [`Places::column`] where places slide over `GROUPS` rows of `WIDE` quads: these stay in registers
    /// for the places that they are read for.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn slide<D: Dot4, const GROUPS: usize, const WIDE: usize>(
        &self,
        d: D,
        at: usize,
        out: *mut i32,
    ) {
        let width = self.start.len();
        // SAFETY: the caller's promise.
        unsafe {
            let mut weights = [[d.splat(0); WIDE]; GROUPS];
            for group in 0..GROUPS {
                for column in 0..WIDE {
                    let quad = (group * WIDE + column) * width + at;
                    weights[group][column] = d.load(self.weights.as_ptr().add(4 * quad));
                }
            }
            let pairs = D::PAIRS && self.small;
            let mut place = 0;
            while place + TOGETHER <= self.count {
                let to = out.add(place * width);
                if pairs {
                    self.slid::<D, GROUPS, WIDE, TOGETHER, true>(d, &weights, place, at, to);
                } else {
                    self.slid::<D, GROUPS, WIDE, TOGETHER, false>(d, &weights, place, at, to);
                }
                place += TOGETHER;
            }
            while place < self.count {
                let to = out.add(place * width);
                self.slid::<D, GROUPS, WIDE, 1, false>(d, &weights, place, at, to);
                place += 1;
            }
        }
    }

    /// [`Places::slide`] of `N` places; with `PAIRS`, of weights none of which is -128.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn slid<
        D: Dot4,
        const GROUPS: usize,
        const WIDE: usize,
        const N: usize,
        const PAIRS: bool,
    >(
        &self,
        d: D,
        weights: &[[D::I32; WIDE]; GROUPS],
        place: usize,
        at: usize,
        to: *mut i32,
    ) {
        let (width, step) = (self.start.len(), self.step);
        // SAFETY: the caller's promise; a vector of D is lanes of int32.
        unsafe {
            let start = self.start.as_ptr().add(at);
            let mut sums = [d.splat(0); N];
            for index in 0..N {
                sums[index] = d.read(start);
            }
            for group in 0..GROUPS {
                let first = place * step + *self.taps.get_unchecked(group * WIDE) + 4 * at;
                let first = self.quads.as_ptr().add(first);
                let mut quads = [d.splat(0); MOST];
                for column in 0..N + WIDE - 1 {
                    quads[column] = d.load(first.add(column * step));
                }
                // Not a loop: it would not be unrolled, and quads be in memory.
                macro_rules! place {
                    ($($index:literal)+) => {$(
                        if $index < N {
                            let mut data = [quads[$index]; WIDE];
                            for column in 1..WIDE {
                                data[column] = quads[$index + column];
                            }
                            if PAIRS {
                                sums[$index] = d.dot_several(sums[$index], data, weights[group]);
                            } else {
                                for column in 0..WIDE {
                                    let weight = weights[group][column];
                                    sums[$index] = d.dot_data(sums[$index], data[column], weight);
                                }
                            }
                        }
                    )+};
                }
                place!(0 1 2 3);
            }
            for index in 0..N {
                to.add(index * width).cast::<D::I32>().write_unaligned(sums[index]);
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
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::simd::{data_of, dispatch_dot};

    /// Bytes, many of them the greatest and the least.
    fn bytes(seed: u32, len: usize, least: u8) -> Vec<u8> {
        let mut state = seed;
        let byte = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match state >> 30 {
                0 => least,
                1 => 0x7f,
                _ if (state >> 16) as u8 == 0x80 => least,
                _ => (state >> 16) as u8,
            }
        };
        (0..len).map(byte).collect()
    }

    #[test]
    fn windows_slide() {
        for (groups, wide) in [(1, 3), (2, 5)] {
            for width in [16, 20, 24, 44] {
                for count in 1..10 {
                    for least in [0x80, 0x81] {
                        check(groups, wide, width, count, least);
                    }
                }
            }
        }
    }

    fn check(groups: usize, wide: usize, width: usize, count: usize, least: u8) {
        let (step, row) = (4 * width, 4 * width * (count + wide - 1));
        let quads = bytes(count as u32, groups * row, 0x80);
        let weights = bytes(7 + count as u32, groups * wide * 4 * width, least);
        let tap = |index: usize| index / wide * row + index % wide * step;
        let taps: Vec<usize> = (0..groups * wide).map(tap).collect();
        let start: Vec<i32> = (0..width as i32).map(|at| at * 1001 - 5000).collect();
        let places = Places {
            quads: &quads,
            taps: &taps,
            weights: &weights,
            start: &start,
            step,
            count,
            small: least == 0x81,
        };
        assert!(places.slides(groups, wide));
        for isa in Isa::available() {
            let signed = data_of(isa, true).0 == 0;
            let mut found = vec![0; count * width];
            dispatch_dot(isa, Sums { places, sums: &mut found });
            for (at, &found) in found.iter().enumerate() {
                let (place, channel) = (at / width, at % width);
                let mut sum = start[channel];
                for (index, tap) in taps.iter().enumerate() {
                    for byte in 0..4 {
                        let code = quads[place * step + tap + 4 * channel + byte];
                        let code = if signed { i32::from(code as i8) } else { i32::from(code) };
                        let weight = weights[4 * (index * width + channel) + byte];
                        sum += code * i32::from(weight as i8);
                    }
                }
                assert_eq!(found, sum, "{isa} {groups}x{wide}, {count} places: {place}, {channel}");
            }
        }
    }
}
