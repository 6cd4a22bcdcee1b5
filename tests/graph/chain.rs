//! Whole networks against naive ones, whatever the threads, the rows and the kind of weights.

use std::sync::{Arc, Mutex};

use qcore_graph::chain::{Input, Layer, Program, linear_with};
use qcore_graph::operand::{
    Affine, BandsF32, BlocksI8, Dense, DenseI8, NofMI8, Operand, SparseF32, SparseI8, by_rows,
};
use qcore_kernels::Isa;
use qcore_kernels::epilogue::Activation;
use qcore_kernels::gemm::{FloatWeights, PackedI8};
use qcore_kernels::sparse::{
    Blocks, BlocksInteger, Csr, FloatCsr, IntegerCsr, LaidOut, NofM, NofMInteger, StructuredFloat,
};
use qcore_kernels::threads;
use qcore_kernels::view::MatRef;

use crate::random::Random;

/// The number of threads belongs to the process: tests that set it take turns.
pub(crate) static THREADS: Mutex<()> = Mutex::new(());

pub(crate) fn on_threads<T>(count: usize, run: impl FnOnce() -> T) -> T {
    let before = threads::count();
    threads::set(count).unwrap();
    let result = run();
    threads::set(before).unwrap();
    result
}

pub(crate) fn floats(random: &mut Random, len: usize) -> Vec<f32> {
    (0..len).map(|_| (random.below(2001) as f32 - 1000.0) / 700.0).collect()
}

/// Codes of which about a quarter is not zero, at most two of each four.
pub(crate) fn sparse_codes(random: &mut Random, rows: usize, cols: usize) -> Vec<i8> {
    let mut codes = vec![0; rows * cols];
    for row in codes.chunks_mut(cols) {
        for four in row.chunks_mut(4) {
            let place = random.below(4);
            if let Some(code) = four.get_mut(place) {
                *code = (random.below(255) as i32 - 127) as i8;
            }
        }
    }
    codes
}

pub(crate) fn view<T: Copy>(values: &[T], rows: usize, cols: usize) -> MatRef<'_, T> {
    MatRef::from_slice(values, rows, cols).unwrap()
}

/// The same int8 codes as each kind of weights that takes inputs of fixed scale.
pub(crate) fn integer_kinds(
    isa: Isa,
    codes: &[i8],
    rows: usize,
    cols: usize,
    scale: f32,
) -> Vec<Box<dyn Operand>> {
    let dense = view(codes, rows, cols);
    let scales = || vec![scale; rows];
    let csr = || Arc::new(IntegerCsr::new(Csr::from_dense(dense).unwrap()).unwrap());
    let n_of_m = NofMInteger::new(NofM::from_dense(dense, 2, 4).unwrap());
    let blocks = BlocksInteger::new(Blocks::from_dense(dense, 4, 1).unwrap());
    vec![
        Box::new(DenseI8 {
            codes: PackedI8::new(isa, dense.transposed()).unwrap(),
            scale: scales(),
        }),
        Box::new(SparseI8 { codes: csr(), scale: scales() }),
        by_rows(Box::new(SparseI8 { codes: csr(), scale: scales() }), 7),
        Box::new(NofMI8 { codes: Arc::clone(n_of_m.transposed().unwrap()), scale: scales() }),
        Box::new(BlocksI8 { codes: Arc::new(blocks), scale: scales() }),
    ]
}

fn as_laid_out(laid_out: &LaidOut) -> Box<dyn Operand> {
    match laid_out {
        LaidOut::Bands(bands) => Box::new(BandsF32(Arc::clone(bands))),
        LaidOut::Csr(csr) => Box::new(SparseF32(Arc::clone(csr))),
    }
}

/// The same floats as each kind of weights.
pub(crate) fn float_kinds(values: &[f32], rows: usize, cols: usize) -> Vec<Box<dyn Operand>> {
    let dense = view(values, rows, cols);
    let csr = || Arc::new(FloatCsr::new(Csr::from_dense(dense).unwrap()));
    let bands = StructuredFloat::new(NofM::from_dense(dense, 2, 4).unwrap());
    let blocks = StructuredFloat::new(Blocks::from_dense(dense, 4, 1).unwrap());
    vec![
        Box::new(Dense(FloatWeights::from_f32(dense).unwrap())),
        Box::new(SparseF32(csr())),
        by_rows(Box::new(SparseF32(csr())), 40),
        as_laid_out(bands.laid_out().unwrap()),
        as_laid_out(blocks.laid_out().unwrap()),
    ]
}

