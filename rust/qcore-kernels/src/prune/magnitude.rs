//! The magnitude of a float as an integer of the same order: its bits without the sign.

use half::f16;

use crate::error::Result;
use crate::interrupt;

/// A float type whose magnitudes can be ranked.
pub trait Magnitude: Copy + Send + Sync {
    /// Holds a magnitude.
    type Key: Copy + Ord + Into<u64>;
    /// How many bits a magnitude has.
    const BITS: u32;
    /// The key of infinity; NaN has a greater one.
    const INFINITY: Self::Key;
    /// The bits without the sign: they order as the magnitudes do.
    fn key(self) -> Self::Key;
    /// The key with this value.
    fn key_from(value: u64) -> Self::Key;
}

macro_rules! magnitude {
    ($float:ty, $key:ty, $bits:literal, $infinity:expr) => {
        impl Magnitude for $float {
            type Key = $key;
            const BITS: u32 = $bits;
            const INFINITY: $key = $infinity;

            #[inline(always)]
            fn key(self) -> $key {
                self.to_bits() & (<$key>::MAX >> 1)
            }

            #[inline(always)]
            fn key_from(value: u64) -> $key {
                value as $key
            }
        }
    };
}

magnitude!(f16, u16, 15, f16::INFINITY.to_bits());
magnitude!(f32, u32, 31, f32::INFINITY.to_bits());
magnitude!(f64, u64, 63, f64::INFINITY.to_bits());

/// Where the first NaN is.
pub(super) fn first_nan<T: Magnitude>(values: &[T]) -> Result<Option<usize>> {
    for (index, chunk) in values.chunks(AT_ONCE).enumerate() {
        interrupt::check()?;
        if let Some(at) = chunk.iter().position(|value| value.key() > T::INFINITY) {
            return Ok(Some(index * AT_ONCE + at));
        }
    }
    Ok(None)
}

/// Weights between two looks at whether to stop.
pub(super) const AT_ONCE: usize = 1 << 16;
