//! The dense operand of dot products.

use super::WIDTH;
use crate::error::Result;
use crate::isa::Isa;
use crate::simd::data_of;
use crate::sparse::lanes::Lanes;
use crate::sparse::value::Int8Value;
use crate::view::MatRef;

/// The dense operand of dot products: data of a signed matrix, signed for an unsigned one; moved by 128
/// where it must be.
pub(in crate::sparse) struct Moved {
    pub(in crate::sparse) lanes: Vec<Lanes<u8>>,
    /// The zero point, moved likewise.
    pub(in crate::sparse) zero: i32,
}

impl Moved {
    /// `x`, of which the code of 0 is `zero`, for a matrix of `V`.
    pub(in crate::sparse) fn new<V: Int8Value, X: Int8Value>(
        isa: Isa,
        x: MatRef<'_, X>,
        zero: i32,
    ) -> Result<Self> {
        Self::in_widths::<V, X>(isa, x, zero, &[WIDTH])
    }

    /// The same in blocks of one of the ascending widths.
    pub(super) fn in_widths<V: Int8Value, X: Int8Value>(
        isa: Isa,
        x: MatRef<'_, X>,
        zero: i32,
        widths: &[usize],
    ) -> Result<Self> {
        let (flip, moved) = match (V::MIN < 0, X::MIN < 0) {
            (true, signed) => data_of(isa, signed),
            (false, true) => (0, 0),
            (false, false) => (0x80, -128),
        };
        let mut lanes = Lanes::blocks(bytes(x), widths)?;
        if flip != 0 {
            for lanes in &mut lanes {
                lanes.as_mut_slice().iter_mut().for_each(|byte| *byte ^= flip);
            }
        }
        // (x - zero) = (moved x) - (moved zero).
        Ok(Self { lanes, zero: zero + moved })
    }
}

/// The same bytes, whatever their sign.
fn bytes<X: Int8Value>(x: MatRef<'_, X>) -> MatRef<'_, u8> {
    // SAFETY: every byte is a value of u8.
    unsafe { x.cast() }
}
