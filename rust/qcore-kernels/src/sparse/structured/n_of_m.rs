//! N values of each M neighbours of a row.

use super::product::Structured;
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::memory;
use crate::sparse::csr::Csr;
use crate::sparse::value::Value;
use crate::view::MatRef;

/// The longest group: its mask is a word.
const LONGEST: usize = 64;

/// A matrix that stores `n` values of each `m` neighbours of a row; the last group of a row may reach
/// past its end.
///
/// The mask of a group is stored without its last bit, which the number of the others tells.
#[derive(Debug, Clone, PartialEq)]
pub struct NofM<V> {
    rows: usize,
    cols: usize,
    n: usize,
    m: usize,
    values: Vec<V>,
    /// `m - 1` bits for each group, the first lowest.
    codes: Vec<u64>,
}

impl<V: Value> NofM<V> {
    /// The matrix of a dense one that has at most `n` values in each group. Where it has fewer, zeros
    /// are stored.
    ///
    /// # Errors
    /// `Value` if a group has more, with the first such group, or for an `n` and `m` that are none.
    pub fn from_dense(dense: MatRef<'_, V>, n: usize, m: usize) -> Result<Self> {
        check_pattern(n, m)?;
        let (rows, cols) = (dense.rows(), dense.cols());
        let groups = cols.div_ceil(m);
        let bits = memory::size(&[rows, groups, m - 1])?;
        let mut made = Self {
            rows,
            cols,
            n,
            m,
            values: memory::with_capacity(memory::size(&[rows, groups, n])?)?,
            codes: memory::filled(0, bits.div_ceil(64))?,
        };
        let mut pace = Pace::new();
        // Rows without a group are many, where there is no column.
        for row in (0..rows).take_while(|_| groups > 0) {
            pace.check(cols)?;
            for group in 0..groups {
                let first = group * m;
                let last = (first + m).min(cols);
                let stored = |column: usize| !dense.get(row, column).is_zero();
                let mut mask = 0_u64;
                for column in (first..last).filter(|&column| stored(column)) {
                    mask |= 1 << (column - first);
                }
                let found = mask.count_ones() as usize;
                if found > n {
                    return Err(KernelError::Value(format!(
                        "row {row} has {found} values other than 0 in columns {first} to {}; \
                         {n}:{m} has at most {n}",
                        last - 1
                    )));
                }
                for _ in found..n {
                    mask |= 1 << mask.trailing_ones();
                }
                for at in (0..m).filter(|at| mask >> at & 1 == 1) {
                    let column = first + at;
                    made.values.push(if column < cols {
                        dense.get(row, column)
                    } else {
                        V::default()
                    });
                }
                made.set_code(row * groups + group, mask);
            }
        }
        Ok(made)
    }

    /// A matrix from its parts: `n` values for each group, and the codes of [`NofM::codes`].
    ///
    /// # Errors
    /// `Shape` or `Value` where they are none, with the first group that is wrong.
    pub fn from_codes(
        rows: usize,
        cols: usize,
        n: usize,
        m: usize,
        values: Vec<V>,
        codes: Vec<u64>,
    ) -> Result<Self> {
        check_pattern(n, m)?;
        let groups = rows.checked_mul(cols.div_ceil(m));
        if groups.and_then(|groups| groups.checked_mul(n)) != Some(values.len()) {
            return Err(KernelError::Shape(format!(
                "there are {} values; {rows} rows of {cols} columns have {n} for each {m}",
                values.len()
            )));
        }
        let groups = groups.unwrap_or(0);
        // The shape leaves room for what is computed of it, as a dense one would.
        memory::size(&[rows, cols.div_ceil(m).max(1), m, 64])?;
        if groups.checked_mul(m - 1).map(|bits| bits.div_ceil(64)) != Some(codes.len()) {
            let found = codes.len();
            return Err(KernelError::Shape(format!(
                "there are {found} words of places; {groups} groups have {} bits each",
                m - 1
            )));
        }
        let mut made = Self { rows, cols, n, m, values, codes };
        if let Some(last) = made.codes.last_mut() {
            // Nothing after the last group.
            *last &= u64::MAX >> ((groups * (m - 1)).wrapping_neg() % 64);
        }
        for group in 0..groups {
            let code = made.code(group);
            let found = code.count_ones() as usize;
            if found != n && found + 1 != n {
                let row = group / made.groups();
                return Err(KernelError::Value(format!(
                    "group {group}, in row {row}, has {found} places before its last; \
                     {n}:{m} has {n} or one less"
                )));
            }
        }
        made.clear_past_the_end();
        Ok(made)
    }

