//! Float products. The sum of each element has an order of its own, whatever the threads.

use std::ops::Range;

use super::csr::Csr;
use super::drive::{self, BLOCK_ROWS, BLOCK_VALUES, row_blocks};
use super::float_column::{CHAINS, EIGHT, Vector, dot_by_eights, dot_by_ones};
use super::indices::{Index, with_indices};
use super::lanes::Lanes;
use super::out::{Order, Out};
use super::panels::{PanelBlock, Panels};
use super::scratch::Number;
use super::value::Value;
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::made::Made;
use crate::memory;
use crate::simd::{Simd, SimdOp, dispatch};
use crate::view::MatRef;

/// A stored float.
pub trait Float: Value + Number {
    #[doc(hidden)]
    fn product(isa: Isa, a: &FloatCsr<Self>, x: MatRef<'_, Self>, out: Out<Self>) -> Result<()>;
    #[doc(hidden)]
    #[must_use]
    fn fused<S: Simd>(self, x: Self, sum: Self) -> Self;
    #[doc(hidden)]
    #[must_use]
    fn total(sums: [Self; CHAINS]) -> Self;
    /// # Safety
    /// `x` has an element for every index.
    #[doc(hidden)]
    #[must_use]
    unsafe fn dot<S: Simd, I: Index>(s: S, values: &[Self], indices: &[I], x: &[Self]) -> Self {
        // SAFETY: by the caller's promise.
        unsafe { dot_by_ones(s, values, indices, x) }
    }
}

/// A matrix of floats with what its products need to know of it.
#[derive(Debug, Clone)]
pub struct FloatCsr<V> {
    matrix: Csr<V>,
    /// How it is laid out for products with up to 8 columns, and with more; made by the first of them.
    panels: [Made<Option<Panels>>; 2],
}

impl<V: Float> FloatCsr<V> {
    /// A matrix ready for products.
    #[must_use]
    pub fn new(matrix: Csr<V>) -> Self {
        Self { matrix, panels: [const { Made::new() }; 2] }
    }

    /// The matrix.
    #[must_use]
    pub fn matrix(&self) -> &Csr<V> {
        &self.matrix
    }

    /// Bytes in memory, with what the products so far laid out.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let panels = self.panels.iter().filter_map(Made::get).flatten();
        self.matrix.nbytes() + panels.map(Panels::nbytes).sum::<usize>()
    }
}

/// [`multiply_with`] on the instruction set in force.
pub fn multiply<V: Float>(
    a: &FloatCsr<V>,
    x: MatRef<'_, V>,
    order: Order,
    out: &mut [V],
) -> Result<()> {
    multiply_with(isa::active()?, a, x, order, out)
}

/// `out = a @ x`.
pub fn multiply_with<V: Float>(
    isa: Isa,
    a: &FloatCsr<V>,
    x: MatRef<'_, V>,
    order: Order,
    out: &mut [V],
) -> Result<()> {
    let matrix = &a.matrix;
    check_inner(matrix.cols(), x.rows())?;
    let out = Out::new(out, matrix.rows(), x.cols(), order)?;
    if x.cols() != 1 {
        return V::product(isa, a, x, out);
    }
    let copy;
    let x = if let Some(x) = x.transposed().row(0) {
        x
    } else {
        copy = memory::collected((0..x.rows()).map(|row| x.get(row, 0)))?;
        &copy
    };
    drive::vector_product(matrix.indptr(), out, |rows, out| {
        with_indices!(matrix.indices(), |indices| {
            dispatch(narrow(isa), Vector { a: matrix, indices, rows, x, out });
        });
    })
}

pub(super) fn check_inner(cols: usize, rows: usize) -> Result<()> {
    if cols == rows {
        return Ok(());
    }
    Err(KernelError::Shape(format!("the matrix has {cols} columns and x has {rows} rows")))
}

impl Float for f32 {
    fn product(isa: Isa, a: &FloatCsr<f32>, x: MatRef<'_, f32>, out: Out<f32>) -> Result<()> {
        let widths: &[usize] = if isa.includes(Isa::Avx2) { &[8, 16, 32] } else { &[8] };
        let lanes = Lanes::blocks(x, widths)?;
        let matrix = &a.matrix;
        let few = x.cols() <= 8;
        let panels = &a.panels[usize::from(!few)];
        if let Some(panels) = panels.get_or_make(|| Panels::new(matrix, few))? {
            let compute = |block, lanes: &Lanes<f32>, out: &mut [f32]| {
                let (a, cols, x) = (panels, matrix.cols(), lanes.as_slice());
                match lanes.width {
                    8 => dispatch(narrow(isa), PanelBlock::<8> { a, block, cols, x, out }),
                    16 => dispatch(isa, PanelBlock::<16> { a, block, cols, x, out }),
                    _ => dispatch(isa, PanelBlock::<32> { a, block, cols, x, out }),
                }
            };
            let values = matrix.nnz();
            return drive::product(&panels.blocks, values, &lanes, out, compute, |sum| sum);
        }
        let blocks = row_blocks(matrix.indptr(), BLOCK_VALUES, BLOCK_ROWS)?;
        let compute = |block: usize, lanes: &Lanes<f32>, out: &mut [f32]| {
            let (a, rows, x) = (matrix, blocks[block].clone(), lanes.as_slice());
            with_indices!(matrix.indices(), |indices| match lanes.width {
                8 => dispatch(narrow(isa), Block::<_, 8> { a, indices, rows, x, out }),
                16 => dispatch(isa, Block::<_, 16> { a, indices, rows, x, out }),
                _ => dispatch(isa, Block::<_, 32> { a, indices, rows, x, out }),
            });
        };
        drive::product(&blocks, matrix.nnz(), &lanes, out, compute, |sum| sum)
    }

