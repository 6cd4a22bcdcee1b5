//! Products whose rows of A are read where they lie: the rows of a window are segments of the image, or
//! of some of its rows with what lies around them.

#[cfg(target_arch = "x86_64")]
mod codes;

use std::cell::RefCell;
use std::ops::Range;

use super::CodeImages;
use super::output::{At, Parameters, Target};
use super::strip::Strip;
use super::taps::Taps;
use crate::aligned::AlignedBytes;
use crate::conv::window::Window;
use crate::epilogue::SumBlock;
use crate::error::Result;
#[cfg(target_arch = "x86_64")]
use crate::gemm::codes_tiles;
use crate::gemm::{Form, Layout, LeftKind, PackedI8, SegmentKernel, SegmentTile, segment_kernel};
use crate::interrupt::Pace;
use crate::isa::Isa;
use crate::memory;
use crate::simd::dispatch;
use crate::threads::{self, SendPtr};

/// Multiply-adds below which another thread costs more than it saves.
const GRAIN: usize = 1 << 21;
/// Multiply-adds between two looks at whether to stop.
const STEPS: usize = 1 << 23;
/// Outputs above which copied patches pay: tiles need not end with a row of places then.
const MOST_OUTPUTS: usize = 160;
/// The same for 1 x 1, by inputs: there is nothing to copy either way.
const MOST_INPUTS: usize = 256;
/// Bytes of rows that are gone through for some columns of the weights, then for the next.
const STRIP: usize = 1 << 17;
/// Sums that are finished together.
const SUMS: usize = 1 << 12;
/// Pixels that a row of places has where windows are single pixels: whole tiles of any kernel.
const POINTS: usize = 96;
/// The greatest product of two codes.
const REACH: i64 = 255 * 128;

/// Memory that a thread keeps from call to call.
#[derive(Default)]
struct Scratch {
    rows: AlignedBytes,
    sums: AlignedBytes,
    start: AlignedBytes,
    parameters: Parameters,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A convolution that is computed so.
pub(super) struct Direct<'a> {
    isa: Isa,
    kernel: &'static SegmentKernel,
    weights: &'a PackedI8,
    taps: Taps,
    x: CodeImages<'a>,
    window: &'a Window,
    /// Rows of places, of all images, and places of a row.
    rows: usize,
    columns: usize,
    /// Places of the result that are taken as one.
    together: usize,
    /// Pixels where windows are single ones: the last row may be shorter.
    points: Option<usize>,
}

impl<'a> Direct<'a> {
    /// The convolution, where it is to be computed so.
    pub(super) fn new(
        isa: Isa,
        weights: &'a PackedI8,
        taps: Taps,
        x: CodeImages<'a>,
        window: &'a Window,
        shape: [usize; 4],
    ) -> Option<Self> {
        let kernel = segment_kernel(isa)?;
        let few = if window.is_point() { weights.k() <= MOST_INPUTS } else { false };
        let fits = weights.k() as i64 * REACH <= i64::from(i32::MAX);
        let pays = few || weights.n() <= MOST_OUTPUTS;
        // A line of B may be of two depth groups: no segment may end within one.
        let whole =
            kernel.layout != Layout::Eights || taps.runs == 1 || taps.step.is_multiple_of(8);
        if !(taps.line && fits && pays && whole && weights.layout() == kernel.layout) {
            return None;
        }
        let [batch, rows, columns, _] = shape;
        let points = window.is_point().then_some(batch * rows * columns);
        let (rows, columns) = match points {
            Some(points) => (points.div_ceil(POINTS), POINTS),
            None => (batch * rows, columns),
        };
        Some(Self { isa, kernel, weights, taps, x, window, rows, columns, together: 1, points })
    }

    /// The same where so many places of the result are one.
    pub(super) fn side_by_side(self, together: usize) -> Self {
        Self { together, ..self }
    }

    /// What becomes of the bytes of the image for the kernel.
    fn form(&self) -> Form {
        match (self.kernel.left, self.x.signed) {
            (LeftKind::I16, true) => Form::Signed,
            (LeftKind::I16, false) => Form::Unsigned,
            (LeftKind::U8, true) | (LeftKind::Signed, false) => Form::Flipped,
            _ => Form::Same,
        }
    }

    /// Whether the image is read where it lies.
    fn in_place(&self) -> bool {
        self.form() == Form::Same && !self.window.is_padded() && self.taps.len.is_multiple_of(4)
    }

