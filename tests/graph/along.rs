//! Sums so far, the largest few, and elements that are put where indices say, beside naive ones.

use proptest::prelude::*;
use qcore_graph::{DType, Tensor};
use serde_json::json;

use crate::random::Random;
use crate::support::{Net, assert_near, floats, ints};

fn one(op: &str, x: &Tensor, number: i64, attributes: serde_json::Value) -> Vec<Tensor> {
    let outputs = if op == "TopK" { "y i" } else { "y" };
    Net::default()
        .input("x", DType::F32, json!(x.dims()))
        .constant("k", ints(&[number]))
        .node(op, "x k", outputs, attributes)
        .output(outputs)
        .run(std::slice::from_ref(x))
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn sums_so_far_are_added_one_by_one(outer in 1..4_usize, n in 0..7_usize, seed: u64) {
        let x = floats(&mut Random::new(seed), &[outer, n]);
        for (exclusive, reverse) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let found = one("CumSum", &x, 1, json!({"exclusive": exclusive, "reverse": reverse}));
            let rows = x.elements::<f32>().chunks(n.max(1));
            let due: Vec<f64> = rows.flat_map(|row| {
                (0..n).map(|at| {
                    let part = match (exclusive, reverse) {
                        (0, 0) => &row[..=at],
                        (1, 0) => &row[..at],
                        (0, _) => &row[at..],
                        _ => &row[at + 1..],
                    };
                    part.iter().map(|&x| f64::from(x)).sum()
                }).collect::<Vec<_>>()
            }).collect();
            assert_near(&found[0], &due, "sums");
        }
    }

    #[test]
    fn the_largest_few_are_those_of_a_sorted_row(
        n in 1..20_usize, inner in 1..3_usize, take: usize, largest: bool, seed: u64,
    ) {
        let (k, x) = (take % (n + 1), floats(&mut Random::new(seed), &[2, n, inner]));
        let found = one("TopK", &x, k as i64, json!({"axis": 1, "largest": i32::from(largest)}));
        prop_assert_eq!(found[0].dims(), &[2, k, inner]);
        let data = x.elements::<f32>();
        for outer in 0..2 {
            for lane in 0..inner {
                let value = |at: usize| data[(outer * n + at) * inner + lane];
                let mut order: Vec<usize> = (0..n).collect();
                order.sort_by(|&a, &b| {
                    let order = value(a).partial_cmp(&value(b)).unwrap();
                    if largest { order.reverse() } else { order }
                });
                for (place, &at) in order[..k].iter().enumerate() {
                    let to = (outer * k + place) * inner + lane;
                    prop_assert_eq!(found[1].elements::<i64>()[to], at as i64);
                    prop_assert_eq!(found[0].elements::<f32>()[to].to_bits(), value(at).to_bits());
                }
            }
        }
    }

    #[test]
    fn slices_are_put_where_indices_say(rows in 0..5_usize, wide in 0..4_usize, seed: u64) {
        let mut random = Random::new(seed);
        let x = floats(&mut random, &[6, wide]);
        let new = floats(&mut random, &[rows, wide]);
        let places: Vec<i64> = (0..rows).map(|_| random.below(12) as i64 - 6).collect();
        let indices = Tensor::new(DType::I64, &[rows, 1], &places).unwrap();
        let net = Net::default()
            .input("x", DType::F32, json!([6, wide]))
            .input("i", DType::I64, json!([rows, 1]))
            .input("u", DType::F32, json!([rows, wide]))
            .node("ScatterND", "x i u", "y", json!({"reduction": "add"}))
            .output("y");
        let found = net.run(&[x.clone(), indices, new.clone()]).unwrap();
        let mut due: Vec<f64> = x.elements::<f32>().iter().map(|&x| f64::from(x)).collect();
        for (row, &place) in places.iter().enumerate() {
            let to = place.rem_euclid(6) as usize * wide;
            for at in 0..wide {
                due[to + at] += f64::from(new.elements::<f32>()[row * wide + at]);
            }
        }
        assert_near(&found[0], &due, "slices");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let scatter = |op: &str, index: i64, dims: &[usize], attributes| {
        let x = Tensor::new(DType::F32, &[3, 2], &[0.0_f32; 6]).unwrap();
        let i = Tensor::new(DType::I64, dims, &vec![index; dims.iter().product()]).unwrap();
        let u = Tensor::new(DType::F32, &[1, 2], &[1.0_f32; 2]).unwrap();
        Net::default()
            .input("x", DType::F32, json!([3, 2]))
            .input("i", DType::I64, json!(dims))
            .input("u", DType::F32, json!([1, 2]))
            .node(op, "x i u", "y", attributes)
            .output("y")
            .run(&[x, i, u])
    };
    assert!(scatter("ScatterND", 2, &[1, 1], json!({})).is_ok());
    assert!(scatter("ScatterND", 3, &[1, 1], json!({})).is_err());
    assert!(scatter("ScatterND", -4, &[1, 1], json!({})).is_err());
    assert!(scatter("ScatterND", 0, &[1, 3], json!({})).is_err());
    assert!(scatter("ScatterND", 0, &[1, 1], json!({"reduction": "mean"})).is_err());
    assert!(scatter("ScatterElements", 2, &[1, 2], json!({})).is_ok());
    assert!(scatter("ScatterElements", 3, &[1, 2], json!({})).is_err());
    assert!(scatter("ScatterElements", 0, &[2, 1], json!({})).is_err());
    assert!(scatter("ScatterElements", 0, &[1, 2], json!({"axis": 2})).is_err());
}
