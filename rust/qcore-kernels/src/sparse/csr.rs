//! The compressed-sparse-row matrix: checked once, when it is made.

use std::ops::Range;

use super::indices::{Index, Indices, with_indices};
use super::value::Value;
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::memory;
use crate::view::MatRef;

/// Elements of a row that are looked at together.
const AT_ONCE: usize = 1 << 10;

/// A matrix of which only some elements are stored.
///
/// What every kernel rests on, and no method can break: `indptr` has `rows + 1` offsets that start
/// at 0, never fall and end at the number of values; the columns of a row ascend and are below
/// `cols`; there is an index for each value.
#[derive(Debug, Clone)]
pub struct Csr<V> {
    rows: usize,
    cols: usize,
    indptr: Vec<usize>,
    indices: Indices,
    values: Vec<V>,
}

impl<V: PartialEq> PartialEq for Csr<V> {
    fn eq(&self, other: &Self) -> bool {
        (self.rows, self.cols) == (other.rows, other.cols)
            && self.indptr == other.indptr
            && self.indices == other.indices
            && self.values == other.values
    }
}

impl<V: Value> Csr<V> {
    /// A matrix from the three arrays of the format.
    ///
    /// The columns of a row may come in any order; values of the same place are summed.
    ///
    /// # Errors
    /// `Shape` or `Value` where the arrays are not such a matrix, with the first position that is
    /// wrong; `Overflow` where the sum of duplicates does not fit.
    pub fn new<I: Copy + Into<i64>>(
        rows: usize,
        cols: usize,
        indptr: &[I],
        indices: &[I],
        values: Vec<V>,
    ) -> Result<Self> {
        let indptr = check_indptr(rows, indptr, values.len(), indices.len())?;
        let mut columns = Indices::for_columns(cols, indices.len())?;
        let mut ordered = true;
        let mut pace = Pace::new();
        for row in 0..rows {
            pace.check(indptr[row + 1] - indptr[row])?;
            let mut last = -1;
            for (at, &column) in (indptr[row]..).zip(&indices[indptr[row]..indptr[row + 1]]) {
                let column: i64 = column.into();
                if column < 0 || column as u64 >= cols as u64 {
                    return Err(KernelError::Value(format!(
                        "indices[{at}] is {column}, in row {row}; it must be 0 to {}",
                        cols as i64 - 1
                    )));
                }
                ordered &= column > last;
                last = column;
                columns.push(column as usize)?;
            }
        }
        let matrix = Self { rows, cols, indptr, indices: columns, values };
        if ordered { Ok(matrix) } else { matrix.canonical() }
    }

    /// A matrix from the coordinates of its values; those of the same place are summed.
    pub fn from_coordinates<I: Copy + Into<i64>>(
        rows: usize,
        cols: usize,
        row: &[I],
        column: &[I],
        values: &[V],
    ) -> Result<Self> {
        if row.len() != values.len() || column.len() != values.len() {
            return Err(KernelError::Shape(format!(
                "row has {} elements and col {} for {} values",
                row.len(),
                column.len(),
                values.len()
            )));
        }
        let mut indptr = memory::filled(0_i64, memory::sum(&[rows, 1])?)?;
        let mut pace = Pace::new();
        for (at, &index) in row.iter().enumerate() {
            pace.check(1)?;
            let index: i64 = index.into();
            if index < 0 || index as u64 >= rows as u64 {
                let most = rows as i64 - 1;
                return Err(KernelError::Value(format!(
                    "row[{at}] is {index}; it must be 0 to {most}"
                )));
            }
            indptr[index as usize + 1] += 1;
        }
        for (at, &index) in column.iter().enumerate() {
            let index: i64 = index.into();
            if index < 0 || index as u64 >= cols as u64 {
                let most = cols as i64 - 1;
                return Err(KernelError::Value(format!(
                    "col[{at}] is {index}; it must be 0 to {most}"
                )));
            }
        }
        for index in 0..rows {
            indptr[index + 1] += indptr[index];
        }
        let mut next = memory::copied(&indptr)?;
        let mut columns = memory::filled(0_i64, values.len())?;
        let mut sorted = memory::filled(V::default(), values.len())?;
        for (at, ((&row, &column), &value)) in row.iter().zip(column).zip(values).enumerate() {
            pace.check(1)?;
            let row = row.into() as usize;
            let place = next.get(row).copied().filter(|&place| place < indptr[row + 1]);
            let Some(place) = place else {
                // It was right when it was counted.
                let text = format!("row[{at}] has changed, by another thread");
                return Err(KernelError::Value(text));
            };
            columns[place as usize] = column.into();
            sorted[place as usize] = value;
            next[row] += 1;
        }
        Self::new(rows, cols, &indptr, &columns, sorted)
    }

