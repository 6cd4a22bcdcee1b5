//! Convolutions of floats: products whose rows are read where they lie in the image.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};

use super::depthwise::Depthwise;
use super::padded::pad_rows;
use super::window::Window;
use crate::aligned::AlignedBytes;
use crate::epilogue::Epilogue;
use crate::error::{KernelError, Result};
use crate::gemm::{Columns, FloatWeights, Inputs, Left, PANEL, Product, Segment, Segments};
use crate::isa::{self, Isa};
use crate::memory;
use crate::norm::softmax_with;
use crate::threads::{self, SendPtr};
use crate::view::MatRef;

/// Multiply-adds below which another thread costs more than it saves.
const GRAIN: usize = 1 << 20;
/// Bytes of padded rows that are made at once: they stay in the second cache.
const STRIP: usize = 1 << 18;

thread_local! {
    /// Padded rows.
    static ROOM: RefCell<AlignedBytes> = RefCell::default();
}

/// The weights of a convolution, laid out for its kernels, with its window.
#[derive(Debug)]
pub struct ConvF32 {
    window: Window,
    inputs: usize,
    outputs: usize,
    form: Form,
    /// Where taps lie in an image of the row pitch that was last run.
    taps: Mutex<Option<(usize, Arc<Segments>)>>,
}

#[derive(Debug)]
enum Form {
    /// A product for each group of channels.
    Products(Vec<FloatWeights>),
    /// One input channel for each group.
    Depthwise(Depthwise),
}

impl ConvF32 {
    /// Weights `[outputs, inputs / groups, rows, columns]`, row-major.
    pub fn new(weights: &[f32], shape: [usize; 4], window: Window, groups: usize) -> Result<Self> {
        let [outputs, each, rows, columns] = shape;
        let taps = memory::size(&[rows, columns])?;
        let inputs = memory::size(&[each, groups])?;
        if memory::size(&shape)? != weights.len() || [rows, columns] != window.kernel {
            return Err(KernelError::Shape(format!(
                "weights have {} elements; shape {shape:?} and kernel {:?} ask for others",
                weights.len(),
                window.kernel
            )));
        }
        if groups == 0 || !outputs.is_multiple_of(groups) || taps == 0 {
            return Err(KernelError::Shape(format!(
                "{outputs} outputs and {taps} taps do not make {groups} groups"
            )));
        }
        let form = if each == 1 && groups > 1 {
            Form::Depthwise(Depthwise::new(weights, groups, outputs / groups, taps)?)
        } else {
            let (out, k) = (outputs / groups, memory::size(&[taps, each])?);
            // Taps outside, channels inside: as pixels lie in the image.
            let mut turned = memory::filled(0.0_f32, out * k)?;
            let mut products = memory::with_capacity(groups)?;
            for group in weights.chunks_exact((out * k).max(1)).take(groups) {
                for (to, from) in turned.chunks_exact_mut(k).zip(group.chunks_exact(k)) {
                    for (index, to) in to.iter_mut().enumerate() {
                        *to = from[index % each * taps + index / each];
                    }
                }
                products.push(FloatWeights::from_f32(MatRef::from_slice(&turned, out, k)?)?);
            }
            if out * k == 0 {
                for _ in 0..groups {
                    products.push(FloatWeights::from_f32(MatRef::from_slice(&[], out, k)?)?);
                }
            }
            Form::Products(products)
        };
        Ok(Self { window, inputs, outputs, form, taps: Mutex::new(None) })
    }

