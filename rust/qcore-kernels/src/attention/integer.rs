//! Attention on integers: queries, keys and values become int8 as they come, and the exponentials
//! bytes, so that both products and the total of a row's weights are exact sums.
//!
//! A head's row of queries has a scale of its own, and so has one of keys; values have one for each
//! column, because their products are summed along the keys. The largest weight of a row is 255.
//! Everything is per head and row or per head and column of one sequence: results do not depend on
//! what else is in a batch, nor on how many rows go together.

use super::codes::{Columns, HeadRows};
use super::{Attention, Mask};
use crate::epilogue::{Activation, FloatOutput};
use crate::error::Result;
use crate::gemm::{PackedI8, ZeroPoint, dense_f32_from_i8_with, matmul_integer_with};
use crate::isa::Isa;
use crate::math::{MAX_LANES, exp2_nonpositive};
use crate::memory;
use crate::simd::{Scalar, Simd, SimdOp, dispatch};
use crate::view::MatRef;

/// Sums of a block of rows: they stay in the second cache beside keys and values.
const SUMS: usize = 16 << 10;
/// Rows that a block has at least, and a multiple of.
const TALL: usize = 12;
/// The largest code of a weight.
const MOST: f32 = 255.0;
/// Keys that cannot be seen: their weight is 0.
const HIDDEN: f32 = -1e30;
/// What is added to the scores of padding, or less.
const NEVER: f32 = -1e4;

/// Memory that is kept from call to call.
#[derive(Default)]
pub(super) struct Room {
    /// Of all heads, one matrix after the other; those of values, one row after the other.
    queries: Vec<i8>,
    query_scale: Vec<f32>,
    key_codes: Vec<i8>,
    key_scale: Vec<f32>,
    value_codes: Vec<i8>,
    value_scale: Vec<f32>,
    inverse: Vec<f32>,
    sizes: Vec<i32>,
    /// Of one head, as the products take them.
    keys: PackedI8,
    values: PackedI8,
    sums: Vec<i32>,
    row: Vec<f32>,
    mask: Vec<f32>,
    /// Keys that all rows see or none; empty where each may see others.
    seen: Vec<bool>,
    weights: Vec<u8>,
    shares: Vec<f32>,
}

