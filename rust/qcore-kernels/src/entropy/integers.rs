//! A few integers, each by its length in bits, its sign and its lower bits.

use super::coder::{Coder, Decoder, Encoder};
use super::model::{Bit, Tree};
use crate::error::{KernelError, Result};

/// Lengths of magnitudes: 0 to 31 bits.
const LENGTHS: usize = 32;
/// The bits below the top one that are learned; lower ones are as good as random.
const LEARNED: u32 = 2;

struct Models {
    length: Tree,
    negative: Bit,
    /// For each length, the learned bits.
    below: Vec<Tree>,
}

impl Models {
    fn new() -> Self {
        let below = (0..LENGTHS).map(|_| Tree::new(1 << LEARNED)).collect();
        Self { length: Tree::new(LENGTHS), negative: Bit::even(), below }
    }

    /// Takes a coder through the decisions of a number, which an encoder is given.
    fn number(&mut self, value: i32, coder: &mut impl Coder) -> i32 {
        let magnitude = value.unsigned_abs();
        let length = self.length.walk((32 - magnitude.leading_zeros()) as usize, coder) as u32;
        if length == 0 {
            return 0;
        }
        let negative = coder.choice(&mut self.negative, value < 0);
        let mut found = 1_u32;
        let learned = LEARNED.min(length - 1);
        if learned == LEARNED {
            let next = (magnitude >> (length - 1 - LEARNED)) as usize & ((1 << LEARNED) - 1);
            found = found << LEARNED | self.below[length as usize].walk(next, coder) as u32;
        }
        let rest = if learned == LEARNED { length - 1 - LEARNED } else { length - 1 };
        for level in (0..rest).rev() {
            let one = magnitude >> level & 1 == 1;
            found = found << 1 | u32::from(coder.choice(&mut Bit::even(), one));
        }
        if negative { -(found as i32) } else { found as i32 }
    }
}

/// The bytes of integers whose magnitude is below 2^31.
pub fn encode_integers(values: &[i32]) -> Result<Vec<u8>> {
    if let Some(at) = values.iter().position(|&value| value == i32::MIN) {
        return Err(KernelError::Value(format!("values[{at}] is {}, which is too low", i32::MIN)));
    }
    let (mut models, mut encoder) = (Models::new(), Encoder::new());
    for &value in values {
        models.number(value, &mut encoder);
    }
    encoder.finish()
}

/// Fills `out` with the integers.
pub fn decode_integers(bytes: &[u8], out: &mut [i32]) -> Result<()> {
    let (mut models, mut decoder) = (Models::new(), Decoder::new(bytes));
    for value in out {
        *value = models.number(0, &mut decoder);
    }
    if decoder.has_more() {
        return Err(KernelError::Value("the coded integers have bytes left over".into()));
    }
    Ok(())
}
