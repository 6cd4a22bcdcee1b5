//! A plane as four streams of codes, which a decoder reads at once: each waits for nothing but itself.

use super::chunks::damaged;
use super::huffman::{Entry, LONGEST, Lengths, VALUES, fill};
use crate::error::Result;
use crate::memory;

/// How many streams a plane is.
const STREAMS: usize = 4;
/// Look-ups of a burst: a load has at least 57 bits of use.
const LOOKUPS: usize = 5;
/// The most bytes that a burst writes.
const MOST: usize = 4 * LOOKUPS;

/// Appends a plane's table, the bytes of each stream, and the streams: a quarter of the plane each.
pub(super) fn encode(plane: &[u8], lengths: &Lengths, out: &mut Vec<u8>) -> Result<()> {
    lengths.write(out)?;
    let codes = lengths.codes();
    let sizes = out.len();
    memory::extend(out, &[0; 4 * STREAMS])?;
    for (index, quarter) in quarters(plane.len()).into_iter().enumerate() {
        let start = out.len();
        memory::reserve(out, quarter.len() * LONGEST as usize / 8 + 8)?;
        let (mut bits, mut held) = (0_u64, 0);
        for &byte in &plane[quarter] {
            let (code, length) = codes[usize::from(byte)];
            bits |= u64::from(code) << held;
            held += u32::from(length);
            if held >= 32 {
                out.extend((bits as u32).to_le_bytes());
                bits >>= 32;
                held -= 32;
            }
        }
        out.extend(&bits.to_le_bytes()[..held.div_ceil(8) as usize]);
        let size = ((out.len() - start) as u32).to_le_bytes();
        out[sizes + 4 * index..][..4].copy_from_slice(&size);
    }
    Ok(())
}

/// Which elements each stream has.
fn quarters(len: usize) -> [std::ops::Range<usize>; STREAMS] {
    let share = len.div_ceil(STREAMS);
    std::array::from_fn(|index| (share * index).min(len)..(share * (index + 1)).min(len))
}

/// Decodes a plane, and takes it off the front of `bytes`. `table` is room to use again and again.
pub(super) fn decode(bytes: &mut &[u8], table: &mut Vec<Entry>, plane: &mut [u8]) -> Result<()> {
    let lengths = Lengths::read(bytes)?;
    let (sizes, mut rest) = bytes.split_first_chunk::<{ 4 * STREAMS }>().ok_or_else(damaged)?;
    fill(&lengths, table)?;
    let table: &[Entry; VALUES] = table[..].try_into().map_err(|_| damaged())?;
    let mut coded = [&[][..]; STREAMS];
    for (coded, size) in coded.iter_mut().zip(sizes.as_chunks::<4>().0) {
        let size = u32::from_le_bytes(*size) as usize;
        (*coded, rest) = rest.split_at_checked(size).ok_or_else(damaged)?;
    }
    *bytes = rest;
    let share = plane.len().div_ceil(STREAMS).max(1);
    let mut parts = plane.chunks_mut(share);
    let mut streams =
        coded.map(|coded| Stream { coded, bit: 0, out: parts.next().unwrap_or_default(), at: 0 });
    let [a, b, c, d] = &mut streams;
    while a.has_room() && b.has_room() && c.has_room() && d.has_room() {
        a.burst(table);
        b.burst(table);
        c.burst(table);
        d.burst(table);
    }
    for stream in &mut streams {
        stream.finish(table)?;
    }
    Ok(())
}

struct Stream<'a> {
    coded: &'a [u8],
    /// The next bit to read.
    bit: usize,
    out: &'a mut [u8],
    /// The next byte to write.
    at: usize,
}

impl Stream<'_> {
    /// Whether a burst reads and writes what there is.
    #[inline(always)]
    fn has_room(&self) -> bool {
        self.bit / 8 + 8 <= self.coded.len() && self.at + MOST <= self.out.len()
    }

    /// Decodes some bytes: up to four a look-up, of which those that are none are written over.
    #[inline(always)]
    fn burst(&mut self, table: &[Entry; VALUES]) {
        let Some(eight) = self.coded.get(self.bit / 8..).and_then(|c| c.first_chunk::<8>()) else {
            return;
        };
        let Some(out) = self.out.get_mut(self.at..).and_then(|o| o.first_chunk_mut::<MOST>())
        else {
            return;
        };
        let mut bits = u64::from_le_bytes(*eight) >> (self.bit % 8);
        let (mut at, mut used) = (0, 0);
        for _ in 0..LOOKUPS {
            let entry = table[bits as usize % VALUES];
            let Some(four) = out.get_mut(at..).and_then(|o| o.first_chunk_mut::<4>()) else {
                return;
            };
            *four = (entry as u32).to_le_bytes();
            at += ((entry >> 32) & 7) as usize;
            let length = (entry >> 40) & 15;
            bits >>= length;
            used += length as usize;
        }
        self.at += at;
        self.bit += used;
    }

    /// Decodes the rest one byte at a time, and sees that nothing is left.
    fn finish(&mut self, table: &[Entry; VALUES]) -> Result<()> {
        while self.at < self.out.len() {
            let rest = self.coded.get(self.bit / 8..).ok_or_else(damaged)?;
            let mut eight = [0; 8];
            let there = rest.len().min(8);
            eight[..there].copy_from_slice(&rest[..there]);
            let bits = u64::from_le_bytes(eight) >> (self.bit % 8);
            let entry = table[bits as usize % VALUES];
            self.out[self.at] = entry as u8;
            self.at += 1;
            self.bit += ((entry >> 48) & 15) as usize;
        }
        if self.bit.div_ceil(8) == self.coded.len() { Ok(()) } else { Err(damaged()) }
    }
}
