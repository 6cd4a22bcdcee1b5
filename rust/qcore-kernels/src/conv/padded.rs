//! Rows of an image with zeros around them.

use std::ops::Range;

use super::window::Window;

/// Copies the rows of an image that some places read, with the window's padding, to `to`: rows of
/// `width` pixels, all the window's taps inside.
///
/// # Safety
/// `to` is valid for writing as many rows.
pub(super) unsafe fn pad_rows(
    image: &[f32],
    size: [usize; 2],
    channels: usize,
    window: &Window,
    rows: Range<usize>,
    width: usize,
    to: *mut f32,
) {
    let ([top, _], [left, _]) = (window.padding[0], window.padding[1]);
    let pitch = width * channels;
    // Taps that a stride leaves out may be all that the image has: a row is then padding alone.
    let before = left.min(width) * channels;
    for (index, row) in rows.enumerate() {
        // SAFETY: the caller's promise: a row of `to`.
        let to = unsafe { std::slice::from_raw_parts_mut(to.add(index * pitch), pitch) };
        if row < top || row - top >= size[0] {
            to.fill(0.0);
            continue;
        }
        let own = size[1] * channels;
        let from = &image[(row - top) * own..][..own];
        let kept = own.min(pitch - before);
        to[..before].fill(0.0);
        to[before..][..kept].copy_from_slice(&from[..kept]);
        to[before + kept..].fill(0.0);
    }
}
