//! Rows of an image as a kernel reads them: with what lies around, and as wide as its elements are.

use std::ops::Range;

use super::write::{Become, Flipped, Same, Signed, Unsigned, Writer};
use crate::gemm::Form;
use crate::simd::{Simd, SimdOp};

/// Some rows of a padded image, and where they go. Whoever makes one vouches for the room: `pitch`
/// elements for each row, and a cache line more.
pub(super) struct Strip<'a> {
    /// The image, of `height` rows of `width` elements.
    pub(super) picture: &'a [u8],
    pub(super) height: usize,
    pub(super) width: usize,
    /// Rows and elements that are added above and to the left.
    pub(super) before: [usize; 2],
    /// The rows, counted from the first that was added.
    pub(super) rows: Range<usize>,
    /// Of so many rows the first `used` are read by anyone.
    pub(super) period: usize,
    pub(super) used: usize,
    /// Elements from a row to the next where they go.
    pub(super) pitch: usize,
    /// The code of 0, as a byte.
    pub(super) zero: u8,
    pub(super) form: Form,
    pub(super) out: *mut u8,
}

impl SimdOp for Strip<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, _: S) {
        match self.form {
            Form::Same => self.all::<Same>(),
            Form::Flipped => self.all::<Flipped>(),
            Form::Unsigned => self.all::<Unsigned>(),
            Form::Signed => self.all::<Signed>(),
        }
    }
}

impl Strip<'_> {
    #[inline(always)]
    fn all<B: Become>(self) {
        let Self { picture, height, width, before: [top, left], pitch, zero, .. } = self;
        let left = left.min(pitch);
        let count = width.min(pitch - left);
        for (index, row) in self.rows.clone().enumerate() {
            if index % self.period >= self.used {
                continue;
            }
            // SAFETY: there is room for every row; what is copied lies within one of the image's.
            unsafe {
                let at = self.out.cast::<B::Value>().add(index * pitch);
                let mut to =
                    Writer::<B> { at, end: at.add(pitch), image_end: picture.as_ptr_range().end };
                if row < top || row - top >= height {
                    to.fill(zero, pitch);
                } else {
                    to.fill(zero, left);
                    to.copy(picture.as_ptr().wrapping_add((row - top) * width), count);
                    to.fill(zero, pitch - left - count);
                }
            }
        }
    }
}
