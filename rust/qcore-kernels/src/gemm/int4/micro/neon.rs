//! NEON: products of nibbles, 16 bits wide, and `sdot` of nibbles where the CPU has it.
//!
//! A nibble is at most 15, so it is a signed byte too, and 16 bits hold the products of four: 15 · 128 · 4
//! at most.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{DEPTH, LINE, PANEL, Tile};

/// Registers of 16 sums.
const VECTORS: usize = PANEL / 4;
/// Bytes of a register.
const VECTOR: usize = 16;

/// The low and the high nibbles of a register of a line: four outputs, four inputs each.
///
/// # Safety
/// `line` is valid for 16 bytes, and the CPU has NEON.
#[inline(always)]
unsafe fn nibbles(line: *const u8) -> (int8x16_t, int8x16_t) {
    // SAFETY: the caller's promise.
    unsafe {
        let bytes = vld1q_u8(line);
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

/// What differs with the dot product.
trait Products {
    /// Eight activations, as the products take them.
    type A: Copy;

    /// # Safety
    /// `a` is valid for 8 bytes; the CPU has the instructions.
    unsafe fn load(a: *const i8) -> Self::A;
    /// Adds the products of nibbles with eight activations.
    ///
    /// # Safety
    /// The CPU has the instructions.
    unsafe fn add(sums: int32x4_t, low: int8x16_t, high: int8x16_t, a: Self::A) -> int32x4_t;
    /// Adds the products of `most` lines from `first` on, of six rows and one panel, where there is a
    /// loop for it.
    ///
    /// # Safety
    /// As for [`super::TileFn`].
    #[inline(always)]
    unsafe fn six_rows(
        _sums: &mut [[int32x4_t; VECTORS]; 6],
        _t: &Tile,
        _first: usize,
        _most: usize,
    ) -> usize {
        0
    }
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
                        let (low, high) = nibbles(line.add(vector * VECTOR));
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
                if ROWS != 6 || PANELS != 1 || most == 0 {
                    return 0;
                }
                // SAFETY: these are the sums of six rows and one panel; the rest is the caller's promise.
                unsafe {
                    let sums = &mut *sums.as_mut_ptr().cast();
                    <$products as Products>::six_rows(sums, t, first, most)
                }
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
                let other = vmlal_high_s8(vmull_high_s8(low, a.0), high, a.1);
                vpadalq_s16(sums, vpaddq_s16(one, other))
            }
        }
    }

    nibbles_of!(Plain, "neon");
}

/// With the dot product.
pub(super) mod dot {
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
            let row = |index: usize| t.a.wrapping_add(index * t.a_stride + first * DEPTH);
            let rows = [row(0), row(1), row(2), row(3), row(4), row(5)];
            // SAFETY: the caller's promise.
            unsafe { six_rows(sums, rows, t.w.add(first * LINE), most) };
            most
        }
    }

    /// A register of a line, of which the nibbles are taken apart, times eight values of six rows: those
    /// of four stay in registers, those of two are read again.
    macro_rules! register {
        ($offset:literal; $a:literal $b:literal $c:literal $d:literal $e:literal $f:literal) => {
            concat!(
                "ldr q1, [{w}, #", $offset, "]\n",
                "ldr d7, [{a4}]\n",
                "ushr v2.16b, v1.16b, #4\n",
                "and v1.16b, v1.16b, v0.16b\n",
                register!(@row $a "3"), register!(@row $b "4"), register!(@row $c "5"),
                register!(@row $d "6"), register!(@row $e "7"),
                "ldr d7, [{a5}]\n",
                register!(@row $f "7"),
            )
        };
        (@row $sums:literal $a:literal) => {
            concat!(
                "sdot v", $sums, ".4s, v1.16b, v", $a, ".4b[0]\n",
                "sdot v", $sums, ".4s, v2.16b, v", $a, ".4b[1]\n",
            )
        };
    }

    /// `lines` lines of six rows, of which there are some. The sums take 24 registers, the nibbles three
    /// and the rows five: a compiler keeps the sums in memory.
    ///
    /// # Safety
    /// The rows and the panel have the lines, and the CPU has the dot product.
    #[target_feature(enable = "neon,dotprod")]
    unsafe fn six_rows(
        sums: &mut [[int32x4_t; VECTORS]; 6],
        rows: [*const i8; 6],
        w: *const u8,
        lines: usize,
    ) {
        let [one, two, three, four, five, six] = sums;
        // SAFETY: the caller vouches for what is read; nothing is written but registers that are declared.
        unsafe {
            asm!(
                "movi v0.16b, #15",
                "2:",
                "ldr d3, [{a0}], #8",
                "ldr d4, [{a1}], #8",
                "ldr d5, [{a2}], #8",
                "ldr d6, [{a3}], #8",
                register!("0"; "8" "12" "16" "20" "24" "28"),
                register!("16"; "9" "13" "17" "21" "25" "29"),
                register!("32"; "10" "14" "18" "22" "26" "30"),
                register!("48"; "11" "15" "19" "23" "27" "31"),
                "add {a4}, {a4}, #8",
                "add {a5}, {a5}, #8",
                "add {w}, {w}, #64",
                "subs {lines}, {lines}, #1",
                "b.ne 2b",
                lines = inout(reg) lines => _,
                w = inout(reg) w => _,
                a0 = inout(reg) rows[0] => _,
                a1 = inout(reg) rows[1] => _,
                a2 = inout(reg) rows[2] => _,
                a3 = inout(reg) rows[3] => _,
                a4 = inout(reg) rows[4] => _,
                a5 = inout(reg) rows[5] => _,
                out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                inout("v8") one[0], inout("v9") one[1], inout("v10") one[2], inout("v11") one[3],
                inout("v12") two[0], inout("v13") two[1], inout("v14") two[2], inout("v15") two[3],
                inout("v16") three[0], inout("v17") three[1], inout("v18") three[2],
                inout("v19") three[3], inout("v20") four[0], inout("v21") four[1],
                inout("v22") four[2], inout("v23") four[3], inout("v24") five[0],
                inout("v25") five[1], inout("v26") five[2], inout("v27") five[3],
                inout("v28") six[0], inout("v29") six[1], inout("v30") six[2], inout("v31") six[3],
                options(readonly, nostack),
            );
        }
    }

    nibbles_of!(Dot, "neon,dotprod");
}
