//! B as the tiles of a block use it: some columns at a time, in the layout of the kernel.

use std::ops::Range;

use super::ready::Ready;
use super::tiles::Strip;
use super::{Columns, Product};
use crate::error::Result;
use crate::gemm::limits::STRIP_BYTES;
use crate::gemm::microkernel::{Kernel, Left, MAX_TILE_COLUMNS, PANEL};
use crate::gemm::packed::PackedI8;
use crate::gemm::packed::masked::{self, MaskedI8};
use crate::gemm::packed::relayout::relay;
use crate::gemm::sink::Sink;
use crate::interrupt::Pace;

/// Room for columns of B that are laid out as they are used.
#[derive(Default)]
pub(super) struct Room {
    strip: PackedI8,
    /// Of a masked B, before it is laid out for a kernel that takes no fours.
    fours: PackedI8,
}

impl Product<'_> {
    /// The kernel for so many rows.
    fn kernel_for_rows(&self, rows: usize) -> &'static Kernel {
        match self.kernel.many {
            Some(many) if rows >= self.kernel.limits.many_rows => many,
            _ => self.kernel,
        }
    }

    /// Some rows times some columns, strip by strip.
    pub(super) fn run_block<S: Sink>(
        &self,
        ready: &Ready<'_>,
        columns: Range<usize>,
        room: &mut Room,
        pace: &mut Pace,
        sink: &S,
    ) -> Result<()> {
        let kernel = self.kernel_for_rows(ready.range.len());
        match self.b {
            Columns::Packed(b) if b.layout() == kernel.layout => {
                self.run_strip(ready, Strip { b, kernel, first: 0 }, columns, pace, sink)?;
            }
            Columns::Packed(b) => {
                let line = b.groups() * kernel.layout.line_bytes() / PANEL;
                let wide = (STRIP_BYTES / line.max(1)).min(MAX_TILE_COLUMNS) / PANEL * PANEL;
                let wide = wide.max(kernel.columns().next_multiple_of(PANEL));
                for first in columns.clone().step_by(wide) {
                    let end = (first + wide).min(columns.end);
                    let panels = first / PANEL..end.div_ceil(PANEL);
                    relay(self.isa, b, panels, kernel.layout, &mut room.strip)?;
                    let strip = Strip { b: &room.strip, kernel, first };
                    self.run_strip(ready, strip, first..end, pace, sink)?;
                }
            }
            Columns::Masked(b) => self.run_masked(ready, kernel, b, columns, room, pace, sink)?,
            Columns::Strips { bytes, unsigned } => {
                let strip = &mut room.strip;
                let summed = self.a_zero.single() != Some(0);
                // Twice a tile's width, for the tiles of few rows.
                let wide = kernel.columns().next_multiple_of(MAX_TILE_COLUMNS);
                for first in columns.clone().step_by(wide) {
                    let end = (first + wide).min(columns.end);
                    strip.fill(kernel, bytes.columns(first..end), unsigned, summed)?;
                    let strip = Strip { b: strip, kernel, first };
                    self.run_strip(ready, strip, first..end, pace, sink)?;
                }
            }
        }
        Ok(())
    }

    /// Some rows times some columns of which not all is stored.
    fn run_masked<S: Sink>(
        &self,
        ready: &Ready<'_>,
        kernel: &'static Kernel,
        b: &MaskedI8,
        columns: Range<usize>,
        room: &mut Room,
        pace: &mut Pace,
        sink: &S,
    ) -> Result<()> {
        let Room { strip, fours } = room;
        // These take A as the VNNI kernels do.
        let fused = masked::fused(self.isa).filter(|_| kernel.left == Left::U8);
        for first in columns.clone().step_by(masked::WIDE * PANEL) {
            let end = (first + masked::WIDE * PANEL).min(columns.end);
            let panels = first / PANEL..end.div_ceil(PANEL);
            let Some(fused) = fused else {
                b.expand(self.isa, panels.clone(), fours)?;
                let b = if fours.layout() == kernel.layout {
                    &*fours
                } else {
                    relay(self.isa, fours, 0..panels.len(), kernel.layout, strip)?;
                    &*strip
                };
                self.run_strip(ready, Strip { b, kernel, first }, first..end, pace, sink)?;
                continue;
            };
            b.reserve(panels, strip)?;
            let (top, rest) = ready.split(masked::TALL);
            let strip = Strip { b: strip, kernel, first };
            self.run_fused(&top, fused, b, strip, first..end, rest.is_some(), sink);
            pace.check(top.range.len() * (end - first) * self.b.k())?;
            if let Some(rest) = rest {
                self.run_strip(&rest, strip, first..end, pace, sink)?;
            }
        }
        Ok(())
    }
}
