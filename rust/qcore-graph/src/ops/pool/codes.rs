//! Pools of codes.

use qcore_kernels::codes::{MeanCodes, ToCodes, max_codes_with, mean_codes_with};
use qcore_kernels::conv::Window;
use qcore_kernels::view::{as_signed, as_signed_mut};

use super::Kind;
use crate::error::Result;
use crate::lower::{Context, Layout};
use crate::operand::Affine;
use crate::ops::window::{Axis, window};
use crate::plan::Ref;
use crate::plan::run::Io;
use crate::plan::step::Step;

/// Taps of a window whose sum of codes fits int32.
const MOST_TAPS: usize = 1 << 22;

/// Adds the step from codes to codes; false where input or output has none.
pub(super) fn lower(cx: &mut Context<'_>, kind: Kind, axes: [Axis; 2]) -> Result<bool> {
    let (Some(from), Some(to)) = (cx.affine(0), cx.output_affine(0)) else { return Ok(false) };
    let dims = &cx.inputs.get(0)?.dims;
    let pool = Pool {
        kind: None,
        window: window(axes),
        image: [dims[0], axes[0].input, axes[1].input, dims[1]],
        places: axes.map(|axis| axis.output),
        to,
    };
    match kind {
        Kind::Max { .. } => {
            // The largest code stays the largest in other parameters.
            let codes = cx.codes_of(0, to, Layout::Last)?;
            emit(cx, pool, codes, Layout::Last)?;
            Ok(true)
        }
        Kind::Mean { with_padding } => {
            mean(cx, pool, from, with_padding, [Layout::Last, Layout::Last])
        }
    }
}

/// Adds the mean of the middle one of three dims that an input has in memory; false where input or
/// output has no codes.
pub(in crate::ops) fn lower_mean(
    cx: &mut Context<'_>,
    [outer, middle, inner]: [usize; 3],
    layouts: [Layout; 2],
) -> Result<bool> {
    let (Some(from), Some(to)) = (cx.affine(0), cx.output_affine(0)) else { return Ok(false) };
    if middle == 0 {
        return Ok(false);
    }
    let window = Window::new([1, middle]);
    let pool = Pool { kind: None, window, image: [outer, 1, middle, inner], places: [1, 1], to };
    mean(cx, pool, from, false, layouts)
}

fn mean(
    cx: &mut Context<'_>,
    pool: Pool,
    from: Affine,
    padding: bool,
    [read, made]: [Layout; 2],
) -> Result<bool> {
    let taps = pool.window.kernel[0].saturating_mul(pool.window.kernel[1]);
    if from.signed != pool.to.signed || taps > MOST_TAPS {
        return Ok(false);
    }
    let codes = cx.codes(0, read)?;
    let to = pool.to;
    let mean = MeanCodes {
        zero: from.zero_point,
        ratio: from.scale / to.scale,
        padding,
        to: ToCodes { zero_point: to.zero_point, min: to.min(), max: to.max() },
    };
    emit(cx, Pool { kind: Some(mean), ..pool }, codes, made)?;
    Ok(true)
}

fn emit(cx: &mut Context<'_>, pool: Pool, codes: Ref, layout: Layout) -> Result<()> {
    let len = cx.outputs[0].count();
    let made = cx.emit_buffers(Box::new(pool), vec![codes], &[len], 0, None)?;
    cx.set_codes(0, layout, made[0]);
    Ok(())
}

struct Pool {
    /// The mean, or the largest if None.
    kind: Option<MeanCodes>,
    window: Window,
    image: [usize; 4],
    places: [usize; 2],
    to: Affine,
}

impl Step for Pool {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let (x, out) = (io.input::<u8>(0), io.output::<u8>(0)?);
        let Self { window, image, places, .. } = self;
        let (image, places) = (*image, *places);
        match (self.kind, self.to.signed) {
            (None, false) => max_codes_with(io.isa, window, x, image, places, out)?,
            (None, true) => {
                max_codes_with(io.isa, window, as_signed(x), image, places, as_signed_mut(out))?;
            }
            (Some(mean), false) => mean_codes_with(io.isa, window, mean, x, image, places, out)?,
            (Some(mean), true) => {
                let (x, out) = (as_signed(x), as_signed_mut(out));
                mean_codes_with(io.isa, window, mean, x, image, places, out)?;
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        if self.kind.is_some() { "mean pool int8" } else { "max pool int8" }
    }

    fn work(&self) -> usize {
        let taps = self.window.kernel[0] * self.window.kernel[1];
        self.image[0] * self.image[3] * self.places[0] * self.places[1] * taps
    }
}
