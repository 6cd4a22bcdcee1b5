//! Some rows of an image after others: laid out channel by channel, multiplied, finished.

use std::cell::RefCell;
use std::ops::Range;

use super::Sparse;
use super::multiply::Multiply;
use crate::aligned::AlignedBytes;
use crate::conv::int8::CodeImages;
use crate::conv::int8::output::{At, Parameters, Target};
use crate::conv::window::Window;
use crate::epilogue::SumBlock;
use crate::error::Result;
use crate::interrupt::Pace;
use crate::isa::Isa;
use crate::memory;
use crate::simd::{data_of, dispatch_dot, transpose};
use crate::threads::{self, SendPtr};

/// Places that are computed together.
pub(in crate::conv::int8) const PLACES: usize = 64;
/// Outputs that are computed together: their sums stay in the first cache.
const OUTPUTS: usize = 64;
/// Places of a band, about: its channels stay in the second cache.
const BAND: usize = 512;
/// Bytes from a channel to the next where windows are single pixels: an odd number of cache lines, so
/// that channels do not fall onto the same ones.
pub(super) const PLANE: usize = BAND + PLACES;
/// Multiply-adds below which another thread costs more than it saves.
const GRAIN: usize = 1 << 20;
/// Steps between two looks at whether to stop.
const STEPS: usize = 1 << 22;
/// Places below which the dense product is the faster one, however few weights there are.
const FEWEST: usize = 32;

/// Memory that a thread keeps from call to call.
#[derive(Default)]
struct Scratch {
    planes: AlignedBytes,
    offsets: AlignedBytes,
    start: AlignedBytes,
    sums: AlignedBytes,
    turned: AlignedBytes,
    parameters: Parameters,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// One convolution: how its images are cut.
pub(in crate::conv::int8) struct Bands<'a> {
    weights: &'a Sparse,
    isa: Isa,
    x: CodeImages<'a>,
    window: &'a Window,
    /// `[images, rows, columns, channels]` of places; single pixels are rows of one.
    places: [usize; 4],
    /// Rows and columns of an image.
    image: [usize; 2],
    /// Columns with those that are added.
    wide: usize,
    /// Rows of places of a band, and how many bands all images have.
    rows: usize,
    count: usize,
    /// Bytes from a channel to the next.
    plane: usize,
}

impl<'a> Bands<'a> {
    /// The convolution, if it has places enough to be computed so.
    pub(in crate::conv::int8) fn new(
        weights: &'a Sparse,
        isa: Isa,
        x: CodeImages<'a>,
        window: &'a Window,
        shape: [usize; 4],
    ) -> Result<Option<Self>> {
        let [batch, height, width, _] = x.shape;
        let (places, image) = if window.is_point() {
            let pixels = memory::size(&shape[..3])?;
            ([1, pixels, 1, shape[3]], [pixels, 1])
        } else {
            ([batch, shape[1], shape[2], shape[3]], [height, width])
        };
        let wide = memory::sum(&[image[1], window.padding[1][0], window.padding[1][1]])?;
        let rows = (BAND / wide).clamp(1, places[1]);
        let count = memory::size(&[places[0], places[1].div_ceil(rows)])?;
        // A block may reach past the last place, as far as the last tap is from it.
        let tall = rows + window.extent(0) - 1;
        let plane = memory::size(&[tall, wide])?.next_multiple_of(64) + window.extent(1) + PLACES;
        let plane = if window.is_point() { PLANE } else { (plane.div_ceil(64) | 1) * 64 };
        // Offsets are of 32 bits.
        let near = u32::try_from(memory::size(&[weights.inputs, plane])?).is_ok();
        let pays = near && memory::size(&shape[..3])? >= FEWEST;
        let made = Self { weights, isa, x, window, places, image, wide, rows, count, plane };
        Ok(pays.then_some(made))
    }

    /// Convolves.
    pub(in crate::conv::int8) fn run<T: Target>(
        &self,
        target: &T,
        out: &mut [T::Element],
    ) -> Result<()> {
        let places = self.places[..3].iter().product();
        let tasks = threads::tasks_for(places, self.weights.stored, GRAIN);
        let together = self.count.div_ceil(tasks).max(1);
        let results = SendPtr(out.as_mut_ptr());
        threads::try_for_each(self.count.div_ceil(together), |task| {
            let bands = task * together..((task + 1) * together).min(self.count);
            memory::with_kept(&SCRATCH, |scratch| self.part(bands, target, results, scratch))
        })
    }

    /// Some bands, whose results are this task's own.
    fn part<T: Target>(
        &self,
        bands: Range<usize>,
        target: &T,
        out: SendPtr<T::Element>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let Scratch { planes, offsets, start, sums, turned, parameters } = scratch;
        target.prepare(1, parameters)?;
        planes.resize_scratch(memory::size(&[self.weights.inputs, self.plane])?)?;
        sums.resize_scratch(OUTPUTS * PLACES * size_of::<i32>())?;
        turned.resize_scratch(OUTPUTS * PLACES * size_of::<i32>())?;
        self.offsets(offsets)?;
        self.starts(target.start(), start)?;
        let of_image = self.places[1].div_ceil(self.rows);
        let mut pace = Pace::of(STEPS);
        for band in bands {
            let (n, first) = (band / of_image, band % of_image * self.rows);
            let rows = first..(first + self.rows).min(self.places[1]);
            self.lay_out(n, &rows, planes);
            for block in (0..rows.len() * self.wide).step_by(PLACES) {
                for output in (0..self.places[3]).step_by(OUTPUTS) {
                    let outputs = output..(output + OUTPUTS).min(self.places[3]);
                    pace.check(self.weights.taps.len() * OUTPUTS / self.places[3].max(1))?;
                    let multiply = Multiply {
                        weights: self.weights,
                        outputs: outputs.clone(),
                        x: planes[block..].as_ptr(),
                        offsets: (!self.window.is_point()).then_some(offsets.as_floats().cast()),
                        start: start.as_floats().cast(),
                        sums: sums.as_mut_floats().cast(),
                    };
                    dispatch_dot(self.isa, multiply);
                    // SAFETY: both have the sums of PLACES places of OUTPUTS outputs.
                    unsafe {
                        let from = sums.as_floats().cast::<i32>();
                        let to = turned.as_mut_floats().cast::<i32>();
                        transpose(from, PLACES, to, OUTPUTS, outputs.len(), PLACES);
                    }
                    self.finish(n, &rows, block, outputs, turned, target, parameters, out);
                }
            }
        }
        Ok(())
    }

