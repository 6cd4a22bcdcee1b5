//! A run after the first allocates nothing: counted by the allocator of this binary.

#![allow(clippy::disallowed_methods, reason = "tests take what they need")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use qcore_graph::{DType, Tensor};
use qcore_kernels::{Isa, threads};
use serde_json::json;

#[path = "../kernels/random.rs"]
#[allow(dead_code, reason = "this binary uses a part of it")]
mod random;
#[allow(dead_code, reason = "this binary uses a part of it")]
mod support;

use random::Random;
use support::{Net, buffers, floats, ints};

struct Counting;

thread_local! {
    /// Of this thread alone: the one that waits for the test allocates when it likes.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends may have no counter any more.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is the one that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_run_after_the_first_allocates_nothing() {
    threads::set(1).unwrap();
    let mut random = Random::new(1);
    let net = Net::default()
        .input("x", DType::F32, json!([1, 3, 16, 16]))
        .constant("w", floats(&mut random, &[8, 3, 3, 3]))
        .constant("b", floats(&mut random, &[8]))
        .constant("d", floats(&mut random, &[8, 1, 3, 3]))
        .constant("p", floats(&mut random, &[8, 8, 1, 1]))
        .constant("h", floats(&mut random, &[8, 300]))
        .constant("o", floats(&mut random, &[300, 10]))
        .constant("n", floats(&mut random, &[300]))
        .constant("heads", ints(&[1, 4, 5, 15]))
        .node("Conv", "x w b", "c", json!({"pads": [1, 1, 1, 1], "activation": "relu"}))
        .node("Conv", "c d", "e", json!({"group": 8, "pads": [1, 1, 1, 1]}))
        .node("Conv", "e p - c", "f", json!({"activation": "hard_swish"}))
        .node("MaxPool", "f", "m", json!({"kernel_shape": [2, 2], "strides": [2, 2]}))
        .node("ReduceMean", "m axes", "g", json!({"keepdims": 0}))
        .constant("axes", ints(&[2, 3]))
        .node("MatMul", "g h", "k", json!({"activation": "gelu"}))
        .node("LayerNormalization", "k n n", "l", json!({}))
        .node("Reshape", "l heads", "q", json!({}))
        .node("Transpose", "q", "t", json!({"perm": [0, 1, 3, 2]}))
        .node("MatMul", "q t", "s", json!({}))
        .node("Softmax", "s", "z", json!({}))
        .node("MatMul", "z q", "v", json!({}))
        .node("Flatten", "v", "u", json!({}))
        .node("Gemm", "u o", "y", json!({}))
        .output("y");
    assert_runs_without(&net, &[1, 3, 16, 16], &mut random);
    assert_runs_without(&coded(&mut random), &[1, 3, 32, 32], &mut random);
}

/// Int8 weights with a scale for each output, along an axis.
fn weights(net: Net, random: &mut Random, name: &str, dims: &[usize], axis: usize) -> Net {
    let codes: Vec<i8> = (0..dims.iter().product())
        .map(|_| {
            if random.below(10) == 0 || dims[axis] < 32 {
                random.below(255) as i32 - 127
            } else {
                0
            }
        })
        .map(|code| code as i8)
        .collect();
    let scale: Vec<f32> = (0..dims[axis]).map(|_| (1 + random.below(9)) as f32 / 4096.0).collect();
    net.constant(name, Tensor::new(DType::I8, dims, &codes).unwrap())
        .codes(name, json!({"scale": scale, "axis": axis}))
}

/// A network on codes from its input to its output.
fn coded(random: &mut Random) -> Net {
    let mut net = Net::default().input("x", DType::F32, json!([1, 3, 32, 32]));
    for (name, dims, axis) in [
        ("first", &[16, 3, 3, 3][..], 0),
        ("deep", &[16, 1, 3, 3], 0),
        ("point", &[16, 16, 1, 1], 0),
        ("wide", &[64, 16, 1, 1], 0),
        ("pruned", &[64, 64, 1, 1], 0),
        ("square", &[64, 64, 3, 3], 0),
        ("up", &[64, 8, 2, 2], 1),
        ("head", &[8, 10], 1),
    ] {
        net = weights(net, random, name, dims, axis);
    }
    for (at, name) in ["x", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n"]
        .into_iter()
        .enumerate()
    {
        let signed = at % 3 == 2;
        let zero = if signed { -3 } else { 120 };
        net = net.codes(name, json!({"scale": 1.0 / 32.0, "zero_point": zero, "signed": signed}));
    }
    let around = json!({"pads": [1, 1, 1, 1], "activation": "relu"});
    let half = json!({"kernel_shape": [2, 2], "strides": [2, 2]});
    net.constant("bias", floats(random, &[16]))
        .constant("axes", ints(&[2, 3]))
        .constant("pads", ints(&[0, 0, 1, 1, 0, 0, 0, 0]))
        .constant("twice", Tensor::new(DType::F32, &[4], &[1.0_f32, 1.0, 2.0, 2.0]).unwrap())
        .node("Conv", "x first bias", "a", around.clone())
        .node("Conv", "a deep bias", "b", json!({"group": 16, "pads": [1, 1, 1, 1]}))
        .node("Conv", "b point bias a", "c", json!({"activation": "relu"}))
        .node("MaxPool", "c", "d", half.clone())
        .node("Conv", "d wide", "e", json!({}))
        .node("HardSwish", "e", "f", json!({}))
        .node("Conv", "f pruned", "g", json!({}))
        .node("Conv", "g square", "h", around)
        .node("Mul", "g h", "i", json!({}))
        .node("Add", "i f", "j", json!({}))
        .node("AveragePool", "j", "k", half)
        .node(
            "Resize",
            "k - twice",
            "l",
            json!({"mode": "nearest", "nearest_mode": "floor",
            "coordinate_transformation_mode": "asymmetric"}),
        )
        .node("ConvTranspose", "l up", "m", json!({"strides": [2, 2]}))
        .node("Pad", "m pads", "p", json!({}))
        .codes("p", json!({"scale": 1.0 / 32.0, "zero_point": 120, "signed": false}))
        .node("Concat", "p p", "q", json!({"axis": 1}))
        .codes("q", json!({"scale": 1.0 / 32.0, "zero_point": 120, "signed": false}))
        .node("GlobalAveragePool", "q", "r", json!({}))
        .node("ReduceMean", "p axes", "n", json!({"keepdims": 0}))
        .node("Gemm", "n head", "y", json!({}))
        .output("y r")
}

/// Runs a network on every instruction set, and asks that runs after the first allocate nothing.
fn assert_runs_without(net: &Net, dims: &[usize], random: &mut Random) {
    let graph = net.graph().unwrap();
    let compiled = graph.compiled(&[dims.to_vec()], &[None], graph.outputs()).unwrap();
    let x = floats(random, dims);
    let mut out = buffers(&compiled);
    for isa in Isa::available() {
        let inputs = [x.bytes()];
        let mut outputs: Vec<&mut [u8]> = out.iter_mut().map(|bytes| &mut bytes[..]).collect();
        compiled.run(isa, &inputs, &mut outputs).unwrap();
        let before = ALLOCATIONS.get();
        for _ in 0..3 {
            compiled.run(isa, &inputs, &mut outputs).unwrap();
        }
        let made = ALLOCATIONS.get() - before;
        let kernels: Vec<&str> = compiled.kernels().map(|pair| pair.1).collect();
        assert_eq!(made, 0, "{isa}: {made} allocations in 3 runs of {kernels:?}");
    }
}
