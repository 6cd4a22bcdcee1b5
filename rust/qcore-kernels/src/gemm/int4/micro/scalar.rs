//! Plain Rust: every other machine, and the reference for the rest.

use half::f16;

use super::{Nibbles, PANEL, kernel};

struct Scalar;

impl Nibbles for Scalar {
    type Sums = [i32; PANEL];
    type Floats = [f32; PANEL];

    #[inline(always)]
    unsafe fn start(start: i32) -> Self::Sums {
        [start; PANEL]
    }

    #[inline(always)]
    unsafe fn line(mut sums: Self::Sums, line: *const u8, a: *const i8) -> Self::Sums {
        for (output, sum) in sums.iter_mut().enumerate() {
            for index in 0..4 {
                // SAFETY: the caller vouches for 64 bytes of the line and 8 of a.
                let (byte, first, second) =
                    unsafe { (*line.add(output * 4 + index), *a.add(index), *a.add(index + 4)) };
                *sum += i32::from(byte & 15) * i32::from(first);
                *sum += i32::from(byte >> 4) * i32::from(second);
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn zero() -> Self::Floats {
        [0.0; PANEL]
    }

    #[inline(always)]
    unsafe fn add(
        mut total: Self::Floats,
        sums: Self::Sums,
        scale: *const u8,
        half: bool,
    ) -> Self::Floats {
        for (output, (total, sum)) in total.iter_mut().zip(sums).enumerate() {
            // SAFETY: the caller vouches for 16 scales.
            let scale = unsafe {
                if half {
                    let bits = u16::from_ne_bytes(*scale.cast::<[u8; 2]>().add(output));
                    f16::from_bits(bits).to_f32()
                } else {
                    f32::from_ne_bytes(*scale.cast::<[u8; 4]>().add(output))
                }
            };
            *total += sum as f32 * scale;
        }
        total
    }

    #[inline(always)]
    unsafe fn store(total: Self::Floats, out: *mut f32) {
        // SAFETY: the caller vouches for 16 floats.
        unsafe { out.cast::<[f32; PANEL]>().write_unaligned(total) };
    }
}

kernel!(Scalar);
