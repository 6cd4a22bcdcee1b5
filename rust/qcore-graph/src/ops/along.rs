//! What goes along an axis from one end to the other: sums and products so far, and the largest few.

use std::cmp::Ordering;

use qcore_kernels::interrupt::Pace;

use crate::dtype::{DType, with_type};
use crate::error::{Result, dtype_error, shape_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Emit, Layout};
use crate::memory::Element;
use crate::op::{Make, Op, Spec};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{axis, product, work};

pub(super) const OPS: &[(&str, Make)] =
    &[("CumProd", cumulative), ("CumSum", cumulative), ("TopK", top)];

/// An axis between the axes around it.
#[derive(Clone, Copy)]
struct Line {
    outer: usize,
    n: usize,
    inner: usize,
}

impl Line {
    fn of(dims: &[usize], at: usize) -> Self {
        Self { outer: product(&dims[..at]), n: dims[at], inner: product(&dims[at + 1..]) }
    }

    /// Where each run along the axis starts, in a value with `n` elements along it.
    fn starts(self, n: usize) -> impl Iterator<Item = usize> {
        let Self { outer, inner, .. } = self;
        (0..outer).flat_map(move |outer| (0..inner).map(move |at| outer * n * inner + at))
    }
}

/// Each element is the sum, or product, of those before it and, unless exclusive, itself.
struct Cumulative {
    sum: bool,
    exclusive: bool,
    reverse: bool,
}

fn cumulative(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let a = &spec.attributes;
    Ok(Box::new(Cumulative {
        sum: spec.op == "CumSum",
        exclusive: a.flag("exclusive", false)?,
        reverse: a.flag("reverse", false)?,
    }))
}

/// The one number of an input that is known.
fn number(inputs: Inputs<'_>, index: usize) -> Result<i64> {
    match inputs.ints(index)?.as_deref() {
        Some(&[number]) => Ok(number),
        found => Err(value_error!("input {index} is {found:?}; it must be one number")),
    }
}

impl Op for Cumulative {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        if !matches!(x.dtype, DType::F32 | DType::I32 | DType::I64) {
            return Err(dtype_error!("input 0 is {}, which does not add up", x.dtype));
        }
        axis(number(inputs, 1)?, x.rank())?;
        Ok(vec![Fact::new(x.dtype, x.dims.clone())])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let x = cx.inputs.get(0)?.clone();
        let at = axis(number(cx.inputs, 1)?, x.rank())?;
        let Self { sum, exclusive, reverse } = *self;
        let line = Line::of(&x.dims, at);
        let step = CumulativeStep { dtype: x.dtype, sum, exclusive, reverse, line };
        let inputs = vec![cx.plain(0)?];
        cx.emit_plain(Box::new(step), inputs)
    }

    fn known_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

struct CumulativeStep {
    dtype: DType,
    sum: bool,
    exclusive: bool,
    reverse: bool,
    line: Line,
}

impl CumulativeStep {
    fn go<T: Element>(&self, io: &mut Io<'_>, start: T, add: impl Fn(T, T) -> T) -> Result<()> {
        let (x, out) = (io.input::<T>(0), io.output::<T>(0)?);
        let Line { n, inner, .. } = self.line;
        let mut pace = Pace::new();
        for first in self.line.starts(n) {
            pace.check(n)?;
            let mut total = start;
            for step in 0..n {
                let at = first + inner * if self.reverse { n - 1 - step } else { step };
                let next = add(total, x[at]);
                out[at] = if self.exclusive { total } else { next };
                total = next;
            }
        }
        Ok(())
    }
}

impl Step for CumulativeStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        match (self.dtype, self.sum) {
            (DType::F32, true) => self.go(io, 0.0_f32, |a, b| a + b),
            (DType::F32, false) => self.go(io, 1.0_f32, |a, b| a * b),
            (DType::I64, true) => self.go(io, 0, i64::wrapping_add),
            (DType::I64, false) => self.go(io, 1, i64::wrapping_mul),
            (_, true) => self.go(io, 0, i32::wrapping_add),
            (_, false) => self.go(io, 1, i32::wrapping_mul),
        }
    }

    fn kernel(&self) -> &'static str {
        "cumulative"
    }

    fn work(&self) -> usize {
        work(&[self.line.outer, self.line.n, self.line.inner])
    }
}

