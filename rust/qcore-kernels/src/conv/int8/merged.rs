//! Convolutions of few outputs: places side by side are computed as one.

use super::taps::Taps;
use crate::conv::window::Window;
use crate::error::Result;
use crate::gemm::PackedI8;
use crate::isa::Isa;
use crate::memory;
use crate::view::MatRef;

/// Weights of places side by side, taken as one with the outputs of all of them: of few outputs a
/// vector would hold little else than nothing.
#[derive(Debug)]
pub(super) struct Merged {
    /// How many places.
    pub(super) places: usize,
    pub(super) window: Window,
    pub(super) taps: Taps,
    pub(super) product: PackedI8,
}

impl Merged {
    /// Outputs that fill a vector.
    const OUTPUTS: usize = 16;

    /// The weights for places side by side, where these need fewer multiplications than one by one.
    pub(super) fn new(
        isa: Isa,
        weights: &[i8],
        shape: [usize; 4],
        window: &Window,
    ) -> Result<Option<Self>> {
        let [outputs, each, rows, columns] = shape;
        let alone = Taps::new(window, each, 1);
        if outputs == 0 || outputs > Self::OUTPUTS / 2 || !alone.line || window.dilation[1] > 1 {
            return Ok(None);
        }
        let places = Self::OUTPUTS / outputs;
        let step = window.stride[1];
        let Some(wide) = step.checked_mul(places - 1).and_then(|more| more.checked_add(columns))
        else {
            return Ok(None);
        };
        let window = Window {
            kernel: [rows, wide],
            stride: [window.stride[0], step.saturating_mul(places)],
            ..*window
        };
        memory::size(&[rows, wide, each, 4])?;
        let taps = Taps::new(&window, each, 1);
        if taps.k() >= places.saturating_mul(alone.k()) {
            return Ok(None);
        }
        let k = taps.k();
        let mut turned = memory::filled(0_i8, memory::size(&[places * outputs, k])?)?;
        for (index, to) in turned.chunks_exact_mut(k).enumerate() {
            let (place, output) = (index / outputs, index % outputs);
            let from = &weights[output * each * rows * columns..][..each * rows * columns];
            for (at, to) in to.iter_mut().enumerate() {
                if let Some(([row, column], channel)) = taps.place(at, wide, each)
                    && let Some(column) = column.checked_sub(place * step)
                    && column < columns
                {
                    *to = from[(channel * rows + row) * columns + column];
                }
            }
        }
        let view = MatRef::from_slice(&turned, places * outputs, k)?;
        let product = PackedI8::new(isa, view.transposed())?;
        Ok(Some(Self { places, window, taps, product }))
    }
}
