//! NEON: products of nibbles, 16 bits wide, and `sdot` of nibbles where the CPU has it.
//!
//! A nibble is at most 15, so it is a signed byte too, and 16 bits hold the products of four: 15 · 128 · 4
//! at most.

use std::arch::aarch64::*;
use std::arch::asm;

use super::neon_products::{InOrder, Products};
use super::{DEPTH, LINE, PANEL, Tile};
use crate::simd::neon_bytes::{add_products_of_upper, load_in_halves, products_of_upper};

/// Registers of 16 sums.
pub(super) const VECTORS: usize = PANEL / 4;
/// Bytes of a register.
const VECTOR: usize = 16;

/// The low and the high nibbles of a register of a line: four outputs, four inputs each. Cores that run
/// in order read it in halves.
///
/// # Safety
/// `line` is valid for 16 bytes, and the CPU has NEON.
#[inline(always)]
unsafe fn nibbles<const HALVES: bool>(line: *const u8) -> (int8x16_t, int8x16_t) {
    // SAFETY: the caller's promise.
    unsafe {
        let bytes =
            if HALVES { vreinterpretq_u8_s8(load_in_halves(line.cast())) } else { vld1q_u8(line) };
        let low = vandq_u8(bytes, vdupq_n_u8(15));
        (vreinterpretq_s8_u8(low), vreinterpretq_s8_u8(vshrq_n_u8::<4>(bytes)))
    }
}

/// The same, of which the compiler knows nothing: that it is positive, it would multiply otherwise for,
/// by more instructions.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
unsafe fn any(mut bytes: int8x16_t) -> int8x16_t {
    // SAFETY: it is no instruction at all.
    unsafe {
        asm!("/* {0:v} */", inout(vreg) bytes, options(pure, nomem, nostack, preserves_flags));
    }
    bytes
}

