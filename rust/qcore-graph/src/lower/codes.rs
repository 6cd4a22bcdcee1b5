//! Values that are codes of integers: which they are, and the steps to and from floats.

use std::collections::HashMap;

use qcore_kernels::memory as kernel_memory;
use qcore_kernels::quant::{self, Params};
use qcore_kernels::view::{as_signed, as_signed_mut};

use super::tables::{self, Look};
use super::{At, Builder, Context, Kind, Layout};
use crate::dtype::DType;
use crate::error::{Result, shape_error, value_error};
use crate::memory;
use crate::operand::Affine;
use crate::plan::Ref;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{nbytes, product};
use crate::tensor::Tensor;

/// The codes of a constant: int8, their zero at code 0.
#[derive(Clone)]
pub(crate) struct WeightCodes {
    pub(crate) codes: Tensor,
    /// One, or one for each index of `axis`.
    pub(crate) scale: Vec<f32>,
    pub(crate) axis: Option<usize>,
}

impl WeightCodes {
    /// A scale for each output, where scales are of the whole or lie along that axis.
    pub(crate) fn by_axis(&self, axis: usize, outputs: usize) -> Result<Option<Vec<f32>>> {
        Ok(match (&self.scale[..], self.axis) {
            ([scale], _) => Some(kernel_memory::filled(*scale, outputs)?),
            (scale, Some(along)) if along == axis && scale.len() == outputs => {
                Some(kernel_memory::copied(scale)?)
            }
            _ => None,
        })
    }

    /// The floats that the codes stand for.
    pub(crate) fn decoded(&self) -> Result<Tensor> {
        let dims = self.codes.dims();
        let (channels, inner) = match self.axis {
            Some(axis) => (dims[axis], product(&dims[axis + 1..])),
            None => (1, self.codes.len()),
        };
        if self.scale.len() != 1 && self.scale.len() != channels {
            return Err(shape_error!("{} scales are not {channels}", self.scale.len()));
        }
        let scale = |at: usize| {
            let channel = at.checked_div(inner).unwrap_or(0) % channels.max(1);
            self.scale.get(channel).unwrap_or(&self.scale[0])
        };
        let codes = self.codes.elements::<i8>().iter().enumerate();
        let mut floats = memory::zeroed(nbytes(dims, DType::F32)?)?;
        for (float, (at, &code)) in memory::cast_mut::<f32>(&mut floats).iter_mut().zip(codes) {
            *float = f32::from(code) * scale(at);
        }
        Ok(Tensor::from_aligned(DType::F32, dims, floats))
    }
}

/// Which values are codes.
#[derive(Default)]
pub(crate) struct Codes {
    pub(crate) values: HashMap<usize, Affine>,
    pub(crate) weights: HashMap<usize, WeightCodes>,
}

/// Elements that go from an input to an output as they are.
#[derive(Clone, Copy)]
pub(crate) struct Moved {
    pub(crate) r: Ref,
    /// Bytes of each.
    pub(crate) size: usize,
    /// Whether they are codes.
    pub(crate) coded: bool,
}

impl Builder {
    /// The codes of a value that has them, in a layout.
    pub(super) fn coded(&mut self, at: At<'_>, layout: Layout) -> Result<Ref> {
        if let Some(r) = self.form(at.value, Kind::Codes, layout) {
            return Ok(r);
        }
        let r = if let Some(other) = self.form(at.value, Kind::Codes, layout.other()) {
            self.convert(other, at, 1, layout)?
        } else if let Some(&given) = self.given.get(&at.value) {
            // Codes are a quarter of the bytes to be laid out otherwise.
            let codes = self.encode(at, given)?;
            self.set(at.value, Kind::Codes, Layout::Plain, codes);
            match layout {
                Layout::Plain => codes,
                Layout::Last => self.convert(codes, at, 1, layout)?,
            }
        } else {
            let own = self.own(at, layout)?;
            self.encode(at, own)?
        };
        self.set(at.value, Kind::Codes, layout, r);
        Ok(r)
    }

    pub(super) fn encode(&mut self, at: At<'_>, from: Ref) -> Result<Ref> {
        let affine = self.affine(at.value)?;
        let step = Box::new(Encode { affine, count: at.fact.count() });
        Ok(self.step(step, from, at.fact.count(), at.node))
    }

