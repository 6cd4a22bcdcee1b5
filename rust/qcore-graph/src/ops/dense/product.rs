//! The product of any two matrices, in batches.

use crate::dtype::DType;
use crate::error::Result;
use crate::lower::{Context, Emit, Layout};
use crate::memory::Element;
use crate::ops::activation::Activation;
use crate::run::Io;
use crate::shape::broadcast_strides;
use crate::step::Step;
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

/// `activation(alpha * a @ b + added)`.
pub(super) struct Product {
    pub(super) dtype: DType,
    pub(super) batches: Walk<2>,
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
    fn product<T: Element>(
        &self,
        io: &mut Io<'_>,
        multiply_add: impl Fn(T, T, T) -> T + Copy,
        scale: impl Fn(T, f32) -> T,
        add: impl Fn(T, T) -> T,
        finish: impl Fn(&mut [T]),
    ) -> Result<()> {
        let (a, b) = (io.input::<T>(0), io.input::<T>(1));
        let out = io.output::<T>(0)?;
        let (m, n) = (self.m, self.n);
        let mut batches = out.chunks_exact_mut((m * n).max(1));
        self.batches.for_rows(|_, count, [mut at_a, mut at_b], steps| {
            for _ in 0..count {
                let Some(out) = batches.next() else { return };
                out.fill(T::default());
                for (i, row) in out.chunks_exact_mut(n).enumerate() {
                    for p in 0..self.k {
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
        if self.alpha != 1.0 {
            for out in out.iter_mut() {
                *out = scale(*out, self.alpha);
            }
        }
        for (index, added) in self.added.iter().enumerate() {
            let values = io.input::<T>(2 + index);
            added.walk.for_rows(|start, n, [mut at], [step]| {
                for out in &mut out[start..start + n] {
                    *out = add(*out, scale(values[at], added.factor));
                    at += step;
                }
            });
        }
        finish(out);
        Ok(())
    }
}

impl Step for Product {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        match self.dtype {
            DType::I32 => self.product::<i32>(
                io,
                |x, y, sum| sum.wrapping_add(x.wrapping_mul(y)),
                |x, _| x,
                i32::wrapping_add,
                |_| {},
            ),
            DType::I64 => self.product::<i64>(
                io,
                |x, y, sum| sum.wrapping_add(x.wrapping_mul(y)),
                |x, _| x,
                i64::wrapping_add,
                |_| {},
            ),
            _ => self.product::<f32>(
                io,
                |x, y, sum| sum + x * y,
                |x, by| x * by,
                |x, y| x + y,
                |out| self.activation.apply(out),
            ),
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
