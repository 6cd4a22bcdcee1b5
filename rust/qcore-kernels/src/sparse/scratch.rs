//! Room for one call: kept by the thread for its next one.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use crate::aligned::AlignedBytes;
use crate::error::Result;
use crate::memory;

/// Bytes of a room above which it is given back.
const LARGEST: usize = 1 << 23;

/// Rooms that a thread keeps.
const KEPT: usize = 4;

thread_local! {
    static ROOMS: Cell<Vec<AlignedBytes>> = const { Cell::new(Vec::new()) };
}

/// A number of which every bit pattern is a value.
pub trait Number: Copy {}

impl Number for f32 {}
impl Number for f64 {}
impl Number for i32 {}
impl Number for u8 {}

/// Numbers on cache-line boundaries, of any values at first.
pub(super) struct Scratch<T> {
    bytes: AlignedBytes,
    len: usize,
    number: PhantomData<T>,
}

impl<T: Number> Scratch<T> {
    pub(super) fn new(len: usize) -> Result<Self> {
        let mut rooms = ROOMS.take();
        let mut bytes = rooms.pop().unwrap_or_default();
        ROOMS.set(rooms);
        bytes.resize_scratch(memory::size(&[len, size_of::<T>()])?)?;
        Ok(Self { bytes, len, number: PhantomData })
    }
}

impl<T> Drop for Scratch<T> {
    fn drop(&mut self) {
        if self.bytes.len() > LARGEST {
            return;
        }
        let mut rooms = ROOMS.take();
        if rooms.len() < KEPT {
            rooms.push(std::mem::take(&mut self.bytes));
        }
        ROOMS.set(rooms);
    }
}

impl<T: Number> Deref for Scratch<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the room has the bytes of `len` numbers, initialised and aligned to a cache line.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr().cast(), self.len) }
    }
}

impl<T: Number> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.as_mut_ptr().cast(), self.len) }
    }
}
