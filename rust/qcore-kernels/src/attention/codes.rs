//! Queries, keys and values as int8.

use crate::math::MAX_LANES;
use crate::simd::{Scalar, Simd, SimdOp};

/// The bits of a float but its sign: as integers they are in the order of sizes, and those of what is
/// not a number come last.
const SIZE: i32 = i32::MAX;

/// The step of codes of values of which the largest size is `most`, and what values are multiplied by to
/// become codes. Where a value is not finite, neither is `most`; then the step is not a number, and so
/// is all that is made of it.
#[inline(always)]
fn steps(most: f32) -> (f32, f32) {
    let step = most * (1.0 / 127.0);
    if !most.is_finite() {
        (f32::NAN, 0.0)
    } else if step.is_normal() {
        (step, 127.0 / most)
    } else {
        // All zeros, or as good as that.
        (1.0, 0.0)
    }
}

/// The largest size of some values, as its bits.
#[inline(always)]
fn largest(values: impl Iterator<Item = f32>, least: i32) -> i32 {
    values.fold(least, |most, x| most.max(x.to_bits() as i32 & SIZE))
}

/// Rows of `n` values to int8, each with a step of its own.
pub(super) struct Rows<'a> {
    pub(super) x: (&'a [f32], usize),
    pub(super) n: usize,
    pub(super) codes: &'a mut [i8],
    pub(super) scale: &'a mut [f32],
}

impl SimdOp for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Self { x: (x, stride), n, codes, scale } = self;
        let body = n / S::LANES * S::LANES;
        let size = s.splat_i32(SIZE);
        for (index, scale) in scale.iter_mut().enumerate() {
            let x = &x[index * stride..][..n];
            let codes = &mut codes[index * n..][..n];
            let mut most = s.splat_i32(0);
            for at in (0..body).step_by(S::LANES) {
                // SAFETY: at + LANES <= body <= n.
                let x = unsafe { s.load_f32(x.as_ptr().add(at)) };
                most = s.max_i32(s.and_i32(s.bits_of(x), size), most);
            }
            let most = largest(x[body..].iter().copied(), s.reduce_max_i32(most));
            let (step, inverse) = steps(f32::from_bits(most as u32));
            *scale = step;
            if inverse == 0.0 {
                codes.fill(0);
                continue;
            }
            let by = s.splat_f32(inverse);
            for at in (0..body).step_by(S::LANES) {
                // SAFETY: at + LANES <= body <= n.
                unsafe {
                    let x = s.load_f32(x.as_ptr().add(at));
                    s.store_i8(codes.as_mut_ptr().add(at), s.to_i32(s.mul(x, by)));
                }
            }
            for (code, x) in codes[body..].iter_mut().zip(&x[body..]) {
                *code = Scalar.to_i32(x * inverse) as i8;
            }
        }
    }
}

/// Rows of `n` values to int8, each column with a step of its own. Rows that none sees are 0: their
/// values move no step.
pub(super) struct Columns<'a> {
    pub(super) x: (&'a [f32], usize),
    pub(super) n: usize,
    pub(super) seen: &'a [bool],
    pub(super) codes: &'a mut [i8],
    pub(super) scale: &'a mut [f32],
}

impl SimdOp for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Self { x: (x, stride), n, seen, codes, scale } = self;
        let rows = codes.len().checked_div(n).unwrap_or(0);
        if seen.contains(&false) {
            codes.fill(0);
        }
        // The last vector of the last row is within the values, so all are.
        assert!(rows == 0 || x.len() >= (rows - 1) * stride + n, "values are too few");
        let size = s.splat_i32(SIZE);
        let body = n / S::LANES * S::LANES;
        for at in (0..body).step_by(S::LANES) {
            let mut most = s.splat_i32(0);
            for row in 0..rows {
                if seen.get(row) == Some(&false) {
                    continue;
                }
                // SAFETY: LANES elements follow, as the assertion says.
                let x = unsafe { s.load_f32(x.as_ptr().add(row * stride + at)) };
                most = s.max_i32(s.and_i32(s.bits_of(x), size), most);
            }
            let (mut sizes, mut inverses) = ([0_i32; MAX_LANES], [0.0_f32; MAX_LANES]);
            // SAFETY: the room has MAX_LANES elements.
            unsafe { s.store_i32(sizes.as_mut_ptr(), most) };
            for lane in 0..S::LANES {
                (scale[at + lane], inverses[lane]) = steps(f32::from_bits(sizes[lane] as u32));
            }
            // SAFETY: the room has MAX_LANES elements.
            let by = unsafe { s.load_f32(inverses.as_ptr()) };
            for row in 0..rows {
                if seen.get(row) == Some(&false) {
                    continue;
                }
                // SAFETY: LANES elements follow in both: codes are `rows` rows of n. What is not finite
                // times 0 is not a number, whose code is the least: its step says the same.
                unsafe {
                    let x = s.load_f32(x.as_ptr().add(row * stride + at));
                    s.store_i8(codes.as_mut_ptr().add(row * n + at), s.to_i32(s.mul(x, by)));
                }
            }
        }
        for column in body..n {
            let shown = || (0..rows).filter(|&row| seen.get(row) != Some(&false));
            let most = largest(shown().map(|row| x[row * stride + column]), 0);
            let (step, inverse) = steps(f32::from_bits(most as u32));
            scale[column] = step;
            for row in shown() {
                let code = Scalar.to_i32(x[row * stride + column] * inverse);
                codes[row * n + column] = code.clamp(-128, 127) as i8;
            }
        }
    }
}
