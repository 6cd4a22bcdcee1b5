//! Blocks of 256: the scales of sub-blocks, in few bits, chosen with the codes that follow from them.

use super::Encode;
use super::fit::{error, inverse, scale, scale_and_low};
use super::levels::{Integers, Levels};
use super::plain::{IQ4, codes, pack_halves, stored};
use crate::ggml::k::{Q2K, Q3K, Q4K, Q5K, Q6K};
use crate::ggml::levels::IQ4XS;

/// Solutions for the block's own scale from which the search goes on.
const ROUNDS: usize = 3;
/// How far from the nearest the stored scale of a sub-block is looked for.
const REACH: i32 = 2;

/// The half float nearest to a number, as a number; none but 0 becomes 0, which no code could make up
/// for.
#[inline(always)]
fn halved(value: f32) -> f32 {
    let half = half::f16::from_f32(value).to_f32();
    let least = half::f16::from_bits(1).to_f32();
    if half == 0.0 && value != 0.0 { least.copysign(value) } else { half }
}

/// Sub-blocks of `SIZE`, with what their elements count.
#[inline(always)]
fn parts<'a, const SIZE: usize>(
    x: &'a [f32],
    counts: &'a [f32],
) -> impl Iterator<Item = (&'a [f32; SIZE], &'a [f32; SIZE])> + Clone {
    x.as_chunks::<SIZE>().0.iter().zip(counts.as_chunks::<SIZE>().0)
}

/// A scale for the block, and one of few bits for each of its `N` sub-blocks.
#[inline(always)]
fn scales<const N: usize, const SIZE: usize>(
    x: &[f32],
    counts: &[f32],
    levels: impl Levels,
    (least, most): (i32, i32),
) -> (f32, [i32; N]) {
    let mut own = [0.0; N];
    for (own, (x, counts)) in own.iter_mut().zip(parts::<SIZE>(x, counts)) {
        *own = scale(x, counts, levels);
    }
    let far = own.iter().fold(0.0, |far: f32, &own| if own.abs() > far.abs() { own } else { far });
    let mut d = halved(far / least as f32);
    let (mut best, mut found) = ((d, [0; N]), f32::INFINITY);
    for _ in 0..ROUNDS {
        let turned = inverse(d);
        let (mut chosen, mut all, mut both, mut square) = ([0; N], 0.0, 0.0, 0.0);
        for ((chosen, own), (x, counts)) in chosen.iter_mut().zip(own).zip(parts::<SIZE>(x, counts))
        {
            let near = (own * turned).round_ties_even() as i32;
            let mut fewest = f32::INFINITY;
            for step in near - REACH..=near + REACH {
                let step = step.clamp(least, most);
                let error = error(x, counts, levels, d * step as f32, 0.0);
                if error < fewest {
                    (fewest, *chosen) = (error, step);
                }
            }
            all += fewest;
            let (step, turned) = (*chosen as f32, inverse(d * *chosen as f32));
            for (&x, &count) in x.iter().zip(counts) {
                let level = step * levels.nearest(x * turned);
                both += count * x * level;
                square += count * level * level;
            }
        }
        if all >= found {
            break;
        }
        (best, found) = ((d, chosen), all);
        if square > 0.0 {
            d = halved(both / square);
        }
    }
    best
}

