//! Matrices whose stored values lie in a pattern, and products that make use of it.
//!
//! | file | what it does |
//! |---|---|
//! | `n_of_m` | N values of each M neighbours |
//! | `blocks` | whole blocks of rows and columns |
//! | `bands`, `panels` | float32: some rows that share their columns, in panels of columns |
//! | `quads`, `blocks_i8` | int8 blocks: four columns at a time |
//! | `n_of_m_i8` | int8 N:M: a dense product whose right operand leaves its zeros out |
//! | `product` | what they have in common |

mod bands;
mod blocks;
mod blocks_i8;
mod n_of_m;
mod n_of_m_i8;
mod panels;
mod product;
mod quads;

pub use bands::FloatBands;
pub use blocks::Blocks;
pub use blocks_i8::BlocksInteger;
pub use n_of_m::NofM;
pub use n_of_m_i8::NofMInteger;
pub use product::{LaidOut, Structured, StructuredFloat};
