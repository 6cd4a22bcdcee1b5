//! Which scale belongs to which element.

use crate::error::{KernelError, Result};

/// How the elements of a C-contiguous array share scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One scale for all.
    Tensor,
    /// One for each index along an axis of length `channels`, after which `inner` elements follow.
    Axis {
        /// Length of the axis.
        channels: usize,
        /// Elements for each step along the axis.
        inner: usize,
    },
    /// One for each `group` consecutive elements of each row of length `row`; the last group of a
    /// row may be shorter.
    Groups {
        /// Length of the last axis.
        row: usize,
        /// Elements that share a scale.
        group: usize,
    },
}

/// A stretch of elements and the scales that belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// The first scale; the only one, unless `each`.
    pub(crate) scale: usize,
    /// Whether each element has a scale of its own.
    pub(crate) each: bool,
}

impl Layout {
    /// How many scales an array of `len` elements has.
    #[must_use]
    pub fn scales(self, len: usize) -> usize {
        match self {
            Layout::Tensor => 1,
            Layout::Axis { channels, .. } => channels,
            Layout::Groups { row: 0, .. } => 0,
            Layout::Groups { row, group } => len / row * row.div_ceil(group),
        }
    }

    /// The runs of an array of `len` elements, in order.
    pub(crate) fn runs(self, len: usize) -> impl Iterator<Item = Run> {
        let count = self.run_count(len);
        (0..count).map(move |index| self.run(index, len))
    }

    pub(crate) fn run_count(self, len: usize) -> usize {
        match self {
            _ if len == 0 => 0,
            Layout::Tensor => len.div_ceil(LONGEST_RUN),
            Layout::Axis { channels, inner: 1 } => len / channels,
            Layout::Axis { inner, .. } => len / inner * inner.div_ceil(LONGEST_RUN),
            Layout::Groups { .. } => self.scales(len),
        }
    }

    pub(crate) fn run(self, index: usize, total: usize) -> Run {
        match self {
            Layout::Tensor => {
                let start = index * LONGEST_RUN;
                Run { start, len: LONGEST_RUN.min(total - start), scale: 0, each: false }
            }
            Layout::Axis { channels, inner: 1 } => {
                Run { start: index * channels, len: channels, scale: 0, each: true }
            }
            Layout::Axis { channels, inner } => {
                let per_line = inner.div_ceil(LONGEST_RUN);
                let (line, start) = (index / per_line, index % per_line * LONGEST_RUN);
                let len = LONGEST_RUN.min(inner - start);
                Run { start: line * inner + start, len, scale: line % channels, each: false }
            }
            Layout::Groups { row, group } => {
                let per_row = row.div_ceil(group);
                let (line, within) = (index / per_row, index % per_row);
                let start = within * group;
                let len = group.min(row - start);
                Run { start: line * row + start, len, scale: index, each: false }
            }
        }
    }

    pub(crate) fn check(self, len: usize) -> Result<()> {
        let fits = match self {
            Layout::Tensor => true,
            Layout::Axis { channels, inner } => match channels.checked_mul(inner) {
                Some(0) => len == 0,
                Some(block) => len.is_multiple_of(block),
                None => false,
            },
            Layout::Groups { group: 0, .. } => false,
            Layout::Groups { row: 0, .. } => len == 0,
            Layout::Groups { row, .. } => len.is_multiple_of(row),
        };
        if fits {
            Ok(())
        } else {
            Err(KernelError::Shape(format!("{self:?} does not divide {len}")))
        }
    }
}

/// What shares a scale is cut in runs of at most so many elements, which threads share; all but groups,
/// which are one run each.
const LONGEST_RUN: usize = 1 << 16;

/// The affine parameters of an array: `real = (code - zero_point) * scale`.
#[derive(Debug, Clone, Copy)]
pub struct Params<'a> {
    /// How the elements share them.
    pub layout: Layout,
    /// Steps.
    pub scale: &'a [f32],
    /// Codes of 0; empty if all are 0.
    pub zero_point: &'a [i32],
    /// The least code in use.
    pub min: i32,
    /// The greatest code in use.
    pub max: i32,
}

impl Params<'_> {
    pub(crate) fn check(&self, len: usize) -> Result<()> {
        self.layout.check(len)?;
        let scales = self.layout.scales(len);
        if self.scale.len() != scales {
            return Err(KernelError::Shape(format!(
                "scale has {} elements; this layout needs {scales}",
                self.scale.len()
            )));
        }
        if !self.zero_point.is_empty() && self.zero_point.len() != scales {
            return Err(KernelError::Shape(format!(
                "zero_point has {} elements; this layout needs {scales}",
                self.zero_point.len()
            )));
        }
        // Far enough for 16-bit codes, and near enough for their differences not to wrap.
        if let Some(zero) = self.zero_point.iter().find(|zero| zero.unsigned_abs() > 1 << 16) {
            return Err(KernelError::Value(format!("zero_point {zero} is no code")));
        }
        if self.min > self.max {
            return Err(KernelError::Value(format!("codes from {} to {}", self.min, self.max)));
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn zero(&self, index: usize) -> i32 {
        self.zero_point.get(index).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_every_element_once_and_in_order() {
        let layouts = [
            (Layout::Tensor, 200_000),
            (Layout::Axis { channels: 3, inner: 5 }, 60),
            (Layout::Axis { channels: 7, inner: 1 }, 42),
            (Layout::Groups { row: 10, group: 4 }, 50),
            (Layout::Groups { row: 3, group: 8 }, 9),
            (Layout::Axis { channels: 2, inner: 150_001 }, 600_004),
            (Layout::Axis { channels: 1, inner: 1 << 17 }, 1 << 17),
        ];
        for (layout, len) in layouts {
            layout.check(len).unwrap();
            let mut next = 0;
            for run in layout.runs(len) {
                assert_eq!(run.start, next);
                assert!(run.scale < layout.scales(len));
                next += run.len;
            }
            assert_eq!(next, len, "{layout:?}");
        }
    }
}