/// The same with least values: of the block, and of few bits for each sub-block; these are taken off.
#[inline(always)]
fn scales_and_lows<const N: usize, const SIZE: usize>(
    x: &[f32],
    counts: &[f32],
    levels: impl Levels,
    most: i32,
) -> ([f32; 2], [[i32; 2]; N]) {
    let mut own = [(0.0, 0.0); N];
    for (own, (x, counts)) in own.iter_mut().zip(parts::<SIZE>(x, counts)) {
        *own = scale_and_low(x, counts, levels, true);
    }
    let top = |pick: fn(&(f32, f32)) -> f32| {
        halved(own.iter().map(pick).fold(0.0, f32::max) / most as f32)
    };
    // Of few steps a farther one may be the better one, as the other of the pair moves too.
    let reach = if most < 32 { 3 } else { 1 };
    let mut d = [top(|own| own.0), top(|own| -own.1)];
    let (mut best, mut found) = ((d, [[0; 2]; N]), f32::INFINITY);
    for _ in 0..ROUNDS {
        let turned = d.map(inverse);
        let (mut chosen, mut all, mut m) = ([[0; 2]; N], 0.0, [0.0; 5]);
        for ((chosen, own), (x, counts)) in chosen.iter_mut().zip(own).zip(parts::<SIZE>(x, counts))
        {
            let near =
                [own.0 * turned[0], -own.1 * turned[1]].map(|near| near.round_ties_even() as i32);
            let mut fewest = f32::INFINITY;
            for step in near[0] - reach..=near[0] + reach {
                for low in near[1] - reach..=near[1] + reach {
                    let pair = [step, low].map(|bits| bits.clamp(0, most));
                    let (scale, start) = (d[0] * pair[0] as f32, -(d[1] * pair[1] as f32));
                    let error = error(x, counts, levels, scale, start);
                    if error < fewest {
                        (fewest, *chosen) = (error, pair);
                    }
                }
            }
            all += fewest;
            let [step, low] = chosen.map(|bits| bits as f32);
            let (turned, start) = (inverse(d[0] * step), -(d[1] * low));
            for (&x, &count) in x.iter().zip(counts) {
                let level = step * levels.nearest((x - start) * turned);
                m[0] += count * level * level;
                m[1] += count * level * low;
                m[2] += count * low * low;
                m[3] += count * x * level;
                m[4] += count * x * low;
            }
        }
        if all >= found {
            break;
        }
        (best, found) = ((d, chosen), all);
        // x is about d0 * level - d1 * low.
        let determinant = m[0] * m[2] - m[1] * m[1];
        if determinant > 0.0 {
            let solved = [
                (m[3] * m[2] - m[4] * m[1]) / determinant,
                (m[3] * m[1] - m[4] * m[0]) / determinant,
            ];
            if solved.iter().all(|&solved| solved >= 0.0) {
                d = solved.map(halved);
            }
        } else if m[0] > 0.0 {
            d[0] = halved(m[3] / m[0]);
        }
    }
    best
}

/// The codes of a block under the scales of its sub-blocks.
#[inline(always)]
fn all_codes<const SIZE: usize>(
    x: &[f32],
    levels: impl Levels,
    of: impl Fn(usize) -> (f32, f32),
) -> [u8; 256] {
    let mut all = [0; 256];
    let out = all.as_chunks_mut::<SIZE>().0.iter_mut().zip(x.as_chunks::<SIZE>().0);
    for (part, (out, x)) in out.enumerate() {
        let (scale, low) = of(part);
        *out = codes(x, levels, scale, low);
    }
    all
}

/// Two bits of each code: element i of each 32 in byte i, the 32s of 128 above each other.
#[inline(always)]
fn pack_pairs(codes: &[u8; 256], shift: u32, bytes: &mut [u8]) {
    for (at, byte) in bytes[..64].iter_mut().enumerate() {
        let pair = |group: usize| {
            (codes[at / 32 * 128 + group * 32 + at % 32] >> shift & 3) << (2 * group)
        };
        *byte = pair(0) | pair(1) | pair(2) | pair(3);
    }
}

impl Encode for Q2K {
    #[inline(always)]
    fn encode(x: &[f32], counts: &[f32], block: &mut [u8]) -> bool {
        let levels = Integers(0, 3);
        let (d, few) = scales_and_lows::<16, 16>(x, counts, levels, 15);
        for (byte, [step, low]) in block.iter_mut().zip(few) {
            *byte = step as u8 | (low as u8) << 4;
        }
        let of = |part: usize| (d[0] * few[part][0] as f32, -(d[1] * few[part][1] as f32));
        pack_pairs(&all_codes::<16>(x, levels, of), 0, &mut block[16..]);
        stored(d[0], &mut block[80..]).and(stored(d[1], &mut block[82..])).is_some()
    }
}

impl Encode for Q3K {
    #[inline(always)]
    fn encode(x: &[f32], counts: &[f32], block: &mut [u8]) -> bool {
        let levels = Integers(-4, 3);
        let (d, few) = scales::<16, 16>(x, counts, levels, (-32, 31));
        let of = |part: usize| (d * few[part] as f32, 0.0);
        let codes = all_codes::<16>(x, levels, of).map(|code| code.wrapping_add(4));
        block.fill(0);
        for (element, code) in codes.iter().enumerate() {
            // The third bit of a code from 0 on.
            block[element % 32] |= (code >> 2 & 1) << (element / 32);
        }
        pack_pairs(&codes, 0, &mut block[32..]);
        for (part, few) in few.iter().enumerate() {
            let bits = (few + 32) as u8;
            block[96 + part % 8] |= (bits & 15) << (part / 8 * 4);
            block[104 + part % 4] |= (bits >> 4) << (part / 4 * 2);
        }
        stored(d, &mut block[108..]).is_some()
    }
}

