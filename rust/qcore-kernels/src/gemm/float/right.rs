//! The right operand: weights in panels, or a matrix as it lies.

use std::ops::Range;

use super::left::DEPTH;
use super::panels::PANEL;
use super::weights::FloatWeights;
use crate::simd::Simd;

/// What the columns of a product come from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Columns<'a> {
    /// Weights of any kind.
    Weights(&'a FloatWeights),
    /// Floats in panels, `inputs` lines each.
    Panels { first: *const f32, inputs: usize, columns: usize },
    /// A matrix whose rows are `step` elements apart.
    Rows { first: *const f32, inputs: usize, columns: usize, step: usize },
}

// SAFETY: a Columns is a shared borrow of floats; its makers vouch for what it reads.
unsafe impl Send for Columns<'_> {}
// SAFETY: as above.
unsafe impl Sync for Columns<'_> {}

/// Where the columns of a tile lie for the inputs of a panel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    pub(super) first: *const f32,
    /// Elements from 16 columns to the next 16.
    pub(super) stride: usize,
    /// Elements from an input to the next.
    pub(super) step: usize,
}

impl Columns<'_> {
    pub(super) fn inputs(&self) -> usize {
        match self {
            Columns::Weights(weights) => weights.inputs(),
            Columns::Panels { inputs, .. } | Columns::Rows { inputs, .. } => *inputs,
        }
    }

    pub(super) fn columns(&self) -> usize {
        match self {
            Columns::Weights(weights) => weights.outputs(),
            Columns::Panels { columns, .. } | Columns::Rows { columns, .. } => *columns,
        }
    }

    /// How many panels from `panel` on, at most `most`, a tile may read at once.
    pub(super) fn together(&self, panel: usize, most: usize) -> usize {
        match self {
            // What fills no panel is copied, and stands alone.
            Columns::Rows { columns, .. } => most.min(columns / PANEL - panel).max(1),
            _ => most,
        }
    }

    /// Some panels for some inputs, in place or in `room`.
    ///
    /// # Safety
    /// - The panels and inputs exist; they are as many as [`Columns::together`] allows.
    /// - `room` is valid for writing `PANEL` floats for each input of each panel.
    #[inline(always)]
    pub(super) unsafe fn columns_of<S: Simd>(
        &self,
        s: S,
        panel: usize,
        count: usize,
        inputs: Range<usize>,
        room: *mut f32,
    ) -> Lines {
        match self {
            Columns::Weights(weights) => {
                let mut firsts = [std::ptr::null(); 2];
                for index in 0..count {
                    // SAFETY: the panel exists, and its part of the room is its own.
                    let first = unsafe {
                        let room = room.add(index * inputs.len() * PANEL);
                        weights.panel(s, panel + index, inputs.clone(), room)
                    };
                    firsts[index.min(1)] = if index < 2 { first } else { firsts[1] };
                }
                // Panels lie as far apart in the weights, and in the room.
                let stride = if count > 1 {
                    (firsts[1].addr() - firsts[0].addr()) / size_of::<f32>()
                } else {
                    0
                };
                Lines { first: firsts[0], stride, step: PANEL }
            }
            Columns::Panels { first, inputs: all, .. } => Lines {
                first: first.wrapping_add((panel * all + inputs.start) * PANEL),
                stride: all * PANEL,
                step: PANEL,
            },
            Columns::Rows { first, columns, step, .. } => {
                let from = first.wrapping_add(inputs.start * step + panel * PANEL);
                let left = columns - panel * PANEL;
                if left >= PANEL {
                    return Lines { first: from, stride: PANEL, step: *step };
                }
                debug_assert!(inputs.len() <= DEPTH && count == 1);
                for input in 0..inputs.len() {
                    // SAFETY: the caller's promise: `left` columns of the row, a line of the room.
                    unsafe {
                        let line = room.add(input * PANEL);
                        line.write_bytes(0, PANEL);
                        line.copy_from_nonoverlapping(from.add(input * step), left);
                    }
                }
                Lines { first: room, stride: 0, step: PANEL }
            }
        }
    }
}
