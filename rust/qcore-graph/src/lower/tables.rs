//! Functions of one element on codes: tables of 256 lines.
//!
//! What a chain of such functions makes of a value with codes is computed for all of its codes when
//! the graph is compiled, by the steps that the floats would go through. So a table gives what they
//! give, to the bit.

use std::sync::Arc;

use qcore_kernels::codes::{Table, look_up};
use qcore_kernels::view::{as_signed, as_signed_mut};
use qcore_kernels::{isa, quant};

use super::codes::params;
use super::{At, Builder, Kind, Layout};
use crate::dtype::DType;
use crate::error::Result;
use crate::fact::Fact;
use crate::graph::Node;
use crate::op::Op;
use crate::operand::Affine;
use crate::plan::Ref;
use crate::plan::compile::fold;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape;
use crate::tensor::Tensor;

/// A value that is a function of the codes of another.
#[derive(Clone)]
pub(crate) struct Function {
    /// The value with the codes.
    base: usize,
    /// What each of its codes becomes.
    table: Arc<Table<f32>>,
}

/// What each code stands for, by its byte.
pub(super) fn decoded(affine: Affine) -> Result<Table<f32>> {
    let mut bytes = [0_u8; 256];
    for (byte, code) in bytes.iter_mut().zip(0..=255) {
        *byte = code;
    }
    let mut out = [0.0; 256];
    let (isa, params) = (isa::active()?, params(&affine));
    if affine.signed {
        quant::dequantize_with(isa, as_signed(&bytes), params, &mut out)?;
    } else {
        quant::dequantize_with(isa, &bytes[..], params, &mut out)?;
    }
    Ok(out)
}

/// The codes of floats; None if one of them is NaN, which has none.
pub(super) fn encoded(floats: &Table<f32>, affine: Affine) -> Result<Option<Table<u8>>> {
    let mut out = [0_u8; 256];
    let (isa, params) = (isa::active()?, params(&affine));
    let counts = if affine.signed {
        quant::quantize_with(isa, &floats[..], params, as_signed_mut(&mut out))?
    } else {
        quant::quantize_with(isa, &floats[..], params, &mut out[..])?
    };
    Ok((counts.nan == 0).then_some(out))
}

impl Builder {
    /// The value whose codes hold what a value is computed from; itself, where it is in memory.
    pub(super) fn root(&self, value: usize) -> usize {
        self.functions.get(&value).map_or(value, |function| function.base)
    }

    /// The floats of a value that is a function of codes.
    pub(super) fn computed(&mut self, at: At<'_>, layout: Layout) -> Result<Option<Ref>> {
        let Some(Function { base, table }) = self.functions.get(&at.value).cloned() else {
            return Ok(None);
        };
        let codes = self.coded(At { value: base, ..at }, layout)?;
        let step = Look { table: Lines::Floats(table), count: at.fact.count() };
        let len = shape::nbytes(&at.fact.dims, DType::F32)?;
        Ok(Some(self.step(Box::new(step), codes, len, at.node)))
    }

    /// Lowers a node that is a function of one value with codes, or of what is computed from codes,
    /// and of scalars that are known; false where it is none.
    pub(crate) fn tabulate(
        &mut self,
        node: &Node,
        op: &dyn Op,
        inputs: &[Option<&Fact>],
        outputs: &[Fact],
        at: usize,
    ) -> Result<bool> {
        let ([Some(made)], [out]) = (&node.outputs[..], outputs) else { return Ok(false) };
        let mut read = None;
        let mut known = Vec::with_capacity(inputs.len());
        for (index, fact) in inputs.iter().enumerate() {
            known.push(match fact {
                None => None,
                Some(fact) => match &fact.value {
                    Some(value) if value.len() == 1 => Some(Fact::known(value.reshaped(&[]))),
                    None if read.is_none() => {
                        read = Some(index);
                        None
                    }
                    _ => return Ok(false),
                },
            });
        }
        let Some((index, fact)) = read.and_then(|index| Some((index, inputs[index]?))) else {
            return Ok(false);
        };
        let Some(value) = node.inputs[index] else { return Ok(false) };
        if !op.is_elementwise()
            || fact.dtype != DType::F32
            || out.dtype != DType::F32
            || fact.dims != out.dims
        {
            return Ok(false);
        }
        let (base, table) = match (self.functions.get(&value), self.codes.values.get(&value)) {
            (Some(function), _) => (function.base, *function.table),
            (None, Some(affine)) => (value, decoded(*affine)?),
            (None, None) => return Ok(false),
        };
        known[index] = Some(Fact::known(Tensor::new(DType::F32, &[256], &table[..])?));
        let facts: Vec<Option<&Fact>> = known.iter().map(Option::as_ref).collect();
        let made_of = fold(op, &facts, &[Fact::new(DType::F32, vec![256])])?;
        let mut table = [0.0; 256];
        table.copy_from_slice(made_of[0].elements::<f32>());
        let Some(affine) = self.codes.values.get(made).copied() else {
            self.functions.insert(*made, Function { base, table: Arc::new(table) });
            return Ok(true);
        };
        let Some(table) = encoded(&table, affine)? else { return Ok(false) };
        let forms = self.forms.get(&base).copied().unwrap_or_default();
        let last = forms.any(Layout::Last) && !forms.any(Layout::Plain);
        let layout = if last { Layout::Last } else { Layout::Plain };
        let mut r = self.coded(At { value: base, fact, node: at }, layout)?;
        if !table.iter().zip(0..=255_u8).all(|(&to, from)| to == from) {
            let step = Box::new(Look::codes(table, fact.count()));
            r = self.step(step, r, fact.count(), at);
        }
        self.set(*made, Kind::Codes, layout, r);
        Ok(true)
    }
}

/// What codes are looked up in.
enum Lines {
    Codes(Box<Table<u8>>),
    Floats(Arc<Table<f32>>),
}

/// Looks up every code.
pub(super) struct Look {
    table: Lines,
    count: usize,
}

impl Look {
    /// From codes to codes.
    pub(super) fn codes(table: Table<u8>, count: usize) -> Self {
        Self { table: Lines::Codes(Box::new(table)), count }
    }
}

impl Step for Look {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let x = io.input::<u8>(0);
        match &self.table {
            Lines::Codes(table) => look_up(table, x, io.output(0)?)?,
            Lines::Floats(table) => look_up(table, x, io.output(0)?)?,
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "table"
    }

    fn work(&self) -> usize {
        self.count
    }
}
