//! In which order the inputs of a place lie along K.

use crate::conv::window::Window;

/// Runs of taps: those of a row of the window where they lie side by side in the image, else each tap
/// by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taps {
    /// Whether a run is a row of the window.
    pub(super) line: bool,
    /// How many there are.
    pub(super) runs: usize,
    /// Inputs of a run.
    pub(super) len: usize,
    /// From a run to the next along K: rows of the window are filled up to whole depth groups, so that
    /// each can be read where it lies.
    pub(super) step: usize,
}

impl Taps {
    /// The taps of a window over `each` channels of a group.
    pub(super) fn new(window: &Window, each: usize, groups: usize) -> Self {
        let [tall, wide] = window.kernel;
        let line = (window.dilation[1] == 1 || wide == 1) && groups == 1;
        if !line {
            return Self { line, runs: tall * wide, len: each, step: each };
        }
        let len = wide * each;
        let step = if tall > 1 { len.next_multiple_of(4) } else { len };
        Self { line, runs: tall, len, step }
    }

    /// Inputs of a place, with what fills them up.
    pub(super) fn k(&self) -> usize {
        self.runs * self.step
    }

    /// The tap and the channel that lie at `k`; none where there is only a filling.
    pub(super) fn place(&self, k: usize, wide: usize, each: usize) -> Option<([usize; 2], usize)> {
        let (run, at) = (k / self.step, k % self.step);
        if at >= self.len {
            return None;
        }
        let tap = run * (self.len / each) + at / each;
        Some(([tap / wide, tap % wide], at % each))
    }
}
