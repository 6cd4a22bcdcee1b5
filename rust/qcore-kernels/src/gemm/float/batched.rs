//! Products of many pairs of matrices, of any strides: attention, and `MatMul` of two tensors.

use std::cell::RefCell;

use super::dense::{GRAIN, all};
use super::drive::Product;
use super::left::{Inputs, Left};
use super::panels::PANEL;
use super::right::Columns;
use crate::aligned::AlignedBytes;
use crate::elementwise::MAX_RANK;
use crate::epilogue::{Activation, Epilogue};
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::norm::softmax_row;
use crate::simd::transpose;
use crate::threads::{self, SendPtr};

/// Matrices within a slice: element (i, j) of the matrix of a batch lies at the sum of each batch
/// index times its stride, and `i * row_stride + j * col_stride`. Strides may be 0.
#[derive(Debug, Clone, Copy)]
pub struct Matrices<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// One for each axis of the batch.
    pub batch_strides: &'a [usize],
    /// From a row to the next.
    pub row_stride: usize,
    /// From a column to the next.
    pub col_stride: usize,
}

/// The sizes of a batched product.
#[derive(Debug, Clone, Copy)]
pub struct BatchedShape<'a> {
    /// The axes of the batch; none is one product.
    pub batch: &'a [usize],
    /// Rows of a and of the result.
    pub m: usize,
    /// Lines of a, rows of b.
    pub k: usize,
    /// Lines of b and of the result.
    pub n: usize,
}

/// Where the results lie: as [`Matrices`] with columns side by side, none of them in another's place.
#[derive(Debug)]
pub struct Results<'a> {
    /// The elements.
    pub data: &'a mut [f32],
    /// One for each axis of the batch.
    pub batch_strides: &'a [usize],
    /// From a row to the next.
    pub row_stride: usize,
}

/// Rows of a above which b is laid out in panels first.
const FEW_ROWS: usize = 12;

thread_local! {
    /// The panels of b, and the rows of a where they have gaps.
    static ROOM: RefCell<(AlignedBytes, AlignedBytes)> = RefCell::default();
}

/// [`matmul_f32_with`] on the instruction set in force.
pub fn matmul_f32(
    shape: BatchedShape<'_>,
    a: Matrices<'_>,
    b: Matrices<'_>,
    bias: &[f32],
    activation: Activation,
    out: Results<'_>,
) -> Result<()> {
    matmul_f32_with(isa::active()?, shape, a, b, bias, activation, out)
}

