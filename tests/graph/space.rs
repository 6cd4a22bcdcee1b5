//! Convolutions and pools against sums over NCHW, written from their definition.

use proptest::prelude::*;
use qcore_graph::{DType, Tensor};
use serde_json::json;

use crate::random::Random;
use crate::support::{Net, assert_near, floats, indices};

/// One dim of space: size, kernel, stride, dilation, pads.
type Dim = (usize, usize, usize, usize, (usize, usize));

fn dim() -> impl Strategy<Value = Dim> {
    (1..8_usize, 1..4_usize, 1..4_usize, 1..3_usize, (0..3_usize, 0..3_usize)).prop_filter(
        "the window fits",
        |&(size, kernel, _, dilation, (before, after))| {
            (kernel - 1) * dilation < size + before + after
        },
    )
}

fn lists(dims: &[Dim]) -> serde_json::Value {
    let of = |part: fn(&Dim) -> usize| dims.iter().map(part).collect::<Vec<_>>();
    let mut pads = of(|d| d.4.0);
    pads.extend(of(|d| d.4.1));
    json!({
        "kernel_shape": of(|d| d.1), "strides": of(|d| d.2), "dilations": of(|d| d.3),
        "pads": pads,
    })
}

/// The place of the input that a tap of a window reads, if it is inside.
fn tap(dims: &[Dim], window: &[usize], taps: &[usize]) -> Option<Vec<usize>> {
    (0..dims.len())
        .map(|axis| {
            let (size, _, stride, dilation, (before, _)) = dims[axis];
            let at = (window[axis] * stride + taps[axis] * dilation).checked_sub(before)?;
            (at < size).then_some(at)
        })
        .collect()
}

fn outputs(dims: &[Dim]) -> Vec<usize> {
    dims.iter().map(|&(n, k, s, d, (b, a))| (n + b + a - ((k - 1) * d + 1)) / s + 1).collect()
}

