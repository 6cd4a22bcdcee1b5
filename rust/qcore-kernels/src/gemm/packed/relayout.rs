//! Lines of packed B as another kernel wants them: fours to pairs, bytes to words.

use std::borrow::Cow;
use std::ops::Range;

use super::PackedI8;
use crate::error::Result;
use crate::gemm::microkernel::{GROUP_BYTES, Layout, PANEL};
use crate::gemm::registry::kernel_for;
use crate::interrupt::Pace;
use crate::isa::Isa;
use crate::simd::{Simd, SimdOp, dispatch};

/// The whole of `b` as the kernel for `isa` wants it: `b` itself where it was packed so.
pub(in crate::gemm) fn laid_out(isa: Isa, b: &PackedI8) -> Result<Cow<'_, PackedI8>> {
    let layout = kernel_for(isa).layout;
    if b.layout() == layout {
        return Ok(Cow::Borrowed(b));
    }
    let mut made = PackedI8::default();
    relay(isa, b, 0..b.n().div_ceil(PANEL), layout, &mut made)?;
    Ok(Cow::Owned(made))
}

/// Some panels of `b`, laid out in `room` as `layout` says. Columns count from the first panel's.
pub(in crate::gemm) fn relay(
    isa: Isa,
    b: &PackedI8,
    panels: Range<usize>,
    layout: Layout,
    room: &mut PackedI8,
) -> Result<()> {
    room.reserve_like(b, panels.clone(), layout)?;
    let mut pace = Pace::new();
    let lines = b.groups() * GROUP_BYTES;
    for (index, panel) in panels.enumerate() {
        pace.check(lines)?;
        let out = room.panel_mut(index);
        let from = b.panel(panel);
        match (b.layout(), layout) {
            (from_layout, to) if from_layout == to => {
                let bytes = to.whole_groups(b.groups()) * to.line_bytes();
                // SAFETY: a panel of either has so many bytes, and the room is another's memory.
                unsafe { from.copy_to_nonoverlapping(out, bytes) };
            }
            (Layout::Pairs, Layout::WidePairs) => {
                // SAFETY: a panel has `lines` bytes, and as many words once it is wide.
                unsafe {
                    let words = std::slice::from_raw_parts_mut(out.cast::<Word>(), lines);
                    widen(isa, std::slice::from_raw_parts(from, lines), false, words);
                }
            }
            (from_layout, to) => {
                let groups = b.groups();
                for group in 0..to.whole_groups(groups) {
                    // SAFETY: both panels have this depth group, or the one that is written alone and
                    // is filled up.
                    unsafe {
                        let line = from.wrapping_add(from_layout.group_offset(group));
                        let fours = match from_layout {
                            _ if group >= groups => [0; GROUP_BYTES],
                            Layout::Fours => line.cast::<[u8; GROUP_BYTES]>().read(),
                            _ => to_fours(line, from_layout),
                        };
                        line_from_fours(&fours, to, out.add(to.group_offset(group)));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Writes a line of fours as `layout` says; of a layout with lines of two, its half of one.
///
/// # Safety
/// `out` is valid for writing a line of that layout.
#[inline(always)]
pub(in crate::gemm) unsafe fn line_from_fours(
    fours: &[u8; GROUP_BYTES],
    layout: Layout,
    out: *mut u8,
) {
    // SAFETY: the caller vouches for a line; each writes no more.
    unsafe {
        match layout {
            Layout::Fours => out.cast::<[u8; GROUP_BYTES]>().write_unaligned(*fours),
            Layout::Pairs => pairs_of(fours, out),
            Layout::Eights => {
                let (fours, _) = fours.as_chunks::<4>();
                for (column, four) in fours.iter().enumerate() {
                    out.add(layout.place(column, 0)).cast::<[u8; 4]>().write(*four);
                }
            }
            Layout::WidePairs => {
                let mut pairs = [0_u8; GROUP_BYTES];
                pairs_of(fours, pairs.as_mut_ptr());
                for (at, &byte) in pairs.iter().enumerate() {
                    out.cast::<Word>().add(at).write(i16::from(byte as i8).to_ne_bytes());
                }
            }
        }
    }
}

/// Each dword's first half, then each dword's second.
///
/// # Safety
/// `out` is valid for writing a line.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn pairs_of(fours: &[u8; GROUP_BYTES], out: *mut u8) {
    use std::arch::x86_64::*;
    // SAFETY: the line has four vectors, and so has `out`; SSE2 is part of x86-64.
    unsafe {
        let mut quarters = [_mm_setzero_si128(); 4];
        for (at, quarter) in quarters.iter_mut().enumerate() {
            let columns = _mm_loadu_si128(fours.as_ptr().add(16 * at).cast());
            // Words 0 2 1 3 of each half, then dwords: first halves, second halves.
            let words = _mm_shufflelo_epi16::<0b11_01_10_00>(columns);
            let words = _mm_shufflehi_epi16::<0b11_01_10_00>(words);
            *quarter = _mm_shuffle_epi32::<0b11_01_10_00>(words);
        }
        let [a, b, c, d] = quarters;
        _mm_storeu_si128(out.cast(), _mm_unpacklo_epi64(a, b));
        _mm_storeu_si128(out.add(16).cast(), _mm_unpacklo_epi64(c, d));
        _mm_storeu_si128(out.add(32).cast(), _mm_unpackhi_epi64(a, b));
        _mm_storeu_si128(out.add(48).cast(), _mm_unpackhi_epi64(c, d));
    }
}

/// Each dword's first half, then each dword's second.
///
/// # Safety
/// `out` is valid for writing a line.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn pairs_of(fours: &[u8; GROUP_BYTES], out: *mut u8) {
    for (at, &byte) in fours.iter().enumerate() {
        // SAFETY: every place is within the line.
        unsafe { out.add(Layout::Pairs.place(at / 4, at % 4)).write(byte) };
    }
}

/// A line of any layout as fours.
///
/// # Safety
/// `line` is valid for reading a line of `layout`.
unsafe fn to_fours(line: *const u8, layout: Layout) -> [u8; GROUP_BYTES] {
    let mut fours = [0; GROUP_BYTES];
    for column in 0..PANEL {
        for k in 0..4 {
            // SAFETY: the place is within the line; a word's first byte is its low one.
            fours[Layout::Fours.place(column, k)] = unsafe { *line.add(layout.place(column, k)) };
        }
    }
    fours
}

/// A 16-bit integer wherever it lies.
type Word = [u8; 2];

/// Bytes as 16-bit integers of the same value.
///
/// # Panics
/// If the lengths differ.
pub(in crate::gemm) fn widen(isa: Isa, bytes: &[u8], unsigned: bool, out: &mut [Word]) {
    assert_eq!(bytes.len(), out.len(), "as many words as bytes");
    dispatch(isa, Widen { bytes, unsigned, out });
}

struct Widen<'a> {
    bytes: &'a [u8],
    unsigned: bool,
    out: &'a mut [Word],
}

impl SimdOp for Widen<'_> {
    type Output = ();

    /// Plain loops: the compiler has an instruction for them, once it may use the features.
    #[inline(always)]
    fn eval<S: Simd>(self, _: S) {
        let Self { bytes, unsigned, out } = self;
        if unsigned {
            for (out, &byte) in out.iter_mut().zip(bytes) {
                *out = i16::from(byte).to_ne_bytes();
            }
        } else {
            for (out, &byte) in out.iter_mut().zip(bytes) {
                *out = i16::from(byte as i8).to_ne_bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::MatRef;

    /// Every layout becomes every other, and keeps its values.
    #[test]
    fn values_stay_in_every_layout() {
        let layouts = [Layout::Fours, Layout::Pairs, Layout::WidePairs, Layout::Eights];
        for isa in Isa::available() {
            for (k, n) in [(0_usize, 3_usize), (1, 1), (5, 17), (8, 16), (31, 40), (64, 64)] {
                let values: Vec<i8> = (0..k * n).map(|at| (at * 37 % 256) as u8 as i8).collect();
                let b = MatRef::from_slice(&values, k, n).unwrap();
                let packed = PackedI8::new(isa, b).unwrap();
                for middle in layouts {
                    for last in layouts {
                        let (mut first, mut second) = (PackedI8::default(), PackedI8::default());
                        let panels = n.div_ceil(PANEL);
                        relay(isa, &packed, 0..panels, middle, &mut first).unwrap();
                        relay(isa, &first, 0..panels, last, &mut second).unwrap();
                        assert_eq!(second.layout(), last);
                        for row in 0..k {
                            for column in 0..n {
                                let wanted = i32::from(values[row * n + column]);
                                let place = format!("{isa} {middle:?} {last:?} [{row}, {column}]");
                                assert_eq!(second.get(row, column), wanted, "{place}");
                            }
                        }
                    }
                }
                assert_eq!(packed.layout(), kernel_for(isa).layout);
            }
        }
    }

    #[test]
    fn bytes_of_either_sign_widen_to_their_values() {
        let bytes: Vec<u8> = (0..=255).chain(0..70).collect();
        for isa in Isa::available() {
            for length in [0, 1, 15, 16, 17, 31, 33, 326] {
                for unsigned in [false, true] {
                    let mut out = vec![[255; 2]; length];
                    widen(isa, &bytes[..length], unsigned, &mut out);
                    for (&word, &byte) in out.iter().zip(&bytes) {
                        let value = if unsigned { i16::from(byte) } else { i16::from(byte as i8) };
                        assert_eq!(i16::from_ne_bytes(word), value, "{isa}");
                    }
                }
            }
        }
    }
}
