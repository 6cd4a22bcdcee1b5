//! Ops against their definition, index by index.

use proptest::prelude::*;
use qcore_graph::{DType, Tensor};
use serde_json::json;

use crate::random::Random;
use crate::support::{Net, assert_near, at, floats, indices, ints};

/// Two values to one.
type Fold = fn(f64, f64) -> f64;
type Bits = fn(i64, i64) -> i64;

/// A shape, and one that broadcasts with it.
fn pair() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    prop::collection::vec((1..5_usize, 0..3_usize), 0..5).prop_flat_map(|dims| {
        let full: Vec<usize> = dims.iter().map(|d| d.0).collect();
        let part: Vec<usize> =
            dims.iter().map(|&(n, kind)| if kind == 0 { 1 } else { n }).collect();
        (0..=full.len()).prop_map(move |skip| (full.clone(), part[skip..].to_vec()))
    })
}

fn binary(op: &str, a: &Tensor, b: &Tensor) -> Tensor {
    let net = Net::default()
        .input("a", a.dtype(), json!(a.dims()))
        .input("b", b.dtype(), json!(b.dims()))
        .node(op, "a b", "y", json!({}))
        .output("y");
    net.run(&[a.clone(), b.clone()]).unwrap().remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn operands_meet_as_numpy_broadcasts_them((full, part) in pair(), swap: bool, seed: u64) {
        let mut random = Random::new(seed);
        let (a, b) = (floats(&mut random, &full), floats(&mut random, &part));
        let (a, b) = if swap { (b, a) } else { (a, b) };
        let table: [(&str, Fold); 5] = [
            ("Add", |a, b| a + b),
            ("Sub", |a, b| a - b),
            ("Mul", |a, b| a * b),
            ("Max", f64::max),
            ("Min", f64::min),
        ];
        for (op, due) in table {
            let found = binary(op, &a, &b);
            prop_assert_eq!(found.dims(), &full[..]);
            let due: Vec<f64> = indices(&full).map(|index| {
                due(
                    at(a.elements(), a.dims(), &index),
                    at(b.elements(), b.dims(), &index),
                )
            }).collect();
            assert_near(&found, &due, op);
        }
        let less = binary("Less", &a, &b);
        let due: Vec<u8> = indices(&full).map(|index| {
            u8::from(at(a.elements(), a.dims(), &index) < at(b.elements(), b.dims(), &index))
        }).collect();
        prop_assert_eq!(less.elements::<u8>(), &due[..]);
    }

    #[test]
    fn a_product_of_batches_is_the_sums_of_products(
        (batch, part) in pair(),
        (m, k, n) in (1..6_usize, 0..300_usize, 1..40_usize),
        (constant, fused, seed) in (any::<bool>(), any::<bool>(), any::<u64>()),
    ) {
        let mut random = Random::new(seed);
        let a_dims = [&batch[..], &[m, k]].concat();
        let b_dims = [&part[..], &[k, n]].concat();
        let out_dims = [&batch[..], &[m, n]].concat();
        let (a, b) = (floats(&mut random, &a_dims), floats(&mut random, &b_dims));
        let (bias, residual) = (floats(&mut random, &[n]), floats(&mut random, &out_dims));
        let mut net = Net::default().input("a", DType::F32, json!(a_dims));
        let mut inputs = vec![a.clone()];
        if constant {
            net = net.constant("b", b.clone());
        } else {
            net = net.input("b", DType::F32, json!(b_dims));
            inputs.push(b.clone());
        }
        let (names, attributes) = if fused {
            ("a b bias residual", json!({"activation": "clip", "activation_min": -1.5, "activation_max": 2.0}))
        } else {
            ("a b", json!({}))
        };
        let net = net
            .constant("bias", bias.clone())
            .constant("residual", residual.clone())
            .node("MatMul", names, "y", attributes)
            .output("y");
        let found = net.run(&inputs).unwrap();
        prop_assert_eq!(found[0].dims(), &out_dims[..]);
        let rank = batch.len();
        let due: Vec<f64> = indices(&out_dims).enumerate().map(|(place, index)| {
            let sum: f64 = (0..k).map(|p| {
                let row = [&index[..rank], &[index[rank], p]].concat();
                let column = [&index[..rank], &[p, index[rank + 1]]].concat();
                at(a.elements(), &a_dims, &row) * at(b.elements(), &b_dims, &column)
            }).sum();
            if !fused { return sum }
            let bias = f64::from(bias.elements::<f32>()[index[rank + 1]]);
            let residual = f64::from(residual.elements::<f32>()[place]);
            (sum + bias + residual).clamp(-1.5, 2.0)
        }).collect();
        assert_near(&found[0], &due, "matmul");
    }

    #[test]
    fn a_reduction_folds_the_elements_of_its_axes(
        dims in prop::collection::vec(1..6_usize, 0..5),
        (mask, keep, seed) in (0..32_usize, any::<bool>(), any::<u64>()),
    ) {
        let mut random = Random::new(seed);
        let x = floats(&mut random, &dims);
        let axes: Vec<usize> = (0..dims.len()).filter(|axis| mask >> axis & 1 == 1).collect();
        prop_assume!(!axes.is_empty());
        let kept: Vec<usize> =
            (0..dims.len()).map(|a| if axes.contains(&a) { 1 } else { dims[a] }).collect();
        let table: [(&str, f64, Fold, Fold); 6] = [
            ("ReduceSum", 0.0, |s, x| s + x, |s, _| s),
            ("ReduceMean", 0.0, |s, x| s + x, |s, n| s / n),
            ("ReduceMax", f64::NEG_INFINITY, f64::max, |s, _| s),
            ("ReduceMin", f64::INFINITY, f64::min, |s, _| s),
            ("ReduceL1", 0.0, |s, x| s + x.abs(), |s, _| s),
            ("ReduceL2", 0.0, |s, x| s + x * x, |s, _| s.sqrt()),
        ];
        let count = axes.iter().map(|&a| dims[a]).product::<usize>() as f64;
        // Negative axes name the same.
        let named: Vec<i64> = axes.iter().map(|&a| a as i64 - dims.len() as i64).collect();
        for (op, start, fold, end) in table {
            let net = Net::default()
                .input("x", DType::F32, json!(dims))
                .constant("axes", ints(&named))
                .node(op, "x axes", "y", json!({"keepdims": i64::from(keep)}))
                .output("y");
            let found = net.run(std::slice::from_ref(&x)).unwrap();
            let mut due = vec![start; kept.iter().product()];
            for index in indices(&dims) {
                let place = kept.iter().zip(&index).fold(0, |p, (&n, &i)| p * n + i % n);
                due[place] = fold(due[place], at(x.elements(), &dims, &index));
            }
            for value in &mut due { *value = end(*value, count); }
            assert_near(&found[0], &due, op);
            let wanted: Vec<usize> = if keep {
                kept.clone()
            } else {
                (0..dims.len()).filter(|a| !axes.contains(a)).map(|a| dims[a]).collect()
            };
            prop_assert_eq!(found[0].dims(), &wanted[..]);
        }
    }

    #[test]
    fn a_slice_takes_what_its_indices_name(
        spans in prop::collection::vec((1..7_usize, -9..9_i64, -9..9_i64, -3..4_i64), 1..4),
        seed: u64,
    ) {
        prop_assume!(spans.iter().all(|span| span.3 != 0));
        let dims: Vec<usize> = spans.iter().map(|span| span.0).collect();
        let x = floats(&mut Random::new(seed), &dims);
        // Python's rule for the indices of a slice.
        let picks: Vec<Vec<usize>> = spans.iter().map(|&(n, start, end, step)| {
            let n = n as i64;
            let wrap = |at: i64| if at < 0 { at + n } else { at };
            let (mut at, end) = if step > 0 {
                (wrap(start).clamp(0, n), wrap(end).clamp(0, n))
            } else {
                (wrap(start).clamp(-1, n - 1), wrap(end).clamp(-1, n - 1))
            };
            let mut out = Vec::new();
            while (step > 0 && at < end) || (step < 0 && at > end) {
                out.push(at as usize);
                at += step;
            }
            out
        }).collect();
        let part = |of: fn(&(usize, i64, i64, i64)) -> i64| ints(&spans.iter().map(of).collect::<Vec<_>>());
        let axes: Vec<i64> = (0..spans.len() as i64).collect();
        let net = Net::default()
            .input("x", DType::F32, json!(dims))
            .constant("starts", part(|s| s.1))
            .constant("ends", part(|s| s.2))
            .constant("axes", ints(&axes))
            .constant("steps", part(|s| s.3))
            .node("Slice", "x starts ends axes steps", "y", json!({}))
            .output("y");
        let found = net.run(std::slice::from_ref(&x)).unwrap();
        let out: Vec<usize> = picks.iter().map(Vec::len).collect();
        prop_assert_eq!(found[0].dims(), &out[..]);
        let due: Vec<f64> = indices(&out).map(|index| {
            let from: Vec<usize> = index.iter().zip(&picks).map(|(&i, picks)| picks[i]).collect();
            at(x.elements(), &dims, &from)
        }).collect();
        assert_near(&found[0], &due, "slice");
    }

    #[test]
    fn padding_fills_reflects_repeats_or_wraps(
        pads in prop::collection::vec((2..5_usize, 0..4_i64, 0..4_i64), 1..4),
        (mode, seed) in (0..4_usize, any::<u64>()),
    ) {
        let names = ["constant", "reflect", "edge", "wrap"];
        let dims: Vec<usize> = pads.iter().map(|p| p.0).collect();
        let x = floats(&mut Random::new(seed), &dims);
        let mut list: Vec<i64> = pads.iter().map(|p| p.1).collect();
        list.extend(pads.iter().map(|p| p.2));
        let net = Net::default()
            .input("x", DType::F32, json!(dims))
            .constant("pads", ints(&list))
            .constant("fill", Tensor::new(DType::F32, &[], &[7.5_f32]).unwrap())
            .node("Pad", "x pads fill", "y", json!({"mode": names[mode]}))
            .output("y");
        let found = net.run(std::slice::from_ref(&x)).unwrap();
        let out: Vec<usize> = pads.iter().map(|p| p.0 + (p.1 + p.2) as usize).collect();
        let due: Vec<f64> = indices(&out).map(|index| {
            let mut from = Vec::new();
            for (&i, &(n, before, _)) in index.iter().zip(&pads) {
                let (mut i, n) = (i as i64 - before, n as i64);
                match mode {
                    0 if i < 0 || i >= n => return 7.5,
                    // Back and forth until it is inside.
                    1 => while i < 0 || i >= n {
                        i = if i < 0 { -i } else { 2 * (n - 1) - i };
                    },
                    2 => i = i.clamp(0, n - 1),
                    _ => i = i.rem_euclid(n),
                }
                from.push(i as usize);
            }
            at(x.elements(), &dims, &from)
        }).collect();
        assert_near(&found[0], &due, names[mode]);
    }

    #[test]
    fn what_is_split_and_joined_is_what_it_was(
        dims in prop::collection::vec(1..6_usize, 1..5),
        (axis, parts, seed) in (0..4_usize, prop::collection::vec(0..4_i64, 1..4), any::<u64>()),
    ) {
        let mut dims = dims;
        let axis = axis % dims.len();
        dims[axis] = parts.iter().sum::<i64>() as usize;
        let x = floats(&mut Random::new(seed), &dims);
        let names: Vec<String> = (0..parts.len()).map(|i| format!("p{i}")).collect();
        let names = names.join(" ");
        let net = Net::default()
            .input("x", DType::F32, json!(dims))
            .constant("parts", ints(&parts))
            .node("Split", "x parts", &names, json!({"axis": axis}))
            .node("Concat", &names, "y", json!({"axis": axis as i64 - dims.len() as i64}))
            .output("y");
        let found = net.run(std::slice::from_ref(&x)).unwrap();
        prop_assert_eq!(found[0].bytes(), x.bytes());
        prop_assert_eq!(found[0].dims(), x.dims());
    }
}

