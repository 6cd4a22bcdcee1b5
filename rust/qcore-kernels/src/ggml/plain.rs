//! Codes of 1, 4, 5 and 8 bits with one scale for each block, and a least value for some.

use super::block::{Block, half, take};

/// Codes of a block of 32: byte i holds element i in its low half and element i + 16 in its high one.
#[inline(always)]
fn nibbles(packed: &[u8; 16]) -> [u8; 32] {
    let mut codes = [0; 32];
    for (index, &byte) in packed.iter().enumerate() {
        codes[index] = byte & 15;
        codes[index + 16] = byte >> 4;
    }
    codes
}

/// Nibbles with a fifth bit for each element.
#[inline(always)]
fn fives(high: &[u8; 4], packed: &[u8; 16]) -> [u8; 32] {
    let (high, mut codes) = (u32::from_le_bytes(*high), nibbles(packed));
    for (index, code) in codes.iter_mut().enumerate() {
        *code |= ((high >> index & 1) << 4) as u8;
    }
    codes
}

/// `d * (code - middle)`.
#[inline(always)]
fn centred(d: f32, codes: [u8; 32], middle: i32, out: &mut [f32]) {
    for (out, code) in out.iter_mut().zip(codes) {
        *out = d * (i32::from(code) - middle) as f32;
    }
}

/// `d * code + m`.
#[inline(always)]
fn from_least(d: f32, codes: [u8; 32], m: f32, out: &mut [f32]) {
    for (out, code) in out.iter_mut().zip(codes) {
        *out = d * f32::from(code) + m;
    }
}

pub(super) struct Q1_0;

impl Block for Q1_0 {
    const NAME: &'static str = "Q1_0";
    const NUMBER: u32 = 41;
    const ELEMENTS: usize = 128;
    const BYTES: usize = 18;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        let d = half(block).to_bits();
        let bytes = take::<16>(block, 2);
        for (out, byte) in out.as_chunks_mut::<8>().0.iter_mut().zip(bytes) {
            for (index, out) in out.iter_mut().enumerate() {
                // A bit that is not set turns the sign.
                *out = f32::from_bits(d ^ (u32::from(!byte) >> index & 1) << 31);
            }
        }
    }
}

pub(super) struct Q4_0;

impl Block for Q4_0 {
    const NAME: &'static str = "Q4_0";
    const NUMBER: u32 = 2;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 18;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        centred(half(block), nibbles(take(block, 2)), 8, out);
    }
}

pub(super) struct Q4_1;

impl Block for Q4_1 {
    const NAME: &'static str = "Q4_1";
    const NUMBER: u32 = 3;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 20;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        from_least(half(block), nibbles(take(block, 4)), half(&block[2..]), out);
    }
}

pub(super) struct Q5_0;

impl Block for Q5_0 {
    const NAME: &'static str = "Q5_0";
    const NUMBER: u32 = 6;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 22;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        centred(half(block), fives(take(block, 2), take(block, 6)), 16, out);
    }
}

pub(super) struct Q5_1;

impl Block for Q5_1 {
    const NAME: &'static str = "Q5_1";
    const NUMBER: u32 = 7;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 24;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        from_least(half(block), fives(take(block, 4), take(block, 8)), half(&block[2..]), out);
    }
}

pub(super) struct Q8_0;

impl Block for Q8_0 {
    const NAME: &'static str = "Q8_0";
    const NUMBER: u32 = 8;
    const ELEMENTS: usize = 32;
    const BYTES: usize = 34;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        let (d, codes) = (half(block), take::<32>(block, 2));
        for (out, &code) in out.iter_mut().zip(codes) {
            *out = d * f32::from(code as i8);
        }
    }
}
