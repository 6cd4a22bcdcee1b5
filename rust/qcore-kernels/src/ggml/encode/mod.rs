//! Floats to blocks: the scales and codes that lose least.
//!
//! | file | what lives there |
//! |---|---|
//! | `levels` | what codes stand for, and which is nearest |
//! | `fit` | the search for a scale, or for a scale and a least value |
//! | `plain` | types with one scale, and a least value, for each block |
//! | `k` | blocks of 256 whose sub-blocks have scales of few bits |
//!
//! Errors are squares, each times what its element counts. A search tries scales on a grid, solves for
//! the best one of the codes that it gives, and goes on from there; what is stored in few bits is chosen
//! with the codes that follow from it. Sums run over eight lanes in one order, so that every
//! instruction set writes the same bytes.

mod fit;
mod k;
mod levels;
mod plain;

use std::sync::{Mutex, PoisonError};

use super::block::BlockType;
use crate::error::{KernelError, Result};
use crate::interrupt;
use crate::isa::{self, Isa};
use crate::memory;
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads;

/// Elements below which another thread costs more than it saves.
const GRAIN: usize = 1 << 12;

/// A type that is written. False: a scale is beyond a half float.
pub(super) trait Encode: super::block::Block {
    /// Encodes `ELEMENTS` finite floats, with what each one's error counts. Mark it
    /// `#[inline(always)]`.
    fn encode(x: &[f32], counts: &[f32], block: &mut [u8]) -> bool;
}

/// Encodes consecutive blocks of rows.
pub(super) type Run = fn(Isa, &[f32], &[f32], &mut [u8]) -> bool;

/// What [`BlockType`] keeps of a type that is written. `counts` is of one row, and goes round.
pub(super) const fn run_of<E: Encode>() -> Run {
    |isa, x, counts, blocks| dispatch(isa, Rows::<E> { x, counts, blocks, of: [] })
}

struct Rows<'a, E> {
    x: &'a [f32],
    counts: &'a [f32],
    blocks: &'a mut [u8],
    of: [E; 0],
}

impl<E: Encode> SimdOp for Rows<'_, E> {
    type Output = bool;

    #[inline(always)]
    fn eval<S: Simd>(self, _: S) -> bool {
        let Self { x, counts, blocks, of: [] } = self;
        let counts = counts.chunks_exact(E::ELEMENTS).cycle();
        let x = x.chunks_exact(E::ELEMENTS).zip(counts);
        x.zip(blocks.chunks_exact_mut(E::BYTES))
            .all(|((x, counts), block)| E::encode(x, counts, block))
    }
}

/// Encodes rows, on the instruction set in force; see [`encode_with`].
pub fn encode(kind: &BlockType, x: &[f32], counts: &[f32], blocks: &mut [u8]) -> Result<()> {
    encode_with(isa::active()?, kind, x, counts, blocks)
}

/// Encodes rows into blocks, on the given instruction set.
///
/// `counts` has what the squared error of each element of a row counts; its length is that of a row.
pub fn encode_with(
    isa: Isa,
    kind: &BlockType,
    x: &[f32],
    counts: &[f32],
    blocks: &mut [u8],
) -> Result<()> {
    let run = kind.encode.ok_or_else(|| KernelError::Value(format!("{kind:?} is not written")))?;
    let row = counts.len();
    let whole = row > 0 && row.is_multiple_of(kind.elements) && x.len().is_multiple_of(row);
    let wanted = memory::size(&[x.len() / kind.elements, kind.bytes])?;
    if !whole || blocks.len() != wanted {
        let (found, elements) = (blocks.len(), x.len());
        return Err(KernelError::Shape(format!(
            "{elements} elements in rows of {row} are not {found} bytes of {kind:?}"
        )));
    }
    if let Some(at) = x.iter().position(|value| !value.is_finite()) {
        let (row, column) = (at / row, at % row);
        return Err(KernelError::Value(format!("x has {} at [{row}, {column}]", x[at])));
    }
    if let Some(at) = counts.iter().position(|&count| !(count.is_finite() && count >= 0.0)) {
        return Err(KernelError::Value(format!("importance is {} at {at}", counts[at])));
    }
    let rows = x.len() / row;
    let tasks = threads::tasks_for(rows, row, GRAIN);
    let share = rows.div_ceil(tasks.max(1)).max(1);
    let row_bytes = row / kind.elements * kind.bytes;
    let parts = x.chunks(share * row).zip(blocks.chunks_mut(share * row_bytes));
    let parts: Vec<_> = parts.map(|part| Mutex::new((part, true))).collect();
    threads::for_each(parts.len(), |index| {
        let mut part = parts[index].lock().unwrap_or_else(PoisonError::into_inner);
        let ((x, blocks), fits) = &mut *part;
        for (x, blocks) in x.chunks(row).zip(blocks.chunks_mut(row_bytes)) {
            if interrupt::requested() {
                return;
            }
            *fits &= run(isa, x, counts, blocks);
        }
    });
    interrupt::check()?;
    let fits = parts.into_iter().all(|part| part.into_inner().is_ok_and(|(_, fits)| fits));
    if fits {
        return Ok(());
    }
    Err(KernelError::Overflow(format!("x is too large for the half floats of {kind:?}")))
}
