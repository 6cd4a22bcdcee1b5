//! Pools: the largest or the mean of a window, or of all of space; channels last.

mod codes;

pub(super) use codes::lower_mean;
use qcore_kernels::conv::{Pool as Kernel, Window, pool_f32_with};
use qcore_kernels::interrupt::Pace;

use crate::dtype::DType;
use crate::error::{Result, dtype_error, shape_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Emit, Layout};
use crate::op::{Make, Op, Spec};
use crate::ops::window::{Axis, WindowSpec, three, two, window};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{product, work};

pub(super) const OPS: &[(&str, Make)] = &[
    ("AveragePool", pool),
    ("GlobalAveragePool", |_| Ok(Box::new(Global { mean: true }))),
    ("GlobalMaxPool", |_| Ok(Box::new(Global { mean: false }))),
    ("MaxPool", pool),
];

struct Pool {
    window: WindowSpec,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Max { column_major: bool },
    Mean { with_padding: bool },
}

fn pool(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let a = &spec.attributes;
    let kind = if spec.op == "MaxPool" {
        Kind::Max { column_major: a.flag("storage_order", false)? }
    } else {
        Kind::Mean { with_padding: a.flag("count_include_pad", false)? }
    };
    Ok(Box::new(Pool { window: WindowSpec::read(*a)?, kind }))
}

impl Pool {
    fn axes(&self, inputs: Inputs<'_>) -> Result<Vec<Axis>> {
        let x = inputs.get(0)?;
        if x.rank() < 3 {
            return Err(shape_error!("x {:?} has no space", x.dims));
        }
        self.window.axes(&x.dims[2..], None)
    }
}

impl Op for Pool {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        let takes = match self.kind {
            Kind::Max { .. } => matches!(x.dtype, DType::F32 | DType::U8 | DType::I8),
            Kind::Mean { .. } => x.dtype == DType::F32,
        };
        if !takes {
            return Err(dtype_error!("x is {}, which it does not take", x.dtype));
        }
        let mut dims = x.dims[..2.min(x.rank())].to_vec();
        dims.extend(self.axes(inputs)?.iter().map(|axis| axis.output));
        let mut facts = vec![Fact::new(x.dtype, dims.clone())];
        if let Kind::Max { .. } = self.kind {
            facts.push(Fact::new(DType::I64, dims));
        }
        Ok(facts)
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let axes = self.axes(cx.inputs)?;
        let x = cx.inputs.get(0)?.clone();
        let indices = cx.output_values.get(1).copied().flatten().is_some();
        if !indices
            && let Some(axes) = two(&axes)
            && codes::lower(cx, self.kind, axes)?
        {
            return Ok(());
        }
        if x.dtype == DType::F32
            && !indices
            && let Some(axes) = two(&axes)
        {
            return lower_kernel(cx, self.kind, axes);
        }
        let axes = three(&axes)?;
        let channels = x.dims[1];
        let step = PoolStep { axes, channels, kind: self.kind, count: cx.outputs[0].count() };
        let inputs = vec![cx.last(0)?];
        if !indices {
            let len = cx.outputs[0].count() * x.dtype.size();
            let step: Box<dyn Step> = match x.dtype {
                DType::U8 => Box::new(Bytes(step, u8::max)),
                DType::I8 => Box::new(Bytes(step, |a, b| (a as i8).max(b as i8) as u8)),
                _ => Box::new(step),
            };
            let made = cx.emit_buffers(step, inputs, &[len], 0, None)?;
            cx.set(0, Layout::Last, made[0])?;
            return Ok(());
        }
        let Kind::Max { column_major } = self.kind else {
            return Err(value_error!("a mean has no indices"));
        };
        if x.dtype != DType::F32 {
            return Err(dtype_error!("indices are given of float32 only"));
        }
        let layouts = &[Layout::Last, Layout::Last];
        let step = Box::new(WithIndices { pool: step, column_major });
        cx.emit(Emit { step, inputs, scratch: 0, in_place: None, layouts })
    }
}

