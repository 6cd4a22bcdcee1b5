//! Rows of codes, decoded as they are gathered: embeddings stay as small as their file.

use qcore_kernels::interrupt::Pace;

use super::gather::{index_at, pick};
use crate::dtype::DType;
use crate::error::{Result, dtype_error, shape_error, spec_error};
use crate::fact::{Fact, Inputs};
use crate::lower::Context;
use crate::op::{Make, Op, Spec};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::work;

pub(super) const OPS: &[(&str, Make)] = &[("GatherCodes", gather)];

/// Inputs are codes as bytes (rows, bytes of a row), indices, and a scale for each group of each row
/// (rows, groups). Codes have their zero at 0; those of 4 bits lie two in a byte, the first one low.
struct GatherCodes {
    bits: usize,
    columns: usize,
    group: usize,
}

fn gather(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let size = |name: &str| -> Result<usize> {
        let found = spec.attributes.int(name)?.and_then(|size| usize::try_from(size).ok());
        found
            .filter(|&size| size > 0)
            .ok_or_else(|| spec_error!("attribute '{name}' is missing or below 1"))
    };
    let (bits, columns, group) = (size("bits")?, size("columns")?, size("group")?);
    if !matches!(bits, 4 | 8) || (bits == 4 && !group.is_multiple_of(2) && group < columns) {
        return Err(spec_error!("codes of {bits} bits in groups of {group} are not 4 or 8 bits"));
    }
    Ok(Box::new(GatherCodes { bits, columns, group }))
}

impl Op for GatherCodes {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let (codes, indices) = (inputs.of(0, DType::U8)?, inputs.get(1)?);
        if !matches!(indices.dtype, DType::I64 | DType::I32) {
            return Err(dtype_error!("indices are {}; they must be integers", indices.dtype));
        }
        let bytes = (self.columns * self.bits).div_ceil(8);
        let groups = self.columns.div_ceil(self.group);
        let scale = &inputs.of(2, DType::F32)?.dims;
        if codes.rank() != 2 || codes.dims[1] != bytes || scale[..] != [codes.dims[0], groups] {
            let (found, columns) = (&codes.dims, self.columns);
            return Err(shape_error!("codes {found:?} and scales {scale:?} are not of {columns}"));
        }
        let mut dims = indices.dims.clone();
        dims.push(self.columns);
        Ok(vec![Fact::new(DType::F32, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let (codes, indices) = (cx.inputs.get(0)?.clone(), cx.inputs.get(1)?.clone());
        let refs = vec![cx.plain(0)?, cx.plain(1)?, cx.plain(2)?];
        let step = GatherStep {
            bits: self.bits,
            columns: self.columns,
            group: self.group,
            rows: codes.dims[0],
            bytes: codes.dims[1],
            wide: indices.dtype == DType::I64,
            picks: indices.count(),
        };
        cx.emit_plain(Box::new(step), refs)
    }
}

struct GatherStep {
    bits: usize,
    columns: usize,
    group: usize,
    rows: usize,
    bytes: usize,
    wide: bool,
    picks: usize,
}

/// Two codes of 4 bits, the low one first.
fn halves(byte: u8) -> [i8; 2] {
    [(byte << 4) as i8 >> 4, byte as i8 >> 4]
}

impl Step for GatherStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let (codes, scales) = (io.input::<u8>(0), io.input::<f32>(2));
        let groups = self.columns.div_ceil(self.group);
        let mut pace = Pace::new();
        let out = io.output::<f32>(0)?;
        for (at, out) in out.chunks_exact_mut(self.columns).enumerate() {
            pace.check(self.columns)?;
            let row = pick(index_at(io, self.wide, at), self.rows)?;
            let codes = &codes[row * self.bytes..(row + 1) * self.bytes];
            let scales = &scales[row * groups..(row + 1) * groups];
            let bytes = self.group.saturating_mul(self.bits).div_ceil(8);
            let parts = codes.chunks(bytes).zip(out.chunks_mut(self.group)).zip(scales);
            for ((codes, out), &scale) in parts {
                if self.bits == 8 {
                    for (out, &code) in out.iter_mut().zip(codes) {
                        *out = f32::from(code as i8) * scale;
                    }
                } else {
                    for (out, &byte) in out.chunks_mut(2).zip(codes) {
                        for (out, code) in out.iter_mut().zip(halves(byte)) {
                            *out = f32::from(code) * scale;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        if self.bits == 8 { "gather int8" } else { "gather int4" }
    }

    fn work(&self) -> usize {
        work(&[self.picks, self.columns])
    }
}
