//! One axis resized.

use qcore_kernels::interrupt::Pace;

use crate::error::Result;
use crate::run::Io;
use crate::shape::work;
use crate::step::Step;

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
}

impl Step for ResizeStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let Self { taps, inner, .. } = self;
        if !self.weighted {
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
            return Ok(());
        }
        let x = io.input::<f32>(0);
        let out = io.output::<f32>(0)?;
        if *inner == 0 {
            return Ok(());
        }
        let n = taps.outside.len();
        let mut pace = Pace::new();
        for (at, out) in out.chunks_exact_mut(*inner).enumerate() {
            pace.check(work(&[taps.each, *inner]))?;
            let (block, place) = (at / n * self.input, at % n);
            if taps.outside[place] {
                out.fill(self.fill);
                continue;
            }
            let range = place * taps.each..(place + 1) * taps.each;
            out.fill(0.0);
            for (&index, &weight) in taps.index[range.clone()].iter().zip(&taps.weight[range]) {
                if weight == 0.0 {
                    continue;
                }
                let from = &x[(block + index) * inner..][..*inner];
                for (out, &x) in out.iter_mut().zip(from) {
                    *out += weight * x;
                }
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "resize"
    }

    fn work(&self) -> usize {
        work(&[self.outer, self.taps.index.len(), self.inner])
    }
}
