//! One binary for the tests of the graph crate: chains, ops, plans, hostile graphs.

#![allow(clippy::disallowed_methods, reason = "tests take what they need")]

mod absurd;
mod along;
mod chain;
mod codes;
mod conv_codes;
mod conv_transpose_codes;
mod first_calls;
mod hashes;
mod hostile;
mod on_codes;
mod ops;
mod plan;
#[path = "../kernels/random.rs"]
mod random;
mod space;
mod support;
