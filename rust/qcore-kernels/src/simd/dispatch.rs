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

/// Every instruction set with vectors of its own, the widest first: its architecture, its name, its
/// vectors, and the features that kernels over them are compiled with.
macro_rules! table {
    ($($arch:literal $isa:ident $module:ident $features:literal;)*) => {
        /// Runs `op` compiled for the widest vectors that `isa` includes.
        ///
        /// # Panics
        /// If this CPU does not have `isa`.
        pub fn dispatch<O: SimdOp>(isa: Isa, op: O) -> O::Output {
            $(
                #[cfg(target_arch = $arch)]
                if isa.includes(Isa::$isa) {
                    /// # Safety
                    /// The CPU has the features; the token is made only where it does.
                    #[target_feature(enable = $features)]
                    unsafe fn run<O: SimdOp>(simd: super::$module::$isa, op: O) -> O::Output {
                        op.eval(simd)
                    }
                    let simd = super::$module::$isa::new();
                    let simd = simd.expect("the CPU has the instruction set that was asked for");
                    // SAFETY: the token proves that the CPU has these features.
                    return unsafe { run(simd, op) };
                }
            )*
            let _ = isa;
            op.eval(Scalar)
        }
    };
}

table! {
    "x86_64" Avx512 avx512 "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c";
    "x86_64" Avx2 avx2 "avx2,fma,f16c";
    "aarch64" Neon neon "neon";
}
