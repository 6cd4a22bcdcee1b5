//! Reductions along axes.

use qcore_kernels::interrupt::Pace;
use qcore_kernels::reduce::{Reduction, reduce_f32_with};

use crate::dtype::DType;
use crate::error::{Result, dtype_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Emit, Layout};
use crate::memory::Element;
use crate::op::{Make, Op, Spec};
use crate::ops::pool;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{MAX_RANK, axes, product, strides};
use crate::walk::Walk;

pub(super) const OPS: &[(&str, Make)] = &[
    ("ReduceL1", reduce),
    ("ReduceL2", reduce),
    ("ReduceLogSum", reduce),
    ("ReduceLogSumExp", reduce),
    ("ReduceMax", reduce),
    ("ReduceMean", reduce),
    ("ReduceMin", reduce),
    ("ReduceProd", reduce),
    ("ReduceSum", reduce),
    ("ReduceSumSquare", reduce),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    L1,
    L2,
    LogSum,
    LogSumExp,
    Max,
    Mean,
    Min,
    Prod,
    Sum,
    SumSquare,
}

impl Kind {
    /// The kernel for floats, if there is one.
    fn kernel(self) -> Option<Reduction> {
        Some(match self {
            Kind::L1 => Reduction::L1,
            Kind::L2 => Reduction::L2,
            Kind::Max => Reduction::Max,
            Kind::Mean => Reduction::Mean,
            Kind::Min => Reduction::Min,
            Kind::Prod => Reduction::Prod,
            Kind::Sum => Reduction::Sum,
            Kind::SumSquare => Reduction::SumSquare,
            Kind::LogSum | Kind::LogSumExp => return None,
        })
    }
}

struct Reduce {
    name: &'static str,
    kind: Kind,
    keep: bool,
    /// Without axes: nothing is reduced, or everything.
    none_is_none: bool,
}

fn reduce(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let kind = match spec.op {
        "ReduceL1" => Kind::L1,
        "ReduceL2" => Kind::L2,
        "ReduceLogSum" => Kind::LogSum,
        "ReduceLogSumExp" => Kind::LogSumExp,
        "ReduceMax" => Kind::Max,
        "ReduceMean" => Kind::Mean,
        "ReduceMin" => Kind::Min,
        "ReduceProd" => Kind::Prod,
        "ReduceSum" => Kind::Sum,
        _ => Kind::SumSquare,
    };
    Ok(Box::new(Reduce {
        name: spec.op,
        kind,
        keep: spec.attributes.flag("keepdims", true)?,
        none_is_none: spec.attributes.flag("noop_with_empty_axes", false)?,
    }))
}

/// A shape without some axes, or with ones in their place.
pub(super) fn reduced(dims: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let part = |(axis, &dim): (usize, &usize)| match (axes.contains(&axis), keep) {
        (false, _) => Some(dim),
        (true, true) => Some(1),
        (true, false) => None,
    };
    dims.iter().enumerate().filter_map(part).collect()
}

impl Reduce {
    fn axes(&self, inputs: Inputs<'_>) -> Result<Vec<usize>> {
        let rank = inputs.get(0)?.rank();
        match inputs.ints(1)? {
            Some(found) if !found.is_empty() => axes(&found, rank),
            _ if self.none_is_none => Ok(Vec::new()),
            _ => Ok((0..rank).collect()),
        }
    }
}

/// Adds the mean of codes over axes that lie side by side; false where it is not that.
fn lower_codes(cx: &mut Context<'_>, layout: Layout, axes: &[usize], to: Layout) -> Result<bool> {
    let x = cx.inputs.get(0)?;
    let (dims, order) = (layout.dims(&x.dims), layout.order(x.rank()));
    let mut places = (0..x.rank()).filter(|&place| axes.contains(&order[place]));
    let Some(first) = places.next() else { return Ok(false) };
    let end = first + axes.len();
    if !(first + 1..end).eq(places) {
        return Ok(false);
    }
    let parts = [product(&dims[..first]), product(&dims[first..end]), product(&dims[end..])];
    pool::lower_mean(cx, parts, [layout, to])
}

