//! A binary range coder: each decision narrows a range in proportion to its probability.
//!
//! Martin, *Range encoding: an algorithm for removing redundancy from a digitised message*, 1979; the
//! carry goes through held-back bytes as in Subbotin's and Pavlov's coders.

use super::model::{Bit, PROBABILITY_BITS};
use crate::error::{KernelError, Result};
use crate::memory;

/// The range is brought above this after each decision.
const LEAST_RANGE: u32 = 1 << 24;

/// What goes through the decisions of a model: the encoder with what they are to be, the decoder to
/// find out.
pub(super) trait Coder {
    /// Codes a decision that mostly goes one way; its model learns from it. A decoder ignores `value`.
    fn flag(&mut self, bit: &mut Bit, value: bool) -> bool;

    /// The same for one that may go either way.
    fn choice(&mut self, bit: &mut Bit, value: bool) -> bool;
}

/// Turns decisions into bytes.
pub(super) struct Encoder {
    low: u64,
    range: u32,
    /// The last byte that a carry may still change, and how many 0xFF follow it.
    held: Option<u8>,
    runs: usize,
    bytes: Vec<u8>,
    /// Whether there was no memory for a byte.
    failed: Option<KernelError>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self { low: 0, range: u32::MAX, held: None, runs: 0, bytes: Vec::new(), failed: None }
    }

    /// Codes a decision, and lets its model learn from it.
    #[inline]
    pub(super) fn encode(&mut self, bit: &mut Bit, value: bool) {
        let bound = (self.range >> PROBABILITY_BITS) * bit.probability();
        if value {
            self.range = bound;
        } else {
            self.low += u64::from(bound);
            self.range -= bound;
        }
        bit.learn(value);
        while self.range < LEAST_RANGE {
            self.range <<= 8;
            self.shift();
        }
    }

    /// Moves the top byte out: a carry into it goes on to the bytes held back.
    fn shift(&mut self) {
        let (carry, top) = ((self.low >> 32) as u8, (self.low >> 24) as u8);
        if carry == 1 || top != 0xFF {
            let held = self.held.map(|held| held.wrapping_add(carry));
            if let Err(error) = self.write(held, 0xFF_u8.wrapping_add(carry)) {
                self.failed = Some(error);
            }
            self.runs = 0;
            self.held = Some(top);
        } else {
            self.runs += 1;
        }
        self.low = (self.low & 0x00FF_FFFF) << 8;
    }

    /// Writes the byte that was held back, if there is one, and what those after it have become.
    fn write(&mut self, held: Option<u8>, run: u8) -> Result<()> {
        if let Some(held) = held {
            memory::push(&mut self.bytes, held)?;
        }
        let len = memory::sum(&[self.bytes.len(), self.runs])?;
        memory::resize(&mut self.bytes, len, run)
    }

    /// The bytes. Of the values that end in the last range, the one with the most zeros behind is
    /// taken, and zeros at the end, which the decoder adds by itself, are left out.
    pub(super) fn finish(mut self) -> Result<Vec<u8>> {
        let last = self.low + u64::from(self.range) - 1;
        let kept = (0..=32).rev().map(|zeros| last >> zeros << zeros).find(|&v| v >= self.low);
        self.low = kept.unwrap_or(last);
        for _ in 0..5 {
            self.shift();
        }
        while self.bytes.last() == Some(&0) {
            self.bytes.pop();
        }
        self.failed.map_or(Ok(self.bytes), Err)
    }
}

/// Turns bytes into decisions again.
#[derive(Clone, Copy)]
pub(super) struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    range: u32,
    code: u32,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { bytes, at: 0, range: u32::MAX, code: 0 };
        for _ in 0..4 {
            decoder.code = decoder.code << 8 | decoder.next_byte();
        }
        decoder
    }

    #[inline]
    fn next_byte(&mut self) -> u32 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        u32::from(byte)
    }

    /// Reads on until the range is large enough.
    #[inline(always)]
    fn refill(&mut self) {
        while self.range < LEAST_RANGE {
            self.range <<= 8;
            self.code = self.code << 8 | self.next_byte();
        }
    }

    /// Whether bytes are left that no decision came from.
    pub(super) fn has_more(&self) -> bool {
        self.at < self.bytes.len()
    }
}

impl Coder for Encoder {
    #[inline]
    fn flag(&mut self, bit: &mut Bit, value: bool) -> bool {
        self.encode(bit, value);
        value
    }

    #[inline]
    fn choice(&mut self, bit: &mut Bit, value: bool) -> bool {
        self.flag(bit, value)
    }
}

impl Coder for Decoder<'_> {
    /// The processor guesses the outcome, and goes on before the comparison is done.
    #[inline(always)]
    fn flag(&mut self, bit: &mut Bit, _value: bool) -> bool {
        let bound = (self.range >> PROBABILITY_BITS) * bit.probability();
        let value = self.code < bound;
        if value {
            self.range = bound;
        } else {
            self.code -= bound;
            self.range -= bound;
        }
        bit.learn(value);
        self.refill();
        value
    }

    /// Nothing to guess: what a wrong guess costs is more than the comparison.
    #[inline(always)]
    fn choice(&mut self, bit: &mut Bit, _value: bool) -> bool {
        let bound = (self.range >> PROBABILITY_BITS) * bit.probability();
        let value = self.code < bound;
        let no = u32::from(value).wrapping_sub(1);
        self.code -= bound & no;
        self.range = (bound & !no) | ((self.range - bound) & no);
        bit.learn(value);
        self.refill();
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decisions with chances from never to always, from a linear congruential generator.
    fn decisions(count: usize, chance: u32) -> Vec<bool> {
        let mut state = 12345_u32 + chance;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) % 1000 < chance
            })
            .collect()
    }

    fn coded(values: &[bool]) -> Vec<u8> {
        let (mut encoder, mut bit) = (Encoder::new(), Bit::even());
        for &value in values {
            encoder.encode(&mut bit, value);
        }
        encoder.finish().unwrap()
    }

    #[test]
    fn decisions_come_back_and_cost_their_entropy() {
        for chance in [0, 1, 30, 500, 900, 1000] {
            for count in [0, 1, 7, 100, 20_000] {
                let values = decisions(count, chance);
                let bytes = coded(&values);
                let (mut decoder, mut bit) = (Decoder::new(&bytes), Bit::even());
                assert!(values.iter().all(|&value| decoder.flag(&mut bit, false) == value));
                assert!(!decoder.has_more());
                let share = values.iter().filter(|&&v| v).count() as f64 / (count.max(1)) as f64;
                let bits = -share * share.max(1e-9).log2()
                    - (1.0 - share) * (1.0 - share).max(1e-9).log2();
                let bound = count as f64 * (bits * 1.02 + 0.002) / 8.0 + 8.0;
                assert!((bytes.len() as f64) < bound, "{chance} {count}: {}", bytes.len());
            }
        }
    }

    #[test]
    fn carries_go_through_held_back_bytes() {
        // The least likely decision moves low up by nearly the whole range: carries abound.
        let values: Vec<bool> = (0..5000).map(|i| i % 97 != 96).collect();
        let bytes = coded(&values);
        let (mut decoder, mut bit) = (Decoder::new(&bytes), Bit::even());
        assert!(values.iter().all(|&value| decoder.flag(&mut bit, false) == value));
    }
}
