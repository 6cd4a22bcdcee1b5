//! A run after the first allocates nothing: counted by the allocator of this binary.

#![allow(clippy::disallowed_methods, reason = "tests take what they need")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use qcore_graph::DType;
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

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
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
    let graph = net.graph().unwrap();
    let compiled = graph.compiled(&[vec![1, 3, 16, 16]], &[None], graph.outputs()).unwrap();
    let x = floats(&mut random, &[1, 3, 16, 16]);
    let mut out = buffers(&compiled);
    for isa in Isa::available() {
        let inputs = [x.bytes()];
        let mut outputs: Vec<&mut [u8]> = out.iter_mut().map(|bytes| &mut bytes[..]).collect();
        compiled.run(isa, &inputs, &mut outputs).unwrap();
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..3 {
            compiled.run(isa, &inputs, &mut outputs).unwrap();
        }
        let made = ALLOCATIONS.load(Ordering::Relaxed) - before;
        assert_eq!(made, 0, "{isa}: {made} allocations in 3 runs");
    }
}
