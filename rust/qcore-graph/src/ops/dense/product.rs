//! The product of any two matrices, in batches.

use qcore_kernels::epilogue::{Activation, finish_rows_with};
use qcore_kernels::gemm::{BatchedShape, Matrices, Results, matmul_f32_with};
use qcore_kernels::interrupt::Pace;

use crate::dtype::DType;
use crate::error::Result;
use crate::lower::{Context, Emit, Layout};
use crate::memory::Element;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{broadcast_strides, strides};
use crate::walk::Walk;

/// What is added to the result, one for each input from `from` on that is there.
pub(super) fn added(cx: &Context<'_>, from: usize, factors: &[f32]) -> Result<Vec<Added>> {
    let mut out = Vec::new();
    let dims = &cx.outputs[0].dims;
    for (index, &factor) in (from..cx.inputs.len()).zip(factors) {
        if let Some(fact) = cx.inputs.optional(index) {
            let strides = broadcast_strides(&fact.dims, dims);
            out.push(Added { walk: Walk::new(dims, [&strides[..]])?, factor });
        }
    }
    Ok(out)
}

/// Adds a step that multiplies inputs 0 and 1 and adds what comes from input `from` on.
pub(super) fn emit(cx: &mut Context<'_>, product: Product, from: usize) -> Result<()> {
    let mut inputs = vec![cx.plain(0)?, cx.plain(1)?];
    for index in from..cx.inputs.len() {
        if cx.inputs.optional(index).is_some() {
            inputs.push(cx.plain(index)?);
        }
    }
    let step = Box::new(product);
    cx.emit(Emit { step, inputs, scratch: 0, in_place: None, layouts: &[Layout::Plain] })
}

/// `factor` times an operand that is broadcast to the result.
pub(super) struct Added {
    walk: Walk<1>,
    factor: f32,
}

/// The axes of a batch, and how far from a matrix to the next along each.
pub(super) struct Batch {
    dims: Vec<usize>,
    a: Vec<usize>,
    b: Vec<usize>,
    out: Vec<usize>,
}

impl Batch {
    /// Results lie one after the other, `size` elements each.
    pub(super) fn new(dims: &[usize], a: Vec<usize>, b: Vec<usize>, size: usize) -> Self {
        let out = strides(dims).iter().map(|stride| stride * size).collect();
        Self { dims: dims.to_vec(), a, b, out }
    }
}

/// `activation(alpha * a @ b + added)`.
pub(super) struct Product {
    pub(super) dtype: DType,
    pub(super) batches: Walk<2>,
    pub(super) batch: Batch,
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    /// Strides of rows and columns.
    pub(super) a: [usize; 2],
    pub(super) b: [usize; 2],
    pub(super) alpha: f32,
    pub(super) added: Vec<Added>,
    pub(super) activation: Activation,
}

impl Product {
    /// Floats, by the kernel.
    fn floats(&self, io: &mut Io<'_>) -> Result<()> {
        let (a, b) = (io.input::<f32>(0), io.input::<f32>(1));
        let out = io.output::<f32>(0)?;
        let Batch { dims, a: a_strides, b: b_strides, out: out_strides } = &self.batch;
        let shape = BatchedShape { batch: dims, m: self.m, k: self.k, n: self.n };
        let matrices = |data, batch_strides, [row_stride, col_stride]: [usize; 2]| Matrices {
            data,
            batch_strides,
            row_stride,
            col_stride,
        };
        let (a, b) = (matrices(a, a_strides, self.a), matrices(b, b_strides, self.b));
        let plain = self.alpha == 1.0 && self.added.is_empty();
        let activation = if plain { self.activation } else { Activation::Linear };
        let to = Results { data: &mut *out, batch_strides: out_strides, row_stride: self.n };
        matmul_f32_with(io.isa, shape, a, b, &[], activation, to)?;
        if plain {
            return Ok(());
        }
        if self.alpha != 1.0 {
            for out in out.iter_mut() {
                *out *= self.alpha;
            }
        }
        self.add(io, out, |out, x, factor| out + x * factor);
        finish_rows_with(io.isa, out, self.n, &[], self.activation)?;
        Ok(())
    }

    /// Adds what is added.
    fn add<T: Element>(&self, io: &Io<'_>, out: &mut [T], add: impl Fn(T, T, f32) -> T) {
        for (index, added) in self.added.iter().enumerate() {
            let values = io.input::<T>(2 + index);
            added.walk.for_rows(|start, n, [mut at], [step]| {
                for out in &mut out[start..start + n] {
                    *out = add(*out, values[at], added.factor);
                    at += step;
                }
            });
        }
    }

    /// Integers, which wrap.
    fn integers<T: Element>(
        &self,
        io: &mut Io<'_>,
        multiply_add: impl Fn(T, T, T) -> T + Copy,
        add: impl Fn(T, T, f32) -> T,
    ) -> Result<()> {
        let (a, b) = (io.input::<T>(0), io.input::<T>(1));
        let out = io.output::<T>(0)?;
        let (m, n) = (self.m, self.n);
        let mut batches = out.chunks_exact_mut((m * n).max(1));
        let mut pace = Pace::new();
        self.batches.for_rows(|_, count, [mut at_a, mut at_b], steps| {
            for _ in 0..count {
                let Some(out) = batches.next() else { return };
                out.fill(T::default());
                for (i, row) in out.chunks_exact_mut(n).enumerate() {
                    for p in 0..self.k {
                        if pace.stops(n) {
                            return;
                        }
                        let x = a[at_a + i * self.a[0] + p * self.a[1]];
                        let b = &b[at_b + p * self.b[0]..];
                        for (j, out) in row.iter_mut().enumerate() {
                            *out = multiply_add(x, b[j * self.b[1]], *out);
                        }
                    }
                }
                at_a += steps[0];
                at_b += steps[1];
            }
        });
        self.add(io, out, add);
        Ok(())
    }
}

impl Step for Product {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        match self.dtype {
            DType::I32 => self.integers::<i32>(
                io,
                |x, y, sum| sum.wrapping_add(x.wrapping_mul(y)),
                |out, x, _| out.wrapping_add(x),
            ),
            DType::I64 => self.integers::<i64>(
                io,
                |x, y, sum| sum.wrapping_add(x.wrapping_mul(y)),
                |out, x, _| out.wrapping_add(x),
            ),
            _ => self.floats(io),
        }
    }

    fn kernel(&self) -> &'static str {
        "product"
    }

    fn work(&self) -> usize {
        let each = self.m.saturating_mul(self.n).saturating_mul(self.k);
        self.batches.count().saturating_mul(each)
    }
}
