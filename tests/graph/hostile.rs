//! What is not a graph, or does not fit, ends in an error that names it; nothing panics.

use proptest::prelude::*;
use qcore_graph::{DType, Graph, GraphError, Tensor};
use serde_json::json;

use crate::random::Random;
use crate::support::{Net, floats, ints, run};

fn refused(text: &str) -> String {
    Graph::new(text, &[]).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn texts_that_are_no_graphs_are_refused() {
    let node = |op: &str, inputs: &[&str], outputs: &[&str]| json!({"name": "n", "op": op, "inputs": inputs, "outputs": outputs});
    let graph = |nodes: Vec<serde_json::Value>| {
        json!({
            "inputs": [{"name": "x", "dtype": "float32", "shape": [1]}],
            "outputs": ["y"], "nodes": nodes,
        })
        .to_string()
    };
    for (text, says) in [
        ("{", "JSON"),
        ("[]", "not an object"),
        (r#"{"outputs": ["y"]}"#, "made by no node"),
        (r#"{"inputs": [{"name": "x"}]}"#, "'dtype'"),
        (r#"{"inputs": [{"name": "x", "dtype": "complex64"}]}"#, "complex64"),
        (r#"{"inputs": [{"name": "x", "dtype": "float32", "shape": [-1]}]}"#, "no size"),
        (r#"{"constants": {"w": 3}}"#, "no index"),
        (r#"{"nodes": [{"op": "Relu", "inputs": "x", "outputs": []}]}"#, "not a list"),
        (&graph(vec![node("Relu", &["z"], &["y"])]), "reads 'z'"),
        (&graph(vec![node("Relu", &["y"], &["y"])]), "cycle"),
        (&graph(vec![node("Relu", &["b"], &["a"]), node("Relu", &["a"], &["b"])]), "cycle"),
        (&graph(vec![node("Relu", &["x"], &["x"])]), "made twice"),
    ] {
        let error = refused(text);
        assert!(error.contains(says), "{text}: {error}");
    }
    let missing = graph(vec![node("Frob", &["x"], &["y"]), node("Frob", &["x"], &["z"])]);
    match Graph::new(&missing, &[]) {
        Err(GraphError::Unsupported(missing)) => {
            assert_eq!((missing[0].op.as_str(), missing[0].count), ("Frob", 2));
            assert_eq!(missing[0].first, "n");
        }
        _ => panic!("an op that there is not was taken"),
    }
}

#[test]
fn sizes_past_memory_are_errors() {
    let huge = 1_i64 << 40;
    for (shape, says) in
        [(vec![huge, huge], "more"), (vec![1 << 60], "more"), (vec![huge], "memory")]
    {
        let net = Net::default()
            .input("x", DType::F32, json!([1]))
            .constant("to", ints(&shape))
            .node("Expand", "x to", "y", json!({}))
            .node("Relu", "y", "z", json!({}))
            .output("z");
        let x = Tensor::new(DType::F32, &[1], &[1.0_f32]).unwrap();
        let error = net.run(&[x]).unwrap_err().to_string();
        assert!(error.contains(says), "{shape:?}: {error}");
    }
    let net = Net::default()
        .input("x", DType::F32, json!([1, 1, 4, 4]))
        .node("MaxPool", "x", "y", json!({"kernel_shape": [1, 1], "pads": [1_i64 << 60, 0, 0, 0]}))
        .output("y");
    let x = floats(&mut Random::new(1), &[1, 1, 4, 4]);
    assert!(net.run(&[x]).is_err());
}

#[test]
fn errors_name_the_node_and_what_was_found() {
    let x = floats(&mut Random::new(1), &[2, 3]);
    let i = ints(&[1, 2]);
    for (op, inputs, attributes, says) in [
        ("MatMul", "x x", json!({}), "columns"),
        ("Add", "x i", json!({}), "int64"),
        ("Reshape", "x i", json!({}), "does not fit"),
        ("Concat", "x x", json!({"axis": 2}), "axis is 2"),
        ("Transpose", "x", json!({"perm": [0, 0]}), "twice"),
        ("Conv", "x x", json!({}), "do not convolve"),
        ("Softmax", "x", json!({"axis": -3}), "axis is -3"),
        ("Not", "x", json!({}), "float32"),
        ("Split", "x", json!({"axis": 1, "num_outputs": 2}), "num_outputs"),
        ("LayerNormalization", "x i", json!({}), "int64"),
        ("Gather", "x x", json!({}), "float32"),
        ("Conv", "x x", json!({"activation": "frob"}), "frob"),
        ("Resize", "x", json!({}), "scales"),
        ("LSTM", "x x x", json!({"hidden_size": 0}), "hidden_size"),
        ("Cast", "x", json!({"to": "complex64"}), "complex64"),
        ("Relu", "", json!({}), "missing"),
    ] {
        let net = Net::default()
            .input("x", DType::F32, json!([2, 3]))
            .constant("i", i.clone())
            .node(op, inputs, "y", attributes)
            .output("y");
        let error = net.run(std::slice::from_ref(&x)).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(op), "{op}: {error}");
    }
}

#[test]
fn inputs_that_are_not_as_declared_are_refused() {
    let net = Net::default()
        .input("a", DType::F32, json!(["n", 2]))
        .input("b", DType::F32, json!(["n", 3]))
        .node("Relu", "a", "y", json!({}))
        .output("y");
    let graph = net.graph().unwrap();
    let mut random = Random::new(1);
    for (a, b, says) in [
        (vec![1, 3], vec![1, 3], "input 'a' has 3 in dim 1; it must have 2"),
        (vec![2], vec![1, 3], "input 'a' has 1 dims; it must have 2"),
        (vec![2, 2], vec![1, 3], "input 'b' has 1 in dim 0 ('n'), which is 2 in input 'a'"),
    ] {
        let inputs = [floats(&mut random, &a), floats(&mut random, &b)];
        let error = run(&graph, &inputs, graph.outputs()).unwrap_err().to_string();
        assert_eq!(error, says);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Any op on any inputs with any attributes: a result or an error.
    #[test]
    fn no_op_panics(
        op in 0..200_usize,
        shapes in prop::collection::vec(prop::collection::vec(0..5_usize, 0..5), 1..6),
        kinds in prop::collection::vec(0..4_usize, 6),
        (axis, flag, list) in (-5..6_i64, 0..2_i64, prop::collection::vec(-2..4_i64, 0..5)),
        seed: u64,
    ) {
        let ops: Vec<&str> = Graph::ops().filter(|op| *op != "If").collect();
        let op = ops[op % ops.len()];
        let mut random = Random::new(seed);
        let (mut net, mut names) = (Net::default(), Vec::new());
        let mut inputs = Vec::new();
        for (index, dims) in shapes.iter().enumerate() {
            let name = format!("v{index}");
            let values: Vec<i64> =
                (0..dims.iter().product()).map(|_| random.below(5) as i64 - 1).collect();
            match kinds[index] {
                0 | 3 => {
                    let tensor = floats(&mut random, dims);
                    net = net.input(&name, DType::F32, json!(dims));
                    inputs.push(tensor);
                }
                1 => net = net.constant(&name, Tensor::new(DType::I64, dims, &values).unwrap()),
                _ => {
                    let bytes: Vec<u8> = values.iter().map(|&v| u8::from(v > 0)).collect();
                    let tensor = Tensor::new(DType::Bool, dims, &bytes).unwrap();
                    net = net.constant(&name, tensor);
                }
            }
            names.push(name);
        }
        let attributes = json!({
            "axis": axis, "perm": list, "kernel_shape": list, "strides": list, "pads": list,
            "dilations": list, "keepdims": flag, "group": axis, "hidden_size": axis,
            "blocksize": axis, "to": "int32", "transA": flag, "transB": flag, "ceil_mode": flag,
            "num_groups": axis, "allowzero": flag, "mode": if flag == 0 { "linear" } else { "DCR" },
        });
        let net = net.node(op, &names.join(" "), "y", attributes).output("y");
        let _ = net.run(&inputs);
    }
}
