//! Values that are known: constants, and what is computed from them when a graph is compiled.

use std::sync::Arc;

use qcore_kernels::aligned::AlignedBytes;

use crate::dtype::{DType, with_type};
use crate::error::{Result, shape_error};
use crate::memory::{self, Element, bytes_of, cast};
use crate::shape;

/// An immutable array, row-major; clones share its bytes.
#[derive(Debug, Clone)]
pub struct Tensor {
    dtype: DType,
    dims: Vec<usize>,
    bytes: Arc<AlignedBytes>,
}

impl Tensor {
    /// A copy of bytes.
    pub fn from_bytes(dtype: DType, dims: &[usize], bytes: &[u8]) -> Result<Self> {
        let expected = shape::nbytes(dims, dtype)?;
        if bytes.len() != expected {
            let found = bytes.len();
            return Err(shape_error!("{dims:?} of {dtype} needs {expected} bytes, found {found}"));
        }
        let mut own = memory::zeroed(expected)?;
        own.copy_from_slice(bytes);
        Ok(Self { dtype, dims: dims.to_vec(), bytes: Arc::new(own) })
    }

    /// A copy of elements.
    pub fn new<T: Element>(dtype: DType, dims: &[usize], elements: &[T]) -> Result<Self> {
        Self::from_bytes(dtype, dims, bytes_of(elements))
    }

    /// A vector of int64, as shapes are.
    pub fn ints(values: &[i64]) -> Result<Self> {
        Self::new(DType::I64, &[values.len()], values)
    }

    /// Bytes that are already laid out.
    pub(crate) fn from_aligned(dtype: DType, dims: &[usize], bytes: AlignedBytes) -> Self {
        Self { dtype, dims: dims.to_vec(), bytes: Arc::new(bytes) }
    }

    /// The same elements in another shape of as many.
    #[must_use]
    pub(crate) fn reshaped(&self, dims: &[usize]) -> Self {
        Self { dims: dims.to_vec(), ..self.clone() }
    }

    /// The type of its elements.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its shape.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// How many elements it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its elements; the type is the caller's knowledge of the dtype.
    #[must_use]
    pub fn elements<T: Element>(&self) -> &[T] {
        cast(&self.bytes)
    }

    /// Something that differs between tensors of different bytes that live at the same time.
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.bytes).addr()
    }

    /// Integers of any width, widened.
    pub(crate) fn to_ints(&self) -> Result<Option<Vec<i64>>> {
        Ok(match self.dtype {
            DType::F32 => None,
            DType::I64 => Some(qcore_kernels::memory::copied(self.elements())?),
            dtype => Some(with_type!(dtype, T => {
                #[allow(clippy::unnecessary_cast, reason = "one of the types is int64")]
                let values = self.elements::<T>().iter().map(|&value| value as i64);
                qcore_kernels::memory::collected(values)?
            })),
        })
    }
}
