//! Convolutions, products, sums, means and softmax on codes in TensorFlow Lite's fixed-point
//! arithmetic, to the bit of its reference kernels.

use super::ToCodes;
use super::fixed::{FixedPoint, divide_by_pot, high_mul, times_pot};
use crate::conv::Window;
use crate::error::{KernelError, Result};
use crate::isa::Isa;
use crate::memory;
use crate::quant::Code;
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads;

/// Multiplications below which another thread costs more than it saves.
const GRAIN: usize = 1 << 18;

/// Outputs whose sums are kept at a time.
const SUMS: usize = 64;

/// A convolution; a product of matrices is one of single pixels.
#[derive(Debug, Clone)]
pub struct FixedConv {
    /// Weights, `[taps, inputs of a group, outputs]`, int8 with their zero at code 0.
    pub weights: Vec<i8>,
    /// For each output, in units of the sums.
    pub bias: Vec<i32>,
    /// For each output, from the sums to the codes of the result.
    pub factors: Vec<FixedPoint>,
    /// The window, and how many groups the channels are in.
    pub window: Window,
    /// Groups of channels.
    pub groups: usize,
    /// The code of 0 of what is read.
    pub zero: i32,
    /// How a sum becomes a code.
    pub to: ToCodes,
    /// Whether it is rounded once, as in products of matrices, not twice, as in convolutions.
    pub once: bool,
}

/// Convolves images `[batch, height, width, channels]` into `[batch, places.., outputs]`.
pub fn fixed_conv_with<C: Code>(
    isa: Isa,
    conv: &FixedConv,
    x: &[C],
    image: [usize; 4],
    places: [usize; 2],
    out: &mut [C],
) -> Result<()> {
    conv.to.check::<C>()?;
    let [batch, _, _, channels] = image;
    let outputs = conv.bias.len();
    let taps = conv.window.kernel[0] * conv.window.kernel[1];
    let groups = conv.groups.max(1);
    let whole = channels.is_multiple_of(groups) && outputs.is_multiple_of(groups);
    let fits = conv.weights.len() == taps * (channels / groups) * outputs
        && conv.factors.len() == outputs
        && memory::size(&image)? == x.len()
        && memory::size(&[batch, places[0], places[1], outputs])? == out.len();
    let Window { stride, dilation, .. } = conv.window;
    if !whole || !fits || stride.contains(&0) || dilation.contains(&0) {
        return Err(KernelError::Shape(format!(
            "images {image:?}, {} weights and {} results at {places:?} do not convolve",
            conv.weights.len(),
            out.len()
        )));
    }
    if out.is_empty() {
        return Ok(());
    }
    let pixels = out.len() / outputs;
    let tasks = threads::tasks_for(out.len(), taps * (channels / groups), GRAIN);
    threads::for_each_chunk(out, pixels.div_ceil(tasks.max(1)) * outputs, |start, out| {
        for (index, out) in out.chunks_exact_mut(outputs).enumerate() {
            let index = start / outputs + index;
            let size = image[1] * image[2] * channels;
            let picture = &x[index / (places[0] * places[1]) * size..][..size];
            let place = [index / places[1] % places[0], index % places[1]];
            dispatch(isa, Pixel { conv, picture, image, place, out });
        }
    });
    Ok(())
}

struct Pixel<'a, C> {
    conv: &'a FixedConv,
    picture: &'a [C],
    image: [usize; 4],
    place: [usize; 2],
    out: &'a mut [C],
}

impl<C: Code> Pixel<'_, C> {
    /// Calls `tap(tap, first channel of its pixel)` for what the window covers of the image.
    #[inline(always)]
    fn for_taps(&self, mut tap: impl FnMut(usize, usize)) {
        let Window { kernel, stride, dilation, padding } = self.conv.window;
        let [_, height, width, channels] = self.image;
        for row in 0..kernel[0] {
            let y = (self.place[0] * stride[0] + row * dilation[0]).wrapping_sub(padding[0][0]);
            if y >= height {
                continue;
            }
            for column in 0..kernel[1] {
                let x = self.place[1] * stride[1] + column * dilation[1];
                let x = x.wrapping_sub(padding[1][0]);
                if x < width {
                    tap(row * kernel[1] + column, (y * width + x) * channels);
                }
            }
        }
    }
}