fn place(dims: &[usize], index: &[usize]) -> usize {
    dims.iter().zip(index).fold(0, |place, (&dim, &i)| place * dim + i)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_convolution_is_the_sum_over_its_taps(
        dims in prop::collection::vec(dim(), 1..4),
        (batch, groups, inputs, outs) in (1..3_usize, 1..4_usize, 1..4_usize, 1..20_usize),
        (bias, residual, seed) in (any::<bool>(), any::<bool>(), any::<u64>()),
    ) {
        let mut random = Random::new(seed);
        let space: Vec<usize> = dims.iter().map(|d| d.0).collect();
        let kernel: Vec<usize> = dims.iter().map(|d| d.1).collect();
        let shape = |n: usize, c: usize, rest: &[usize]| [&[n, c], rest].concat();
        let x_dims = shape(batch, groups * inputs, &space);
        let w_dims = shape(groups * outs, inputs, &kernel);
        let out_dims = shape(batch, groups * outs, &outputs(&dims));
        let (x, w) = (floats(&mut random, &x_dims), floats(&mut random, &w_dims));
        let b = floats(&mut random, &[groups * outs]);
        let r = floats(&mut random, &out_dims);
        let mut attributes = lists(&dims);
        attributes["group"] = json!(groups);
        attributes["activation"] = json!("relu");
        let names = format!("x w {} {}", if bias { "b" } else { "-" }, if residual { "r" } else { "-" });
        let net = Net::default()
            .input("x", DType::F32, json!(x_dims))
            .input("r", DType::F32, json!(out_dims))
            .constant("w", w.clone())
            .constant("b", b.clone())
            .node("Conv", &names, "y", attributes)
            .output("y");
        let found = net.run(&[x.clone(), r.clone()]).unwrap();
        prop_assert_eq!(found[0].dims(), &out_dims[..]);
        let (x, w) = (x.elements::<f32>(), w.elements::<f32>());
        let due: Vec<f64> = indices(&out_dims).enumerate().map(|(index, at)| {
            let group = at[1] / outs;
            let mut sum = 0.0;
            for taps in indices(&kernel) {
                let Some(from) = tap(&dims, &at[2..], &taps) else { continue };
                for c in 0..inputs {
                    let pixel = place(&x_dims, &shape(at[0], group * inputs + c, &from));
                    let weight = place(&w_dims, &shape(at[1], c, &taps));
                    sum += f64::from(x[pixel]) * f64::from(w[weight]);
                }
            }
            if bias { sum += f64::from(b.elements::<f32>()[at[1]]) }
            if residual { sum += f64::from(r.elements::<f32>()[index]) }
            sum.max(0.0)
        }).collect();
        assert_near(&found[0], &due, "conv");
    }

    #[test]
    fn a_transposed_convolution_scatters_what_a_convolution_gathers(
        dims in prop::collection::vec(dim(), 1..3),
        (groups, inputs, outs, seed) in (1..3_usize, 1..4_usize, 1..5_usize, any::<u64>()),
    ) {
        // From the outputs of a convolution back to its inputs.
        let mut random = Random::new(seed);
        let kernel: Vec<usize> = dims.iter().map(|d| d.1).collect();
        let from = outputs(&dims);
        let to: Vec<usize> = dims.iter().zip(&from).map(|(&(_, k, s, d, (b, a)), &n)| {
            ((n - 1) * s + (k - 1) * d + 1).saturating_sub(b + a)
        }).collect();
        prop_assume!(to.iter().all(|&n| n > 0));
        let x_dims = [&[1, groups * inputs], &from[..]].concat();
        let w_dims = [&[groups * inputs, outs], &kernel[..]].concat();
        let out_dims = [&[1, groups * outs], &to[..]].concat();
        let (x, w) = (floats(&mut random, &x_dims), floats(&mut random, &w_dims));
        let mut attributes = lists(&dims);
        attributes["group"] = json!(groups);
        let net = Net::default()
            .input("x", DType::F32, json!(x_dims))
            .constant("w", w.clone())
            .node("ConvTranspose", "x w", "y", attributes)
            .output("y");
        let found = net.run(std::slice::from_ref(&x)).unwrap();
        prop_assert_eq!(found[0].dims(), &out_dims[..]);
        let wide: Vec<Dim> = dims.iter().zip(&to).map(|(d, &n)| (n, d.1, d.2, d.3, d.4)).collect();
        let (x, w) = (x.elements::<f32>(), w.elements::<f32>());
        let mut due = vec![0.0; found[0].len()];
        for at in indices(&x_dims) {
            for taps in indices(&kernel) {
                let Some(pixel) = tap(&wide, &at[2..], &taps) else { continue };
                for out in 0..outs {
                    let channel = at[1] / inputs * outs + out;
                    let weight = place(&w_dims, &[&[at[1], out], &taps[..]].concat());
                    let product = f64::from(x[place(&x_dims, &at)]) * f64::from(w[weight]);
                    due[place(&out_dims, &[&[0, channel], &pixel[..]].concat())] += product;
                }
            }
        }
        assert_near(&found[0], &due, "conv transpose");
    }

    #[test]
    fn a_pool_is_the_largest_or_the_mean_of_its_window(
        dims in prop::collection::vec(dim(), 1..4),
        (batch, channels, seed) in (1..3_usize, 1..20_usize, any::<u64>()),
        (mean, with_padding) in (any::<bool>(), any::<bool>()),
    ) {
        let mut random = Random::new(seed);
        let kernel: Vec<usize> = dims.iter().map(|d| d.1).collect();
        let space: Vec<usize> = dims.iter().map(|d| d.0).collect();
        let x_dims = [&[batch, channels], &space[..]].concat();
        let out_dims = [&[batch, channels], &outputs(&dims)[..]].concat();
        // Windows that lie in the padding alone have no largest.
        let covered = |at: &[usize]| {
            indices(&kernel).filter_map(|taps| tap(&dims, at, &taps)).collect::<Vec<_>>()
        };
        prop_assume!(indices(&outputs(&dims)).all(|at| !covered(&at).is_empty()));
        let x = floats(&mut random, &x_dims);
        let mut attributes = lists(&dims);
        attributes["count_include_pad"] = json!(i64::from(with_padding));
        let net = Net::default()
            .input("x", DType::F32, json!(x_dims))
            .node(if mean { "AveragePool" } else { "MaxPool" }, "x", "y", attributes)
            .output("y");
        let found = net.run(std::slice::from_ref(&x)).unwrap();
        let x = x.elements::<f32>();
        let due: Vec<f64> = indices(&out_dims).map(|at| {
            let values: Vec<f64> = covered(&at[2..])
                .iter()
                .map(|from| f64::from(x[place(&x_dims, &[&at[..2], &from[..]].concat())]))
                .collect();
            let all = kernel.iter().product::<usize>();
            let count = if with_padding { all } else { values.len() };
            if mean {
                values.iter().sum::<f64>() / count as f64
            } else {
                values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
            }
        }).collect();
        assert_near(&found[0], &due, "pool");
    }
}

#[test]
fn the_largest_tell_where_they_were() {
    let x: Vec<f32> = (0..32).map(|i| ((i * 7) % 32) as f32).collect();
    let x = Tensor::new(DType::F32, &[1, 2, 4, 4], &x).unwrap();
    let net = Net::default()
        .input("x", DType::F32, json!([1, 2, 4, 4]))
        .node("MaxPool", "x", "y i", json!({"kernel_shape": [2, 2], "strides": [2, 2]}))
        .output("y i");
    let found = net.run(std::slice::from_ref(&x)).unwrap();
    for (value, &index) in found[0].elements::<f32>().iter().zip(found[1].elements::<i64>()) {
        assert_eq!(*value, x.elements::<f32>()[index as usize]);
    }
}

#[test]
fn a_stride_may_leave_the_padding_alone() {
    // Width 1 and two pads before it: the one place in a row reads a pad, whatever the image holds.
    for (width, before, due) in [(1, 2, 0.0), (2, 2, 0.0), (1, 0, 6.0)] {
        let x = Tensor::new(DType::F32, &[1, 1, 1, width], &vec![2.0_f32; width]).unwrap();
        let net = Net::default()
            .input("x", DType::F32, json!([1, 1, 1, width]))
            .constant("w", Tensor::new(DType::F32, &[1, 1, 1, 1], &[3.0_f32]).unwrap())
            .node("Conv", "x w", "y", json!({"strides": [1, 3], "pads": [0, before, 0, 0]}))
            .output("y");
        let found = net.run(std::slice::from_ref(&x)).unwrap();
        assert_eq!(found[0].elements::<f32>()[0], due, "{width} after {before} pads");
    }
}
