//! Codes of four bits that number sixteen levels.

use super::block::{Block, half, take};

/// Levels of IQ4: denser near zero.
pub(super) const UNEVEN: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// Twice the values of an E2M1 float.
const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Levels of `N` bytes: the low halves first, then the high ones.
#[inline(always)]
fn halves<const N: usize>(levels: &[i8; 16], d: f32, bytes: &[u8; N], out: &mut [f32]) {
    let (low, high) = out.split_at_mut(N);
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = d * f32::from(levels[usize::from(byte & 15)]);
        *high = d * f32::from(levels[usize::from(byte >> 4)]);
    }
}

pub(super) struct IQ4NL;

impl Block for IQ4NL {
    const NAME: &'static str = "IQ4_NL";
    const NUMBER: u32 = 20;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 18;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        halves(&UNEVEN, half(block), take::<16>(block, 2), out);
    }
}

pub(super) struct IQ4XS;

impl Block for IQ4XS {
    const NAME: &'static str = "IQ4_XS";
    const NUMBER: u32 = 23;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 136;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        let d = half(block);
        let (high, low) = (u16::from_le_bytes(*take(block, 2)), take::<4>(block, 4));
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let scale = low[group / 2] >> (group % 2 * 4) & 15;
            let scale = i32::from(scale) | i32::from(high >> (group * 2) & 3) << 4;
            halves(&UNEVEN, d * (scale - 32) as f32, take::<16>(block, 8 + group * 16), out);
        }
    }
}

pub(super) struct MXFP4;

impl Block for MXFP4 {
    const NAME: &'static str = "MXFP4";
    const NUMBER: u32 = 39;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 17;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        // Half of 2^(e - 127), since levels are doubled.
        let exponent = u32::from(block[0]);
        let bits = if exponent < 2 { 0x0020_0000 << exponent } else { (exponent - 1) << 23 };
        halves(&E2M1, f32::from_bits(bits), take::<16>(block, 1), out);
    }
}

pub(super) struct NVFP4;

/// An E4M3 float without its sign, halved, since levels are doubled; the NaN is 0.
#[inline(always)]
fn scale(bits: u8) -> f32 {
    if bits == 0 || bits == 0x7f {
        return 0.0;
    }
    let (exponent, mantissa) = (u32::from(bits >> 3 & 15), f32::from(bits & 7));
    if exponent == 0 {
        return mantissa * (1.0 / 1024.0);
    }
    // 2^(exponent - 7), halved.
    (1.0 + mantissa * 0.125) * f32::from_bits((exponent + 119) << 23)
}

impl Block for NVFP4 {
    const NAME: &'static str = "NVFP4";
    const NUMBER: u32 = 40;
    const ELEMENTS: usize = 64;
    const BYTES: usize = 36;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            halves(&E2M1, scale(block[part]), take::<8>(block, 4 + part * 8), out);
        }
    }
}
