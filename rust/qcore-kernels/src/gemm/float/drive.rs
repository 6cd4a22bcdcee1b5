//! The loops around the tile: blocks of rows, panels of inputs, tiles of columns.

use std::cell::RefCell;
use std::ops::Range;

use super::left::{DEPTH, Left};
use super::panels::PANEL;
use super::right::{Columns, Lines};
use super::tile::{self, Finish, Segment, Tile, tile};
use crate::aligned::AlignedBytes;
use crate::elementwise::map_row;
use crate::epilogue::Epilogue;
use crate::error::Result;
use crate::interrupt::Pace;
use crate::isa::Isa;
use crate::memory;
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads::SendPtr;

/// Multiply-adds between two looks at whether to stop.
const STEPS: usize = 1 << 22;

/// Rows whose inputs of one panel stay in L2.
pub(crate) const ROWS: usize = 192;
/// The most columns of a tile.
const MOST_COLUMNS: usize = 4 * PANEL;
/// The most results of a tile.
const MOST_RESULTS: usize = 12 * MOST_COLUMNS;

thread_local! {
    static ROOM: RefCell<AlignedBytes> = RefCell::default();
}

/// A product, and where its result goes. All but the softmax is done by its parts.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub(crate) left: Left<'a>,
    pub(crate) right: Columns<'a>,
    pub(crate) epilogue: Epilogue<'a>,
    /// Element (0, 0) of the result.
    pub(crate) out: SendPtr<f32>,
    /// Elements from a row of the result, and of the residual, to the next.
    pub(crate) stride: usize,
    /// The first column of the right operand among those of bias and residual.
    pub(crate) column: usize,
}

impl Product<'_> {
    /// Computes some rows and panels on this thread. `start` writes where rows of the left operand
    /// start, from a row on.
    ///
    /// # Safety
    /// - Rows and panels exist: the left operand is valid at every segment of each row that `start`
    ///   gives, the result is valid for writing at every row and column.
    /// - Nobody else touches these rows and columns of the result.
    pub(crate) unsafe fn run(
        &self,
        isa: Isa,
        rows: Range<usize>,
        panels: Range<usize>,
        start: impl Fn(usize, &mut [usize]),
    ) -> Result<()> {
        memory::with_kept(&ROOM, |room| {
            room.resize_scratch(MOST_COLUMNS * DEPTH * size_of::<f32>())?;
            let room = room.as_mut_floats();
            let (rows, panels) = (rows.clone(), panels.clone());
            dispatch(isa, Part { product: self, rows, panels, room, start })
        })?;
        let Some(function) = self.epilogue.activation.rest() else { return Ok(()) };
        let first = panels.start * PANEL;
        let columns = self.right.columns().min(panels.end * PANEL) - first;
        for row in rows {
            let at = row * self.stride + self.column + first;
            // SAFETY: these columns of the row are within the result and the caller's own.
            let part = unsafe { std::slice::from_raw_parts_mut(self.out.get().add(at), columns) };
            map_row(isa, function, part);
        }
        Ok(())
    }
}

struct Part<'a, F> {
    product: &'a Product<'a>,
    rows: Range<usize>,
    panels: Range<usize>,
    /// `MOST_COLUMNS` floats for each of `DEPTH` inputs.
    room: *mut f32,
    start: F,
}

impl<F: Fn(usize, &mut [usize])> SimdOp for Part<'_, F> {
    type Output = Result<()>;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Result<()> {
        let mut pace = Pace::of(STEPS);
        let right = &self.product.right;
        let inputs = self.product.left.inputs.count();
        let mut starts = [0; ROWS];
        for first in self.rows.clone().step_by(ROWS) {
            let rows = first..(first + ROWS).min(self.rows.end);
            let starts = &mut starts[..rows.len()];
            (self.start)(first, starts);
            // An empty sum has one empty panel.
            for depth in 0..inputs.div_ceil(DEPTH).max(1) {
                let range = depth * DEPTH..((depth + 1) * DEPTH).min(inputs);
                let mut panel = self.panels.start;
                while panel < self.panels.end {
                    let most = tile::panels::<S>().min(self.panels.end - panel);
                    let count = right.together(panel, most);
                    pace.check(rows.len() * range.len() * count * PANEL)?;
                    // SAFETY: panels and inputs exist, the room holds them.
                    unsafe {
                        let columns = right.columns_of(s, panel, count, range.clone(), self.room);
                        self.tiles(s, rows.clone(), starts, depth, panel, count, columns);
                    }
                    panel += count;
                }
            }
        }
        Ok(())
    }
}

