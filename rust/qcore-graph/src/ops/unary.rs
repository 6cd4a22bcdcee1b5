//! One input, one output of the same shape, element by element.

use qcore_kernels::elementwise::{Unary, unary_in_place_with, unary_with};
use qcore_kernels::interrupt;

use crate::dtype::DType;
use crate::error::{Result, dtype_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Emit};
use crate::memory::{self, Element};
use crate::op::{Make, Op, Spec};
use crate::ops::scalar;
use crate::plan::run::Io;
use crate::plan::step::Step;

pub(super) const OPS: &[(&str, Make)] = &[
    ("Abs", make),
    ("Acos", make),
    ("Acosh", make),
    ("Asin", make),
    ("Asinh", make),
    ("Atan", make),
    ("Atanh", make),
    ("Ceil", make),
    ("Clip", |_| Ok(Box::new(Clip))),
    ("Cos", make),
    ("Cosh", make),
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
    ("Sinh", make),
    ("Softplus", make),
    ("Softsign", make),
    ("Sqrt", make),
    ("Tan", make),
    ("Tanh", make),
];

fn make(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let a = &spec.attributes;
    let float = |f: fn(f32) -> f32| Function::Float(f);
    let function = match spec.op {
        "Abs" => Function::Either(Unary::Abs, i64::wrapping_abs),
        "Acos" => float(scalar::acos),
        "Acosh" => float(scalar::acosh),
        "Asin" => float(scalar::asin),
        "Asinh" => float(scalar::asinh),
        "Atan" => float(scalar::atan),
        "Atanh" => float(scalar::atanh),
        "Cosh" => float(scalar::cosh),
        "Sinh" => float(scalar::sinh),
        "Tan" => float(scalar::tan),
        "Ceil" => Function::Kernel(Unary::Ceil),
        "Cos" => float(scalar::cos),
        "Elu" => Function::Kernel(Unary::Elu { scale: a.float_or("alpha", 1.0)? }),
        "Erf" => Function::Kernel(Unary::Erf),
        "Exp" => Function::Kernel(Unary::Exp),
        "Floor" => Function::Kernel(Unary::Floor),
        "Gelu" => Function::Kernel(match a.text_or("approximate", "none")? {
            "none" => Unary::Gelu,
            "tanh" => Unary::GeluTanh,
            found => return Err(value_error!("approximate is '{found}'; not 'none' or 'tanh'")),
        }),
        "HardSigmoid" => Function::Kernel(Unary::HardSigmoid {
            slope: a.float_or("alpha", 0.2)?,
            offset: a.float_or("beta", 0.5)?,
        }),
        "HardSwish" => Function::Kernel(Unary::HardSwish),
        "LeakyRelu" => Function::Kernel(Unary::LeakyRelu { slope: a.float_or("alpha", 0.01)? }),
        "Log" => Function::Kernel(Unary::Log),
        "Neg" => Function::Either(Unary::Neg, i64::wrapping_neg),
        "Not" => Function::Not,
        "Reciprocal" => Function::Kernel(Unary::Reciprocal),
        "Relu" => Function::Either(Unary::Relu, |x| x.max(0)),
        "Round" => Function::Kernel(Unary::Round),
        "Selu" => {
            let (alpha, gamma) =
                (a.float_or("alpha", 1.673_263_2)?, a.float_or("gamma", 1.050_701)?);
            Function::Selu(alpha, gamma)
        }
        "Sigmoid" => Function::Kernel(Unary::Sigmoid),
        "Sign" => Function::Either(Unary::Sign, i64::signum),
        "Silu" => Function::Kernel(Unary::Silu),
        "Sin" => float(scalar::sin),
        "Softplus" => Function::Kernel(Unary::Softplus),
        "Softsign" => float(|x| x / (1.0 + x.abs())),
        "Sqrt" => Function::Kernel(Unary::Sqrt),
        "Tanh" => Function::Kernel(Unary::Tanh),
        op => return Err(value_error!("{op} is no function of one element")),
    };
    Ok(Box::new(Elementwise { op: spec.op, function }))
}

/// What is done to an element.
#[derive(Clone, Copy)]
enum Function {
    Kernel(Unary),
    Float(fn(f32) -> f32),
    /// Of floats, or of integers by way of int64; they wrap in their own width.
    Either(Unary, fn(i64) -> i64),
    /// `gamma * elu(x)`.
    Selu(f32, f32),
    /// Of bools.
    Not,
}

