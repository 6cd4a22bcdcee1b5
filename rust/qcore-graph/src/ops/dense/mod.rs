//! Products of matrices: `MatMul` and `Gemm`, with what is fused behind them.

mod known;
mod laid_out;
mod product;

use known::{Known, lower_known};
pub(super) use laid_out::join_norm;
use laid_out::linear;
use product::{Batch, Product, added, emit};
use qcore_kernels::epilogue::Activation;

use crate::dtype::DType;
use crate::error::{Result, dtype_error, shape_error};
use crate::fact::{Fact, Inputs};
use crate::lower::Context;
use crate::op::{Make, Op, Spec};
use crate::ops::activation;
use crate::shape::{broadcast, broadcast_strides, product as count};
use crate::walk::Walk;

pub(super) const OPS: &[(&str, Make)] = &[("Gemm", gemm), ("Linear", linear), ("MatMul", matmul)];

/// `activation(a @ b + bias + residual)`; leading dims are batches.
struct MatMul {
    activation: Activation,
}

fn matmul(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    Ok(Box::new(MatMul { activation: activation::read(spec.attributes)? }))
}

/// `activation(alpha * a' @ b' + beta * c + residual)`.
struct Gemm {
    alpha: f32,
    beta: f32,
    transposed: [bool; 2],
    activation: Activation,
}

fn gemm(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let a = &spec.attributes;
    Ok(Box::new(Gemm {
        alpha: a.float_or("alpha", 1.0)?,
        beta: a.float_or("beta", 1.0)?,
        transposed: [a.flag("transA", false)?, a.flag("transB", false)?],
        activation: activation::read(*a)?,
    }))
}

/// The shape of `a @ b` as NumPy has it, and the shapes with the dims that vectors lack.
fn matmul_dims(a: &[usize], b: &[usize]) -> Result<(Vec<usize>, Vec<usize>, Vec<usize>)> {
    if a.is_empty() || b.is_empty() {
        return Err(shape_error!("a {a:?} or b {b:?} is a scalar"));
    }
    let full_a = if a.len() == 1 { vec![1, a[0]] } else { a.to_vec() };
    let full_b = if b.len() == 1 { vec![b[0], 1] } else { b.to_vec() };
    let (batch_a, ends_a) = full_a.split_at(full_a.len() - 2);
    let (batch_b, ends_b) = full_b.split_at(full_b.len() - 2);
    if ends_a[1] != ends_b[0] {
        return Err(shape_error!(
            "a {a:?} has {} columns, b {b:?} has {} rows",
            ends_a[1],
            ends_b[0]
        ));
    }
    let mut out = broadcast(&[batch_a, batch_b])?;
    if a.len() > 1 {
        out.push(ends_a[0]);
    }
    if b.len() > 1 {
        out.push(ends_b[1]);
    }
    Ok((out, full_a, full_b))
}

fn takes(dtype: DType, plain: bool) -> Result<()> {
    match dtype {
        DType::F32 => Ok(()),
        DType::I32 | DType::I64 if plain => Ok(()),
        _ => Err(dtype_error!("its inputs are {dtype}, which it does not take")),
    }
}

/// Checks what is added to a result: bias and residual broadcast to it.
fn check_added(inputs: Inputs<'_>, from: usize, out: &[usize]) -> Result<()> {
    for index in from..inputs.len() {
        if inputs.optional(index).is_some() {
            let added = &inputs.of(index, inputs.get(0)?.dtype)?.dims;
            if added.len() > out.len() || broadcast(&[added, out])? != out {
                return Err(shape_error!("input {index} {added:?} does not broadcast to {out:?}"));
            }
        }
    }
    Ok(())
}

