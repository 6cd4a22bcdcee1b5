//! Which instruction set is in force.
//!
//! An [`Isa`] is a set of CPU features that kernels are compiled for. The best one that the CPU has
//! is in force, unless the environment variable `QCORE_ISA` names another; a name that is unknown or
//! not available is an error, never a fallback.

#[cfg(target_arch = "x86_64")]
mod amx;
mod detect;
#[cfg(target_arch = "aarch64")]
mod order;

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{KernelError, Result};
#[cfg(target_arch = "x86_64")]
pub(crate) use detect::expands_bytes;
#[cfg(target_arch = "aarch64")]
pub(crate) use order::runs_in_order;

/// A set of CPU features that kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust; on every machine, and the reference for the others.
    Scalar,
    /// SSE2, which every x86-64 CPU has.
    Sse2,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX2 with the 256-bit VEX form of the int8 dot product.
    AvxVnni,
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
    /// AVX-512 with the int8 dot product.
    Avx512Vnni,
    /// AVX-512 VNNI with the int8 tile unit.
    Amx,
    /// NEON, which every `AArch64` CPU has.
    Neon,
    /// NEON with the int8 dot product.
    NeonDot,
    /// NEON with the int8 matrix product.
    NeonI8mm,
}

/// Every instruction set, in the order of the enum: its name and those it contains; later is better.
///
/// A new instruction set is one line here, one arm in `detect`, and its kernels.
const TABLE: &[(Isa, &str, &[Isa])] = &[
    (Isa::Scalar, "scalar", &[]),
    (Isa::Sse2, "sse2", &[Isa::Scalar]),
    (Isa::Avx2, "avx2", &[Isa::Sse2, Isa::Scalar]),
    (Isa::AvxVnni, "avx_vnni", &[Isa::Avx2, Isa::Sse2, Isa::Scalar]),
    (Isa::Avx512, "avx512", &[Isa::Avx2, Isa::Sse2, Isa::Scalar]),
    (Isa::Avx512Vnni, "avx512_vnni", &[Isa::Avx512, Isa::Avx2, Isa::Sse2, Isa::Scalar]),
    (Isa::Amx, "amx", &[Isa::Avx512Vnni, Isa::Avx512, Isa::Avx2, Isa::Sse2, Isa::Scalar]),
    (Isa::Neon, "neon", &[Isa::Scalar]),
    (Isa::NeonDot, "neon_dot", &[Isa::Neon, Isa::Scalar]),
    (Isa::NeonI8mm, "neon_i8mm", &[Isa::NeonDot, Isa::Neon, Isa::Scalar]),
];

impl Isa {
    /// The name that `QCORE_ISA` knows it by.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().1
    }

    /// Whether kernels written for `other` may run where `self` is in force.
    #[inline]
    #[must_use]
    pub fn includes(self, other: Isa) -> bool {
        self == other || self.entry().2.contains(&other)
    }

    /// Whether this CPU and operating system can run it.
    #[inline]
    #[must_use]
    pub fn is_available(self) -> bool {
        // One bit for each, and one that says that they are known: asked for every block of work.
        static AVAILABLE: AtomicU32 = AtomicU32::new(0);
        let mut bits = AVAILABLE.load(Ordering::Relaxed);
        if bits == 0 {
            let has = |isa: Isa| u32::from(detect::has(isa)) << (isa as u32 + 1);
            bits = TABLE.iter().fold(1, |bits, entry| bits | has(entry.0));
            AVAILABLE.store(bits, Ordering::Relaxed);
        }
        bits >> (self as u32 + 1) & 1 == 1
    }

    /// What this CPU can run, from the plainest to the best.
    pub fn available() -> impl Iterator<Item = Isa> {
        TABLE.iter().map(|entry| entry.0).filter(|isa| isa.is_available())
    }

    /// Whether its kernels have run on a CPU that has it, or, of ARM, on an emulator of such CPUs, and
    /// passed every test there. Others run only where they are asked for by name.
    #[must_use]
    pub fn is_verified(self) -> bool {
        self != Isa::Amx
    }

    /// The best that this CPU can run and that is verified.
    #[must_use]
    pub fn best() -> Isa {
        Isa::available().filter(|isa| isa.is_verified()).last().unwrap_or(Isa::Scalar)
    }

    fn entry(self) -> &'static (Isa, &'static str, &'static [Isa]) {
        &TABLE[self as usize]
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = KernelError;

    fn from_str(name: &str) -> Result<Isa> {
        let refuse = |problem| KernelError::Isa {
            found: name.to_owned(),
            problem,
            available: Isa::available().map(Isa::name).collect::<Vec<_>>().join(", "),
        };
        let isa = TABLE
            .iter()
            .find(|entry| entry.1 == name)
            .map(|entry| entry.0)
            .ok_or_else(|| refuse("no such instruction set"))?;
        if isa.is_available() { Ok(isa) } else { Err(refuse("this CPU does not have it")) }
    }
}

/// The instruction set in force: `QCORE_ISA` where it is set, else the best; read once per process.
pub fn active() -> Result<Isa> {
    static ACTIVE: OnceLock<Result<Isa>> = OnceLock::new();
    ACTIVE
        .get_or_init(|| match std::env::var_os("QCORE_ISA") {
            // A name that is no text is not one of ours: it is refused, as it can be shown.
            Some(name) if !name.is_empty() => name.to_string_lossy().parse(),
            _ => Ok(Isa::best()),
        })
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        assert!(TABLE.iter().all(|entry| entry.0.entry().0 == entry.0));
    }

    #[test]
    fn every_name_parses_back_or_says_why_not() {
        for &(isa, name, _) in TABLE {
            match name.parse::<Isa>() {
                Ok(parsed) => assert_eq!(parsed, isa),
                Err(error) => {
                    assert!(!isa.is_available());
                    assert!(error.to_string().contains("this CPU does not have it"));
                }
            }
        }
        let error = "mmx".parse::<Isa>().unwrap_err().to_string();
        assert!(error.contains("mmx") && error.contains("scalar"), "{error}");
    }

    #[test]
    fn the_best_is_verified() {
        assert!(Isa::best().is_verified() && Isa::best().is_available());
    }

    #[test]
    fn what_an_available_isa_contains_is_available() {
        for isa in Isa::available() {
            for &inner in isa.entry().2 {
                assert!(inner.is_available(), "{isa} contains {inner}");
            }
        }
    }
}
