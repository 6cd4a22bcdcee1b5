//! NEON with the int8 matrix product: two rows times two columns of eight values, `smmla` where A is
//! signed and `usmmla` where it is not.
//!
//! Registers of B hold eight values of two columns, as they are packed. Those of A hold eight of two
//! rows: made of 16 of each, where these lie, by two instructions for as many columns as the tile has.

use std::arch::aarch64::*;
use std::arch::asm;

use super::neon_tile::{UNIT, store};
use super::tile_row;
use crate::gemm::limits;
use crate::gemm::microkernel::{DEPTH, Kernel, Layout, Left, PANEL, Tile};
use crate::isa::Isa;

/// Values along K that one instruction takes, and depth groups of as many.
const EIGHT: usize = 2 * DEPTH;
/// Bytes of a register.
const VECTOR: usize = 16;
/// Bytes of two depth groups of a panel.
const LINE: usize = PANEL * EIGHT;
/// The most pairs of rows.
pub(super) const PAIRS: usize = 3;
/// The most registers of B that meet a pair of rows.
pub(super) const VECTORS: usize = 16;

/// `acc` and the products of two rows and two columns, of eight values each.
///
/// # Safety
/// The CPU has the instruction.
#[inline(always)]
unsafe fn product<const SIGNED: bool>(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the caller vouches for the instructions, which touch registers alone. Stable Rust has no
    // intrinsics for them.
    unsafe {
        if SIGNED {
            asm!(
                "smmla {acc:v}.4s, {a:v}.16b, {b:v}.16b",
                acc = inout(vreg) acc,
                a = in(vreg) a,
                b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags),
            );
        } else {
            asm!(
                "usmmla {acc:v}.4s, {a:v}.16b, {b:v}.16b",
                acc = inout(vreg) acc,
                a = in(vreg) a,
                b = in(vreg) b,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
    }
    acc
}

/// Eight values of all rows, in pairs, times those of all columns; `b` is their line.
///
/// # Safety
/// `b` is valid for the tile's columns of a line, and the CPU has the instructions.
#[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
#[inline(always)]
unsafe fn step<const SIGNED: bool, const ROWS: usize, const UNITS: usize>(
    acc: &mut Sums,
    a: &[int8x16_t; PAIRS],
    b: *const i8,
    panel_stride: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        for vector in 0..2 * UNITS {
            let column = vector * 2;
            let offset = column / PANEL * panel_stride + column % PANEL * EIGHT;
            let columns = vld1q_s8(b.add(offset));
            for pair in 0..ROWS.div_ceil(2) {
                acc[pair][vector] = product::<SIGNED>(acc[pair][vector], a[pair], columns);
            }
        }
    }
}

/// A register of B times three pairs of rows, while the next is read.
macro_rules! columns {
    ($word:literal, $b:literal, $next:literal; $($acc:literal $a:literal),+) => {
        concat!(
            $next, "\n",
            $($word, " v", $acc, ".4s, v", $a, ".16b, v", $b, ".16b\n",)+
        )
    };
}

/// A line of B, 16 columns, times eight values of three pairs of rows. `$n8` reads what follows it.
macro_rules! line {
    ($word:literal, $n1:literal, $n2:literal, $n3:literal, $n4:literal, $n5:literal, $n6:literal,
     $n7:literal, $n8:literal; $a:literal $b:literal $c:literal) => {
        concat!(
            columns!($word, "1", $n1; "8" $a, "16" $b, "24" $c),
            columns!($word, "6", $n2; "9" $a, "17" $b, "25" $c),
            columns!($word, "1", $n3; "10" $a, "18" $b, "26" $c),
            columns!($word, "6", $n4; "11" $a, "19" $b, "27" $c),
            columns!($word, "1", $n5; "12" $a, "20" $b, "28" $c),
            columns!($word, "6", $n6; "13" $a, "21" $b, "29" $c),
            columns!($word, "1", $n7; "14" $a, "22" $b, "30" $c),
            columns!($word, "6", $n8; "15" $a, "23" $b, "31" $c),
        )
    };
}

