//! The layout of 4-bit weights.

use half::f16;

use crate::aligned::AlignedBytes;
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::memory;
use crate::view::MatRef;

/// Outputs of a panel.
pub(super) const PANEL: usize = 16;
/// Inputs of a line.
pub(super) const DEPTH: usize = 8;
/// Bytes of a line.
pub(super) const LINE: usize = PANEL * DEPTH / 2;

/// Inputs that are summed in int32 at most: it holds as many products of a code from 0 to 15 and one of
/// int8.
pub(super) const LONGEST: usize = (i32::MAX as usize / (15 * 128)) / DEPTH * DEPTH;

/// Weights `[out, in]` of codes from -8 to 7, a scale for each group of inputs, laid out for the
/// kernels.
#[derive(Debug)]
pub struct PackedI4 {
    inputs: usize,
    outputs: usize,
    group: usize,
    data: AlignedBytes,
    scale: Scales,
}

/// `[panel][group][16]`; half floats where these hold every scale exactly.
#[derive(Debug)]
pub(super) enum Scales {
    F32(Vec<f32>),
    F16(Vec<u16>),
}

impl PackedI4 {
    /// Whether groups of so many inputs can be laid out: whole lines, or one group.
    #[must_use]
    pub fn takes_group(group: usize, inputs: usize) -> bool {
        group > 0 && (group.is_multiple_of(DEPTH) || group >= inputs)
    }

    /// Lays out codes `[out, in]`; `scale` is `[out, ceil(in / group)]`, row-major.
    pub fn new(codes: MatRef<'_, i8>, group: usize, scale: &[f32]) -> Result<Self> {
        let (outputs, inputs) = (codes.rows(), codes.cols());
        if !Self::takes_group(group, inputs) {
            return Err(KernelError::Shape(format!(
                "groups of {group}; 4-bit kernels take multiples of {DEPTH}"
            )));
        }
        // One group is whole lines too: what fills them up is multiplied with 0.
        let group = group.min(inputs.max(1)).next_multiple_of(DEPTH);
        let whole = inputs.div_ceil(group);
        if outputs.checked_mul(whole) != Some(scale.len()) {
            let found = scale.len();
            return Err(KernelError::Shape(format!(
                "scale has {found} elements, not {outputs} * {whole}"
            )));
        }
        let part = part_of(group, whole);
        let groups = inputs.div_ceil(part);
        let lines = inputs.div_ceil(DEPTH);
        let size = memory::size(&[outputs.div_ceil(PANEL), lines, LINE])?;
        let mut data = AlignedBytes::zeroed(size)?;
        let mut pace = Pace::new();
        for output in 0..outputs {
            pace.check(inputs)?;
            for input in 0..inputs {
                let code = codes.get(output, input);
                if !(-8..=7).contains(&code) {
                    return Err(KernelError::Value(format!(
                        "code [{output}, {input}] is {code}; 4 bits hold -8 to 7"
                    )));
                }
                let line = (output / PANEL * lines + input / DEPTH) * LINE;
                let byte = line + output % PANEL * 4 + input % 4;
                data[byte] |= (code + 8).cast_unsigned() << (input % DEPTH / 4 * 4);
            }
        }
        let size = memory::size(&[outputs.div_ceil(PANEL), groups, PANEL])?;
        let mut panels = memory::filled(0.0, size)?;
        for output in 0..outputs {
            for at in 0..groups {
                // Each part has the scale of the group that it is of.
                let scale = scale[output * whole + at * part / group];
                panels[(output / PANEL * groups + at) * PANEL + output % PANEL] = scale;
            }
        }
        Ok(Self { inputs, outputs, group: part, data, scale: Scales::new(panels)? })
    }

    /// How many values a row of the input has.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// How many values a row of the output has.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes in memory.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let scale = match &self.scale {
            Scales::F32(scale) => size_of_val(&scale[..]),
            Scales::F16(scale) => size_of_val(&scale[..]),
        };
        self.data.len() + scale
    }

    /// Lines of a panel.
    pub(super) fn lines(&self) -> usize {
        self.inputs.div_ceil(DEPTH)
    }

    /// Lines of a group; the last may have fewer.
    pub(super) fn group_lines(&self) -> usize {
        self.group / DEPTH
    }

    /// The first line of a panel.
    pub(super) fn panel(&self, panel: usize) -> *const u8 {
        self.data[panel * self.lines() * LINE..].as_ptr()
    }

    pub(super) fn scale(&self) -> &Scales {
        &self.scale
    }
}

/// The inputs of a group that are summed together: all of them, or, where that would be too many for
/// int32, even parts; the last of a single group may be shorter.
fn part_of(group: usize, groups: usize) -> usize {
    if group <= LONGEST || groups <= 1 {
        return group.min(LONGEST);
    }
    let lines = group / DEPTH;
    let parts = (group.div_ceil(LONGEST)..=lines).find(|parts| lines.is_multiple_of(*parts));
    group / parts.unwrap_or(lines)
}

impl Scales {
    fn new(scale: Vec<f32>) -> Result<Self> {
        if scale.iter().all(|&scale| f16::from_f32(scale).to_f32() == scale) {
            let halves = scale.iter().map(|&scale| f16::from_f32(scale).to_bits());
            return Ok(Scales::F16(memory::collected(halves)?));
        }
        Ok(Scales::F32(scale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even_and_not_too_long() {
        for groups in [1, 2, 5] {
            for group in
                [8, 1024, LONGEST, LONGEST + 8, 2 * LONGEST, 2 * LONGEST + 8, 8 * 1_048_583]
            {
                let part = part_of(group, groups);
                assert!(part <= LONGEST && part.is_multiple_of(DEPTH), "{group} {part}");
                assert!(groups == 1 || group.is_multiple_of(part), "{group} {part}");
                assert!(group > LONGEST || part == group);
            }
        }
    }
}
