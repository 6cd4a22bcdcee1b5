//! Lines from their stored bytes and masks.

use super::masked::{FOURS, LINES, Places};
use crate::gemm::microkernel::GROUP_BYTES;
use crate::isa::Isa;

/// The masks of a panel.
#[derive(Clone, Copy)]
pub(in crate::gemm) struct Lines<'a> {
    pub(in crate::gemm) places: &'a Places,
    /// The first masks.
    pub(in crate::gemm) first: usize,
    /// How many fours of lines there are.
    pub(in crate::gemm) quads: usize,
}

/// How one instruction set does it.
trait Expand {
    /// Writes 64 bytes: `values` in turn where `mask` has a bit, `fill` elsewhere. Of each 8 bytes `EACH`
    /// are values; 0: there is no such number.
    ///
    /// # Safety
    /// `values` is valid for reading 64 bytes, `out` for writing as many; the CPU has the instructions.
    unsafe fn line<const EACH: usize>(mask: u64, values: *const u8, fill: u8, out: *mut u8);
}

/// Writes the lines of a panel. `fill` is 0 or 0x80.
///
/// # Safety
/// - `values` is valid for reading all that the masks say, and 64 bytes more; `out` for writing the
///   lines.
/// - The CPU has `isa`.
pub(in crate::gemm) unsafe fn panel(
    isa: Isa,
    lines: Lines<'_>,
    values: *const u8,
    fill: u8,
    out: *mut u8,
) {
    // SAFETY: the caller's promise is that of each; the CPU has the instructions.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        {
            if isa.includes(Isa::Avx512) && crate::isa::expands_bytes() {
                return x86::panel_vbmi2(lines, values, fill, out);
            }
            if isa.includes(Isa::Avx2) {
                return match lines.places.every() {
                    Some(1) => x86::panel_avx2::<2>(lines, values, fill, out),
                    Some(2) => x86::panel_avx2::<4>(lines, values, fill, out),
                    Some(3) => x86::panel_avx2::<6>(lines, values, fill, out),
                    _ => x86::panel_avx2::<0>(lines, values, fill, out),
                };
            }
        }
        #[cfg(target_arch = "aarch64")]
        if isa.includes(Isa::Neon) {
            return match lines.places.every() {
                Some(1) => run::<neon::Neon, 2>(lines, values, fill, out),
                Some(2) => run::<neon::Neon, 4>(lines, values, fill, out),
                Some(3) => run::<neon::Neon, 6>(lines, values, fill, out),
                _ => run::<neon::Neon, 0>(lines, values, fill, out),
            };
        }
        let _ = isa;
        run::<Scalar, 0>(lines, values, fill, out);
    }
}

/// # Safety
/// As [`panel`]; the CPU has the instructions of `E`.
#[inline(always)]
unsafe fn run<E: Expand, const EACH: usize>(
    lines: Lines<'_>,
    mut values: *const u8,
    fill: u8,
    mut out: *mut u8,
) {
    for first in (0..lines.quads).step_by(FOURS) {
        let masks = lines.places.masks(lines.first + first / FOURS);
        for quad in 0..FOURS.min(lines.quads - first) {
            for masks in &masks[..LINES] {
                // SAFETY: by the caller's promise.
                unsafe {
                    E::line::<EACH>(masks[quad], values, fill, out);
                    let stored =
                        if EACH > 0 { 8 * EACH } else { masks[quad].count_ones() as usize };
                    values = values.add(stored);
                    out = out.add(GROUP_BYTES);
                }
            }
        }
    }
}

struct Scalar;

impl Expand for Scalar {
    #[inline(always)]
    unsafe fn line<const EACH: usize>(mask: u64, mut values: *const u8, fill: u8, out: *mut u8) {
        for place in 0..GROUP_BYTES {
            let stored = mask >> place & 1 == 1;
            // SAFETY: by the caller's promise; no more values are read than there are bits.
            unsafe {
                *out.add(place) = if stored { *values } else { fill };
                values = values.add(usize::from(stored));
            }
        }
    }
}