impl Attention<'_> {
    /// Computes all heads of `rows` rows of queries.
    pub(super) fn integers(
        &self,
        isa: Isa,
        room: &mut Room,
        rows: usize,
        out: &mut [f32],
    ) -> Result<()> {
        if self.mask.is_some_and(|mask| mask.adds_nothing(self.keys)) {
            return Attention { mask: None, ..*self }.integers(isa, room, rows, out);
        }
        let ([heads, of_keys], [d, dv], keys) = (self.heads, self.sizes, self.keys);
        let tall = (SUMS / keys / TALL * TALL).max(TALL).min(rows);
        memory::resize(&mut room.sums, memory::size(&[tall, keys])?, 0)?;
        memory::resize(&mut room.weights, memory::size(&[tall, keys])?, 0)?;
        memory::resize(&mut room.row, keys, 0.0)?;
        memory::resize(&mut room.mask, if self.mask.is_some() { keys } else { 0 }, 0.0)?;
        memory::resize(&mut room.shares, tall, 0.0)?;
        room.seen.clear();
        if let Some(Mask { data, strides: [0, 0, stride] }) = self.mask {
            memory::resize(&mut room.seen, keys, true)?;
            let seen = room.seen.iter_mut().enumerate();
            seen.for_each(|(key, seen)| *seen = data[key * stride] > NEVER);
            if !room.seen.contains(&true) {
                room.seen.clear(); // all alike
            }
        }
        self.encode(isa, room, rows)?;
        for head in 0..heads {
            let other = head / (heads / of_keys);
            if head == 0 || other != (head - 1) / (heads / of_keys) {
                let codes = &room.key_codes[other * keys * d..][..keys * d];
                room.keys.refill(isa, MatRef::from_slice(codes, keys, d)?.transposed())?;
                let all = MatRef::from_slice(&room.value_codes[..], keys, of_keys * dv)?;
                room.values.refill(isa, all.columns(other * dv..(other + 1) * dv))?;
            }
            let Room { queries, query_scale, key_scale, value_scale, sums, weights, .. } = room;
            let key_scale = &key_scale[other * keys..][..keys];
            let value_scale = &value_scale[other * dv..][..dv];
            for first in (0..rows).step_by(tall) {
                let count = tall.min(rows - first);
                let at = head * rows + first;
                let codes = MatRef::from_slice(&queries[at * d..][..count * d], count, d)?;
                let sums = &mut sums[..count * keys];
                let zero = ZeroPoint::One(0);
                matmul_integer_with(isa, codes, &room.keys, zero, zero, sums)?;
                let weights = &mut weights[..count * keys];
                dispatch(
                    isa,
                    Weigh {
                        attention: self,
                        head,
                        first,
                        sums,
                        query_scale: &query_scale[at..at + count],
                        key_scale,
                        row: &mut room.row,
                        mask: &mut room.mask,
                        weights,
                        shares: &mut room.shares[..count],
                    },
                );
                let output = FloatOutput {
                    scale: value_scale,
                    row_scale: &room.shares[..count],
                    bias: &[],
                    activation: Activation::Linear,
                };
                let weights = MatRef::from_slice(&*weights, count, keys)?;
                let width = heads * dv;
                let out = &mut out[first * width + head * dv..];
                dense_f32_from_i8_with(isa, weights, zero, &room.values, zero, output, out, width)?;
            }
        }
        Ok(())
    }

    /// Queries, keys and values of all heads as codes.
    fn encode(&self, isa: Isa, room: &mut Room, rows: usize) -> Result<()> {
        let ([heads, of_keys], [d, dv], keys) = (self.heads, self.sizes, self.keys);
        let n = of_keys * dv;
        memory::resize(&mut room.query_scale, memory::size(&[heads, rows])?, 0.0)?;
        memory::resize(&mut room.queries, memory::size(&[heads, rows, d])?, 0)?;
        memory::resize(&mut room.key_scale, memory::size(&[of_keys, keys])?, 0.0)?;
        memory::resize(&mut room.key_codes, memory::size(&[of_keys, keys, d])?, 0)?;
        memory::resize(&mut room.value_scale, n, 0.0)?;
        memory::resize(&mut room.value_codes, memory::size(&[keys, n])?, 0)?;
        memory::resize(&mut room.inverse, n, 0.0)?;
        memory::resize(&mut room.sizes, n, 0)?;
        let (codes, scale) = (&mut room.queries[..], &mut room.query_scale[..]);
        dispatch(isa, HeadRows { x: self.q, n: d, rows, codes, scale });
        let (codes, scale) = (&mut room.key_codes[..], &mut room.key_scale[..]);
        dispatch(isa, HeadRows { x: self.k, n: d, rows: keys, codes, scale });
        let Room { value_codes: codes, value_scale: scale, inverse, sizes, seen, .. } = room;
        dispatch(isa, Columns { x: self.v, n, seen, codes, scale, inverse, sizes });
        Ok(())
    }
}

/// Sums of a block of rows to weights, and the share of each row's weight: one over their total.
struct Weigh<'a, 'b> {
    attention: &'a Attention<'b>,
    head: usize,
    first: usize,
    sums: &'a [i32],
    query_scale: &'a [f32],
    key_scale: &'a [f32],
    row: &'a mut [f32],
    mask: &'a mut [f32],
    weights: &'a mut [u8],
    shares: &'a mut [f32],
}

impl SimdOp for Weigh<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Self { attention, head, first, sums, query_scale, key_scale, .. } = self;
        let (row, mask, keys) = (self.row, self.mask, key_scale.len());
        let all = sums.chunks_exact(keys).zip(self.weights.chunks_exact_mut(keys));
        let all = all.zip(query_scale).zip(self.shares).enumerate();
        for (index, (((sums, weights), &scale), share)) in all {
            let seen = attention
                .causal
                .map_or(keys, |count| count.saturating_add(first + index).min(keys));
            let mask = mask.get_mut(..seen).unwrap_or_default();
            attention.fill_mask(head, first + index, mask);
            let factor = scale * (attention.scale * std::f32::consts::LOG2_E);
            let mut largest =
                scores(s, &sums[..seen], &key_scale[..seen], factor, &*mask, &mut row[..seen]);
            row[seen..].fill(HIDDEN);
            if largest == f32::NEG_INFINITY && !mask.is_empty() {
                // The least float may stand for hidden keys: scores vanish beside it, and to base 2 it is infinite.
                let top = mask.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                if top > largest {
                    let shown = row[..seen].iter_mut().zip(&*mask);
                    shown.for_each(|(x, &added)| *x = if added == top { 0.0 } else { HIDDEN });
                    largest = 0.0;
                }
            }
            if largest == f32::INFINITY {
                // The limit: infinities share the whole.
                for x in row.iter_mut() {
                    *x = if *x == largest { 0.0 } else { HIDDEN };
                }
            }
            let total =
                bytes(s, row, if largest == f32::INFINITY { 0.0 } else { largest }, weights);
            *share = if seen == 0 {
                1.0
            } else if attention.hides_all(mask) {
                0.0
            } else if largest.is_nan() || largest == f32::NEG_INFINITY {
                f32::NAN
            } else {
                1.0 / total as f32
            };
        }
    }
}

