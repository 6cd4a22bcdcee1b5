//! Convolutions of codes in a graph: the codes that the floats would be rounded to, the same on every
//! instruction set.

use qcore_graph::{DType, Tensor};
use qcore_kernels::Isa;
use serde_json::{Value, json};

use crate::random::Random;
use crate::support::{Net, bits, buffers, floats, run, run_into};

/// Int8 weights with a scale for each output.
fn weights(random: &mut Random, dims: &[usize]) -> (Tensor, Vec<f32>) {
    let codes: Vec<i8> =
        (0..dims.iter().product()).map(|_| (random.below(255) as i32 - 127) as i8).collect();
    let scale = (0..dims[0]).map(|_| (1 + random.below(9)) as f32 / 4096.0).collect();
    (Tensor::new(DType::I8, dims, &codes).unwrap(), scale)
}

/// A network of every kind of convolution. With codes on its values, or without: floats then.
fn net(coded: bool) -> Net {
    let mut random = Random::new(3);
    let value = |scale: f64, zero: i32, signed: bool| json!({"scale": scale, "zero_point": zero, "signed": signed});
    let mut net = Net::default().input("x", DType::F32, json!([2, 3, 9, 8]));
    for (name, dims) in [
        ("first", [16, 3, 3, 3]),
        ("deep", [16, 1, 3, 3]),
        ("point", [16, 16, 1, 1]),
        ("last", [10, 8, 3, 2]),
    ] {
        let (codes, scale) = weights(&mut random, &dims);
        net = net.constant(name, codes).codes(name, json!({"scale": scale, "axis": 0}));
        net = net.constant(&format!("{name}_bias"), floats(&mut random, &dims[..1]));
    }
    if coded {
        net = net
            .codes("x", value(1.0 / 128.0, 128, false))
            .codes("a", value(1.0 / 64.0, 0, false))
            .codes("b", value(1.0 / 32.0, -20, true))
            .codes("c", value(1.0 / 32.0, 10, false))
            .codes("d", value(1.0 / 128.0, 0, false));
    }
    let around = json!({"pads": [1, 1, 1, 1], "strides": [2, 2], "activation": "relu"});
    let deep = json!({"pads": [1, 1, 1, 1], "group": 16, "activation": "clip",
        "activation_min": 0.0, "activation_max": 3.0});
    net.node("Conv", "x first first_bias", "a", around)
        .node("Conv", "a deep deep_bias", "b", deep)
        .node("Conv", "b point point_bias a", "c", json!({"activation": "relu"}))
        .node("Conv", "c point - b", "d", json!({"activation": "sigmoid"}))
        .node("Conv", "d last last_bias", "y", json!({"group": 2, "dilations": [1, 2]}))
        .output("y a b c d")
}

/// The codes of floats, as floats.
fn rounded(values: &[f32], scale: f32, low: f32, high: f32) -> Vec<f32> {
    values.iter().map(|x| (x / scale).round_ties_even().clamp(low, high) * scale).collect()
}