    /// The elements of a dense matrix that are not zero; a NaN is stored.
    pub fn from_dense(dense: MatRef<'_, V>) -> Result<Self> {
        Self::from_dense_where(dense, |value, _| !value.is_zero())
    }

    /// The elements of a dense matrix of which `keep(value, place)` is true, `place` being
    /// `row * cols + column`.
    pub fn from_dense_where(dense: MatRef<'_, V>, keep: impl Fn(V, usize) -> bool) -> Result<Self> {
        let (rows, cols) = (dense.rows(), dense.cols());
        let mut indptr = memory::with_capacity(memory::sum(&[rows, 1])?)?;
        indptr.push(0);
        let mut indices = Indices::for_columns(cols, 0)?;
        let mut values = Vec::new();
        let mut pace = Pace::new();
        // Every value is written, and the next one over it where it is not kept: no branch to foresee.
        let (mut room, mut places) = ([V::default(); AT_ONCE], [0_u16; AT_ONCE]);
        for row in 0..rows {
            for first in (0..cols).step_by(AT_ONCE) {
                pace.check(AT_ONCE)?;
                let mut kept = 0;
                for column in first..cols.min(first + AT_ONCE) {
                    let value = dense.get(row, column);
                    room[kept % AT_ONCE] = value;
                    places[kept % AT_ONCE] = (column - first) as u16;
                    kept += usize::from(keep(value, row * cols + column));
                }
                memory::extend(&mut values, &room[..kept])?;
                indices.extend(first, &places[..kept])?;
            }
            indptr.push(values.len());
        }
        Ok(Self { rows, cols, indptr, indices, values })
    }

    /// Writes the matrix into a row-major buffer of `rows * cols` elements, zeros included.
    pub fn to_dense(&self, out: &mut [V]) -> Result<()> {
        if self.rows.checked_mul(self.cols) != Some(out.len()) {
            return Err(KernelError::Shape(format!(
                "out has {} elements, not {} * {}",
                out.len(),
                self.rows,
                self.cols
            )));
        }
        out.fill(V::default());
        let mut pace = Pace::new();
        for row in 0..self.rows {
            pace.check(self.indptr[row + 1] - self.indptr[row])?;
            for (column, value) in self.row(row) {
                out[row * self.cols + column] = value;
            }
        }
        Ok(())
    }

    /// Rows and columns exchanged.
    pub fn transposed(&self) -> Result<Self> {
        let mut indptr = memory::filled(0_usize, memory::sum(&[self.cols, 1])?)?;
        let mut pace = Pace::new();
        with_indices!(&self.indices, |indices| {
            for index in indices {
                indptr[index.position() + 1] += 1;
            }
        });
        for column in 0..self.cols {
            indptr[column + 1] += indptr[column];
        }
        let mut next = memory::copied(&indptr)?;
        let mut rows = memory::filled(0_usize, self.values.len())?;
        let mut values = memory::filled(V::default(), self.values.len())?;
        for row in 0..self.rows {
            pace.check(self.indptr[row + 1] - self.indptr[row])?;
            for (column, value) in self.row(row) {
                let place = &mut next[column];
                rows[*place] = row;
                values[*place] = value;
                *place += 1;
            }
        }
        let mut indices = Indices::for_columns(self.rows, rows.len())?;
        for row in rows {
            indices.push(row)?;
        }
        Ok(Self { rows: self.cols, cols: self.rows, indptr, indices, values })
    }

