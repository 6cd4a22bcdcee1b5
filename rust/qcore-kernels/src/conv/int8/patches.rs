//! Pixels under a window as rows of a product, copied as they are used: there is no matrix of all
//! patches.

use std::ops::Range;

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
    /// Rows and columns of places.
    pub(super) shape: [usize; 2],
    /// The channels that a group reads: the first, and their number.
    pub(super) channels: (usize, usize),
    /// The code of 0, as a byte.
    pub(super) zero: u8,
}

/// Bytes that are copied at once.
const CHUNK: usize = 32;

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

/// What a byte becomes.
trait Become {
    type Value: Copy + Default;
    fn of(byte: u8) -> Self::Value;
}

struct Same;
struct Flipped;
struct Unsigned;
struct Signed;

impl Become for Same {
    type Value = u8;
    #[inline(always)]
    fn of(byte: u8) -> u8 {
        byte
    }
}

impl Become for Flipped {
    type Value = u8;
    #[inline(always)]
    fn of(byte: u8) -> u8 {
        byte ^ 0x80
    }
}

impl Become for Unsigned {
    type Value = i16;
    #[inline(always)]
    fn of(byte: u8) -> i16 {
        i16::from(byte)
    }
}

impl Become for Signed {
    type Value = i16;
    #[inline(always)]
    fn of(byte: u8) -> i16 {
        i16::from(byte as i8)
    }
}

/// Where the next element of a packed row goes, and what may be written of it at once.
struct Writer<B: Become> {
    at: *mut B::Value,
    /// The end of the row: up to a chunk past it may be written.
    end: *mut B::Value,
    /// The end of the image.
    image_end: *const u8,
}

impl<B: Become> Writer<B> {
    /// `count` times the same byte.
    ///
    /// # Safety
    /// So much of the row is left.
    #[inline(always)]
    unsafe fn fill(&mut self, byte: u8, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            std::slice::from_raw_parts_mut(self.at, count).fill(B::of(byte));
            self.at = self.at.add(count);
        }
    }

    /// `count` bytes of the image.
    ///
    /// # Safety
    /// They are within the image, and so much of the row is left.
    #[inline(always)]
    unsafe fn copy(&mut self, from: *const u8, count: usize) {
        // SAFETY: whole chunks are read only where the image has them, and written where a chunk
        // behind the row is room, or what follows of the row.
        unsafe {
            let chunks = count.div_ceil(CHUNK);
            if self.image_end.offset_from_unsigned(from) >= chunks * CHUNK {
                for chunk in 0..chunks {
                    let bytes = from.add(chunk * CHUNK).cast::<[u8; CHUNK]>().read_unaligned();
                    let mut values = [B::Value::default(); CHUNK];
                    for (value, byte) in values.iter_mut().zip(bytes) {
                        *value = B::of(byte);
                    }
                    let to = self.at.add(chunk * CHUNK);
                    to.cast::<[B::Value; CHUNK]>().write_unaligned(values);
                }
            } else {
                for at in 0..count {
                    self.at.add(at).write(B::of(*from.add(at)));
                }
            }
            self.at = self.at.add(count);
        }
    }
}

impl Pack<'_> {
    #[inline(always)]
    fn all<B: Become>(self) {
        let Places { codes, image, window, shape: places, channels: (first, each), .. } =
            *self.from;
        let [_, height, width, channels] = image;
        let k = window.kernel[0] * window.kernel[1] * each;
        let whole = self.columns == (0..k);
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
        let Places { image, window, channels: (_, each), zero, .. } = *self.from;
        let [_, height, width, channels] = image;
        let Window { kernel, dilation, padding, .. } = *window;
        // Taps side by side lie side by side in the image where nothing lies between them.
        let line = dilation[1] == 1 && each == channels;
        let left = padding[1][0].saturating_sub(corner[1]).min(kernel[1]);
        let right = (width + padding[1][0]).saturating_sub(corner[1]).min(kernel[1]).max(left);
        for tap in 0..kernel[0] {
            let y = (corner[0] + tap * dilation[0]).wrapping_sub(padding[0][0]);
            // SAFETY: what is copied lies within the row `y` of the image, from tap `left` to tap
            // `right`; the taps of the window fill the row.
            unsafe {
                if y >= height {
                    to.fill(zero, kernel[1] * each);
                } else if line {
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
            }
        }
    }

    /// Some columns of a row, one by one: of sums that are too long for one go.
    ///
    /// # Safety
    /// The row has room.
    #[inline(always)]
    unsafe fn part<B: Become>(&self, picture: &[u8], corner: [usize; 2], to: &mut Writer<B>) {
        let Places { image, window, channels: (_, each), zero, .. } = *self.from;
        let [_, height, width, channels] = image;
        let Window { kernel, dilation, padding, .. } = *window;
        for k in self.columns.clone() {
            let (tap, channel) = (k / each, k % each);
            let y = corner[0] + tap / kernel[1] * dilation[0];
            let x = corner[1] + tap % kernel[1] * dilation[1];
            let (y, x) = (y.wrapping_sub(padding[0][0]), x.wrapping_sub(padding[1][0]));
            let inside = y < height && x < width;
            let byte = if inside { picture[(y * width + x) * channels + channel] } else { zero };
            // SAFETY: the row has room for each of its columns.
            unsafe { to.fill(byte, 1) };
        }
    }
}
