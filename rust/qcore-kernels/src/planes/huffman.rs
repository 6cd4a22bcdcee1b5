//! Codes of 1 to 11 bits for the bytes of a plane: the shortest that there are.

use super::chunks::damaged;
use crate::error::Result;
use crate::memory;

/// The longest code. A table of all its values stays in the first cache.
pub(super) const LONGEST: u32 = 11;
/// How many values it has.
pub(super) const VALUES: usize = 1 << LONGEST;

/// How many bits the code of each byte has; 0 of those that do not come.
pub(super) struct Lengths([u8; 256]);

impl Lengths {
    /// Those with which bytes that come so often take the fewest bits; None where only one comes.
    ///
    /// L. Larmore and D. Hirschberg, "A fast algorithm for optimal length-limited Huffman codes", 1990:
    /// in each of eleven rounds pairs of the cheapest are made packages, among which the bytes are
    /// merged again; the length of a code is how often its byte is in the cheapest packages of the last.
    pub(super) fn of(counts: &[u32; 256]) -> Result<Option<Self>> {
        let mut bytes: Vec<(u64, u8)> = memory::collected(
            (0..=255).zip(counts).filter(|&(_, &n)| n > 0).map(|(byte, &n)| (u64::from(n), byte)),
        )?;
        if bytes.len() < 2 {
            return Ok(None);
        }
        bytes.sort_unstable();
        let leaf = |&(cost, byte): &(u64, u8)| (cost, vec![byte]);
        let mut list: Vec<(u64, Vec<u8>)> = bytes.iter().map(leaf).collect();
        for _ in 1..LONGEST {
            let package = |pair: &[(u64, Vec<u8>)]| match pair {
                [a, b] => Some((a.0 + b.0, [&a.1[..], &b.1[..]].concat())),
                _ => None,
            };
            let mut next: Vec<_> = list.chunks(2).filter_map(package).collect();
            next.extend(bytes.iter().map(leaf));
            next.sort_by_key(|&(cost, _)| cost);
            list = next;
        }
        let mut lengths = [0; 256];
        for byte in list.iter().take(2 * bytes.len() - 2).flat_map(|(_, bytes)| bytes) {
            lengths[usize::from(*byte)] += 1;
        }
        Ok(Some(Self(lengths)))
    }

    /// How many bytes a plane of such counts takes.
    pub(super) fn cost(&self, counts: &[u32; 256]) -> usize {
        let bits = |(&length, &count): (&u8, &u32)| u64::from(length) * u64::from(count);
        (self.0.iter().zip(counts).map(bits).sum::<u64>() / 8) as usize
    }

    /// The code of each byte, its first bit the lowest, and how many bits it has.
    ///
    /// They are canonical: shorter ones come first, those of one length by their bytes.
    pub(super) fn codes(&self) -> [(u16, u8); 256] {
        let mut found = [(0, 0); 256];
        let mut next = 0_u32;
        for length in 1..=LONGEST {
            for (byte, _) in self.0.iter().enumerate().filter(|&(_, &l)| u32::from(l) == length) {
                found[byte] = ((next.reverse_bits() >> (32 - length)) as u16, length as u8);
                next += 1;
            }
            next <<= 1;
        }
        found
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<()> {
        let present = self.0.iter().filter(|&&length| length > 0).count();
        memory::reserve(out, 1 + 2 * present)?;
        out.push((present - 1) as u8);
        for (byte, &length) in self.0.iter().enumerate().filter(|&(_, &l)| l > 0) {
            out.extend([byte as u8, length]);
        }
        Ok(())
    }

    /// Reads what [`Lengths::write`] wrote, and takes it off the front of `bytes`.
    pub(super) fn read(bytes: &mut &[u8]) -> Result<Self> {
        let (&count, rest) = bytes.split_first().ok_or_else(damaged)?;
        let size = 2 * (usize::from(count) + 1);
        let (lines, rest) = rest.split_at_checked(size).ok_or_else(damaged)?;
        *bytes = rest;
        let mut found = [0; 256];
        let (mut before, mut values) = (None, 0);
        for &[byte, length] in lines.as_chunks::<2>().0 {
            if before >= Some(byte) || !(1..=LONGEST).contains(&u32::from(length)) {
                return Err(damaged());
            }
            before = Some(byte);
            found[usize::from(byte)] = length;
            values += VALUES >> length;
        }
        // Every value of eleven bits starts with one code, and with no other.
        if values == VALUES { Ok(Self(found)) } else { Err(damaged()) }
    }
}

/// What eleven bits decode to: up to four bytes in the low half, then how many these are, how many bits
/// they took, and how many the first of them took, a byte each.
pub(super) type Entry = u64;

/// Fills the table of all values of eleven bits.
pub(super) fn fill(lengths: &Lengths, table: &mut Vec<Entry>) -> Result<()> {
    table.clear();
    memory::resize(table, VALUES, 0)?;
    // First one byte for each value, then those behind it, as far as they are whole.
    let codes = lengths.codes();
    for (byte, &(code, length)) in codes.iter().enumerate().filter(|&(_, &(_, l))| l > 0) {
        let one = byte as u64 | (1 << 32) | (u64::from(length) << 40) | (u64::from(length) << 48);
        for entry in table[usize::from(code)..].iter_mut().step_by(1 << length) {
            *entry = one;
        }
    }
    let single: Vec<Entry> = memory::copied(table)?;
    for (value, entry) in table.iter_mut().enumerate() {
        let (mut found, mut count, mut bits) =
            (*entry & 0xff, 1_u32, ((*entry >> 40) & 0xff) as u32);
        while count < 4 {
            let next = single[value >> bits];
            let more = ((next >> 40) & 0xff) as u32;
            if bits + more > LONGEST {
                break;
            }
            found |= (next & 0xff) << (8 * count);
            count += 1;
            bits += more;
        }
        *entry =
            (*entry & (0xff << 48)) | found | (u64::from(count) << 32) | (u64::from(bits) << 40);
    }
    Ok(())
}
