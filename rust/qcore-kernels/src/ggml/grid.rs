//! Codes that number points of a lattice: eight, or four, elements at once, and their signs.

use super::block::{Block, half, take, widened};
use super::table_iq1::IQ1;
use super::tables::{IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS};

#[inline(always)]
fn word(block: &[u8], start: usize) -> u16 {
    u16::from_le_bytes(*take(block, start))
}

#[inline(always)]
fn dword(block: &[u8], start: usize) -> u32 {
    u32::from_le_bytes(*take(block, start))
}

/// Seven signs; the eighth makes their number even.
#[inline(always)]
fn signs(seven: u32) -> u8 {
    let seven = (seven & 127) as u8;
    seven | ((seven.count_ones() & 1) << 7) as u8
}

/// `step * level`, negative where the bit is set.
#[inline(always)]
fn signed(step: f32, levels: [i32; 8], signs: u8, out: &mut [f32]) {
    for (index, (out, level)) in out.iter_mut().zip(levels).enumerate() {
        let sign = (u32::from(signs) >> index & 1) << 31;
        *out = f32::from_bits((step * level as f32).to_bits() ^ sign);
    }
}

/// A point of an IQ2 lattice: two bits for each element, for 8, 25 and 43.
#[inline(always)]
fn eight(point: u16) -> [i32; 8] {
    std::array::from_fn(|index| {
        let code = i32::from(point) >> (index * 2) & 3;
        8 + 17 * code + (code >> 1)
    })
}

/// Two points of an IQ3 lattice, of four bits for each element.
#[inline(always)]
fn twice_four(points: [u16; 2], level: impl Fn(i32) -> i32) -> [i32; 8] {
    let both = u32::from(points[0]) | u32::from(points[1]) << 16;
    std::array::from_fn(|index| level((both >> (index * 4) & 15) as i32))
}

pub(super) struct IQ2XXS;

impl Block for IQ2XXS {
    const NAME: &'static str = "IQ2_XXS";
    const NUMBER: u32 = 16;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 66;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        let d = half(block);
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let start = 2 + group * 8;
            let (points, rest) = (take::<4>(block, start), dword(block, start + 4));
            let step = d * (0.5 + (rest >> 28) as f32) * 0.25;
            for (index, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let point = IQ2_XXS[usize::from(points[index])];
                signed(step, eight(point), signs(rest >> (index * 7)), out);
            }
        }
    }
}

pub(super) struct IQ2XS;

impl Block for IQ2XS {
    const NAME: &'static str = "IQ2_XS";
    const NUMBER: u32 = 17;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 74;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        let d = half(block);
        for (index, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let scale = block[66 + index / 4] >> (index / 2 % 2 * 4) & 15;
            let step = d * (0.5 + f32::from(scale)) * 0.25;
            let code = word(block, 2 + index * 2);
            let point = IQ2_XS[usize::from(code & 511)];
            signed(step, eight(point), signs(u32::from(code >> 9)), out);
        }
    }
}

pub(super) struct IQ2S;

impl Block for IQ2S {
    const NAME: &'static str = "IQ2_S";
    const NUMBER: u32 = 22;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 82;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        let d = half(block);
        for (index, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let scale = block[74 + index / 4] >> (index / 2 % 2 * 4) & 15;
            let step = d * (0.5 + f32::from(scale)) * 0.25;
            let high = usize::from(block[66 + index / 4] >> (index % 4 * 2) & 3);
            let point = IQ2_S[usize::from(block[2 + index]) | high << 8];
            signed(step, eight(point), block[34 + index], out);
        }
    }
}

pub(super) struct IQ3XXS;

impl Block for IQ3XXS {
    const NAME: &'static str = "IQ3_XXS";
    const NUMBER: u32 = 18;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 98;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        let d = half(block);
        for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let rest = dword(block, 66 + group * 4);
            let step = d * (0.5 + (rest >> 28) as f32) * 0.5;
            for (index, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let codes = take::<2>(block, 2 + group * 8 + index * 2);
                let points = codes.map(|code| IQ3_XXS[usize::from(code)]);
                // 4 to 60 by eights, but 62 in place of 60.
                let levels = twice_four(points, |code| 4 + 8 * code + ((code + 1) >> 3) * 2);
                signed(step, levels, signs(rest >> (index * 7)), out);
            }
        }
    }
}

pub(super) struct IQ3S;

impl Block for IQ3S {
    const NAME: &'static str = "IQ3_S";
    const NUMBER: u32 = 21;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 110;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        let d = half(block);
        for (index, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let group = index / 4;
            let scale = block[106 + group / 2] >> (group % 2 * 4) & 15;
            let step = d * (1 + 2 * i32::from(scale)) as f32;
            let (codes, high) = (take::<2>(block, 2 + index * 2), usize::from(block[66 + group]));
            let bit = |at: usize| (high >> (index % 4 * 2 + at) & 1) << 8;
            let points = [0, 1].map(|at| IQ3_S[usize::from(codes[at]) | bit(at)]);
            signed(step, twice_four(points, |code| 1 + 2 * code), block[74 + index], out);
        }
    }
}

/// `step * (level + shift)` of a point of IQ1's lattice: -1, 0 and 1.
#[inline(always)]
fn shifted(step: f32, point: u16, shift: f32, out: &mut [f32; 8]) {
    for (index, out) in out.iter_mut().enumerate() {
        let level = (i32::from(point) >> (index * 2) & 3) - 1;
        *out = step * (level as f32 + shift);
    }
}

/// An eighth, negative where it says so.
#[inline(always)]
fn eighth(negative: bool) -> f32 {
    if negative { -0.125 } else { 0.125 }
}

pub(super) struct IQ1S;

impl Block for IQ1S {
    const NAME: &'static str = "IQ1_S";
    const NUMBER: u32 = 19;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 50;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        let d = half(block);
        for (index, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let rest = word(block, 34 + index / 4 * 2);
            let step = d * (2 * i32::from(rest >> 12 & 7) + 1) as f32;
            let high = usize::from(rest >> (index % 4 * 3) & 7);
            let point = IQ1[usize::from(block[2 + index]) | high << 8];
            shifted(step, point, eighth(rest & 0x8000 != 0), out);
        }
    }
}

pub(super) struct IQ1M;

impl Block for IQ1M {
    const NAME: &'static str = "IQ1_M";
    const NUMBER: u32 = 29;
    const ELEMENTS: usize = 256;
    const BYTES: usize = 56;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        let scales: [u16; 4] = std::array::from_fn(|index| word(block, 48 + index * 2));
        // The block's own scale lies in the highest four bits of each.
        let d = (0..4).fold(0, |d, index| d | (scales[index] & 0xf000) >> (12 - index * 4));
        let d = widened(d);
        for (index, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let scale = scales[index / 8] >> (index / 2 % 4 * 3) & 7;
            let step = d * (2 * i32::from(scale) + 1) as f32;
            let rest = block[32 + index / 2] >> (index % 2 * 4);
            let point = IQ1[usize::from(block[index]) | usize::from(rest & 7) << 8];
            shifted(step, point, eighth(rest & 8 != 0), out);
        }
    }
}
