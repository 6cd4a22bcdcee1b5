//! Pixels under a window as rows of a product, copied as they are used: there is no matrix of all
//! patches.

use std::ops::Range;

use super::taps::Taps;
use super::write::{Become, Flipped, Same, Signed, Unsigned, Writer};
use crate::conv::window::Window;
use crate::gemm::{Form, PackedRows, Patches};
use crate::isa::Isa;
use crate::simd::{Simd, SimdOp, dispatch};

/// The windows of all places over images, as rows (place) and columns (row, column and channel of the
/// window). What lies outside is the code of 0.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    pub(super) codes: &'a [u8],
    /// `[batch, height, width, channels]`.
    pub(super) image: [usize; 4],
    pub(super) window: &'a Window,
    pub(super) taps: Taps,
    /// Rows and columns of places.
    pub(super) shape: [usize; 2],
    /// The channels that a group reads: the first, and their number.
    pub(super) channels: (usize, usize),
    /// The code of 0, as a byte.
    pub(super) zero: u8,
}

impl Patches for Places<'_> {
    unsafe fn pack(&self, isa: Isa, rows: Range<usize>, columns: Range<usize>, to: PackedRows) {
        let pack = Pack { from: self, rows, columns, to };
        dispatch(isa, pack);
    }
}

/// Some rows and columns, and where they go: whoever makes one vouches for the room.
struct Pack<'a> {
    from: &'a Places<'a>,
    rows: Range<usize>,
    columns: Range<usize>,
    to: PackedRows,
}

impl SimdOp for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, _: S) {
        match self.to.form {
            Form::Same => self.all::<Same>(),
            Form::Flipped => self.all::<Flipped>(),
            Form::Unsigned => self.all::<Unsigned>(),
            Form::Signed => self.all::<Signed>(),
        }
    }
}

impl Pack<'_> {
    #[inline(always)]
    fn all<B: Become>(self) {
        let Places { codes, image, window, shape: places, channels: (first, _), .. } = *self.from;
        let [_, height, width, channels] = image;
        let whole = self.columns == (0..self.from.taps.k());
        let (mut row, mut column) = (self.rows.start / places[1], self.rows.start % places[1]);
        let padded = self.columns.len().next_multiple_of(4) - self.columns.len();
        for index in 0..self.rows.len() {
            let (n, y) = (row / places[0], row % places[0]);
            let picture = &codes[n * height * width * channels + first..];
            let corner = [y * window.stride[0], column * window.stride[1]];
            // SAFETY: the row has room for the columns, filled up to a whole group, and a chunk more:
            // of the next row, or of the slack behind the last.
            unsafe {
                let at = self.to.out.add(index * self.to.stride).cast::<B::Value>();
                let end = at.add(self.columns.len());
                let mut to = Writer::<B> { at, end, image_end: codes.as_ptr_range().end };
                if whole {
                    self.row(picture, corner, &mut to);
                } else {
                    self.part(picture, corner, &mut to);
                }
                debug_assert_eq!(to.at, to.end);
                for at in 0..padded {
                    to.end.add(at).write(B::Value::default());
                }
            }
            column += 1;
            if column == places[1] {
                (row, column) = (row + 1, 0);
            }
        }
    }

    /// All columns of a row, run by run.
    ///
    /// # Safety
    /// The row has room.
    #[inline(always)]
    unsafe fn row<B: Become>(&self, picture: &[u8], corner: [usize; 2], to: &mut Writer<B>) {
        let Places { image, window, taps, channels: (_, each), zero, .. } = *self.from;
        let [_, height, width, channels] = image;
        let Window { kernel, dilation, padding, .. } = *window;
        let left = padding[1][0].saturating_sub(corner[1]).min(kernel[1]);
        let right = (width + padding[1][0]).saturating_sub(corner[1]).min(kernel[1]).max(left);
        for tap in 0..kernel[0] {
            let y = (corner[0] + tap * dilation[0]).wrapping_sub(padding[0][0]);
            // SAFETY: what is copied lies within the row `y` of the image, from tap `left` to tap
            // `right`; the taps of the window fill the row.
            unsafe {
                if y >= height {
                    to.fill(zero, kernel[1] * each);
                } else if taps.line {
                    to.fill(zero, left * each);
                    if right > left {
                        let at = (y * width + corner[1] + left - padding[1][0]) * channels;
                        to.copy(picture.as_ptr().wrapping_add(at), (right - left) * each);
                    }
                    to.fill(zero, (kernel[1] - right) * each);
                } else {
                    for column in 0..kernel[1] {
                        let x = (corner[1] + column * dilation[1]).wrapping_sub(padding[1][0]);
                        if x >= width {
                            to.fill(zero, each);
                        } else {
                            let at = (y * width + x) * channels;
                            to.copy(picture.as_ptr().wrapping_add(at), each);
                        }
                    }
                }
                // Their weights are 0.
                to.fill(zero, taps.step - taps.len);
            }
        }
    }

    /// Some columns of a row, one by one: of sums that are too long for one go.
    ///
    /// # Safety
    /// The row has room.
    #[inline(always)]
    unsafe fn part<B: Become>(&self, picture: &[u8], corner: [usize; 2], to: &mut Writer<B>) {
        let Places { image, window, taps, channels: (_, each), zero, .. } = *self.from;
        let [_, height, width, channels] = image;
        let Window { dilation, padding, .. } = *window;
        for k in self.columns.clone() {
            let byte = match taps.place(k, window.kernel[1], each) {
                None => zero,
                Some(([row, column], channel)) => {
                    let y = (corner[0] + row * dilation[0]).wrapping_sub(padding[0][0]);
                    let x = (corner[1] + column * dilation[1]).wrapping_sub(padding[1][0]);
                    let inside = y < height && x < width;
                    if inside { picture[(y * width + x) * channels + channel] } else { zero }
                }
            };
            // SAFETY: the row has room for each of its columns.
            unsafe { to.fill(byte, 1) };
        }
    }
}
