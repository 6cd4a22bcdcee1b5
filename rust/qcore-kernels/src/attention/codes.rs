//! Queries, keys and values as int8.

use crate::math::MAX_LANES;
use crate::simd::{Scalar, Simd, SimdOp};

/// The step of codes whose largest size is `most`, and what values are multiplied by to become codes.
/// Where a value is not finite, the step is not a number, and so is all that is made of it.
fn steps(most: f32, finite: bool) -> (f32, f32) {
    let step = most / 127.0;
    if !finite || !most.is_finite() {
        (f32::NAN, 0.0)
    } else if step.is_normal() {
        (step, 127.0 / most)
    } else {
        // All zeros, or as good as that.
        (1.0, 0.0)
    }
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
        let zero = s.splat_f32(0.0);
        for (index, scale) in scale.iter_mut().enumerate() {
            let x = &x[index * stride..][..n];
            let codes = &mut codes[index * n..][..n];
            let (mut most, mut odd) = (zero, s.lt(zero, zero));
            for at in (0..body).step_by(S::LANES) {
                // SAFETY: LANES elements follow.
                let x = unsafe { s.load_f32(x[at..at + S::LANES].as_ptr()) };
                most = s.max(s.abs(x), most);
                odd = s.or(odd, s.unordered(x, x));
            }
            let (mut most, mut finite) = (s.reduce_max(most), s.bits(odd) == 0);
            for x in &x[body..] {
                finite &= !x.is_nan();
                most = most.max(x.abs());
            }
            let (step, inverse) = steps(most, finite);
            *scale = step;
            if inverse == 0.0 {
                codes.fill(0);
                continue;
            }
            let by = s.splat_f32(inverse);
            for at in (0..body).step_by(S::LANES) {
                // SAFETY: LANES elements follow in both.
                unsafe {
                    let x = s.load_f32(x[at..at + S::LANES].as_ptr());
                    let code = s.to_i32(s.mul(x, by));
                    s.store_i8(codes[at..at + S::LANES].as_mut_ptr(), code);
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
        let zero = s.splat_f32(0.0);
        let body = n / S::LANES * S::LANES;
        for at in (0..body).step_by(S::LANES) {
            let (mut most, mut odd) = (zero, s.lt(zero, zero));
            for row in 0..rows {
                if seen.get(row) == Some(&false) {
                    continue;
                }
                // SAFETY: LANES elements follow.
                let x = unsafe { s.load_f32(x[row * stride + at..][..S::LANES].as_ptr()) };
                most = s.max(s.abs(x), most);
                odd = s.or(odd, s.unordered(x, x));
            }
            let (mut sizes, mut inverses) = ([0.0_f32; MAX_LANES], [0.0_f32; MAX_LANES]);
            let odd = s.bits(odd);
            // SAFETY: the room has MAX_LANES elements.
            unsafe { s.store_f32(sizes.as_mut_ptr(), most) };
            for lane in 0..S::LANES {
                let found = steps(sizes[lane], odd >> lane & 1 == 0);
                (scale[at + lane], inverses[lane]) = found;
            }
            // SAFETY: the room has MAX_LANES elements.
            let by = unsafe { s.load_f32(inverses.as_ptr()) };
            for row in 0..rows {
                if seen.get(row) == Some(&false) {
                    continue;
                }
                // SAFETY: LANES elements follow in both. What is not finite times 0 is not a number,
                // whose code is the least: its step says the same.
                unsafe {
                    let x = s.load_f32(x[row * stride + at..][..S::LANES].as_ptr());
                    let code = s.to_i32(s.mul(x, by));
                    s.store_i8(codes[row * n + at..][..S::LANES].as_mut_ptr(), code);
                }
            }
        }
        for column in body..n {
            let (mut most, mut finite) = (0.0_f32, true);
            for row in (0..rows).filter(|&row| seen.get(row) != Some(&false)) {
                let x = x[row * stride + column];
                finite &= !x.is_nan();
                most = most.max(x.abs());
            }
            let (step, inverse) = steps(most, finite);
            scale[column] = step;
            for row in (0..rows).filter(|&row| seen.get(row) != Some(&false)) {
                let code = Scalar.to_i32(x[row * stride + column] * inverse);
                codes[row * n + column] = code.clamp(-128, 127) as i8;
            }
        }
    }
}