#[test]
fn codes_are_what_the_floats_would_be_rounded_to() {
    let mut random = Random::new(4);
    let x = floats(&mut random, &[2, 3, 9, 8]);
    let x = Tensor::new(DType::F32, x.dims(), &rounded(x.elements(), 1.0 / 128.0, -128.0, 127.0))
        .unwrap();
    let found = net(true).run(std::slice::from_ref(&x)).unwrap();
    // Each convolution by itself, from what was found before it.
    let ranges =
        [(64.0, 0.0, 255.0), (32.0, -108.0, 147.0), (32.0, -10.0, 245.0), (128.0, 0.0, 255.0)];
    let steps = ["a", "b", "c", "d", "y"];
    for (index, name) in steps.into_iter().enumerate() {
        let mut alone = Net::default();
        let full = net(false);
        let (codes, outputs) = (&found[1..], &found[0]);
        let value = |name: &str| match steps.iter().position(|step| *step == name) {
            Some(at) => codes[at].clone(),
            None => x.clone(),
        };
        let node = &full.nodes()[index];
        for input in node["inputs"].as_array().unwrap().iter().filter_map(Value::as_str) {
            if input == "x" || steps.contains(&input) {
                alone = alone.constant(input, value(input));
            } else if !input.is_empty() {
                alone = full.copy_constant(alone, input);
            }
        }
        let alone = alone.copy_node(node).output(name);
        let due = alone.run(&[]).unwrap().remove(0);
        let (due, found): (Vec<f32>, &[f32]) = match ranges.get(index) {
            Some(&(steps, low, high)) => {
                (rounded(due.elements(), 1.0 / steps, low, high), codes[index].elements())
            }
            None => (due.elements().to_vec(), outputs.elements()),
        };
        let step = ranges.get(index).map_or(1e-4, |range| 1.0 / range.0);
        let off = due.iter().zip(found).filter(|(due, found)| due != found).count();
        let far = due.iter().zip(found).find(|(due, found)| (*due - *found).abs() > 1.001 * step);
        assert_eq!(far, None, "{name}");
        // A float sum may round the other way; seldom.
        assert!(index == 4 || off * 100 <= due.len(), "{name}: {off} of {} differ", due.len());
        assert!(found.iter().any(|&value| value != found[0]), "{name}");
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let mut random = Random::new(5);
    let x = floats(&mut random, &[2, 3, 9, 8]);
    let graph = net(true).graph().unwrap();
    let first = run(&graph, std::slice::from_ref(&x), graph.outputs()).unwrap();
    let compiled = graph.compiled(&[vec![2, 3, 9, 8]], &[None], graph.outputs()).unwrap();
    for isa in Isa::available() {
        let mut found = buffers(&compiled);
        run_into(&compiled, isa, std::slice::from_ref(&x), &mut found).unwrap();
        for ((found, first), output) in found.iter().zip(&first).zip(compiled.outputs()) {
            let found = Tensor::from_bytes(output.dtype, &output.dims, found).unwrap();
            assert_eq!(bits(&found), bits(first), "{isa}");
        }
    }
    let y = graph.value("y").unwrap();
    let compiled = graph.compiled(&[vec![2, 3, 9, 8]], &[None], &[y]).unwrap();
    let kernels: Vec<&str> = compiled.kernels().map(|pair| pair.1).collect();
    let due = [
        "quantize",
        "transpose",
        "conv int8 to int8",
        "depthwise int8 to int8",
        "conv 1x1 int8 to int8",
    ];
    assert_eq!(kernels[..5], due);
    assert!(kernels.contains(&"conv 1x1 int8") && kernels.contains(&"conv int8"), "{kernels:?}");
}

/// A channel whose weights are next to nothing beside its bias stays on codes, and is its bias.
#[test]
fn a_channel_of_next_to_no_weight_is_its_bias() {
    let codes: Vec<i8> = (0..3 * 8).map(|at| (at * 11 % 255) as u8 as i8).collect();
    let scale = [1.0 / 1024.0, 1e-20, 1e-30];
    let bias = Tensor::new(DType::F32, &[3], &[0.5_f32, 1.5, -0.25]).unwrap();
    let net = |scale: [f64; 3]| {
        Net::default()
            .input("x", DType::F32, json!([1, 8, 2, 2]))
            .codes("x", json!({"scale": 0.03125, "zero_point": 100, "signed": false}))
            .codes("y", json!({"scale": 0.0625, "zero_point": 50, "signed": false}))
            .constant("w", Tensor::new(DType::I8, &[3, 8, 1, 1], &codes).unwrap())
            .codes("w", json!({"scale": scale, "axis": 0}))
            .constant("bias", bias.clone())
            .node("Conv", "x w bias", "y", json!({}))
            .output("y")
    };
    let x = floats(&mut Random::new(9), &[1, 8, 2, 2]);
    let graph = net(scale).graph().unwrap();
    let compiled = graph.compiled(&[vec![1, 8, 2, 2]], &[None], graph.outputs()).unwrap();
    assert!(compiled.kernels().any(|pair| pair.1 == "conv 1x1 int8 to int8"));
    let found = net(scale).run(std::slice::from_ref(&x)).unwrap();
    let plain = net([1.0 / 1024.0; 3]).run(std::slice::from_ref(&x)).unwrap();
    let (found, plain) = (found[0].elements::<f32>(), plain[0].elements::<f32>());
    assert_eq!(found[..4], plain[..4]);
    assert_eq!(found[4..8], [1.5; 4]);
    assert_eq!(found[8..], [-0.25; 4]);
}
