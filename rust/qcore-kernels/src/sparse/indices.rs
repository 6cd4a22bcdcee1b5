//! Column indices, in the narrowest of three widths that holds them all.

use crate::error::Result;
use crate::memory;

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
pub trait Index: Copy + Send + Sync {
    /// The index as a position in memory.
    fn position(self) -> usize;

    /// Four indices as positions.
    #[inline(always)]
    fn positions(four: &[Self; 4]) -> [usize; 4] {
        [four[0].position(), four[1].position(), four[2].position(), four[3].position()]
    }
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

index!(u32, u64);

impl Index for u16 {
    #[inline(always)]
    fn position(self) -> usize {
        self as usize
    }

    #[inline(always)]
    fn positions(four: &[Self; 4]) -> [usize; 4] {
        // No closures: what array methods call is not compiled for the vectors' features.
        let (low, high) = (u32::from(four[0]), u32::from(four[2]));
        let (low, high) = (low | u32::from(four[1]) << 16, high | u32::from(four[3]) << 16);
        let word = opaque(u64::from(low) | u64::from(high) << 32) as usize;
        [word & 0xffff, word >> 16 & 0xffff, word >> 32 & 0xffff, word >> 48]
    }
}

/// The same word, of which the compiler knows nothing: four indices are loaded as one and taken apart
/// by shifts, where it would use the vector units, which have enough to do.
#[inline(always)]
fn opaque(word: u64) -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let mut word = word;
        // SAFETY: no instruction at all.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) word, options(pure, nomem, nostack, preserves_flags));
        }
        word
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    word
}

impl Indices {
    /// None yet, in the width for so many columns.
    pub(super) fn for_columns(columns: usize, capacity: usize) -> Result<Self> {
        Ok(if columns <= 1 << 16 {
            Indices::U16(memory::with_capacity(capacity)?)
        } else if columns as u64 <= 1 << 32 {
            Indices::U32(memory::with_capacity(capacity)?)
        } else {
            Indices::U64(memory::with_capacity(capacity)?)
        })
    }

    /// Appends an index that the width holds.
    #[inline]
    pub(super) fn push(&mut self, column: usize) -> Result<()> {
        match self {
            Indices::U16(indices) => memory::push(indices, column as u16),
            Indices::U32(indices) => memory::push(indices, column as u32),
            Indices::U64(indices) => memory::push(indices, column as u64),
        }
    }

    /// Appends indices that the width holds, each counted from `first`.
    pub(super) fn extend(&mut self, first: usize, places: &[u16]) -> Result<()> {
        macro_rules! extend {
            ($indices:expr, $type:ty) => {{
                memory::reserve($indices, places.len())?;
                $indices.extend(places.iter().map(|&place| (first + usize::from(place)) as $type));
            }};
        }
        match self {
            Indices::U16(indices) => extend!(indices, u16),
            Indices::U32(indices) => extend!(indices, u32),
            Indices::U64(indices) => extend!(indices, u64),
        }
        Ok(())
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
