//! Two or more inputs that are broadcast to one shape, element by element.

use std::cmp::Ordering;

use qcore_kernels::elementwise::{Binary as Kernel, Unary, binary_f32_with};

use crate::dtype::{DType, with_type};
use crate::error::{Result, dtype_error, shape_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Emit, Layout};
use crate::memory::Element;
use crate::op::{Make, Op, Spec};
use crate::ops::cast::CastStep;
use crate::ops::unary;
use crate::plan::Ref;
use crate::region::{Region, TransposeStep};
use crate::run::Io;
use crate::shape::{MAX_RANK, broadcast, broadcast_strides, expanded, nbytes, product};
use crate::step::Step;
use crate::walk::Walk;

pub(super) const OPS: &[(&str, Make)] = &[
    ("Add", make),
    ("And", make),
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
        _ => Function::Xor,
    };
    Ok(Box::new(Binary { op: spec.op, function }))
}

/// What is done to two elements.
#[derive(Clone, Copy)]
enum Function {
    Add,
    And,
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
        let mut shapes = Vec::with_capacity(wanted);
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

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let out = cx.outputs[0].clone();
        let (dtype, n) = (cx.inputs.get(0)?.dtype, cx.inputs.len());
        let operands: Vec<usize> = (0..n).collect();
        if let Function::Pow = self.function
            && let Some(function) = exponent_kernel(cx)?
        {
            return unary::float(cx, function);
        }
        let Meeting { layout, dims, mut refs, shapes } = meet(cx, &operands, &out.dims)?;
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
    let number = with_type!(value.dtype(), T => f64::from(value.elements::<T>()[0] as f32));
    Ok(match number {
        2.0 => Some(Unary::Square),
        0.5 => Some(Unary::Sqrt),
        _ => None,
    })
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

/// Operands as they meet in one layout.
pub(super) struct Meeting {
    pub(super) layout: Layout,
    /// The shape of the output in memory.
    pub(super) dims: Vec<usize>,
    pub(super) refs: Vec<Ref>,
    /// The shapes of the operands in memory, all of one rank.
    pub(super) shapes: Vec<Vec<usize>>,
}

/// Brings operands into the layout in which one of them is there already, all to the rank of the
/// output.
pub(super) fn meet(cx: &mut Context<'_>, operands: &[usize], out: &[usize]) -> Result<Meeting> {
    let rank = out.len();
    let mut layout = Layout::Plain;
    for &operand in operands {
        if cx.inputs.get(operand)?.rank() == rank && cx.is_last(operand) {
            layout = Layout::Last;
        }
    }
    let mut meeting =
        Meeting { layout, dims: layout.dims(out), refs: Vec::new(), shapes: Vec::new() };
    for &operand in operands {
        let fact = cx.inputs.get(operand)?.clone();
        let wide = expanded(&fact.dims, rank);
        meeting.shapes.push(layout.dims(&wide));
        let region = Region::transpose(&wide, &layout.order(rank));
        meeting.refs.push(if fact.rank() == rank {
            cx.input(operand, layout)?
        } else if region.is_straight() {
            cx.plain(operand)?
        } else if let Some(known) = &fact.value {
            let moved = region.apply(known, &wide)?;
            cx.constant(&moved)
        } else {
            let len = nbytes(&wide, fact.dtype)?;
            let size = fact.dtype.size();
            let step = TransposeStep::boxed(size, wide, layout.order(rank))?;
            let plain = cx.plain(operand)?;
            cx.emit_buffers(step, vec![plain], &[len], 0, None)?[0]
        });
    }
    Ok(meeting)
}

/// Numbers of any type; integers wrap, and what is divided by 0 is 0.
trait Number: Element + PartialOrd {
    fn sum(self, other: Self) -> Self;
    fn difference(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn over(self, other: Self) -> Self;
    fn power(self, other: Self) -> Self;
    fn remainder(self, other: Self) -> Self;
    fn modulo(self, other: Self) -> Self;
    fn larger(self, other: Self) -> Self;
    fn smaller(self, other: Self) -> Self;
    /// A share of a sum: of floats only.
    fn shared(self, by: f32) -> Self;
}

impl Number for f32 {
    fn sum(self, other: f32) -> f32 {
        self + other
    }
    fn difference(self, other: f32) -> f32 {
        self - other
    }
    fn times(self, other: f32) -> f32 {
        self * other
    }
    fn over(self, other: f32) -> f32 {
        self / other
    }
    fn power(self, other: f32) -> f32 {
        // The exponents that networks have, exactly rounded and fast.
        if other == 2.0 {
            self * self
        } else if other == 0.5 {
            self.sqrt()
        } else {
            f64::from(self).powf(f64::from(other)) as f32
        }
    }
    fn remainder(self, other: f32) -> f32 {
        self % other
    }
    fn modulo(self, other: f32) -> f32 {
        let rest = self % other;
        if rest != 0.0 && (rest < 0.0) != (other < 0.0) { rest + other } else { rest }
    }
    fn larger(self, other: f32) -> f32 {
        if self.is_nan() || self > other { self } else { other }
    }
    fn smaller(self, other: f32) -> f32 {
        if self.is_nan() || self < other { self } else { other }
    }
    fn shared(self, by: f32) -> f32 {
        self / by
    }
}

macro_rules! integer {
    ($($type:ty),+) => { $(
        impl Number for $type {
            fn sum(self, other: $type) -> $type {
                self.wrapping_add(other)
            }
            fn difference(self, other: $type) -> $type {
                self.wrapping_sub(other)
            }
            fn times(self, other: $type) -> $type {
                self.wrapping_mul(other)
            }
            fn over(self, other: $type) -> $type {
                if other == 0 { 0 } else { self.wrapping_div(other) }
            }
            #[allow(unused_comparisons, reason = "for the types that have a sign")]
            fn power(self, other: $type) -> $type {
                if other < 0 {
                    return match self {
                        1 => 1,
                        _ if self.wrapping_add(1) == 0 && other % 2 != 0 => self,
                        _ if self.wrapping_add(1) == 0 => 1,
                        _ => 0,
                    };
                }
                self.wrapping_pow(u32::try_from(other).unwrap_or(u32::MAX))
            }
            fn remainder(self, other: $type) -> $type {
                if other == 0 { 0 } else { self.wrapping_rem(other) }
            }
            #[allow(unused_comparisons, reason = "for the types that have a sign")]
            fn modulo(self, other: $type) -> $type {
                let rest = self.remainder(other);
                if rest != 0 && (rest < 0) != (other < 0) { rest.wrapping_add(other) } else { rest }
            }
            fn larger(self, other: $type) -> $type {
                self.max(other)
            }
            fn smaller(self, other: $type) -> $type {
                self.min(other)
            }
            fn shared(self, _: f32) -> $type {
                self
            }
        }
    )+ };
}
integer!(i64, i32, u8, i8);

struct Meet {
    name: &'static str,
    function: Function,
    dtype: DType,
    walk: Walk<2>,
    divide: Option<f32>,
}

impl Meet {
    fn apply<T: Number>(&self, io: &mut Io<'_>) -> Result<()> {
        match self.function {
            Function::Add => match self.divide {
                Some(by) => self.same(io, |a: T, b: T| a.sum(b).shared(by)),
                None => self.same(io, T::sum),
            },
            Function::Sub => self.same(io, T::difference),
            Function::Mul => self.same(io, T::times),
            Function::Div => self.same(io, T::over),
            Function::Max => self.same(io, T::larger),
            Function::Min => self.same(io, T::smaller),
            Function::Modulo => self.same(io, T::modulo),
            Function::Remainder => self.same(io, T::remainder),
            Function::Pow => self.same(io, T::power),
            Function::Compare(f) => self.rows(io, move |a: T, b: T| u8::from(f(a.partial_cmp(&b)))),
            Function::PRelu => {
                self.same(io, |x: T, slope: T| if x < T::default() { x.times(slope) } else { x })
            }
            Function::And | Function::Or | Function::Xor => {
                let f: fn(u8, u8) -> bool = match self.function {
                    Function::And => |a, b| a != 0 && b != 0,
                    Function::Or => |a, b| a != 0 || b != 0,
                    _ => |a, b| (a != 0) != (b != 0),
                };
                self.rows(io, move |a: u8, b: u8| u8::from(f(a, b)))
            }
        }
    }

