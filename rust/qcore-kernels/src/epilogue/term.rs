//! What a residual adds to the levels of a layer.

use super::lanes::MAX_LANES;
use crate::quant::Code;
use crate::simd::Simd;

/// What is added to levels before they are clamped.
pub(super) trait Term<S: Simd> {
    /// Whether what is added to rows of so many columns lies side by side.
    fn is_dense(&self, columns: usize) -> bool;

    /// To the `count` levels of a row from column `at` on: a vector, or fewer.
    ///
    /// # Safety
    /// The block has them.
    unsafe fn add(&self, s: S, level: S::F32, row: usize, at: usize, count: usize) -> S::F32;
}

pub(super) struct Nothing;

impl<S: Simd> Term<S> for Nothing {
    #[inline(always)]
    fn is_dense(&self, _: usize) -> bool {
        true
    }

    #[inline(always)]
    unsafe fn add(&self, _: S, level: S::F32, _: usize, _: usize, _: usize) -> S::F32 {
        level
    }
}

/// Codes times their multiplier.
pub(super) struct Plus<S: Simd, C> {
    pub(super) codes: *const C,
    pub(super) stride: usize,
    pub(super) zero: S::I32,
    pub(super) multiplier: S::F32,
}

impl<S: Simd, C: Code> Term<S> for Plus<S, C> {
    #[inline(always)]
    fn is_dense(&self, columns: usize) -> bool {
        self.stride == columns
    }

    #[inline(always)]
    unsafe fn add(&self, s: S, level: S::F32, row: usize, at: usize, count: usize) -> S::F32 {
        // SAFETY: the caller's promise; the room has MAX_LANES elements.
        let codes = unsafe {
            let from = self.codes.add(row * self.stride + at);
            if count == S::LANES {
                C::load(s, from)
            } else {
                let mut room = [C::default(); MAX_LANES];
                for (lane, room) in room[..count].iter_mut().enumerate() {
                    *room = *from.add(lane);
                }
                C::load(s, room.as_ptr())
            }
        };
        let value = s.to_f32(s.sub_i32(codes, self.zero));
        s.add(level, s.mul(value, self.multiplier))
    }
}
