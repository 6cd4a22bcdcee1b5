//! Values as two halves of four bits: what `vpmaddubsw` takes without ever saturating.
//!
//! A half is at most 15, so eight products of pairs with signed bytes sum to at most
//! `8 * 2 * 15 * 128 = 30720` in 16 bits, and only then are they widened.

use crate::gemm::microkernel::DEPTH;
use crate::isa::Isa;
use crate::simd::{Simd, SimdOp, dispatch};

/// Pairs of K whose sums 16 bits hold.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for x86-64"))]
pub(in crate::gemm) const PAIRS: usize = 8;

/// Bytes that a pair of values takes: both low halves and both high ones, each twice, so that four
/// bytes fill a vector.
pub(in crate::gemm) const PAIR_BYTES: usize = 8;

/// Bytes of a depth group.
pub(in crate::gemm) const GROUP_BYTES: usize = DEPTH / 2 * PAIR_BYTES;

/// Writes the halves of `values`, each with the bits of `flip` flipped before; what is left of `out` is
/// filled with halves of 0. High halves are signed where `signed`, and unsigned otherwise.
pub(in crate::gemm) fn split(isa: Isa, values: &[u8], flip: u8, signed: bool, out: &mut [u8]) {
    dispatch(isa, Split { values, flip, signed, out });
}

struct Split<'a> {
    values: &'a [u8],
    flip: u8,
    signed: bool,
    out: &'a mut [u8],
}

impl SimdOp for Split<'_> {
    type Output = ();

    /// Plain loops: the compiler makes vectors of them, once it may use the features.
    #[inline(always)]
    fn eval<S: Simd>(self, _: S) {
        let (out, _) = self.out.as_chunks_mut::<PAIR_BYTES>();
        let (whole, last) = self.values.as_chunks::<2>();
        let (body, rest) = out.split_at_mut(whole.len());
        let flip = u64::from(u16::from_le_bytes([self.flip; 2]));
        if self.signed {
            for (out, &pair) in body.iter_mut().zip(whole) {
                *out = halves(u64::from(u16::from_le_bytes(pair)) ^ flip, true);
            }
        } else {
            for (out, &pair) in body.iter_mut().zip(whole) {
                *out = halves(u64::from(u16::from_le_bytes(pair)) ^ flip, false);
            }
        }
        rest.fill([0; PAIR_BYTES]);
        if let (Some(out), &[value]) = (rest.first_mut(), last) {
            // The second of the pair is 0 itself, not 0 flipped.
            *out = halves(u64::from(value ^ self.flip), self.signed);
        }
    }
}

/// The halves of two bytes, as [`PAIR_BYTES`] says.
#[inline(always)]
fn halves(pair: u64, signed: bool) -> [u8; PAIR_BYTES] {
    let low = pair & 0x0f0f;
    let mut high = pair >> 4 & 0x0f0f;
    if signed {
        // The sign bit, copied into the four above it.
        high |= (high & 0x0808) * 0x1e;
    }
    ((low | high << 32) * 0x1_0001).to_le_bytes()
}

/// The sum of the first `count` values of what [`split`] wrote, unsigned, wrapping.
pub(in crate::gemm) fn sum(halves: &[u8], count: usize) -> i32 {
    let (pairs, _) = halves.as_chunks::<PAIR_BYTES>();
    let value = |low: u8, high: u8| i32::from(low) + 16 * i32::from(high);
    pairs[..count.div_ceil(2)].iter().fold(0_i32, |sum, pair| {
        sum.wrapping_add(value(pair[0], pair[4])).wrapping_add(value(pair[1], pair[5]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_make_the_value_again() {
        let values: Vec<u8> = (0..=255).collect();
        for count in [0, 1, 2, 3, 8, 15, 255, 256] {
            for (flip, signed) in [(0, false), (0x80, false), (0, true), (0x80, true)] {
                let mut out = vec![0xaa; 130 * PAIR_BYTES];
                for isa in Isa::available() {
                    let mut other = vec![0xaa; out.len()];
                    split(isa, &values[..count], flip, signed, &mut other);
                    split(Isa::Scalar, &values[..count], flip, signed, &mut out);
                    assert_eq!(out, other, "{isa}");
                }
                let (pairs, _) = out.as_chunks::<PAIR_BYTES>();
                for (at, pair) in pairs.iter().enumerate() {
                    assert_eq!(pair[..2], pair[2..4]);
                    assert_eq!(pair[4..6], pair[6..]);
                    for half in 0..2 {
                        let high = pair[4 + half];
                        let high = if signed { i32::from(high as i8) } else { i32::from(high) };
                        let found = i32::from(pair[half]) + 16 * high;
                        let wanted = values[..count].get(2 * at + half).map_or(0, |&value| {
                            let value = value ^ flip;
                            if signed { i32::from(value as i8) } else { i32::from(value) }
                        });
                        assert_eq!(found, wanted, "{count} {flip} {signed} {at}");
                    }
                }
                if !signed {
                    let wanted: i32 = values[..count].iter().map(|&v| i32::from(v ^ flip)).sum();
                    assert_eq!(sum(&out, count), wanted);
                }
            }
        }
    }
}