/// A function of `fours` times 16 values of three pairs of rows and 16 columns. The sums take 24
/// registers and the rows six: what a compiler makes of it moves sums to memory and back.
macro_rules! six_by_sixteen {
    ($name:ident, $word:literal) => {
        /// # Safety
        /// - The six rows are valid for as many values, and so are 16 columns of B; there are some.
        /// - The CPU has the matrix product.
        #[target_feature(enable = "neon,i8mm")]
        unsafe fn $name(
            acc: &mut Sums,
            rows: [*const u8; 6],
            b: *const i8,
            fours: usize,
        ) {
            let [one, two, three] = acc;
            // SAFETY: the caller vouches for what is read; nothing is written but registers that are
            // declared.
            unsafe {
                asm!(
                    "2:",
                    "ldr q2, [{a0}], #16",
                    "ldr q3, [{a1}], #16",
                    "ldr q4, [{a2}], #16",
                    "ldr q5, [{a3}], #16",
                    "ldr q6, [{a4}], #16",
                    "ldr q7, [{a5}], #16",
                    "ldr q1, [{b}]",
                    // Eight values of each pair in v0, v2 and v4, the other eight in v3, v5 and v7.
                    "zip1 v0.2d, v2.2d, v3.2d",
                    "zip2 v3.2d, v2.2d, v3.2d",
                    "zip1 v2.2d, v4.2d, v5.2d",
                    "zip2 v5.2d, v4.2d, v5.2d",
                    "zip1 v4.2d, v6.2d, v7.2d",
                    "zip2 v7.2d, v6.2d, v7.2d",
                    line!($word, "ldr q6, [{b}, #16]", "ldr q1, [{b}, #32]", "ldr q6, [{b}, #48]",
                        "ldr q1, [{b}, #64]", "ldr q6, [{b}, #80]", "ldr q1, [{b}, #96]",
                        "ldr q6, [{b}, #112]", "ldr q1, [{b}, #128]"; "0" "2" "4"),
                    line!($word, "ldr q6, [{b}, #144]", "ldr q1, [{b}, #160]", "ldr q6, [{b}, #176]",
                        "ldr q1, [{b}, #192]", "ldr q6, [{b}, #208]", "ldr q1, [{b}, #224]",
                        "ldr q6, [{b}, #240]", "add {b}, {b}, #256"; "3" "5" "7"),
                    "subs {fours}, {fours}, #1",
                    "b.ne 2b",
                    fours = inout(reg) fours => _,
                    b = inout(reg) b => _,
                    a0 = inout(reg) rows[0] => _,
                    a1 = inout(reg) rows[1] => _,
                    a2 = inout(reg) rows[2] => _,
                    a3 = inout(reg) rows[3] => _,
                    a4 = inout(reg) rows[4] => _,
                    a5 = inout(reg) rows[5] => _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                    out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    inout("v8") one[0], inout("v9") one[1], inout("v10") one[2],
                    inout("v11") one[3], inout("v12") one[4], inout("v13") one[5],
                    inout("v14") one[6], inout("v15") one[7],
                    inout("v16") two[0], inout("v17") two[1], inout("v18") two[2],
                    inout("v19") two[3], inout("v20") two[4], inout("v21") two[5],
                    inout("v22") two[6], inout("v23") two[7],
                    inout("v24") three[0], inout("v25") three[1], inout("v26") three[2],
                    inout("v27") three[3], inout("v28") three[4], inout("v29") three[5],
                    inout("v30") three[6], inout("v31") three[7],
                    options(readonly, nostack),
                );
            }
        }
    };
}

six_by_sixteen!(signed, "smmla");
six_by_sixteen!(unsigned, "usmmla");

/// Sums of three pairs of rows, two columns in each register.
pub(super) type Sums = [[int32x4_t; VECTORS]; PAIRS];

