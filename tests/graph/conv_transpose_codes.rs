//! Transposed convolutions of codes: steps are powers of two, so that the floats are exact and the codes
//! are those of the floats, without a doubt; the same on every instruction set.

use qcore_graph::{DType, Tensor};
use qcore_kernels::Isa;
use serde_json::{Value, json};

use crate::random::Random;
use crate::support::{Net, bits, buffers, run, run_into};

struct Case {
    x: [usize; 4],
    /// Outputs of a group.
    own: usize,
    kernel: [usize; 2],
    attributes: Value,
    groups: usize,
    signed: bool,
}

fn case(x: [usize; 4], own: usize, kernel: [usize; 2], attributes: Value) -> Case {
    Case { x, own, kernel, attributes, groups: 1, signed: false }
}

fn cases() -> Vec<Case> {
    let mut cases = vec![
        // A stride as wide as the kernel: a product and a scatter.
        case([2, 16, 5, 6], 8, [2, 2], json!({"strides": [2, 2]})),
        case([1, 8, 3, 4], 5, [3, 2], json!({"strides": [3, 2], "output_padding": [2, 1]})),
        // What segmentation networks and GANs have.
        case([1, 12, 6, 5], 7, [4, 4], json!({"strides": [2, 2], "pads": [1, 1, 1, 1]})),
        case(
            [2, 6, 4, 5],
            9,
            [3, 3],
            json!({"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
        ),
        case([1, 6, 7, 5], 4, [3, 3], json!({})),
        case([1, 6, 7, 5], 4, [3, 5], json!({"pads": [2, 3, 1, 4]})),
        // A stride wider than the kernel: outputs that nothing reaches.
        case([1, 4, 3, 3], 6, [1, 2], json!({"strides": [3, 4], "output_padding": [2, 3]})),
        case([1, 4, 5, 4], 3, [3, 2], json!({"strides": [2, 3], "dilations": [2, 3]})),
        case([1, 4, 5, 4], 3, [3, 3], json!({"strides": [4, 2], "dilations": [2, 3]})),
        case([1, 5, 4, 4], 3, [5, 5], json!({"strides": [2, 2], "auto_pad": "SAME_UPPER"})),
    ];
    let mut grouped = case([1, 8, 4, 3], 3, [3, 3], json!({"strides": [2, 2], "group": 2}));
    grouped.groups = 2;
    cases.push(grouped);
    let mut alone = case([1, 6, 4, 3], 1, [2, 2], json!({"strides": [2, 2], "group": 6}));
    alone.groups = 6;
    cases.push(alone);
    cases
}

/// The node over values with codes, or over the floats that they stand for; what it gives has codes
/// if `to` says which.
fn net(case: &Case, coded: bool, to: Option<&Value>) -> Net {
    let mut random = Random::new(7);
    let [batch, channels, height, width] = case.x;
    let dims = [channels, case.own, case.kernel[0], case.kernel[1]];
    let count = dims.iter().product::<usize>();
    let codes: Vec<i8> = (0..count).map(|_| (random.below(255) as i32 - 127) as i8).collect();
    let scale: Vec<f32> = (0..case.own).map(|at| 1.0 / (2048 >> (at % 3)) as f32).collect();
    let outputs = case.own * case.groups;
    let bias: Vec<f32> = (0..outputs).map(|_| random.below(64) as f32 / 64.0 - 0.5).collect();
    let bias = Tensor::new(DType::F32, &[outputs], &bias).unwrap();
    let mut net = Net::default()
        .input("given", DType::F32, json!([batch, channels, height, width]))
        .node("Identity", "given", "x", json!({}));
    if coded {
        let zero = if case.signed { -11 } else { 117 };
        let x = json!({"scale": 1.0 / 128.0, "zero_point": zero, "signed": case.signed});
        let codes = Tensor::new(DType::I8, &dims, &codes).unwrap();
        net = net.codes("x", x).constant("w", codes);
        net = net.codes("w", json!({"scale": scale, "axis": 1}));
    } else {
        let taps = case.kernel[0] * case.kernel[1];
        let floats = codes.iter().enumerate();
        let floats: Vec<f32> =
            floats.map(|(at, &code)| f32::from(code) * scale[at / taps % case.own]).collect();
        net = net.constant("w", Tensor::new(DType::F32, &dims, &floats).unwrap());
    }
    if let Some(to) = to {
        net = net.codes("y", to.clone());
    }
    let mut attributes = case.attributes.clone();
    attributes["activation"] = json!("relu");
    net.constant("b", bias).node("ConvTranspose", "x w b", "y", attributes).output("y")
}

#[test]
fn codes_are_those_of_the_floats() {
    for mut case in cases() {
        for signed in [false, true] {
            case.signed = signed;
            let mut random = Random::new(2);
            // Codes of x, and so its floats.
            let count = case.x.iter().product::<usize>();
            let x: Vec<f32> = (0..count).map(|_| random.below(200) as f32 / 128.0 - 0.75).collect();
            let x = Tensor::new(DType::F32, &case.x, &x).unwrap();
            let what = format!("{:?} {:?} {}", case.kernel, case.attributes, case.groups);
            let exact = net(&case, false, None).run(std::slice::from_ref(&x)).unwrap().remove(0);
            let floats = net(&case, true, None);
            let to = json!({"scale": 1.0 / 32.0, "zero_point": 3, "signed": false});
            let codes = net(&case, true, Some(&to));
            for (net, kernel) in
                [(floats, "conv transpose int8"), (codes, "conv transpose int8 to int8")]
            {
                let graph = net.graph().unwrap();
                let compiled =
                    graph.compiled(&[case.x.to_vec()], &[None], graph.outputs()).unwrap();
                assert!(compiled.kernels().any(|pair| pair.1 == kernel), "{what}");
                let found = run(&graph, std::slice::from_ref(&x), graph.outputs()).unwrap();
                assert_eq!(found[0].dims(), exact.dims(), "{what}");
                let pairs = found[0].elements::<f32>().iter().zip(exact.elements::<f32>());
                for (at, (&found, &exact)) in pairs.enumerate() {
                    let due = match kernel {
                        "conv transpose int8" => exact,
                        _ => (exact * 32.0).round_ties_even().min(252.0) / 32.0,
                    };
                    assert_eq!(found, due, "{kernel} {what} {at}");
                }
                for isa in Isa::available() {
                    let mut room = buffers(&compiled);
                    run_into(&compiled, isa, std::slice::from_ref(&x), &mut room).unwrap();
                    let again = Tensor::from_bytes(DType::F32, exact.dims(), &room[0]).unwrap();
                    assert_eq!(bits(&again), bits(&found[0]), "{isa} {what}");
                }
            }
        }
    }
}
