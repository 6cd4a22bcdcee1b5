//! Transposition of matrices of bytes and of 32-bit elements.
//!
//! Tiles of 16 by 16 bytes, or 4 by 4 words, pass through registers: SSE2, which every x86-64 CPU has,
//! or NEON, which every `AArch64` CPU has. Other elements, other CPUs and what fills no tile are copied
//! one by one.

#[cfg(target_arch = "aarch64")]
use neon as vectors;
#[cfg(target_arch = "x86_64")]
use sse2 as vectors;

/// Writes the transpose of a matrix of `rows` rows, `src_stride` elements apart, into one of `cols`
/// rows, `dst_stride` elements apart.
///
/// # Safety
/// - `src` is valid for reading `cols` elements of each of the `rows` rows.
/// - `dst` is valid for writing `rows` elements of each of the `cols` rows, which overlap neither
///   each other nor the source.
pub(crate) unsafe fn transpose<T: Copy>(
    src: *const T,
    src_stride: usize,
    dst: *mut T,
    dst_stride: usize,
    rows: usize,
    cols: usize,
) {
    let tile = tile_of::<T>();
    let (full_rows, full_cols) =
        if tile == 0 { (0, 0) } else { (rows - rows % tile, cols - cols % tile) };
    for row in (0..full_rows).step_by(tile.max(1)) {
        for col in (0..full_cols).step_by(tile.max(1)) {
            // SAFETY: the tile is within both matrices.
            unsafe {
                let src = src.add(row * src_stride + col);
                let dst = dst.add(col * dst_stride + row);
                whole_tile(src, src_stride, dst, dst_stride);
            }
        }
    }
    let copy = |row: usize, col: usize| {
        // SAFETY: the element is within both matrices.
        unsafe { *dst.add(col * dst_stride + row) = *src.add(row * src_stride + col) };
    };
    for row in 0..full_rows {
        for col in full_cols..cols {
            copy(row, col);
        }
    }
    for row in full_rows..rows {
        for col in 0..cols {
            copy(row, col);
        }
    }
}

/// Whether tiles pass through registers.
const HAS_VECTORS: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// Rows of a tile that passes through registers; 0 if there is none for such elements.
fn tile_of<T>() -> usize {
    match size_of::<T>() {
        1 if HAS_VECTORS => 16,
        4 if HAS_VECTORS => 4,
        _ => 0,
    }
}

