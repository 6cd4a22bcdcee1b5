//! The range that codes are to span, from the values themselves or from a histogram of them.

mod entropy;
mod histogram;
mod mse;
mod observe;
mod range;

pub use histogram::{Histogram, Spectrum};
pub use observe::{Codes, Method, choose_range, observe};
pub use range::{Range, ranges, ranges_with};
pub(super) use range::{largest_size, range_run};
