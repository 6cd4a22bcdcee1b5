//! Floats to codes: `saturate(rint(x / scale) + zero_point)`.
//!
//! What counts is the result of division. Multiplying by the reciprocal is several times faster and
//! differs only next to ties. So values are multiplied by two reciprocals, one below the true one and
//! one above it, between whose products the quotient lies: where both round to the same code, so does
//! the quotient. Blocks of four vectors in which anything is out of the ordinary are divided: next to
//! a tie, beyond the codes' range, not a number.

use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::isa::{self, Isa};
use crate::quant::code::Code;
use crate::quant::element::Element;
use crate::quant::layout::{Params, Run};
use crate::quant::split::map_parts;
use crate::simd::{Scalar, Simd, SimdOp, dispatch};

/// What quantization met on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Values beyond the codes' range, infinities included.
    pub clipped: usize,
    /// NaN values; their code is that of 0.
    pub nan: usize,
}

impl Counts {
    #[inline(always)]
    pub(super) fn add(&mut self, other: Counts) {
        self.clipped += other.clipped;
        self.nan += other.nan;
    }
}

/// Bytes of output from which on it is written past the cache.
pub(super) const STREAM_FROM: usize = 1 << 23;

/// Quantizes `x` into `out`, on the instruction set in force.
pub fn quantize<T: Element, C: Code>(x: &[T], params: Params<'_>, out: &mut [C]) -> Result<Counts> {
    quantize_with(isa::active()?, x, params, out)
}

/// Quantizes `x` into `out`, on the given instruction set.
pub fn quantize_with<T: Element, C: Code>(
    isa: Isa,
    x: &[T],
    params: Params<'_>,
    out: &mut [C],
) -> Result<Counts> {
    params.check(x.len())?;
    if out.len() != x.len() {
        let (found, wanted) = (out.len(), x.len());
        return Err(KernelError::Shape(format!("out has {found} elements, x has {wanted}")));
    }
    if params.min < C::MIN || params.max > C::MAX {
        return Err(KernelError::Value("codes do not fit the type of out".to_owned()));
    }
    let total = x.len();
    let stream = size_of_val(out) >= STREAM_FROM;
    let mut counts = Counts::default();
    map_parts(
        params.layout,
        out,
        |part, out| {
            let x = &x[part.elements.clone()];
            let runs = part.runs.clone().map(|run| params.layout.run(run, total));
            let start = part.elements.start;
            Ok(dispatch(isa, Quantize { x, out, params, runs, start, stream }))
        },
        |found| counts.add(found),
    )?;
    Ok(counts)
}

/// Consecutive runs; the first element of `x` and `out` is element `start` of the whole.
struct Quantize<'a, T, C, R> {
    x: &'a [T],
    out: &'a mut [C],
    params: Params<'a>,
    runs: R,
    start: usize,
    stream: bool,
}

impl<T: Element, C: Code, R: Iterator<Item = Run>> SimdOp for Quantize<'_, T, C, R> {
    type Output = Counts;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Counts {
        let mut counts = Counts::default();
        let mut pace = Pace::new();
        for run in self.runs {
            if pace.stops(run.len) {
                break;
            }
            let range = run.start - self.start..run.start - self.start + run.len;
            let (x, out) = (&self.x[range.clone()], &mut self.out[range]);
            if T::WIDE {
                for (index, (&x, out)) in x.iter().zip(out).enumerate() {
                    let index = if run.each { index } else { run.scale };
                    *out = one_wide(x.to_f64(), &self.params, index, &mut counts);
                }
            } else if run.each {
                counts.add(quantize_each(s, x, &self.params, out));
            } else {
                let steps = Steps::new(&self.params, run.scale);
                counts.add(quantize_run(s, x, steps, out, self.stream));
            }
        }
        counts
    }
}

/// The parameters of one run.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    pub(super) scale: f32,
    pub(super) zero: i32,
    pub(super) min: i32,
    pub(super) max: i32,
}

impl Steps {
    fn new(params: &Params<'_>, index: usize) -> Self {
        let (scale, zero) = (params.scale[index], params.zero(index));
        Self { scale, zero, min: params.min, max: params.max }
    }

