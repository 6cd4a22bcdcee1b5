//! Queries, keys and values as int8.

use crate::math::{SIZE, largest_size_bits};
use crate::simd::{Scalar, Simd, SimdOp};

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

/// Heads of rows to int8, each head of a row with a step of its own. Rows are read one after the other,
/// all heads of each, as they lie in memory; what is written is a matrix for each head.
pub(super) struct HeadRows<'a> {
    pub(super) x: (&'a [f32], usize),
    /// Values of a head.
    pub(super) n: usize,
    pub(super) rows: usize,
    /// `rows` rows of `n` for each head.
    pub(super) codes: &'a mut [i8],
    /// One for each of them.
    pub(super) scale: &'a mut [f32],
}

impl SimdOp for HeadRows<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Self { x: (x, stride), n, rows, codes, scale } = self;
        let heads = scale.len().checked_div(rows).unwrap_or(0);
        let body = n / S::LANES * S::LANES;
        let size = s.splat_i32(SIZE);
        for row in 0..rows {
            for head in 0..heads {
                let x = &x[row * stride + head * n..][..n];
                let index = head * rows + row;
                let codes = &mut codes[index * n..][..n];
                let mut most = s.splat_i32(0);
                for at in (0..body).step_by(S::LANES) {
                    // SAFETY: at + LANES <= body <= n.
                    let x = unsafe { s.load_f32(x.as_ptr().add(at)) };
                    most = s.max_i32(s.and_i32(s.bits_of(x), size), most);
                }
                let most = largest_size_bits(&x[body..], s.reduce_max_i32(most));
                let (step, inverse) = steps(f32::from_bits(most as u32));
                scale[index] = step;
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
}

/// Rows of `n` values to int8, each column with a step of its own. Rows that none sees are 0: their
/// values move no step. Rows are read one after the other, twice.
pub(super) struct Columns<'a> {
    pub(super) x: (&'a [f32], usize),
    pub(super) n: usize,
    pub(super) seen: &'a [bool],
    pub(super) codes: &'a mut [i8],
    /// One for each column.
    pub(super) scale: &'a mut [f32],
    /// Room for one for each column.
    pub(super) inverse: &'a mut [f32],
    /// As `inverse`.
    pub(super) sizes: &'a mut [i32],
}

impl SimdOp for Columns<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Self { x: (x, stride), n, seen, codes, scale, inverse, sizes } = self;
        let rows = codes.len().checked_div(n).unwrap_or(0);
        let shown = |row: usize| seen.get(row) != Some(&false);
        let body = n / S::LANES * S::LANES;
        let size = s.splat_i32(SIZE);
        let sizes = &mut sizes[..n];
        sizes.fill(0);
        for row in (0..rows).filter(|&row| shown(row)) {
            let x = &x[row * stride..][..n];
            for at in (0..body).step_by(S::LANES) {
                // SAFETY: at + LANES <= body <= n, and as many are the sizes.
                unsafe {
                    let x = s.and_i32(s.bits_of(s.load_f32(x.as_ptr().add(at))), size);
                    let most = sizes.as_mut_ptr().add(at);
                    s.store_i32(most, s.max_i32(x, s.load_i32(most)));
                }
            }
            for (most, x) in sizes[body..].iter_mut().zip(&x[body..]) {
                *most = largest_size_bits(&[*x], *most);
            }
        }
        let inverse = &mut inverse[..n];
        for ((scale, inverse), most) in scale.iter_mut().zip(&mut *inverse).zip(&*sizes) {
            (*scale, *inverse) = steps(f32::from_bits(*most as u32));
        }
        for row in 0..rows {
            let codes = &mut codes[row * n..][..n];
            if !shown(row) {
                codes.fill(0);
                continue;
            }
            let x = &x[row * stride..][..n];
            for at in (0..body).step_by(S::LANES) {
                // SAFETY: as above. What is not finite times 0 is not a number, whose code is the least:
                // its step says the same.
                unsafe {
                    let x =
                        s.mul(s.load_f32(x.as_ptr().add(at)), s.load_f32(inverse.as_ptr().add(at)));
                    s.store_i8(codes.as_mut_ptr().add(at), s.to_i32(x));
                }
            }
            for ((code, x), by) in codes[body..].iter_mut().zip(&x[body..]).zip(&inverse[body..]) {
                *code = Scalar.to_i32(x * by).clamp(-128, 127) as i8;
            }
        }
    }
}
