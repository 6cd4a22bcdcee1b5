//! The probability of a binary decision, learned from those before it.

use super::coder::Coder;

/// Probabilities are fractions of `1 << PROBABILITY_BITS`.
pub(super) const PROBABILITY_BITS: u32 = 15;
/// The finer scale that they are learned on.
const SCALE_BITS: u32 = 22;
/// No probability is nearer to 0 or 1: a decision costs at least a 1,400th bit.
const LEAST: u32 = 16;
/// After so many decisions the estimate no longer is the mean of all, but favours the recent ones.
const MEMORY: usize = u8::MAX as usize;

/// `65536 / (n + 1.5)`: how far the n-th decision moves the estimate.
const RATES: [u32; MEMORY + 1] = {
    let mut rates = [0; MEMORY + 1];
    let mut n = 0;
    while n <= MEMORY {
        rates[n] = (131_072 / (2 * n + 3)) as u32;
        n += 1;
    }
    rates
};

/// One decision's model.
#[derive(Clone, Copy)]
pub(super) struct Bit {
    estimate: u32,
    /// How many decisions it has learned from, at most `MEMORY`.
    seen: u8,
}

impl Bit {
    /// A model that knows nothing.
    pub(super) const fn even() -> Self {
        Self { estimate: 1 << (SCALE_BITS - 1), seen: 0 }
    }

    /// A model that expects yes once in `1 << shift`.
    pub(super) const fn rare(shift: u32) -> Self {
        Self { estimate: 1 << (SCALE_BITS - shift), seen: 1 }
    }

    /// The probability of yes.
    #[inline(always)]
    pub(super) fn probability(self) -> u32 {
        let share = self.estimate >> (SCALE_BITS - PROBABILITY_BITS);
        share.clamp(LEAST, (1 << PROBABILITY_BITS) - LEAST)
    }

    /// What no and yes cost, in bits.
    pub(super) fn costs(self) -> (f32, f32) {
        let yes = self.probability() as f32 / (1 << PROBABILITY_BITS) as f32;
        (-(1.0 - yes).log2(), -yes.log2())
    }

    /// Moves the estimate towards a decision.
    #[inline(always)]
    pub(super) fn learn(&mut self, value: bool) {
        let target = -i64::from(value) & ((1 << SCALE_BITS) - 1);
        let step = (target - i64::from(self.estimate)) * i64::from(RATES[self.seen as usize]);
        self.estimate = (i64::from(self.estimate) + (step >> 16)) as u32;
        self.seen = self.seen.saturating_add(1);
    }
}

/// A number below `1 << bits`, decision by decision from its top bit on, each with a model that knows
/// the bits above.
pub(super) struct Tree {
    bits: u32,
    nodes: Vec<Bit>,
}

impl Tree {
    /// For numbers below `count`.
    pub(super) fn new(count: usize) -> Self {
        let bits = count.max(1).next_power_of_two().trailing_zeros();
        #[expect(clippy::disallowed_methods, reason = "levels of a scheme: no more than 256")]
        let nodes = vec![Bit::even(); 1 << bits];
        Self { bits, nodes }
    }

    /// Walks down by a coder's choices to the number, which an encoder is given.
    #[inline(always)]
    pub(super) fn walk(&mut self, number: usize, coder: &mut impl Coder) -> usize {
        let mut node = 1;
        for level in (0..self.bits).rev() {
            let bit = coder.choice(&mut self.nodes[node], number >> level & 1 == 1);
            node = node << 1 | usize::from(bit);
        }
        node - (1 << self.bits)
    }
}