impl<C: Code> SimdOp for Pixel<'_, C> {
    type Output = ();

    /// Plain loops over outputs, which the compiler makes vectors of.
    #[inline(always)]
    fn eval<S: Simd>(self, _: S) {
        let conv = self.conv;
        let (channels, outputs, groups) = (self.image[3], conv.bias.len(), conv.groups.max(1));
        let (inputs, each) = (channels / groups, outputs / groups);
        let alone = inputs == 1 && each == 1;
        let mut at = 0;
        while at < outputs {
            // Sums of one group, or of any channels that are each one.
            let end = if alone { outputs } else { (at / each + 1) * each };
            let count = SUMS.min(end - at);
            let mut room = [0_i32; SUMS];
            let sums = &mut room[..count];
            sums.copy_from_slice(&conv.bias[at..at + count]);
            let first = at / each * inputs;
            self.for_taps(
                #[inline(always)]
                |tap, pixel| {
                    if alone {
                        let weights = &conv.weights[tap * outputs + at..][..count];
                        let codes = &self.picture[pixel + at..][..count];
                        for ((sum, &w), &x) in sums.iter_mut().zip(weights).zip(codes) {
                            let x = x.to_i32().wrapping_sub(conv.zero);
                            *sum = sum.wrapping_add(x.wrapping_mul(w.into()));
                        }
                        return;
                    }
                    for input in 0..inputs {
                        let x = self.picture[pixel + first + input].to_i32() - conv.zero;
                        let row = (tap * inputs + input) * outputs + at;
                        for (sum, &w) in sums.iter_mut().zip(&conv.weights[row..row + count]) {
                            *sum = sum.wrapping_add(x.wrapping_mul(w.into()));
                        }
                    }
                },
            );
            for (index, &sum) in sums.iter().enumerate() {
                let factor = conv.factors[at + index];
                let level = if conv.once { factor.times_once(sum) } else { factor.times(sum) };
                let code = level.wrapping_add(conv.to.zero_point);
                self.out[at + index] = C::from_i32(code.clamp(conv.to.min, conv.to.max));
            }
            at += count;
        }
    }
}

/// The sum of two tensors of one shape.
#[derive(Debug, Clone, Copy)]
pub struct FixedSum {
    zeros: [i32; 2],
    inputs: [FixedPoint; 2],
    output: FixedPoint,
    to: ToCodes,
}

/// Bits by which terms are shifted up before they are scaled.
const HEADROOM: u32 = 20;

impl FixedSum {
    /// From the scales of both operands and of the result.
    #[must_use]
    pub fn new(zeros: [i32; 2], scales: [f32; 2], scale: f32, to: ToCodes) -> Self {
        let twice = 2.0 * f64::from(scales[0].max(scales[1]));
        let inputs = scales.map(|scale| FixedPoint::new(f64::from(scale) / twice));
        let output = twice / (f64::from(1 << HEADROOM) * f64::from(scale));
        Self { zeros, inputs, output: FixedPoint::new(output), to }
    }

    /// Adds.
    pub fn run<C: Code>(&self, a: &[C], b: &[C], out: &mut [C]) -> Result<()> {
        self.to.check::<C>()?;
        if a.len() != out.len() || b.len() != out.len() {
            let (a, b, out) = (a.len(), b.len(), out.len());
            return Err(KernelError::Shape(format!("{a} and {b} codes are added to {out}")));
        }
        let tasks = threads::tasks_for(out.len(), 4, GRAIN);
        let chunk = out.len().div_ceil(tasks.max(1)).max(1);
        threads::for_each_chunk(out, chunk, |start, out| {
            let pairs = a[start..].iter().zip(&b[start..]);
            for (out, (&a, &b)) in out.iter_mut().zip(pairs) {
                let term = |at: usize, x: C| {
                    self.inputs[at].times(x.to_i32().wrapping_sub(self.zeros[at]) << HEADROOM)
                };
                let sum = self.output.times(term(0, a).wrapping_add(term(1, b)));
                let code = sum.wrapping_add(self.to.zero_point);
                *out = C::from_i32(code.clamp(self.to.min, self.to.max));
            }
        });
        Ok(())
    }
}

