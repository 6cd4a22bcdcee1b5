//! Convolutions of codes: exact sums, and an epilogue to codes or floats.
//!
//! | file | what it does |
//! |---|---|
//! | `taps` | in which order the inputs of a place lie along K |
//! | `direct` | rows of the window are read where they lie |
//! | `merged` | of few outputs, places side by side as one |
//! | `patches` | pixels under a window as rows of the int8 product, copied as they are used |
//! | `strip`, `write` | rows of an image as kernels want them |
//! | `depthwise/` | every channel by itself: lanes run across channels |
//! | `sparse` | pruned weights, of which only those that are not zero are multiplied |
//! | `output` | what becomes of the sums |

use std::marker::PhantomData;

mod depthwise;
mod direct;
mod merged;
mod output;
mod patches;
mod sparse;
mod strip;
mod taps;
mod write;

use depthwise::Depthwise;
use direct::Direct;
use merged::Merged;
use output::{Part, Target};
use patches::Places;
use sparse::Sparse;
use taps::Taps;

use super::window::Window;
use crate::epilogue::{FloatOutput, Requantize, Residual};
use crate::error::{KernelError, Result};
use crate::gemm::{Int8, LeftOperand, PackedI8};
use crate::isa::{self, Isa};
use crate::memory;
use crate::norm::softmax_with;
use crate::quant::Code;
use crate::view::MatRef;

/// Images of codes, channels last: `(code - zero_point)` is what is convolved.
#[derive(Debug, Clone, Copy)]
pub struct CodeImages<'a> {
    /// The codes, as bytes.
    pub codes: &'a [u8],
    /// `[batch, height, width, channels]`.
    pub shape: [usize; 4],
    /// Whether they are int8, not uint8.
    pub signed: bool,
    /// The code of 0, which is also what lies around the images.
    pub zero_point: i32,
}

impl CodeImages<'_> {
    fn check(&self) -> Result<()> {
        let (low, high) = if self.signed { (-128, 127) } else { (0, 255) };
        if !(low..=high).contains(&self.zero_point) {
            let zero = self.zero_point;
            return Err(KernelError::Value(format!(
                "zero_point is {zero}; it must be {low} to {high}"
            )));
        }
        if memory::size(&self.shape)? != self.codes.len() {
            return Err(KernelError::Shape(format!(
                "x has {} codes; it must have the shape {:?}",
                self.codes.len(),
                self.shape
            )));
        }
        Ok(())
    }
}

/// Int8 weights of a convolution, laid out for its kernels, with its window. Their zero point is 0.
#[derive(Debug)]
pub struct ConvI8 {
    window: Window,
    inputs: usize,
    outputs: usize,
    taps: Taps,
    form: Form,
    /// The same weights without their zeros, where these are most.
    sparse: Option<Sparse>,
}

#[derive(Debug)]
enum Form {
    /// A product for each group of channels; of few outputs also one for places side by side.
    Products(Vec<PackedI8>, Option<Box<Merged>>),
    /// One input channel for each group.
    Depthwise(Box<Depthwise>),
}

impl ConvI8 {
    /// Weights `[outputs, inputs / groups, rows, columns]`, row-major.
    pub fn new(
        isa: Isa,
        weights: &[i8],
        shape: [usize; 4],
        window: Window,
        groups: usize,
    ) -> Result<Self> {
        let [outputs, each, rows, columns] = shape;
        let taps = memory::size(&[rows, columns])?;
        let inputs = memory::size(&[each, groups])?;
        if memory::size(&shape)? != weights.len() || [rows, columns] != window.kernel {
            return Err(KernelError::Shape(format!(
                "weights have {} elements; shape {shape:?} and kernel {:?} ask for others",
                weights.len(),
                window.kernel
            )));
        }
        if groups == 0 || !outputs.is_multiple_of(groups) || taps == 0 {
            return Err(KernelError::Shape(format!(
                "{outputs} outputs and {taps} taps do not make {groups} groups"
            )));
        }
        memory::size(&[taps, each, 4])?;
        let order = Taps::new(&window, each, groups);
        let form = if each == 1 && groups > 1 && Depthwise::takes(window.kernel) {
            Form::Depthwise(Box::new(Depthwise::new(weights, groups, outputs / groups, &window)?))
        } else {
            let (own, size) = (outputs / groups, memory::size(&[taps, each])?);
            let k = order.k();
            // Taps outside, channels inside: as pixels lie in the image.
            let mut turned = memory::filled(0_i8, memory::size(&[own, k])?)?;
            let mut products = memory::with_capacity(groups)?;
            for group in 0..groups {
                let group = &weights[group * own * size..][..own * size];
                let rows = turned.chunks_exact_mut(k.max(1)).zip(group.chunks_exact(size.max(1)));
                for (to, from) in rows {
                    for (at, to) in to.iter_mut().enumerate() {
                        if let Some(([row, column], channel)) = order.place(at, columns, each) {
                            *to = from[channel * taps + row * columns + column];
                        }
                    }
                }
                let view = MatRef::from_slice(&turned, own, k)?;
                memory::push(&mut products, PackedI8::new(isa, view.transposed())?)?;
            }
            // Only where windows are read where they lie.
            let merged =
                if groups == 1 { Merged::new(isa, weights, shape, &window)? } else { None };
            Form::Products(products, merged.map(Box::new))
        };
        let sparse = if groups == 1 { Sparse::new(weights, outputs, &window)? } else { None };
        Ok(Self { window, inputs, outputs, taps: order, form, sparse })
    }

