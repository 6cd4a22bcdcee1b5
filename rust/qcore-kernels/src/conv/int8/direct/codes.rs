//! Sums that become codes in the registers that they were summed in.

use super::{Direct, Rows};
use crate::conv::int8::output::ToBytes;
use crate::gemm::{Added, CodesTile, CodesTiles, SegmentTile};

impl Direct<'_> {
    /// Rows of places, some columns, whose sums become codes in registers.
    ///
    /// # Safety
    /// The rows hold every tap of the places; there are multipliers and starts for whole units from
    /// `column` on, which is that of `out`; nobody else touches these results.
    pub(super) unsafe fn codes(
        &self,
        strip: &Rows,
        tiles: &CodesTiles,
        units: usize,
        column: usize,
        start: *const i32,
        multiplier: *const f32,
        to: ToBytes<'_>,
        out: *mut u8,
    ) {
        let (tiles, outputs) = (tiles[units - 1], self.weights.n());
        let ToBytes { output, residual, signed } = to;
        let added = residual.map_or(Added::NOTHING, |residual| Added {
            codes: residual.codes.as_ptr().wrapping_add(column),
            flip: if residual.signed { 0x80 } else { 0 },
            zero: residual.zero_point + if residual.signed { 128 } else { 0 },
            multiplier: residual.multiplier,
        });
        for (index, row) in strip.places.clone().enumerate() {
            let places = self.places(row);
            // Tiles of about the same height: some are a row taller.
            let parts = places.div_ceil(tiles.len());
            let (tall, taller) = (places / parts, places % parts);
            let mut place = 0;
            for (tall, count) in [(tall + 1, taller), (tall, parts - taller)] {
                if count == 0 {
                    continue;
                }
                let first = (row * self.columns + place) * outputs;
                let mut residual = added;
                if !added.codes.is_null() {
                    residual.codes = added.codes.wrapping_add(first);
                }
                let tile = CodesTile {
                    sums: SegmentTile { start, ..self.tile(strip, index, place, column) },
                    count,
                    multiplier,
                    high: (output.max - output.zero_point) as f32,
                    zero: output.zero_point as i16,
                    low: output.min as i8,
                    residual,
                    out: out.wrapping_add(first),
                    out_stride: outputs,
                };
                // SAFETY: the caller's promise; the CPU has the instruction set of these tiles.
                unsafe { tiles[tall - 1][usize::from(signed)](&tile) };
                place += tall * count;
            }
        }
    }
}
