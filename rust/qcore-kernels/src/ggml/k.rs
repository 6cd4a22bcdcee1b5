//! K-quants: blocks of 256 elements, cut into sub-blocks whose scales have few bits themselves.

use super::block::{Block, half, take};

/// Element i of each 32 comes from byte i; the 32s of 128 elements from two bits each.
#[inline(always)]
fn pairs(packed: &[u8; 64], group: usize, index: usize) -> u8 {
    packed[group / 4 * 32 + index] >> (group % 4 * 2) & 3
}

pub(super) struct Q2K;

impl Block for Q2K {
    const NAME: &'static str = "Q2_K";
    const NUMBER: u32 = 10;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 84;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        let (scales, codes) = (take::<16>(block, 0), take::<64>(block, 16));
        let (d, least) = (half(&block[80..]), half(&block[82..]));
        for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let step = d * f32::from(scales[part] & 15);
            let low = least * f32::from(scales[part] >> 4);
            for (index, out) in out.iter_mut().enumerate() {
                let code = pairs(codes, part / 2, part % 2 * 16 + index);
                *out = step * f32::from(code) - low;
            }
        }
    }
}

pub(super) struct Q3K;

impl Block for Q3K {
    const NAME: &'static str = "Q3_K";
    const NUMBER: u32 = 11;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 110;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        let (mask, codes) = (take::<32>(block, 0), take::<64>(block, 32));
        let (scales, d) = (take::<12>(block, 96), half(&block[108..]));
        for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            // Four bits of sixteen scales, then two bits of each.
            let low = scales[part % 8] >> (part / 8 * 4) & 15;
            let high = scales[8 + part % 4] >> (part / 4 * 2) & 3;
            let step = d * (i32::from(low | high << 4) - 32) as f32;
            for (index, out) in out.iter_mut().enumerate() {
                let (group, at) = (part / 2, part % 2 * 16 + index);
                // The third bit stands inverted, for 4 less.
                let less = i32::from(!mask[at] >> group & 1) * 4;
                *out = step * (i32::from(pairs(codes, group, at)) - less) as f32;
            }
        }
    }
}

/// Scales and least values of eight sub-blocks, of six bits each, in 12 bytes.
#[inline(always)]
fn six_bits(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut least) = ([0; 8], [0; 8]);
    for index in 0..4 {
        let (first, second, rest) = (packed[index], packed[index + 4], packed[index + 8]);
        scales[index] = first & 0x3f;
        least[index] = second & 0x3f;
        scales[index + 4] = rest & 15 | first >> 2 & 0x30;
        least[index + 4] = rest >> 4 | second >> 2 & 0x30;
    }
    (scales, least)
}

/// Four, or with their high bits five, bits for each element: `step * code - low` for each 32.
#[inline(always)]
fn from_least(block: &[u8], codes: &[u8; 128], high: Option<&[u8; 32]>, out: &mut [f32]) {
    let (d, least) = (half(block), half(&block[2..]));
    let (scales, lows) = six_bits(take(block, 4));
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (step, low) = (d * f32::from(scales[group]), least * f32::from(lows[group]));
        for (index, out) in out.iter_mut().enumerate() {
            let mut code = codes[group / 2 * 32 + index] >> (group % 2 * 4) & 15;
            if let Some(high) = high {
                code |= (high[index] >> group & 1) << 4;
            }
            *out = step * f32::from(code) - low;
        }
    }
}

pub(super) struct Q4K;

impl Block for Q4K {
    const NAME: &'static str = "Q4_K";
    const NUMBER: u32 = 12;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 144;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        from_least(block, take(block, 16), None, out);
    }
}

pub(super) struct Q5K;

impl Block for Q5K {
    const NAME: &'static str = "Q5_K";
    const NUMBER: u32 = 13;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 176;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        from_least(block, take(block, 48), Some(take(block, 16)), out);
    }
}

pub(super) struct Q6K;

impl Block for Q6K {
    const NAME: &'static str = "Q6_K";
    const NUMBER: u32 = 14;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 210;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        let (low, high) = (take::<128>(block, 0), take::<64>(block, 128));
        let (scales, d) = (take::<16>(block, 192), half(&block[208..]));
        for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let step = d * f32::from(scales[part] as i8);
            let group = part / 2;
            for (index, out) in out.iter_mut().enumerate() {
                let at = part % 2 * 16 + index;
                // Of 128 elements: 64 bytes of which the low halves come first.
                let byte = low[group / 4 * 64 + group % 2 * 32 + at];
                let code = byte >> (group % 4 / 2 * 4) & 15 | pairs(high, group, at) << 4;
                *out = step * (i32::from(code) - 32) as f32;
            }
        }
    }
}
