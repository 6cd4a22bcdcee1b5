//! The order of dims in memory: as the graph has them, or with channels last.
//!
//! Convolutions and pools read and write channels last. Elementwise ops, concatenation, padding and
//! reductions follow what they are given; a transposition is made only where an op needs the other
//! order, once for all its readers.

use crate::error::Result;
use crate::fact::Fact;
use crate::memory;
use crate::plan::step::Step;
use crate::region::{Region, TransposeStep};
use crate::shape::permuted;
use crate::tensor::Tensor;

/// The order of a value's dims in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As the graph has them: N, C, then space.
    Plain,
    /// N, space, C.
    Last,
}

impl Layout {
    /// The one that it is not.
    pub(crate) fn other(self) -> Self {
        match self {
            Layout::Plain => Layout::Last,
            Layout::Last => Layout::Plain,
        }
    }

    /// For each place in memory order, the axis that lies there.
    pub(crate) fn order(self, rank: usize) -> Vec<usize> {
        match self {
            Layout::Last if rank >= 3 => {
                let mut order: Vec<usize> = (0..rank).filter(|&axis| axis != 1).collect();
                order.push(1);
                order
            }
            Layout::Plain | Layout::Last => (0..rank).collect(),
        }
    }

    /// A shape in memory order.
    pub(crate) fn dims(self, dims: &[usize]) -> Vec<usize> {
        permuted(dims, &self.order(dims.len()))
    }

    /// Where an axis of the graph lies in memory order.
    pub(crate) fn axis(self, axis: usize, rank: usize) -> usize {
        self.order(rank).iter().position(|&a| a == axis).unwrap_or(axis)
    }
}

/// The dims of a value in memory, and the order that turns them into those of the other layout.
fn turn(dims: &[usize], to: Layout) -> (Vec<usize>, Vec<usize>) {
    let rank = dims.len();
    match to {
        Layout::Last => (dims.to_vec(), Layout::Last.order(rank)),
        Layout::Plain => {
            let back = (0..rank).map(|axis| Layout::Last.axis(axis, rank)).collect();
            (Layout::Last.dims(dims), back)
        }
    }
}

/// The step that brings elements of `size` bytes into a layout from the other; none where both are the
/// same bytes.
pub(crate) fn conversion(fact: &Fact, size: usize, to: Layout) -> Result<Option<Box<dyn Step>>> {
    let (dims, order) = turn(&fact.dims, to);
    let region = Region::transpose(&dims, &order);
    if region.is_straight() {
        return Ok(None);
    }
    Ok(Some(TransposeStep::boxed(size, dims, order)?))
}

/// A tensor with its bytes in a layout; its dims stay the graph's.
pub(crate) fn moved(tensor: &Tensor, to: Layout) -> Result<Tensor> {
    let (dims, order) = turn(tensor.dims(), to);
    let region = Region::transpose(&dims, &order);
    if to == Layout::Plain || region.is_straight() {
        return Ok(tensor.clone());
    }
    region.apply(tensor, tensor.dims())
}

/// The step that copies bytes as they are.
pub(crate) fn copy(len: usize) -> Box<dyn Step> {
    Box::new(Straight { len })
}

struct Straight {
    len: usize,
}

impl Step for Straight {
    fn run(&self, io: &mut crate::plan::run::Io<'_>) -> Result<()> {
        let from = io.input::<u8>(0);
        memory::copy(from, io.output(0)?)
    }

    fn kernel(&self) -> &'static str {
        "copy"
    }

    fn work(&self) -> usize {
        self.len / 16
    }
}
