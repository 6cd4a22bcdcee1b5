//! The table of ops: a name, and what reads its attributes. One file for each family.

mod activation;
mod binary;
mod cast;
mod conv;
mod dense;
mod join;
mod normalize;
mod pool;
mod reduce;
mod scalar;
mod shapes;
mod slice;
mod softmax;
mod unary;
mod window;

use crate::op::Make;

/// Lines of the table, family by family.
const FAMILIES: &[&[(&str, Make)]] = &[
    binary::OPS,
    cast::OPS,
    conv::OPS,
    dense::OPS,
    join::OPS,
    normalize::OPS,
    pool::OPS,
    reduce::OPS,
    shapes::OPS,
    slice::OPS,
    softmax::OPS,
    unary::OPS,
];

/// The names of all ops. `If` is no line: its branches are nodes of the graph.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.iter()).map(|line| line.0).chain(["If"])
}

/// The line of an op.
pub(crate) fn find(name: &str) -> Option<(&'static str, Make)> {
    FAMILIES.iter().flat_map(|family| family.iter()).find(|line| line.0 == name).copied()
}