    /// Whether [`Near::codes`] may be asked: codes that are bytes, and a scale whose reciprocal is a
    /// normal number.
    #[inline(always)]
    fn allow_reciprocal<C: Code>(self) -> bool {
        let near = |level: i32| level.unsigned_abs() <= 255;
        let normal = 1e-30..1e30;
        C::BYTE
            && normal.contains(&self.scale)
            && near(self.min - self.zero)
            && near(self.max - self.zero)
    }
}

/// Adding it to a float within 2^22 of 0 leaves the nearest integer, half to even, in the low bits, in
/// two's complement.
const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23

/// How far the reciprocals are from the rounded one, in units of its last place: at least 2^-24 of it
/// each. The rounding of the reciprocal, of the quotient and, without a fused multiplication, of the
/// product come to 3 * 2^-24 of the quotient, so that it lies between the products, and on neither.
const APART: u32 = 4;

/// The parameters of one run, for codes by multiplication.
#[derive(Clone, Copy)]
struct Near<S: Simd> {
    s: S,
    above: S::F32,
    /// Negative, so that one subtraction adds both levels and takes the magic's bits away.
    below: S::F32,
    /// The magic, and twice the code of 0, counted from the least code, and two more.
    magic: S::F32,
    plain: S::F32,
    /// Twice the greatest code, counted from the least.
    most: i16,
    least: i8,
}

impl<S: Simd> Near<S> {
    #[inline(always)]
    fn new(s: S, steps: Steps) -> Self {
        let bits = (1.0 / steps.scale).to_bits();
        let (above, below) = (f32::from_bits(bits + APART), f32::from_bits(bits - APART));
        let double = 2 * (steps.zero - steps.min) + 2;
        Self {
            s,
            above: s.splat_f32(above),
            below: s.splat_f32(-below),
            magic: s.splat_f32(MAGIC + double as f32),
            plain: s.splat_f32(MAGIC),
            most: (2 * (steps.max - steps.min)) as i16,
            least: steps.min as i8,
        }
    }

    /// The codes, and whether every one is certain to be that of division.
    ///
    /// Levels that differ make their sum odd. What is not a number leaves 0, less than any code; sums of
    /// what the magic is too small for are far from those of codes.
    #[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
    #[inline(always)]
    fn codes(self, x: [S::F32; 4]) -> (S::Bytes, bool) {
        let s = self.s;
        let mut sums = [s.splat_i32(0); 4];
        for quarter in 0..4 {
            let above = s.mul_add(x[quarter], self.above, self.magic);
            let below = s.mul_add(x[quarter], self.below, self.plain);
            sums[quarter] = s.sub_i32(s.bits_of(above), s.bits_of(below));
        }
        s.halves(sums, self.most, self.least)
    }
}

/// The parameters of one run, for codes by division.
#[derive(Clone, Copy)]
struct Vectors<S: Simd> {
    s: S,
    scale: S::F32,
    zero: S::I32,
    low: S::F32,
    high: S::F32,
}

impl<S: Simd> Vectors<S> {
    #[inline(always)]
    fn new(s: S, steps: Steps) -> Self {
        // The codes' range, before the zero point is added.
        let (low, high) = ((steps.min - steps.zero) as f32, (steps.max - steps.zero) as f32);
        Self {
            s,
            scale: s.splat_f32(steps.scale),
            zero: s.splat_i32(steps.zero),
            low: s.splat_f32(low),
            high: s.splat_f32(high),
        }
    }

    /// The codes by division, whatever `x` holds.
    #[inline(always)]
    fn exact(self, x: S::F32, counts: &mut Counts) -> S::I32 {
        let s = self.s;
        let number = s.eq(x, x);
        let level = s.select(number, s.round(s.div(x, self.scale)), s.splat_f32(0.0));
        // Clamped while float: a float beyond int32 converts to garbage.
        let clamped = s.min(s.max(level, self.low), self.high);
        counts.nan += S::LANES - s.count(number);
        counts.clipped += S::LANES - s.count(s.eq(level, clamped));
        s.add_i32(s.to_i32(clamped), self.zero)
    }
}

