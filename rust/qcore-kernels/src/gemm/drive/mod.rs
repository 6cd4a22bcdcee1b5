//! The loops around a micro-kernel: threads, blocks of rows, strips of columns, tiles.
//!
//! | file | what it does |
//! |---|---|
//! | here | operands, threads, blocks of rows |
//! | `ready` | the rows of a block and what each adds |
//! | `strips` | B as it is used: packed before, laid out, expanded or packed there and then |
//! | `tiles` | the tiles of a strip, and zero points of their own |
//!
//! A kernel that takes bytes reads the rows of A where they lie; for the others a block of them is
//! packed so that it stays in cache. Each strip of B is used for all rows of the block while it is
//! in the first or second cache; a B that is not packed is packed strip by strip, there and then.

mod ready;
mod strips;
mod tiles;

use std::cell::RefCell;
use std::ops::Range;

use self::strips::Room;
use super::left::{self, Source};
use super::microkernel::Kernel;
use super::operand::{Bytes, ZeroPoint};
use super::packed::PackedI8;
use super::packed::masked::MaskedI8;
use super::sink::Sink;
use crate::aligned::AlignedBytes;
use crate::error::Result;
use crate::interrupt::Pace;
use crate::isa::Isa;
use crate::{memory, threads};

/// Multiply-adds between two looks at whether to stop.
const STEPS: usize = 1 << 23;
/// Bytes of rows of A that are made together: they stay in the second cache beside a strip of B.
const PATCHES_BYTES: usize = 256 << 10;

/// The right operand as the drivers take it.
#[derive(Clone, Copy)]
pub(super) enum Columns<'a> {
    /// Packed before.
    Packed(&'a PackedI8),
    /// To be expanded as it is used.
    Masked(&'a MaskedI8),
    /// To be packed as it is used.
    Strips { bytes: Bytes, unsigned: bool },
}

impl Columns<'_> {
    pub(super) fn k(&self) -> usize {
        match self {
            Columns::Packed(b) => b.k(),
            Columns::Masked(b) => b.k(),
            Columns::Strips { bytes, .. } => bytes.rows,
        }
    }

    pub(super) fn n(&self) -> usize {
        match self {
            Columns::Packed(b) => b.n(),
            Columns::Masked(b) => b.n(),
            Columns::Strips { bytes, .. } => bytes.cols,
        }
    }
}

/// `(a - za) * (b - zb)`, with zero points of what is packed: shifted as the values are.
pub(super) struct Product<'a> {
    pub(super) isa: Isa,
    pub(super) kernel: &'static Kernel,
    pub(super) a: Source<'a>,
    pub(super) b: Columns<'a>,
    pub(super) a_zero: ZeroPoint<'a>,
    pub(super) b_zero: ZeroPoint<'a>,
}

/// Memory that a thread keeps from call to call.
#[derive(Default)]
struct Scratch {
    left: AlignedBytes,
    rows: Vec<i32>,
    room: Room,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Product<'_> {
    fn rows(&self) -> usize {
        self.a.bytes.rows
    }

    /// Runs the whole product, in int32, wrapping.
    pub(super) fn run<S: Sink>(&self, sink: &S) -> Result<()> {
        let (m, n) = (self.rows(), self.b.n());
        if m == 0 || n == 0 {
            return Ok(());
        }
        let tasks = threads::tasks_for(m * n, self.b.k(), self.kernel.limits.grain);
        if tasks == 1 {
            return self.run_part(0..m, 0..n, sink);
        }
        let (tall, wide) = (self.kernel.rows(), self.kernel.columns().next_multiple_of(64));
        let whole = if m.div_ceil(tall) >= n.div_ceil(wide) {
            let rows = m.div_ceil(tasks).next_multiple_of(tall).min(m);
            threads::try_for_each(m.div_ceil(rows), |task| {
                self.run_part(task * rows..((task + 1) * rows).min(m), 0..n, sink)
            })?;
            true
        } else {
            let columns = n.div_ceil(tasks).next_multiple_of(wide).min(n);
            threads::try_for_each(n.div_ceil(columns), |task| {
                self.run_part(0..m, task * columns..((task + 1) * columns).min(n), sink)
            })?;
            columns == n
        };
        if !whole {
            // SAFETY: every task has ended; the rows are the result's own.
            unsafe { sink.rows_done(0..m) };
        }
        Ok(())
    }

    /// Some rows and columns, on this thread.
    fn run_part<S: Sink>(&self, rows: Range<usize>, columns: Range<usize>, sink: &S) -> Result<()> {
        memory::with_kept(&SCRATCH, |scratch| {
            let mut pace = Pace::of(STEPS);
            let Scratch { left, rows: terms, room } = scratch;
            let per_block = self.rows_of_a_block(rows.len());
            for first in rows.clone().step_by(per_block) {
                let block = first..(first + per_block).min(rows.end);
                let ready = self.ready(block.clone(), left, terms)?;
                self.run_block(&ready, columns.clone(), room, &mut pace, sink)?;
                if columns.len() == self.b.n() {
                    // SAFETY: these rows are this task's own, and finished.
                    unsafe { sink.rows_done(block) };
                }
            }
            Ok(())
        })
    }

    /// Rows that go together: as many as stay in cache, where they are packed.
    fn rows_of_a_block(&self, rows: usize) -> usize {
        let limits = self.kernel.limits;
        let room = match (self.a.in_place(), self.b) {
            (None, Columns::Packed(_)) if self.a.patches.is_some() => {
                limits.left_bytes.min(PATCHES_BYTES)
            }
            (Some(_), Columns::Strips { .. } | Columns::Masked(_)) => return rows,
            (None, Columns::Strips { .. } | Columns::Masked(_)) => limits.left_bytes_for_strips,
            (_, Columns::Packed(_)) => limits.left_bytes,
        };
        let tall = self.kernel.rows();
        let stride = left::stride(self.kernel.left, self.b.k());
        let most = (room / stride / tall * tall).max(tall);
        rows.div_ceil(rows.div_ceil(most)).next_multiple_of(tall)
    }
}