    pub(super) fn decode(&mut self, at: At<'_>, from: Ref) -> Result<Ref> {
        let affine = self.affine(at.value)?;
        let step = Box::new(Decode { affine, count: at.fact.count() });
        Ok(self.step(step, from, nbytes(&at.fact.dims, at.fact.dtype)?, at.node))
    }
}

impl Context<'_> {
    /// An input whose elements go to some outputs as they are, in a layout: as codes, where the
    /// outputs have the same ones.
    pub(crate) fn moved(
        &mut self,
        input: usize,
        outputs: std::ops::Range<usize>,
        layout: Layout,
    ) -> Result<Moved> {
        let mut affines = outputs.map(|output| self.output_affine(output));
        if let Some(Some(first)) = affines.next()
            && affines.all(|other| other == Some(first))
            && self.inputs.get(input)?.dtype == DType::F32
        {
            return Ok(Moved { r: self.codes_of(input, first, layout)?, size: 1, coded: true });
        }
        let size = self.inputs.get(input)?.dtype.size();
        Ok(Moved { r: self.input(input, layout)?, size, coded: false })
    }

    /// The codes that an input has in some parameters, whatever it is.
    pub(crate) fn codes_of(&mut self, input: usize, to: Affine, layout: Layout) -> Result<Ref> {
        let count = self.inputs.get(input)?.count();
        let Some(from) = self.affine(input) else {
            let r = self.input(input, layout)?;
            let step = Box::new(Encode { affine: to, count });
            return Ok(self.builder.step(step, r, count, self.node));
        };
        let r = self.codes(input, layout)?;
        if from == to {
            return Ok(r);
        }
        let table = tables::encoded(&tables::decoded(from)?, to)?;
        let table = table.ok_or_else(|| value_error!("codes stand for no numbers"))?;
        Ok(self.builder.step(Box::new(Look::codes(table, count)), r, count, self.node))
    }

    /// Adds a step that moves elements to output 0.
    pub(crate) fn emit_moved(
        &mut self,
        step: Box<dyn Step>,
        inputs: Vec<Ref>,
        layout: Layout,
        moved: Moved,
    ) -> Result<()> {
        let len = self.outputs[0].count() * moved.size;
        let made = self.emit_buffers(step, inputs, &[len], 0, None)?;
        self.put(0, layout, Moved { r: made[0], ..moved })
    }

    /// Says which buffer holds an output: its codes, or its own elements.
    pub(crate) fn put(&mut self, output: usize, layout: Layout, moved: Moved) -> Result<()> {
        if moved.coded {
            self.set_codes(output, layout, moved.r);
            return Ok(());
        }
        self.set(output, layout, moved.r)
    }
}

pub(super) fn params(affine: &Affine) -> Params<'_> {
    Params {
        layout: quant::Layout::Tensor,
        scale: std::slice::from_ref(&affine.scale),
        zero_point: std::slice::from_ref(&affine.zero_point),
        min: affine.min(),
        max: affine.max(),
    }
}

/// Floats to codes.
pub(super) struct Encode {
    pub(super) affine: Affine,
    pub(super) count: usize,
}

impl Step for Encode {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let x = io.input::<f32>(0);
        let out = io.output::<u8>(0)?;
        let params = params(&self.affine);
        let counts = if self.affine.signed {
            quant::quantize_with(io.isa, x, params, as_signed_mut(out))?
        } else {
            quant::quantize_with(io.isa, x, params, out)?
        };
        if counts.nan > 0 {
            return Err(value_error!("it gives NaN, which no integer stands for"));
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "quantize"
    }

    fn work(&self) -> usize {
        self.count
    }
}

/// Codes to floats.
pub(super) struct Decode {
    pub(super) affine: Affine,
    pub(super) count: usize,
}

impl Step for Decode {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let codes = io.input::<u8>(0);
        let out = io.output::<f32>(0)?;
        let params = params(&self.affine);
        if self.affine.signed {
            quant::dequantize_with(io.isa, as_signed(codes), params, out)?;
        } else {
            quant::dequantize_with(io.isa, codes, params, out)?;
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "dequantize"
    }

    fn work(&self) -> usize {
        self.count
    }
}