#[test]
fn bits_meet_each_by_itself_in_every_type_of_integer() {
    let (a, b) = ([0b1100_i64, -1, i64::MIN, 7], [0b1010_i64, 5, -1, -8]);
    let table: [(&str, Bits); 3] =
        [("BitwiseAnd", |a, b| a & b), ("BitwiseOr", |a, b| a | b), ("BitwiseXor", |a, b| a ^ b)];
    for (op, due) in table {
        // A column meets a row.
        let column = Tensor::new(DType::I64, &[4, 1], &a).unwrap();
        let found = binary(op, &column, &ints(&b));
        let all: Vec<i64> = a.iter().flat_map(|&a| b.map(|b| due(a, b))).collect();
        assert_eq!((found.dims(), found.elements::<i64>()), (&[4, 4][..], &all[..]));

        let narrow = |all: [i64; 4]| all.map(|value| value as i8);
        let bytes = |all: [i8; 4]| all.map(|value| value as u8);
        let [x, y] = [a, b].map(|all| Tensor::new(DType::I8, &[4], &narrow(all)).unwrap());
        let signed = [0, 1, 2, 3].map(|i| due(a[i], b[i]) as i8);
        assert_eq!(binary(op, &x, &y).elements::<i8>(), signed);
        let [x, y] = [a, b].map(|all| Tensor::new(DType::U8, &[4], &bytes(narrow(all))).unwrap());
        assert_eq!(binary(op, &x, &y).elements::<u8>(), bytes(signed));
    }
    let float = floats(&mut Random::new(1), &[2]);
    let net = Net::default()
        .input("a", DType::F32, json!([2]))
        .node("BitwiseAnd", "a a", "y", json!({}))
        .output("y");
    assert!(net.run(&[float]).unwrap_err().to_string().contains("float32"));
}