/// Transposes one tile.
///
/// # Safety
/// The tile is within both matrices.
#[inline(always)]
unsafe fn whole_tile<T>(src: *const T, src_stride: usize, dst: *mut T, dst_stride: usize) {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: by the caller's promise; the elements have the size of those that are copied.
    unsafe {
        match size_of::<T>() {
            1 => vectors::bytes(src.cast(), src_stride, dst.cast(), dst_stride),
            _ => vectors::words(src.cast(), src_stride, dst.cast(), dst_stride),
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = (src, src_stride, dst, dst_stride);
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::*;

    /// Transposes 16 by 16 bytes: in each of four rounds rows that lie half the tile apart are
    /// interleaved.
    ///
    /// # Safety
    /// Both matrices have the tile.
    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) unsafe fn bytes(src: *const u8, src_stride: usize, dst: *mut u8, dst_stride: usize) {
        let mut tile = [_mm_setzero_si128(); 16];
        for (row, vector) in tile.iter_mut().enumerate() {
            // SAFETY: the row is in the source.
            *vector = unsafe { _mm_loadu_si128(src.add(row * src_stride).cast()) };
        }
        for _ in 0..4 {
            let rows = tile;
            for pair in 0..8 {
                tile[2 * pair] = _mm_unpacklo_epi8(rows[pair], rows[pair + 8]);
                tile[2 * pair + 1] = _mm_unpackhi_epi8(rows[pair], rows[pair + 8]);
            }
        }
        for (row, vector) in tile.iter().enumerate() {
            // SAFETY: the row is in the target.
            unsafe { _mm_storeu_si128(dst.add(row * dst_stride).cast(), *vector) };
        }
    }

    /// Transposes 4 by 4 words of 32 bits.
    ///
    /// # Safety
    /// Both matrices have the tile.
    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) unsafe fn words(
        src: *const u32,
        src_stride: usize,
        dst: *mut u32,
        dst_stride: usize,
    ) {
        let mut tile = [_mm_setzero_si128(); 4];
        for (row, vector) in tile.iter_mut().enumerate() {
            // SAFETY: the row is in the source.
            *vector = unsafe { _mm_loadu_si128(src.add(row * src_stride).cast()) };
        }
        for _ in 0..2 {
            let rows = tile;
            for pair in 0..2 {
                tile[2 * pair] = _mm_unpacklo_epi32(rows[pair], rows[pair + 2]);
                tile[2 * pair + 1] = _mm_unpackhi_epi32(rows[pair], rows[pair + 2]);
            }
        }
        for (row, vector) in tile.iter().enumerate() {
            // SAFETY: the row is in the target.
            unsafe { _mm_storeu_si128(dst.add(row * dst_stride).cast(), *vector) };
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    /// Transposes 16 by 16 bytes: in each of four rounds rows that lie half the tile apart are
    /// interleaved.
    ///
    /// # Safety
    /// Both matrices have the tile.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn bytes(src: *const u8, src_stride: usize, dst: *mut u8, dst_stride: usize) {
        let mut tile = [vdupq_n_u8(0); 16];
        for (row, vector) in tile.iter_mut().enumerate() {
            // SAFETY: the row is in the source.
            *vector = unsafe { vld1q_u8(src.add(row * src_stride)) };
        }
        for _ in 0..4 {
            let rows = tile;
            for pair in 0..8 {
                tile[2 * pair] = vzip1q_u8(rows[pair], rows[pair + 8]);
                tile[2 * pair + 1] = vzip2q_u8(rows[pair], rows[pair + 8]);
            }
        }
        for (row, vector) in tile.iter().enumerate() {
            // SAFETY: the row is in the target.
            unsafe { vst1q_u8(dst.add(row * dst_stride), *vector) };
        }
    }

    /// Transposes 4 by 4 words of 32 bits.
    ///
    /// # Safety
    /// Both matrices have the tile.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) unsafe fn words(
        src: *const u32,
        src_stride: usize,
        dst: *mut u32,
        dst_stride: usize,
    ) {
        let mut tile = [vdupq_n_u32(0); 4];
        for (row, vector) in tile.iter_mut().enumerate() {
            // SAFETY: the row is in the source.
            *vector = unsafe { vld1q_u32(src.add(row * src_stride)) };
        }
        for _ in 0..2 {
            let rows = tile;
            for pair in 0..2 {
                tile[2 * pair] = vzip1q_u32(rows[pair], rows[pair + 2]);
                tile[2 * pair + 1] = vzip2q_u32(rows[pair], rows[pair + 2]);
            }
        }
        for (row, vector) in tile.iter().enumerate() {
            // SAFETY: the row is in the target.
            unsafe { vst1q_u32(dst.add(row * dst_stride), *vector) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Copy + PartialEq + std::fmt::Debug>(
        rows: usize,
        cols: usize,
        make: impl Fn(usize) -> T,
    ) {
        let (src_stride, dst_stride) = (cols + 3, rows + 1);
        let src: Vec<T> = (0..rows * src_stride).map(&make).collect();
        let blank = make(999_983);
        let mut dst = vec![blank; cols * dst_stride];
        // SAFETY: both buffers have all of their rows.
        unsafe { transpose(src.as_ptr(), src_stride, dst.as_mut_ptr(), dst_stride, rows, cols) };
        for col in 0..cols {
            for row in 0..rows {
                assert_eq!(
                    dst[col * dst_stride + row],
                    src[row * src_stride + col],
                    "{rows}x{cols}"
                );
            }
            assert_eq!(dst[col * dst_stride + rows], blank, "{rows}x{cols}");
        }
    }

    #[test]
    fn every_shape_past_two_tiles_is_transposed_and_nothing_else_written() {
        for rows in 0..35 {
            for cols in 0..35 {
                check(rows, cols, |at| (at * 7 + at / 256) as u8);
                check(rows, cols, |at| at as u32);
                check(rows, cols, |at| at as u64);
            }
        }
    }
}