/// `out = activation(a · b + bias)` for each matrix of a batch; `bias` is empty, or has 1 element or
/// one for each column. Sums are those of [`super::product_f32_with`].
pub fn matmul_f32_with(
    isa: Isa,
    shape: BatchedShape<'_>,
    a: Matrices<'_>,
    b: Matrices<'_>,
    bias: &[f32],
    activation: Activation,
    out: Results<'_>,
) -> Result<()> {
    let BatchedShape { batch, m, k, n } = shape;
    let epilogue = Epilogue { bias, residual: &[], activation };
    epilogue.check(m, n)?;
    a.check("a", batch, m, k)?;
    b.check("b", batch, k, n)?;
    out.check(batch, m, n)?;
    let count = crate::memory::size(batch)?;
    if count == 0 || m == 0 || n == 0 {
        return Ok(());
    }
    let strides = [a.batch_strides, b.batch_strides, out.batch_strides];
    let target = SendPtr(out.data.as_mut_ptr());
    // Whole products to a task where there are enough of them; else each is split.
    let tasks = threads::tasks_for(count, m.saturating_mul(k).saturating_mul(n), GRAIN);
    let together = if tasks > 1 && count >= tasks { count.div_ceil(tasks) } else { count };
    threads::try_for_each(count.div_ceil(together), |task| {
        let mut before = None;
        for index in task * together..((task + 1) * together).min(count) {
            let [at_a, at_b, at_out] = offsets(batch, strides, index);
            crate::memory::with_kept(&ROOM, |(panels, rows)| {
                let right = b.right(k, n, m, at_b, before == Some(at_b), panels)?;
                before = Some(at_b);
                let (base, stride) = a.rows(m, k, at_a, rows)?;
                let product = Product {
                    left: Left { base, inputs: Inputs::Line(k) },
                    right,
                    epilogue,
                    out: SendPtr(target.get().wrapping_add(at_out)),
                    stride: out.row_stride,
                    column: 0,
                };
                // SAFETY: every element of a, b and out was checked to lie within its slice, and
                // results not to overlap; this one is this task's own.
                unsafe { all(&product, isa, m, stride as isize)? };
                if activation.is_of_rows() {
                    for row in 0..m {
                        let first = at_out + row * out.row_stride;
                        // SAFETY: a row of this task's own result.
                        let row =
                            unsafe { std::slice::from_raw_parts_mut(target.get().add(first), n) };
                        softmax_row(isa, row);
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    })
}

/// Where the matrices of batch `index` begin.
fn offsets(batch: &[usize], strides: [&[usize]; 3], index: usize) -> [usize; 3] {
    let (mut rest, mut offsets) = (index, [0; 3]);
    for axis in (0..batch.len()).rev() {
        let place = rest % batch[axis];
        rest /= batch[axis];
        for (offset, strides) in offsets.iter_mut().zip(strides) {
            *offset += place * strides[axis];
        }
    }
    offsets
}

/// Checks that the last element of axes of these sizes and strides is one of `len`.
fn check_within(
    name: &str,
    len: usize,
    batch: &[usize],
    strides: &[usize],
    rows: [usize; 2],
    columns: [usize; 2],
) -> Result<()> {
    if batch.len() != strides.len() || batch.len() > MAX_RANK {
        return Err(KernelError::Shape(format!(
            "{name} has {} batch strides for {} axes, of which there may be {MAX_RANK}",
            strides.len(),
            batch.len()
        )));
    }
    let axes = || batch.iter().copied().zip(strides.iter().copied());
    let mut axes = axes().chain([(rows[0], rows[1]), (columns[0], columns[1])]);
    if axes.clone().any(|(size, _)| size == 0) {
        return Ok(());
    }
    let last = axes.try_fold(0_usize, |last, (size, stride)| {
        last.checked_add((size - 1).checked_mul(stride)?)
    });
    if last.is_some_and(|last| last < len) {
        return Ok(());
    }
    Err(KernelError::Shape(format!("{name} has {len} elements, too few for its shape and strides")))
}

impl Matrices<'_> {
    fn check(&self, name: &str, batch: &[usize], rows: usize, columns: usize) -> Result<()> {
        let (r, c) = ([rows, self.row_stride], [columns, self.col_stride]);
        check_within(name, self.data.len(), batch, self.batch_strides, r, c)
    }

    /// Rows of k elements side by side, and how far apart they are.
    fn rows(
        &self,
        m: usize,
        k: usize,
        at: usize,
        room: &mut AlignedBytes,
    ) -> Result<(*const f32, usize)> {
        let first = self.data.as_ptr().wrapping_add(at);
        if self.col_stride == 1 || k <= 1 {
            return Ok((first, self.row_stride));
        }
        let bytes = crate::memory::size(&[m, k, size_of::<f32>()])?;
        room.resize_scratch(bytes)?;
        let to = room.as_mut_floats();
        // SAFETY: every element was checked to lie within the data; the room has m * k floats.
        unsafe {
            if self.row_stride == 1 {
                transpose(first, self.col_stride, to, k, k, m);
            } else {
                for i in 0..m {
                    for j in 0..k {
                        let from = first.add(i * self.row_stride + j * self.col_stride);
                        to.add(i * k + j).write(from.read());
                    }
                }
            }
        }
        Ok((to, k))
    }

    /// The columns of a matrix, in place or in panels.
    fn right(
        &self,
        k: usize,
        n: usize,
        m: usize,
        at: usize,
        is_packed: bool,
        room: &mut AlignedBytes,
    ) -> Result<Columns<'static>> {
        let first = self.data.as_ptr().wrapping_add(at);
        if self.col_stride == 1 && m <= FEW_ROWS {
            return Ok(Columns::Rows { first, inputs: k, columns: n, step: self.row_stride });
        }
        let panels = n.div_ceil(PANEL);
        let line = crate::memory::size(&[k, PANEL])?;
        let floats = crate::memory::size(&[panels, line])?;
        if !is_packed {
            room.resize_scratch(crate::memory::size(&[floats, size_of::<f32>()])?)?;
            let to = room.as_mut_floats();
            for panel in 0..panels {
                let columns = PANEL.min(n - panel * PANEL);
                // SAFETY: every element was checked to lie within the data; the room has k lines for
                // each panel.
                unsafe {
                    let from = first.add(panel * PANEL * self.col_stride);
                    self.pack(k, columns, from, to.add(panel * line));
                }
            }
        }
        Ok(Columns::Panels { first: room.as_floats(), inputs: k, columns: n })
    }

    /// Writes some columns as a panel; those that fill it up are 0.
    ///
    /// # Safety
    /// `from` is valid at every row and column, `to` for writing k lines.
    unsafe fn pack(&self, k: usize, columns: usize, from: *const f32, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe {
            if columns < PANEL {
                to.write_bytes(0, k * PANEL);
            }
            if self.col_stride == 1 {
                for row in 0..k {
                    let line = to.add(row * PANEL);
                    line.copy_from_nonoverlapping(from.add(row * self.row_stride), columns);
                }
            } else if self.row_stride == 1 {
                transpose(from, self.col_stride, to, PANEL, columns, k);
            } else {
                for row in 0..k {
                    for column in 0..columns {
                        let from = from.add(row * self.row_stride + column * self.col_stride);
                        to.add(row * PANEL + column).write(from.read());
                    }
                }
            }
        }
    }
}

impl Results<'_> {
    /// Checks that results lie within the data, and none in another's place.
    fn check(&self, batch: &[usize], m: usize, n: usize) -> Result<()> {
        let (r, c) = ([m, self.row_stride], [n, 1]);
        check_within("out", self.data.len(), batch, self.batch_strides, r, c)?;
        // From the shortest stride on, each axis steps over all that lies within it.
        let mut axes = [(1, 1); MAX_RANK + 2];
        let all = batch.iter().copied().zip(self.batch_strides.iter().copied());
        let all = all.chain([(m, self.row_stride), (n, 1)]).filter(|&(size, _)| size != 1);
        let mut count = 0;
        for axis in all {
            axes[count] = axis;
            count += 1;
        }
        let axes = &mut axes[..count];
        axes.sort_unstable_by_key(|&(_, stride)| stride);
        let mut extent = 1;
        for &(size, stride) in axes.iter() {
            if size > 1 && stride < extent {
                return Err(KernelError::Shape(
                    "results of out lie in each other's place".to_owned(),
                ));
            }
            extent = size.saturating_sub(1).saturating_mul(stride).saturating_add(extent);
        }
        Ok(())
    }
}