    /// Zeroes values past the last column.
    fn clear_past_the_end(&mut self) {
        let (groups, n, m) = (self.groups(), self.n, self.m);
        if self.cols.is_multiple_of(m) {
            return;
        }
        for row in 0..self.rows {
            let group = (row + 1) * groups - 1;
            let within = (1_u64 << (self.cols % m)) - 1;
            let kept = (self.mask(group) & within).count_ones() as usize;
            self.values[group * n + kept..(group + 1) * n].fill(V::default());
        }
    }

    /// The places of the stored values: `m - 1` bits for each group, a bit for each of its elements
    /// but the last, in words of 64.
    #[must_use]
    pub fn codes(&self) -> &[u64] {
        &self.codes
    }

    /// How many values of a group are stored.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// How many elements a group has.
    #[must_use]
    pub fn m(&self) -> usize {
        self.m
    }

    /// The stored values, row after row, `n` for each group.
    #[must_use]
    pub fn values(&self) -> &[V] {
        &self.values
    }

    /// Groups of a row.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.cols.div_ceil(self.m)
    }

    /// The places of the stored values in their groups, in the order of the values.
    pub fn places(&self) -> Result<Vec<u8>> {
        let mut places = memory::with_capacity(self.values.len())?;
        let mut pace = Pace::new();
        for group in 0..self.rows * self.groups() {
            pace.check(self.m)?;
            let mask = self.mask(group);
            places.extend((0..self.m as u8).filter(|at| mask >> at & 1 == 1));
        }
        Ok(places)
    }

    /// Where the stored values of a group lie; groups are counted row after row.
    #[must_use]
    pub fn mask(&self, group: usize) -> u64 {
        let code = self.code(group);
        let last = self.n - code.count_ones() as usize;
        code | (last as u64) << (self.m - 1)
    }

    /// The mask of a group without its last bit.
    fn code(&self, group: usize) -> u64 {
        let bits = self.m - 1;
        if bits == 0 {
            return 0;
        }
        let (word, shift) = (group * bits / 64, group * bits % 64);
        let mut code = self.codes[word] >> shift;
        if shift + bits > 64 {
            code |= self.codes[word + 1] << (64 - shift);
        }
        code & ((1 << bits) - 1)
    }

    /// The value at a place, if it is stored; columns up to the end of the last group are places.
    #[must_use]
    pub fn stored(&self, row: usize, column: usize) -> Option<V> {
        let group = row * self.groups() + column / self.m;
        let (mask, at) = (self.mask(group), column % self.m);
        let before = (mask & ((1 << at) - 1)).count_ones() as usize;
        (mask >> at & 1 == 1).then(|| self.values[group * self.n + before])
    }

    fn set_code(&mut self, group: usize, mask: u64) {
        let bits = self.m - 1;
        if bits == 0 {
            return;
        }
        let code = mask & ((1 << bits) - 1);
        let (word, shift) = (group * bits / 64, group * bits % 64);
        self.codes[word] |= code << shift;
        if shift + bits > 64 {
            self.codes[word + 1] |= code >> (64 - shift);
        }
    }
}

fn check_pattern(n: usize, m: usize) -> Result<()> {
    if n >= 1 && n <= m && m <= LONGEST {
        return Ok(());
    }
    Err(KernelError::Value(format!("pattern is {n}:{m}; N:M must have 1 <= N <= M <= {LONGEST}")))
}

impl<V: Value> Structured<V> for NofM<V> {
    type Transposed = Csr<V>;

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
        size_of_val(&self.values[..]) + size_of_val(&self.codes[..])
    }

    fn for_row(&self, row: usize, mut each: impl FnMut(usize, V)) {
        let groups = self.groups();
        for group in 0..groups {
            let mut mask = self.mask(row * groups + group);
            let mut values = self.values[(row * groups + group) * self.n..].iter();
            while mask != 0 {
                let column = group * self.m + mask.trailing_zeros() as usize;
                let value = *values.next().expect("a group has a value for each bit");
                if column < self.cols && !value.is_zero() {
                    each(column, value);
                }
                mask &= mask - 1;
            }
        }
    }

    fn transposed(&self) -> Result<Csr<V>> {
        self.to_csr()?.transposed()
    }
}
