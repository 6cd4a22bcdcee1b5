//! Rows times weights.

use super::drive::Product;
use super::left::{Inputs, Left};
use super::panels::PANEL;
use super::right::Columns;
use super::weights::FloatWeights;
use crate::aligned::AlignedBytes;
use crate::epilogue::{Activation, Epilogue};
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::norm::softmax_with;
use crate::threads::{self, SendPtr};
use crate::view::MatRef;

/// Multiply-adds below which another thread costs more than it saves.
pub(super) const GRAIN: usize = 1 << 20;

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
    let epilogue = Epilogue { bias, residual: &[], activation };
    product_f32_with(isa, MatRef::from_slice(x, m, k)?, weights, epilogue, out)
}

/// [`product_f32_with`] on the instruction set in force.
pub fn product_f32(
    a: MatRef<'_, f32>,
    weights: &FloatWeights,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
) -> Result<()> {
    product_f32_with(isa::active()?, a, weights, epilogue, out)
}

/// `out = activation(a · weightsᵀ + bias + residual)` for a matrix of any strides; `out` is row-major.
///
/// Each result is the sum over panels of 256 inputs, in their order, of one chain of fused
/// multiply-adds: the same bits on every instruction set, whatever rows and threads there are.
pub fn product_f32_with(
    isa: Isa,
    a: MatRef<'_, f32>,
    weights: &FloatWeights,
    epilogue: Epilogue<'_>,
    out: &mut [f32],
) -> Result<()> {
    let (m, k, n) = (a.rows(), a.cols(), weights.outputs());
    if k != weights.inputs() || m.checked_mul(n) != Some(out.len()) {
        return Err(KernelError::Shape(format!(
            "a is ({m}, {k}) and out has {} elements; weights take rows of {} and give {n}",
            out.len(),
            weights.inputs()
        )));
    }
    epilogue.check(m, n)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let mut copy = AlignedBytes::default();
    let (base, stride) = adjacent(a, &mut copy)?;
    let product = Product {
        left: Left { base, inputs: Inputs::Line(k) },
        right: Columns::Weights(weights),
        epilogue,
        out: SendPtr(out.as_mut_ptr()),
        stride: n,
        column: 0,
    };
    // SAFETY: every row of `a`, or of its copy, has k elements side by side; `out` has m rows of n, and
    // is borrowed mutably.
    unsafe { all(&product, isa, m, stride)? };
    if epilogue.activation.is_of_rows() {
        softmax_with(isa, out, n)?;
    }
    Ok(())
}

/// Rows whose elements lie side by side, and how far apart: `a` itself, or a copy of it.
fn adjacent(a: MatRef<'_, f32>, copy: &mut AlignedBytes) -> Result<(*const f32, isize)> {
    let (m, k) = (a.rows(), a.cols());
    if a.col_stride() == 1 || k <= 1 {
        return Ok((a.as_ptr(), a.row_stride()));
    }
    let bytes = crate::memory::size(&[m, k, size_of::<f32>()])?;
    *copy = AlignedBytes::zeroed(bytes)?;
    let to = copy.as_mut_floats();
    for i in 0..m {
        for j in 0..k {
            // SAFETY: the copy has m * k floats, aligned to cache lines.
            unsafe { to.add(i * k + j).write(a.get(i, j)) };
        }
    }
    Ok((to, k as isize))
}

/// Computes all of a product whose rows start `stride` elements apart, on the threads that there are.
///
/// # Safety
/// The left operand is valid for `m` rows, the result for writing m rows, and nobody else touches it.
pub(super) unsafe fn all(product: &Product<'_>, isa: Isa, m: usize, stride: isize) -> Result<()> {
    let (k, n) = (product.right.inputs(), product.right.columns());
    let start = |first: usize, starts: &mut [usize]| {
        for (index, start) in starts.iter_mut().enumerate() {
            // Offsets wrap where rows run backwards: so do the pointers that they are added to.
            *start = ((first + index) as isize * stride) as usize;
        }
    };
    let panels = n.div_ceil(PANEL);
    let tasks = threads::tasks_for(m * n, k, GRAIN);
    if tasks == 1 {
        // SAFETY: the caller's promise.
        unsafe { product.run(isa, 0..m, 0..panels, start) }
    } else if m >= 16 * tasks {
        let rows = m.div_ceil(tasks).next_multiple_of(12);
        threads::try_for_each(m.div_ceil(rows), |task| {
            let rows = task * rows..((task + 1) * rows).min(m);
            // SAFETY: the caller's promise; these rows are this task's own.
            unsafe { product.run(isa, rows, 0..panels, start) }
        })
    } else {
        let columns = panels.div_ceil(tasks).next_multiple_of(4);
        threads::try_for_each(panels.div_ceil(columns), |task| {
            let columns = task * columns..((task + 1) * columns).min(panels);
            // SAFETY: the caller's promise; these columns are this task's own.
            unsafe { product.run(isa, 0..m, columns, start) }
        })
    }
}
