//! The part of a softmax between two products: exponentials and their sum, and the division after.

use crate::isa::Isa;
use crate::math::{MAX_LANES, exp_nonpositive};
use crate::norm::softmax_row;
use crate::reduce::{Largest, Plain, Sum, reduce_row};
use crate::simd::{Simd, SimdOp, dispatch};

/// Replaces a row by `e^(y - largest y)`, `y = x * scale + mask`, and returns the sum; the mask is empty
/// or as long as the row.
pub(super) fn exponentials(isa: Isa, row: &mut [f32], scale: f32, mask: &[f32]) -> f32 {
    if row.is_empty() {
        return 1.0;
    }
    let total = dispatch(isa, Exponentials { row, scale, mask });
    if total.is_nan() && row.contains(&f32::INFINITY) {
        // The limit: infinities share the whole.
        softmax_row(isa, row);
        return 1.0;
    }
    total
}

struct Exponentials<'a> {
    row: &'a mut [f32],
    scale: f32,
    mask: &'a [f32],
}

impl SimdOp for Exponentials<'_> {
    /// The sum; NaN, and the row as it is before the exponentials, where the largest is infinite.
    type Output = f32;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> f32 {
        let Self { row, scale, mask } = self;
        let factor = s.splat_f32(scale);
        let body = row.len() / S::LANES * S::LANES;
        for at in (0..body).step_by(S::LANES) {
            let part = &mut row[at..at + S::LANES];
            // SAFETY: the part has LANES elements, and so has the mask from there on unless empty.
            unsafe {
                let mut x = s.mul(s.load_f32(part.as_ptr()), factor);
                if !mask.is_empty() {
                    x = s.add(x, s.load_f32(mask[at..at + S::LANES].as_ptr()));
                }
                s.store_f32(part.as_mut_ptr(), x);
            }
        }
        for (at, x) in row.iter_mut().enumerate().skip(body) {
            *x = *x * scale + mask.get(at).copied().unwrap_or(-0.0);
        }
        let largest = reduce_row(s, row, Plain, Largest);
        if largest == f32::INFINITY {
            return f32::NAN;
        }
        let largest = s.splat_f32(largest);
        for at in (0..body).step_by(S::LANES) {
            let part = &mut row[at..at + S::LANES];
            // SAFETY: the part has LANES elements.
            unsafe {
                let x = s.sub(s.load_f32(part.as_ptr()), largest);
                s.store_f32(part.as_mut_ptr(), exp_nonpositive(s, x));
            }
        }
        let mut room = [0.0_f32; MAX_LANES];
        let rest = row.len() - body;
        room[..rest].copy_from_slice(&row[body..]);
        // SAFETY: the room has MAX_LANES elements.
        unsafe {
            let x = s.sub(s.load_f32(room.as_ptr()), largest);
            s.store_f32(room.as_mut_ptr(), exp_nonpositive(s, x));
        }
        row[body..].copy_from_slice(&room[..rest]);
        reduce_row(s, row, Plain, Sum)
    }
}

/// Divides the first `n` elements of each row, `stride` apart, by the row's total.
pub(super) fn divide(isa: Isa, totals: &[f32], out: &mut [f32], stride: usize, n: usize) {
    dispatch(isa, Divide { totals, out, stride, n });
}

struct Divide<'a> {
    totals: &'a [f32],
    out: &'a mut [f32],
    stride: usize,
    n: usize,
}

impl SimdOp for Divide<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Self { totals, out, stride, n } = self;
        let body = n / S::LANES * S::LANES;
        for (index, &total) in totals.iter().enumerate() {
            let row = &mut out[index * stride..index * stride + n];
            let by = s.splat_f32(total);
            for at in (0..body).step_by(S::LANES) {
                let part = &mut row[at..at + S::LANES];
                // SAFETY: the part has LANES elements.
                unsafe {
                    s.store_f32(part.as_mut_ptr(), s.div(s.load_f32(part.as_ptr()), by));
                }
            }
            row[body..].iter_mut().for_each(|x| *x /= total);
        }
    }
}