    /// Output and inputs of one type: the output may lie in the place of an input.
    fn same<T: Element>(&self, io: &mut Io<'_>, f: impl Fn(T, T) -> T + Copy) -> Result<()> {
        let Some(placed) = io.in_place() else { return self.rows(io, f) };
        let other = io.input::<T>(1 - placed);
        let out = io.output::<T>(0)?;
        self.walk.for_rows(|start, n, at, steps| {
            let out = &mut out[start..start + n];
            let (at, step) = (at[1 - placed], steps[1 - placed]);
            match (placed, step) {
                (0, 1) => {
                    out.iter_mut().zip(&other[at..at + n]).for_each(|(x, &y)| *x = f(*x, y));
                }
                (_, 1) => {
                    out.iter_mut().zip(&other[at..at + n]).for_each(|(y, &x)| *y = f(x, *y));
                }
                (0, step) => {
                    let mut at = at;
                    for x in out {
                        *x = f(*x, other[at]);
                        at += step;
                    }
                }
                (_, step) => {
                    let mut at = at;
                    for y in out {
                        *y = f(other[at], *y);
                        at += step;
                    }
                }
            }
        });
        Ok(())
    }

    fn rows<A: Element, R: Element>(
        &self,
        io: &mut Io<'_>,
        f: impl Fn(A, A) -> R + Copy,
    ) -> Result<()> {
        let out = io.output::<R>(0)?;
        let (a, b) = (io.input::<A>(0), io.input::<A>(1));
        self.walk.for_rows(|start, n, at, steps| {
            let out = &mut out[start..start + n];
            match steps {
                [1, 1] => {
                    let pairs = a[at[0]..at[0] + n].iter().zip(&b[at[1]..at[1] + n]);
                    out.iter_mut().zip(pairs).for_each(|(out, (&x, &y))| *out = f(x, y));
                }
                [1, 0] => {
                    let y = b[at[1]];
                    let row = &a[at[0]..at[0] + n];
                    out.iter_mut().zip(row).for_each(|(out, &x)| *out = f(x, y));
                }
                [0, 1] => {
                    let x = a[at[0]];
                    let row = &b[at[1]..at[1] + n];
                    out.iter_mut().zip(row).for_each(|(out, &y)| *out = f(x, y));
                }
                _ => {
                    let [mut i, mut j] = at;
                    for out in out {
                        *out = f(a[i], b[j]);
                        i += steps[0];
                        j += steps[1];
                    }
                }
            }
        });
        Ok(())
    }
}

impl Step for Meet {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        with_type!(self.dtype, T => self.apply::<T>(io))
    }

