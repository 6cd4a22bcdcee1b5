//! One binary for every test of the graph crate.

mod chain;
#[path = "../kernels/random.rs"]
mod random;