    /// Convolves.
    pub(super) fn run<T: Target>(&self, target: &T, out: &mut [T::Element]) -> Result<()> {
        let tasks = threads::tasks_for(out.len(), self.weights.k(), GRAIN);
        let together = self.rows.div_ceil(tasks).max(1);
        let results = SendPtr(out.as_mut_ptr());
        threads::try_for_each(self.rows.div_ceil(together), |task| {
            let rows = task * together..((task + 1) * together).min(self.rows);
            memory::with_kept(&SCRATCH, |scratch| self.part(rows, target, results, scratch))
        })
    }

    /// Some rows of places, which are this task's own.
    fn part<T: Target>(
        &self,
        rows: Range<usize>,
        target: &T,
        out: SendPtr<T::Element>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let Scratch { rows: room, sums, start, parameters } = scratch;
        target.prepare(self.together, parameters)?;
        sums.resize_scratch(SUMS * size_of::<i32>())?;
        self.starts(target.start(), start)?;
        let size = self.kernel.left.size();
        let Window { stride, dilation, .. } = *self.window;
        let [_, height, width, channels] = self.x.shape;
        // A row as it lies in the room, which is as wide as the last place reaches.
        let wide = match self.points {
            Some(_) => POINTS,
            None => (self.columns - 1) * stride[1] + self.window.extent(1),
        };
        let in_place = self.in_place();
        let pitch = match (in_place, self.points) {
            (true, None) => memory::size(&[width, channels])?,
            _ => memory::size(&[wide, channels])?,
        };
        let bytes = memory::size(&[pitch, size])?;
        let extent = if self.points.is_some() { 1 } else { self.window.extent(0) };
        let step = if self.points.is_some() { 1 } else { stride[0] };
        let most = (STRIP / bytes).saturating_sub(extent) / step + 1;
        let of_image = match self.points {
            Some(_) => self.rows,
            None => self.rows / self.x.shape[0],
        };
        let mut pace = Pace::of(STEPS);
        let mut row = rows.start;
        while row < rows.end {
            let (n, first) = (row / of_image, row % of_image);
            let count = most.min(of_image - first).min(rows.end - row);
            let top = first * step;
            let picture = n * height * width * channels;
            let base = if in_place {
                self.x.codes[picture + top * pitch..].as_ptr()
            } else {
                let tall = memory::sum(&[(count - 1) * step, extent])?;
                room.resize_scratch(memory::sum(&[memory::size(&[tall, bytes])?, 64])?)?;
                self.copy(picture, top..top + tall, pitch, room.as_mut_ptr());
                room.as_ptr()
            };
            let strip = Rows {
                base,
                row: step * bytes,
                place: stride[1] * channels * size,
                segment: dilation[0] * bytes,
                places: row..row + count,
            };
            // SAFETY: the rows hold every tap of these places, filled up to whole groups; the results
            // are this task's own.
            unsafe { self.strip(&strip, start, sums, target, parameters, out) };
            pace.check(count * self.columns * self.weights.n() * self.weights.k())?;
            row += count;
        }
        Ok(())
    }

    /// What the sums of each column start from.
    fn starts(&self, bias: &[i32], to: &mut AlignedBytes) -> Result<()> {
        let sums = self.weights.sums();
        to.resize_scratch(memory::size(&[sums.len(), size_of::<i32>()])?)?;
        let zero = self.x.zero_point
            + match (self.form(), self.x.signed) {
                (Form::Flipped, true) => 128,
                (Form::Flipped, false) => -128,
                _ => 0,
            };
        // SAFETY: the room is for so many int32, on a cache line, and nobody else's; any bytes are one.
        let to =
            unsafe { std::slice::from_raw_parts_mut(to.as_mut_floats().cast::<i32>(), sums.len()) };
        // What fills the last panel starts from anything.
        to.fill(0);
        match bias {
            [] => {}
            [one] => to.fill(*one),
            each => {
                for to in to.chunks_exact_mut(each.len()).take(self.together) {
                    to.copy_from_slice(each);
                }
            }
        }
        for (to, &sum) in to.iter_mut().zip(sums) {
            *to = to.wrapping_sub((sum as i32).wrapping_mul(zero));
        }
        Ok(())
    }

    /// Copies rows of the image that starts at `picture`, or pixels.
    fn copy(&self, picture: usize, rows: Range<usize>, pitch: usize, out: *mut u8) {
        let [_, height, width, channels] = self.x.shape;
        let form = self.form();
        let zero = self.x.zero_point as u8;
        let strip = match self.points {
            Some(points) => {
                // The pixels follow one another, from row to row of places.
                let first = rows.start * POINTS;
                let count = (points - first).min(rows.len() * POINTS) * channels;
                let picture = &self.x.codes[first * channels..];
                Strip {
                    picture,
                    height: 1,
                    width: count,
                    before: [0, 0],
                    rows: 0..1,
                    period: 1,
                    used: 1,
                    pitch: count,
                    zero,
                    form,
                    out,
                }
            }
            None => Strip {
                picture: &self.x.codes[picture..][..height * width * channels],
                height,
                width: width * channels,
                before: [self.window.padding[0][0], self.window.padding[1][0] * channels],
                rows,
                period: self.window.stride[0],
                used: self.window.extent(0),
                pitch,
                zero,
                form,
                out,
            },
        };
        dispatch(self.isa, strip);
    }