#[test]
fn gather_counts_from_either_end_and_refuses_what_is_outside() {
    let x = Tensor::new(DType::F32, &[3, 2], &[0.0_f32, 1.0, 10.0, 11.0, 20.0, 21.0]).unwrap();
    let net = |indices: &[i64]| {
        Net::default()
            .input("x", DType::F32, json!([3, 2]))
            .constant("i", ints(indices))
            .node("Gather", "x i", "y", json!({}))
            .output("y")
            .run(std::slice::from_ref(&x))
    };
    let found = net(&[-1, 0]).unwrap();
    assert_eq!(found[0].elements::<f32>(), [20.0, 21.0, 0.0, 1.0]);
    let error = net(&[3]).unwrap_err().to_string();
    assert!(error.contains("an index is 3") && error.contains("Gather_0"), "{error}");
}

#[test]
fn a_shape_that_is_computed_is_known_before_the_run() {
    // Flattens all but the batch, as exporters write it: Shape, Gather, Concat, Reshape.
    let net = Net::default()
        .input("x", DType::F32, json!(["batch", 2, 3]))
        .constant("zero", Tensor::new(DType::I64, &[], &[0_i64]).unwrap())
        .constant("axes", ints(&[0]))
        .constant("rest", ints(&[-1]))
        .node("Shape", "x", "s", json!({}))
        .node("Gather", "s zero", "n", json!({}))
        .node("Unsqueeze", "n axes", "n1", json!({}))
        .node("Concat", "n1 rest", "to", json!({"axis": 0}))
        .node("Reshape", "x to", "y", json!({}))
        .output("y");
    let x = floats(&mut Random::new(3), &[5, 2, 3]);
    let found = net.run(std::slice::from_ref(&x)).unwrap();
    assert_eq!((found[0].dims(), found[0].bytes()), (&[5, 6][..], x.bytes()));
    let inferred: serde_json::Value =
        serde_json::from_str(&net.graph().unwrap().infer().unwrap()).unwrap();
    assert_eq!(inferred["y"], json!({"dtype": "float32", "shape": ["batch", 6]}));
    assert_eq!(inferred["s"], json!({"dtype": "int64", "shape": [3]}));
}

#[test]
fn a_branch_is_chosen_by_an_input_that_decides() {
    let branch = |op: &str, name: &str| {
        json!({
            "outputs": [name], "nodes": [{"op": op, "inputs": ["x"], "outputs": [name]}],
        })
    };
    let net = Net::default()
        .input("x", DType::F32, json!([2]))
        .input("up", DType::Bool, json!([]))
        .node(
            "If",
            "up",
            "y",
            json!({"then_branch": branch("Exp", "a"), "else_branch": branch("Neg", "b")}),
        )
        .output("y");
    let graph = net.graph().unwrap();
    assert!(!graph.is_by_value(0) && graph.is_by_value(1));
    let x = Tensor::new(DType::F32, &[2], &[0.0_f32, 0.0]).unwrap();
    for (up, due) in [(1_u8, [1.0, 1.0]), (0, [-0.0, -0.0])] {
        let up = Tensor::new(DType::Bool, &[], &[up]).unwrap();
        let found = crate::support::run(&graph, &[x.clone(), up], graph.outputs()).unwrap();
        assert_eq!(found[0].elements::<f32>(), due);
    }
}
