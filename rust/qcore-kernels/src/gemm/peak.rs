//! What a core can do at most: the dot instruction of a kernel on registers alone, and reading alone.
//!
//! Rates of kernels are given as shares of it, measured in the same run, so that a change of the clock
//! meets both.

use std::time::Instant;

#[cfg(target_arch = "x86_64")]
use super::micro::amx;
use super::registry::kernel_for;
use crate::error::Result;
use crate::isa::{self, Isa};
use crate::simd::{Simd, SimdOp, dispatch};

/// Rounds of one measurement: a fraction of a millisecond.
const ROUNDS: u64 = 50_000;
/// Measurements, of which the best counts.
const TRIES: usize = 20;

/// Operations a second (a multiplication and an addition are two) of the dot instruction of the
/// kernel that runs where `isa` is in force, with the addition that `vpmaddwd` and `smull` need beside it; 0 where
/// it has none. Takes some milliseconds.
#[must_use]
pub fn peak_rate(isa: Isa) -> f64 {
    let Some((run, operations)) = dots(kernel_for(isa).isa) else { return 0.0 };
    let mut best = f64::INFINITY;
    for _ in 0..TRIES {
        let start = Instant::now();
        // SAFETY: the kernel's instruction set is available, as `kernel_for` checked.
        unsafe { run(ROUNDS) };
        best = best.min(start.elapsed().as_secs_f64());
    }
    operations * ROUNDS as f64 / best
}

/// The wrapping sum of integers, on the instruction set in force: a loop that only reads, which no
/// product with as many bytes of weights can be faster than.
pub fn read_all(values: &[i32]) -> Result<i32> {
    Ok(dispatch(isa::active()?, ReadAll(values)))
}

struct ReadAll<'a>(&'a [i32]);

impl SimdOp for ReadAll<'_> {
    type Output = i32;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> i32 {
        let block = 4 * S::LANES;
        let body = self.0.len() / block * block;
        let mut sums = [s.splat_i32(0); 4];
        for start in (0..body).step_by(block) {
            for (part, sum) in sums.iter_mut().enumerate() {
                // SAFETY: start + 4 * LANES <= body <= the number of values.
                let values = unsafe { s.load_i32(self.0.as_ptr().add(start + part * S::LANES)) };
                *sum = s.add_i32(*sum, values);
            }
        }
        let sum = s.add_i32(s.add_i32(sums[0], sums[1]), s.add_i32(sums[2], sums[3]));
        let mut lanes = [0_i32; 64];
        // SAFETY: no vector has more than 64 lanes.
        unsafe { s.store_i32(lanes.as_mut_ptr(), sum) };
        let rest = self.0[body..].iter().chain(&lanes);
        rest.fold(0, |sum, &value| sum.wrapping_add(value))
    }
}

/// Writes the low bytes of integers, or what they saturate to: a loop that reads and writes the
/// bytes that quantizing does, and does next to nothing between.
///
/// # Panics
/// If the lengths differ.
pub fn move_all(values: &[i32], out: &mut [i8]) -> Result<()> {
    assert_eq!(values.len(), out.len(), "as many bytes as integers");
    dispatch(isa::active()?, MoveAll(values, out));
    Ok(())
}

struct MoveAll<'a>(&'a [i32], &'a mut [i8]);

impl SimdOp for MoveAll<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let block = 4 * S::LANES;
        let body = self.0.len() / block * block;
        for start in (0..body).step_by(block) {
            // SAFETY: start + 4 * LANES <= body <= the lengths of both, which are the same.
            unsafe {
                let from = self.0.as_ptr().add(start);
                let values = [
                    s.load_i32(from),
                    s.load_i32(from.add(S::LANES)),
                    s.load_i32(from.add(2 * S::LANES)),
                    s.load_i32(from.add(3 * S::LANES)),
                ];
                s.store_i8x4(self.1.as_mut_ptr().add(start), values);
            }
        }
        for (value, out) in self.0[body..].iter().zip(&mut self.1[body..]) {
            *out = (*value).clamp(-128, 127) as i8;
        }
    }
}

