//! The loops around the tile: threads, blocks of rows, blocks of inputs.

use std::cell::RefCell;
use std::ops::Range;

use super::panels::PANEL;
use super::tile::{self, Tile, tile};
use super::weights::FloatWeights;
use crate::aligned::AlignedBytes;
use crate::epilogue::{Activation, finish_rows_with};
use crate::error::{KernelError, Result};
use crate::gemm::packed::SendPtr;
use crate::isa::{self, Isa};
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads;

/// Multiply-adds below which another thread costs more than it saves.
const GRAIN: usize = 1 << 20;
/// Inputs that are decoded at once: four panels of so many floats leave room in L2.
const DEPTH: usize = 256;
/// Rows whose inputs of one block stay in L2.
const ROWS: usize = 192;
/// The most rows and columns of a tile.
const MOST_ROWS: usize = 6;
const MOST_COLUMNS: usize = 4 * PANEL;

thread_local! {
    static ROOM: RefCell<AlignedBytes> = RefCell::default();
}

/// [`dense_f32_with`] on the instruction set in force.
pub fn dense_f32(
    x: &[f32],
    weights: &FloatWeights,
    bias: &[f32],
    activation: Activation,
    out: &mut [f32],
) -> Result<()> {
    dense_f32_with(isa::active()?, x, weights, bias, activation, out)
}

/// `out = activation(x · weightsᵀ + bias)` for row-major rows of x; `bias` is empty, or has 1 element
/// or one for each output.
pub fn dense_f32_with(
    isa: Isa,
    x: &[f32],
    weights: &FloatWeights,
    bias: &[f32],
    activation: Activation,
    out: &mut [f32],
) -> Result<()> {
    let (k, n) = (weights.inputs(), weights.outputs());
    let m = x.len().checked_div(k).unwrap_or_else(|| out.len() / n.max(1));
    if m * k != x.len() || m * n != out.len() {
        return Err(KernelError::Shape(format!(
            "x has {} elements and out {}; they must be rows of {k} and {n}",
            x.len(),
            out.len()
        )));
    }
    if m == 0 || n == 0 {
        return Ok(());
    }
    let product = Product { x, weights, out: SendPtr(out.as_mut_ptr()) };
    let tasks = threads::tasks_for(m * n, k, GRAIN);
    let panels = n.div_ceil(PANEL);
    if tasks == 1 {
        product.run(isa, 0..m, 0..panels);
        return finish_rows_with(isa, out, n, bias, activation);
    }
    if m >= 16 * tasks {
        let rows = m.div_ceil(tasks).next_multiple_of(MOST_ROWS);
        threads::for_each(m.div_ceil(rows), |task| {
            product.run(isa, task * rows..((task + 1) * rows).min(m), 0..panels);
        });
    } else {
        let columns = panels.div_ceil(tasks).next_multiple_of(4);
        threads::for_each(panels.div_ceil(columns), |task| {
            product.run(isa, 0..m, task * columns..((task + 1) * columns).min(panels));
        });
    }
    finish_rows_with(isa, out, n, bias, activation)
}

/// The sums alone.
#[derive(Clone, Copy)]
struct Product<'a> {
    x: &'a [f32],
    weights: &'a FloatWeights,
    out: SendPtr<f32>,
}

impl Product<'_> {
    /// Computes some rows and panels, which are the caller's own, on this thread.
    fn run(&self, isa: Isa, rows: Range<usize>, panels: Range<usize>) {
        ROOM.with_borrow_mut(|room| {
            room.resize_scratch(MOST_COLUMNS * DEPTH * size_of::<f32>());
            let room = room.as_mut_ptr().cast();
            dispatch(isa, Part { product: *self, rows, panels, room });
        });
    }
}

struct Part<'a> {
    product: Product<'a>,
    rows: Range<usize>,
    panels: Range<usize>,
    /// `MOST_COLUMNS` floats for each of `DEPTH` inputs.
    room: *mut f32,
}

impl SimdOp for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let k = self.product.weights.inputs();
        for first in self.rows.clone().step_by(ROWS) {
            let rows = first..(first + ROWS).min(self.rows.end);
            // An empty sum has one empty block.
            for start in (0..k.max(1)).step_by(DEPTH) {
                let inputs = start..(start + DEPTH).min(k);
                for panel in self.panels.clone().step_by(tile::panels::<S>()) {
                    let count = tile::panels::<S>().min(self.panels.end - panel);
                    // SAFETY: panels and inputs exist; rows and panels are this part's own.
                    unsafe { self.block(s, rows.clone(), inputs.clone(), panel, count) };
                }
            }
        }
    }
}

impl Part<'_> {
    /// Some rows, some inputs, and the columns of one tile.
    ///
    /// # Safety
    /// - Rows, inputs and panels exist, and nobody else touches their results.
    /// - There are at most `DEPTH` inputs.
    #[inline(always)]
    unsafe fn block<S: Simd>(
        &self,
        s: S,
        rows: Range<usize>,
        inputs: Range<usize>,
        panel: usize,
        count: usize,
    ) {
        let Product { x, weights, out } = self.product;
        let (k, n) = (weights.inputs(), weights.outputs());
        let mut firsts = [std::ptr::null(); 4];
        for (index, first) in firsts[..count].iter_mut().enumerate() {
            // SAFETY: the panel exists, and its part of the room is its own.
            *first = unsafe {
                let room = self.room.add(index * inputs.len() * PANEL);
                weights.panel(s, panel + index, inputs.clone(), room)
            };
        }
        let w_stride = if count > 1 {
            // SAFETY: both point into one allocation.
            unsafe { firsts[1].offset_from(firsts[0]) as usize }
        } else {
            0
        };
        let column = panel * PANEL;
        let columns = (n - column).min(count * PANEL);
        let whole = columns == count * PANEL;
        let mut spare = [0.0_f32; MOST_ROWS * MOST_COLUMNS];
        let mut row = rows.start;
        while row < rows.end {
            let tall = tile::rows::<S>().min(rows.end - row);
            let result = out.get().wrapping_add(row * n + column);
            let (target, stride) =
                if whole { (result, n) } else { (spare.as_mut_ptr(), MOST_COLUMNS) };
            // SAFETY: the rows and inputs of x exist, the panels are decoded or lie in the weights,
            // and the tile is within `out`, or `spare`, of which only real columns are copied.
            unsafe {
                if !whole && inputs.start > 0 {
                    copy(result, n, target, stride, tall, columns);
                }
                let t = Tile {
                    x: x.as_ptr().add(row * k + inputs.start),
                    x_stride: k,
                    inputs: inputs.len(),
                    w: firsts[0],
                    w_stride,
                    out: target,
                    out_stride: stride,
                    resume: inputs.start > 0,
                };
                tile(s, tall, count, &t);
                if !whole {
                    copy(target, stride, result, n, tall, columns);
                }
            }
            row += tall;
        }
    }
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