/// Adds the kernel's step, which makes output 0 alone.
fn lower_kernel(cx: &mut Context<'_>, kind: Kind, axes: [Axis; 2]) -> Result<()> {
    let dims = &cx.inputs.get(0)?.dims;
    let image = [dims[0], axes[0].input, axes[1].input, dims[1]];
    let kind = match kind {
        Kind::Max { .. } => Kernel::Max,
        Kind::Mean { with_padding } => Kernel::Average { padding: with_padding },
    };
    let count = cx.outputs[0].count();
    let places = axes.map(|axis| axis.output);
    let step = Box::new(KernelStep { kind, window: window(axes), image, places, count });
    let inputs = vec![cx.last(0)?];
    let made = cx.emit_buffers(step, inputs, &[count * size_of::<f32>()], 0, None)?;
    cx.set(0, Layout::Last, made[0])
}

/// A pool by the kernel.
struct KernelStep {
    kind: Kernel,
    window: Window,
    image: [usize; 4],
    places: [usize; 2],
    count: usize,
}

impl Step for KernelStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let (x, out) = (io.input::<f32>(0), io.output::<f32>(0)?);
        pool_f32_with(io.isa, self.kind, &self.window, x, self.image, self.places, out)?;
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        match self.kind {
            Kernel::Max => "max pool",
            Kernel::Average { .. } => "mean pool",
        }
    }

    fn work(&self) -> usize {
        work(&[self.count, self.window.kernel[0], self.window.kernel[1]])
    }
}

/// A pool by its definition: over three dims of space, or with indices.
struct PoolStep {
    axes: [Axis; 3],
    channels: usize,
    kind: Kind,
    count: usize,
}

impl PoolStep {
    /// Calls `window(index of the output pixel, its image, its place)`.
    fn for_pixels(&self, mut window: impl FnMut(usize, usize, [usize; 3])) {
        let [depth, height, width] = self.axes;
        let space = depth.output * height.output * width.output;
        let pixels = self.count.checked_div(self.channels).unwrap_or(0);
        let mut pace = Pace::new();
        for index in 0..pixels {
            if pace.stops(self.each().saturating_mul(self.channels)) {
                return;
            }
            let (n, at) = (index / space, index % space);
            let plane = height.output * width.output;
            window(index, n, [at / plane, at / width.output % height.output, at % width.output]);
        }
    }

    /// Calls `tap(index of the input pixel within its image)` for what a window covers.
    fn for_taps(&self, at: [usize; 3], mut tap: impl FnMut(usize)) {
        let [depth, height, width] = self.axes;
        for (_, z) in depth.taps(at[0]) {
            for (_, y) in height.taps(at[1]) {
                for (_, x) in width.taps(at[2]) {
                    tap((z * height.input + y) * width.input + x);
                }
            }
        }
    }

    /// Taps of a window that may lie in the input.
    fn each(&self) -> usize {
        work(&self.axes.map(|axis| axis.kernel.min(axis.input)))
    }

    fn image(&self) -> usize {
        self.axes.iter().map(|axis| axis.input).product::<usize>() * self.channels
    }
}

