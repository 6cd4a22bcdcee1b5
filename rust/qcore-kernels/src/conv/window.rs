//! Where a window lies on an image.

use crate::error::{KernelError, Result};

/// A window that moves over an image; each pair is (rows, columns).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Taps.
    pub kernel: [usize; 2],
    /// Pixels from a place to the next.
    pub stride: [usize; 2],
    /// Pixels from a tap to the next.
    pub dilation: [usize; 2],
    /// Pixels that are added before and after: `[[top, bottom], [left, right]]`.
    pub padding: [[usize; 2]; 2],
}

impl Window {
    /// A window without padding that moves by single pixels.
    #[must_use]
    pub fn new(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: [1; 2], dilation: [1; 2], padding: [[0; 2]; 2] }
    }

    /// Pixels from the first tap of an axis to the last, and one.
    pub(super) fn extent(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    /// Whether it has one tap and takes every pixel.
    pub(super) fn is_point(&self) -> bool {
        self.kernel == [1; 2] && self.stride == [1; 2] && !self.is_padded()
    }

    pub(super) fn is_padded(&self) -> bool {
        self.padding != [[0; 2]; 2]
    }

    /// Places along each axis of an image of this size.
    pub fn places(&self, image: [usize; 2]) -> Result<[usize; 2]> {
        let mut places = [0; 2];
        for axis in 0..2 {
            let misfit = || {
                KernelError::Shape(format!("{self:?} does not fit an image of {image:?} pixels"))
            };
            let (kernel, stride) = (self.kernel[axis], self.stride[axis]);
            if kernel == 0 || stride == 0 || self.dilation[axis] == 0 {
                return Err(KernelError::Value(format!(
                    "kernel, stride and dilation of {self:?} must be at least 1"
                )));
            }
            let extent =
                (kernel - 1).checked_mul(self.dilation[axis]).and_then(|e| e.checked_add(1));
            let [before, after] = self.padding[axis];
            let size = image[axis].checked_add(before).and_then(|size| size.checked_add(after));
            let room = size.zip(extent).and_then(|(size, extent)| size.checked_sub(extent));
            places[axis] = room.ok_or_else(misfit)? / stride + 1;
        }
        Ok(places)
    }
}
