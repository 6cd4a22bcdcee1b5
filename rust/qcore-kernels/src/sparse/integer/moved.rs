//! The dense operand of dot products.

use super::WIDTH;
use crate::error::Result;
use crate::sparse::lanes::Lanes;
use crate::sparse::value::Int8Value;
use crate::view::MatRef;

/// The dense operand of dot products, of which one operand is unsigned and the other signed: it has
/// the sign that the matrix has not, moved by 128 where it must be.
pub(in crate::sparse) struct Moved {
    pub(in crate::sparse) lanes: Vec<Lanes<u8>>,
    /// The zero point, moved likewise.
    pub(in crate::sparse) zero: i32,
}

impl Moved {
    /// `x`, of which the code of 0 is `zero`, for a matrix of `V`.
    pub(in crate::sparse) fn new<V: Int8Value, X: Int8Value>(
        x: MatRef<'_, X>,
        zero: i32,
    ) -> Result<Self> {
        Self::in_widths::<V, X>(x, zero, &[WIDTH])
    }

    /// The same in blocks of one of the ascending widths.
    pub(super) fn in_widths<V: Int8Value, X: Int8Value>(
        x: MatRef<'_, X>,
        zero: i32,
        widths: &[usize],
    ) -> Result<Self> {
        let flip = if (X::MIN < 0) == (V::MIN < 0) { 0x80 } else { 0 };
        let moved = match (flip, V::MIN < 0) {
            (0, _) => 0,
            (_, true) => 128,
            (_, false) => -128,
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