    #[inline(always)]
    fn fused<S: Simd>(self, x: f32, sum: f32) -> f32 {
        // A library call where the CPU has no such instruction.
        if S::LANES > 1 { self.mul_add(x, sum) } else { self * x + sum }
    }

    #[inline(always)]
    unsafe fn dot<S: Simd, I: Index>(s: S, values: &[f32], indices: &[I], x: &[f32]) -> f32 {
        // SAFETY: by the caller's promise.
        unsafe {
            if S::LANES == EIGHT {
                dot_by_eights(s, values, indices, x)
            } else {
                dot_by_ones(s, values, indices, x)
            }
        }
    }

    #[inline(always)]
    fn total(sums: [f32; CHAINS]) -> f32 {
        (sums[0] + sums[1]) + (sums[2] + sums[3])
    }
}

impl Float for f64 {
    fn product(isa: Isa, a: &FloatCsr<f64>, x: MatRef<'_, f64>, out: Out<f64>) -> Result<()> {
        let lanes = Lanes::blocks(x, &[8])?;
        let matrix = &a.matrix;
        let blocks = row_blocks(matrix.indptr(), BLOCK_VALUES, BLOCK_ROWS)?;
        let compute = |block: usize, lanes: &Lanes<f64>, out: &mut [f64]| {
            let (a, rows, x) = (matrix, blocks[block].clone(), lanes.as_slice());
            with_indices!(matrix.indices(), |indices| {
                dispatch(isa, BlockF64 { a, indices, rows, x, out });
            });
        };
        drive::product(&blocks, matrix.nnz(), &lanes, out, compute, |sum| sum)
    }

    #[inline(always)]
    fn fused<S: Simd>(self, x: f64, sum: f64) -> f64 {
        // A library call where the CPU has no such instruction.
        if S::LANES > 1 { self.mul_add(x, sum) } else { self * x + sum }
    }

    #[inline(always)]
    fn total(sums: [f64; CHAINS]) -> f64 {
        (sums[0] + sums[1]) + (sums[2] + sums[3])
    }
}

/// Eight columns fill no wider vector.
pub(super) fn narrow(isa: Isa) -> Isa {
    if isa.includes(Isa::Avx2) { Isa::Avx2 } else { isa }
}

/// Rows of a product with `WIDTH` columns of `x`.
struct Block<'a, I, const WIDTH: usize> {
    a: &'a Csr<f32>,
    indices: &'a [I],
    rows: Range<usize>,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl<I: Index, const WIDTH: usize> SimdOp for Block<'_, I, WIDTH> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        // Sums enough for the latency of a fused multiplication, registers enough for the sums.
        match WIDTH / S::LANES {
            1 => self.run::<S, 1, 4>(s),
            2 => self.run::<S, 2, 4>(s),
            4 => self.run::<S, 4, 2>(s),
            _ => self.run::<S, 8, 1>(s),
        }
    }
}

impl<I: Index, const WIDTH: usize> Block<'_, I, WIDTH> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize, const SETS: usize>(self, s: S) {
        let values = self.a.values();
        assert!(self.x.len() == self.a.cols() * WIDTH && values.len() == self.indices.len());
        for (row, out) in self.rows.zip(self.out.chunks_exact_mut(WIDTH)) {
            let (mut at, end) = (self.a.indptr()[row], self.a.indptr()[row + 1]);
            let mut sums = [[s.splat_f32(0.0); VECTORS]; SETS];
            // SAFETY: a matrix has an index, below its columns, and a value for each place of a row;
            // x has WIDTH elements for each column.
            unsafe {
                while at + SETS <= end {
                    for (set, sums) in sums.iter_mut().enumerate() {
                        let value = s.splat_f32(*values.get_unchecked(at + set));
                        let column = self.indices.get_unchecked(at + set).position();
                        let x = self.x.as_ptr().add(column * WIDTH);
                        for (vector, sum) in sums.iter_mut().enumerate() {
                            *sum = s.mul_add(value, s.load_f32(x.add(vector * S::LANES)), *sum);
                        }
                    }
                    at += SETS;
                }
                while at < end {
                    let value = s.splat_f32(*values.get_unchecked(at));
                    let x = self.x.as_ptr().add(self.indices.get_unchecked(at).position() * WIDTH);
                    for (vector, sum) in sums[0].iter_mut().enumerate() {
                        *sum = s.mul_add(value, s.load_f32(x.add(vector * S::LANES)), *sum);
                    }
                    at += 1;
                }
                for vector in 0..VECTORS {
                    let mut total = sums[0][vector];
                    for set in &sums[1..] {
                        total = s.add(total, set[vector]);
                    }
                    s.store_f32(out.as_mut_ptr().add(vector * S::LANES), total);
                }
            }
        }
    }
}

/// Rows of a float64 product with 8 columns of `x`: loops that the compiler makes vectors of.
struct BlockF64<'a, I> {
    a: &'a Csr<f64>,
    indices: &'a [I],
    rows: Range<usize>,
    x: &'a [f64],
    out: &'a mut [f64],
}

impl<I: Index> SimdOp for BlockF64<'_, I> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, _: S) {
        let (x, _) = self.x.as_chunks::<8>();
        let (out, _) = self.out.as_chunks_mut::<8>();
        for (row, out) in self.rows.zip(out) {
            let range = self.a.indptr()[row]..self.a.indptr()[row + 1];
            let mut sums = [0.0; 8];
            for (index, &value) in self.indices[range.clone()].iter().zip(&self.a.values()[range]) {
                let x = &x[index.position()];
                for lane in 0..8 {
                    sums[lane] += value * x[lane];
                }
            }
            *out = sums;
        }
    }
}
