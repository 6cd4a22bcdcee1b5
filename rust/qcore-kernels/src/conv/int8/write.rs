//! Bytes of an image on their way to a kernel: as they are, flipped or widened.

/// Bytes that are copied at once.
const CHUNK: usize = 32;

/// What a byte becomes.
pub(super) trait Become {
    type Value: Copy + Default;
    fn of(byte: u8) -> Self::Value;
}

pub(super) struct Same;
pub(super) struct Flipped;
pub(super) struct Unsigned;
pub(super) struct Signed;

impl Become for Same {
    type Value = u8;
    #[inline(always)]
    fn of(byte: u8) -> u8 {
        byte
    }
}

impl Become for Flipped {
    type Value = u8;
    #[inline(always)]
    fn of(byte: u8) -> u8 {
        byte ^ 0x80
    }
}

impl Become for Unsigned {
    type Value = i16;
    #[inline(always)]
    fn of(byte: u8) -> i16 {
        i16::from(byte)
    }
}

impl Become for Signed {
    type Value = i16;
    #[inline(always)]
    fn of(byte: u8) -> i16 {
        i16::from(byte as i8)
    }
}

/// Where the next element of a packed row goes, and what may be written of it at once.
pub(super) struct Writer<B: Become> {
    pub(super) at: *mut B::Value,
    /// The end of the row: up to a chunk past it may be written.
    pub(super) end: *mut B::Value,
    /// The end of the image.
    pub(super) image_end: *const u8,
}

impl<B: Become> Writer<B> {
    /// `count` times the same byte.
    ///
    /// # Safety
    /// So much of the row is left.
    #[inline(always)]
    pub(super) unsafe fn fill(&mut self, byte: u8, count: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            std::slice::from_raw_parts_mut(self.at, count).fill(B::of(byte));
            self.at = self.at.add(count);
        }
    }

    /// `count` bytes of the image.
    ///
    /// # Safety
    /// They are within the image, and so much of the row is left.
    #[inline(always)]
    pub(super) unsafe fn copy(&mut self, from: *const u8, count: usize) {
        // SAFETY: whole chunks are read only where the image has them, and written where a chunk
        // behind the row is room, or what follows of the row.
        unsafe {
            let chunks = count.div_ceil(CHUNK);
            if self.image_end.offset_from_unsigned(from) >= chunks * CHUNK {
                for chunk in 0..chunks {
                    let bytes = from.add(chunk * CHUNK).cast::<[u8; CHUNK]>().read_unaligned();
                    let mut values = [B::Value::default(); CHUNK];
                    for (value, byte) in values.iter_mut().zip(bytes) {
                        *value = B::of(byte);
                    }
                    let to = self.at.add(chunk * CHUNK);
                    to.cast::<[B::Value; CHUNK]>().write_unaligned(values);
                }
            } else {
                for at in 0..count {
                    self.at.add(at).write(B::of(*from.add(at)));
                }
            }
            self.at = self.at.add(count);
        }
    }
}
