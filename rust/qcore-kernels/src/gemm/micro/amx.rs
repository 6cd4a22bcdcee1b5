//! AMX: products of whole tiles, 16 rows by 64 bytes, of either sign.
//!
//! A depth group of packed B is a row of the tile that the instruction wants, so it reads packed B as
//! it is; rows of A are read where they lie. Four tiles hold the sums of 64 columns, so one tile of A
//! serves four of B. The loop is written over [`Tiles`], which the instructions and a model of them in
//! plain Rust implement: the model runs everywhere and follows Intel's description (SDM, volume 1,
//! chapter 18, and the instructions' pages), the instructions only where the CPU has them.

use std::arch::asm;

use super::tile_row;
use crate::gemm::limits;
use crate::gemm::microkernel::{DEPTH, GROUP_BYTES, Kernel, Layout, Left, PANEL, Tile};
use crate::isa::Isa;

/// Rows of a tile, and the most that a tile of results has.
const ROWS: usize = 16;
/// Depth groups that one product sums: the rows of a tile of B.
const GROUPS: usize = 16;
/// Tiles of results: units of 16 columns.
const UNITS: usize = 4;

/// Tiles of results are 0 to 3; then those of A and of B, whole, and for the last groups of K.
const A: u8 = 4;
const B: u8 = 5;
const A_TAIL: u8 = 6;
const B_TAIL: u8 = 7;

/// Operations of one product of whole tiles.
pub(in crate::gemm) const DOT_OPERATIONS: f64 = (2 * ROWS * PANEL * GROUPS * DEPTH) as f64;

/// The shapes of tiles, as `ldtilecfg` reads them.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    /// Bytes of a row.
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Config {
    /// Results of `rows` rows; `groups` of which some may be left after whole tiles.
    fn new(rows: usize, groups: usize) -> Self {
        let mut config =
            Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        for unit in 0..UNITS {
            config.set(unit as u8, rows, GROUP_BYTES);
        }
        config.set(A, rows, GROUPS * DEPTH);
        config.set(B, GROUPS, GROUP_BYTES);
        // A tile of no rows is none: where nothing is left these have a group that nobody loads.
        let left = (groups % GROUPS).max(1);
        config.set(A_TAIL, rows, left * DEPTH);
        config.set(B_TAIL, left, GROUP_BYTES);
        config
    }

    fn set(&mut self, tile: u8, rows: usize, row_bytes: usize) {
        self.rows[tile as usize] = rows as u8;
        self.row_bytes[tile as usize] = row_bytes as u16;
    }
}

/// The tile unit.
///
/// # Safety
/// Of each method: tiles are configured, and pointers are valid for all rows of the tile, `stride`
/// bytes apart.
trait Tiles {
    /// Sets the shapes of tiles, which are zero then.
    unsafe fn configure(&mut self, config: &Config);
    /// Reads a tile.
    unsafe fn load<const TILE: u8>(&mut self, ptr: *const u8, stride: usize);
    /// Adds the product of tiles `LEFT`, signed or not, and `RIGHT`, signed.
    unsafe fn dot<const SUM: u8, const LEFT: u8, const RIGHT: u8>(&mut self, signed: bool);
    /// Writes a tile.
    unsafe fn store<const TILE: u8>(&mut self, ptr: *mut u8, stride: usize);
    /// Gives the tiles back.
    unsafe fn release(&mut self);
}

/// A tile of `rows` rows and `units` units.
///
/// # Safety
/// As [`crate::gemm::microkernel::TileFn`].
#[inline(always)]
unsafe fn run<T: Tiles>(tiles: &mut T, t: &Tile, rows: usize, units: usize) {
    // SAFETY: the caller vouches for every pointer of the tile and for the instruction set.
    unsafe {
        for row in 0..rows {
            let first = *t.row_start.add(row);
            for column in 0..units * PANEL {
                let start = (*t.start.add(column)).wrapping_add(first);
                t.c.add(row * t.c_stride + column).write(start);
            }
        }
        tiles.configure(&Config::new(rows, t.groups));
        let stride = t.c_stride * size_of::<i32>();
        sums::<T>(tiles, t.c.cast(), stride, units, false);
        let mut at = 0;
        while at + GROUPS <= t.groups {
            products::<T, A, B>(tiles, t, at, units);
            at += GROUPS;
        }
        if at < t.groups {
            products::<T, A_TAIL, B_TAIL>(tiles, t, at, units);
        }
        sums::<T>(tiles, t.c.cast(), stride, units, true);
        tiles.release();
    }
}

