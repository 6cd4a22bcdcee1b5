//! AVX-512 VNNI with VBMI2 on a B without its zeros: lines are expanded in registers, and multiplied
//! there and then; kept for the rows that follow, where there are any.

use std::arch::x86_64::*;

use super::Dot;
use super::avx512_vnni::Avx512Vnni;
use crate::gemm::microkernel::GROUP_BYTES;
use crate::gemm::packed::masked::{FOURS, LINES, MaskedTile, MaskedTiles, Masks};

/// The functions of so many rows.
macro_rules! tiles {
    ($($rows:literal),+) => {
        [$([
            [tile::<$rows, 1, false>, tile::<$rows, 1, true>],
            [tile::<$rows, 2, false>, tile::<$rows, 2, true>],
            [tile::<$rows, 3, false>, tile::<$rows, 3, true>],
            [tile::<$rows, 4, false>, tile::<$rows, 4, true>],
        ]),+]
    };
}

pub(in crate::gemm) static TILES: MaskedTiles = tiles!(1, 2, 3, 4, 5, 6);

/// # Safety
/// As [`crate::gemm::packed::masked::MaskedTileFn`].
#[allow(clippy::needless_range_loop, reason = "unrolled whole, so that sums stay in registers")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512vbmi2,popcnt")]
unsafe fn tile<const ROWS: usize, const PANELS: usize, const KEEP: bool>(t: &MaskedTile<'_>) {
    type D = Avx512Vnni;
    // SAFETY: the caller vouches for every pointer of the tile and for the instructions.
    unsafe {
        let mut acc = [[D::zero(); PANELS]; ROWS];
        let (mut a, mut values) = (t.tile.a, t.values);
        let fill = _mm512_set1_epi8(t.fill as i8);
        let mut room = t.tile.b.cast_mut();
        let mut masks = [Masks::default(); PANELS];
        for group in 0..t.tile.groups {
            let (quad, line) = (group / LINES % FOURS, group % LINES);
            if group % (LINES * FOURS) == 0 {
                for panel in 0..PANELS {
                    let block = panel * t.blocks + group / (LINES * FOURS);
                    masks[panel] = t.places.masks(t.first + block);
                }
            }
            let mut columns = [fill; PANELS];
            for panel in 0..PANELS {
                let mask = masks[panel][line][quad];
                let stored = _mm512_loadu_si512(values[panel].cast());
                columns[panel] = _mm512_mask_expand_epi8(fill, mask, stored);
                values[panel] = values[panel].add(mask.count_ones() as usize);
                if KEEP {
                    let line = room.add(panel * t.tile.panel_stride);
                    _mm512_store_si512(line.cast(), columns[panel]);
                }
            }
            for row in 0..ROWS {
                let a = D::load_a(a.add(row * t.tile.a_stride), t.tile.flip);
                for panel in 0..PANELS {
                    acc[row][panel] = D::dot(acc[row][panel], a, columns[panel]);
                }
            }
            a = a.add(D::A_BYTES);
            room = room.add(GROUP_BYTES);
        }
        for row in 0..ROWS {
            let row_start = *t.tile.row_start.add(row);
            for panel in 0..PANELS {
                let column = panel * D::UNIT;
                let c = t.tile.c.add(row * t.tile.c_stride + column);
                D::store(acc[row][panel], t.tile.start.add(column), row_start, c);
            }
        }
    }
}