    /// Rows `range`, as a matrix of their own.
    ///
    /// # Panics
    /// If the range is not within the matrix.
    pub fn rows_in(&self, range: Range<usize>) -> Result<Self> {
        let (start, end) = (self.indptr[range.start], self.indptr[range.end]);
        let indptr = self.indptr[range.start..=range.end].iter().map(|at| at - start);
        let indptr = memory::collected(indptr)?;
        let mut indices = Indices::for_columns(self.cols, end - start)?;
        for at in start..end {
            indices.push(self.indices.get(at))?;
        }
        let values = memory::copied(&self.values[start..end])?;
        Ok(Self { rows: range.len(), cols: self.cols, indptr, indices, values })
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of stored values.
    #[must_use]
    pub fn nnz(&self) -> usize {
        self.values.len()
    }

    /// Where each row starts, and the last one ends.
    #[must_use]
    pub fn indptr(&self) -> &[usize] {
        &self.indptr
    }

    /// The columns.
    #[must_use]
    pub fn indices(&self) -> &Indices {
        &self.indices
    }

    /// The stored values.
    #[must_use]
    pub fn values(&self) -> &[V] {
        &self.values
    }

    /// Bytes in memory: values, indices and row offsets.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        size_of_val(&self.values[..]) + self.indices.nbytes() + size_of_val(&self.indptr[..])
    }

    /// Columns and values of a row.
    pub(super) fn row(&self, row: usize) -> impl Iterator<Item = (usize, V)> + '_ {
        let range = self.indptr[row]..self.indptr[row + 1];
        range.map(|at| (self.indices.get(at), self.values[at]))
    }

    /// The same matrix with the columns of each row in order and no place twice.
    fn canonical(self) -> Result<Self> {
        let mut indptr = memory::with_capacity(memory::sum(&[self.rows, 1])?)?;
        indptr.push(0);
        let mut indices = Indices::for_columns(self.cols, self.nnz())?;
        let mut values: Vec<V> = memory::with_capacity(self.nnz())?;
        let mut entries = Vec::new();
        let mut pace = Pace::new();
        for row in 0..self.rows {
            let length = self.indptr[row + 1] - self.indptr[row];
            pace.check(length)?;
            entries.clear();
            memory::reserve(&mut entries, length)?;
            entries.extend(self.row(row));
            // Stable, so that floats of one place are summed in the order in which they came.
            entries.sort_by_key(|entry| entry.0);
            let mut last = None;
            for &(column, value) in &entries {
                if last == Some(column) {
                    let sum = values.last_mut().expect("the place has a value");
                    *sum = sum.sum(value).ok_or_else(|| {
                        KernelError::Overflow(format!(
                            "the duplicates in row {row}, column {column} sum to more than {} holds",
                            V::NAME
                        ))
                    })?;
                } else {
                    indices.push(column)?;
                    values.push(value);
                    last = Some(column);
                }
            }
            indptr.push(values.len());
        }
        Ok(Self { rows: self.rows, cols: self.cols, indptr, indices, values })
    }
}

/// The row offsets, if they are such.
pub(super) fn check_indptr<I: Copy + Into<i64>>(
    rows: usize,
    indptr: &[I],
    values: usize,
    indices: usize,
) -> Result<Vec<usize>> {
    if Some(indptr.len()) != rows.checked_add(1) {
        let found = indptr.len();
        return Err(KernelError::Shape(format!(
            "indptr has {found} elements; a matrix of {rows} rows needs one more than rows"
        )));
    }
    if values != indices {
        return Err(KernelError::Shape(format!(
            "data has {values} elements and indices {indices}; they must have the same number"
        )));
    }
    let mut last = 0;
    let mut checked = memory::with_capacity(indptr.len())?;
    for (at, &offset) in indptr.iter().enumerate() {
        let offset: i64 = offset.into();
        if at == 0 && offset != 0 {
            return Err(KernelError::Value(format!("indptr[0] is {offset}; it must be 0")));
        }
        if offset < last {
            return Err(KernelError::Value(format!(
                "indptr[{at}] is {offset}, below indptr[{}], which is {last}",
                at - 1
            )));
        }
        if offset as u64 > values as u64 {
            return Err(KernelError::Value(format!(
                "indptr[{at}] is {offset}; data has only {values} elements"
            )));
        }
        last = offset;
        checked.push(offset as usize);
    }
    if last as usize != values {
        return Err(KernelError::Value(format!(
            "indptr[{rows}] is {last}; it must be the number of elements, {values}"
        )));
    }
    Ok(checked)
}
