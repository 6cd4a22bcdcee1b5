//! NEON, which every `AArch64` CPU has: products of bytes, 16 bits wide, added in pairs to 32 bits.
//!
//! Each product is added by itself: two would not fit 16 bits where all four factors are -128. CPUs
//! that multiply in one pipe add in the other, and lose nothing by it.

use std::arch::aarch64::*;
use std::arch::asm;

use super::neon_tile::{self, Fours, InOrder, UNIT};
use super::{neon_row, tile_row};
use crate::gemm::limits;
use crate::gemm::microkernel::{DEPTH, GROUP_BYTES, Kernel, Layout, Left, Tile};
use crate::isa::Isa;

pub(super) struct Neon;

impl Fours for Neon {
    /// Columns 0 and 1, then 2 and 3: two sums of each.
    type Acc = [int32x4_t; 2];
    type A = int8x16_t;

    #[inline(always)]
    unsafe fn zero() -> [int32x4_t; 2] {
        // SAFETY: every AArch64 CPU has NEON.
        unsafe { [vdupq_n_s32(0); 2] }
    }

    #[inline(always)]
    unsafe fn group<const G: i32>(a: int8x16_t) -> int8x16_t {
        // SAFETY: every AArch64 CPU has NEON.
        unsafe { vreinterpretq_s8_s32(vdupq_laneq_s32::<G>(vreinterpretq_s32_s8(a))) }
    }

    #[inline(always)]
    unsafe fn dot<const G: i32>(acc: [int32x4_t; 2], a: int8x16_t, b: int8x16_t) -> [int32x4_t; 2] {
        // SAFETY: every AArch64 CPU has NEON.
        unsafe {
            let low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
            let high = vmull_high_s8(a, b);
            [vpadalq_s16(acc[0], low), vpadalq_s16(acc[1], high)]
        }
    }

    #[inline(always)]
    unsafe fn fours<const ROWS: usize, const UNITS: usize>(
        acc: &mut [[[int32x4_t; 2]; UNITS]; ROWS],
        t: &Tile,
    ) -> usize {
        let fours = t.groups / 4;
        if ROWS == 3 && UNITS == 4 && fours > 0 {
            // SAFETY: the caller vouches for the operands; these are the sums of three rows, eight
            // registers each.
            unsafe { three_by_sixteen(&mut *acc.as_mut_ptr().cast(), t, 4 * fours) };
            return fours;
        }
        0
    }

    #[inline(always)]
    unsafe fn fours_in_order<const ROWS: usize, const UNITS: usize>(
        acc: &mut [[[int32x4_t; 2]; UNITS]; ROWS],
        t: &Tile,
    ) -> usize {
        let fours = t.groups / 4;
        if ROWS == 3 && UNITS == 4 && fours > 0 {
            // SAFETY: as above.
            unsafe { three_by_sixteen_in_order(&mut *acc.as_mut_ptr().cast(), t, 4 * fours) };
            return fours;
        }
        if ROWS == 1 && UNITS == 8 && fours > 0 {
            // SAFETY: as above, of one row and 16 registers.
            unsafe { neon_row::products(&mut *acc.as_mut_ptr().cast(), t, fours) };
            return fours;
        }
        0
    }

    #[inline(always)]
    unsafe fn sums(acc: [int32x4_t; 2]) -> int32x4_t {
        // SAFETY: every AArch64 CPU has NEON.
        unsafe { vpaddq_s32(acc[0], acc[1]) }
    }
}

/// Four columns times three rows: six products, each added two products later, when it is there. The
/// first two add the last of the four columns before. `$load` reads the next four columns, once nothing
/// of the register that they go to is needed; other things are done in between.
macro_rules! unit {
    ($b:literal, $before:literal $last:literal; $($acc:literal),+; $load:expr;
     $one:literal, $two:literal, $three:literal, $four:literal) => {
        unit!(@ $b, $before $last; $($acc)+; $load; $one, $two, $three, $four)
    };
    (@ $b:literal, $before:literal $last:literal;
     $a0:literal $a1:literal $a2:literal $a3:literal; $load:expr;
     $one:literal, $two:literal, $three:literal, $four:literal) => {
        concat!(
            "smull v5.8h, v", $b, ".8b, v2.8b\n",
            "sadalp v", $before, ".4s, v6.8h\n",
            $one, "\n",
            "smull v6.8h, v", $b, ".8b, v3.8b\n",
            "sadalp v", $last, ".4s, v7.8h\n",
            "smull v7.8h, v", $b, ".8b, v4.8b\n",
            $load, "\n",
            "sadalp v", $a0, ".4s, v5.8h\n",
            "smull2 v5.8h, v", $b, ".16b, v2.16b\n",
            $two, "\n",
            "sadalp v", $a1, ".4s, v6.8h\n",
            "smull2 v6.8h, v", $b, ".16b, v3.16b\n",
            $three, "\n",
            "sadalp v", $a2, ".4s, v7.8h\n",
            "smull2 v7.8h, v", $b, ".16b, v4.16b\n",
            $four, "\n",
            "sadalp v", $a3, ".4s, v5.8h\n",
        )
    };
}

/// Reads four columns at once, or in halves: the first beside the insertion of the second half of what
/// was read before, as the Cortex-A53 issues them together.
macro_rules! whole {
    ($b:literal, $next:literal, $low:literal, $high:literal) => {
        concat!("ldr q", $next, ", [{b}, #", $low, "]\n")
    };
}
macro_rules! halves {
    ($b:literal, $next:literal, $low:literal, $high:literal) => {
        concat!(
            "ins v",
            $b,
            ".d[1], {x}\n",
            "ldr d",
            $next,
            ", [{b}, #",
            $low,
            "]\n",
            "ldr {x}, [{b}, #",
            $high,
            "]\n",
        )
    };
}