impl Op for Reduce {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        let takes = match self.kind {
            Kind::Max | Kind::Min => true,
            _ => matches!(x.dtype, DType::F32 | DType::I32 | DType::I64),
        };
        if !takes {
            return Err(dtype_error!("input 0 is {}, which it does not take", x.dtype));
        }
        Ok(vec![Fact::new(x.dtype, reduced(&x.dims, &self.axes(inputs)?, self.keep))])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let x = cx.inputs.get(0)?.clone();
        let axes = self.axes(cx.inputs)?;
        let rank = x.rank();
        // Dims that stay stay in their order where the layout is kept or has no say.
        let rest: Vec<usize> = (0..rank).filter(|axis| !axes.contains(axis)).collect();
        let follows = |layout: Layout| {
            self.keep || layout.order(rank).iter().filter(|a| rest.contains(a)).eq(rest.iter())
        };
        let layout = if follows(cx.layout(0)) { cx.layout(0) } else { Layout::Plain };
        let dims = layout.dims(&x.dims);
        let order = layout.order(rank);
        let to = if self.keep { layout } else { Layout::Plain };
        if self.kind == Kind::Mean && lower_codes(cx, layout, &axes, to)? {
            return Ok(());
        }
        if x.dtype == DType::F32
            && rank <= MAX_RANK
            && let Some(kind) = self.kind.kernel()
        {
            let axes = (0..rank).filter(|&place| axes.contains(&order[place])).collect();
            let step = Box::new(KernelStep { name: self.name, kind, dims, axes });
            let inputs = vec![cx.input(0, layout)?];
            return cx.emit(Emit { step, inputs, scratch: 0, in_place: None, layouts: &[to] });
        }
        let own = strides(&dims);
        let split = |inside: bool| -> (Vec<usize>, Vec<usize>) {
            let places = (0..rank).filter(|&place| axes.contains(&order[place]) == inside);
            places.map(|place| (dims[place], own[place])).unzip()
        };
        let ((out_dims, out_strides), (in_dims, in_strides)) = (split(false), split(true));
        let step = Box::new(ReduceStep {
            name: self.name,
            kind: self.kind,
            dtype: x.dtype,
            outer: Walk::new(&out_dims, [&out_strides[..]])?,
            inner: Walk::new(&in_dims, [&in_strides[..]])?,
        });
        let inputs = vec![cx.input(0, layout)?];
        cx.emit(Emit { step, inputs, scratch: 0, in_place: None, layouts: &[to] })
    }

    fn known_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// A reduction by the kernel.
struct KernelStep {
    name: &'static str,
    kind: Reduction,
    dims: Vec<usize>,
    axes: Vec<usize>,
}

impl Step for KernelStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let (x, out) = (io.input::<f32>(0), io.output::<f32>(0)?);
        reduce_f32_with(io.isa, self.kind, x, &self.dims, &self.axes, out)?;
        Ok(())
    }

    fn kernel(&self) -> &str {
        self.name
    }

    fn work(&self) -> usize {
        product(&self.dims)
    }
}

/// A reduction by its definition: of integers, and of logarithms.
struct ReduceStep {
    name: &'static str,
    kind: Kind,
    dtype: DType,
    outer: Walk<1>,
    inner: Walk<1>,
}

impl ReduceStep {
    /// `out = end(fold(start, elements))` for each element of the output.
    fn fold<T: Element, A: Copy>(
        &self,
        io: &mut Io<'_>,
        start: A,
        fold: impl Fn(A, T) -> A + Copy,
        end: impl Fn(A) -> T,
    ) -> Result<()> {
        let x = io.input::<T>(0);
        let out = io.output::<T>(0)?;
        let mut pace = Pace::new();
        self.outer.for_rows(|first, n, [base], [step]| {
            for (index, out) in out[first..first + n].iter_mut().enumerate() {
                if pace.stops(self.inner.count()) {
                    return;
                }
                let mut sum = start;
                let base = base + index * step;
                self.inner.for_rows(|_, n, [at], [step]| {
                    let at = base + at;
                    if step == 1 {
                        sum = x[at..at + n].iter().fold(sum, |sum, &x| fold(sum, x));
                    } else {
                        for index in 0..n {
                            sum = fold(sum, x[at + index * step]);
                        }
                    }
                });
                *out = end(sum);
            }
        });
        Ok(())
    }

