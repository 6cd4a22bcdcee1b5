//! Plans: what a graph gives does not depend on which values share memory, nor on threads.

use proptest::prelude::*;
use qcore_graph::{DType, Tensor};
use qcore_kernels::Isa;
use serde_json::json;

use crate::random::Random;
use crate::support::{Net, bits, buffers, floats, ints, run, run_into};

/// A random graph of images: each node reads values that are there, of the same shape.
fn random_graph(random: &mut Random, steps: usize) -> (Net, Vec<String>) {
    let dims = [2, 6, 5, 4];
    let mut net = Net::default()
        .input("v0", DType::F32, json!(dims))
        .constant("w1", floats(random, &[6, 6, 1, 1]))
        .constant("w3", floats(random, &[6, 6, 3, 3]))
        .constant("wd", floats(random, &[6, 1, 3, 3]))
        .constant("bias", floats(random, &[6]))
        .constant("row", floats(random, &[4]))
        .constant("channel", floats(random, &[6, 1, 1]))
        .constant("halves", ints(&[6, 6]))
        .constant("flat", ints(&[2, -1]))
        .constant("back", ints(&[2, 6, 5, 4]));
    let mut names = vec!["v0".to_owned()];
    for step in 1..=steps {
        let pick = |random: &mut Random| names[random.below(names.len())].clone();
        let (a, b, y) = (pick(random), pick(random), format!("v{step}"));
        let same = json!({"pads": [1, 1, 1, 1]});
        let (inner, two) = (format!("t{step}"), format!("{a} {b}"));
        net = match random.below(14) {
            0 => net.node("Relu", &a, &y, json!({})),
            1 => net.node("Add", &two, &y, json!({})),
            2 => net.node("Mul", &format!("{a} channel"), &y, json!({})),
            3 => net.node("Sub", &format!("row {a}"), &y, json!({})),
            4 => net.node("Conv", &format!("{a} w1 bias"), &y, json!({"activation": "relu"})),
            5 => net.node("Conv", &format!("{a} w3 bias {b}"), &y, same),
            6 => {
                net.node("Conv", &format!("{a} wd"), &y, json!({"pads": [1, 1, 1, 1], "group": 6}))
            }
            7 => net.node("MaxPool", &a, &y, json!({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})),
            8 => net.node("Identity", &a, &y, json!({})),
            9 => net.node("Reshape", &format!("{a} flat"), &inner, json!({})).node(
                "Reshape",
                &format!("{inner} back"),
                &y,
                json!({}),
            ),
            10 => net.node("Concat", &two, &inner, json!({"axis": 1})).node(
                "Split",
                &format!("{inner} halves"),
                &format!("{y} {inner}b"),
                json!({"axis": 1}),
            ),
            11 => net.node("Transpose", &a, &inner, json!({"perm": [0, 2, 3, 1]})).node(
                "Transpose",
                &inner,
                &y,
                json!({"perm": [0, 3, 1, 2]}),
            ),
            12 => net.node("GlobalAveragePool", &a, &inner, json!({})).node(
                "Mul",
                &format!("{b} {inner}"),
                &y,
                json!({}),
            ),
            _ => net.node("Softmax", &a, &y, json!({"axis": random.below(4)})),
        };
        names.push(y);
    }
    (net, names)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn sharing_memory_changes_no_bit(steps in 1..24_usize, seed: u64) {
        let mut random = Random::new(seed);
        let (net, names) = random_graph(&mut random, steps);
        let graph = net.output(&names[names.len() - 1]).graph().unwrap();
        let x = floats(&mut random, &[2, 6, 5, 4]);
        // Every value asked for has memory of its own, to the end of the run.
        let values: Vec<usize> = names.iter().map(|name| graph.value(name).unwrap()).collect();
        let all = run(&graph, std::slice::from_ref(&x), &values).unwrap();
        for (value, kept) in values.iter().zip(&all) {
            let alone = run(&graph, std::slice::from_ref(&x), &[*value]).unwrap();
            prop_assert_eq!(bits(&alone[0]), bits(kept));
        }
        // A second run in the same memory gives the same, and the input is what it was.
        let compiled = graph.compiled(&[x.dims().to_vec()], &[None], graph.outputs()).unwrap();
        let mut out = buffers(&compiled);
        for _ in 0..2 {
            run_into(&compiled, Isa::best(), std::slice::from_ref(&x), &mut out).unwrap();
            prop_assert_eq!(&out[0][..], all[all.len() - 1].bytes());
        }
    }
}

