//! Attributes, shapes and indices that nobody means: 2⁴⁰ elements, paddings below zero, steps of 0.
//! Each op ends in a result or an error, soon, and in no panic; sums of sizes do not wrap (the test
//! profile looks).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use qcore_graph::{DType, Dim, Graph, Input, Tensor};
use qcore_kernels::Isa;
use serde_json::{Map, Value, json};

use crate::random::Random;
use crate::support::{Net, buffers, run_into};

/// What any op may be given; each reads those that it knows.
const ATTRIBUTES: &[(&str, Kind)] = &[
    ("axis", Kind::Int),
    ("axes", Kind::Ints),
    ("perm", Kind::Ints),
    ("kernel_shape", Kind::Ints),
    ("strides", Kind::Ints),
    ("dilations", Kind::Ints),
    ("pads", Kind::Pads),
    ("output_padding", Kind::Ints),
    ("output_shape", Kind::Ints),
    ("group", Kind::Int),
    ("num_groups", Kind::Int),
    ("num_outputs", Kind::Int),
    ("hidden_size", Kind::Int),
    ("blocksize", Kind::Int),
    ("start", Kind::Int),
    ("end", Kind::Int),
    ("to", Kind::Text(&["int32", "int64", "bool", "uint8", "float32", "complex64"])),
    ("dtype", Kind::Text(&["int64", "float32", "bool"])),
    ("keepdims", Kind::Flag),
    ("noop_with_empty_axes", Kind::Flag),
    ("ceil_mode", Kind::Flag),
    ("storage_order", Kind::Flag),
    ("count_include_pad", Kind::Flag),
    ("allowzero", Kind::Flag),
    ("select_last_index", Kind::Flag),
    ("fmod", Kind::Flag),
    ("transA", Kind::Flag),
    ("transB", Kind::Flag),
    ("layout", Kind::Flag),
    ("linear_before_reset", Kind::Flag),
    ("input_forget", Kind::Flag),
    ("antialias", Kind::Flag),
    ("exclude_outside", Kind::Flag),
    ("auto_pad", Kind::Text(&["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])),
    ("direction", Kind::Text(&["forward", "reverse", "bidirectional"])),
    ("mode", Kind::Text(&["linear", "nearest", "cubic", "DCR", "CRD", "reflect", "edge", "wrap"])),
    ("keep_aspect_ratio_policy", Kind::Text(&["stretch", "not_larger", "not_smaller"])),
    (
        "coordinate_transformation_mode",
        Kind::Text(&["half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"]),
    ),
    ("nearest_mode", Kind::Text(&["floor", "ceil", "round_prefer_ceil"])),
    ("activation", Kind::Text(&["relu", "gelu", "sigmoid"])),
    ("approximate", Kind::Text(&["tanh", "none"])),
    ("alpha", Kind::Number),
    ("beta", Kind::Number),
    ("epsilon", Kind::Number),
    ("clip", Kind::Number),
    ("scale", Kind::Number),
    ("cubic_coeff_a", Kind::Number),
    ("extrapolation_value", Kind::Number),
    ("value_ints", Kind::Ints),
    ("value_int", Kind::Int),
];

#[derive(Clone, Copy)]
enum Kind {
    Int,
    Ints,
    /// Twice as many as there are dims of space.
    Pads,
    Flag,
    Number,
    Text(&'static [&'static str]),
}

/// Sizes that a graph may name.
const FAR: [i64; 12] = [
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    1 << 32,
    1 << 40,
    1 << 60,
    1 << 62,
    i64::MAX,
    i64::MAX - 1,
    -(1 << 40),
    i64::MIN,
    i64::MIN + 1,
];

struct Fuzz {
    random: Random,
    /// Of a hundred numbers, how many are absurd.
    absurd: usize,
}

impl Fuzz {
    fn chance(&mut self, percent: usize) -> bool {
        self.random.below(100) < percent
    }

    fn int(&mut self) -> i64 {
        if self.chance(self.absurd) {
            FAR[self.random.below(FAR.len())]
        } else {
            self.random.below(7) as i64 - 2
        }
    }

    /// A size that is mostly small.
    fn dim(&mut self) -> usize {
        if self.chance(self.absurd) {
            FAR[self.random.below(9)] as usize
        } else {
            self.random.below(5)
        }
    }

    fn attribute(&mut self, kind: Kind, rank: usize) -> Value {
        let space = if self.chance(80) { rank.saturating_sub(2) } else { self.random.below(5) };
        match kind {
            Kind::Int => json!(self.int()),
            Kind::Ints => {
                let n = if self.chance(30) { rank } else { space };
                json!((0..n).map(|_| self.int()).collect::<Vec<_>>())
            }
            Kind::Pads => json!((0..2 * space).map(|_| self.int().max(-1)).collect::<Vec<_>>()),
            Kind::Flag => json!(self.random.below(2)),
            Kind::Number => {
                let numbers = ["nan", "inf", "-inf", "0", "-1", "1e-30", "3e38", "0.5"];
                json!(numbers[self.random.below(numbers.len())])
            }
            Kind::Text(texts) => json!(texts[self.random.below(texts.len())]),
        }
    }
}

/// One graph of one op: its text's parts, and what runs through it where that has elements.
fn case(fuzz: &mut Fuzz, op: &str) -> (Net, Option<Vec<Tensor>>) {
    let rank = fuzz.random.below(6);
    let mut shape: Vec<usize> = (0..rank).map(|_| fuzz.dim()).collect();
    let (mut net, mut names) = (Net::default(), Vec::new());
    let mut inputs = Some(Vec::new());
    for index in 0..=fuzz.random.below(7) {
        let name = format!("v{index}");
        match fuzz.random.below(10) {
            // One that is not there.
            0 if index > 0 => {
                names.push("-".to_owned());
                continue;
            }
            1..6 => {
                if fuzz.chance(40) {
                    shape = (0..fuzz.random.below(5)).map(|_| fuzz.dim()).collect();
                }
                let dtype = [DType::F32, DType::F32, DType::F32, DType::I64, DType::U8, DType::I32]
                    [fuzz.random.below(6)];
                net = net.input(&name, dtype, json!(shape));
                let count = shape.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim));
                let bytes = count.filter(|&n| n <= 4096).map(|n| n * dtype.size());
                inputs = inputs.zip(bytes).map(|(mut inputs, bytes)| {
                    let bytes: Vec<u8> = (0..bytes).map(|_| fuzz.random.next() as u8).collect();
                    inputs.extend(Tensor::from_bytes(dtype, &shape, &bytes));
                    inputs
                });
            }
            6..9 => {
                let ints: Vec<i64> = (0..fuzz.random.below(6)).map(|_| fuzz.int()).collect();
                let scalar = ints.len() == 1 && fuzz.chance(50);
                let dims = [ints.len()];
                let dims = if scalar { &[][..] } else { &dims[..] };
                net = net.constant(&name, Tensor::new(DType::I64, dims, &ints).unwrap());
            }
            _ => {
                let dims: Vec<usize> = shape.iter().map(|&dim| dim.min(4)).collect();
                let numbers = [1.0, -0.5, 3e38, f32::NAN, f32::INFINITY, 0.0, 1e-7, 1e6];
                let values: Vec<f32> = (0..dims.iter().product())
                    .map(|_| numbers[fuzz.random.below(numbers.len())])
                    .collect();
                net = net.constant(&name, Tensor::new(DType::F32, &dims, &values).unwrap());
            }
        }
        names.push(name);
    }
    let mut attributes = Map::new();
    for &(name, kind) in ATTRIBUTES {
        if fuzz.chance(40) {
            attributes.insert(name.to_owned(), fuzz.attribute(kind, rank));
        }
    }
    let outputs = ["y", "y z", "y - z", "y z u w"][fuzz.random.below(4)];
    net = net.node(op, &names.join(" "), outputs, attributes.into()).output("y");
    (net, inputs)
}