impl Op for MatMul {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let a = inputs.get(0)?;
        let b = inputs.of(1, a.dtype)?;
        takes(a.dtype, self.activation == Activation::Linear)?;
        let (out, _, _) = matmul_dims(&a.dims, &b.dims)?;
        check_added(inputs, 2, &out)?;
        Ok(vec![Fact::new(a.dtype, out)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let (a, b) = (cx.inputs.get(0)?.clone(), cx.inputs.get(1)?.clone());
        let (_, full_a, full_b) = matmul_dims(&a.dims, &b.dims)?;
        let (batch_a, ends_a) = full_a.split_at(full_a.len() - 2);
        let (batch_b, ends_b) = full_b.split_at(full_b.len() - 2);
        if batch_b.is_empty() && b.rank() == 2 {
            let rows = count(batch_a) * ends_a[0];
            let known = Known { rows, transposed: false, activation: self.activation };
            if lower_known(cx, &known)? {
                return Ok(());
            }
        }
        let batch = broadcast(&[batch_a, batch_b])?;
        // Strides of batches count elements, not matrices.
        let of = |dims: &[usize], ends: &[usize]| -> Vec<usize> {
            let size = ends[0] * ends[1];
            broadcast_strides(dims, &batch).iter().map(|stride| stride * size).collect()
        };
        let (stride_a, stride_b) = (of(batch_a, ends_a), of(batch_b, ends_b));
        let product = Product {
            dtype: a.dtype,
            batches: Walk::new(&batch, [&stride_a[..], &stride_b[..]])?,
            batch: Batch::new(&batch, stride_a, stride_b, ends_a[0] * ends_b[1]),
            m: ends_a[0],
            n: ends_b[1],
            k: ends_a[1],
            a: [ends_a[1], 1],
            b: [ends_b[1], 1],
            alpha: 1.0,
            added: added(cx, 2, &[1.0, 1.0])?,
            activation: self.activation,
        };
        emit(cx, product, 2)
    }
}

impl Op for Gemm {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let a = inputs.get(0)?;
        let b = inputs.of(1, a.dtype)?;
        let plain = self.activation == Activation::Linear && self.alpha == 1.0 && self.beta == 1.0;
        takes(a.dtype, plain)?;
        let ([m, k], [k_b, n]) = (self.ends(a, 0)?, self.ends(b, 1)?);
        if k != k_b {
            return Err(shape_error!("a {:?} and b {:?} do not multiply", a.dims, b.dims));
        }
        check_added(inputs, 2, &[m, n])?;
        Ok(vec![Fact::new(a.dtype, vec![m, n])])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let (a, b) = (cx.inputs.get(0)?.clone(), cx.inputs.get(1)?.clone());
        let ([m, k], [_, n]) = (self.ends(&a, 0)?, self.ends(&b, 1)?);
        let plain = self.alpha == 1.0 && self.beta == 1.0 && !self.transposed[0];
        let transposed = self.transposed[1];
        let known = Known { rows: m, transposed, activation: self.activation };
        if plain && lower_known(cx, &known)? {
            return Ok(());
        }
        let product = Product {
            dtype: a.dtype,
            batches: Walk::new(&[], [&[][..], &[][..]])?,
            batch: Batch::new(&[], Vec::new(), Vec::new(), m * n),
            m,
            n,
            k,
            a: if self.transposed[0] { [1, m] } else { [k, 1] },
            b: if self.transposed[1] { [1, k] } else { [n, 1] },
            alpha: self.alpha,
            added: added(cx, 2, &[self.beta, 1.0])?,
            activation: self.activation,
        };
        emit(cx, product, 2)
    }
}

impl Gemm {
    /// Rows and columns of an operand as it is multiplied.
    fn ends(&self, fact: &Fact, operand: usize) -> Result<[usize; 2]> {
        let [rows, columns]: [usize; 2] = fact.dims[..]
            .try_into()
            .map_err(|_| shape_error!("input {operand} {:?} is no matrix", fact.dims))?;
        Ok(if self.transposed[operand] { [columns, rows] } else { [rows, columns] })
    }
}