struct Elementwise {
    op: &'static str,
    function: Function,
}

impl Op for Elementwise {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        let takes = match self.function {
            Function::Kernel(_) | Function::Float(_) | Function::Selu(..) => x.dtype == DType::F32,
            Function::Either(..) => x.dtype != DType::Bool,
            Function::Not => x.dtype == DType::Bool,
        };
        if !takes {
            return Err(dtype_error!("input 0 is {}, which it does not take", x.dtype));
        }
        Ok(vec![Fact::new(x.dtype, x.dims.clone())])
    }

    fn is_elementwise(&self) -> bool {
        true
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let fact = &cx.outputs[0];
        let (dtype, count) = (fact.dtype, fact.count());
        let step = Apply { name: self.op, function: self.function, dtype, count };
        elementwise(cx, Box::new(step))
    }
}

/// Adds a float function of input 0.
pub(super) fn float(cx: &mut Context<'_>, function: Unary) -> Result<()> {
    let count = cx.outputs[0].count();
    let function = Function::Kernel(function);
    elementwise(cx, Box::new(Apply { name: "power", function, dtype: DType::F32, count }))
}

/// Adds a step that treats each element of input 0 alone, in whatever layout it is there.
fn elementwise(cx: &mut Context<'_>, step: Box<dyn Step>) -> Result<()> {
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
            (Function::Kernel(function) | Function::Either(function, _), DType::F32) => {
                kernel(function, io)?;
            }
            (Function::Float(f), _) => {
                map(io.overwrite::<f32>()?, f)?;
            }
            (Function::Selu(alpha, gamma), _) => {
                let out = io.overwrite::<f32>()?;
                unary_in_place_with(io.isa, Unary::Elu { scale: alpha }, out);
                map(out, |x| x * gamma)?;
            }
            (Function::Either(_, f), DType::I64) => map(io.overwrite()?, |x: i64| f(x))?,
            (Function::Either(_, f), DType::I32) => {
                map(io.overwrite()?, |x: i32| f(x.into()) as i32)?;
            }
            (Function::Either(_, f), DType::I8) => {
                map(io.overwrite()?, |x: i8| f(x.into()) as i8)?;
            }
            (Function::Either(_, f), _) => map(io.overwrite()?, |x: u8| f(x.into()) as u8)?,
            (Function::Kernel(_) | Function::Not, _) => {
                map(io.overwrite()?, |x: u8| u8::from(x == 0))?;
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &str {
        self.name
    }

    fn work(&self) -> usize {
        self.count.saturating_mul(4)
    }
}

/// A float kernel, in place or not.
fn kernel(function: Unary, io: &mut Io<'_>) -> Result<()> {
    if io.in_place().is_some() {
        unary_in_place_with(io.isa, function, io.overwrite()?);
        return Ok(());
    }
    let x = io.input::<f32>(0);
    unary_with(io.isa, function, x, io.output(0)?)?;
    Ok(())
}

/// Each value by itself.
fn map<T: Element>(values: &mut [T], f: impl Fn(T) -> T) -> Result<()> {
    for part in values.chunks_mut(memory::AT_ONCE) {
        interrupt::check()?;
        for x in part {
            *x = f(*x);
        }
    }
    Ok(())
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

    fn is_elementwise(&self) -> bool {
        true
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
    fn bounds<T: Element>(&self, io: &Io<'_>) -> [Option<T>; 2] {
        self.bounds.map(|index| index.map(|index| io.input::<T>(index)[0]))
    }

    fn clip<T: Element + PartialOrd>(&self, io: &mut Io<'_>) -> Result<()> {
        let [low, high] = self.bounds::<T>(io);
        let values = io.overwrite::<T>()?;
        // Comparisons that NaN fails keep it.
        if let Some(low) = low {
            map(values, |x| if x < low { low } else { x })?;
        }
        if let Some(high) = high {
            map(values, |x| if x > high { high } else { x })?;
        }
        Ok(())
    }
}

impl Step for ClipStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        if self.dtype == DType::F32 {
            let [low, high] = self.bounds::<f32>(io);
            let (low, high) = (low.unwrap_or(f32::NEG_INFINITY), high.unwrap_or(f32::INFINITY));
            return kernel(Unary::Clip { low, high }, io);
        }
        crate::dtype::with_type!(self.dtype, T => self.clip::<T>(io))
    }

    fn kernel(&self) -> &'static str {
        "clip"
    }

    fn work(&self) -> usize {
        self.count
    }
}
