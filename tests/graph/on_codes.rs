//! Ops between values with codes: what they give is what the floats would become, and no float is made.

use qcore_graph::{DType, Tensor};
use serde_json::{Value, json};

use crate::random::Random;
use crate::support::{Net, floats, ints, run};

/// An op from `x` to `y`, and its other inputs.
struct Case {
    op: &'static str,
    attributes: Value,
    x: &'static [usize],
    others: Vec<Tensor>,
    /// Whether codes are those of the floats exactly, or the next at most.
    exact: bool,
    kernels: &'static [&'static str],
}

fn scalar(value: f32) -> Tensor {
    Tensor::new(DType::F32, &[], &[value]).unwrap()
}

fn case(op: &'static str, attributes: Value, others: Vec<Tensor>) -> Case {
    Case { op, attributes, x: &[2, 5, 6, 4], others, exact: true, kernels: &[] }
}

fn cases() -> Vec<Case> {
    let vector = |values: &[f32]| Tensor::new(DType::F32, &[values.len()], values).unwrap();
    let mut cases = vec![
        case("Reshape", json!({}), vec![ints(&[2, -1])]),
        case("Flatten", json!({}), vec![]),
        case("Transpose", json!({"perm": [0, 3, 1, 2]}), vec![]),
        case("Slice", json!({}), vec![ints(&[1, 0]), ints(&[5, 3]), ints(&[1, 2])]),
        case("Expand", json!({}), vec![ints(&[2, 5, 6, 4])]),
        case("Tile", json!({}), vec![ints(&[1, 2, 1, 2])]),
        case("Gather", json!({"axis": 1}), vec![ints(&[3, 0, 4])]),
        case("Pad", json!({}), vec![ints(&[0, 0, 1, 2, 0, 0, 0, 1])]),
        case("Pad", json!({}), vec![ints(&[0, 1, 0, 0, 0, 0, 0, 1]), scalar(0.4)]),
        case("Pad", json!({"mode": "reflect"}), vec![ints(&[0, 0, 1, 1, 0, 0, 1, 1])]),
        case("MaxPool", json!({"kernel_shape": [3, 2], "pads": [1, 0, 1, 0]}), vec![]),
        case("GlobalMaxPool", json!({}), vec![]),
        case("DepthToSpace", json!({"blocksize": 2}), vec![]),
        case("Relu", json!({}), vec![]),
        case("Clip", json!({}), vec![scalar(-0.25), scalar(0.5)]),
        case("HardSwish", json!({}), vec![]),
        case("Sigmoid", json!({}), vec![]),
        case("Tanh", json!({}), vec![]),
        case("Add", json!({}), vec![scalar(0.3)]),
        case("Div", json!({}), vec![scalar(0.7)]),
        case("Pow", json!({}), vec![scalar(2.0)]),
    ];
    cases[12].x = &[2, 8, 3, 3];
    let resize = json!({"mode": "nearest", "nearest_mode": "floor",
        "coordinate_transformation_mode": "asymmetric"});
    let mut nearest = case("Resize", resize, vec![]);
    nearest.others = vec![vector(&[]), vector(&[1.0, 1.0, 2.0, 3.0])];
    cases.push(nearest);
    for (mode, scales) in [("linear", [1.0, 1.0, 2.0, 1.5]), ("cubic", [1.0, 1.0, 0.5, 2.0])] {
        let mut resized = case("Resize", json!({"mode": mode}), vec![]);
        resized.others = vec![vector(&[]), vector(&scales)];
        resized.kernels = &["quantize", "resize int8", "resize int8", "dequantize"];
        resized.exact = false;
        cases.push(resized);
    }
    let near = |op, attributes, others| Case { exact: false, ..case(op, attributes, others) };
    let kernel = json!({"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]});
    let padded = json!({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1});
    cases.push(near("AveragePool", kernel, vec![]));
    cases.push(near("AveragePool", padded, vec![]));
    cases.push(near("GlobalAveragePool", json!({}), vec![]));
    cases.push(near("ReduceMean", json!({"keepdims": 0}), vec![ints(&[2, 3])]));
    cases.push(near("ReduceMean", json!({}), vec![ints(&[1])]));
    cases.push(near("Add", json!({}), vec![floats(&mut Random::new(2), &[4])]));
    cases.push(near("Mul", json!({}), vec![floats(&mut Random::new(3), &[5, 1, 1])]));
    cases
}

/// Codes of another step and zero point for each of both sides.
fn described(scale: f64, zero_point: i32, signed: bool) -> Value {
    json!({"scale": scale, "zero_point": zero_point, "signed": signed})
}

#[test]
fn an_op_on_codes_gives_the_codes_of_what_the_floats_give() {
    for signed in [false, true] {
        let shift = if signed { -128 } else { 0 };
        let source = described(1.0 / 100.0, 110 + shift, signed);
        let target = described(1.0 / 64.0, 70 + shift, signed);
        for same in [true, false] {
            let target = if same { &source } else { &target };
            for case in cases() {
                check(&case, &source, target);
            }
        }
    }
}

/// The graph of a case, with codes for `x` and, if they are given, for `y`.
fn net(case: &Case, source: &Value, target: Option<&Value>) -> Net {
    let mut net = Net::default()
        .input("given", DType::F32, json!(case.x))
        .codes("x", source.clone())
        .node("Identity", "given", "x", json!({}));
    let mut names = vec!["x".to_owned()];
    for (index, other) in case.others.iter().enumerate() {
        if other.is_empty() {
            names.push("-".to_owned());
            continue;
        }
        net = net.constant(&format!("c{index}"), other.clone());
        names.push(format!("c{index}"));
    }
    if let Some(target) = target {
        net = net.codes("y", target.clone());
    }
    net.node(case.op, &names.join(" "), "y", case.attributes.clone()).output("y")
}

fn check(case: &Case, source: &Value, target: &Value) {
    let x = floats(&mut Random::new(11), case.x);
    let exact = net(case, source, None).run(std::slice::from_ref(&x)).unwrap().remove(0);
    let coded = net(case, source, Some(target)).graph().unwrap();
    let found = run(&coded, std::slice::from_ref(&x), coded.outputs()).unwrap().remove(0);
    let scale = target["scale"].as_f64().unwrap();
    let zero = target["zero_point"].as_i64().unwrap();
    let least = if target["signed"] == json!(true) { -128 } else { 0 };
    assert_eq!(found.dims(), exact.dims());
    for (at, (&found, &exact)) in
        found.elements::<f32>().iter().zip(exact.elements::<f32>()).enumerate()
    {
        let level = f64::from(exact) / scale;
        let level = level.clamp((least - zero) as f64, (least + 255 - zero) as f64);
        let code = f64::from(found) / scale;
        let room = if case.exact { 0.5 + 1e-4 } else { 0.51 };
        assert!((code - level).abs() <= room, "{} {source} {target} at {at}", case.op);
    }
    let shapes = [case.x.to_vec()];
    let compiled = coded.compiled(&shapes, &[None], coded.outputs()).unwrap();
    let kernels: Vec<&str> = compiled.kernels().map(|pair| pair.1).collect();
    // One step to codes, one back: no op between them reads floats.
    let floats = kernels.iter().filter(|&&kernel| kernel == "quantize" || kernel == "dequantize");
    assert_eq!(floats.count(), 2, "{}: {kernels:?}", case.op);
    assert!(case.kernels.is_empty() || kernels == case.kernels, "{kernels:?}");
}

#[test]
fn a_chain_of_functions_is_one_table() {
    let net = Net::default()
        .input("x", DType::F32, json!([1, 3, 4, 4]))
        .constant("three", scalar(3.0))
        .constant("low", scalar(0.0))
        .constant("high", scalar(6.0))
        .codes("x", described(0.05, 128, false))
        .codes("y", described(0.03, 12, false))
        .node("Add", "x three", "a", json!({}))
        .node("Clip", "a low high", "b", json!({}))
        .node("Tanh", "b", "c", json!({}))
        .node("Exp", "c", "y", json!({}))
        .output("y");
    let x = floats(&mut Random::new(4), &[1, 3, 4, 4]);
    let graph = net.graph().unwrap();
    let compiled = graph.compiled(&[vec![1, 3, 4, 4]], &[None], graph.outputs()).unwrap();
    let kernels: Vec<&str> = compiled.kernels().map(|pair| pair.1).collect();
    assert_eq!(kernels, ["quantize", "table", "dequantize"]);
    let found = run(&graph, std::slice::from_ref(&x), graph.outputs()).unwrap().remove(0);
    for (&x, &y) in x.elements::<f32>().iter().zip(found.elements::<f32>()) {
        let code = (f64::from(x) / 0.05).round_ties_even() * 0.05;
        let due = (code + 3.0).clamp(0.0, 6.0).tanh().exp();
        assert!((f64::from(y) - due).abs() <= 0.03 / 2.0 + 1e-4, "{y} for {x}");
    }
    // What is between is there for who asks.
    let between = [graph.value("b").unwrap(), graph.value("y").unwrap()];
    let values = run(&graph, std::slice::from_ref(&x), &between).unwrap();
    assert_eq!(values[1].elements::<f32>(), found.elements::<f32>());
    for (&x, &b) in x.elements::<f32>().iter().zip(values[0].elements::<f32>()) {
        let code = (f64::from(x) / 0.05).round_ties_even() * 0.05;
        assert!((f64::from(b) - (code + 3.0).clamp(0.0, 6.0)).abs() < 1e-5);
    }
}

#[test]
fn a_clamp_that_codes_keep_anyway_is_nothing() {
    let net = Net::default()
        .input("x", DType::F32, json!([1, 40]))
        .codes("x", described(0.02, 0, false))
        .codes("y", described(0.02, 0, false))
        .node("Relu", "x", "y", json!({}))
        .output("y");
    let graph = net.graph().unwrap();
    let compiled = graph.compiled(&[vec![1, 40]], &[None], graph.outputs()).unwrap();
    let kernels: Vec<&str> = compiled.kernels().map(|pair| pair.1).collect();
    assert_eq!(kernels, ["quantize", "dequantize"]);
}

#[test]
fn two_values_with_codes_are_added_joined_and_split_as_codes() {
    let net = Net::default()
        .input("x", DType::F32, json!([2, 6, 5, 5]))
        .input("z", DType::F32, json!([2, 6, 5, 5]))
        .constant("parts", ints(&[4, 8]))
        .codes("x", described(0.0103, 120, false))
        .codes("z", described(0.0207, 99, false))
        .codes("s", described(0.02, 110, false))
        .codes("m", described(0.01, 128, false))
        .codes("j", described(0.025, 120, false))
        .codes("p", described(0.025, 120, false))
        .codes("q", described(0.025, 120, false))
        .node("Add", "x z", "s", json!({}))
        .node("Mul", "s x", "m", json!({}))
        .node("Concat", "s m", "j", json!({"axis": 1}))
        .node("Split", "j parts", "p q", json!({"axis": 1}))
        .output("s m j p q");
    let graph = net.graph().unwrap();
    let mut random = Random::new(9);
    let inputs = [floats(&mut random, &[2, 6, 5, 5]), floats(&mut random, &[2, 6, 5, 5])];
    let found = run(&graph, &inputs, graph.outputs()).unwrap();
    let [sum, product, joined, p, q] = &found[..] else { panic!("five outputs") };
    let coded = |x: f32, scale: f64, zero: f64| {
        ((f64::from(x) / scale).round_ties_even() + zero).clamp(0.0, 255.0) - zero
    };
    let pairs = inputs[0].elements::<f32>().iter().zip(inputs[1].elements::<f32>());
    for (at, (&x, &z)) in pairs.enumerate() {
        let (x, z) = (coded(x, 0.0103, 120.0) * 0.0103, coded(z, 0.0207, 99.0) * 0.0207);
        let s = f64::from(sum.elements::<f32>()[at]);
        assert!((s - (x + z).clamp(-2.2, 2.9)).abs() <= 0.0102, "{s} is not {x} + {z}");
        let m = f64::from(product.elements::<f32>()[at]);
        assert!((m - (s * x).clamp(-1.28, 1.27)).abs() <= 0.0052, "{m} is not {s} * {x}");
        // Two parts of one image after the other, six channels of 25 each.
        let place = at / 150 * 300 + at % 150;
        let j = joined.elements::<f32>();
        assert!((f64::from(j[place]) - s).abs() <= 0.0126, "joined at {at}");
        assert!((f64::from(j[place + 150]) - m).abs() <= 0.0126, "joined at {at}");
    }
    let whole: Vec<f32> = (0..2)
        .flat_map(|n| {
            let part = |tensor: &Tensor, size: usize| {
                tensor.elements::<f32>()[n * size..(n + 1) * size].to_vec()
            };
            [part(p, 100), part(q, 200)].concat()
        })
        .collect();
    assert_eq!(whole, joined.elements::<f32>());
    let compiled =
        graph.compiled(&[vec![2, 6, 5, 5], vec![2, 6, 5, 5]], &[None, None], graph.outputs());
    let compiled = compiled.unwrap();
    let kernels: Vec<&str> = compiled.kernels().map(|pair| pair.1).collect();
    let of = |name: &str| kernels.iter().filter(|&&kernel| kernel == name).count();
    assert_eq!(
        (of("quantize"), of("dequantize"), of("add int8"), of("multiply int8")),
        (2, 5, 1, 1)
    );
}