impl<F> Part<'_, F> {
    /// All rows of a block, one panel of inputs, and the columns of one tile.
    ///
    /// # Safety
    /// Rows, inputs and panels exist, and nobody else touches their results.
    #[inline(always)]
    unsafe fn tiles<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        starts: &[usize],
        depth: usize,
        panel: usize,
        count: usize,
        w: Lines,
    ) {
        let Product { left, right, epilogue, out, stride, column } = *self.product;
        let mut room = [Segment { offset: 0, len: 0 }];
        let segments = left.inputs.panel(depth, &mut room);
        let last = (depth + 1) * DEPTH >= left.inputs.count();
        let first = column + panel * PANEL;
        let columns = (right.columns() - panel * PANEL).min(count * PANEL);
        let whole = columns == count * PANEL;
        let bias = biases(epilogue.bias, first, columns);
        // What fills no panel goes through a room of its own.
        let mut spare = [0.0_f32; MOST_RESULTS];
        let mut spare_residual = [0.0_f32; MOST_RESULTS];
        let tallest = tile::rows::<S>(count);
        // Tiles of about the same height.
        let tiles = rows.len().div_ceil(tallest);
        let height = rows.len().div_ceil(tiles.max(1));
        let mut done = 0;
        while done < rows.len() {
            let tall = height.min(rows.len() - done);
            let at = (rows.start + done) * stride + first;
            let result = out.get().wrapping_add(at);
            let residual = if epilogue.residual.is_empty() || !last {
                std::ptr::null()
            } else {
                epilogue.residual[at..].as_ptr()
            };
            let resume = depth > 0;
            let bounds = epilogue.activation.bounds().unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
            let mut finish =
                Finish { bias: bias.as_ptr(), residual, residual_stride: stride, bounds };
            let (mut target, mut target_stride) = (result, stride);
            // SAFETY: the rows and inputs of x exist, the columns lie where it was said, and the tile is
            // within `out`, or the room, of which only real columns are copied.
            unsafe {
                if !whole {
                    (target, target_stride) = (spare.as_mut_ptr(), MOST_COLUMNS);
                    if resume {
                        copy(result, stride, target, target_stride, tall, columns);
                    }
                    if !residual.is_null() {
                        let to = spare_residual.as_mut_ptr();
                        copy(residual, stride, to, MOST_COLUMNS, tall, columns);
                        (finish.residual, finish.residual_stride) = (to, MOST_COLUMNS);
                    }
                }
                let t = Tile {
                    x: left.base,
                    rows: &starts[done..done + tall],
                    segments,
                    w: w.first,
                    w_stride: w.stride,
                    w_step: w.step,
                    out: target,
                    out_stride: target_stride,
                    resume,
                    finish: last.then_some(finish),
                };
                tile(s, count, &t);
                if !whole {
                    copy(target, target_stride, result, stride, tall, columns);
                }
            }
            done += tall;
        }
    }
}

/// The biases of a tile; what changes nothing where there are none.
fn biases(bias: &[f32], first: usize, columns: usize) -> [f32; MOST_COLUMNS] {
    let mut all = [-0.0; MOST_COLUMNS];
    match bias {
        [] => {}
        [one] => all[..columns].fill(*one),
        each => all[..columns].copy_from_slice(&each[first..first + columns]),
    }
    all
}

/// Copies a block of floats.
///
/// # Safety
/// Both are valid for `rows` rows of `columns` floats, their strides apart, and do not overlap.
unsafe fn copy(
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
    rows: usize,
    columns: usize,
) {
    for row in 0..rows {
        // SAFETY: the caller's promise.
        unsafe {
            to.add(row * to_stride).copy_from_nonoverlapping(from.add(row * from_stride), columns);
        }
    }
}
