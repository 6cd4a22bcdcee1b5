//! A chain of dense layers in one call: float in, float out, integers between.
//!
//! A [`Program`] is built once from [`Layer`]s. It runs block by block of rows, so that what flows
//! between layers stays in the cache, and threads take blocks of their own. Activations of static
//! layers are int8 or uint8 codes from the first layer to the last; a layer requantizes straight
//! into the codes of the next.

mod layer;
mod linear;
mod program;
mod stage;

pub use layer::{Input, Layer};
pub use linear::{linear, linear_with};
pub use program::Program;