impl Step for PoolStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let x = io.input::<f32>(0);
        let out = io.output::<f32>(0)?;
        let c = self.channels;
        self.for_pixels(|index, n, at| {
            let image = &x[n * self.image()..][..self.image()];
            let out = &mut out[index * c..][..c];
            let mut covered = 0;
            match self.kind {
                Kind::Max { .. } => {
                    out.fill(f32::NEG_INFINITY);
                    self.for_taps(at, |tap| {
                        for (out, &x) in out.iter_mut().zip(&image[tap * c..][..c]) {
                            *out = if x > *out || x.is_nan() { x } else { *out };
                        }
                    });
                }
                Kind::Mean { with_padding } => {
                    out.fill(0.0);
                    self.for_taps(at, |tap| {
                        covered += 1;
                        out.iter_mut().zip(&image[tap * c..][..c]).for_each(|(out, x)| *out += x);
                    });
                    if with_padding {
                        let axes = self.axes.iter().zip(at);
                        covered = axes.fold(1_usize, |covered, (axis, at)| {
                            covered.saturating_mul(axis.taps_with_padding(at))
                        });
                    }
                    let divisor = covered.max(1) as f32;
                    for out in out.iter_mut() {
                        *out /= divisor;
                    }
                }
            }
        });
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        match self.kind {
            Kind::Max { .. } => "max pool",
            Kind::Mean { .. } => "mean pool",
        }
    }

    fn work(&self) -> usize {
        self.count.saturating_mul(self.each())
    }
}

/// The largest of bytes, by a rule of which is the larger.
struct Bytes(PoolStep, fn(u8, u8) -> u8);

impl Step for Bytes {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let x = io.input::<u8>(0);
        let out = io.output::<u8>(0)?;
        let Bytes(pool, larger) = self;
        let c = pool.channels;
        pool.for_pixels(|index, n, at| {
            let image = &x[n * pool.image()..][..pool.image()];
            let out = &mut out[index * c..][..c];
            let mut first = true;
            pool.for_taps(at, |tap| {
                let pixel = &image[tap * c..][..c];
                if first {
                    out.copy_from_slice(pixel);
                    first = false;
                } else {
                    out.iter_mut().zip(pixel).for_each(|(out, &x)| *out = larger(*out, x));
                }
            });
            if first {
                // Nothing but padding: the least of the type.
                out.fill(if larger(0, 128) == 128 { 0 } else { 128 });
            }
        });
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "max pool"
    }

    fn work(&self) -> usize {
        self.0.work()
    }
}

/// The largest and where they were, as indices into the whole input, row-major by N and C.
struct WithIndices {
    pool: PoolStep,
    column_major: bool,
}

impl Step for WithIndices {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let x = io.input::<f32>(0);
        let (out, indices) = (io.output::<f32>(0)?, io.output::<i64>(1)?);
        let pool = &self.pool;
        let c = pool.channels;
        let [depth, height, width] = pool.axes;
        let space = depth.input * height.input * width.input;
        pool.for_pixels(|index, n, at| {
            let image = &x[n * pool.image()..][..pool.image()];
            for channel in 0..c {
                let (mut best, mut found) = (f32::NEG_INFINITY, 0);
                pool.for_taps(at, |tap| {
                    let value = image[tap * c + channel];
                    if value > best {
                        (best, found) = (value, tap);
                    }
                });
                if self.column_major {
                    let (y, x) = (found / width.input % height.input, found % width.input);
                    let plane = found / (width.input * height.input);
                    found = (x * height.input + y) * depth.input + plane;
                }
                out[index * c + channel] = best;
                indices[index * c + channel] = ((n * c + channel) * space + found) as i64;
            }
        });
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "max pool with indices"
    }

    fn work(&self) -> usize {
        self.pool.work()
    }
}

/// Over all of space.
struct Global {
    mean: bool,
}

impl Op for Global {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.of(0, DType::F32)?;
        if x.rank() < 3 {
            return Err(shape_error!("x {:?} has no space", x.dims));
        }
        let mut dims = x.dims.clone();
        dims[2..].fill(1);
        Ok(vec![Fact::new(x.dtype, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let x = cx.inputs.get(0)?.clone();
        let space = product(&x.dims[2..]);
        let axis = Axis { input: space, kernel: space.max(1), ..Axis::ONE };
        let kind = if self.mean {
            Kind::Mean { with_padding: false }
        } else {
            Kind::Max { column_major: false }
        };
        if codes::lower(cx, kind, [Axis::ONE, axis])? {
            return Ok(());
        }
        lower_kernel(cx, kind, [Axis::ONE, axis])
    }
}