    /// Logarithms of sums; what kernels have only where there are more dims than they take.
    fn floats(&self, io: &mut Io<'_>) -> Result<()> {
        let n = self.inner.count() as f64;
        let wide = f64::from;
        let add = |sum: f64, x: f32| sum + wide(x);
        let square = |sum: f64, x: f32| sum + wide(x) * wide(x);
        match self.kind {
            Kind::L1 => self.fold(io, 0.0, |s: f64, x: f32| s + wide(x).abs(), |s| s as f32),
            Kind::L2 => self.fold(io, 0.0, square, |s| s.sqrt() as f32),
            Kind::LogSum => self.fold(io, 0.0, add, |s| s.ln() as f32),
            Kind::LogSumExp => self.fold(
                io,
                (f64::NEG_INFINITY, 0.0),
                |(largest, sum): (f64, f64), x: f32| {
                    let x = wide(x);
                    if x == f64::NEG_INFINITY {
                        (largest, sum)
                    } else if x > largest {
                        (x, sum * (largest - x).exp() + 1.0)
                    } else {
                        (largest, sum + (x - largest).exp())
                    }
                },
                |(largest, sum)| {
                    if sum == 0.0 { f32::NEG_INFINITY } else { (largest + sum.ln()) as f32 }
                },
            ),
            Kind::Max => self.fold(
                io,
                f32::NEG_INFINITY,
                |s: f32, x: f32| if x > s || x.is_nan() { x } else { s },
                |s| s,
            ),
            Kind::Min => self.fold(
                io,
                f32::INFINITY,
                |s: f32, x: f32| if x < s || x.is_nan() { x } else { s },
                |s| s,
            ),
            Kind::Mean => self.fold(io, 0.0, add, |s| (s / n) as f32),
            Kind::Prod => self.fold(io, 1.0, |s: f64, x: f32| s * wide(x), |s| s as f32),
            Kind::Sum => self.fold(io, 0.0, add, |s| s as f32),
            Kind::SumSquare => self.fold(io, 0.0, square, |s| s as f32),
        }
    }

    fn integers<T: Element + Ord>(
        &self,
        io: &mut Io<'_>,
        (least, greatest): (T, T),
        wide: impl Fn(T) -> i64 + Copy,
        narrow: impl Fn(i64) -> T,
    ) -> Result<()> {
        let n = self.inner.count() as i64;
        let float = |f: fn(f64) -> f64| move |s: i64| f(s as f64) as i64;
        match self.kind {
            Kind::Max => self.fold(io, least, |s: T, x: T| s.max(x), |s| s),
            Kind::Min => self.fold(io, greatest, |s: T, x: T| s.min(x), |s| s),
            Kind::L1 => {
                self.fold(io, 0, |s: i64, x: T| s.wrapping_add(wide(x).wrapping_abs()), narrow)
            }
            Kind::Prod => self.fold(io, 1, |s: i64, x: T| s.wrapping_mul(wide(x)), narrow),
            Kind::Sum => self.fold(io, 0, |s: i64, x: T| s.wrapping_add(wide(x)), narrow),
            Kind::Mean => self.fold(
                io,
                0,
                |s: i64, x: T| s.wrapping_add(wide(x)),
                |s| narrow(s.checked_div(n).unwrap_or(0)),
            ),
            Kind::SumSquare | Kind::L2 => {
                let root = self.kind == Kind::L2;
                self.fold(
                    io,
                    0,
                    |s: i64, x: T| s.wrapping_add(wide(x).wrapping_mul(wide(x))),
                    |s| narrow(if root { float(f64::sqrt)(s) } else { s }),
                )
            }
            Kind::LogSum => self.fold(
                io,
                0,
                |s: i64, x: T| s.wrapping_add(wide(x)),
                |s| narrow(float(f64::ln)(s)),
            ),
            Kind::LogSumExp => self.fold(
                io,
                0.0,
                |s: f64, x: T| s + (wide(x) as f64).exp(),
                |s| narrow(s.ln() as i64),
            ),
        }
    }
}

impl Step for ReduceStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        match self.dtype {
            DType::F32 => self.floats(io),
            DType::I64 => self.integers(io, (i64::MIN, i64::MAX), |x| x, |x| x),
            DType::I32 => self.integers(io, (i32::MIN, i32::MAX), i64::from, |x| x as i32),
            DType::I8 => self.integers(io, (i8::MIN, i8::MAX), i64::from, |x| x as i8),
            DType::Bool => self.integers(io, (0_u8, 1), i64::from, |x| x as u8),
            DType::U8 => self.integers(io, (u8::MIN, u8::MAX), i64::from, |x| x as u8),
        }
    }

    fn kernel(&self) -> &str {
        self.name
    }

    fn work(&self) -> usize {
        self.outer.count().saturating_mul(self.inner.count())
    }
}
