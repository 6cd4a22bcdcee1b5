//! The left operand: where rows start, and in which order their inputs lie.

use super::tile::Segment;
use crate::error::Result;
use crate::memory;

/// Inputs of a panel: sums begin anew after so many, and the panels are added in their order.
pub(crate) const DEPTH: usize = 256;

/// Rows whose inputs are read where they lie: input `k` of a row is the `k`th of the segments, counted
/// from the start of the row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left<'a> {
    /// What the starts of rows are counted from.
    pub(crate) base: *const f32,
    pub(crate) inputs: Inputs<'a>,
}

// SAFETY: a Left is a shared borrow of floats; its makers vouch for what it reads.
unsafe impl Send for Left<'_> {}
// SAFETY: as above.
unsafe impl Sync for Left<'_> {}

/// The inputs of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Inputs<'a> {
    /// So many, side by side.
    Line(usize),
    /// As a list has it.
    List(&'a Segments),
}

/// Segments, cut where panels end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segments {
    all: Vec<Segment>,
    /// The first segment of each panel, and their number.
    firsts: Vec<usize>,
    inputs: usize,
}

impl Segments {
    /// Cuts segments; those that follow on one another become one.
    pub(crate) fn new(segments: impl Iterator<Item = Segment>) -> Result<Self> {
        let mut cut = Self { firsts: memory::copied(&[0])?, ..Self::default() };
        for mut segment in segments {
            while segment.len > 0 {
                if cut.inputs > 0 && cut.inputs.is_multiple_of(DEPTH) && cut.ends_at_panel() {
                    memory::push(&mut cut.firsts, cut.all.len())?;
                }
                let len = segment.len.min(DEPTH - cut.inputs % DEPTH);
                match cut.all.last_mut() {
                    Some(last)
                        if !cut.inputs.is_multiple_of(DEPTH)
                            && last.offset + last.len == segment.offset =>
                    {
                        last.len += len;
                    }
                    _ => memory::push(&mut cut.all, Segment { offset: segment.offset, len })?,
                }
                cut.inputs += len;
                segment.offset += len;
                segment.len -= len;
            }
        }
        memory::push(&mut cut.firsts, cut.all.len())?;
        Ok(cut)
    }

    /// Whether the last panel is full and the next is not begun.
    fn ends_at_panel(&self) -> bool {
        self.firsts.last().is_some_and(|&first| first < self.all.len())
    }
}

impl Inputs<'_> {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        match self {
            Inputs::Line(count) => *count,
            Inputs::List(list) => list.inputs,
        }
    }

    /// The segments of a panel; `room` holds the one of a line.
    #[inline(always)]
    pub(super) fn panel<'r>(&'r self, panel: usize, room: &'r mut [Segment; 1]) -> &'r [Segment] {
        match self {
            Inputs::Line(count) => {
                let offset = panel * DEPTH;
                room[0] = Segment { offset, len: DEPTH.min(count - offset) };
                room
            }
            Inputs::List(list) => &list.all[list.firsts[panel]..list.firsts[panel + 1]],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_cut_where_panels_end() {
        for (count, len) in [(0, 3), (1, 1), (3, 100), (9, 64), (2, 256), (5, 300), (49, 3)] {
            for step in [len, len + 7] {
                let given = (0..count).map(|index| Segment { offset: index * step, len });
                let wanted: Vec<usize> = given
                    .clone()
                    .flat_map(|segment| segment.offset..segment.offset + segment.len)
                    .collect();
                let cut = Segments::new(given).unwrap();
                assert_eq!(Inputs::List(&cut).count(), wanted.len());
                let inputs = Inputs::List(&cut);
                let mut found = Vec::new();
                for panel in 0..wanted.len().div_ceil(DEPTH).max(1) {
                    let mut room = [Segment { offset: 0, len: 0 }];
                    let part = inputs.panel(panel, &mut room);
                    let size: usize = part.iter().map(|segment| segment.len).sum();
                    assert_eq!(size, DEPTH.min(wanted.len() - panel * DEPTH));
                    found.extend(part.iter().flat_map(|s| s.offset..s.offset + s.len));
                }
                assert_eq!(found, wanted);
            }
        }
    }
}
