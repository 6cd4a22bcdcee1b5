//! Column indices, in the narrowest of three widths that holds them all.

/// Ascending column indices of rows, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Indices {
    /// Matrices of up to 2^16 columns.
    U16(Vec<u16>),
    /// Matrices of up to 2^32 columns.
    U32(Vec<u32>),
    /// All others.
    U64(Vec<u64>),
}

/// Runs `$body` with `$slice` bound to the indices, whatever their width.
macro_rules! with_indices {
    ($indices:expr, |$slice:ident| $body:expr) => {
        match $indices {
            $crate::sparse::Indices::U16($slice) => $body,
            $crate::sparse::Indices::U32($slice) => $body,
            $crate::sparse::Indices::U64($slice) => $body,
        }
    };
}

pub(super) use with_indices;

/// One of the three widths.
pub(super) trait Index: Copy + Send + Sync {
    /// The index as a position in memory.
    fn position(self) -> usize;
}

macro_rules! index {
    ($($type:ty),+) => {$(
        impl Index for $type {
            #[inline(always)]
            fn position(self) -> usize {
                self as usize
            }
        }
    )+};
}

index!(u16, u32, u64);

impl Indices {
    /// None yet, in the width for so many columns.
    pub(super) fn for_columns(columns: usize, capacity: usize) -> Self {
        if columns <= 1 << 16 {
            Indices::U16(Vec::with_capacity(capacity))
        } else if columns as u64 <= 1 << 32 {
            Indices::U32(Vec::with_capacity(capacity))
        } else {
            Indices::U64(Vec::with_capacity(capacity))
        }
    }

    /// Appends an index that the width holds.
    #[inline]
    pub(super) fn push(&mut self, column: usize) {
        match self {
            Indices::U16(indices) => indices.push(column as u16),
            Indices::U32(indices) => indices.push(column as u32),
            Indices::U64(indices) => indices.push(column as u64),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        with_indices!(self, |indices| indices.len())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The index at a place.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn get(&self, at: usize) -> usize {
        with_indices!(self, |indices| indices[at].position())
    }

    /// Bytes in memory.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        with_indices!(self, |indices| size_of_val(&indices[..]))
    }
}