/// The mean of each window, of codes and in codes of the same parameters: rounded half away from 0.
/// What lies in the padding does not count.
pub fn fixed_mean<C: Code>(
    window: &Window,
    x: &[C],
    image: [usize; 4],
    places: [usize; 2],
    (min, max): (i32, i32),
    out: &mut [C],
) -> Result<()> {
    let [batch, height, width, channels] = image;
    let shape = [batch, places[0], places[1], channels];
    if memory::size(&image)? != x.len() || memory::size(&shape)? != out.len() || min > max {
        return Err(KernelError::Shape(format!(
            "x has {} codes and out {}; they must have shapes {image:?} and {shape:?}",
            x.len(),
            out.len()
        )));
    }
    for (index, out) in out.iter_mut().enumerate() {
        let (place, channel) = (index / channels, index % channels);
        let (row, column) = (place / places[1] % places[0], place % places[1]);
        let n = place / (places[0] * places[1]);
        let (mut sum, mut count) = (0_i32, 0_i32);
        for tap in 0..window.kernel[0] * window.kernel[1] {
            let y = row * window.stride[0] + tap / window.kernel[1] * window.dilation[0];
            let c = column * window.stride[1] + tap % window.kernel[1] * window.dilation[1];
            let y = y.wrapping_sub(window.padding[0][0]);
            let c = c.wrapping_sub(window.padding[1][0]);
            if y < height && c < width {
                sum += x[((n * height + y) * width + c) * channels + channel].to_i32();
                count += 1;
            }
        }
        let half = count / 2;
        let mean = (if sum > 0 { sum + half } else { sum - half }) / count.max(1);
        *out = C::from_i32(mean.clamp(min, max));
    }
    Ok(())
}

/// Softmax of rows, to codes of scale 1/256 whose least stands for 0.
#[derive(Debug, Clone, Copy)]
pub struct FixedSoftmax {
    factor: FixedPoint,
    /// What lies farther below the largest of a row is 0.
    least: i32,
}

/// Integer bits of differences, and of their sum.
const DIFFERENCE_BITS: i32 = 5;
const SUM_BITS: u32 = 12;

impl FixedSoftmax {
    /// From the scale of what is read.
    #[must_use]
    pub fn new(scale: f32) -> Self {
        let room = f64::from(31 - DIFFERENCE_BITS).exp2();
        let factor = FixedPoint::new((f64::from(scale) * room).min((1_i64 << 31) as f64 - 1.0));
        let widest = f64::from((1 << DIFFERENCE_BITS) - 1) * room;
        let least = -((widest / f64::from(factor.shift()).exp2()).floor() as i32);
        Self { factor, least }
    }

    /// Rows of `n` codes.
    pub fn run<C: Code>(&self, x: &[C], n: usize, out: &mut [C]) -> Result<()> {
        if x.len() != out.len()
            || (n == 0 && !x.is_empty())
            || (n > 0 && !x.len().is_multiple_of(n))
        {
            let (x, out) = (x.len(), out.len());
            return Err(KernelError::Shape(format!("{x} and {out} codes are not rows of {n}")));
        }
        for (x, out) in x.chunks_exact(n.max(1)).zip(out.chunks_exact_mut(n.max(1))) {
            let largest = x.iter().map(|x| x.to_i32()).max().unwrap_or(0);
            let exponential = |x: C| {
                let below = x.to_i32() - largest;
                (below >= self.least).then(|| exp_of_negative(self.factor.times_above_one(below)))
            };
            let sum: i32 =
                x.iter().filter_map(|&x| exponential(x)).map(|e| divide_by_pot(e, SUM_BITS)).sum();
            let (reciprocal, over) = reciprocal(sum);
            for (out, &x) in out.iter_mut().zip(x) {
                let code = exponential(x).map_or(0, |e| {
                    divide_by_pot(high_mul(reciprocal, e), (over + 31 - 8).clamp(0, 31) as u32)
                });
                *out = C::from_i32((code + C::MIN).clamp(C::MIN, C::MAX));
            }
        }
        Ok(())
    }
}

