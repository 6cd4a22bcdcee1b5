//! Codes of three values: -1, 0 and 1.

use super::block::{Block, half, take};

pub(super) struct TQ1_0;

/// The digits of bytes in base 3 as fixed-point fractions: five passes over `bytes`, or fewer.
#[inline(always)]
fn digits<const N: usize>(bytes: &[u8; N], d: f32, out: &mut [f32]) {
    let mut power = 1_u8;
    for out in out.as_chunks_mut::<N>().0 {
        for (out, byte) in out.iter_mut().zip(bytes) {
            let rest = byte.wrapping_mul(power);
            *out = d * (i32::from((u16::from(rest) * 3) >> 8) - 1) as f32;
        }
        power = power.wrapping_mul(3);
    }
}

impl Block for TQ1_0 {
    const NAME: &'static str = "TQ1_0";
    const NUMBER: u32 = 34;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 54;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        let d = half(&block[52..]);
        digits(take::<32>(block, 0), d, &mut out[..160]);
        digits(take::<16>(block, 32), d, &mut out[160..240]);
        digits(take::<4>(block, 48), d, &mut out[240..256]);
    }
}

pub(super) struct TQ2_0;

impl Block for TQ2_0 {
    const NAME: &'static str = "TQ2_0";
    const NUMBER: u32 = 35;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 66;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        let (codes, d) = (take::<64>(block, 0), half(&block[64..]));
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (index, out) in out.iter_mut().enumerate() {
                let code = codes[group / 4 * 32 + index] >> (group % 4 * 2) & 3;
                *out = d * (i32::from(code) - 1) as f32;
            }
        }
    }
}