/// For each mask of 8 bytes which value each of them is; 0x80 where it is none.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static ORDERS: [[u8; 8]; 256] = orders();

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const fn orders() -> [[u8; 8]; 256] {
    let mut orders = [[0x80; 8]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut place, mut next) = (0, 0);
        while place < 8 {
            if mask >> place & 1 == 1 {
                orders[mask][place] = next;
                next += 1;
            }
            place += 1;
        }
        mask += 1;
    }
    orders
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Expand, GROUP_BYTES, Lines, ORDERS, run};

    /// `vpexpandb`: a line at once.
    struct Vbmi2;

    impl Expand for Vbmi2 {
        #[inline(always)]
        unsafe fn line<const EACH: usize>(mask: u64, values: *const u8, fill: u8, out: *mut u8) {
            // SAFETY: the caller vouches for 64 bytes at both pointers and for the instructions.
            unsafe {
                let values = _mm512_loadu_si512(values.cast());
                let fill = _mm512_set1_epi8(fill as i8);
                _mm512_storeu_si512(out.cast(), _mm512_mask_expand_epi8(fill, mask, values));
            }
        }
    }

    /// `pshufb`: 8 bytes at once, or 16 where it is known how far the second 8 start from the first.
    struct Avx2;

    impl Expand for Avx2 {
        #[inline(always)]
        unsafe fn line<const EACH: usize>(
            mask: u64,
            mut values: *const u8,
            fill: u8,
            out: *mut u8,
        ) {
            // SAFETY: SSE2 is part of x86-64.
            let (fill, further) = unsafe {
                (_mm_set1_epi8(fill as i8), _mm_slli_si128::<8>(_mm_set1_epi8(EACH as i8)))
            };
            if EACH > 0 {
                for place in 0..GROUP_BYTES / 16 {
                    let bytes = (mask >> (16 * place)) as u16;
                    let [low, high] = bytes.to_le_bytes();
                    // SAFETY: the caller vouches for the pointers and the instructions; no more than 16
                    // bytes are read from the first value of each 16 on.
                    unsafe {
                        let order = _mm_unpacklo_epi64(
                            _mm_loadl_epi64(ORDERS[usize::from(low)].as_ptr().cast()),
                            _mm_loadl_epi64(ORDERS[usize::from(high)].as_ptr().cast()),
                        );
                        // Adding it leaves the top bit where there is no value.
                        let order = _mm_add_epi8(order, further);
                        let bytes = _mm_shuffle_epi8(_mm_loadu_si128(values.cast()), order);
                        let bytes = _mm_or_si128(bytes, _mm_and_si128(order, fill));
                        _mm_storeu_si128(out.add(16 * place).cast(), bytes);
                        values = values.add(2 * EACH);
                    }
                }
                return;
            }
            for place in 0..GROUP_BYTES / 8 {
                let byte = (mask >> (8 * place)) as u8;
                // SAFETY: the caller vouches for the pointers and the instructions; no more than 8
                // bytes are read from the first value of each 8 on.
                unsafe {
                    let order = _mm_loadl_epi64(ORDERS[usize::from(byte)].as_ptr().cast());
                    let bytes = _mm_shuffle_epi8(_mm_loadl_epi64(values.cast()), order);
                    // The top bit of an order is set where there is no value.
                    let bytes = _mm_or_si128(bytes, _mm_and_si128(order, fill));
                    _mm_storel_epi64(out.add(8 * place).cast(), bytes);
                    values = values.add(byte.count_ones() as usize);
                }
            }
        }
    }

    /// # Safety
    /// As [`super::panel`], on a CPU with AVX-512 VBMI2.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,popcnt")]
    pub(in crate::gemm) unsafe fn panel_vbmi2(
        lines: Lines<'_>,
        values: *const u8,
        fill: u8,
        out: *mut u8,
    ) {
        // SAFETY: the caller's promise.
        unsafe { run::<Vbmi2, 0>(lines, values, fill, out) }
    }

    /// # Safety
    /// As [`super::panel`], on a CPU with AVX2.
    #[target_feature(enable = "avx2,popcnt")]
    pub(in crate::gemm) unsafe fn panel_avx2<const EACH: usize>(
        lines: Lines<'_>,
        values: *const u8,
        fill: u8,
        out: *mut u8,
    ) {
        // SAFETY: the caller's promise.
        unsafe { run::<Avx2, EACH>(lines, values, fill, out) }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use super::{Expand, GROUP_BYTES, ORDERS};

    /// `tbx`: 8 bytes at once, or 16 where it is known how far the second 8 start from the first; what
    /// is in no table stays what it was.
    pub(in crate::gemm) struct Neon;

    impl Expand for Neon {
        #[inline(always)]
        unsafe fn line<const EACH: usize>(
            mask: u64,
            mut values: *const u8,
            fill: u8,
            out: *mut u8,
        ) {
            if EACH > 0 {
                // SAFETY: NEON is part of AArch64.
                let (fill, further) =
                    unsafe { (vdupq_n_u8(fill), vcombine_u8(vdup_n_u8(0), vdup_n_u8(EACH as u8))) };
                for place in 0..GROUP_BYTES / 16 {
                    let bytes = (mask >> (16 * place)) as u16;
                    let [low, high] = bytes.to_le_bytes();
                    // SAFETY: the caller vouches for the pointers; no more than 16 bytes are read from
                    // the first value of each 16 on.
                    unsafe {
                        let low = vld1_u8(ORDERS[usize::from(low)].as_ptr());
                        let high = vld1_u8(ORDERS[usize::from(high)].as_ptr());
                        // Where there is no value this stays beyond the table.
                        let order = vaddq_u8(vcombine_u8(low, high), further);
                        let bytes = vqtbx1q_u8(fill, vld1q_u8(values), order);
                        vst1q_u8(out.add(16 * place), bytes);
                        values = values.add(2 * EACH);
                    }
                }
                return;
            }
            // SAFETY: NEON is part of AArch64.
            let (fill, counts) = unsafe {
                let counts = vreinterpret_u64_u8(vcnt_u8(vcreate_u8(mask)));
                (vdup_n_u8(fill), vget_lane_u64::<0>(counts))
            };
            // Byte i: how many values come before the i-th 8 bytes; all of them fit a byte.
            let before = counts.wrapping_mul(0x0101_0101_0101_0101) << 8;
            for place in 0..GROUP_BYTES / 8 {
                let byte = (mask >> (8 * place)) as u8;
                let first = usize::from((before >> (8 * place)) as u8);
                // SAFETY: the caller vouches for the pointers; no more than 8 bytes are read from the
                // first value of each 8 on.
                unsafe {
                    let order = vld1_u8(ORDERS[usize::from(byte)].as_ptr());
                    let bytes = vtbx1_u8(fill, vld1_u8(values.add(first)), order);
                    vst1_u8(out.add(8 * place), bytes);
                }
            }
        }
    }
}
