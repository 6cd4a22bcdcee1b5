//! One input, one output of the same shape, element by element.

use crate::dtype::DType;
use crate::error::{Result, dtype_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Emit};
use crate::memory::Element;
use crate::op::{Make, Op, Spec};
use crate::ops::scalar;
use crate::run::Io;
use crate::step::Step;

pub(super) const OPS: &[(&str, Make)] = &[
    ("Abs", make),
    ("Ceil", make),
    ("Clip", |_| Ok(Box::new(Clip))),
    ("Cos", make),
    ("Elu", make),
    ("Erf", make),
    ("Exp", make),
    ("Floor", make),
    ("Gelu", make),
    ("HardSigmoid", make),
    ("HardSwish", make),
    ("LeakyRelu", make),
    ("Log", make),
    ("Neg", make),
    ("Not", make),
    ("Reciprocal", make),
    ("Relu", make),
    ("Round", make),
    ("Selu", make),
    ("Sigmoid", make),
    ("Sign", make),
    ("Silu", make),
    ("Sin", make),
    ("Softplus", make),
    ("Softsign", make),
    ("Sqrt", make),
    ("Tanh", make),
];

fn make(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let a = &spec.attributes;
    let float = |f: fn(f32) -> f32| Function::Float(f);
    let function = match spec.op {
        "Abs" => Function::Either(f32::abs, i64::wrapping_abs),
        "Ceil" => float(f32::ceil),
        "Cos" => float(scalar::cos),
        "Elu" => Function::With(scalar::elu, a.float_or("alpha", 1.0)?, 0.0),
        "Erf" => float(scalar::erf),
        "Exp" => float(scalar::exp),
        "Floor" => float(f32::floor),
        "Gelu" if a.text_or("approximate", "none")? == "tanh" => float(scalar::gelu_tanh),
        "Gelu" => float(scalar::gelu),
        "HardSigmoid" => Function::With(
            scalar::hard_sigmoid,
            a.float_or("alpha", 0.2)?,
            a.float_or("beta", 0.5)?,
        ),
        "HardSwish" => float(scalar::hard_swish),
        "LeakyRelu" => Function::With(scalar::leaky_relu, a.float_or("alpha", 0.01)?, 0.0),
        "Log" => float(scalar::log),
        "Neg" => Function::Either(|x| -x, i64::wrapping_neg),
        "Not" => Function::Not,
        "Reciprocal" => float(|x| 1.0 / x),
        "Relu" => Function::Either(scalar::relu, |x| x.max(0)),
        "Round" => float(f32::round_ties_even),
        "Selu" => Function::With(
            scalar::selu,
            a.float_or("alpha", 1.673_263_2)?,
            a.float_or("gamma", 1.050_701)?,
        ),
        "Sigmoid" => float(scalar::sigmoid),
        "Sign" => Function::Either(scalar::sign, i64::signum),
        "Silu" => float(scalar::silu),
        "Sin" => float(scalar::sin),
        "Softplus" => float(scalar::softplus),
        "Softsign" => float(|x| x / (1.0 + x.abs())),
        "Sqrt" => float(f32::sqrt),
        _ => float(scalar::tanh),
    };
    Ok(Box::new(Unary { op: spec.op, function }))
}

/// What is done to an element.
#[derive(Clone, Copy)]
enum Function {
    Float(fn(f32) -> f32),
    /// With two parameters.
    With(fn(f32, f32, f32) -> f32, f32, f32),
    /// Floats, or integers by way of int64; they wrap in their own width.
    Either(fn(f32) -> f32, fn(i64) -> i64),
    /// Of bools.
    Not,
}

struct Unary {
    op: &'static str,
    function: Function,
}

impl Op for Unary {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        let takes = match self.function {
            Function::Float(_) | Function::With(..) => x.dtype == DType::F32,
            Function::Either(..) => x.dtype != DType::Bool,
            Function::Not => x.dtype == DType::Bool,
        };
        if !takes {
            return Err(dtype_error!("input 0 is {}, which it does not take", x.dtype));
        }
        Ok(vec![Fact::new(x.dtype, x.dims.clone())])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let fact = &cx.outputs[0];
        let step = Apply {
            name: self.op,
            function: self.function,
            dtype: fact.dtype,
            count: fact.count(),
        };
        elementwise(cx, Box::new(step))
    }
}

