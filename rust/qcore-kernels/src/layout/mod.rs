//! The same elements in another order.

mod transpose;

pub use transpose::transpose;
