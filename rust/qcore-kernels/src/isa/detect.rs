//! The only place that asks the CPU what it can do.

use super::Isa;

/// Whether this CPU and operating system can run kernels written for `isa`.
#[cfg(target_arch = "x86_64")]
pub(super) fn has(isa: Isa) -> bool {
    use std::is_x86_feature_detected as cpu;
    match isa {
        Isa::Scalar | Isa::Sse2 => true,
        Isa::Avx2 => cpu!("avx2") && cpu!("fma") && cpu!("f16c") && cpu!("popcnt"),
        Isa::AvxVnni => has(Isa::Avx2) && cpu!("avxvnni"),
        Isa::Avx512 => {
            has(Isa::Avx2)
                && cpu!("avx512f")
                && cpu!("avx512bw")
                && cpu!("avx512dq")
                && cpu!("avx512vl")
        }
        Isa::Avx512Vnni => has(Isa::Avx512) && cpu!("avx512vnni"),
        Isa::Amx => has(Isa::Avx512Vnni) && super::amx::is_usable(),
        Isa::Neon | Isa::NeonDot | Isa::NeonI8mm => false,
    }
}

/// Whether a CPU with AVX-512 also expands bytes by a mask (VBMI2): not every one does.
#[cfg(target_arch = "x86_64")]
pub(crate) fn expands_bytes() -> bool {
    // Cached by the standard library.
    std::is_x86_feature_detected!("avx512vbmi2") && std::is_x86_feature_detected!("popcnt")
}

/// Whether this CPU and operating system can run kernels written for `isa`.
#[cfg(target_arch = "aarch64")]
pub(super) fn has(isa: Isa) -> bool {
    use std::arch::is_aarch64_feature_detected as cpu;
    match isa {
        Isa::Scalar => true,
        Isa::Neon => cpu!("neon"),
        Isa::NeonDot => has(Isa::Neon) && cpu!("dotprod"),
        Isa::NeonI8mm => has(Isa::NeonDot) && cpu!("i8mm"),
        _ => false,
    }
}

/// Whether this CPU and operating system can run kernels written for `isa`.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn has(isa: Isa) -> bool {
    isa == Isa::Scalar
}
