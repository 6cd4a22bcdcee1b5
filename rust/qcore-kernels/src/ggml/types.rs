//! The table of types: a new one is a `Block` and a line here.

use super::block::BlockType;
use super::grid::{IQ1M, IQ1S, IQ2S, IQ2XS, IQ2XXS, IQ3S, IQ3XXS};
use super::k::{Q2K, Q3K, Q4K, Q5K, Q6K};
use super::levels::{IQ4NL, IQ4XS, MXFP4, NVFP4};
use super::plain::{Q1_0, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
use super::ternary::{TQ1_0, TQ2_0};

/// Every type of blocks that is known here.
pub const TYPES: &[BlockType] = &[
    BlockType::written::<Q4_0>(),
    BlockType::written::<Q4_1>(),
    BlockType::written::<Q5_0>(),
    BlockType::written::<Q5_1>(),
    BlockType::written::<Q8_0>(),
    BlockType::written::<Q2K>(),
    BlockType::written::<Q3K>(),
    BlockType::written::<Q4K>(),
    BlockType::written::<Q5K>(),
    BlockType::written::<Q6K>(),
    BlockType::of::<IQ2XXS>(),
    BlockType::of::<IQ2XS>(),
    BlockType::of::<IQ3XXS>(),
    BlockType::of::<IQ1S>(),
    BlockType::written::<IQ4NL>(),
    BlockType::of::<IQ3S>(),
    BlockType::of::<IQ2S>(),
    BlockType::written::<IQ4XS>(),
    BlockType::of::<IQ1M>(),
    BlockType::of::<TQ1_0>(),
    BlockType::of::<TQ2_0>(),
    BlockType::written::<MXFP4>(),
    BlockType::of::<NVFP4>(),
    BlockType::of::<Q1_0>(),
];

/// The type that ggml calls so.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static BlockType> {
    TYPES.iter().find(|kind| kind.name == name)
}
