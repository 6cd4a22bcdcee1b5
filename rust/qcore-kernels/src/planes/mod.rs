//! Floats in fewer bytes, every bit kept: the bytes of one significance together, each such plane coded
//! by how often its bytes come.
//!
//! Trained weights have few exponents and every mantissa. Elements are rotated by one bit, so that
//! the exponent starts at a byte and the sign goes behind the mantissa; bytes of one significance
//! make a plane; a plane is stored as it is, as one byte where all are equal, or as the codes of its
//! bytes, shorter ones for those that come more often.
//!
//! | file | what lives there |
//! |---|---|
//! | `split` | elements to planes, and back |
//! | `huffman` | the shortest codes of at most eleven bits, and the table that decodes up to four at once |
//! | `streams` | a plane as four streams of codes |
//! | `chunks` | a tensor as chunks that are coded alone: in any order, on any thread |
//!
//! ```text
//! tensor := chunk*                                  each of 65,536 elements, the last of fewer
//! chunk  := length:u32 plane{width}                 length of what follows; the lowest plane first
//! plane  := 0 byte{elements} | 1 byte | 2 table size:u32{4} stream{4}
//! table  := count-1:u8 (byte length:u8){count}      bytes ascending; a length is that of a code in bits
//! ```
//!
//! Integers are little-endian. Codes are canonical, of 1 to 11 bits; every value of 11 bits starts with
//! one. A stream has a quarter of the elements, rounded up, the last one the rest; codes follow each
//! other from the lowest bit of its first byte on, and the last byte is filled with zeros.

#![forbid(unsafe_code)]

mod chunks;
mod huffman;
mod split;
mod streams;

pub use chunks::{CHUNK, decode, encode, most_bytes};