/// Adds the products of the groups from `at` on, as many as the tiles hold.
///
/// # Safety
/// As [`run`]; the groups exist.
#[inline(always)]
unsafe fn products<T: Tiles, const LEFT: u8, const RIGHT: u8>(
    tiles: &mut T,
    t: &Tile,
    at: usize,
    units: usize,
) {
    let signed = t.flip != 0;
    // SAFETY: the caller vouches for rows and panels.
    unsafe {
        let b = |unit: usize| t.b.add(unit * t.panel_stride + at * GROUP_BYTES).cast::<u8>();
        tiles.load::<LEFT>(t.a.add(at * DEPTH), t.a_stride);
        tiles.load::<RIGHT>(b(0), GROUP_BYTES);
        tiles.dot::<0, LEFT, RIGHT>(signed);
        if units > 1 {
            tiles.load::<RIGHT>(b(1), GROUP_BYTES);
            tiles.dot::<1, LEFT, RIGHT>(signed);
        }
        if units > 2 {
            tiles.load::<RIGHT>(b(2), GROUP_BYTES);
            tiles.dot::<2, LEFT, RIGHT>(signed);
        }
        if units > 3 {
            tiles.load::<RIGHT>(b(3), GROUP_BYTES);
            tiles.dot::<3, LEFT, RIGHT>(signed);
        }
    }
}

/// Reads or writes the tiles of results.
///
/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn sums<T: Tiles>(tiles: &mut T, c: *mut u8, stride: usize, units: usize, write: bool) {
    macro_rules! each {
        ($($tile:literal),*) => {
            $(if units > $tile {
                let c = c.add($tile * GROUP_BYTES);
                if write { tiles.store::<$tile>(c, stride) } else { tiles.load::<$tile>(c, stride) }
            })*
        };
    }
    // SAFETY: the caller vouches for the results.
    unsafe {
        each!(0, 1, 2, 3);
    }
}

/// The instructions. The compiler uses no tile of its own accord, so what they hold stays from one to
/// the next.
struct Amx;

impl Tiles for Amx {
    #[inline(always)]
    unsafe fn configure(&mut self, config: &Config) {
        // SAFETY: 64 bytes of a valid configuration; the caller vouches for the instruction set.
        unsafe {
            asm!("ldtilecfg [{0}]", in(reg) std::ptr::from_ref(config),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _,
                out("tmm5") _, out("tmm6") _, out("tmm7") _, options(nostack, readonly));
        }
    }

    #[inline(always)]
    unsafe fn load<const TILE: u8>(&mut self, ptr: *const u8, stride: usize) {
        // SAFETY: the caller vouches for the rows and the instruction set.
        unsafe {
            asm!("tileloadd tmm{tile}, [{ptr} + {stride}]", tile = const TILE, ptr = in(reg) ptr,
                stride = in(reg) stride, options(nostack));
        }
    }

    #[inline(always)]
    unsafe fn dot<const SUM: u8, const LEFT: u8, const RIGHT: u8>(&mut self, signed: bool) {
        // SAFETY: tiles alone are touched; the caller vouches for the instruction set.
        unsafe {
            if signed {
                asm!("tdpbssd tmm{sum}, tmm{left}, tmm{right}", sum = const SUM, left = const LEFT,
                    right = const RIGHT, options(nostack));
            } else {
                asm!("tdpbusd tmm{sum}, tmm{left}, tmm{right}", sum = const SUM, left = const LEFT,
                    right = const RIGHT, options(nostack));
            }
        }
    }

    #[inline(always)]
    unsafe fn store<const TILE: u8>(&mut self, ptr: *mut u8, stride: usize) {
        // SAFETY: the caller vouches for the rows and the instruction set.
        unsafe {
            asm!("tilestored [{ptr} + {stride}], tmm{tile}", tile = const TILE, ptr = in(reg) ptr,
                stride = in(reg) stride, options(nostack));
        }
    }

    #[inline(always)]
    unsafe fn release(&mut self) {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { asm!("tilerelease", options(nostack)) }
    }
}

/// # Safety
/// As [`crate::gemm::microkernel::TileFn`].
unsafe fn tile<const ROWS: usize, const UNITS: usize>(t: &Tile) {
    // SAFETY: the caller's promise is this function's own.
    unsafe { run(&mut Amx, t, ROWS, UNITS) }
}

/// `rounds` times four products of whole tiles, each with sums of its own: what the unit does at most.
///
/// # Safety
/// The CPU has the tile unit, and this process may use it.
pub(in crate::gemm) unsafe fn dots(rounds: u64) {
    let mut tiles = Amx;
    // SAFETY: no memory but the configuration is touched; the caller vouches for the instructions.
    unsafe {
        tiles.configure(&Config::new(ROWS, GROUPS));
        for _ in 0..rounds {
            tiles.dot::<0, A, B>(false);
            tiles.dot::<1, A, B>(false);
            tiles.dot::<2, A, B>(false);
            tiles.dot::<3, A, B>(false);
        }
        tiles.release();
    }
}

/// A row of the table: tiles of 1 to 16 rows.
macro_rules! all_rows {
    ($units:literal) => {
        tile_row!($units: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
    };
}

pub(in crate::gemm) static KERNEL: Kernel = Kernel {
    id: "x86_64-i8i8s32-amx-16x64",
    isa: Isa::Amx,
    left: Left::Bytes,
    layout: Layout::Fours,
    many: None,
    one: None,
    limits: &limits::DOT,
    unit: PANEL,
    tiles: &[all_rows!(1), all_rows!(2), all_rows!(3), all_rows!(4)],
    narrow: &[],
    narrow_units: UNITS,
};

#[cfg(test)]
mod tests;