/// The largest, or smallest, elements of an axis and where they are; of equal ones the first.
struct Top {
    axis: i64,
    largest: bool,
}

fn top(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let a = &spec.attributes;
    Ok(Box::new(Top { axis: a.int_or("axis", -1)?, largest: a.flag("largest", true)? }))
}

impl Top {
    fn count(inputs: Inputs<'_>, dim: usize) -> Result<usize> {
        let count = number(inputs, 1)?;
        usize::try_from(count)
            .ok()
            .filter(|&count| count <= dim)
            .ok_or_else(|| shape_error!("{count} of {dim} elements are wanted"))
    }
}

impl Op for Top {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        let at = axis(self.axis, x.rank())?;
        let mut dims = x.dims.clone();
        dims[at] = Self::count(inputs, dims[at])?;
        Ok(vec![Fact::new(x.dtype, dims.clone()), Fact::new(DType::I64, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let x = cx.inputs.get(0)?.clone();
        let at = axis(self.axis, x.rank())?;
        let count = Self::count(cx.inputs, x.dims[at])?;
        let line = Line::of(&x.dims, at);
        let step = Box::new(TopStep { dtype: x.dtype, largest: self.largest, count, line });
        let scratch = line.n.saturating_mul(size_of::<i64>());
        let inputs = vec![cx.plain(0)?];
        let layouts = &[Layout::Plain; 2][..cx.outputs.len().min(2)];
        cx.emit(Emit { step, inputs, scratch, in_place: None, layouts })
    }

    fn known_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// An order in which NaN comes after all numbers.
trait Ordered: Element {
    fn order(self, other: Self) -> Ordering;
}

impl Ordered for f32 {
    fn order(self, other: Self) -> Ordering {
        let by_nan = || self.is_nan().cmp(&other.is_nan());
        self.partial_cmp(&other).unwrap_or_else(by_nan)
    }
}

macro_rules! ordered {
    ($($t:ty)*) => {$(
        impl Ordered for $t {
            fn order(self, other: Self) -> Ordering {
                self.cmp(&other)
            }
        }
    )*};
}
ordered!(i64 i32 u8 i8);

struct TopStep {
    dtype: DType,
    largest: bool,
    count: usize,
    line: Line,
}

impl TopStep {
    fn find<T: Ordered>(&self, io: &mut Io<'_>) -> Result<()> {
        let (x, values, places) = (io.input::<T>(0), io.output::<T>(0)?, io.output::<i64>(1)?);
        let room = io.scratch::<i64>()?;
        let Line { n, inner, .. } = self.line;
        if self.count == 0 {
            return Ok(());
        }
        let mut pace = Pace::new();
        for (first, to) in self.line.starts(n).zip(self.line.starts(self.count)) {
            pace.check(n.saturating_mul(8))?;
            let room = &mut room[..n];
            room.iter_mut().zip(0..).for_each(|(place, at)| *place = at);
            let better = |&a: &i64, &b: &i64| {
                let order = x[first + a as usize * inner].order(x[first + b as usize * inner]);
                (if self.largest { order.reverse() } else { order }).then(a.cmp(&b))
            };
            if self.count < n {
                room.select_nth_unstable_by(self.count - 1, better);
            }
            room[..self.count].sort_unstable_by(better);
            for (index, &place) in room[..self.count].iter().enumerate() {
                values[to + index * inner] = x[first + place as usize * inner];
                places[to + index * inner] = place;
            }
        }
        Ok(())
    }
}

impl Step for TopStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        with_type!(self.dtype, T => self.find::<T>(io))
    }

    fn kernel(&self) -> &'static str {
        "top k"
    }

    fn work(&self) -> usize {
        work(&[self.line.outer, self.line.n, self.line.inner, 8])
    }
}
