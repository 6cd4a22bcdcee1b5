//! How often each byte comes, in 4,096ths: what a plane's coder and decoder share.

use super::chunks::damaged;
use crate::error::Result;
use crate::memory;

/// Bits of a frequency.
pub(super) const BITS: u32 = 12;
/// What frequencies add up to.
pub(super) const TOTAL: u32 = 1 << BITS;

/// The frequency of each byte; 0 of those that do not come.
pub(super) struct Frequencies([u32; 256]);

impl Frequencies {
    /// Those nearest to how often bytes come; None where only one does, or none.
    pub(super) fn of(counts: &[u32; 256]) -> Option<Self> {
        let total: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        if counts.iter().filter(|&&count| count > 0).count() < 2 {
            return None;
        }
        let mut found = [0_u32; 256];
        for (frequency, &count) in found.iter_mut().zip(counts) {
            if count > 0 {
                let exact = (u64::from(count) * u64::from(TOTAL) + total / 2) / total;
                *frequency = (exact as u32).max(1);
            }
        }
        // What rounding has added or taken, the most frequent give or get: it costs them least.
        loop {
            let sum: u32 = found.iter().sum();
            let (most, &frequency) = found.iter().enumerate().max_by_key(|&(_, &f)| f)?;
            if sum == TOTAL {
                return Some(Self(found));
            }
            found[most] = if sum < TOTAL {
                frequency + (TOTAL - sum)
            } else {
                frequency - (sum - TOTAL).min(frequency / 2)
            };
        }
    }

    /// About how many bytes a plane of such counts takes.
    pub(super) fn cost(&self, counts: &[u32; 256]) -> usize {
        let pairs = self.0.iter().zip(counts).filter(|&(_, &count)| count > 0);
        let bits = |(&frequency, &count): (&u32, &u32)| {
            f64::from(count) * (f64::from(BITS) - f64::from(frequency).log2())
        };
        (pairs.map(bits).sum::<f64>() / 8.0) as usize
    }

    /// Each byte's frequency and the sum of those before it.
    pub(super) fn starts(&self) -> [(u32, u32); 256] {
        let mut start = 0;
        std::array::from_fn(|byte| {
            let found = (self.0[byte], start);
            start += self.0[byte];
            found
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<()> {
        let present = self.0.iter().filter(|&&frequency| frequency > 0).count();
        memory::reserve(out, 1 + 3 * present)?;
        out.push((present - 1) as u8);
        for (byte, &frequency) in self.0.iter().enumerate().filter(|&(_, &f)| f > 0) {
            out.push(byte as u8);
            out.extend((frequency as u16).to_le_bytes());
        }
        Ok(())
    }

    /// Reads what [`Frequencies::write`] wrote, and takes it off the front of `bytes`.
    pub(super) fn read(bytes: &mut &[u8]) -> Result<Self> {
        let (&count, rest) = bytes.split_first().ok_or_else(damaged)?;
        let length = 3 * (usize::from(count) + 1);
        let (lines, rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
        *bytes = rest;
        let mut found = [0_u32; 256];
        let mut before = None;
        for &[byte, low, high] in lines.as_chunks::<3>().0 {
            let frequency = u32::from(u16::from_le_bytes([low, high]));
            // A byte of frequency 4,096 would be alone, and a plane of it is no plane of ANS.
            if before >= Some(byte) || frequency == 0 || frequency >= TOTAL {
                return Err(damaged());
            }
            before = Some(byte);
            found[usize::from(byte)] = frequency;
        }
        if found.iter().sum::<u32>() != TOTAL {
            return Err(damaged());
        }
        Ok(Self(found))
    }
}
