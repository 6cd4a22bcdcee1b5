//! Operands that are broadcast together, brought into one layout.

use crate::error::Result;
use crate::lower::{Context, Layout};
use crate::plan::Ref;
use crate::region::{Region, TransposeStep};
use crate::shape::{expanded, nbytes};

/// Operands as they meet in one layout.
pub(super) struct Meeting {
    pub(super) layout: Layout,
    /// The shape of the output in memory.
    pub(super) dims: Vec<usize>,
    pub(super) refs: Vec<Ref>,
    /// The shapes of the operands in memory, all of one rank.
    pub(super) shapes: Vec<Vec<usize>>,
}

/// Brings operands into the layout in which one of them is there already, all to the rank of the
/// output; those of `coded` as their codes.
pub(super) fn meet(
    cx: &mut Context<'_>,
    operands: &[usize],
    coded: &[usize],
    out: &[usize],
) -> Result<Meeting> {
    let rank = out.len();
    let mut layout = Layout::Plain;
    for &operand in operands {
        if cx.inputs.get(operand)?.rank() == rank && cx.is_last(operand) {
            layout = Layout::Last;
        }
    }
    let mut meeting =
        Meeting { layout, dims: layout.dims(out), refs: Vec::new(), shapes: Vec::new() };
    for &operand in operands {
        let fact = cx.inputs.get(operand)?.clone();
        let wide = expanded(&fact.dims, rank);
        meeting.shapes.push(layout.dims(&wide));
        let region = Region::transpose(&wide, &layout.order(rank));
        let is_coded = coded.contains(&operand);
        meeting.refs.push(if is_coded && fact.rank() == rank {
            cx.codes(operand, layout)?
        } else if fact.rank() == rank {
            cx.input(operand, layout)?
        } else if region.is_straight() {
            if is_coded { cx.codes(operand, Layout::Plain)? } else { cx.plain(operand)? }
        } else if let Some(known) = &fact.value {
            let moved = region.apply(known, &wide)?;
            cx.constant(&moved)
        } else {
            let size = if is_coded { 1 } else { fact.dtype.size() };
            let len = nbytes(&wide, fact.dtype)? / fact.dtype.size() * size;
            let step = TransposeStep::boxed(size, wide, layout.order(rank))?;
            let plain =
                if is_coded { cx.codes(operand, Layout::Plain)? } else { cx.plain(operand)? };
            cx.emit_buffers(step, vec![plain], &[len], 0, None)?[0]
        });
    }
    Ok(meeting)
}