/// Scales and least values of six bits, in 12 bytes.
#[inline(always)]
fn pack_six(few: [[i32; 2]; 8], bytes: &mut [u8]) {
    let few = few.map(|pair| pair.map(|bits| bits as u8));
    for index in 0..4 {
        let ([step, low], [later, lower]) = (few[index], few[index + 4]);
        bytes[index] = step | (later >> 4) << 6;
        bytes[index + 4] = low | (lower >> 4) << 6;
        bytes[index + 8] = later & 15 | lower << 4;
    }
}

/// Low halves of codes: two 32s in 32 bytes.
#[inline(always)]
fn pack_nibbles(codes: &[u8; 256], bytes: &mut [u8]) {
    for (at, byte) in bytes[..128].iter_mut().enumerate() {
        let first = at / 32 * 64 + at % 32;
        *byte = codes[first] & 15 | codes[first + 32] << 4;
    }
}

impl Encode for Q4K {
    #[inline(always)]
    fn encode(x: &[f32], counts: &[f32], block: &mut [u8]) -> bool {
        let levels = Integers(0, 15);
        let (d, few) = scales_and_lows::<8, 32>(x, counts, levels, 63);
        let of = |part: usize| (d[0] * few[part][0] as f32, -(d[1] * few[part][1] as f32));
        pack_six(few, &mut block[4..]);
        pack_nibbles(&all_codes::<32>(x, levels, of), &mut block[16..]);
        stored(d[0], block).and(stored(d[1], &mut block[2..])).is_some()
    }
}

impl Encode for Q5K {
    #[inline(always)]
    fn encode(x: &[f32], counts: &[f32], block: &mut [u8]) -> bool {
        let levels = Integers(0, 31);
        let (d, few) = scales_and_lows::<8, 32>(x, counts, levels, 63);
        let of = |part: usize| (d[0] * few[part][0] as f32, -(d[1] * few[part][1] as f32));
        let codes = all_codes::<32>(x, levels, of);
        pack_six(few, &mut block[4..]);
        for (at, byte) in block[16..48].iter_mut().enumerate() {
            let bits = (0..8).map(|group| (codes[group * 32 + at] >> 4 & 1) << group);
            *byte = bits.fold(0, |all, bit| all | bit);
        }
        pack_nibbles(&codes, &mut block[48..]);
        stored(d[0], block).and(stored(d[1], &mut block[2..])).is_some()
    }
}

impl Encode for Q6K {
    #[inline(always)]
    fn encode(x: &[f32], counts: &[f32], block: &mut [u8]) -> bool {
        let levels = Integers(-32, 31);
        let (d, few) = scales::<16, 16>(x, counts, levels, (-128, 127));
        let of = |part: usize| (d * few[part] as f32, 0.0);
        let codes = all_codes::<16>(x, levels, of).map(|code| code.wrapping_add(32));
        for (at, byte) in block[..128].iter_mut().enumerate() {
            let first = at / 64 * 128 + at % 64;
            *byte = codes[first] & 15 | codes[first + 64] << 4;
        }
        pack_pairs(&codes, 4, &mut block[128..]);
        for (byte, few) in block[192..208].iter_mut().zip(few) {
            *byte = few as u8;
        }
        stored(d, &mut block[208..]).is_some()
    }
}

impl Encode for IQ4XS {
    #[inline(always)]
    fn encode(x: &[f32], counts: &[f32], block: &mut [u8]) -> bool {
        let (d, few) = scales::<8, 32>(x, counts, IQ4, (-32, 31));
        let mut high = 0_u16;
        block[4..8].fill(0);
        for (part, (few, x)) in few.iter().zip(x.as_chunks::<32>().0).enumerate() {
            let bits = (few + 32) as u16;
            high |= (bits >> 4) << (2 * part);
            block[4 + part / 2] |= ((bits & 15) << (part % 2 * 4)) as u8;
            let start = 8 + part * 16;
            pack_halves(codes(x, IQ4, d * *few as f32, 0.0), &mut block[start..start + 16]);
        }
        block[2..4].copy_from_slice(&high.to_le_bytes());
        stored(d, block).is_some()
    }
}
