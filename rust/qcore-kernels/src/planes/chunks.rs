//! A tensor as chunks that are coded alone.

use std::sync::{Mutex, PoisonError};

use super::huffman::Lengths;
use super::split::{WIDTHS, join, split};
use super::streams;
use crate::error::{KernelError, Result};
use crate::{interrupt, memory, threads};

/// Elements of a chunk; the last one of a tensor may have fewer.
pub const CHUNK: usize = 1 << 16;

/// Chunks that a thread takes at a time: a few milliseconds.
const SHARE: usize = 16;

const STORED: u8 = 0;
const ALL_EQUAL: u8 = 1;
const CODED: u8 = 2;

pub(super) fn damaged() -> KernelError {
    KernelError::Value("the coded planes are damaged".to_owned())
}

/// The most bytes that a tensor of so many bytes takes coded.
#[must_use]
pub fn most_bytes(bytes: usize, width: usize) -> usize {
    let chunks = bytes.div_ceil(CHUNK * width.max(1));
    bytes.saturating_add(chunks.saturating_mul(4 + width))
}

/// Codes a tensor's elements of `width` bytes.
pub fn encode(bytes: &[u8], width: usize) -> Result<Vec<u8>> {
    check(bytes.len(), width)?;
    let chunk = CHUNK * width;
    let mut coded = memory::with_capacity(0)?;
    // As many at once as keep every thread busy: what they become is put together in order.
    for some in bytes.chunks(chunk * SHARE * 4) {
        let parts = some.chunks(chunk).map(|part| Mutex::new((part, Ok(Vec::new()))));
        let parts: Vec<_> = parts.collect();
        threads::for_each(parts.len(), |index| {
            let mut part = parts[index].lock().unwrap_or_else(PoisonError::into_inner);
            part.1 = encode_chunk(part.0, width);
        });
        interrupt::check()?;
        for part in parts {
            let (_, found) = part.into_inner().unwrap_or_else(PoisonError::into_inner);
            memory::extend(&mut coded, &found?)?;
        }
    }
    Ok(coded)
}

/// Whether bytes come so much alike that no code saves a sixty-fourth: their collision entropy, which
/// is at most Shannon's, is more than 7.875 bits.
fn is_noise(counts: &[u32; 256], len: usize) -> bool {
    let squares: u64 = counts.iter().map(|&count| u64::from(count) * u64::from(count)).sum();
    squares * 234 <= (len * len) as u64
}

fn encode_chunk(bytes: &[u8], width: usize) -> Result<Vec<u8>> {
    let mut planes = memory::filled(Vec::new(), width)?;
    for plane in &mut planes {
        memory::reserve(plane, bytes.len() / width)?;
    }
    split(bytes, &mut planes);
    let mut out = memory::with_capacity(bytes.len() + 64 * width)?;
    memory::extend(&mut out, &[0; 4])?;
    for plane in &planes {
        let mut counts = [0_u32; 256];
        for &byte in plane {
            counts[usize::from(byte)] += 1;
        }
        let start = out.len();
        let found = if is_noise(&counts, plane.len()) { None } else { Some(Lengths::of(&counts)?) };
        match found {
            Some(None) => memory::extend(&mut out, &[ALL_EQUAL, plane[0]])?,
            // Less than a sixty-fourth saved is not worth the time of decoding.
            Some(Some(found)) if found.cost(&counts) < plane.len() - plane.len() / 64 => {
                out.push(CODED);
                streams::encode(plane, &found, &mut out)?;
            }
            None | Some(Some(_)) => {}
        }
        if out.len() == start || out.len() - start > plane.len() {
            out.truncate(start);
            out.push(STORED);
            memory::extend(&mut out, plane)?;
        }
    }
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_le_bytes());
    Ok(out)
}

/// The bytes of each chunk, its length in front of it among them; `bytes` are those of the elements.
fn lengths(coded: &[u8], bytes: usize, width: usize) -> Result<Vec<usize>> {
    check(bytes, width)?;
    let mut found = memory::with_capacity(0)?;
    let (mut rest, mut left) = (coded, bytes);
    while left > 0 {
        let part = left.min(CHUNK * width);
        let (length, _) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let length = 4 + u32::from_le_bytes(*length) as usize;
        if length > most_bytes(part, width) {
            return Err(damaged());
        }
        rest = rest.split_at_checked(length).ok_or_else(damaged)?.1;
        memory::push(&mut found, length)?;
        left -= part;
    }
    if rest.is_empty() { Ok(found) } else { Err(damaged()) }
}

/// Fills `out` with a tensor's elements of `width` bytes.
pub fn decode(coded: &[u8], width: usize, out: &mut [u8]) -> Result<()> {
    let lengths = lengths(coded, out.len(), width)?;
    let mut parts = memory::with_capacity(lengths.len().div_ceil(SHARE))?;
    let mut rest = coded;
    for (lengths, out) in lengths.chunks(SHARE).zip(out.chunks_mut(CHUNK * width * SHARE)) {
        let (mine, tail) = rest.split_at(lengths.iter().sum());
        rest = tail;
        parts.push(Mutex::new((mine, out, Ok(()))));
    }
    threads::for_each(parts.len(), |index| {
        let mut part = parts[index].lock().unwrap_or_else(PoisonError::into_inner);
        let (coded, out, done) = &mut *part;
        *done = decode_chunks(coded, width, out);
    });
    interrupt::check()?;
    for part in parts {
        part.into_inner().unwrap_or_else(PoisonError::into_inner).2?;
    }
    Ok(())
}

