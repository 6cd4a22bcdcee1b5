//! The table of ops: a name, and what reads its attributes. One file for each family.

mod activation;
mod along;
mod arg;
mod attention;
mod binary;
mod cast;
mod concat;
mod conv;
mod conv_transpose;
mod dense;
pub(crate) mod exact;
mod gather;
mod gather_codes;
mod grid_sample;
mod integers;
mod layer_norm;
mod normalize;
mod pad;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod resize;
mod rows;
mod scalar;
mod scatter;
mod shapes;
mod slice;
mod softmax;
mod unary;
mod window;

use crate::op::Make;

/// Lines of the table, family by family.
const FAMILIES: &[&[(&str, Make)]] = &[
    along::OPS,
    arg::OPS,
    attention::OPS,
    concat::OPS,
    gather::OPS,
    gather_codes::OPS,
    grid_sample::OPS,
    integers::OPS,
    pad::OPS,
    binary::OPS,
    cast::OPS,
    conv::OPS,
    conv_transpose::OPS,
    dense::OPS,
    layer_norm::OPS,
    normalize::OPS,
    pool::OPS,
    quantize::OPS,
    recurrent::OPS,
    reduce::OPS,
    resize::OPS,
    rows::OPS,
    scatter::OPS,
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
