//! Two or more inputs that are broadcast to one shape, element by element.

use std::cmp::Ordering;

use qcore_kernels::elementwise::{Binary as Kernel, Unary, binary_f32_with};

mod codes;
mod meeting;
mod number;
mod plain;
mod select;

use meeting::{Meeting, meet};
use plain::Meet;
use select::Where;

use crate::dtype::DType;
use crate::error::{Result, dtype_error, shape_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::Context;
use crate::op::{Make, Op, Spec};
use crate::ops::cast::CastStep;
use crate::ops::unary;
use crate::plan::Ref;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{MAX_RANK, broadcast, broadcast_strides, nbytes, product};
use crate::walk::Walk;

pub(super) const OPS: &[(&str, Make)] = &[
    ("Add", make),
    ("And", make),
    ("BitwiseAnd", make),
    ("BitwiseOr", make),
    ("BitwiseXor", make),
    ("Div", make),
    ("Equal", make),
    ("Greater", make),
    ("GreaterOrEqual", make),
    ("Less", make),
    ("LessOrEqual", make),
    ("Max", make),
    ("Mean", make),
    ("Min", make),
    ("Mod", make),
    ("Mul", make),
    ("Or", make),
    ("PRelu", make),
    ("Pow", make),
    ("Sub", make),
    ("Sum", make),
    ("Where", |_| Ok(Box::new(Where))),
    ("Xor", make),
];

fn make(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let function = match spec.op {
        "Add" | "Sum" | "Mean" => Function::Add,
        "And" => Function::And,
        "BitwiseAnd" => Function::Bits(|a, b| a & b),
        "BitwiseOr" => Function::Bits(|a, b| a | b),
        "BitwiseXor" => Function::Bits(|a, b| a ^ b),
        "Div" => Function::Div,
        "Equal" => Function::Compare(|order| order == Some(Ordering::Equal)),
        "Greater" => Function::Compare(|order| order == Some(Ordering::Greater)),
        "GreaterOrEqual" => {
            Function::Compare(|order| matches!(order, Some(Ordering::Greater | Ordering::Equal)))
        }
        "Less" => Function::Compare(|order| order == Some(Ordering::Less)),
        "LessOrEqual" => {
            Function::Compare(|order| matches!(order, Some(Ordering::Less | Ordering::Equal)))
        }
        "Max" => Function::Max,
        "Min" => Function::Min,
        "Mod" if spec.attributes.flag("fmod", false)? => Function::Remainder,
        "Mod" => Function::Modulo,
        "Mul" => Function::Mul,
        "Or" => Function::Or,
        "PRelu" => Function::PRelu,
        "Pow" => Function::Pow,
        "Sub" => Function::Sub,
        "Xor" => Function::Xor,
        op => return Err(value_error!("{op} is no function of two elements")),
    };
    Ok(Box::new(Binary { op: spec.op, function }))
}

/// What is done to two elements.
#[derive(Clone, Copy)]
enum Function {
    Add,
    And,
    Bits(fn(u64, u64) -> u64),
    Compare(fn(Option<Ordering>) -> bool),
    Div,
    Max,
    Min,
    Modulo,
    Mul,
    Or,
    PRelu,
    Pow,
    Remainder,
    Sub,
    Xor,
}

impl Function {
    /// Whether the result has the type of the operands and may take the place of one.
    fn keeps_type(self) -> bool {
        !matches!(self, Function::And | Function::Or | Function::Xor | Function::Compare(_))
    }

    /// The kernel for floats, if there is one.
    fn kernel(self) -> Option<Kernel> {
        Some(match self {
            Function::Add => Kernel::Add,
            Function::Div => Kernel::Div,
            Function::Max => Kernel::Max,
            Function::Min => Kernel::Min,
            Function::Mul => Kernel::Mul,
            Function::PRelu => Kernel::Prelu,
            Function::Pow => Kernel::Pow,
            Function::Sub => Kernel::Sub,
            _ => return None,
        })
    }
}

struct Binary {
    op: &'static str,
    function: Function,
}

impl Binary {
    /// Whether it takes any number of inputs.
    fn is_variadic(&self) -> bool {
        matches!(self.op, "Max" | "Mean" | "Min" | "Sum")
    }
}

impl Op for Binary {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let wanted = if self.is_variadic() { inputs.len().max(1) } else { 2 };
        if inputs.len() != wanted {
            return Err(shape_error!("it has {} inputs, not {wanted}", inputs.len()));
        }
        let dtype = inputs.get(0)?.dtype;
        let mut shapes = Vec::new();
        for index in 0..wanted {
            // An exponent may have a type of its own.
            let fact = match self.function {
                Function::Pow => inputs.get(index)?,
                _ => inputs.of(index, dtype)?,
            };
            shapes.push(&fact.dims[..]);
        }
        let (takes, result) = match self.function {
            Function::And | Function::Or | Function::Xor => (dtype == DType::Bool, DType::Bool),
            Function::Compare(_) => (true, DType::Bool),
            Function::Bits(_) => (!matches!(dtype, DType::Bool | DType::F32), dtype),
            Function::PRelu => (dtype == DType::F32, dtype),
            _ => (dtype != DType::Bool && (self.op != "Mean" || dtype == DType::F32), dtype),
        };
        if !takes {
            return Err(dtype_error!("its inputs are {dtype}, which it does not take"));
        }
        let dims = broadcast(&shapes)?;
        if matches!(self.function, Function::PRelu) && dims != shapes[0] {
            return Err(shape_error!("slope {:?} is larger than x {:?}", shapes[1], shapes[0]));
        }
        Ok(vec![Fact::new(result, dims)])
    }

    fn is_elementwise(&self) -> bool {
        self.function.keeps_type()
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        if codes::lower(cx, self.function)? {
            return Ok(());
        }
        let out = cx.outputs[0].clone();
        let (dtype, n) = (cx.inputs.get(0)?.dtype, cx.inputs.len());
        let operands: Vec<usize> = (0..n).collect();
        if let Function::Pow = self.function
            && let Some(function) = exponent_kernel(cx)?
        {
            return unary::float(cx, function);
        }
        let Meeting { layout, dims, mut refs, shapes } = meet(cx, &operands, &[], &out.dims)?;
        if n == 1 {
            // One operand is its own sum, mean, maximum and minimum.
            return cx.set(0, layout, refs[0]);
        }
        if let Function::Pow = self.function {
            refs[1] = exponent(cx, refs[1], dtype)?;
        }
        let len = nbytes(&out.dims, out.dtype)?;
        let (mut r, mut shape) = (refs[0], shapes[0].clone());
        for index in 1..n {
            let full = [shape == dims, shapes[index] == dims];
            let inputs = vec![r, refs[index]];
            // The dims of what is there so far; the last meets all of them.
            let to = broadcast(&[&shape, &shapes[index]])?;
            let bytes = if index + 1 == n { len } else { nbytes(&to, dtype)? };
            let divide = (self.op == "Mean" && index + 1 == n).then_some(n as f32);
            let kernel = self
                .function
                .kernel()
                .filter(|_| dtype == DType::F32 && divide.is_none() && to.len() <= MAX_RANK);
            let made = if let Some(kernel) = kernel {
                let (a, b, out) = (shape, shapes[index].clone(), to.clone());
                let step = Box::new(KernelStep { name: self.op, kernel, a, b, out });
                cx.emit_buffers(step, inputs, &[bytes], 0, None)?
            } else {
                let strides = [&shape, &shapes[index]].map(|own| broadcast_strides(own, &to));
                let walk = Walk::new(&to, [&strides[0][..], &strides[1][..]])?;
                let step = Meet { name: self.op, function: self.function, dtype, walk, divide };
                let in_place = match (self.function.keeps_type(), full) {
                    (true, [true, _]) => Some(0),
                    (true, [false, true]) => Some(1),
                    _ => None,
                };
                cx.emit_buffers(Box::new(step), inputs, &[bytes], 0, in_place)?
            };
            (r, shape) = (made[0], to);
        }
        cx.set(0, layout, r)
    }
}

