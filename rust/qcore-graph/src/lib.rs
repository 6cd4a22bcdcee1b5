//! Networks as graphs of ops: read, compiled for the shapes of their inputs, run.
//!
//! | file | what it does |
//! |---|---|
//! | `graph/` | the graph and the JSON text that it is read from |
//! | `tensor`, `dtype`, `fact`, `shape` | what is known of values |
//! | `op`, `ops/` | one table of ops: facts and lowering, a file for each family |
//! | `lower/` | nodes to steps, in the layout that they want |
//! | `plan/` | compiling: facts, steps, lives of buffers, one arena; and running that |
//! | `region`, `walk` | the loops of steps that move or combine elements |
//! | `operand/` | weights in the forms that kernels read, a file for each |
//! | `chain/` | chains of dense layers, block by block of rows |
//!
//! # The text of a graph
//! ```json
//! {"inputs": [{"name": "x", "dtype": "float32", "shape": [1, "batch", 3]}],
//!  "outputs": ["y"],
//!  "constants": {"w": 0},
//!  "nodes": [{"name": "n", "op": "MatMul", "inputs": ["x", "w"], "outputs": ["y"],
//!             "attributes": {}}]}
//! ```
//! A text is a named dim, `"shape": null` an unknown rank, `""` an absent optional input or output, a
//! constant the index of a tensor. Ops and attributes mean what ONNX opset 21 says; an attribute that
//! is a tensor is `{"tensor": index}`, one that is a graph (`then_branch` and `else_branch` of `If`)
//! is an object with `outputs`, `constants` and `nodes`, which read values around it by name. Numbers
//! that JSON has not are texts: `"inf"`, `"-inf"`, `"nan"`. `"codes"` says which values are integers and
//! what they stand for; with `"exact": "tflite"` they are computed as that project does.

//! # Running one
//! ```
//! use qcore_graph::{DType, Graph, Tensor};
//! use qcore_kernels::isa;
//!
//! let spec = r#"{"inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 2]}],
//!     "outputs": ["y"], "constants": {"w": 0},
//!     "nodes": [{"name": "n", "op": "MatMul", "inputs": ["x", "w"], "outputs": ["y"],
//!                "attributes": {"activation": "relu"}}]}"#;
//! let weight = Tensor::new(DType::F32, &[2, 1], &[2.0f32, -1.0])?;
//! let graph = Graph::new(spec, &[weight])?;
//!
//! let plan = graph.compiled(&[vec![2, 2]], &[None], graph.outputs())?;
//! let x: Vec<u8> = [3.0f32, 1.0, 1.0, 4.0].iter().flat_map(|value| value.to_ne_bytes()).collect();
//! let x = Tensor::from_bytes(DType::F32, &[2, 2], &x)?; // aligned
//! let mut y = Tensor::new(DType::F32, &[2, 1], &[0.0f32; 2])?.bytes().to_vec();
//! plan.run(isa::active()?, &[x.bytes()], &mut [&mut y])?;
//! assert_eq!(y, [5.0f32, 0.0].iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<_>>());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests take what they need"))]

pub mod chain;
mod dtype;
mod error;
mod fact;
mod graph;
mod lower;
pub mod memory;
mod op;
pub mod operand;
mod ops;
mod plan;
mod region;
mod shape;
mod tensor;
mod walk;

pub use dtype::DType;
pub use error::{GraphError, Missing, Result};
pub use fact::{Dim, Fact};
pub use graph::{Graph, Input};
pub use plan::compiled::{Compiled, Output};
pub use tensor::Tensor;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