/// Writes the logarithms of weights to base 2; returns the largest, NaN if there is one.
#[inline(always)]
fn scores<S: Simd>(
    s: S,
    sums: &[i32],
    key_scale: &[f32],
    factor: f32,
    mask: &[f32],
    row: &mut [f32],
) -> f32 {
    let by = s.splat_f32(factor);
    let log2 = s.splat_f32(std::f32::consts::LOG2_E);
    let body = row.len() / S::LANES * S::LANES;
    let zero = s.splat_f32(0.0);
    let (mut most, mut odd) = (s.splat_f32(f32::NEG_INFINITY), s.lt(zero, zero));
    for at in (0..body).step_by(S::LANES) {
        // SAFETY: LANES elements follow in each, and in the mask unless it is empty.
        unsafe {
            let sum = s.to_f32(s.load_i32(sums[at..at + S::LANES].as_ptr()));
            let step = s.mul(s.load_f32(key_scale[at..at + S::LANES].as_ptr()), by);
            let mut x = s.mul(sum, step);
            if !mask.is_empty() {
                x = s.fma(s.load_f32(mask[at..at + S::LANES].as_ptr()), log2, x);
            }
            s.store_f32(row[at..at + S::LANES].as_mut_ptr(), x);
            most = s.max(x, most);
            odd = s.or(odd, s.unordered(x, x));
        }
    }
    let (mut most, mut nan) = (s.reduce_max(most), s.bits(odd) != 0);
    for at in body..row.len() {
        let mut x = sums[at] as f32 * (key_scale[at] * factor);
        if let Some(&added) = mask.get(at) {
            x = Scalar.fma(added, std::f32::consts::LOG2_E, x);
        }
        row[at] = x;
        nan |= x.is_nan();
        most = most.max(x);
    }
    if nan { f32::NAN } else { most }
}

/// Writes `255 · 2^(x - largest)`, rounded; returns the total.
#[inline(always)]
fn bytes<S: Simd>(s: S, row: &[f32], largest: f32, weights: &mut [u8]) -> i64 {
    let (block, top) = (4 * S::LANES, s.splat_f32(largest));
    let mut total = 0_i64;
    let mut rest = [HIDDEN; 4 * MAX_LANES];
    let mut codes = [0_u8; 4 * MAX_LANES];
    // Lanes hold fewer than 2^15 codes of a byte at a time.
    for (row, weights) in row.chunks(1 << 15).zip(weights.chunks_mut(1 << 15)) {
        let mut sum = s.splat_i32(0);
        let body = row.len() / block * block;
        let mut at = 0;
        while at < row.len() {
            let whole = at < body;
            let from = if whole {
                row[at..at + block].as_ptr()
            } else {
                rest[..row.len() - at].copy_from_slice(&row[at..]);
                rest.as_ptr()
            };
            let mut code = [s.splat_i32(0); 4];
            #[allow(clippy::needless_range_loop, reason = "loops over indices are unrolled whole")]
            for part in 0..4 {
                // SAFETY: four vectors follow, in the row or in the room.
                let x = unsafe { s.load_f32(from.add(part * S::LANES)) };
                code[part] = s.to_i32(exp2_nonpositive(s, s.sub(x, top), MOST));
            }
            sum =
                s.add_i32(sum, s.add_i32(s.add_i32(code[0], code[1]), s.add_i32(code[2], code[3])));
            // SAFETY: as many bytes follow, in the weights or in the room.
            unsafe {
                if whole {
                    s.store_u8x4(weights[at..at + block].as_mut_ptr(), code);
                } else {
                    s.store_u8x4(codes.as_mut_ptr(), code);
                    weights[at..].copy_from_slice(&codes[..row.len() - at]);
                }
            }
            at += block;
        }
        let mut lanes = [0_i32; MAX_LANES];
        // SAFETY: the room has MAX_LANES elements.
        unsafe { s.store_i32(lanes.as_mut_ptr(), sum) };
        total += lanes.iter().map(|&lane| i64::from(lane)).sum::<i64>();
    }
    total
}
