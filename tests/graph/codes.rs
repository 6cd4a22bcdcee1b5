//! Values that are codes: dense layers on integers from end to end, the same bits as a chain's.

use std::sync::Arc;

use qcore_graph::chain::{Input, Layer, Program};
use qcore_graph::operand::{Affine, DenseI8};
use qcore_graph::{DType, Tensor};
use qcore_kernels::Isa;
use qcore_kernels::epilogue::Activation;
use qcore_kernels::gemm::PackedI8;
use qcore_kernels::view::MatRef;
use serde_json::json;

use crate::random::Random;
use crate::support::{Net, bits, floats, run};

/// Int8 weights `[out, in]` with a scale for each output.
fn weights(random: &mut Random, outputs: usize, inputs: usize) -> (Vec<i8>, Vec<f32>) {
    let codes = (0..outputs * inputs).map(|_| (random.below(255) as i32 - 127) as i8).collect();
    let scale = (0..outputs).map(|_| (1 + random.below(9)) as f32 / 1024.0).collect();
    (codes, scale)
}

#[test]
fn dense_layers_run_on_codes_as_a_chain_of_them_does() {
    let mut random = Random::new(7);
    let (n, k, hidden, outputs) = (9, 70, 33, 10);
    let (a, a_scale) = weights(&mut random, hidden, k);
    let (b, b_scale) = weights(&mut random, outputs, hidden);
    let (bias_a, bias_b) = (floats(&mut random, &[hidden]), floats(&mut random, &[outputs]));
    let first = Affine { scale: 1.0 / 128.0, zero_point: 120, signed: false };
    let second = Affine { scale: 1.0 / 64.0, zero_point: -100, signed: true };
    let described = |affine: Affine| json!({"scale": affine.scale, "zero_point": affine.zero_point, "signed": affine.signed});
    let net = Net::default()
        .input("x", DType::F32, json!(["n", k]))
        .constant("a", Tensor::new(DType::I8, &[hidden, k], &a).unwrap())
        .constant("b", Tensor::new(DType::I8, &[outputs, hidden], &b).unwrap())
        .constant("bias_a", bias_a.clone())
        .constant("bias_b", bias_b.clone())
        .codes("a", json!({"scale": a_scale, "axis": 0}))
        .codes("b", json!({"scale": b_scale, "axis": 0}))
        .codes("x", described(first))
        .codes("h", described(second))
        .node("Gemm", "x a bias_a", "h", json!({"transB": 1, "activation": "relu"}))
        .node("Gemm", "h b bias_b", "y", json!({"transB": 1}))
        .output("y h");
    let graph = net.graph().unwrap();
    let x = floats(&mut random, &[n, k]);
    let found = run(&graph, std::slice::from_ref(&x), graph.outputs()).unwrap();
    let isa = Isa::best();
    let layer = |input, codes: &[i8], scale: &[f32], bias: &Tensor, activation| {
        let view = MatRef::from_slice(codes, scale.len(), codes.len() / scale.len()).unwrap();
        let codes = PackedI8::new(isa, view.transposed()).unwrap();
        let weights = Arc::new(DenseI8 { codes, scale: scale.to_vec() });
        let bias = bias.elements::<f32>().to_vec();
        Layer { input: Input::Static(input), weights, bias, activation }
    };
    let program = Program::new(vec![
        layer(first, &a, &a_scale, &bias_a, Activation::RELU),
        layer(second, &b, &b_scale, &bias_b, Activation::Linear),
    ])
    .unwrap();
    let mut due = vec![0.0_f32; n * outputs];
    program.run_with(isa, x.elements(), false, &mut due).unwrap();
    let due = Tensor::new(DType::F32, &[n, outputs], &due).unwrap();
    assert_eq!(bits(&found[0]), bits(&due));
    // What is read as floats are the codes' own values.
    let step = f64::from(second.scale);
    for &value in found[1].elements::<f32>() {
        let code = f64::from(value) / step;
        assert!(code.fract() == 0.0 && (0.0..=227.0).contains(&code), "{value}");
    }
    let compiled = graph.compiled(&[vec![n, k]], &[None], &[graph.value("y").unwrap()]).unwrap();
    let kernels: Vec<&str> = compiled.kernels().map(|pair| pair.1).collect();
    assert_eq!(kernels, ["quantize", "dense int8 to int8", "dense int8"]);
}

#[test]
fn a_value_of_codes_is_rounded_for_whoever_reads_it() {
    let net = Net::default()
        .input("x", DType::F32, json!([1, 2, 2, 2]))
        .codes("y", json!({"scale": 0.5, "zero_point": 3, "signed": false}))
        .node("MaxPool", "x", "y", json!({"kernel_shape": [1, 1]}))
        .node("Neg", "y", "z", json!({}))
        .output("z y");
    let x: Vec<f32> = vec![0.2, 0.3, -1.6, 0.75, 1.25, -0.25, 100.0, 200.0];
    let x = Tensor::new(DType::F32, &[1, 2, 2, 2], &x).unwrap();
    let found = net.run(&[x]).unwrap();
    let due = [0.0, 0.5, -1.5, 1.0, 1.0, 0.0, 100.0, 126.0];
    assert_eq!(found[1].elements::<f32>(), due);
    assert_eq!(found[0].elements::<f32>(), due.map(|value: f32| -value));
}

#[test]
fn codes_that_cannot_be_are_refused() {
    let net = |codes: serde_json::Value| {
        Net::default()
            .input("x", DType::F32, json!([1]))
            .codes("x", codes)
            .node("Relu", "x", "y", json!({}))
            .output("y")
            .graph()
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(net(json!({"scale": 0.0})).contains("not above 0"));
    assert!(net(json!({"scale": 1.0, "zero_point": 200})).contains("zero point"));
    assert!(net(json!({"zero_point": 0})).contains("no scale"));
    assert!(net(json!({"scale": [1.0, 2.0]})).contains("more than one scale"));
}
