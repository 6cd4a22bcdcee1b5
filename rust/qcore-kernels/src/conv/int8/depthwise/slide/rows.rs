//! The loops of windows of 3 x 3: a few rows of the image in, one row of results or two out.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{Job, LINES, WIDE};
use crate::conv::window::Window;

/// Four vectors of one column: quads of rows, or sums.
type Four = [__m512i; 4];

/// What is the same for all.
#[derive(Clone, Copy)]
struct Constants {
    flip: __m512i,
    zero: __m512i,
    low: __m512i,
    high: __m512,
}

impl Constants {
    /// # Safety
    /// The CPU has AVX-512.
    #[inline(always)]
    unsafe fn new(job: &Job<'_>) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            Self {
                flip: _mm512_set1_epi8(job.flip as i8),
                zero: _mm512_set1_epi16(job.zero),
                low: _mm512_set1_epi8(job.low),
                high: _mm512_set1_ps(job.high),
            }
        }
    }
}

/// Four rows of bytes, the four of a channel side by side.
///
/// # Safety
/// The CPU has AVX-512 BW.
#[allow(clippy::many_single_char_names, reason = "rows")]
#[inline(always)]
unsafe fn quads(rows: Four) -> Four {
    // SAFETY: the caller's promise.
    unsafe {
        let [a, b, c, d] = rows;
        let (ab, cd) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
        let (ef, gh) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
        [
            _mm512_unpacklo_epi16(ab, cd),
            _mm512_unpackhi_epi16(ab, cd),
            _mm512_unpacklo_epi16(ef, gh),
            _mm512_unpackhi_epi16(ef, gh),
        ]
    }
}

/// A block of channels of four rows of the image.
struct Source {
    lines: [*const u8; 4],
    width: usize,
    /// Bytes from a pixel to the next.
    step: usize,
    /// Pixels before the image.
    left: usize,
    /// The first channel, and a bit for each that is there.
    first: usize,
    mask: u64,
    flip: __m512i,
}

impl Source {
    /// A column, counted from the first before the image; `around` outside.
    ///
    /// # Safety
    /// The CPU has AVX-512 BW; the rows have so many pixels with these channels.
    #[inline(always)]
    unsafe fn column(&self, x: usize, around: Four) -> Four {
        let x = x.wrapping_sub(self.left);
        if x >= self.width {
            return around;
        }
        let at = x * self.step + self.first;
        let mut rows = around;
        // SAFETY: the caller's promise.
        unsafe {
            for (row, line) in rows.iter_mut().zip(self.lines) {
                let bytes = _mm512_maskz_loadu_epi8(self.mask, line.add(at).cast());
                *row = _mm512_xor_si512(bytes, self.flip);
            }
            quads(rows)
        }
    }
}

/// The codes of a place.
///
/// # Safety
/// The CPU has AVX-512 VNNI; `weights` has 12 vectors, `start` and `factor` four each.
#[inline(always)]
unsafe fn codes<const SIGNED: bool>(
    constants: Constants,
    columns: &[Four; 3],
    weights: *const u8,
    start: *const u8,
    factor: *const u8,
) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe {
        let mut levels = [_mm512_setzero_si512(); 4];
        for vector in 0..4 {
            let mut sum = _mm512_load_si512(start.add(vector * WIDE).cast());
            for (column, quads) in columns.iter().enumerate() {
                let weight = _mm512_load_si512(weights.add((column * 4 + vector) * WIDE).cast());
                sum = _mm512_dpbusd_epi32(sum, quads[vector], weight);
            }
            let factor = _mm512_load_ps(factor.add(vector * WIDE).cast());
            let level = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), factor);
            // As in `epilogue`: below all codes is what anything below them is.
            levels[vector] = _mm512_cvtps_epi32(_mm512_min_ps(constants.high, level));
        }
        let Constants { zero, low, .. } = constants;
        let first = _mm512_adds_epi16(_mm512_packs_epi32(levels[0], levels[1]), zero);
        let second = _mm512_adds_epi16(_mm512_packs_epi32(levels[2], levels[3]), zero);
        if SIGNED {
            _mm512_max_epi8(_mm512_packs_epi16(first, second), low)
        } else {
            _mm512_max_epu8(_mm512_packus_epi16(first, second), low)
        }
    }
}

/// The first `count` bytes of a vector.
///
/// # Safety
/// The CPU has AVX-512 BW; `to` is valid for writing them.
#[inline(always)]
unsafe fn store(to: *mut u8, count: usize, bytes: __m512i) {
    // SAFETY: the caller's promise.
    unsafe {
        if count >= WIDE {
            _mm512_storeu_si512(to.cast(), bytes);
        } else {
            _mm512_mask_storeu_epi8(to.cast(), mask(count), bytes);
        }
    }
}

/// The first `count` of 64 bits.
fn mask(count: usize) -> u64 {
    if count >= WIDE { u64::MAX } else { (1 << count) - 1 }
}

