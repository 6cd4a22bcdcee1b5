//! Every `#[target_feature]` trampoline of the elementwise and sparse kernels.

use super::{Simd, scalar::Scalar};
use crate::isa::Isa;

/// A kernel: its arguments, and a body over any vectors.
pub trait SimdOp {
    /// What it returns.
    type Output;
    /// The body. Mark it `#[inline(always)]`, so that it is compiled for the trampoline's features.
    fn eval<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `op` compiled for the widest vectors that `isa` includes.
///
/// # Panics
/// If this CPU does not have `isa`.
pub fn dispatch<O: SimdOp>(isa: Isa, op: O) -> O::Output {
    #[cfg(target_arch = "x86_64")]
    {
        use super::{avx2::Avx2, avx512::Avx512};
        if isa.includes(Isa::Avx512) {
            let simd = Avx512::new().expect("the CPU has the instruction set that was asked for");
            // SAFETY: the token proves that the CPU has these features.
            return unsafe { run_avx512(simd, op) };
        }
        if isa.includes(Isa::Avx2) {
            let simd = Avx2::new().expect("the CPU has the instruction set that was asked for");
            // SAFETY: the token proves that the CPU has these features.
            return unsafe { run_avx2(simd, op) };
        }
    }
    #[cfg(target_arch = "aarch64")]
    if isa.includes(Isa::Neon) {
        let simd = super::neon::Neon::new();
        // Every such CPU has NEON: the compiler takes it for granted, and needs no trampoline.
        return op.eval(simd.expect("the CPU has the instruction set that was asked for"));
    }
    let _ = isa;
    op.eval(Scalar)
}

/// # Safety
/// The CPU has the features; the token is made only where it does.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn run_avx512<O: SimdOp>(simd: super::avx512::Avx512, op: O) -> O::Output {
    op.eval(simd)
}

/// # Safety
/// The CPU has the features; the token is made only where it does.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run_avx2<O: SimdOp>(simd: super::avx2::Avx2, op: O) -> O::Output {
    op.eval(simd)
}