    fn kernel(&self) -> &str {
        self.name
    }

    fn work(&self) -> usize {
        self.walk.count()
    }
}

/// `condition ? a : b`.
struct Where;

impl Op for Where {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let condition = inputs.of(0, DType::Bool)?;
        let a = inputs.get(1)?;
        let b = inputs.of(2, a.dtype)?;
        let dims = broadcast(&[&condition.dims, &a.dims, &b.dims])?;
        Ok(vec![Fact::new(a.dtype, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let out = cx.outputs[0].clone();
        let Meeting { layout, dims, refs, shapes } = meet(cx, &[0, 1, 2], &out.dims)?;
        let strides = [0, 1, 2].map(|at: usize| broadcast_strides(&shapes[at], &dims));
        let walk = Walk::new(&dims, [&strides[0][..], &strides[1][..], &strides[2][..]])?;
        let step = Box::new(Choose { dtype: out.dtype, walk });
        cx.emit(Emit { step, inputs: refs, scratch: 0, in_place: None, layouts: &[layout] })
    }
}

struct Choose {
    dtype: DType,
    walk: Walk<3>,
}

impl Choose {
    fn choose<T: Element>(&self, io: &mut Io<'_>) -> Result<()> {
        let condition = io.input::<u8>(0);
        let (a, b) = (io.input::<T>(1), io.input::<T>(2));
        let out = io.output::<T>(0)?;
        self.walk.for_rows(|start, n, [mut c, mut i, mut j], steps| {
            for out in &mut out[start..start + n] {
                *out = if condition[c] != 0 { a[i] } else { b[j] };
                c += steps[0];
                i += steps[1];
                j += steps[2];
            }
        });
        Ok(())
    }
}

impl Step for Choose {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        with_type!(self.dtype, T => self.choose::<T>(io))
    }

    fn kernel(&self) -> &'static str {
        "where"
    }

    fn work(&self) -> usize {
        self.walk.count()
    }
}