    /// Channels of the image.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Channels of the result.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes in memory.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let sparse = self.sparse.as_ref().map_or(0, Sparse::nbytes);
        let dense = match &self.form {
            Form::Products(products, merged) => {
                let merged = merged.as_ref().map(|merged| &merged.product);
                products.iter().chain(merged).map(PackedI8::nbytes).sum()
            }
            Form::Depthwise(weights) => weights.nbytes(),
        };
        sparse + dense
    }

    /// What runs it, for people to see.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.form {
            _ if self.sparse.is_some() && self.window.is_point() => "sparse conv 1x1 int8",
            _ if self.sparse.is_some() => "sparse conv int8",
            Form::Products(..) if self.window.is_point() => "conv 1x1 int8",
            Form::Products(..) => "conv int8",
            Form::Depthwise(_) => "depthwise int8",
        }
    }

    /// The same where results are codes.
    #[must_use]
    pub fn kind_to_codes(&self) -> &'static str {
        match &self.form {
            _ if self.sparse.is_some() && self.window.is_point() => "sparse conv 1x1 int8 to int8",
            _ if self.sparse.is_some() => "sparse conv int8 to int8",
            Form::Products(..) if self.window.is_point() => "conv 1x1 int8 to int8",
            Form::Products(..) => "conv int8 to int8",
            Form::Depthwise(_) => "depthwise int8 to int8",
        }
    }

    /// The shape of the result for images of a shape.
    pub fn output_shape(&self, image: [usize; 4]) -> Result<[usize; 4]> {
        let [batch, height, width, channels] = image;
        if channels != self.inputs {
            return Err(KernelError::Shape(format!(
                "images have {channels} channels; the weights take {}",
                self.inputs
            )));
        }
        let [rows, columns] = self.window.places([height, width])?;
        Ok([batch, rows, columns, self.outputs])
    }

    /// [`ConvI8::to_codes_with`] on the instruction set in force.
    pub fn to_codes<C: Code>(
        &self,
        x: CodeImages<'_>,
        output: Requantize<'_>,
        residual: Option<Residual<'_>>,
        out: &mut [C],
    ) -> Result<()> {
        self.to_codes_with(isa::active()?, x, output, residual, out)
    }

    /// Codes of `clamp(rint(f32(acc + bias) * multiplier + residual) + zero_point)`, in the shape of
    /// [`ConvI8::output_shape`], as the residual.
    pub fn to_codes_with<C: Code>(
        &self,
        isa: Isa,
        x: CodeImages<'_>,
        output: Requantize<'_>,
        residual: Option<Residual<'_>>,
        out: &mut [C],
    ) -> Result<()> {
        output.check::<C>(self.outputs)?;
        let shape = self.checked(&x, out.len())?;
        if let Some(residual) = &residual {
            residual.check(memory::size(&shape[..3])?, self.outputs)?;
            if residual.stride != self.outputs {
                let (found, due) = (residual.stride, self.outputs);
                return Err(KernelError::Shape(format!(
                    "rows of the residual are {found} codes apart, not {due}"
                )));
            }
        }
        self.run(isa, x, shape, &output::Codes { output, residual, of: PhantomData }, out)
    }

    /// [`ConvI8::to_floats_with`] on the instruction set in force.
    pub fn to_floats(
        &self,
        x: CodeImages<'_>,
        output: FloatOutput<'_>,
        out: &mut [f32],
    ) -> Result<()> {
        self.to_floats_with(isa::active()?, x, output, out)
    }

    /// float32 results of `activation(f32(acc) * scale + bias)`, in the shape of
    /// [`ConvI8::output_shape`].
    pub fn to_floats_with(
        &self,
        isa: Isa,
        x: CodeImages<'_>,
        output: FloatOutput<'_>,
        out: &mut [f32],
    ) -> Result<()> {
        let shape = self.checked(&x, out.len())?;
        output.check(memory::size(&shape[..3])?, self.outputs)?;
        if !output.row_scale.is_empty() {
            return Err(KernelError::Value("a convolution has no scales of rows".to_owned()));
        }
        self.run(isa, x, shape, &output, out)?;
        if output.activation.is_of_rows() {
            softmax_with(isa, out, self.outputs)?;
        }
        Ok(())
    }

    /// The shape of the result; an error where images or result do not have theirs.
    fn checked(&self, x: &CodeImages<'_>, out: usize) -> Result<[usize; 4]> {
        x.check()?;
        let shape = self.output_shape(x.shape)?;
        if memory::size(&shape)? != out {
            return Err(KernelError::Shape(format!(
                "out has {out} elements; it must have the shape {shape:?}"
            )));
        }
        Ok(shape)
    }

    fn run<T: Target>(
        &self,
        isa: Isa,
        x: CodeImages<'_>,
        shape: [usize; 4],
        target: &T,
        out: &mut [T::Element],
    ) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        match &self.sparse {
            Some(sparse) => sparse.run(self, isa, x, shape, target, out),
            None => self.dense(isa, x, shape, target, out),
        }
    }

    /// The same by all weights.
    fn dense<T: Target>(
        &self,
        isa: Isa,
        x: CodeImages<'_>,
        shape: [usize; 4],
        target: &T,
        out: &mut [T::Element],
    ) -> Result<()> {
        let (products, merged) = match &self.form {
            Form::Depthwise(weights) => {
                return weights.run(isa, x, &self.window, shape, target, out);
            }
            Form::Products(products, merged) => (products, merged),
        };
        if let Some(merged) = merged
            && shape[2].is_multiple_of(merged.places)
        {
            let Merged { places, window, taps, product } = &**merged;
            let columns = [shape[0], shape[1], shape[2] / places, shape[3]];
            if let Some(direct) = Direct::new(isa, product, *taps, x, window, columns) {
                return direct.side_by_side(*places).run(target, out);
            }
        }
        let [batch, height, width, channels] = x.shape;
        let (each, own) = (self.inputs / products.len(), self.outputs / products.len());
        let pixels = memory::size(&shape[..3])?;
        for (group, weights) in products.iter().enumerate() {
            let part = Part { isa, zero_point: x.zero_point, weights, stride: self.outputs };
            let columns = group * own..(group + 1) * own;
            let out = &mut out[columns.start..];
            if let [weights] = &products[..]
                && each > 0
                && let Some(direct) = Direct::new(isa, weights, self.taps, x, &self.window, shape)
            {
                return direct.run(target, out);
            }
            if self.window.is_point() && each > 0 {
                let rows = batch * height * width;
                let codes = &x.codes[group * each..];
                let (ptr, stride) = (codes.as_ptr(), channels as isize);
                // SAFETY: the pixels of the images, of which these channels are a part.
                let left: Int8<'_> = unsafe {
                    if x.signed {
                        MatRef::<i8>::from_raw(ptr.cast(), rows, each, stride, 1)?.into()
                    } else {
                        MatRef::<u8>::from_raw(ptr, rows, each, stride, 1)?.into()
                    }
                };
                target.product(part, left.into(), columns, out)?;
                continue;
            }
            let places = Places {
                codes: x.codes,
                image: x.shape,
                window: &self.window,
                taps: self.taps,
                shape: [shape[1], shape[2]],
                channels: (group * each, each),
                zero: x.zero_point as u8,
            };
            let left = LeftOperand::patches(&places, pixels, weights.k(), !x.signed);
            target.product(part, left, columns, out)?;
        }
        Ok(())
    }
}
