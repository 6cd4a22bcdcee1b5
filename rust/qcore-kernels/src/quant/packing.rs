//! Codes of 1 to 7 bits as a little-endian bit stream, each row padded to a byte.

use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::memory;

/// Bytes of a row of `row` codes.
fn row_bytes(row: usize, bits: usize) -> usize {
    (row * bits).div_ceil(8)
}

fn check(bits: usize, row: usize, len: usize) -> Result<usize> {
    if !(1..=8).contains(&bits) {
        return Err(KernelError::Value(format!("bits is {bits}; it must be 1 to 8")));
    }
    if row == 0 || !len.is_multiple_of(row) {
        return Err(KernelError::Shape(format!("{len} codes are not rows of {row}")));
    }
    Ok(len / row)
}

/// Packs codes, given as bytes in two's complement, of rows of `row` codes each.
pub fn pack_bits(codes: &[u8], row: usize, bits: usize) -> Result<Vec<u8>> {
    if codes.is_empty() {
        return Ok(Vec::new());
    }
    let rows = check(bits, row, codes.len())?;
    let width = row_bytes(row, bits);
    let mask = (1_u32 << bits) - 1;
    let mut packed = memory::zeroed::<u8>(memory::size(&[rows, width])?)?;
    let mut pace = Pace::new();
    for (codes, packed) in codes.chunks_exact(row).zip(packed.chunks_exact_mut(width)) {
        pace.check(row)?;
        if bits == 4 {
            pack_nibbles(codes, packed);
            continue;
        }
        let (mut pending, mut held, mut next) = (0_u32, 0, 0);
        for &code in codes {
            pending |= (code as u32 & mask) << held;
            held += bits;
            while held >= 8 {
                packed[next] = pending as u8;
                (pending, held, next) = (pending >> 8, held - 8, next + 1);
            }
        }
        if held > 0 {
            packed[next] = pending as u8;
        }
    }
    Ok(packed)
}

/// Packs one row of 4-bit codes, the common width, in a loop that compiles to vectors.
fn pack_nibbles(codes: &[u8], packed: &mut [u8]) {
    let (pairs, last) = codes.as_chunks::<2>();
    for (&pair, byte) in pairs.iter().zip(&mut *packed) {
        let word = u16::from_le_bytes(pair);
        *byte = ((word & 0x0f) | (word >> 4 & 0xf0)) as u8;
    }
    if let ([code], Some(byte)) = (last, packed.last_mut()) {
        *byte = code & 0x0f;
    }
}

/// Unpacks one row of 4-bit codes; `signed` extends the sign.
fn unpack_nibbles(packed: &[u8], codes: &mut [u8], signed: bool) {
    // Flipping the sign bit and taking 8 away extends the sign.
    let (flip, less) = if signed { (8, 8) } else { (0, 0) };
    let extend = |nibble: u8| (nibble ^ flip).wrapping_sub(less);
    let (pairs, last) = codes.as_chunks_mut::<2>();
    for ([low, high], byte) in pairs.iter_mut().zip(packed) {
        (*low, *high) = (extend(byte & 0x0f), extend(byte >> 4));
    }
    if let ([code], Some(byte)) = (last, packed.last()) {
        *code = extend(byte & 0x0f);
    }
}

/// Unpacks `len` codes of rows of `row` codes each; `signed` extends the sign.
pub fn unpack_bits(
    packed: &[u8],
    len: usize,
    row: usize,
    bits: usize,
    signed: bool,
) -> Result<Vec<u8>> {
    if len == 0 && packed.is_empty() {
        return Ok(Vec::new());
    }
    let rows = check(bits, row, len)?;
    let width = row_bytes(row, bits);
    let wanted = memory::size(&[rows, width])?;
    if packed.len() != wanted {
        let found = packed.len();
        return Err(KernelError::Shape(format!("packed has {found} bytes, expected {wanted}")));
    }
    let mask = (1_u32 << bits) - 1;
    let spare = 8 - bits;
    let mut codes = memory::zeroed::<u8>(len)?;
    let mut pace = Pace::new();
    for (codes, packed) in codes.chunks_exact_mut(row).zip(packed.chunks_exact(width)) {
        pace.check(row)?;
        if bits == 4 {
            unpack_nibbles(packed, codes, signed);
            continue;
        }
        let (mut pending, mut held, mut next) = (0_u32, 0, 0);
        for code in codes {
            if held < bits {
                pending |= (packed[next] as u32) << held;
                (held, next) = (held + 8, next + 1);
            }
            let raw = (pending & mask) as u8;
            *code = if signed { ((raw << spare) as i8 >> spare) as u8 } else { raw };
            (pending, held) = (pending >> bits, held - bits);
        }
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int4_has_the_low_nibble_first_and_rows_end_on_bytes() {
        let codes = [1_i8, -8, 7].map(|c| c as u8);
        assert_eq!(pack_bits(&codes, 3, 4).unwrap(), [0x81, 0x07]);
    }

    #[test]
    fn every_width_round_trips() {
        for bits in 1..=8 {
            for row in [1, 3, 8, 13] {
                let codes: Vec<u8> = (0..row * 5).map(|i| (i * 37 % 256) as u8).collect();
                for signed in [false, true] {
                    let packed = pack_bits(&codes, row, bits).unwrap();
                    let back = unpack_bits(&packed, codes.len(), row, bits, signed).unwrap();
                    let spare = 8 - bits;
                    for (&code, &back) in codes.iter().zip(&back) {
                        let kept = code << spare;
                        let wanted =
                            if signed { (kept as i8 >> spare) as u8 } else { kept >> spare };
                        assert_eq!(back, wanted, "bits {bits}");
                    }
                }
            }
        }
    }
}