/// Bytes of outputs above which a plan is made, and not run.
const LARGE: usize = 1 << 24;

/// Reads, infers, plans, and runs where there is something to run.
fn through(net: &Net, inputs: Option<&[Tensor]>) {
    let Ok(graph) = net.graph() else { return };
    let _ = graph.infer();
    // Without inputs, which no memory holds, a plan may still be asked for.
    let shape = |input: &Input| -> Option<Vec<usize>> {
        let dims = input.shape.as_ref()?.iter().map(|dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Named(_) => 1,
        });
        Some(dims.collect())
    };
    let Some(shapes) = graph.inputs().iter().map(shape).collect::<Option<Vec<_>>>() else { return };
    let none = vec![None; shapes.len()];
    let bytes = inputs.map_or(none, |inputs| inputs.iter().map(|x| Some(x.bytes())).collect());
    let Ok(plan) = graph.compiled(&shapes, &bytes, graph.outputs()) else { return };
    let each = plan.outputs().iter().map(|out| out.dims.iter().product::<usize>());
    let Some(inputs) = inputs.filter(|_| each.sum::<usize>() < LARGE) else { return };
    let _ = run_into(&plan, Isa::best(), inputs, &mut buffers(&plan));
}

#[test]
fn no_op_panics_or_takes_for_ever() {
    let rounds = std::env::var("QCORE_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok());
    let seed = std::env::var("QCORE_FUZZ_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let ops: Vec<&str> = Graph::ops().filter(|op| *op != "If").collect();
    let mut failed: Map<String, Value> = Map::new();
    for round in 0..rounds.unwrap_or(200_u64) {
        for (index, op) in ops.iter().enumerate() {
            let random = Random::new(seed ^ (round << 16) ^ (index as u64) << 48);
            let mut fuzz = Fuzz { random, absurd: [0, 3, 10, 30][round as usize % 4] };
            let (net, inputs) = case(&mut fuzz, op);
            let start = Instant::now();
            let outcome = catch_unwind(AssertUnwindSafe(|| through(&net, inputs.as_deref())));
            // A loop that nothing bounds takes hours; a machine under load, not so long.
            let late = start.elapsed() > Duration::from_secs(20);
            if outcome.is_err() || late {
                let what = if late { "takes for ever" } else { "panics" };
                failed.insert((*op).to_owned(), json!(format!("{what} in round {round}")));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
