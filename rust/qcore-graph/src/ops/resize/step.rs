//! One axis resized.

use qcore_kernels::interrupt::Pace;

use crate::error::Result;
use crate::operand::Affine;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::work;

/// Where each place of the output comes from: as many taps for each.
pub(super) struct Taps {
    pub(super) each: usize,
    pub(super) index: Vec<usize>,
    pub(super) weight: Vec<f32>,
    /// Places that lie outside of the input.
    pub(super) outside: Vec<bool>,
}

pub(super) struct ResizeStep {
    pub(super) taps: Taps,
    pub(super) outer: usize,
    pub(super) inner: usize,
    pub(super) input: usize,
    pub(super) size: usize,
    pub(super) weighted: bool,
    pub(super) fill: f32,
    /// How the input's codes stand for what is interpolated, if it has codes: in steps of theirs.
    pub(super) from: Option<Affine>,
    /// The codes that the output gets, and how many of their steps one of the sums' is.
    pub(super) to: Option<(Affine, f32)>,
}

impl ResizeStep {
    /// Elements as they are.
    fn copy(&self, io: &mut Io<'_>) -> Result<()> {
        let Self { taps, inner, .. } = self;
        let run = inner * self.size;
        let x = io.input::<u8>(0);
        let out = io.output::<u8>(0)?;
        if run == 0 {
            return Ok(());
        }
        let n = taps.index.len();
        let mut pace = Pace::new();
        for (at, out) in out.chunks_exact_mut(run).enumerate() {
            pace.check(run)?;
            let from = (at / n * self.input + taps.index[at % n]) * run;
            out.copy_from_slice(&x[from..from + run]);
            if taps.outside[at % n] && self.size == 4 {
                crate::memory::cast_mut::<f32>(out).fill(self.fill);
            }
        }
        Ok(())
    }

    /// The weighted sum of the places that one of the output comes from. Codes count from that of 0.
    fn sum(&self, io: &Io<'_>, at: usize, out: &mut [f32]) {
        let (taps, n) = (&self.taps, self.taps.outside.len());
        let (block, place) = (at / n * self.input, at % n);
        if taps.outside[place] {
            out.fill(self.fill);
            return;
        }
        let range = place * taps.each..(place + 1) * taps.each;
        out.fill(0.0);
        for (&index, &weight) in taps.index[range.clone()].iter().zip(&taps.weight[range]) {
            if weight == 0.0 {
                continue;
            }
            let from = (block + index) * self.inner..(block + index + 1) * self.inner;
            match self.from {
                None => {
                    for (out, &x) in out.iter_mut().zip(&io.input::<f32>(0)[from]) {
                        *out += weight * x;
                    }
                }
                Some(Affine { zero_point, signed: true, .. }) => {
                    for (out, &x) in out.iter_mut().zip(&io.input::<i8>(0)[from]) {
                        *out += weight * (i32::from(x) - zero_point) as f32;
                    }
                }
                Some(Affine { zero_point, .. }) => {
                    for (out, &x) in out.iter_mut().zip(&io.input::<u8>(0)[from]) {
                        *out += weight * (i32::from(x) - zero_point) as f32;
                    }
                }
            }
        }
    }
}

impl Step for ResizeStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        if !self.weighted {
            return self.copy(io);
        }
        let inner = self.inner;
        if inner == 0 {
            return Ok(());
        }
        let mut pace = Pace::new();
        let Some((affine, ratio)) = self.to else {
            let out = io.output::<f32>(0)?;
            for (at, out) in out.chunks_exact_mut(inner).enumerate() {
                pace.check(work(&[self.taps.each, inner]))?;
                self.sum(io, at, out);
            }
            return Ok(());
        };
        let (out, sums) = (io.output::<u8>(0)?, io.scratch::<f32>()?);
        let (low, high) = (affine.min() - affine.zero_point, affine.max() - affine.zero_point);
        for (at, out) in out.chunks_exact_mut(inner).enumerate() {
            pace.check(work(&[self.taps.each, inner]))?;
            self.sum(io, at, sums);
            for (out, &sum) in out.iter_mut().zip(&*sums) {
                let level = (sum * ratio).clamp(low as f32, high as f32);
                let code = level.round_ties_even() as i32;
                *out = (code + affine.zero_point) as u8;
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        match (self.from, self.to) {
            (None, None) => "resize",
            _ => "resize int8",
        }
    }

    fn work(&self) -> usize {
        work(&[self.outer, self.taps.index.len(), self.inner])
    }
}