    /// How many places a row of them has.
    fn places(&self, row: usize) -> usize {
        match self.points {
            Some(points) => (points - row * POINTS).min(POINTS),
            None => self.columns,
        }
    }

    /// A tile whose results go nowhere yet.
    #[inline(always)]
    fn tile(&self, strip: &Rows, row: usize, place: usize, column: usize) -> SegmentTile {
        SegmentTile {
            a: strip.base.wrapping_add(row * strip.row + place * strip.place),
            a_stride: strip.place,
            segments: self.taps.runs,
            segment_stride: strip.segment,
            groups: self.taps.step.div_ceil(4),
            signed: self.x.signed,
            b: self.weights.at(column, 0),
            panel_stride: self.weights.panel_stride(),
            start: std::ptr::null(),
            c: std::ptr::null_mut(),
            c_stride: 0,
        }
    }

    /// Rows of places, tile by tile.
    ///
    /// # Safety
    /// The rows hold every tap of the places; nobody else touches their results.
    unsafe fn strip<T: Target>(
        &self,
        strip: &Rows,
        start: &AlignedBytes,
        sums: &mut AlignedBytes,
        target: &T,
        parameters: &Parameters,
        out: SendPtr<T::Element>,
    ) {
        let (unit, outputs) = (self.kernel.unit, self.weights.n());
        let start = start.as_floats().cast::<i32>();
        let room = sums.as_mut_floats().cast::<i32>();
        #[cfg(target_arch = "x86_64")]
        let fused = target.bytes();
        let mut column = 0;
        while column < outputs {
            let units = (outputs - column).div_ceil(unit).min(self.kernel.tiles.len());
            let tiles = self.kernel.tiles[units - 1];
            let width = units * unit;
            let columns = width.min(outputs - column);
            #[cfg(target_arch = "x86_64")]
            if let Some((codes, tiles)) = fused.zip(codes_tiles(self.isa))
                && columns == width
                && parameters.multipliers().len() == outputs
            {
                let multiplier = parameters.multipliers()[column..].as_ptr();
                let start = start.wrapping_add(column);
                // SAFETY: the caller's promise; the results are bytes; there is a multiplier and a start
                // for each of these columns.
                unsafe {
                    let out = out.get().cast::<u8>().add(column);
                    self.codes(strip, tiles, units, column, start, multiplier, codes, out);
                }
                column += columns;
                continue;
            }
            let most = SUMS / width;
            let mut pending = 0;
            let mut first = strip.places.start * self.columns;
            let finish = |first: usize, pending: usize| {
                let place = first * outputs + column;
                let at = At { first: place, column, stride: outputs };
                // SAFETY: the tiles wrote these sums; the results are within all, and this task's own.
                unsafe {
                    let sums = std::slice::from_raw_parts(room, pending * width);
                    let block = SumBlock { rows: pending, columns, sums, stride: width };
                    target.finish(self.isa, parameters, block, at, out.get().add(place));
                }
            };
            for (index, row) in strip.places.clone().enumerate() {
                let places = self.places(row);
                let parts = places.div_ceil(tiles.len());
                let mut place = 0;
                for part in 0..parts {
                    let tall = places / parts + usize::from(part < places % parts);
                    if pending + tall > most {
                        finish(first, pending);
                        (first, pending) = (first + pending, 0);
                    }
                    let tile = SegmentTile {
                        start: start.wrapping_add(column),
                        c: room.wrapping_add(pending * width),
                        c_stride: width,
                        ..self.tile(strip, index, place, column)
                    };
                    // SAFETY: the rows are there, by the caller's promise; the columns exist in B, and
                    // starts for them; there is room for the sums. The kernel is this CPU's.
                    unsafe { tiles[tall - 1](&tile) };
                    place += tall;
                    pending += tall;
                }
            }
            finish(first, pending);
            column += columns;
        }
    }
}

/// Rows of places, and where what they read lies.
struct Rows {
    base: *const u8,
    /// Bytes from a row of places to the next, from a place to the next, and from a row of the window
    /// to the next.
    row: usize,
    place: usize,
    segment: usize,
    places: Range<usize>,
}
