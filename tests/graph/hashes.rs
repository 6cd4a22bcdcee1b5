//! Whole networks, whose results were written down: every instruction set of every machine gives these
//! bits, of integers and of floats.

use qcore_graph::{DType, Tensor};
use qcore_kernels::Isa;
use serde_json::json;

use crate::random::Random;
use crate::support::{Net, buffers, floats, run_into};

/// FNV-1a over the bytes of outputs.
fn hash<'a>(outputs: impl Iterator<Item = &'a [u8]>) -> u64 {
    outputs.flatten().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The hash of what a network gives, the same on each instruction set.
fn hash_of(net: &Net, x: &[usize]) -> u64 {
    let graph = net.graph().unwrap();
    let input = floats(&mut Random::new(17), x);
    let compiled = graph.compiled(&[x.to_vec()], &[None], graph.outputs()).unwrap();
    let mut first = None;
    for isa in Isa::available() {
        let mut found = buffers(&compiled);
        run_into(&compiled, isa, std::slice::from_ref(&input), &mut found).unwrap();
        for (output, bytes) in compiled.outputs().iter().zip(&found) {
            let values = Tensor::from_bytes(output.dtype, &output.dims, bytes).unwrap();
            let values: &[f32] = values.elements();
            assert!(values.iter().all(|value| value.is_finite()), "{isa}");
            assert!(values.iter().any(|&value| value != values[0]), "{isa}");
        }
        let found = hash(found.iter().map(|bytes| &bytes[..]));
        assert_eq!(found, *first.get_or_insert(found), "{isa}");
    }
    first.expect("every machine has an instruction set")
}

/// Constants of a network under construction: floats, or int8 codes with a scale for each output.
struct Weights {
    random: Random,
    coded: bool,
}

impl Weights {
    fn new(seed: u64, coded: bool) -> Self {
        Self { random: Random::new(seed), coded }
    }

    fn floats(&mut self, net: Net, name: &str, dims: &[usize]) -> Net {
        net.constant(name, floats(&mut self.random, dims))
    }

    /// Weights of a layer, outputs along `axis`.
    fn layer(&mut self, net: Net, name: &str, dims: &[usize], axis: usize) -> Net {
        if !self.coded {
            return self.floats(net, name, dims);
        }
        let random = &mut self.random;
        let codes: Vec<i8> =
            (0..dims.iter().product()).map(|_| (random.below(255) as i32 - 127) as i8).collect();
        let scale: Vec<f32> =
            (0..dims[axis]).map(|_| (1 + random.below(9)) as f32 / 4096.0).collect();
        net.constant(name, Tensor::new(DType::I8, dims, &codes).unwrap())
            .codes(name, json!({"scale": scale, "axis": axis}))
    }

    /// Says that values are codes, where the network is of codes.
    fn values(&self, mut net: Net, values: &[(&str, f64, i32, bool)]) -> Net {
        for &(name, steps, zero, signed) in values.iter().filter(|_| self.coded) {
            let value = json!({"scale": 1.0 / steps, "zero_point": zero, "signed": signed});
            net = net.codes(name, value);
        }
        net
    }
}

/// Residual blocks with windows of three rows, all kinds of strides, a depthwise layer and pools.
fn convolutional(coded: bool) -> Net {
    let mut weights = Weights::new(21, coded);
    let mut net = Net::default().input("x", DType::F32, json!([2, 3, 19, 17]));
    for (name, dims) in [
        ("stem", [16, 3, 3, 3]),
        ("wide", [64, 16, 1, 1]),
        ("deep", [64, 1, 3, 3]),
        ("large", [64, 1, 5, 5]),
        ("narrow", [16, 64, 1, 1]),
        ("group", [24, 8, 3, 3]),
    ] {
        net = weights.layer(net, name, &dims, 0);
        net = weights.floats(net, &format!("{name}_bias"), &dims[..1]);
    }
    net = weights.layer(net, "head", &[10, 24], 0);
    net = weights.floats(net, "head_bias", &[10]);
    let net = weights.values(
        net,
        &[
            ("x", 128.0, 128, false),
            ("a", 64.0, 0, false),
            ("b", 32.0, -128, true),
            ("c", 64.0, 3, true),
            ("d", 32.0, 7, false),
            ("e", 16.0, 100, false),
            ("f", 64.0, -128, true),
            ("h", 64.0, -128, true),
        ],
    );
    let relu = |pads: usize, stride: usize| json!({"pads": vec![pads; 4], "strides": vec![stride; 2], "activation": "relu"});
    let depthwise = |pads: usize, stride: usize| json!({"pads": vec![pads; 4], "strides": vec![stride; 2], "group": 64});
    net.node("Conv", "x stem stem_bias", "a", relu(1, 2))
        .node("Conv", "a wide wide_bias", "b", relu(0, 1))
        .node("Conv", "b deep deep_bias", "c", depthwise(1, 1))
        .node("Conv", "c large large_bias", "d", depthwise(2, 1))
        .node("Conv", "d narrow narrow_bias a", "e", json!({}))
        .node(
            "Conv",
            "e group group_bias",
            "f",
            json!({"pads": [1, 1, 1, 1], "group": 2, "strides": [2, 2], "activation": "relu"}),
        )
        .node("MaxPool", "f", "g", json!({"kernel_shape": [2, 2]}))
        .node("GlobalAveragePool", "g", "h", json!({}))
        .node("Flatten", "h", "i", json!({}))
        .node("Gemm", "i head head_bias", "j", json!({"transB": 1}))
        .node("Softmax", "j", "y", json!({}))
        .output("y e")
}

/// An LSTM in both directions, a GRU and a layer.
fn recurrent() -> Net {
    let mut weights = Weights::new(22, true);
    let mut net = Net::default().input("x", DType::F32, json!([7, 2, 12]));
    for (name, dims) in [
        ("w", vec![2, 80, 12]),
        ("r", vec![2, 80, 20]),
        ("b", vec![2, 160]),
        ("v", vec![1, 51, 40]),
        ("s", vec![1, 51, 17]),
        ("c", vec![1, 102]),
    ] {
        net = weights.floats(net, name, &dims);
    }
    net = weights.layer(net, "head", &[17, 9], 1);
    let net = weights.values(net, &[("j", 128.0, 5, true)]);
    net.constant("merged", Tensor::ints(&[7, 2, 40]).unwrap())
        .constant("axis", Tensor::ints(&[1]).unwrap())
        .node("LSTM", "x w r b", "f", json!({"hidden_size": 20, "direction": "bidirectional"}))
        .node("Transpose", "f", "g", json!({"perm": [0, 2, 1, 3]}))
        .node("Reshape", "g merged", "h", json!({}))
        .node("GRU", "h v s c", "i", json!({"hidden_size": 17, "linear_before_reset": 1}))
        .node("Squeeze", "i axis", "j", json!({}))
        .node("MatMul", "j head", "y", json!({}))
        .output("y f")
}

/// A layer of a transformer.
fn transformer(coded: bool) -> Net {
    let mut weights = Weights::new(23, coded);
    let mut net = Net::default().input("x", DType::F32, json!([2, 11, 48]));
    for (name, dims) in [
        ("q", [48, 48]),
        ("k", [48, 48]),
        ("v", [48, 48]),
        ("o", [48, 48]),
        ("up", [48, 130]),
        ("down", [130, 48]),
    ] {
        net = weights.layer(net, name, &dims, 1);
    }
    for (name, size) in [("scale", 48), ("shift", 48), ("bias", 130)] {
        net = weights.floats(net, name, &[size]);
    }
    let net = weights.values(
        net,
        &[
            ("n", 32.0, 3, true),
            ("a", 64.0, -7, true),
            ("m", 32.0, 128, false),
            ("u", 16.0, -100, true),
        ],
    );
    let heads = json!({"q_num_heads": 4, "kv_num_heads": 4});
    net.node("LayerNormalization", "x scale shift", "n", json!({"axis": -1}))
        .node("MatMul", "n q", "queries", json!({}))
        .node("MatMul", "n k", "keys", json!({}))
        .node("MatMul", "n v", "values", json!({}))
        .node("Attention", "queries keys values", "a", heads)
        .node("MatMul", "a o", "p", json!({}))
        .node("Add", "x p", "r", json!({}))
        .node("LayerNormalization", "r scale shift", "m", json!({"axis": -1}))
        .node("MatMul", "m up", "t", json!({}))
        .node("Add", "t bias", "s", json!({}))
        .node("Gelu", "s", "u", json!({}))
        .node("MatMul", "u down", "z", json!({}))
        .node("Add", "r z", "y", json!({}))
        .output("y")
}

/// The hashes of networks of codes, and of the same of floats.
fn both(net: fn(bool) -> Net, x: &[usize]) -> [u64; 2] {
    [true, false].map(|coded| hash_of(&net(coded), x))
}

#[test]
fn convolutional_networks_give_what_was_written_down() {
    let due = [0x29c7_304a_38cb_38ed, 0x47eb_c820_fc11_7f28];
    assert_eq!(both(convolutional, &[2, 3, 19, 17]), due);
}

#[test]
fn a_recurrent_network_gives_what_was_written_down() {
    assert_eq!(hash_of(&recurrent(), &[7, 2, 12]), 0x0338_593a_cd56_16f2);
}

#[test]
fn transformers_give_what_was_written_down() {
    let due = [0x3f72_0a97_7639_8822, 0xe030_08a5_0c23_6a44];
    assert_eq!(both(transformer, &[2, 11, 48]), due);
}