/// Four halves, given by their bits, widened.
///
/// # Safety
/// `halves` is valid for four of them, and the CPU has NEON.
#[inline(always)]
unsafe fn widened(halves: *const u8) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: the caller's promise; the instruction touches registers alone. Stable Rust has no
    // intrinsic for it.
    unsafe {
        asm!(
            "fcvtl {wide:v}.4s, {halves:v}.4h",
            halves = in(vreg) vld1_u8(halves),
            wide = lateout(vreg) wide,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    wide
}

/// The kernel of some products.
macro_rules! nibbles_of {
    ($products:ty, $features:literal) => {
        impl $crate::gemm::int4::micro::Nibbles for $products {
            type Sums = [int32x4_t; VECTORS];
            type Floats = [float32x4_t; VECTORS];

            #[inline(always)]
            unsafe fn start(start: i32) -> Self::Sums {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { [vdupq_n_s32(start); VECTORS] }
            }

            #[inline(always)]
            unsafe fn line(mut sums: Self::Sums, line: *const u8, a: *const i8) -> Self::Sums {
                // SAFETY: the caller vouches for 64 bytes of the line, 8 of a and the instruction set.
                unsafe {
                    let a = <$products as Products>::load(a);
                    for vector in 0..VECTORS {
                        let at = line.add(vector * VECTOR);
                        let (low, high) = nibbles::<{ <$products as Products>::HALVES }>(at);
                        sums[vector] = <$products as Products>::add(sums[vector], low, high, a);
                    }
                }
                sums
            }

            #[inline(always)]
            unsafe fn lines<const ROWS: usize, const PANELS: usize>(
                sums: &mut [[Self::Sums; PANELS]; ROWS],
                t: &Tile,
                first: usize,
                most: usize,
            ) -> usize {
                if ROWS == 6 && PANELS == 1 && most > 0 {
                    // SAFETY: these are the sums of six rows and one panel; the rest is the caller's
                    // promise.
                    let done = unsafe {
                        let sums = &mut *sums.as_mut_ptr().cast();
                        <$products as Products>::six_rows(sums, t, first, most)
                    };
                    if done > 0 {
                        return done;
                    }
                }
                let mut done = 0;
                for (row, sums) in sums.iter_mut().enumerate() {
                    for (panel, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: the caller's promise.
                        done = unsafe {
                            let a = t.a.add(row * t.a_stride + first * DEPTH);
                            let w = t.w.add(panel * t.w_stride + first * LINE);
                            <$products as Products>::one_row(sums, a, w, most)
                        };
                    }
                }
                done
            }

            #[inline(always)]
            unsafe fn zero() -> Self::Floats {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { [vdupq_n_f32(0.0); VECTORS] }
            }

            #[inline(always)]
            unsafe fn add(
                mut total: Self::Floats,
                sums: Self::Sums,
                scale: *const u8,
                half: bool,
            ) -> Self::Floats {
                // SAFETY: the caller vouches for 16 scales and the instruction set.
                unsafe {
                    for vector in 0..VECTORS {
                        let scale = if half {
                            widened(scale.add(vector * VECTOR / 2))
                        } else {
                            vreinterpretq_f32_u8(vld1q_u8(scale.add(vector * VECTOR)))
                        };
                        let product = vmulq_f32(vcvtq_f32_s32(sums[vector]), scale);
                        total[vector] = vaddq_f32(total[vector], product);
                    }
                }
                total
            }

            #[inline(always)]
            unsafe fn store(total: Self::Floats, out: *mut f32) {
                for (vector, total) in total.into_iter().enumerate() {
                    // SAFETY: the caller vouches for 16 floats and the instruction set.
                    unsafe { vst1q_f32(out.add(4 * vector), total) };
                }
            }
        }

        $crate::gemm::int4::micro::kernel!($products, $features);
    };
}

/// Without the dot product.
pub(super) mod plain {
    use super::super::neon_lines::{LINES, one_row};
    use super::*;

    struct Plain;

    impl Products for Plain {
        /// Four and the other four, each four times.
        type A = (int8x16_t, int8x16_t);

        #[inline(always)]
        unsafe fn load(a: *const i8) -> Self::A {
            // SAFETY: the caller vouches for 8 bytes, and NEON.
            unsafe {
                let eight = vreinterpret_s32_s8(vld1_s8(a));
                (
                    vreinterpretq_s8_s32(vdupq_lane_s32::<0>(eight)),
                    vreinterpretq_s8_s32(vdupq_lane_s32::<1>(eight)),
                )
            }
        }

        #[inline(always)]
        unsafe fn add(sums: int32x4_t, low: int8x16_t, high: int8x16_t, a: Self::A) -> int32x4_t {
            // SAFETY: the caller vouches for NEON.
            unsafe {
                let (low, high) = (any(low), any(high));
                let one = vmull_s8(vget_low_s8(low), vget_low_s8(a.0));
                let one = vmlal_s8(one, vget_low_s8(high), vget_low_s8(a.1));
                let other = add_products_of_upper(products_of_upper(low, a.0), high, a.1);
                vpadalq_s16(sums, vpaddq_s16(one, other))
            }
        }

        #[inline(always)]
        unsafe fn one_row_in_order(
            sums: &mut [int32x4_t; VECTORS],
            a: *const i8,
            w: *const u8,
            most: usize,
        ) -> usize {
            let fours = most / LINES;
            if fours > 0 {
                // SAFETY: the caller's promise.
                unsafe { one_row(sums, a, w, fours) };
            }
            fours * LINES
        }
    }

    nibbles_of!(Plain, "neon");

    /// For cores that run in order.
    pub(in super::super) mod in_order {
        use super::*;
        nibbles_of!(InOrder<Plain>, "neon");
    }
}

/// With the dot product.
pub(super) mod dot {
    use super::super::neon_rows::{six_rows, six_rows_in_order};
    use super::*;

    struct Dot;

    impl Products for Dot {
        type A = int8x8_t;

        #[inline(always)]
        unsafe fn load(a: *const i8) -> int8x8_t {
            // SAFETY: the caller vouches for 8 bytes, and NEON.
            unsafe { vld1_s8(a) }
        }

        #[inline(always)]
        unsafe fn add(
            mut sums: int32x4_t,
            low: int8x16_t,
            high: int8x16_t,
            a: int8x8_t,
        ) -> int32x4_t {
            // SAFETY: the caller vouches for the instruction, which touches registers alone. Stable Rust
            // has no intrinsic for it.
            unsafe {
                asm!(
                    "sdot {sums:v}.4s, {low:v}.16b, {a:v}.4b[0]",
                    "sdot {sums:v}.4s, {high:v}.16b, {a:v}.4b[1]",
                    sums = inout(vreg) sums,
                    low = in(vreg) low,
                    high = in(vreg) high,
                    a = in(vreg) a,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            sums
        }

        #[inline(always)]
        unsafe fn six_rows(
            sums: &mut [[int32x4_t; VECTORS]; 6],
            t: &Tile,
            first: usize,
            most: usize,
        ) -> usize {
            // SAFETY: the caller's promise.
            unsafe { six_rows(sums, rows_of(t, first), t.w.add(first * LINE), most) };
            most
        }

        #[inline(always)]
        unsafe fn six_rows_in_order(
            sums: &mut [[int32x4_t; VECTORS]; 6],
            t: &Tile,
            first: usize,
            most: usize,
        ) -> usize {
            // SAFETY: the caller's promise.
            unsafe { six_rows_in_order(sums, rows_of(t, first), t.w.add(first * LINE), most) };
            most
        }
    }

    /// Six rows of activations from a line on.
    fn rows_of(t: &Tile, first: usize) -> [*const i8; 6] {
        [0, 1, 2, 3, 4, 5].map(|row| t.a.wrapping_add(row * t.a_stride + first * DEPTH))
    }

    nibbles_of!(Dot, "neon,dotprod");

    /// For cores that run in order.
    pub(in super::super) mod in_order {
        use super::*;
        nibbles_of!(InOrder<Dot>, "neon,dotprod");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kernel, PANELS, ROWS, TileFn, scalar};
    use super::*;
    use crate::isa::Isa;

    const LINES: usize = 17;
    const GROUP_LINES: usize = 10;
    fn run(tile: TileFn, rows: usize, panels: usize) -> Vec<u32> {
        let groups = LINES.div_ceil(GROUP_LINES);
        let a: Vec<i8> = (0..rows * LINES * DEPTH).map(|at| (at * 37 % 256) as u8 as i8).collect();
        let w: Vec<u8> = (0..panels * LINES * LINE).map(|at| (at * 91 % 256) as u8).collect();
        let start: Vec<i32> = (0..rows * groups).map(|at| 11 - 8 * at as i32).collect();
        let step = |at: usize| 0.01 * (1 + at % 19) as f32;
        let scale: Vec<f32> = (0..panels * groups * PANEL).map(step).collect();
        let mut out = vec![0.0; rows * panels * PANEL];
        let t = Tile {
            a: a.as_ptr(),
            a_stride: LINES * DEPTH,
            start: start.as_ptr(),
            w: w.as_ptr(),
            w_stride: LINES * LINE,
            scale_stride: groups * PANEL * size_of::<f32>(),
            lines: LINES,
            group_lines: GROUP_LINES,
            scale: scale.as_ptr().cast(),
            half: false,
            out: out.as_mut_ptr(),
        };
        // SAFETY: the operands are as large as the tile takes them to be; the caller has the CPU.
        unsafe { tile(&t) };
        out.into_iter().map(f32::to_bits).collect()
    }

    /// Which kernel runs depends on the core: all are right where they can run.
    #[test]
    fn tiles_for_all_kinds_of_cores_are_those_of_plain_code() {
        let mut kernels: Vec<&Kernel> = vec![&plain::KERNEL, &plain::in_order::KERNEL];
        if Isa::NeonDot.is_available() {
            kernels.extend([&dot::KERNEL, &dot::in_order::KERNEL]);
        }
        for kernel in kernels {
            for rows in 1..=ROWS {
                let wanted = run(scalar::KERNEL.rows[rows - 1], rows, 1);
                assert_eq!(run(kernel.rows[rows - 1], rows, 1), wanted, "{rows} rows");
            }
            assert_eq!(run(kernel.panels, 1, PANELS), run(scalar::KERNEL.panels, 1, PANELS));
        }
    }
}
