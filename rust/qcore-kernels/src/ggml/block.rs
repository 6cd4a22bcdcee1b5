//! What a type of blocks is, and the decoding of many of them.

use std::sync::{Mutex, PoisonError};

use super::encode;
use crate::error::{KernelError, Result};
use crate::interrupt;
use crate::isa::{self, Isa};
use crate::memory;
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads;

/// Elements below which another thread costs more than it saves.
const GRAIN: usize = 1 << 16;

/// Elements between two looks at whether the operation is to stop.
const STRETCH: usize = 1 << 18;

/// A type of blocks.
pub(super) trait Block {
    /// As ggml calls it.
    const NAME: &'static str;
    /// Its number in files.
    const NUMBER: u32;
    /// Elements of a block.
    const ELEMENTS: usize;
    /// Bytes of a block.
    const BYTES: usize;

    /// Decodes one block: `BYTES` bytes to `ELEMENTS` floats. Mark it `#[inline(always)]`.
    fn decode(block: &[u8], out: &mut [f32]);
}

/// An entry of the table of types.
#[derive(Clone, Copy)]
pub struct BlockType {
    /// As ggml calls it.
    pub name: &'static str,
    /// Its number in files.
    pub number: u32,
    /// Elements of a block; rows are a multiple of it.
    pub elements: usize,
    /// Bytes of a block.
    pub bytes: usize,
    run: fn(Isa, &[u8], &mut [f32]),
    pub(super) encode: Option<encode::Run>,
}

impl std::fmt::Debug for BlockType {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

impl BlockType {
    pub(super) const fn of<B: Block>() -> Self {
        Self {
            name: B::NAME,
            number: B::NUMBER,
            elements: B::ELEMENTS,
            bytes: B::BYTES,
            run: |isa, blocks, out| dispatch(isa, Decode::<B> { blocks, out, of: [] }),
            encode: None,
        }
    }

    /// A type that is written, too.
    pub(super) const fn written<E: encode::Encode>() -> Self {
        Self { encode: Some(encode::run_of::<E>()), ..Self::of::<E>() }
    }

    /// Whether [`super::encode`] makes such blocks.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.encode.is_some()
    }
}

struct Decode<'a, B> {
    blocks: &'a [u8],
    out: &'a mut [f32],
    of: [B; 0],
}

impl<B: Block> SimdOp for Decode<'_, B> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, _: S) {
        let Self { blocks, out, of: [] } = self;
        for (block, out) in blocks.chunks_exact(B::BYTES).zip(out.chunks_exact_mut(B::ELEMENTS)) {
            B::decode(block, out);
        }
    }
}

/// Decodes blocks into `out`, on the instruction set in force.
pub fn decode(kind: &BlockType, blocks: &[u8], out: &mut [f32]) -> Result<()> {
    decode_with(isa::active()?, kind, blocks, out)
}

/// Decodes blocks into `out`, on the given instruction set: as many as `out` has room for, exactly.
pub fn decode_with(isa: Isa, kind: &BlockType, blocks: &[u8], out: &mut [f32]) -> Result<()> {
    let count = out.len() / kind.elements;
    let wanted = memory::size(&[count, kind.bytes])?;
    if !out.len().is_multiple_of(kind.elements) || blocks.len() != wanted {
        let (found, elements) = (blocks.len(), out.len());
        return Err(KernelError::Shape(format!(
            "{found} bytes of {kind:?} are not {elements} elements: {} bytes are a block of {}",
            kind.bytes, kind.elements
        )));
    }
    let tasks = threads::tasks_for(count, kind.elements, GRAIN);
    let share = count.div_ceil(tasks.max(1)).max(1);
    let parts = blocks.chunks(share * kind.bytes).zip(out.chunks_mut(share * kind.elements));
    let parts: Vec<_> = parts.map(Mutex::new).collect();
    threads::for_each(parts.len(), |index| {
        let mut part = parts[index].lock().unwrap_or_else(PoisonError::into_inner);
        let (blocks, out) = &mut *part;
        let stretch = STRETCH / kind.elements;
        let blocks = blocks.chunks(stretch * kind.bytes);
        for (blocks, out) in blocks.zip(out.chunks_mut(stretch * kind.elements)) {
            if interrupt::requested() {
                return;
            }
            (kind.run)(isa, blocks, out);
        }
    });
    interrupt::check()
}

/// A half float, widened: exactly, without the branches of a general conversion.
#[inline(always)]
pub(super) fn half(bytes: &[u8]) -> f32 {
    widened(u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// The half float of these bits.
#[inline(always)]
pub(super) fn widened(bits: u16) -> f32 {
    let (sign, rest) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff) << 13);
    // The exponent's bias differs by 112; a product takes subnormals along.
    let finite = (f32::from_bits(rest) * f32::from_bits(0x7780_0000)).to_bits();
    let special = if rest >= 0x7c00 << 13 { rest | 0x7f80_0000 } else { finite };
    f32::from_bits(special | sign)
}

/// `N` bytes from `start` on.
#[inline(always)]
pub(super) fn take<const N: usize>(block: &[u8], start: usize) -> &[u8; N] {
    block[start..].first_chunk().expect("blocks are as long as their type says")
}