/// One run of values that compute in float32, with one scale.
#[inline(always)]
pub(super) fn quantize_run<S: Simd, T: Element, C: Code>(
    s: S,
    x: &[T],
    steps: Steps,
    out: &mut [C],
    stream: bool,
) -> Counts {
    let mut counts = Counts::default();
    let block = 4 * S::LANES;
    // Streaming stores want aligned addresses: what lies before goes element by element.
    let head = if stream { out.as_ptr().align_offset(64).min(x.len()) } else { 0 };
    let body = head + (x.len() - head) / block * block;
    let single = body + (x.len() - body) / S::LANES * S::LANES;
    let vectors = Vectors::new(s, steps);
    let near = steps.allow_reciprocal::<C>().then(|| Near::new(s, steps));
    let (from, to) = (x.as_ptr(), out.as_mut_ptr());
    for start in (head..body).step_by(block) {
        let mut x = [vectors.scale; 4];
        for (part, x) in x.iter_mut().enumerate() {
            // SAFETY: start + 4 * LANES <= body <= x.len().
            *x = unsafe { T::load(s, from.add(start + part * S::LANES)) };
        }
        if let Some(near) = near {
            let (bytes, certain) = near.codes(x);
            if certain {
                // SAFETY: start + 4 * LANES <= body <= out.len(), and a code is a byte; aligned where
                // it is streamed, as head is.
                unsafe {
                    let to = to.add(start).cast::<u8>();
                    if stream { s.stream_bytes(to, bytes) } else { s.store_bytes(to, bytes) }
                }
                continue;
            }
        }
        let mut codes = [vectors.zero; 4];
        for (code, x) in codes.iter_mut().zip(x) {
            *code = vectors.exact(x, &mut counts);
        }
        if stream {
            // SAFETY: start + 4 * LANES <= body <= out.len(); aligned, as head is.
            unsafe { C::stream4(s, to.add(start), codes) };
        } else {
            // SAFETY: start + 4 * LANES <= body <= out.len().
            unsafe { C::store4(s, to.add(start), codes) };
        }
    }
    for start in (body..single).step_by(S::LANES) {
        // SAFETY: start + LANES <= single <= the length of x and out alike.
        unsafe {
            let codes = vectors.exact(T::load(s, from.add(start)), &mut counts);
            C::store(s, to.add(start), codes);
        }
    }
    let one = Vectors::new(Scalar, steps);
    for index in (0..head).chain(single..x.len()) {
        out[index] = C::from_i32(one.exact(x[index].to_f32(), &mut counts));
    }
    if stream {
        s.fence();
    }
    counts
}

/// One run in which each element has a scale of its own.
#[inline(always)]
fn quantize_each<S: Simd, T: Element, C: Code>(
    s: S,
    x: &[T],
    params: &Params<'_>,
    out: &mut [C],
) -> Counts {
    let mut counts = Counts::default();
    let body = x.len() / S::LANES * S::LANES;
    let (min, max) = (s.splat_i32(params.min), s.splat_i32(params.max));
    let mut vectors = Vectors::new(s, Steps { scale: 1.0, zero: 0, min: 0, max: 0 });
    for start in (0..body).step_by(S::LANES) {
        // SAFETY: start + LANES <= body <= the length of x, out, scale, and zero_point if any.
        unsafe {
            vectors.scale = s.load_f32(params.scale.as_ptr().add(start));
            if !params.zero_point.is_empty() {
                vectors.zero = s.load_i32(params.zero_point.as_ptr().add(start));
            }
            vectors.low = s.to_f32(s.sub_i32(min, vectors.zero));
            vectors.high = s.to_f32(s.sub_i32(max, vectors.zero));
            let codes = vectors.exact(T::load(s, x.as_ptr().add(start)), &mut counts);
            C::store(s, out.as_mut_ptr().add(start), codes);
        }
    }
    for index in body..x.len() {
        let one = Vectors::new(Scalar, Steps::new(params, index));
        out[index] = C::from_i32(one.exact(x[index].to_f32(), &mut counts));
    }
    counts
}

/// One value in float64.
#[inline(always)]
fn one_wide<C: Code>(x: f64, params: &Params<'_>, index: usize, counts: &mut Counts) -> C {
    let zero = params.zero(index);
    let level =
        if x.is_nan() { 0.0 } else { (x / f64::from(params.scale[index])).round_ties_even() };
    let clamped = level.clamp(f64::from(params.min - zero), f64::from(params.max - zero));
    counts.nan += usize::from(x.is_nan());
    counts.clipped += usize::from(level != clamped);
    C::from_i32(clamped as i32 + zero)
}
