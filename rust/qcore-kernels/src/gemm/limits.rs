//! From where on what pays: measured, and kept here, instruction set by instruction set.
//!
//! Results do not depend on any of it. The kernels name their line; [`limits_of`] tells it to others.

use super::registry::kernel_for;
use crate::isa::Isa;

/// What the drivers of int8 products decide by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of packed A that are to stay in the second cache, with room for a stream of B.
    pub left_bytes: usize,
    /// The same where B is laid out anew for each block of A.
    pub left_bytes_for_strips: usize,
    /// Rows from which on B is laid out anew for a kernel of many rows.
    pub many_rows: usize,
    /// The most rows for which a B that is not packed is read where it lies, row by row.
    pub few_rows: usize,
    /// The same for a B whose columns lie side by side, which is slower to lay out.
    pub few_rows_of_columns: usize,
    /// Multiply-adds below which another thread costs more than it saves.
    pub grain: usize,
}

/// Bytes of B laid out anew that are to stay in the first cache.
pub(super) const STRIP_BYTES: usize = 32 << 10;

/// `vpdpbusd`, as measured on Zen 4: A is read where it lies, nothing is widened.
#[cfg(target_arch = "x86_64")]
pub(super) static DOT: Limits = Limits {
    left_bytes: 4 << 20,
    left_bytes_for_strips: 4 << 20,
    many_rows: usize::MAX,
    few_rows: 8,
    few_rows_of_columns: 8,
    grain: 1 << 21,
};

/// `vpmaddwd` of 256 bits, as measured on Zen 5.
#[cfg(target_arch = "x86_64")]
pub(super) static MADD: Limits = Limits {
    left_bytes: 256 << 10,
    left_bytes_for_strips: 512 << 10,
    many_rows: 36,
    few_rows: 6,
    few_rows_of_columns: 15,
    grain: 1 << 20,
};

/// `pmaddwd` of 128 bits, as measured on Zen 5.
#[cfg(target_arch = "x86_64")]
pub(super) static MADD_128: Limits = Limits { many_rows: 12, few_rows: 3, grain: 1 << 19, ..MADD };

/// `vpmaddwd` of 512 bits.
#[cfg(target_arch = "x86_64")]
pub(super) static MADD_512: Limits = Limits { few_rows: 3, ..MADD };

/// NEON: computed from what the cores do in a cycle, not measured. Packed A takes half of the smallest
/// second cache that these cores come with (512 KiB), or of that of the larger ones (1 MiB) where B is
/// laid out anew for each block. A B that is not packed is interleaved as it is read, once for as many
/// rows as there are sums for (`Dot4::ROWS`): more rows would do so again. Another thread is woken for
/// about 16,000 cycles of work: some microseconds.
#[cfg(target_arch = "aarch64")]
pub(super) static NEON: Limits = Limits {
    left_bytes: 256 << 10,
    left_bytes_for_strips: 512 << 10,
    many_rows: usize::MAX,
    few_rows: 4,
    few_rows_of_columns: 4,
    grain: 1 << 17,
};

/// The same with dot products: four times as many multiply-adds in a cycle.
#[cfg(target_arch = "aarch64")]
pub(super) static NEON_DOT: Limits =
    Limits { few_rows: 6, few_rows_of_columns: 6, grain: 1 << 19, ..NEON };

/// The same with matrix products: twice as many again, of rows in pairs.
#[cfg(target_arch = "aarch64")]
pub(super) static NEON_I8MM: Limits = Limits { grain: 1 << 20, ..NEON_DOT };

/// Plain code.
pub(super) static PLAIN: Limits = Limits {
    left_bytes: 256 << 10,
    left_bytes_for_strips: 512 << 10,
    many_rows: usize::MAX,
    few_rows: 8,
    few_rows_of_columns: 8,
    grain: 1 << 18,
};

/// What int8 products decide by where `isa` is in force.
#[must_use]
pub fn limits_of(isa: Isa) -> Limits {
    *kernel_for(isa).limits
}
