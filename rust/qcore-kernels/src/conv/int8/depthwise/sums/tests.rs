//! Places that slide, beside plain sums.

use super::*;
use crate::isa::Isa;
use crate::simd::{data_of, dispatch_dot};

/// Bytes, many of them the greatest and the least.
fn bytes(seed: u32, len: usize, least: u8) -> Vec<u8> {
    let mut state = seed;
    let byte = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match state >> 30 {
            0 => least,
            1 => 0x7f,
            _ if (state >> 16) as u8 == 0x80 => least,
            _ => (state >> 16) as u8,
        }
    };
    (0..len).map(byte).collect()
}

#[test]
fn windows_slide() {
    for (groups, wide) in [(1, 3), (2, 5)] {
        for width in [16, 20, 24, 44] {
            for count in 1..17 {
                for least in [0x80, 0x81] {
                    check(groups, wide, width, count, least);
                }
            }
        }
    }
}

fn check(groups: usize, wide: usize, width: usize, count: usize, least: u8) {
    let (step, row) = (4 * width, 4 * width * (count + wide - 1));
    let quads = bytes(count as u32, groups * row, 0x80);
    let weights = bytes(7 + count as u32, groups * wide * 4 * width, least);
    let tap = |index: usize| index / wide * row + index % wide * step;
    let taps: Vec<usize> = (0..groups * wide).map(tap).collect();
    let start: Vec<i32> = (0..width as i32).map(|at| at * 1001 - 5000).collect();
    let places = Places {
        quads: &quads,
        taps: &taps,
        weights: &weights,
        start: &start,
        step,
        count,
        small: least == 0x81,
    };
    assert!(places.slides(groups, wide));
    for isa in Isa::available() {
        let signed = data_of(isa, true).0 == 0;
        let mut found = vec![0; count * width];
        dispatch_dot(isa, Sums { places, sums: &mut found });
        for (at, &found) in found.iter().enumerate() {
            let (place, channel) = (at / width, at % width);
            let mut sum = start[channel];
            for (index, tap) in taps.iter().enumerate() {
                for byte in 0..4 {
                    let code = quads[place * step + tap + 4 * channel + byte];
                    let code = if signed { i32::from(code as i8) } else { i32::from(code) };
                    let weight = weights[4 * (index * width + channel) + byte];
                    sum += code * i32::from(weight as i8);
                }
            }
            assert_eq!(found, sum, "{isa} {groups}x{wide}, {count} places: {place}, {channel}");
        }
    }
}