    /// Channels of the image.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Channels of the result.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// What runs it, for people to see.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.form {
            Form::Products(_) if self.window.is_point() => "conv 1x1 float32",
            Form::Products(_) => "conv float32",
            Form::Depthwise(_) => "depthwise float32",
        }
    }

    /// The shape of the result for images of a shape.
    pub fn output_shape(&self, image: [usize; 4]) -> Result<[usize; 4]> {
        let [batch, height, width, channels] = image;
        if channels != self.inputs {
            return Err(KernelError::Shape(format!(
                "images have {channels} channels; the weights take {}",
                self.inputs
            )));
        }
        let [rows, columns] = self.window.places([height, width])?;
        Ok([batch, rows, columns, self.outputs])
    }

    /// [`ConvF32::run_with`] on the instruction set in force.
    pub fn run(
        &self,
        x: &[f32],
        image: [usize; 4],
        epilogue: Epilogue<'_>,
        out: &mut [f32],
    ) -> Result<()> {
        self.run_with(isa::active()?, x, image, epilogue, out)
    }

    /// Convolves images `[batch, height, width, channels]`; `out` has [`ConvF32::output_shape`].
    pub fn run_with(
        &self,
        isa: Isa,
        x: &[f32],
        image: [usize; 4],
        epilogue: Epilogue<'_>,
        out: &mut [f32],
    ) -> Result<()> {
        let shape = self.output_shape(image)?;
        if memory::size(&image)? != x.len() || memory::size(&shape)? != out.len() {
            return Err(KernelError::Shape(format!(
                "x has {} elements and out {}; they must have shapes {image:?} and {shape:?}",
                x.len(),
                out.len()
            )));
        }
        let pixels = memory::size(&shape[..3])?;
        epilogue.check(pixels, self.outputs)?;
        if out.is_empty() {
            return Ok(());
        }
        match &self.form {
            Form::Depthwise(weights) => {
                weights.run(isa, x, image, &self.window, shape, epilogue, out)?;
            }
            Form::Products(products) => {
                self.products(isa, products, x, image, shape, epilogue, out)?;
            }
        }
        if epilogue.activation.is_of_rows() {
            softmax_with(isa, out, self.outputs)?;
        }
        Ok(())
    }

    /// Where the taps of a window lie, counted from its first pixel; made anew only for images of
    /// another width than the last.
    fn taps(&self, pitch: usize, channels: usize, each: usize) -> Result<Arc<Segments>> {
        // Nobody waits: a thread that a fork left behind may hold the lock for ever.
        if let Ok(kept) = self.taps.try_lock()
            && let Some((_, segments)) = kept.as_ref().filter(|kept| kept.0 == pitch)
        {
            return Ok(Arc::clone(segments));
        }
        let Window { mut kernel, dilation, .. } = self.window;
        if each == 0 {
            // Weights of no channels may have any number of taps.
            kernel = [0; 2];
        }
        let taps = (0..kernel[0]).flat_map(|row| (0..kernel[1]).map(move |column| (row, column)));
        let segments = Arc::new(Segments::new(taps.map(|(row, column)| Segment {
            offset: row * dilation[0] * pitch + column * dilation[1] * channels,
            len: each,
        }))?);
        if let Ok(mut kept) = self.taps.try_lock() {
            *kept = Some((pitch, Arc::clone(&segments)));
        }
        Ok(segments)
    }

    fn products(
        &self,
        isa: Isa,
        products: &[FloatWeights],
        x: &[f32],
        image: [usize; 4],
        shape: [usize; 4],
        epilogue: Epilogue<'_>,
        out: &mut [f32],
    ) -> Result<()> {
        let window = &self.window;
        let [batch, height, width, channels] = image;
        let [_, rows, columns, outputs] = shape;
        let (each, own) = (channels / products.len(), outputs / products.len());
        if window.is_point() {
            // Every pixel is a row of its own: as many as there are, in one product.
            let pixels = batch * height * width;
            let inputs = Inputs::Line(each);
            let starts = Starts { stride: [0, channels], columns: pixels };
            let job =
                Job { products, each, own, epilogue, out: SendPtr(out.as_mut_ptr()), outputs };
            let tasks = threads::tasks_for(out.len(), each, GRAIN);
            let split = pixels.div_ceil(tasks).next_multiple_of(12);
            threads::try_for_each(pixels.div_ceil(split), |task| {
                let first = task * split;
                let count = split.min(pixels - first);
                // SAFETY: these pixels of the image have `channels` elements each; the results are
                // this task's own.
                unsafe { job.run(isa, &x[first * channels..], inputs, starts, first, count) }
            })?;
            return Ok(());
        }
        // As wide as the last place reaches, and no wider than what places read.
        let wide = (columns - 1) * window.stride[1] + window.extent(1);
        let padded = window.is_padded();
        let line = if padded { wide } else { width };
        let pitch = memory::size(&[line, channels])?;
        let segments = self.taps(pitch, channels, each)?;
        let starts =
            Starts { stride: [window.stride[0] * pitch, window.stride[1] * channels], columns };
        let job = Job { products, each, own, epilogue, out: SendPtr(out.as_mut_ptr()), outputs };
        // Strips of rows: enough for the threads, and their padded image no larger than the cache.
        let tasks =
            threads::tasks_for(out.len(), each * window.kernel[0] * window.kernel[1], GRAIN);
        let mut strip = rows;
        if tasks > 1 {
            strip = rows.div_ceil(tasks.div_ceil(batch));
        }
        let bytes = memory::size(&[pitch, size_of::<f32>()])?;
        if padded {
            strip = strip.min((STRIP / bytes).saturating_sub(window.extent(0)) / window.stride[0]);
        }
        let strip = strip.max(1);
        let strips = rows.div_ceil(strip);
        threads::try_for_each(batch * strips, |task| {
            let (n, first) = (task / strips, task % strips * strip);
            let count = strip.min(rows - first);
            let picture = &x[n * height * width * channels..][..height * width * channels];
            let top = first * window.stride[0];
            let place = (n * rows + first) * columns;
            if !padded {
                let from = &picture[top * pitch..];
                // SAFETY: places without padding lie within the image; the results are this task's.
                return unsafe {
                    job.run(isa, from, Inputs::List(&segments), starts, place, count * columns)
                };
            }
            let tall = (count - 1) * window.stride[0] + window.extent(0);
            memory::with_kept(&ROOM, |room| {
                room.resize_scratch(memory::size(&[tall, bytes])?)?;
                let to = room.as_mut_floats();
                // SAFETY: the room has `tall` rows of `line` pixels, which hold every tap of these
                // places; the results are this task's own.
                unsafe {
                    let rows = top..top + tall;
                    pad_rows(picture, [height, width], channels, window, rows, line, to);
                    let from = std::slice::from_raw_parts(to, tall * pitch);
                    job.run(isa, from, Inputs::List(&segments), starts, place, count * columns)
                }
            })
        })
    }
}