#[test]
fn every_instruction_set_gives_the_same_bits() {
    let mut random = Random::new(11);
    for steps in [4, 9, 20, 20] {
        let (net, names) = random_graph(&mut random, steps);
        let graph = net.output(&names[names.len() - 1]).graph().unwrap();
        let x = floats(&mut random, &[2, 6, 5, 4]);
        let compiled = graph.compiled(&[x.dims().to_vec()], &[None], graph.outputs()).unwrap();
        let run = |isa| {
            let mut out = buffers(&compiled);
            run_into(&compiled, isa, std::slice::from_ref(&x), &mut out).unwrap();
            out.remove(0)
        };
        let due = run(Isa::Scalar);
        for isa in Isa::available() {
            assert_eq!(run(isa)[..], due[..], "{isa}");
        }
    }
}

#[test]
fn an_output_may_be_an_input_a_constant_or_another_output() {
    let c = Tensor::new(DType::F32, &[2], &[5.0_f32, 6.0]).unwrap();
    let net = Net::default()
        .input("x", DType::F32, json!([2]))
        .constant("c", c.clone())
        .node("Identity", "x", "y", json!({}))
        .node("Relu", "x", "z", json!({}))
        .node("Identity", "z", "again", json!({}))
        .output("x y c z again z");
    let x = Tensor::new(DType::F32, &[2], &[-1.0_f32, 2.0]).unwrap();
    let found = net.run(std::slice::from_ref(&x)).unwrap();
    let due: [&[f32]; 6] =
        [&[-1.0, 2.0], &[-1.0, 2.0], &[5.0, 6.0], &[0.0, 2.0], &[0.0, 2.0], &[0.0, 2.0]];
    for (found, due) in found.iter().zip(due) {
        assert_eq!(found.elements::<f32>(), due);
    }
}

#[test]
fn a_chain_needs_memory_for_two_values_and_not_for_all() {
    let mut net = Net::default().input("v0", DType::F32, json!([1, 1000]));
    for step in 1..20 {
        let (from, to) = (format!("v{} v{}", step - 1, step - 1), format!("v{step}"));
        // A sum of a value and itself may not overwrite it: two at a time.
        net = net.node("Add", &from, &to, json!({}));
    }
    let graph = net.output("v19").graph().unwrap();
    let compiled = graph.compiled(&[vec![1, 1000]], &[None], graph.outputs()).unwrap();
    assert!(compiled.arena_bytes() <= 2 * 4096, "{}", compiled.arena_bytes());
}

#[test]
fn convolutions_that_follow_each_other_are_not_transposed_between() {
    let mut random = Random::new(5);
    let net = Net::default()
        .input("x", DType::F32, json!([1, 3, 8, 8]))
        .constant("a", floats(&mut random, &[8, 3, 3, 3]))
        .constant("b", floats(&mut random, &[8, 8, 1, 1]))
        .constant("s", floats(&mut random, &[1, 8, 1, 1]))
        .node("Conv", "x a", "c1", json!({}))
        .node("Relu", "c1", "r1", json!({}))
        .node("Conv", "r1 b", "c2", json!({}))
        .node("Mul", "c2 s", "m", json!({}))
        .node("Add", "m r1", "sum", json!({}))
        .node("GlobalAveragePool", "sum", "g", json!({}))
        .node("Flatten", "g", "y", json!({}))
        .output("y");
    let graph = net.graph().unwrap();
    let compiled = graph.compiled(&[vec![1, 3, 8, 8]], &[None], graph.outputs()).unwrap();
    let transposed = compiled.kernels().filter(|(_, kernel)| *kernel == "transpose").count();
    let steps: Vec<_> = compiled.kernels().collect();
    assert_eq!(transposed, 1, "{steps:?}");
}
