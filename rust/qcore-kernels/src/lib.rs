//! Exact int8, sparse and quantization kernels for CPUs, with no Python in sight.
//!
//! | room | what lives there |
//! |---|---|
//! | [`isa`] | which instruction sets this CPU has and which one is in force |
//! | [`simd`] | the vector vocabulary that elementwise and sparse kernels are written in |
//! | [`elementwise`], [`reduce`], [`norm`] | functions of one, two and all elements |
//! | [`layout`] | the same elements in another order |
//! | [`conv`] | convolutions and pooling |
//! | [`prune`] | which weights to keep |
//! | [`entropy`] | few-valued matrices as few bits as their statistics allow |
//! | [`planes`] | floats in fewer bytes, every bit kept |
//! | [`ggml`] | the quantized blocks of GGUF files, decoded |
//! | [`gemm`] | dense products: int8, exact, and float32 |
//! | [`epilogue`] | from sums to a layer's output |
//! | [`sparse`] | products with matrices of which most elements are zero |
//! | [`quant`] | quantize, dequantize, ranges |
//! | [`train`] | the elementwise steps of training, fused |
//! | [`threads`] | the one pool of this process |
//! | [`interrupt`] | stopping an operation that is under way |
//! | [`memory`], [`made`] | the one way to take memory; parts made when they are first needed |
//! | [`view`] | strided matrices with bounds checked once |
//!
//! Quantize two matrices, and multiply them exactly:
//!
//! ```
//! use qcore_kernels::gemm::{ZeroPoint, matmul_integer};
//! use qcore_kernels::quant::{Layout, Params, quantize};
//! use qcore_kernels::view::MatRef;
//!
//! let params = Params { layout: Layout::Tensor, scale: &[0.5], zero_point: &[], min: -128, max: 127 };
//! let mut codes = [0i8; 4];
//! quantize(&[0.5f32, -1.0, 1.25, 100.0], params, &mut codes)?;
//! assert_eq!(codes, [1, -2, 2, 127]); // halves to even; what is too great saturates
//!
//! let a = MatRef::from_slice(&codes, 2, 2)?;
//! let mut sums = [0i32; 4];
//! matmul_integer(a, a, ZeroPoint::One(0), ZeroPoint::One(0), &mut sums)?;
//! assert_eq!(sums, [1 - 4, -2 - 254, 2 + 254, -4 + 127 * 127]);
//! # Ok::<(), qcore_kernels::KernelError>(())
//! ```
//!
//! Each operation comes in two forms: `op(...)` uses the instruction set in force, and
//! `op_with(isa, ...)` the one it is given. Results do not depend on the number of threads; integer
//! results do not depend on the instruction set either.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests take what they need"))]

pub mod aligned;
pub mod attention;
pub mod codes;
pub mod conv;
pub mod elementwise;
pub mod entropy;
pub mod epilogue;
pub mod error;
pub mod gemm;
pub mod ggml;
pub mod interrupt;
pub mod isa;
pub mod layout;
pub mod made;
mod math;
pub mod memory;
pub mod norm;
pub mod planes;
pub mod prune;
pub mod quant;
pub mod reduce;
pub mod simd;
pub mod sparse;
pub mod threads;
pub mod train;
pub mod view;

pub use error::{KernelError, Result};
pub use isa::Isa;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