/// Adds a step that treats each element of input 0 alone, in whatever layout it is there.
pub(super) fn elementwise(cx: &mut Context<'_>, step: Box<dyn Step>) -> Result<()> {
    let layout = cx.layout(0);
    let inputs = vec![cx.input(0, layout)?];
    cx.emit(Emit { step, inputs, scratch: 0, in_place: Some(0), layouts: &[layout] })
}

struct Apply {
    name: &'static str,
    function: Function,
    dtype: DType,
    count: usize,
}

impl Step for Apply {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        match (self.function, self.dtype) {
            (Function::Float(f) | Function::Either(f, _), DType::F32) => {
                io.overwrite::<f32>()?.iter_mut().for_each(|x| *x = f(*x));
            }
            (Function::With(f, a, b), _) => {
                io.overwrite::<f32>()?.iter_mut().for_each(|x| *x = f(*x, a, b));
            }
            (Function::Either(_, f), DType::I64) => integers(io.overwrite()?, |x: i64| f(x)),
            (Function::Either(_, f), DType::I32) => {
                integers(io.overwrite()?, |x: i32| f(x.into()) as i32);
            }
            (Function::Either(_, f), DType::I8) => {
                integers(io.overwrite()?, |x: i8| f(x.into()) as i8);
            }
            (Function::Either(_, f), _) => integers(io.overwrite()?, |x: u8| f(x.into()) as u8),
            (Function::Float(_) | Function::Not, _) => {
                integers(io.overwrite()?, |x: u8| u8::from(x == 0));
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &str {
        self.name
    }

    fn work(&self) -> usize {
        self.count * 4
    }
}

fn integers<T: Element>(values: &mut [T], f: impl Fn(T) -> T) {
    for x in values.iter_mut() {
        *x = f(*x);
    }
}

/// `min(max(x, low), high)`, bounds optional.
struct Clip;

impl Op for Clip {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        if x.dtype == DType::Bool {
            return Err(dtype_error!("input 0 is bool, which it does not take"));
        }
        for index in 1..3 {
            if inputs.optional(index).is_some() {
                let bound = inputs.of(index, x.dtype)?;
                if bound.count() != 1 {
                    let dims = &bound.dims;
                    return Err(crate::error::shape_error!(
                        "input {index} has shape {dims:?}; it must be a scalar"
                    ));
                }
            }
        }
        Ok(vec![Fact::new(x.dtype, x.dims.clone())])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let layout = cx.layout(0);
        let mut inputs = vec![cx.input(0, layout)?];
        let mut bounds = [None, None];
        for (bound, index) in bounds.iter_mut().zip(1..3) {
            if cx.inputs.optional(index).is_some() {
                *bound = Some(inputs.len());
                inputs.push(cx.plain(index)?);
            }
        }
        let fact = &cx.outputs[0];
        let step = Box::new(ClipStep { bounds, dtype: fact.dtype, count: fact.count() });
        cx.emit(Emit { step, inputs, scratch: 0, in_place: Some(0), layouts: &[layout] })
    }
}

struct ClipStep {
    /// Which inputs of the step the bounds are.
    bounds: [Option<usize>; 2],
    dtype: DType,
    count: usize,
}

impl ClipStep {
    fn clip<T: Element + PartialOrd>(&self, io: &mut Io<'_>) -> Result<()> {
        let [low, high] = self.bounds.map(|index| index.map(|index| io.input::<T>(index)[0]));
        let values = io.overwrite::<T>()?;
        // Comparisons that NaN fails keep it.
        if let Some(low) = low {
            for x in values.iter_mut() {
                *x = if *x < low { low } else { *x };
            }
        }
        if let Some(high) = high {
            for x in values.iter_mut() {
                *x = if *x > high { high } else { *x };
            }
        }
        Ok(())
    }
}

impl Step for ClipStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        crate::dtype::with_type!(self.dtype, T => self.clip::<T>(io))
    }

    fn kernel(&self) -> &'static str {
        "clip"
    }

    fn work(&self) -> usize {
        self.count
    }
}
