//! What is known of a value before it is computed.

use crate::dtype::DType;
use crate::error::{Result, shape_error, value_error};
use crate::shape;
use crate::tensor::Tensor;

/// One dim of an input, as the graph declares it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Always this.
    Fixed(usize),
    /// The same wherever the name stands.
    Named(String),
}

/// What is known of a value, for inputs of known shapes.
#[derive(Debug, Clone)]
pub struct Fact {
    /// The type of its elements.
    pub dtype: DType,
    /// Its shape.
    pub dims: Vec<usize>,
    /// What it is, where that does not depend on the inputs' elements.
    pub value: Option<Tensor>,
}

impl Fact {
    /// A value of a type and a shape.
    pub(crate) fn new(dtype: DType, dims: Vec<usize>) -> Self {
        Self { dtype, dims, value: None }
    }

    /// A value that is known.
    pub(crate) fn known(value: Tensor) -> Self {
        Self { dtype: value.dtype(), dims: value.dims().to_vec(), value: Some(value) }
    }

    /// How many elements it has.
    pub(crate) fn count(&self) -> usize {
        shape::product(&self.dims)
    }

    /// How many dims it has.
    pub(crate) fn rank(&self) -> usize {
        self.dims.len()
    }
}

/// The most elements of a list that decides shapes: one for each dim, or for each output.
const LONGEST: usize = 1 << 12;

/// The facts of a node's inputs; an optional one may be absent.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a>(pub(crate) &'a [Option<&'a Fact>]);

impl<'a> Inputs<'a> {
    /// How many there are, absent ones included.
    pub(crate) fn len(self) -> usize {
        self.0.len()
    }

    /// An input that must be there.
    pub(crate) fn get(self, index: usize) -> Result<&'a Fact> {
        self.optional(index).ok_or_else(|| shape_error!("input {index} is missing"))
    }

    /// An input that may be absent.
    pub(crate) fn optional(self, index: usize) -> Option<&'a Fact> {
        self.0.get(index).copied().flatten()
    }

    /// An input of a type.
    pub(crate) fn of(self, index: usize, dtype: DType) -> Result<&'a Fact> {
        let fact = self.get(index)?;
        if fact.dtype == dtype {
            return Ok(fact);
        }
        let found = fact.dtype;
        Err(crate::error::dtype_error!("input {index} is {found}; it must be {dtype}"))
    }

    /// The known value of an input that must be there.
    pub(crate) fn value(self, index: usize) -> Result<&'a Tensor> {
        self.get(index)?.value.as_ref().ok_or_else(|| {
            value_error!("input {index} decides shapes, so it must not depend on what is computed")
        })
    }

    /// Known integers, if the input is there.
    pub(crate) fn ints(self, index: usize) -> Result<Option<Vec<i64>>> {
        if self.optional(index).is_none() {
            return Ok(None);
        }
        let value = self.value(index)?;
        let (found, len) = (value.dtype(), value.len());
        if len > LONGEST {
            return Err(value_error!("input {index} is a list of {len}; at most {LONGEST} can be"));
        }
        value
            .to_ints()?
            .map(Some)
            .ok_or_else(|| crate::error::dtype_error!("input {index} is {found}, not an integer"))
    }
}
