//! Types with one scale, and a least value for some, for each block.

use half::f16;

use super::Encode;
use super::fit::{error, farthest, inverse, scale, scale_and_low};
use super::levels::{Integers, Levels, Sixteen};
use crate::ggml::levels::{IQ4NL, MXFP4, UNEVEN};
use crate::ggml::plain::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};

/// A half float, stored; what it is. None: it is beyond.
#[inline(always)]
pub(super) fn stored(value: f32, bytes: &mut [u8]) -> Option<f32> {
    let half = f16::from_f32(value);
    bytes[..2].copy_from_slice(&half.to_bits().to_le_bytes());
    half.is_finite().then(|| half.to_f32())
}

/// Codes, element by element.
#[inline(always)]
pub(super) fn codes<const N: usize>(
    x: &[f32],
    levels: impl Levels,
    scale: f32,
    low: f32,
) -> [u8; N] {
    let turned = inverse(scale);
    std::array::from_fn(|index| levels.code((x[index] - low) * turned) as u8)
}

/// Byte i: element i in the low half, element i + 16 in the high one.
#[inline(always)]
pub(super) fn pack_halves(codes: [u8; 32], bytes: &mut [u8]) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = codes[index] & 15 | codes[index + 16] << 4;
    }
}

/// The fifth bit of each code.
#[inline(always)]
fn fifths(codes: [u8; 32]) -> [u8; 4] {
    let bits = codes.iter().enumerate().map(|(index, &code)| u32::from(code >> 4 & 1) << index);
    bits.fold(0, |all, bit| all | bit).to_le_bytes()
}

/// Codes from the middle on: stored without a sign.
#[inline(always)]
fn shifted(codes: [u8; 32], middle: u8) -> [u8; 32] {
    codes.map(|code| code.wrapping_add(middle))
}

impl Encode for Q4_0 {
    #[inline(always)]
    fn encode(x: &[f32], counts: &[f32], block: &mut [u8]) -> bool {
        let levels = Integers(-8, 7);
        let Some(d) = stored(scale(x, counts, levels), block) else { return false };
        pack_halves(shifted(codes(x, levels, d, 0.0), 8), &mut block[2..]);
        true
    }
}

impl Encode for Q4_1 {
    #[inline(always)]
    fn encode(x: &[f32], counts: &[f32], block: &mut [u8]) -> bool {
        let levels = Integers(0, 15);
        let (d, low) = scale_and_low(x, counts, levels, false);
        let (Some(d), Some(low)) = (stored(d, block), stored(low, &mut block[2..])) else {
            return false;
        };
        pack_halves(codes(x, levels, d, low), &mut block[4..]);
        true
    }
}

impl Encode for Q5_0 {
    #[inline(always)]
    fn encode(x: &[f32], counts: &[f32], block: &mut [u8]) -> bool {
        let levels = Integers(-16, 15);
        let Some(d) = stored(scale(x, counts, levels), block) else { return false };
        let codes = shifted(codes(x, levels, d, 0.0), 16);
        block[2..6].copy_from_slice(&fifths(codes));
        pack_halves(codes, &mut block[6..]);
        true
    }
}

impl Encode for Q5_1 {
    #[inline(always)]
    fn encode(x: &[f32], counts: &[f32], block: &mut [u8]) -> bool {
        let levels = Integers(0, 31);
        let (d, low) = scale_and_low(x, counts, levels, false);
        let (Some(d), Some(low)) = (stored(d, block), stored(low, &mut block[2..])) else {
            return false;
        };
        let codes = codes(x, levels, d, low);
        block[4..8].copy_from_slice(&fifths(codes));
        pack_halves(codes, &mut block[8..]);
        true
    }
}

impl Encode for Q8_0 {
    #[inline(always)]
    fn encode(x: &[f32], counts: &[f32], block: &mut [u8]) -> bool {
        let levels = Integers(-127, 127);
        let Some(d) = stored(scale(x, counts, levels).abs(), block) else { return false };
        block[2..].copy_from_slice(&codes::<32>(x, levels, d, 0.0));
        true
    }
}

/// IQ4's levels, in their own order.
pub(super) const IQ4: Sixteen =
    Sixteen { levels: &UNEVEN, codes: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] };

impl Encode for IQ4NL {
    #[inline(always)]
    fn encode(x: &[f32], counts: &[f32], block: &mut [u8]) -> bool {
        let Some(d) = stored(scale(x, counts, IQ4), block) else { return false };
        pack_halves(codes(x, IQ4, d, 0.0), &mut block[2..]);
        true
    }
}

/// Twice the values of an E2M1 float, in ascending order; 0 once.
const E2M1: Sixteen = Sixteen {
    levels: &[-12, -8, -6, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 6, 8, 12],
    codes: &[15, 14, 13, 12, 11, 10, 9, 0, 0, 1, 2, 3, 4, 5, 6, 7],
};

impl Encode for MXFP4 {
    #[inline(always)]
    fn encode(x: &[f32], counts: &[f32], block: &mut [u8]) -> bool {
        let far = farthest(x).abs();
        // The power of two for which the farthest is between 4 and 8; the values end at 6.
        let usual = if far == 0.0 { 0 } else { ((far.to_bits() >> 23) as i32 - 2).clamp(0, 254) };
        let half = |exponent: i32| match exponent {
            0 | 1 => f32::from_bits(0x0020_0000 << exponent),
            _ => f32::from_bits(((exponent - 1) as u32) << 23),
        };
        let (mut best, mut least) = (usual, f32::INFINITY);
        for exponent in (usual - 1).max(0)..=(usual + 1).min(254) {
            let found = error(x, counts, E2M1, half(exponent), 0.0);
            if found < least {
                (best, least) = (exponent, found);
            }
        }
        block[0] = best as u8;
        pack_halves(codes(x, E2M1, half(best), 0.0), &mut block[1..]);
        true
    }
}
