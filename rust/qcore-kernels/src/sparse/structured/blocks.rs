//! Whole blocks of rows and columns: the block compressed sparse row format.

use super::product::Structured;
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::memory;
use crate::sparse::csr::check_indptr;
use crate::sparse::indices::Indices;
use crate::sparse::value::Value;
use crate::view::MatRef;

/// A matrix that stores whole blocks of `height` rows and `width` columns; those at its edges may
/// reach past them, where they hold zeros.
///
/// What kernels rest on: `indptr` has an offset for each row of blocks and one more, they start at 0,
/// never fall and end at the number of blocks; the block columns of a row of blocks ascend and are
/// within the matrix; there are `height * width` values for each block.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocks<V> {
    rows: usize,
    cols: usize,
    height: usize,
    width: usize,
    indptr: Vec<usize>,
    indices: Indices,
    values: Vec<V>,
}

impl<V: Value> Blocks<V> {
    /// A matrix from the three arrays of the format: `values` has `height * width` for each of the
    /// `indices`, row-major, which may come in any order within a row of blocks.
    ///
    /// # Errors
    /// `Shape` or `Value` where the arrays are not such a matrix, with the first position that is
    /// wrong.
    pub fn new<I: Copy + Into<i64>>(
        rows: usize,
        cols: usize,
        (height, width): (usize, usize),
        indptr: &[I],
        indices: &[I],
        values: &[V],
    ) -> Result<Self> {
        check_block(height, width)?;
        let size = height * width;
        if Some(values.len()) != indices.len().checked_mul(size) {
            return Err(KernelError::Shape(format!(
                "data has {} elements for {} blocks of {height} x {width}",
                values.len(),
                indices.len()
            )));
        }
        let (high, wide) = (rows.div_ceil(height), cols.div_ceil(width));
        let offsets = check_indptr(high, indptr, indices.len(), indices.len())?;
        let mut made = Self::empty(rows, cols, height, width)?;
        memory::reserve(&mut made.values, values.len())?;
        memory::reserve(&mut made.indptr, high)?;
        let mut order: Vec<(usize, usize)> = Vec::new();
        let mut pace = Pace::new();
        for row in 0..high {
            order.clear();
            let range = offsets[row]..offsets[row + 1];
            pace.check(range.len() * size)?;
            for (at, &column) in range.clone().zip(&indices[range]) {
                let column: i64 = column.into();
                if column < 0 || column as u64 >= wide as u64 {
                    return Err(KernelError::Value(format!(
                        "indices[{at}] is {column}, in block row {row}; it must be 0 to {}",
                        wide as i64 - 1
                    )));
                }
                memory::push(&mut order, (column as usize, at))?;
            }
            order.sort_unstable();
            if let Some(twice) = order.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                let ((column, first), (_, second)) = (twice[0], twice[1]);
                return Err(KernelError::Value(format!(
                    "indices[{first}] and indices[{second}] are both {column}, in block row {row}; \
                     a block is stored once"
                )));
            }
            for &(column, at) in &order {
                made.push(row, column, &values[at * size..(at + 1) * size])?;
            }
            made.indptr.push(made.indices.len());
        }
        Ok(made)
    }

    /// The blocks of a dense matrix in which any element is not zero.
    pub fn from_dense(dense: MatRef<'_, V>, height: usize, width: usize) -> Result<Self> {
        check_block(height, width)?;
        let (rows, cols) = (dense.rows(), dense.cols());
        let mut made = Self::empty(rows, cols, height, width)?;
        let mut block = memory::filled(V::default(), memory::size(&[height, width])?)?;
        memory::reserve(&mut made.indptr, rows.div_ceil(height))?;
        let mut pace = Pace::new();
        for row in 0..rows.div_ceil(height) {
            pace.check(1)?;
            for column in 0..cols.div_ceil(width) {
                pace.check(block.len())?;
                block.fill(V::default());
                let mut any = false;
                for i in 0..height.min(rows - row * height) {
                    for j in 0..width.min(cols - column * width) {
                        let value = dense.get(row * height + i, column * width + j);
                        any |= !value.is_zero();
                        block[i * width + j] = value;
                    }
                }
                if any {
                    made.push(row, column, &block)?;
                }
            }
            made.indptr.push(made.indices.len());
        }
        Ok(made)
    }

    /// Rows and columns exchanged, of the matrix and of its blocks.
    pub fn transposed(&self) -> Result<Self> {
        let size = self.size();
        let wide = self.cols.div_ceil(self.width);
        // Where the blocks of each column start, and the row and the place of each of them.
        let mut starts = memory::filled(0_usize, memory::sum(&[wide, 1])?)?;
        for at in 0..self.indices.len() {
            starts[self.indices.get(at) + 1] += 1;
        }
        for column in 0..wide {
            starts[column + 1] += starts[column];
        }
        let mut next = memory::copied(&starts)?;
        let mut places = memory::filled((0, 0), self.indices.len())?;
        for row in 0..self.indptr.len() - 1 {
            for at in self.indptr[row]..self.indptr[row + 1] {
                let place = &mut next[self.indices.get(at)];
                places[*place] = (row, at);
                *place += 1;
            }
        }
        let mut made = Self::empty(self.cols, self.rows, self.width, self.height)?;
        memory::reserve(&mut made.values, self.values.len())?;
        memory::reserve(&mut made.indptr, wide)?;
        let mut block = memory::filled(V::default(), size)?;
        let mut pace = Pace::new();
        for row in 0..wide {
            pace.check((starts[row + 1] - starts[row]) * size)?;
            for &(index, at) in &places[starts[row]..starts[row + 1]] {
                for i in 0..self.height {
                    for j in 0..self.width {
                        block[j * self.height + i] = self.values[at * size + i * self.width + j];
                    }
                }
                made.push(row, index, &block)?;
            }
            made.indptr.push(made.indices.len());
        }
        Ok(made)
    }

    /// Rows of a block.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns of a block.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Where each row of blocks starts, and the last one ends.
    #[must_use]
    pub fn indptr(&self) -> &[usize] {
        &self.indptr
    }

    /// The column of blocks of each block.
    #[must_use]
    pub fn indices(&self) -> &Indices {
        &self.indices
    }

    /// The values, block after block.
    #[must_use]
    pub fn values(&self) -> &[V] {
        &self.values
    }

    /// Values of a block.
    fn size(&self) -> usize {
        self.height * self.width
    }

    fn empty(rows: usize, cols: usize, height: usize, width: usize) -> Result<Self> {
        let indices = Indices::for_columns(cols.div_ceil(width), 0)?;
        let indptr = memory::filled(0, 1)?;
        Ok(Self { rows, cols, height, width, indptr, indices, values: Vec::new() })
    }

    /// Appends a block; what of it is past the edges becomes zero.
    fn push(&mut self, row: usize, column: usize, block: &[V]) -> Result<()> {
        self.indices.push(column)?;
        memory::reserve(&mut self.values, block.len())?;
        for (i, line) in block.chunks_exact(self.width).enumerate() {
            for (j, &value) in line.iter().enumerate() {
                let inside =
                    row * self.height + i < self.rows && column * self.width + j < self.cols;
                self.values.push(if inside { value } else { V::default() });
            }
        }
        Ok(())
    }
}

fn check_block(height: usize, width: usize) -> Result<()> {
    if height > 0 && width > 0 && height.checked_mul(width).is_some() {
        return Ok(());
    }
    Err(KernelError::Value(format!(
        "a block is {height} x {width}; it must have at least one row and one column"
    )))
}

impl<V: Value> Structured<V> for Blocks<V> {
    type Transposed = Self;

    fn rows(&self) -> usize {
        self.rows
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn stored_values(&self) -> usize {
        self.values.len()
    }

    fn nbytes(&self) -> usize {
        size_of_val(&self.values[..]) + self.indices.nbytes() + size_of_val(&self.indptr[..])
    }

    fn shared_rows(&self) -> usize {
        self.height
    }

    fn for_row(&self, row: usize, mut each: impl FnMut(usize, V)) {
        let (above, inside) = (row / self.height, row % self.height);
        for at in self.indptr[above]..self.indptr[above + 1] {
            let first = self.indices.get(at) * self.width;
            let line = &self.values[at * self.size() + inside * self.width..][..self.width];
            for (column, &value) in (first..self.cols).zip(line) {
                each(column, value);
            }
        }
    }

    fn transposed(&self) -> Result<Self> {
        self.transposed()
    }
}