/// Rows of places, 64 channels at a time.
///
/// # Safety
/// The CPU has AVX-512 VNNI; the rows exist, and nobody else touches their results.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn blocks<const SIGNED: bool>(job: &Job<'_>, range: Range<usize>) {
    // SAFETY: rows of the image, or that of what lies around it, have `width * channels` bytes each, of
    // which only those of the block are read; weights, starts and factors have all blocks.
    unsafe {
        let constants = Constants::new(job);
        let [_, _, width, channels] = job.x.shape;
        let Window { stride, padding, .. } = job.slide.window;
        let (columns, left) = (job.shape[1], padding[1][0]);
        let around = [_mm512_set1_epi8((job.around ^ job.flip) as i8); 4];
        let mut row = range.start;
        while row < range.end {
            let together = job.together(row, range.end);
            let mut lines = [job.room.cast_const(); 4];
            for (tap, line) in lines.iter_mut().enumerate().take(2 + together) {
                *line = job.line(row, tap).unwrap_or(*line);
            }
            for block in 0..channels.div_ceil(WIDE) {
                let first = block * WIDE;
                let count = (channels - first).min(WIDE);
                let mask = mask(count);
                let weights = job.slide.lines.as_ptr().add(block * LINES);
                let start = job.start.add(block * 4 * WIDE);
                let factor = job.factor.add(block * 4 * WIDE);
                let source = Source {
                    lines,
                    width,
                    step: channels,
                    left,
                    first,
                    mask,
                    flip: constants.flip,
                };
                let mut window = [source.column(0, around), source.column(1, around), around];
                let mut to = job.out.add(row * columns * channels + first);
                for place in 0..columns {
                    let x = place * stride[1];
                    if stride[1] == 2 && place > 0 {
                        window[1] = source.column(x + 1, around);
                    }
                    window[2] = source.column(x + 2, around);
                    let found = codes::<SIGNED>(constants, &window, weights, start, factor);
                    store(to, count, found);
                    if together == 2 {
                        let weights = weights.add(LINES / 2);
                        let found = codes::<SIGNED>(constants, &window, weights, start, factor);
                        store(to.add(columns * channels), count, found);
                    }
                    window[0] = if stride[1] == 2 { window[2] } else { window[1] };
                    window[1] = window[2];
                    to = to.add(channels);
                }
            }
            row += together;
        }
    }
}

/// Rows of places, 64 bytes of pixels at a time.
///
/// # Safety
/// As [`blocks`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn pixels<const SIGNED: bool>(job: &Job<'_>, range: Range<usize>) {
    // SAFETY: the room has four rows with `left` pixels before and what is missing of the places' last
    // vectors behind; rows of the image have `width` pixels.
    unsafe {
        let constants = Constants::new(job);
        let [_, _, width, channels] = job.x.shape;
        let Window { stride, padding, .. } = job.slide.window;
        let [rows, columns] = job.shape;
        let left = padding[1][0].min(columns + 2);
        let len = width.min(columns + 2 - left) * channels;
        let weights = job.slide.lines.as_ptr();
        let copy = |slot: usize, line: Option<*const u8>| {
            let to = job.room.add(slot * job.pitch + left * channels);
            let to = std::slice::from_raw_parts_mut(to, len);
            match line {
                None => to.fill(job.around ^ job.flip),
                Some(line) => {
                    for (to, &byte) in to.iter_mut().zip(std::slice::from_raw_parts(line, len)) {
                        *to = byte ^ job.flip;
                    }
                }
            }
        };
        // The first row of the image whose rows are in the room, each at its number modulo 4.
        let mut held: Option<(usize, usize)> = None;
        let mut row = range.start;
        while row < range.end {
            let together = job.together(row, range.end);
            let (n, top) = (row / rows, row % rows * stride[0]);
            for tap in 0..2 + together {
                let there = held.is_some_and(|(image, end)| image == n && top + tap < end);
                if !there {
                    copy((top + tap) % 4, job.line(row, tap));
                }
            }
            held = Some((n, top + 2 + together));
            let mut lines = [job.room.cast_const(); 4];
            for (tap, line) in lines.iter_mut().enumerate() {
                *line = job.room.add((top + tap) % 4 * job.pitch).cast_const();
            }
            let size = columns * channels;
            let out = job.out.add(row * size);
            for at in (0..size).step_by(WIDE) {
                let mut window = [[constants.flip; 4]; 3];
                for (column, four) in window.iter_mut().enumerate() {
                    let mut bytes = [constants.flip; 4];
                    for (bytes, line) in bytes.iter_mut().zip(lines) {
                        *bytes = _mm512_loadu_si512(line.add(at + column * channels).cast());
                    }
                    *four = quads(bytes);
                }
                let count = (size - at).min(WIDE);
                for lower in 0..together {
                    let weights = weights.add(lower * LINES / 2);
                    let found = codes::<SIGNED>(constants, &window, weights, job.start, job.factor);
                    store(out.add(lower * size + at), count, found);
                }
            }
            row += together;
        }
    }
}
