//! A plane as range ANS: eight states in turn, which depend on nothing but themselves.

use super::chunks::damaged;
use super::table::{BITS, Frequencies, TOTAL};
use crate::error::Result;
use crate::memory;

/// How many states take turns.
const LANES: usize = 8;
/// States are at least this; below it they take in 16 bits.
const LEAST: u32 = 1 << 16;

/// Appends a plane's table, the number of its bytes of code, states and words.
pub(super) fn encode(plane: &[u8], frequencies: &Frequencies, out: &mut Vec<u8>) -> Result<()> {
    let starts = frequencies.starts();
    let mut states = [LEAST; LANES];
    // What is read first is written last.
    let mut words: Vec<u16> = memory::with_capacity(plane.len())?;
    for (index, &byte) in plane.iter().enumerate().rev() {
        let (frequency, start) = starts[usize::from(byte)];
        let state = &mut states[index % LANES];
        if *state >= frequency << (32 - BITS) {
            words.push(*state as u16);
            *state >>= 16;
        }
        *state = ((*state / frequency) << BITS) + *state % frequency + start;
    }
    frequencies.write(out)?;
    let length = 4 * LANES + 2 * words.len();
    memory::reserve(out, 4 + length)?;
    out.extend((length as u32).to_le_bytes());
    out.extend(states.iter().flat_map(|state| state.to_le_bytes()));
    out.extend(words.iter().rev().flat_map(|word| word.to_le_bytes()));
    Ok(())
}

/// Room that decoding uses again and again.
#[derive(Default)]
pub(super) struct Room {
    /// Of each of the 4,096 slots: the byte, its frequency, and how far into it the slot is.
    slots: Vec<u32>,
    words: Vec<u16>,
}

/// Decodes a plane, and takes it off the front of `bytes`.
pub(super) fn decode(bytes: &mut &[u8], room: &mut Room, plane: &mut [u8]) -> Result<()> {
    let frequencies = Frequencies::read(bytes)?;
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (coded, rest) = rest.split_at_checked(length).ok_or_else(damaged)?;
    *bytes = rest;
    let (head, coded) = coded.split_first_chunk::<{ 4 * LANES }>().ok_or_else(damaged)?;
    let heads = head.as_chunks::<4>().0;
    let mut states: [u32; LANES] = std::array::from_fn(|lane| u32::from_le_bytes(heads[lane]));
    if !coded.len().is_multiple_of(2) || states.iter().any(|&state| state < LEAST) {
        return Err(damaged());
    }
    fill(&frequencies, &mut room.slots)?;
    let count = coded.len() / 2;
    room.words.clear();
    // A step reads eight words at most, and may look at eight that are not there.
    memory::reserve(&mut room.words, count + LANES)?;
    room.words.extend(coded.as_chunks::<2>().0.iter().map(|&word| u16::from_le_bytes(word)));
    memory::resize(&mut room.words, count + LANES, 0)?;
    let slots: &[u32; TOTAL as usize] = room.slots[..].try_into().map_err(|_| damaged())?;
    let mut at = 0;
    let (whole, rest) = plane.as_chunks_mut::<LANES>();
    // Each state is a variable of its own, for a register of its own.
    let [mut s0, mut s1, mut s2, mut s3, mut s4, mut s5, mut s6, mut s7] = states;
    for out in whole {
        let Some(window) = room.words.get(at..).and_then(|words| words.first_chunk::<LANES>())
        else {
            return Err(damaged());
        };
        let mut taken = 0;
        *out = [
            step(&mut s0, slots, window, &mut taken),
            step(&mut s1, slots, window, &mut taken),
            step(&mut s2, slots, window, &mut taken),
            step(&mut s3, slots, window, &mut taken),
            step(&mut s4, slots, window, &mut taken),
            step(&mut s5, slots, window, &mut taken),
            step(&mut s6, slots, window, &mut taken),
            step(&mut s7, slots, window, &mut taken),
        ];
        at += taken;
    }
    states = [s0, s1, s2, s3, s4, s5, s6, s7];
    if !rest.is_empty() {
        let words = room.words.get(at..).and_then(|words| words.first_chunk::<LANES>());
        let mut taken = 0;
        for (out, state) in rest.iter_mut().zip(&mut states) {
            *out = step(state, slots, words.ok_or_else(damaged)?, &mut taken);
        }
        at += taken;
    }
    if at != count || states != [LEAST; LANES] {
        return Err(damaged());
    }
    Ok(())
}

/// Decodes a byte of a state; a state that has become small takes in a word. Without a branch: which
/// do is as good as random.
#[inline(always)]
fn step(
    state: &mut u32,
    slots: &[u32; TOTAL as usize],
    words: &[u16; LANES],
    taken: &mut usize,
) -> u8 {
    let slot = slots[(*state & (TOTAL - 1)) as usize];
    let next = ((slot >> BITS) & (TOTAL - 1)) * (*state >> BITS) + (slot & (TOTAL - 1));
    let small = u32::from(next < LEAST);
    let word = u32::from(words[*taken & (LANES - 1)]);
    *state = (next << (16 * small)) | (word & small.wrapping_neg());
    *taken += small as usize;
    (slot >> (2 * BITS)) as u8
}

fn fill(frequencies: &Frequencies, slots: &mut Vec<u32>) -> Result<()> {
    slots.clear();
    memory::reserve(slots, TOTAL as usize)?;
    for (byte, (frequency, _)) in frequencies.starts().into_iter().enumerate() {
        let line = (byte as u32) << (2 * BITS) | frequency << BITS;
        slots.extend((0..frequency).map(|into| line | into));
    }
    Ok(())
}