fn layer(input: Input, weights: Box<dyn Operand>, bias: Vec<f32>, activation: Activation) -> Layer {
    Layer { input, weights: Arc::from(weights), bias, activation }
}

/// Inputs that int32 does not hold the sums of: their codes, and those of the weights.
struct Deep {
    inputs: usize,
    outputs: usize,
    codes: Vec<i8>,
    input: Affine,
    x: Vec<f32>,
}

impl Deep {
    /// Two rows; the first of codes at the ends of their range, so that sums go far beyond int32.
    fn new(inputs: usize, signed: bool) -> Self {
        let mut random = Random::new(inputs as u64);
        let outputs = 19;
        let mut codes = sparse_codes(&mut random, outputs, inputs);
        // One output of nothing but the most negative code, in patterns that all kinds take.
        for (at, code) in codes[..inputs].iter_mut().enumerate() {
            *code = if at % 4 < 2 { -127 } else { 0 };
        }
        let input = Affine { scale: 0.5, zero_point: if signed { -128 } else { 0 }, signed };
        let mut x = vec![127.5; inputs];
        x.extend((0..inputs).map(|_| random.below(256) as f32 * 0.5));
        Self { inputs, outputs, codes, input, x }
    }

    /// The exact sum of a row and an output: every `x` is a whole number of steps.
    fn sum(&self, row: usize, output: usize) -> i64 {
        let x = &self.x[row * self.inputs..][..self.inputs];
        let codes = &self.codes[output * self.inputs..][..self.inputs];
        let products = x.iter().zip(codes).map(|(x, code)| (x * 2.0) as i64 * i64::from(*code));
        products.sum()
    }
}

#[test]
fn sums_beyond_int32_are_exact() {
    let mut beyond = 0;
    for (inputs, signed) in [(65_794, false), (131_071, false), (131_076, true), (300_001, false)] {
        let deep = Deep::new(inputs, signed);
        let bias: Vec<f32> = (0..deep.outputs).map(|output| output as f32 * 0.25).collect();
        for isa in Isa::available() {
            for weights in integer_kinds(isa, &deep.codes, deep.outputs, inputs, 0.125) {
                let kind = weights.kind();
                let first =
                    layer(Input::Static(deep.input), weights, bias.clone(), Activation::Linear);
                let program = Program::new(vec![first]).unwrap();
                let mut out = vec![0.0; 2 * deep.outputs];
                program.run_with(isa, &deep.x, false, &mut out).unwrap();
                for (at, &found) in out.iter().enumerate() {
                    let (row, output) = (at / deep.outputs, at % deep.outputs);
                    let sum = deep.sum(row, output);
                    beyond += usize::from(i32::try_from(sum).is_err());
                    let due = sum as f32 * (0.5 * 0.125) + bias[output];
                    assert_eq!(
                        found.to_bits(),
                        due.to_bits(),
                        "{isa} {kind} {inputs} [{row}, {output}]"
                    );
                }
            }
        }
    }
    assert!(beyond > 0, "no sum was beyond int32");
}

#[test]
fn codes_from_sums_beyond_int32_are_those_of_the_exact_ones() {
    let inputs = 70_001;
    let deep = Deep::new(inputs, false);
    let step = 4000.0;
    let second = Affine { scale: step, zero_point: 131, signed: false };
    for isa in Isa::available() {
        let identity: Vec<i8> = (0..deep.outputs * deep.outputs)
            .map(|at| i8::from(at / deep.outputs == at % deep.outputs))
            .collect();
        for weights in integer_kinds(isa, &deep.codes, deep.outputs, inputs, 0.125) {
            let kind = weights.kind();
            let identity = view(&identity, deep.outputs, deep.outputs).transposed();
            let identity = PackedI8::new(isa, identity).unwrap();
            let last = Box::new(DenseI8 { codes: identity, scale: vec![1.0; deep.outputs] });
            let none = || vec![0.0; deep.outputs];
            let program = Program::new(vec![
                layer(Input::Static(deep.input), weights, none(), Activation::Linear),
                layer(Input::Static(second), last, none(), Activation::Linear),
            ]);
            let mut out = vec![0.0; 2 * deep.outputs];
            program.unwrap().run_with(isa, &deep.x, false, &mut out).unwrap();
            for (at, &found) in out.iter().enumerate() {
                let sum = deep.sum(at / deep.outputs, at % deep.outputs);
                let level = (sum as f32 * (0.5 * 0.125 / step)).round_ties_even();
                let due = level.clamp(-131.0, 124.0) * step;
                assert_eq!(found, due, "{isa} {kind} {at}");
            }
        }
    }
}

