//! The float types that arrays come in, and the one in which each is computed.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// A float type of arrays.
pub trait Element: Copy + Send + Sync + 'static {
    /// float64 arithmetic if true, float32 if not.
    const WIDE: bool;
    /// Writes `src` as float32.
    fn to_f32(src: &[Self], dst: &mut [f32]);
    /// `src` itself, where it is float32 already.
    fn as_f32(src: &[Self]) -> Option<&[f32]>;
    /// One value as float64; exact.
    fn to_f64(self) -> f64;
}

impl Element for f32 {
    const WIDE: bool = false;

    fn to_f32(src: &[Self], dst: &mut [f32]) {
        dst.copy_from_slice(src);
    }

    fn as_f32(src: &[Self]) -> Option<&[f32]> {
        Some(src)
    }

    fn to_f64(self) -> f64 {
        self as f64
    }
}

impl Element for f64 {
    const WIDE: bool = true;

    fn to_f32(src: &[Self], dst: &mut [f32]) {
        for (dst, &src) in dst.iter_mut().zip(src) {
            *dst = src as f32;
        }
    }

    fn as_f32(_src: &[Self]) -> Option<&[f32]> {
        None
    }

    fn to_f64(self) -> f64 {
        self
    }
}

macro_rules! half_element {
    ($type:ty) => {
        impl Element for $type {
            const WIDE: bool = false;

            fn to_f32(src: &[Self], dst: &mut [f32]) {
                src.convert_to_f32_slice(dst);
            }

            fn as_f32(_src: &[Self]) -> Option<&[f32]> {
                None
            }

            fn to_f64(self) -> f64 {
                <$type>::to_f64(self)
            }
        }
    };
}

half_element!(f16);
half_element!(bf16);

/// Elements converted at a time: they stay in the first cache.
pub(crate) const BLOCK: usize = 1024;

/// Calls `task` with `src` as float32, whole or block by block; `at` is where the block starts.
pub(crate) fn for_f32_blocks<T: Element>(src: &[T], mut task: impl FnMut(usize, &[f32])) {
    if let Some(src) = T::as_f32(src) {
        task(0, src);
        return;
    }
    let mut buffer = [0.0; BLOCK];
    for (index, block) in src.chunks(BLOCK).enumerate() {
        let buffer = &mut buffer[..block.len()];
        T::to_f32(block, buffer);
        task(index * BLOCK, buffer);
    }
}
