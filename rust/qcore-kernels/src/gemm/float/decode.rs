//! A part of a panel to floats.

use std::ops::Range;

use super::panels::{PANEL, Panels, Plain};
use super::weights::{Book, FloatWeights, Steps, Values};
use crate::quant::Code;
use crate::simd::Simd;

impl FloatWeights {
    /// Where the floats of a panel lie for some inputs: in the weights, or decoded into `room`.
    ///
    /// # Safety
    /// - The panel and the inputs exist.
    /// - `room` is valid for writing `PANEL` floats for each input.
    #[inline(always)]
    pub(super) unsafe fn panel<S: Simd>(
        &self,
        s: S,
        panel: usize,
        inputs: Range<usize>,
        room: *mut f32,
    ) -> *const f32 {
        // SAFETY: the caller's promise is that of each.
        unsafe {
            match &self.values {
                Values::F32(panels) => return panels.at(panel, inputs.start),
                Values::I8(panels, steps) => codes(s, panels, steps, panel, inputs, room),
                Values::U8(panels, steps) => codes(s, panels, steps, panel, inputs, room),
                Values::Book(panels, book) => look_up(s, panels, book, panel, inputs, room),
                Values::Scaled(panels, book, steps) => {
                    look_up(s, panels, book, panel, inputs.clone(), room);
                    scale_groups(s, steps, panel, inputs, room);
                }
            }
        }
        room
    }
}

/// `(code - zero) * scale`.
///
/// # Safety
/// As [`FloatWeights::panel`].
#[inline(always)]
unsafe fn codes<S: Simd, C: Code + Plain>(
    s: S,
    panels: &Panels<C>,
    steps: &Steps,
    panel: usize,
    inputs: Range<usize>,
    room: *mut f32,
) {
    let from = panels.at(panel, 0);
    match steps {
        Steps::Outputs { group, groups, scale, zero } => {
            let mut input = inputs.start;
            while input < inputs.end {
                let index = input / group;
                let end = ((index + 1) * group).min(inputs.end);
                let at = (panel * groups + index) * PANEL;
                for lane in (0..PANEL).step_by(S::LANES) {
                    // SAFETY: scales have PANEL elements for each group of each panel, zeros have
                    // none or as many; the rest is the caller's promise.
                    unsafe {
                        let scales = s.load_f32(scale.as_ptr().add(at + lane));
                        let zeros = if zero.is_empty() {
                            s.splat_f32(0.0)
                        } else {
                            s.load_f32(zero.as_ptr().add(at + lane))
                        };
                        for input in input..end {
                            let code = s.to_f32(C::load(s, from.add(input * PANEL + lane)));
                            let value = s.mul(s.sub(code, zeros), scales);
                            s.store_f32(room.add((input - inputs.start) * PANEL + lane), value);
                        }
                    }
                }
                input = end;
            }
        }
        Steps::Inputs { scale, zero } => {
            for input in inputs.clone() {
                let scales = s.splat_f32(scale[input]);
                let zeros = s.splat_f32(zero.get(input).copied().unwrap_or(0.0));
                for lane in (0..PANEL).step_by(S::LANES) {
                    // SAFETY: the caller's promise.
                    unsafe {
                        let code = s.to_f32(C::load(s, from.add(input * PANEL + lane)));
                        let value = s.mul(s.sub(code, zeros), scales);
                        s.store_f32(room.add((input - inputs.start) * PANEL + lane), value);
                    }
                }
            }
        }
    }
}

/// Levels times the scale of their group, in place.
///
/// # Safety
/// As [`FloatWeights::panel`], and `room` holds the levels.
#[inline(always)]
unsafe fn scale_groups<S: Simd>(
    s: S,
    steps: &Steps,
    panel: usize,
    inputs: Range<usize>,
    room: *mut f32,
) {
    let Steps::Outputs { group, groups, scale, .. } = steps else { return };
    for input in inputs.clone() {
        let at = (panel * groups + input / group) * PANEL;
        for lane in (0..PANEL).step_by(S::LANES) {
            // SAFETY: scales have PANEL elements for each group of each panel; the rest is the
            // caller's promise.
            unsafe {
                let place = room.add((input - inputs.start) * PANEL + lane);
                let scales = s.load_f32(scale.as_ptr().add(at + lane));
                s.store_f32(place, s.mul(s.load_f32(place), scales));
            }
        }
    }
}

/// The level of each code.
///
/// # Safety
/// As [`FloatWeights::panel`].
#[inline(always)]
unsafe fn look_up<S: Simd>(
    s: S,
    panels: &Panels<u8>,
    book: &Book,
    panel: usize,
    inputs: Range<usize>,
    room: *mut f32,
) {
    let from = panels.at(panel, 0);
    let levels = book.levels.as_ptr();
    for lane in (0..PANEL).step_by(S::LANES) {
        let mut firsts = [0_i32; PANEL];
        for (index, first) in firsts.iter_mut().enumerate() {
            *first = (index * book.by_output) as i32;
        }
        let books = levels.wrapping_add((panel * PANEL + lane) * book.by_output);
        for input in inputs.clone() {
            // SAFETY: every code is below the number of levels, and there is a book for each output
            // of each panel, or for each input, or one; the rest is the caller's promise.
            unsafe {
                let firsts = s.load_i32(firsts.as_ptr());
                let code = s.add_i32(s.load_u8(from.add(input * PANEL + lane)), firsts);
                let value = s.gather_f32(books.add(input * book.by_input), code);
                s.store_f32(room.add((input - inputs.start) * PANEL + lane), value);
            }
        }
    }
}
