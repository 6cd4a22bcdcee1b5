//! B laid out once: panels of 16 columns, 4 values of K after 4, which make a cache line.
//!
//! What is in a line is laid out as the instruction set wants it: `vpdpbusd` and NEON's `sdot` take
//! four values of a column, `pmaddwd` two, `smmla` eight. A packed matrix knows its layout; a kernel that wants
//! another gets it strip by strip. Values are signed: uint8 is stored with its top bit flipped, which
//! takes 128 away, and its zero point moves with it. Tails of both dimensions are zeros.

mod expand;
mod interleave;
pub(super) mod masked;
pub(super) mod relayout;

use std::ops::Range;

use super::left::nibbles::PAIR_BYTES;
use super::microkernel::{DEPTH, Kernel, Layout, Left, MAX_TILE_COLUMNS, PANEL, Tile};
use super::operand::{Bytes, Int8};
use super::registry::kernel_for;
use crate::aligned::AlignedBytes;
use crate::error::Result;
use crate::interrupt::Pace;
use crate::isa::Isa;
pub(crate) use crate::threads::SendPtr;
use crate::{memory, threads};

/// Bytes of B below which packing stays on the caller's thread.
const GRAIN: usize = 1 << 19;

/// The right operand of an int8 product, (K, N), laid out for the kernels.
#[derive(Debug, Clone, Default)]
pub struct PackedI8 {
    layout: Layout,
    k: usize,
    n: usize,
    groups: usize,
    panel_stride: usize,
    data: AlignedBytes,
    /// The sum of each stored column, and of the zeros that fill up its panel.
    sums: Vec<i64>,
    unsigned: bool,
}

impl PackedI8 {
    /// Packs a matrix (K, N) of any strides.
    pub fn new<'a>(isa: Isa, b: impl Into<Int8<'a>>) -> Result<Self> {
        let mut packed = Self::default();
        packed.refill(isa, b)?;
        Ok(packed)
    }

    /// Packs another matrix into the same memory; after an error it is of no use.
    pub fn refill<'a>(&mut self, isa: Isa, b: impl Into<Int8<'a>>) -> Result<()> {
        let b = b.into();
        self.fill(kernel_for(isa), b.bytes(), b.is_unsigned(), true)
    }

    /// Packs the bytes of a matrix, which is still borrowed. Without `summed` the sums of columns,
    /// which take a row's time, are left at 0.
    pub(super) fn fill(
        &mut self,
        kernel: &Kernel,
        bytes: Bytes,
        unsigned: bool,
        summed: bool,
    ) -> Result<()> {
        let (k, n) = (bytes.rows, bytes.cols);
        let (groups, panels) = (k.div_ceil(DEPTH), n.div_ceil(PANEL));
        let layout = kernel.layout;
        let panel_stride = stride(layout, groups)?;
        self.data.resize_scratch(memory::size(&[panels, panel_stride])?)?;
        self.sums.clear();
        memory::resize(&mut self.sums, memory::size(&[panels, PANEL])?, 0)?;
        self.layout = layout;
        (self.k, self.n, self.groups, self.panel_stride) = (k, n, groups, panel_stride);
        self.unsigned = unsigned;

        let flip = if unsigned { 0x80 } else { 0 };
        let tasks = threads::tasks_for(panels, panel_stride, GRAIN);
        // Whole strips: a task reads whole cache lines of a row.
        let per_task = panels.div_ceil(tasks).next_multiple_of(STRIP);
        let data = SendPtr(self.data.as_mut_ptr());
        let sums = SendPtr(self.sums.as_mut_ptr());
        threads::try_for_each(panels.div_ceil(per_task.max(1)), |task| {
            let last = ((task + 1) * per_task).min(panels);
            let mut pace = Pace::new();
            for first in (task * per_task..last).step_by(STRIP) {
                let strip = first..(first + STRIP).min(last);
                pace.check(strip.len() * panel_stride)?;
                // SAFETY: the panels of one task are its own, and lie within the data and the sums.
                unsafe {
                    let panel = data.get().add(first * panel_stride);
                    let target = interleave::Target { out: panel, panel_stride, layout, groups };
                    interleave::panels(kernel.isa, bytes, flip, strip.clone(), target);
                    if summed {
                        let sums = sums.get().add(first * PANEL);
                        column_sums(kernel, panel, panel_stride, groups, strip.len(), sums);
                    }
                }
            }
            Ok(())
        })
    }

    /// Makes room for some panels of another, in a layout that may differ.
    pub(super) fn reserve_like(
        &mut self,
        other: &Self,
        panels: Range<usize>,
        layout: Layout,
    ) -> Result<()> {
        self.layout = layout;
        self.n = other.n.min(panels.end * PANEL).saturating_sub(panels.start * PANEL);
        (self.k, self.groups, self.unsigned) = (other.k, other.groups, other.unsigned);
        self.panel_stride = stride(layout, self.groups)?;
        self.data.resize_scratch(memory::size(&[panels.len(), self.panel_stride])?)?;
        self.sums.clear();
        memory::extend(&mut self.sums, &other.sums[panels.start * PANEL..panels.end * PANEL])
    }

    /// Makes room for the panels of a matrix (K, N) with so many lines each and the given sums: lines
    /// of fours.
    pub(super) fn reserve(
        &mut self,
        k: usize,
        n: usize,
        lines: usize,
        unsigned: bool,
        sums: &[i64],
    ) -> Result<()> {
        let layout = Layout::Fours;
        let panel_stride = stride(layout, lines)?;
        self.data.resize_scratch(memory::size(&[n.div_ceil(PANEL), panel_stride])?)?;
        self.layout = layout;
        self.sums.clear();
        memory::extend(&mut self.sums, sums)?;
        (self.k, self.n, self.groups, self.panel_stride) = (k, n, k.div_ceil(DEPTH), panel_stride);
        self.unsigned = unsigned;
        Ok(())
    }

    /// How values lie in a line.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// The first line of a panel.
    pub(super) fn panel(&self, panel: usize) -> *const u8 {
        self.data[panel * self.panel_stride..].as_ptr()
    }

    /// The first line of a panel.
    pub(super) fn panel_mut(&mut self, panel: usize) -> *mut u8 {
        self.data[panel * self.panel_stride..].as_mut_ptr()
    }

    /// Rows of the matrix: the length of the sums.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of the matrix.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Whether the matrix is uint8.
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        self.unsigned
    }

    /// Bytes in memory.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.data.len() + self.sums.len() * 8
    }

    /// What the stored values lack of the matrix's own.
    pub(crate) fn shift(&self) -> i32 {
        if self.unsigned { 128 } else { 0 }
    }

    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    pub(crate) fn panel_stride(&self) -> usize {
        self.panel_stride
    }

    /// Sums of stored columns, zeros included.
    pub(crate) fn sums(&self) -> &[i64] {
        &self.sums
    }

    /// Column `column` at its depth group `group`.
    pub(crate) fn at(&self, column: usize, group: usize) -> *const i8 {
        let place = self.layout.place(column % PANEL, 0);
        let offset = column / PANEL * self.panel_stride + place;
        let line = self.layout.group_offset(group);
        debug_assert!(offset + line <= self.data.len());
        self.data.as_ptr().wrapping_add(offset + line).cast()
    }

    /// The matrix's own value in row `k` and column `n`.
    ///
    /// # Panics
    /// If either is out of range.
    #[must_use]
    pub fn get(&self, k: usize, n: usize) -> i32 {
        assert!(k < self.k && n < self.n, "({k}, {n}) is outside the matrix");
        let line = n / PANEL * self.panel_stride + self.layout.group_offset(k / DEPTH);
        // The low byte of a word is the value's own.
        i32::from(self.data[line + self.layout.place(n % PANEL, k % DEPTH)] as i8) + self.shift()
    }
}