/// Adds the products of rows of one piece.
///
/// # Safety
/// As [`crate::gemm::microkernel::TileFn`] of what is read.
#[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
#[inline(always)]
pub(super) unsafe fn add<const SIGNED: bool, const ROWS: usize, const UNITS: usize>(
    acc: &mut Sums,
    t: &Tile,
) {
    // SAFETY: the caller vouches for every pointer of the tile and for the instruction set.
    unsafe {
        // A row that has no other beside it stands in for that.
        let second = |pair: usize| (2 * pair + 1).min(ROWS - 1);
        let mut done = 0;
        if ROWS.div_ceil(2) == PAIRS && UNITS == 4 && t.groups >= 4 {
            done = t.groups / 4;
            let row = |index: usize| t.a.wrapping_add(index.min(ROWS - 1) * t.a_stride);
            let rows = [row(0), row(1), row(2), row(3), row(4), row(5)];
            if SIGNED {
                signed(acc, rows, t.b, done);
            } else {
                unsigned(acc, rows, t.b, done);
            }
        }
        let mut a = t.a.add(done * VECTOR);
        let mut b = t.b.add(done * 2 * LINE);
        for _ in done..t.groups / 4 {
            let (mut low, mut high) = ([vdupq_n_s8(0); PAIRS], [vdupq_n_s8(0); PAIRS]);
            for pair in 0..ROWS.div_ceil(2) {
                let one = vld1q_s64(a.add(2 * pair * t.a_stride).cast());
                let other = vld1q_s64(a.add(second(pair) * t.a_stride).cast());
                low[pair] = vreinterpretq_s8_s64(vzip1q_s64(one, other));
                high[pair] = vreinterpretq_s8_s64(vzip2q_s64(one, other));
            }
            step::<SIGNED, ROWS, UNITS>(acc, &low, b, t.panel_stride);
            step::<SIGNED, ROWS, UNITS>(acc, &high, b.add(LINE), t.panel_stride);
            a = a.add(VECTOR);
            b = b.add(2 * LINE);
        }
        let mut left = t.groups % 4;
        while left > 0 {
            let mut rows = [vdupq_n_s8(0); PAIRS];
            for pair in 0..ROWS.div_ceil(2) {
                let one = a.add(2 * pair * t.a_stride);
                let other = a.add(second(pair) * t.a_stride);
                // Half of the last line of B may be what fills it up: A has nothing there.
                let (one, other) = if left > 1 {
                    (one.cast::<u64>().read_unaligned(), other.cast::<u64>().read_unaligned())
                } else {
                    let one = one.cast::<u32>().read_unaligned();
                    (u64::from(one), u64::from(other.cast::<u32>().read_unaligned()))
                };
                rows[pair] = vcombine_s8(vcreate_s8(one), vcreate_s8(other));
            }
            step::<SIGNED, ROWS, UNITS>(acc, &rows, b, t.panel_stride);
            a = a.add(EIGHT.min(left * DEPTH));
            b = b.add(LINE);
            left = left.saturating_sub(2);
        }
    }
}

/// A tile of `ROWS` rows and `UNITS` units.
///
/// # Safety
/// As [`crate::gemm::microkernel::TileFn`].
#[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
#[target_feature(enable = "neon,i8mm")]
unsafe fn tile<const ROWS: usize, const UNITS: usize>(t: &Tile) {
    // SAFETY: the caller vouches for every pointer of the tile.
    unsafe {
        // Of rows and columns that the tile has not, nothing is left once this is compiled.
        let mut acc = [[vdupq_n_s32(0); VECTORS]; PAIRS];
        if t.flip == 0 {
            add::<false, ROWS, UNITS>(&mut acc, t);
        } else {
            add::<true, ROWS, UNITS>(&mut acc, t);
        }
        for row in 0..ROWS {
            for unit in 0..UNITS {
                let start = t.start.add(unit * UNIT);
                let c = t.c.add(row * t.c_stride + unit * UNIT);
                store(columns(&acc, row, unit), start, *t.row_start.add(row), c);
            }
        }
    }
}

/// Four columns of a row.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
pub(super) unsafe fn columns(acc: &Sums, row: usize, unit: usize) -> int32x4_t {
    let (one, other) = (acc[row / 2][2 * unit], acc[row / 2][2 * unit + 1]);
    // SAFETY: the caller's promise.
    unsafe {
        let (one, other) = (vreinterpretq_s64_s32(one), vreinterpretq_s64_s32(other));
        let sums =
            if row.is_multiple_of(2) { vzip1q_s64(one, other) } else { vzip2q_s64(one, other) };
        vreinterpretq_s32_s64(sums)
    }
}

pub(in crate::gemm) static KERNEL: Kernel = Kernel {
    id: "aarch64-i8s8s32-neon_i8mm-6x16",
    isa: Isa::NeonI8mm,
    left: Left::Bytes,
    layout: Layout::Eights,
    many: None,
    one: None,
    limits: &limits::NEON_I8MM,
    unit: UNIT,
    tiles: &[
        tile_row!(1: 1, 2, 3, 4, 5, 6),
        tile_row!(2: 1, 2, 3, 4, 5, 6),
        tile_row!(3: 1, 2, 3, 4, 5, 6),
        tile_row!(4: 1, 2, 3, 4, 5, 6),
    ],
    narrow: tile_row!(8: 1, 2),
    narrow_units: 8,
};