fn decode_chunks(mut coded: &[u8], width: usize, out: &mut [u8]) -> Result<()> {
    let mut planes = memory::filled(Vec::new(), width)?;
    let mut room = memory::with_capacity(0)?;
    for out in out.chunks_mut(CHUNK * width) {
        if interrupt::requested() {
            return Ok(());
        }
        let (length, rest) = coded.split_first_chunk::<4>().ok_or_else(damaged)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (mut chunk, rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
        coded = rest;
        let elements = out.len() / width;
        for plane in &mut planes {
            memory::resize(plane, elements, 0)?;
            let (&kind, rest) = chunk.split_first().ok_or_else(damaged)?;
            chunk = rest;
            match kind {
                STORED => {
                    let (bytes, rest) = chunk.split_at_checked(elements).ok_or_else(damaged)?;
                    plane.copy_from_slice(bytes);
                    chunk = rest;
                }
                ALL_EQUAL => {
                    let (&byte, rest) = chunk.split_first().ok_or_else(damaged)?;
                    plane.fill(byte);
                    chunk = rest;
                }
                CODED => streams::decode(&mut chunk, &mut room, plane)?,
                _ => return Err(damaged()),
            }
        }
        if !chunk.is_empty() {
            return Err(damaged());
        }
        join(&planes, out);
    }
    Ok(())
}

fn check(bytes: usize, width: usize) -> Result<()> {
    if !WIDTHS.contains(&width) || !bytes.is_multiple_of(width) {
        return Err(KernelError::Shape(format!("{bytes} bytes are no elements of {width} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize, seed: u32) -> Vec<u8> {
        let mut state = seed;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..len).map(next).collect()
    }

    /// Bytes whose high ones are few, as exponents are.
    fn weights(elements: usize, width: usize) -> Vec<u8> {
        let mut bytes = noise(elements * width, 7);
        for (index, element) in bytes.chunks_exact_mut(width).enumerate() {
            element[width - 1] = 0x3c | (element[width - 1] & 0x80) | (index % 3 == 0) as u8;
        }
        bytes
    }

    #[test]
    fn every_bit_comes_back() {
        for width in WIDTHS {
            for elements in [0, 1, 7, 8, 9, 255, 4096, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 77]
            {
                let size = elements * width;
                for bytes in [noise(size, 3), weights(elements, width), vec![5; size]] {
                    let coded = encode(&bytes, width).unwrap();
                    assert!(coded.len() <= most_bytes(size, width));
                    let mut out = vec![0xaa; size];
                    decode(&coded, width, &mut out).unwrap();
                    assert_eq!(out, bytes, "{width} {elements}");
                }
            }
        }
    }

    #[test]
    fn few_exponents_take_few_bits() {
        let bytes = weights(1 << 18, 2);
        let coded = encode(&bytes, 2).unwrap();
        let ratio = bytes.len() as f64 / coded.len() as f64;
        assert!(ratio > 1.58, "{ratio}");
    }

    #[test]
    fn what_is_rare_and_all_256_bytes_are_coded() {
        let mut bytes = vec![9; 60_000];
        bytes[30_000] = 200;
        let mut all: Vec<u8> = (0..=255).collect();
        all.extend(vec![7; 50_000]);
        for bytes in [bytes, all] {
            let coded = encode(&bytes, 1).unwrap();
            assert!(coded.len() < bytes.len() / 6);
            let mut out = vec![0; bytes.len()];
            decode(&coded, 1, &mut out).unwrap();
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn damage_is_refused_or_decodes_without_a_panic() {
        let bytes = weights(5000, 2);
        let coded = encode(&bytes, 2).unwrap();
        let mut out = vec![0; bytes.len()];
        for len in 0..coded.len() {
            assert!(decode(&coded[..len], 2, &mut out).is_err());
        }
        for at in 0..coded.len() {
            for turn in [1, 0x80, 0xff] {
                let mut other = coded.clone();
                other[at] ^= turn;
                // A turned mantissa is a tensor too: the hash of it tells.
                let _ = decode(&other, 2, &mut out);
            }
        }
        assert!(decode(&coded, 4, &mut out).is_err());
        assert!(decode(&coded, 2, &mut out[1..]).is_err());
        assert!(decode(&coded, 2, &mut out[2..]).is_err());
        assert!(decode(&coded, 3, &mut out).is_err());
    }

    #[test]
    fn threads_change_no_byte() {
        let bytes = weights(5 * CHUNK, 2);
        let before = threads::count();
        let coded: Vec<_> =
            [1, 3].map(|count| threads::at_most(count, || encode(&bytes, 2).unwrap())).into();
        assert_eq!(coded[0], coded[1]);
        assert_eq!(threads::count(), before);
    }
}