/// exp(a) in 31 fractional bits, of a that is not above 0 and has 26.
fn exp_of_negative(a: i32) -> i32 {
    const QUARTER: i32 = 1 << 24;
    // exp(-2^exponent) for exponents from -2 to 4, in 31 fractional bits.
    const FACTORS: [i32; 7] =
        [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242];
    let rest = (a & (QUARTER - 1)) - QUARTER;
    let mut result = exp_of_quarter(times_pot(rest, DIFFERENCE_BITS as u32));
    let quarters = rest.wrapping_sub(a);
    for (bit, factor) in FACTORS.into_iter().enumerate() {
        if quarters & (QUARTER << bit) != 0 {
            result = high_mul(result, factor);
        }
    }
    if a == 0 { i32::MAX } else { result }
}

/// exp(a) of a from -1/4 to 0, in 31 fractional bits, by its series around -1/8.
fn exp_of_quarter(a: i32) -> i32 {
    const MIDDLE: i32 = 1_895_147_668; // exp(-1/8)
    const THIRD: i32 = 715_827_883;
    let x = a + (1 << 28);
    let square = high_mul(x, x);
    let cube = high_mul(square, x);
    let fourth = divide_by_pot(high_mul(square, square), 2);
    let tail = divide_by_pot(high_mul(fourth + cube, THIRD) + square, 1);
    MIDDLE + high_mul(MIDDLE, x + tail)
}

/// 1 over a number with 19 fractional bits: 31 bits, and how many bits it is to be shifted down by.
fn reciprocal(x: i32) -> (i32, i32) {
    let zeros = x.leading_zeros();
    let over = SUM_BITS as i32 - zeros as i32;
    let above = ((x as u32).wrapping_shl(zeros)).wrapping_sub(1 << 31) as i32;
    (one_over_one_plus(above), over)
}

/// 1 / (1 + a) of a from 0 to 1, by Newton's method.
fn one_over_one_plus(a: i32) -> i32 {
    // 48/17 and -32/17, in 29 fractional bits.
    const START: [i32; 2] = [1_515_870_810, -1_010_580_540];
    // Neither is below 0, so half of the sum is rounded up.
    let half = ((i64::from(a) + i64::from(i32::MAX) + 1) >> 1) as i32;
    let mut x = START[0].wrapping_add(high_mul(half, START[1]));
    for _ in 0..3 {
        let missing = (1 << 29) - high_mul(half, x);
        x = x.wrapping_add(times_pot(high_mul(x, missing), 2));
    }
    times_pot(x, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_and_reciprocals_are_near_the_real_ones() {
        let unit = f64::from(1 << 26);
        for step in 0..2000 {
            let a = -f64::from(step) * 0.015;
            let found = f64::from(exp_of_negative((a * unit) as i32)) / (1_i64 << 31) as f64;
            assert!((found - a.exp()).abs() < 1e-6, "exp({a}) is {found}");
        }
        for step in 0..1000 {
            let a = f64::from(step) / 1000.0;
            let bits = (a * (1_i64 << 31) as f64) as i32;
            let found = f64::from(one_over_one_plus(bits)) / (1_i64 << 31) as f64;
            assert!((found - 1.0 / (1.0 + a)).abs() < 1e-6, "1/(1+{a}) is {found}");
        }
    }

    #[test]
    fn softmax_is_near_the_real_one() {
        let rows: Vec<i8> = (0..60).map(|at| (at * 37 % 251 - 125) as i8).collect();
        let mut out = vec![0_i8; 60];
        FixedSoftmax::new(0.07).run(&rows, 12, &mut out).unwrap();
        for (x, out) in rows.chunks(12).zip(out.chunks(12)) {
            let exp: Vec<f64> = x.iter().map(|&x| (f64::from(x) * 0.07).exp()).collect();
            let sum: f64 = exp.iter().sum();
            for (exp, &code) in exp.iter().zip(out) {
                let wanted = (exp / sum * 256.0 - 128.0).min(127.0);
                assert!((f64::from(code) - wanted).abs() <= 0.51, "{code} is not {wanted}");
            }
        }
    }

    #[test]
    fn means_round_half_away_from_zero() {
        let window = Window::new([1, 2]);
        let mut out = [0_i8; 2];
        let x = [3_i8, 4, -3, -4];
        fixed_mean(&window, &x, [2, 1, 2, 1], [1, 1], (-128, 127), &mut out).unwrap();
        assert_eq!(out, [4, -4]);
    }
}