/// A loop of the dot instruction of a kernel, and the operations of one round.
fn dots(isa: Isa) -> Option<(unsafe fn(u64), f64)> {
    match isa {
        #[cfg(target_arch = "aarch64")]
        Isa::NeonI8mm => Some((arm::smmla, 12.0 * 64.0)),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot => Some((arm::sdot, 12.0 * 32.0)),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => Some((arm::smull, 12.0 * 16.0)),
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => Some((amx::dots, 4.0 * amx::DOT_OPERATIONS)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => Some((dpbusd_512, 12.0 * 128.0)),
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => Some((dpbusd_256, 12.0 * 64.0)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Some((maddwd_512, 12.0 * 64.0)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Some((maddwd_256, 12.0 * 32.0)),
        #[cfg(target_arch = "x86_64")]
        Isa::Sse2 => Some((maddwd_128, 12.0 * 16.0)),
        _ => None,
    }
}

#[cfg(target_arch = "aarch64")]
mod arm;

/// A loop of twelve of an instruction, each with a result of its own.
#[cfg(target_arch = "x86_64")]
macro_rules! peak {
    ($name:ident, $instruction:literal, $register:literal, $features:literal) => {
        /// # Safety
        /// The CPU has the features.
        #[target_feature(enable = $features)]
        unsafe fn $name(rounds: u64) {
            peak!(@body rounds, $instruction, $register,
                "0" "1" "2" "3" "4" "5" "6" "7" "8" "9" "10" "11");
        }
    };
    (@body $rounds:ident, $instruction:literal, $register:literal, $($index:literal)*) => {
        // SAFETY: it touches registers alone, all of them declared.
        unsafe {
            std::arch::asm!(
                "2:",
                $(concat!($instruction, " ", $register, $index, ", ", $register, "14, ",
                    $register, "15"),)*
                "dec {rounds}",
                "jnz 2b",
                rounds = inout(reg) $rounds => _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _,
                out("xmm5") _, out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _,
                out("xmm10") _, out("xmm11") _,
                options(nomem, nostack),
            );
        }
    };
}

/// A loop of twelve products of pairs, each added to sums of its own.
#[cfg(target_arch = "x86_64")]
macro_rules! pairs {
    ($name:ident, $register:literal, $features:literal) => {
        /// # Safety
        /// The CPU has the features.
        #[target_feature(enable = $features)]
        unsafe fn $name(rounds: u64) {
            pairs!(@body rounds, $register, "0" "1" "2" "3" "4" "5" "6" "7" "8" "9" "10" "11");
        }
    };
    (@body $rounds:ident, $register:literal, $($index:literal)*) => {
        // SAFETY: it touches registers alone, all of them declared.
        unsafe {
            std::arch::asm!(
                "2:",
                $(
                    concat!("vpmaddwd ", $register, "13, ", $register, "14, ", $register, "15"),
                    concat!("vpaddd ", $register, $index, ", ", $register, $index, ", ", $register,
                        "13"),
                )*
                "dec {rounds}",
                "jnz 2b",
                rounds = inout(reg) $rounds => _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _,
                out("xmm5") _, out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _,
                out("xmm10") _, out("xmm11") _, out("xmm13") _,
                options(nomem, nostack),
            );
        }
    };
}

#[cfg(target_arch = "x86_64")]
peak!(dpbusd_512, "vpdpbusd", "zmm", "avx512f,avx512vnni");
#[cfg(target_arch = "x86_64")]
peak!(dpbusd_256, "{{vex}} vpdpbusd", "ymm", "avx2,avxvnni");
#[cfg(target_arch = "x86_64")]
pairs!(maddwd_512, "zmm", "avx512f,avx512bw");
#[cfg(target_arch = "x86_64")]
pairs!(maddwd_256, "ymm", "avx2");
/// # Safety
/// SSE2 is part of x86-64.
#[cfg(target_arch = "x86_64")]
unsafe fn maddwd_128(rounds: u64) {
    // SAFETY: it touches registers alone, all of them declared.
    unsafe {
        std::arch::asm!(
            "2:",
            "movdqa xmm13, xmm14", "pmaddwd xmm13, xmm15", "paddd xmm0, xmm13",
            "movdqa xmm13, xmm14", "pmaddwd xmm13, xmm15", "paddd xmm1, xmm13",
            "movdqa xmm13, xmm14", "pmaddwd xmm13, xmm15", "paddd xmm2, xmm13",
            "movdqa xmm13, xmm14", "pmaddwd xmm13, xmm15", "paddd xmm3, xmm13",
            "movdqa xmm13, xmm14", "pmaddwd xmm13, xmm15", "paddd xmm4, xmm13",
            "movdqa xmm13, xmm14", "pmaddwd xmm13, xmm15", "paddd xmm5, xmm13",
            "movdqa xmm13, xmm14", "pmaddwd xmm13, xmm15", "paddd xmm6, xmm13",
            "movdqa xmm13, xmm14", "pmaddwd xmm13, xmm15", "paddd xmm7, xmm13",
            "movdqa xmm13, xmm14", "pmaddwd xmm13, xmm15", "paddd xmm8, xmm13",
            "movdqa xmm13, xmm14", "pmaddwd xmm13, xmm15", "paddd xmm9, xmm13",
            "movdqa xmm13, xmm14", "pmaddwd xmm13, xmm15", "paddd xmm10, xmm13",
            "movdqa xmm13, xmm14", "pmaddwd xmm13, xmm15", "paddd xmm11, xmm13",
            "dec {rounds}",
            "jnz 2b",
            rounds = inout(reg) rounds => _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _,
            out("xmm5") _, out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _,
            out("xmm10") _, out("xmm11") _, out("xmm13") _,
            options(nomem, nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_read() {
        let values: Vec<i32> =
            (0..1003_i32).map(|i| i.wrapping_mul(i).wrapping_mul(65_537)).collect();
        let sum = values.iter().fold(0, |sum: i32, &value| sum.wrapping_add(value));
        for isa in Isa::available() {
            assert_eq!(dispatch(isa, ReadAll(&values)), sum, "{isa}");
        }
    }

    #[test]
    fn every_value_is_moved() {
        let values: Vec<i32> = (-500..503).collect();
        let expected: Vec<i8> = values.iter().map(|&v| v.clamp(-128, 127) as i8).collect();
        for isa in Isa::available() {
            let mut out = vec![0_i8; values.len()];
            dispatch(isa, MoveAll(&values, &mut out));
            assert_eq!(out, expected, "{isa}");
        }
    }

    #[test]
    fn every_isa_with_a_dot_instruction_has_a_peak() {
        for isa in Isa::available() {
            assert_eq!(peak_rate(isa) > 0.0, kernel_for(isa).isa != Isa::Scalar, "{isa}");
        }
    }
}
