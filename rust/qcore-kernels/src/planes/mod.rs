//! Floats in fewer bytes, every bit kept: the bytes of one significance together, each such plane coded
//! by how often its bytes come.
//!
//! Trained weights have few exponents and every mantissa. Elements are rotated by one bit, so that
//! the exponent starts at a byte and the sign goes behind the mantissa; bytes of one significance
//! make a plane; a plane is stored as it is, as one byte where all are equal, or as interleaved
//! range ANS.
//!
//! | file | what lives there |
//! |---|---|
//! | `split` | elements to planes, and back |
//! | `table` | how often bytes come, in 4,096ths, as it is stored |
//! | `rans` | a plane as range ANS: eight states, which a decoder steps at once |
//! | `chunks` | a tensor as chunks that are coded alone: in any order, on any thread |
//!
//! ```text
//! tensor := chunk*                                  each of 65,536 elements, the last of fewer
//! chunk  := length:u32 plane{width}                 length of what follows; the lowest plane first
//! plane  := 0 byte{elements} | 1 byte | 2 table length:u32 state:u32{8} word:u16*
//! table  := count-1:u8 (byte, frequency:u16){count} ascending; the frequencies add up to 4,096
//! ```
//!
//! Integers are little-endian. Element *i* of a plane is of state *i* mod 8, and the first word is
//! read first. When all is decoded every state is 65,536 and no word is left, else the bytes are damaged.
//!
//! J. Duda, "Asymmetric numeral systems", 2013; F. Giesen, "Interleaved entropy coders", 2014.

#![forbid(unsafe_code)]

mod chunks;
mod rans;
mod split;
mod table;

pub use chunks::{CHUNK, decode, encode, most_bytes};