    /// How far from a place's first byte each tap of each channel lies.
    fn offsets(&self, to: &mut AlignedBytes) -> Result<()> {
        let Window { kernel: [tall, wide], dilation, .. } = *self.window;
        if self.window.is_point() {
            return Ok(()); // the taps are offsets
        }
        let count = memory::size(&[self.weights.inputs, tall, wide])?;
        to.resize_scratch(memory::size(&[count, size_of::<u32>()])?)?;
        let (to, _) = to.as_chunks_mut::<4>();
        for (at, to) in to.iter_mut().enumerate() {
            let (channel, tap) = (at / (tall * wide), at % (tall * wide));
            let (row, column) = (tap / wide * dilation[0], tap % wide * dilation[1]);
            let offset = channel * self.plane + row * self.wide + column;
            *to = (offset as u32).to_ne_bytes();
        }
        Ok(())
    }

    /// What the sums of each output start from.
    fn starts(&self, bias: &[i32], to: &mut AlignedBytes) -> Result<()> {
        let sums = &self.weights.sums;
        to.resize_scratch(memory::size(&[sums.len(), size_of::<i32>()])?)?;
        let zero = self.x.zero_point + data_of(self.isa, self.x.signed).1;
        let (to, _) = to.as_chunks_mut::<4>();
        for (output, (to, &sum)) in to.iter_mut().zip(sums).enumerate() {
            let bias = match bias {
                [one] => *one,
                each => each.get(output).copied().unwrap_or(0),
            };
            *to = bias.wrapping_sub(sum.wrapping_mul(zero)).to_ne_bytes();
        }
        Ok(())
    }

    /// Lays out what rows of places of an image read, channel by channel, as the dot products want it.
    fn lay_out(&self, n: usize, rows: &Range<usize>, planes: &mut AlignedBytes) {
        let [height, width] = self.image;
        let channels = self.weights.inputs;
        let [[above, _], [left, _]] = self.window.padding;
        if self.window.is_padded() {
            planes.fill(self.x.zero_point as u8);
        }
        let picture = &self.x.codes[n * height * width * channels..][..height * width * channels];
        let reach = rows.start..rows.end + self.window.extent(0) - 1;
        // Those that the image has, of the rows that are counted from the first that was added.
        let there = reach.start.max(above)..reach.end.min(above + height);
        let mut copy = |from: usize, to: usize, pixels: usize| {
            let from = &picture[from * width * channels..][..pixels * channels];
            let to = &mut planes[to..];
            assert!(to.len() >= (channels - 1) * self.plane + pixels, "room for every channel");
            // SAFETY: the pixels lie side by side, and there is room for them in each channel's plane.
            unsafe {
                transpose(from.as_ptr(), channels, to.as_mut_ptr(), self.plane, pixels, channels);
            }
        };
        if self.wide == width && !there.is_empty() {
            // Rows follow one another there too.
            let to = (there.start - reach.start) * self.wide;
            copy(there.start - above, to, there.len() * width);
        } else {
            for row in there {
                copy(row - above, (row - reach.start) * self.wide + left, width);
            }
        }
        let (flip, _) = data_of(self.isa, self.x.signed);
        if flip != 0 {
            planes.iter_mut().for_each(|byte| *byte ^= flip);
        }
    }

    /// Finishes the places of a block, row by row.
    #[expect(clippy::too_many_arguments, reason = "where a block lies, and what becomes of it")]
    fn finish<T: Target>(
        &self,
        n: usize,
        rows: &Range<usize>,
        block: usize,
        outputs: Range<usize>,
        turned: &AlignedBytes,
        target: &T,
        parameters: &Parameters,
        out: SendPtr<T::Element>,
    ) {
        let [_, tall, columns, all] = self.places;
        let end = (block + PLACES).min(rows.len() * self.wide);
        for row in block / self.wide..end.div_ceil(self.wide) {
            // Rows of one place lie side by side.
            let (first, count) = if self.wide == columns && columns == 1 {
                if row > block {
                    break;
                }
                (block, end - block)
            } else {
                let first = block.max(row * self.wide);
                (first, end.min(row * self.wide + columns).saturating_sub(first))
            };
            if count == 0 {
                continue;
            }
            let column = first - row * self.wide;
            let place = (n * tall + rows.start + row) * columns + column;
            let at = At { first: place * all + outputs.start, column: outputs.start, stride: all };
            // SAFETY: the sums were written; the results are within all, and this task's own.
            unsafe {
                let from = turned.as_floats().cast::<i32>().add((first - block) * OUTPUTS);
                let sums = std::slice::from_raw_parts(from, count * OUTPUTS);
                let block = SumBlock { rows: count, columns: outputs.len(), sums, stride: OUTPUTS };
                target.finish(self.isa, parameters, block, at, out.get().add(at.first));
            }
        }
    }
}