/// A function of some depth groups of three rows and 16 columns. The sums take 24 registers, B two, a
/// group of the rows three, and products on their way three.
macro_rules! three_by_sixteen {
    ($name:ident, $load:ident) => {
        /// # Safety
        /// The rows of `t` are valid for as many groups, and so are 16 columns of B; there are some.
        #[inline(never)]
        unsafe fn $name(acc: &mut [int32x4_t; 24], t: &Tile, groups: usize) {
            let row = |index: usize| t.a.wrapping_add(index * t.a_stride);
            // SAFETY: the caller vouches for what is read: in the last turn what comes next is the same
            // again. Nothing is written but registers that are declared.
            unsafe {
                asm!(
                    "ldr {w0:w}, [{a0}]",
                    "ldr {w1:w}, [{a1}]",
                    "ldr {w2:w}, [{a2}]",
                    "eor {w0:w}, {w0:w}, {flip:w}",
                    "eor {w1:w}, {w1:w}, {flip:w}",
                    "eor {w2:w}, {w2:w}, {flip:w}",
                    "ldr q0, [{b}]",
                    "ldr {x}, [{b}, #8]",
                    "dup v2.4s, {w0:w}",
                    "dup v3.4s, {w1:w}",
                    "dup v4.4s, {w2:w}",
                    "movi v6.2d, #0",
                    "movi v7.2d, #0",
                    "2:",
                    "subs {groups}, {groups}, #1",
                    "csel {step}, {step}, xzr, ne",
                    unit!("0", "23" "31"; "8", "16", "24", "9"; $load!("0", "1", "16", "24");
                        "add {off}, {off}, {step}, lsr #4", "ldr {w0:w}, [{a0}, {off}]",
                        "ldr {w1:w}, [{a1}, {off}]", "ldr {w2:w}, [{a2}, {off}]"),
                    unit!("1", "17" "25"; "10", "18", "26", "11"; $load!("1", "0", "32", "40");
                        "", "eor {w0:w}, {w0:w}, {flip:w}", "eor {w1:w}, {w1:w}, {flip:w}",
                        "eor {w2:w}, {w2:w}, {flip:w}"),
                    unit!("0", "19" "27"; "12", "20", "28", "13"; $load!("0", "1", "48", "56");
                        "", "", "", "add {b}, {b}, {step}"),
                    unit!("1", "21" "29"; "14", "22", "30", "15"; $load!("1", "0", "0", "8");
                        "", "dup v2.4s, {w0:w}", "dup v3.4s, {w1:w}", "dup v4.4s, {w2:w}"),
                    "cbnz {groups}, 2b",
                    "sadalp v23.4s, v6.8h",
                    "sadalp v31.4s, v7.8h",
                    groups = inout(reg) groups => _,
                    step = inout(reg) GROUP_BYTES => _,
                    off = inout(reg) 0_usize => _,
                    flip = in(reg) t.flip,
                    b = inout(reg) t.b => _,
                    x = out(reg) _,
                    a0 = in(reg) row(0),
                    a1 = in(reg) row(1),
                    a2 = in(reg) row(2),
                    w0 = out(reg) _, w1 = out(reg) _, w2 = out(reg) _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                    out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    inout("v8") acc[0], inout("v9") acc[1], inout("v10") acc[2],
                    inout("v11") acc[3], inout("v12") acc[4], inout("v13") acc[5],
                    inout("v14") acc[6], inout("v15") acc[7], inout("v16") acc[8],
                    inout("v17") acc[9], inout("v18") acc[10], inout("v19") acc[11],
                    inout("v20") acc[12], inout("v21") acc[13], inout("v22") acc[14],
                    inout("v23") acc[15], inout("v24") acc[16], inout("v25") acc[17],
                    inout("v26") acc[18], inout("v27") acc[19], inout("v28") acc[20],
                    inout("v29") acc[21], inout("v30") acc[22], inout("v31") acc[23],
                    options(readonly, nostack),
                );
            }
        }
    };
}

// The offset into the rows moves on by a sixteenth of that into B.
const _: () = assert!(GROUP_BYTES >> 4 == DEPTH);

three_by_sixteen!(three_by_sixteen, whole);
three_by_sixteen!(three_by_sixteen_in_order, halves);

/// The table of a kernel.
macro_rules! kernel {
    ($name:ident, $fours:ty, $id:literal) => {
        /// # Safety
        /// As [`crate::gemm::microkernel::TileFn`].
        unsafe fn tile<const ROWS: usize, const UNITS: usize>(t: &Tile) {
            // SAFETY: the caller's promise is this function's own.
            unsafe { neon_tile::tile::<$fours, ROWS, UNITS>(t) }
        }

        pub(in crate::gemm) static $name: Kernel = Kernel {
            id: $id,
            isa: Isa::Neon,
            left: Left::Signed,
            layout: Layout::Fours,
            many: None,
            one: None,
            limits: &limits::NEON,
            unit: UNIT,
            tiles: &[
        tile_row!(1: 1, 2, 3),
        tile_row!(2: 1, 2, 3),
        tile_row!(3: 1, 2, 3),
        tile_row!(4: 1, 2, 3),
            ],
    narrow: tile_row!(8: 1),
            narrow_units: 8,
        };
    };
}

mod plain {
    use super::*;
    kernel!(KERNEL, Neon, "aarch64-s8s8s32-neon-3x16");
}

mod in_order {
    use super::*;
    kernel!(IN_ORDER, InOrder<Neon>, "aarch64-s8s8s32-neon_in_order-3x16");
}

pub(in crate::gemm) use in_order::IN_ORDER;
pub(in crate::gemm) use plain::KERNEL;