/// The function of one element that a power by a known exponent is, if it is one.
fn exponent_kernel(cx: &Context<'_>) -> Result<Option<Unary>> {
    let (base, exponent) = (cx.inputs.get(0)?, cx.inputs.get(1)?);
    let Some(value) = exponent.value.as_ref().filter(|value| value.len() == 1) else {
        return Ok(None);
    };
    if base.dtype != DType::F32 || base.dims != cx.outputs[0].dims {
        return Ok(None);
    }
    let whole = value.to_ints()?;
    let is = |number: f32| match &whole {
        Some(values) => f64::from(number) == values[0] as f64,
        None => value.elements::<f32>()[0] == number,
    };
    let known = [(2.0, Unary::Square), (0.5, Unary::Sqrt)];
    Ok(known.into_iter().find(|line| is(line.0)).map(|line| line.1))
}

/// Floats by the kernel.
struct KernelStep {
    name: &'static str,
    kernel: Kernel,
    a: Vec<usize>,
    b: Vec<usize>,
    out: Vec<usize>,
}

impl Step for KernelStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let (a, b) = (io.input::<f32>(0), io.input::<f32>(1));
        let out = io.output::<f32>(0)?;
        binary_f32_with(io.isa, self.kernel, (a, &self.a), (b, &self.b), (out, &self.out))?;
        Ok(())
    }

    fn kernel(&self) -> &str {
        self.name
    }

    fn work(&self) -> usize {
        product(&self.out)
    }
}

/// An exponent in the type of the base, floats for integers excepted.
fn exponent(cx: &mut Context<'_>, r: Ref, base: DType) -> Result<Ref> {
    let fact = cx.inputs.get(1)?;
    if fact.dtype == base {
        return Ok(r);
    }
    let (from, count) = (fact.dtype, fact.count());
    let len = nbytes(&fact.dims, base)?;
    let step = Box::new(CastStep { from, to: base, count });
    Ok(cx.emit_buffers(step, vec![r], &[len], 0, None)?[0])
}
