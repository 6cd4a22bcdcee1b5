//! Entropy coding of small alphabets: pruned, shared weights as few bits as their statistics allow.
//!
//! | file | what lives there |
//! |---|---|
//! | `coder` | a binary range coder: a decision and its probability in, bytes out |
//! | `model` | the probability of a decision, learned as it goes |
//! | `context` | what is known about a position before it is coded |
//! | `matrix` | a matrix of codes, row by row: which are not the usual one, then which they are |
//! | `integers` | a few integers, such as the biases of a layer |
//!
//! Everything is integer arithmetic: the same bytes on every machine. Nothing is stored about the
//! statistics; encoder and decoder learn them alike. Decoding streams: a row at a time, in memory that
//! grows with the columns.

#![forbid(unsafe_code)]

mod coder;
mod context;
mod integers;
mod matrix;
mod model;

pub use integers::{decode_integers, encode_integers};
pub use matrix::{
    MatrixDecoder, MatrixShape, SparseCodes, decode_matrix, decode_sparse, encode_matrix,
    matrix_costs,
};