#[test]
fn no_bit_of_a_float_network_depends_on_the_threads() {
    let _turn = THREADS.lock();
    let mut random = Random::new(3);
    let (inputs, hidden, outputs) = (300, 520, 150);
    let pruned = |random: &mut Random, rows: usize, cols: usize| -> Vec<f32> {
        let codes = sparse_codes(random, rows, cols);
        codes.iter().map(|&code| f32::from(code) / 91.0).collect()
    };
    let first = pruned(&mut random, hidden, inputs);
    let second = pruned(&mut random, outputs, hidden);
    let x = floats(&mut random, 700 * inputs);
    for kind in 0..5 {
        let build = || {
            let weights = float_kinds(&first, hidden, inputs).swap_remove(kind);
            let last = float_kinds(&second, outputs, hidden).swap_remove(kind);
            Program::new(vec![
                layer(Input::Float, weights, vec![0.5; hidden], Activation::RELU),
                layer(Input::Float, last, vec![0.0; outputs], Activation::Softmax),
            ])
            .unwrap()
        };
        for rows in [1, 2, 8, 9, 33, 39, 40, 60, 61, 255, 700] {
            let run = |count| {
                on_threads(count, || {
                    let mut out = vec![0.0; rows * outputs];
                    build().run(&x[..rows * inputs], false, &mut out).unwrap();
                    out
                })
            };
            let one = run(1);
            for count in [2, 3, 7] {
                let many = run(count);
                let same = one.iter().zip(&many).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "kind {kind}, {rows} rows, {count} threads");
            }
        }
    }
}

#[test]
fn a_network_of_integers_is_the_naive_one() {
    let mut random = Random::new(11);
    let sizes = [37, 50, 21];
    let codes: Vec<Vec<i8>> =
        sizes.windows(2).map(|s| sparse_codes(&mut random, s[1], s[0])).collect();
    let affine = [
        Affine { scale: 0.02, zero_point: 120, signed: false },
        Affine { scale: 0.9, zero_point: -17, signed: true },
    ];
    let bias = vec![0.75; sizes[1]];
    let rows = 45;
    let x = floats(&mut random, rows * sizes[0]);
    // Codes by the definition, in float32 as the network has them.
    let code = |value: f32, to: Affine| -> i32 {
        ((value.round_ties_even() as i32).saturating_add(to.zero_point)).clamp(to.min(), to.max())
    };
    let mut due = Vec::new();
    for row in x.chunks(sizes[0]) {
        let input: Vec<i32> = row
            .iter()
            .map(|x| code(x / affine[0].scale, affine[0]) - affine[0].zero_point)
            .collect();
        let hidden: Vec<i32> = (0..sizes[1])
            .map(|output| {
                let weights = &codes[0][output * sizes[0]..][..sizes[0]];
                let sum: i32 = input.iter().zip(weights).map(|(x, &w)| x * i32::from(w)).sum();
                let scale = affine[0].scale * 0.125;
                let bias = (f64::from(bias[output]) / f64::from(scale)).round_ties_even() as i32;
                let level = (sum + bias) as f32 * (scale / affine[1].scale);
                // The code of 0 is what a ReLU clamps at.
                code(level.max(0.0), affine[1]) - affine[1].zero_point
            })
            .collect();
        for output in 0..sizes[2] {
            let weights = &codes[1][output * sizes[1]..][..sizes[1]];
            let sum: i32 = hidden.iter().zip(weights).map(|(x, &w)| x * i32::from(w)).sum();
            due.push(sum as f32 * (affine[1].scale * 0.125) + 0.0);
        }
    }
    for isa in Isa::available() {
        for kind in 0..5 {
            let weights = |at: usize| {
                integer_kinds(isa, &codes[at], sizes[at + 1], sizes[at], 0.125).swap_remove(kind)
            };
            let program = Program::new(vec![
                layer(Input::Static(affine[0]), weights(0), bias.clone(), Activation::RELU),
                layer(
                    Input::Static(affine[1]),
                    weights(1),
                    vec![0.0; sizes[2]],
                    Activation::Linear,
                ),
            ])
            .unwrap();
            for count in [1, 2, 6, 7, rows] {
                let mut out = vec![f32::NAN; count * sizes[2]];
                program.run_with(isa, &x[..count * sizes[0]], false, &mut out).unwrap();
                assert_eq!(out, due[..out.len()], "{isa}, kind {kind}, {count} rows");
            }
        }
    }
}

