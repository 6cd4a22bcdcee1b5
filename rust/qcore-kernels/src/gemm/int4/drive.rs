//! The loops around a panel: threads, rows, and what follows the sums.

use std::cell::RefCell;
use std::ops::Range;

use super::micro::{self, Tile, TileFn};
use super::packed::{DEPTH, LINE, PANEL, PackedI4, Scales};
use crate::epilogue::{Activation, finish_rows_with};
use crate::error::{KernelError, Result};
use crate::gemm::packed::SendPtr;
use crate::interrupt::Pace;
use crate::isa::Isa;
use crate::{memory, threads};

/// Multiply-adds below which another thread costs more than it saves.
const GRAIN: usize = 1 << 21;

/// Multiply-adds between two looks at whether to stop.
const STEPS: usize = 1 << 22;

/// Rows of activations as the kernels take them.
#[derive(Default)]
struct Rows {
    /// Codes, each row padded with zeros to whole lines.
    codes: Vec<i8>,
    /// `-8 * sum` of each group of each row.
    start: Vec<i32>,
}

thread_local! {
    static ROWS: RefCell<Rows> = RefCell::default();
}

/// `activation(row_scale * sum(group scale * exact group sum) + bias)` of int8 rows, side by side.
pub fn dense_f32_from_i4_with(
    isa: Isa,
    codes: &[i8],
    row_scale: &[f32],
    weights: &PackedI4,
    bias: &[f32],
    activation: Activation,
    out: &mut [f32],
) -> Result<()> {
    let (k, n, m) = (weights.inputs(), weights.outputs(), row_scale.len());
    if m.checked_mul(k) != Some(codes.len()) || m.checked_mul(n) != Some(out.len()) {
        return Err(KernelError::Shape(format!(
            "{} codes and {} results are not {m} rows of {k} and {n}",
            codes.len(),
            out.len()
        )));
    }
    if m == 0 || n == 0 {
        return Ok(());
    }
    memory::with_kept(&ROWS, |rows| {
        rows.fill(codes, weights, m)?;
        let product = Product { rows, row_scale, weights, out: SendPtr(out.as_mut_ptr()) };
        let panels = n.div_ceil(PANEL);
        let tasks = threads::tasks_for(panels, codes.len().saturating_mul(PANEL), GRAIN);
        let per_task = panels.div_ceil(tasks);
        threads::try_for_each(panels.div_ceil(per_task), |task| {
            product.run(isa, task * per_task..((task + 1) * per_task).min(panels))
        })
    })?;
    finish_rows_with(isa, out, n, bias, activation)
}

impl Rows {
    fn fill(&mut self, codes: &[i8], weights: &PackedI4, m: usize) -> Result<()> {
        let (k, stride) = (weights.inputs(), weights.lines() * DEPTH);
        self.codes.clear();
        memory::resize(&mut self.codes, memory::size(&[m, stride])?, 0)?;
        self.start.clear();
        if k == 0 {
            return Ok(());
        }
        let groups = weights.lines().div_ceil(weights.group_lines());
        memory::reserve(&mut self.start, memory::size(&[m, groups])?)?;
        for (row, padded) in codes.chunks_exact(k).zip(self.codes.chunks_exact_mut(stride)) {
            padded[..k].copy_from_slice(row);
            let groups = padded.chunks(weights.group_lines() * DEPTH);
            self.start.extend(groups.map(|group| {
                let sum: i32 = group.iter().map(|&code| i32::from(code)).sum();
                -8 * sum
            }));
        }
        Ok(())
    }
}

struct Product<'a> {
    rows: &'a Rows,
    row_scale: &'a [f32],
    weights: &'a PackedI4,
    out: SendPtr<f32>,
}

impl Product<'_> {
    /// Some panels, which are the caller's own, with all rows.
    fn run(&self, isa: Isa, panels: Range<usize>) -> Result<()> {
        let kernel = micro::kernel_for(isa);
        let rows = self.row_scale.len();
        let mut panel = panels.start;
        let mut pace = Pace::of(STEPS);
        while panel < panels.end {
            pace.check(rows.saturating_mul(self.weights.inputs() * PANEL))?;
            if rows == 1 && panel + micro::PANELS <= panels.end {
                self.tile(kernel.panels, 0..1, panel, micro::PANELS);
                panel += micro::PANELS;
                continue;
            }
            for row in (0..rows).step_by(micro::ROWS) {
                let count = micro::ROWS.min(rows - row);
                self.tile(kernel.rows[count - 1], row..row + count, panel, 1);
            }
            panel += 1;
        }
        Ok(())
    }

    /// Some rows and panels by the function that is made for as many.
    fn tile(&self, tile_fn: TileFn, rows: Range<usize>, panel: usize, count: usize) {
        let weights = self.weights;
        let (n, lines) = (weights.outputs(), weights.lines());
        let groups = lines.div_ceil(weights.group_lines());
        let (scale, half) = match weights.scale() {
            Scales::F32(scale) => (scale[panel * groups * PANEL..].as_ptr().cast(), false),
            Scales::F16(scale) => (scale[panel * groups * PANEL..].as_ptr().cast(), true),
        };
        let mut sums = [0.0_f32; micro::ROWS * PANEL];
        let tile = Tile {
            a: self.rows.codes[rows.start * lines * DEPTH..].as_ptr(),
            a_stride: lines * DEPTH,
            start: self.rows.start[rows.start * groups..].as_ptr(),
            w: weights.panel(panel),
            w_stride: lines * LINE,
            scale_stride: groups * PANEL * if half { 2 } else { 4 },
            lines,
            group_lines: weights.group_lines(),
            scale,
            half,
            out: sums.as_mut_ptr(),
        };
        // SAFETY: the rows are padded to whole lines and have a start for each group, the panels
        // exist, and the sums have room for ROWS rows of one panel and one row of PANELS.
        unsafe { tile_fn(&tile) };
        let column = panel * PANEL;
        let columns = (n - column).min(count * PANEL);
        for (row, sums) in rows.zip(sums.chunks_exact(count * PANEL)) {
            let scale = self.row_scale[row];
            for (index, &sum) in sums[..columns].iter().enumerate() {
                // SAFETY: the element is within the result and this task's own.
                unsafe { self.out.get().add(row * n + column + index).write(sum * scale) };
            }
        }
    }
}

// One room serves both shapes of tiles.
const _: () = assert!(micro::PANELS <= micro::ROWS);
