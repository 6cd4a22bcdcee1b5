//! Sums, differences and products that are codes, of codes, or of codes and floats that are known.

use qcore_kernels::codes::{Arithmetic, Term, TermData, ToCodes, arithmetic_with};
use qcore_kernels::quant::Code;
use qcore_kernels::view::{as_signed, as_signed_mut};

use super::Function;
use super::meeting::{Meeting, meet};
use crate::error::Result;
use crate::lower::Context;
use crate::operand::Affine;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{MAX_RANK, product};

/// Adds the step from codes to codes; false where it is not for these operands.
pub(super) fn lower(cx: &mut Context<'_>, function: Function) -> Result<bool> {
    let fits = matches!(function, Function::Add | Function::Sub | Function::Mul);
    let (Some(to), 2, true) = (cx.output_affine(0), cx.inputs.len(), fits) else {
        return Ok(false);
    };
    let out = cx.outputs[0].dims.clone();
    if out.len() > MAX_RANK {
        return Ok(false);
    }
    let affines = [cx.affine(0), cx.affine(1)];
    // Codes come first; floats, which are known, may be second.
    let (order, signs) = match affines {
        [Some(a), Some(b)] if a.signed == to.signed && b.signed == to.signed => {
            ([0, 1], [1.0, -1.0])
        }
        [Some(a), None] if a.signed == to.signed && is_known(cx, 1) => ([0, 1], [1.0, -1.0]),
        [None, Some(b)] if b.signed == to.signed && is_known(cx, 0) => ([1, 0], [-1.0, 1.0]),
        _ => return Ok(false),
    };
    let coded: Vec<usize> = (0..2).filter(|&index| affines[index].is_some()).collect();
    let Meeting { layout, refs, shapes, dims } = meet(cx, &order, &coded, &out)?;
    let affines = order.map(|index| affines[index]);
    let scale = |affine: Option<Affine>| affine.map_or(1.0, |affine| affine.scale);
    let scales = affines.map(scale);
    let function = match function {
        Function::Mul => Arithmetic::Product(scales[0] * scales[1] / to.scale),
        Function::Add => Arithmetic::Sum(scales.map(|scale| scale / to.scale)),
        _ => Arithmetic::Sum([0, 1].map(|at| signs[at] * (scales[at] / to.scale))),
    };
    let zeros = affines.map(|affine| affine.map(|affine| affine.zero_point));
    let count = product(&dims);
    let step = Box::new(CodesStep { function, to, zeros, shapes, dims });
    let made = cx.emit_buffers(step, refs, &[count], 0, None)?;
    cx.set_codes(0, layout, made[0]);
    Ok(true)
}

fn is_known(cx: &Context<'_>, input: usize) -> bool {
    cx.inputs.optional(input).is_some_and(|fact| fact.value.is_some())
}

struct CodesStep {
    function: Arithmetic,
    to: Affine,
    /// The code of 0 of each operand; None of floats.
    zeros: [Option<i32>; 2],
    shapes: Vec<Vec<usize>>,
    dims: Vec<usize>,
}

impl CodesStep {
    fn apply<C: Code>(&self, io: &Io<'_>, codes: fn(&[u8]) -> &[C], out: &mut [C]) -> Result<()> {
        let term = |index: usize| -> Term<'_, C> {
            let data = match self.zeros[index] {
                Some(zero) => TermData::Codes(codes(io.input::<u8>(index)), zero),
                None => TermData::Floats(io.input::<f32>(index)),
            };
            Term { data, shape: &self.shapes[index] }
        };
        let Affine { zero_point, .. } = self.to;
        let to = ToCodes { zero_point, min: self.to.min(), max: self.to.max() };
        arithmetic_with(io.isa, self.function, term(0), term(1), to, (out, &self.dims))?;
        Ok(())
    }
}

impl Step for CodesStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let out = io.output::<u8>(0)?;
        if self.to.signed {
            self.apply(io, as_signed, as_signed_mut(out))
        } else {
            self.apply(io, |codes| codes, out)
        }
    }

    fn kernel(&self) -> &'static str {
        match self.function {
            Arithmetic::Sum(_) => "add int8",
            Arithmetic::Product(_) => "multiply int8",
        }
    }

    fn work(&self) -> usize {
        product(&self.dims)
    }
}