#[test]
fn logits_leave_out_the_last_activation_alone() {
    let weights = |outputs: usize, inputs: usize, value: f32| {
        let values = vec![value; outputs * inputs];
        Box::new(Dense(FloatWeights::from_f32(view(&values, outputs, inputs)).unwrap()))
    };
    let program = Program::new(vec![
        layer(Input::Float, weights(3, 2, -1.0), vec![0.0; 3], Activation::RELU),
        layer(Input::Float, weights(2, 3, 1.0), vec![-4.0, 4.0], Activation::RELU),
    ])
    .unwrap();
    let mut out = vec![0.0; 2];
    program.run(&[1.0, 1.0], true, &mut out).unwrap();
    assert_eq!(out, [-4.0, 4.0]);
    program.run(&[1.0, 1.0], false, &mut out).unwrap();
    assert_eq!(out, [0.0, 4.0]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let weights = || Box::new(Dense(FloatWeights::from_f32(view(&[1.0; 6], 2, 3)).unwrap()));
    let build = |layers| Program::new(layers).map(|_| ()).unwrap_err().to_string();
    assert!(build(vec![]).contains("at least one layer"));
    let two = || layer(Input::Float, weights(), vec![0.0; 2], Activation::Linear);
    assert!(build(vec![two(), two()]).contains("layer 1"));
    let short = layer(Input::Float, weights(), vec![0.0; 1], Activation::Linear);
    assert!(build(vec![short]).contains("bias has 1 elements for 2 outputs"));
    let dynamic = layer(Input::Dynamic, weights(), vec![0.0; 2], Activation::Linear);
    assert!(build(vec![dynamic]).contains("dense float32"));
    let program = Program::new(vec![two()]).unwrap();
    for (x, out) in [(3, 3), (4, 2), (6, 2), (3, 0)] {
        assert!(program.run(&vec![0.0; x], false, &mut vec![0.0; out]).is_err(), "{x} {out}");
    }
    assert!(program.run(&[], false, &mut []).is_ok());
}

#[test]
fn the_row_of_a_nan_is_the_callers() {
    let _turn = THREADS.lock();
    let (inputs, rows) = (640, 3000);
    let codes = vec![1_i8; 4 * inputs];
    let mut x = vec![1.0; rows * inputs];
    x[2718 * inputs + 5] = f32::NAN;
    x[2900 * inputs] = f32::NAN;
    for count in [1, 2, 5] {
        let isa = Isa::best();
        let packed = PackedI8::new(isa, view(&codes, 4, inputs).transposed()).unwrap();
        let weights = Box::new(DenseI8 { codes: packed, scale: vec![1.0; 4] });
        let mut out = vec![0.0; rows * 4];
        let error = on_threads(count, || {
            linear_with(isa, &x, &*weights, &[], Activation::Linear, &mut out).unwrap_err()
        });
        assert!(error.to_string().ends_with("row 2718"), "{error}");
        let one = layer(Input::Dynamic, weights, vec![0.0; 4], Activation::Linear);
        let program = Program::new(vec![one]).unwrap();
        let error = on_threads(count, || program.run(&x, false, &mut out).unwrap_err());
        assert!(error.to_string().ends_with("row 2718"), "{error}");
    }
}