/// Where places start in an image.
#[derive(Clone, Copy)]
struct Starts {
    /// Elements from a row of places to the next, and from a place to the next.
    stride: [usize; 2],
    columns: usize,
}

/// What all strips share.
struct Job<'a> {
    products: &'a [FloatWeights],
    /// Channels that a group reads, and those that it makes.
    each: usize,
    own: usize,
    epilogue: Epilogue<'a>,
    out: SendPtr<f32>,
    outputs: usize,
}

impl Job<'_> {
    /// Computes `count` places, the first of which is result `place` and starts at the image's start.
    ///
    /// # Safety
    /// The places lie within the image; nobody else touches their results.
    unsafe fn run(
        &self,
        isa: Isa,
        image: &[f32],
        inputs: Inputs<'_>,
        starts: Starts,
        place: usize,
        count: usize,
    ) -> Result<()> {
        let first = place * self.outputs;
        let residual = self.epilogue.residual.get(first..).unwrap_or(&[]);
        for (group, weights) in self.products.iter().enumerate() {
            let product = Product {
                left: Left { base: image.as_ptr().wrapping_add(group * self.each), inputs },
                right: Columns::Weights(weights),
                epilogue: Epilogue { residual, ..self.epilogue },
                out: SendPtr(self.out.get().wrapping_add(first)),
                stride: self.outputs,
                column: group * self.own,
            };
            let fill = |from: usize, to: &mut [usize]| {
                let (mut row, mut column) = (from / starts.columns, from % starts.columns);
                for start in to {
                    *start = row * starts.stride[0] + column * starts.stride[1];
                    column += 1;
                    if column == starts.columns {
                        (row, column) = (row + 1, 0);
                    }
                }
            };
            // SAFETY: the caller's promise.
            unsafe { product.run(isa, 0..count, 0..self.own.div_ceil(PANEL), fill)? };
        }
        Ok(())
    }
}