/// Bytes from a panel of so many depth groups to the next.
fn stride(layout: Layout, groups: usize) -> Result<usize> {
    let bytes = memory::size(&[layout.whole_groups(groups), layout.line_bytes()])?;
    // Panels a multiple of 4096 bytes apart would share their sets of the L1 cache.
    Ok(if bytes.is_multiple_of(4096) { bytes + 64 } else { bytes })
}

/// Panels whose rows are a cache line of B.
pub(super) const STRIP: usize = 4;

/// Depth groups that are summed at once.
const SUM_GROUPS: usize = 512;
static ONES_U8: [u8; SUM_GROUPS * DEPTH] = [1; SUM_GROUPS * DEPTH];
static ONES_I16: [i16; SUM_GROUPS * DEPTH] = [1; SUM_GROUPS * DEPTH];
static ONES_NIBBLES: [[u8; PAIR_BYTES]; SUM_GROUPS * DEPTH / 2] =
    [[1, 1, 1, 1, 0, 0, 0, 0]; SUM_GROUPS * DEPTH / 2];

/// Adds the sum of each column of packed panels: the product with a row of ones.
///
/// # Safety
/// - `data` is valid for `panels` panels, `sums` for 16 elements of each.
/// - The CPU has the kernel's instruction set.
unsafe fn column_sums(
    kernel: &Kernel,
    data: *const u8,
    panel_stride: usize,
    groups: usize,
    panels: usize,
    sums: *mut i64,
) {
    let ones = match kernel.left {
        Left::U8 | Left::Signed | Left::Bytes => ONES_U8.as_ptr(),
        Left::I16 => ONES_I16.as_ptr().cast(),
        Left::Nibbles => ONES_NIBBLES.as_ptr().cast(),
    };
    let zeros = [0_i32; MAX_TILE_COLUMNS];
    let wide = kernel.columns().min(panels * PANEL);
    for column in (0..panels * PANEL).step_by(wide) {
        let units = (panels * PANEL - column).min(wide) / kernel.unit;
        for first in (0..groups).step_by(SUM_GROUPS) {
            let mut part = [0_i32; MAX_TILE_COLUMNS];
            let place = kernel.layout.place(column % PANEL, 0);
            let offset = column / PANEL * panel_stride + place;
            let tile = Tile {
                a: ones,
                a_stride: 0,
                flip: 0,
                groups: SUM_GROUPS.min(groups - first),
                // SAFETY: the panel, group and column exist.
                b: unsafe { data.add(offset + kernel.layout.group_offset(first)) }.cast(),
                panel_stride,
                start: zeros.as_ptr(),
                row_start: zeros.as_ptr(),
                c: part.as_mut_ptr(),
                c_stride: 0,
            };
            // SAFETY: one row of ones, the columns of whole panels, and sums for each of them.
            unsafe { kernel.tiles[units - 1][0](&tile) };
            for (index, &sum) in part[..units * kernel.unit].iter().enumerate() {
                // SAFETY: `sums` has 16 elements a panel.
                unsafe { *sums.add(column + index) += i64::from(sum) };
            }
        }
    }
}
