//! The activations of recurrent cells, by ONNX's names for them.

use qcore_kernels::Isa;
use qcore_kernels::elementwise::{Unary, unary_in_place_with};

use crate::error::{Result, value_error};
use crate::graph::attributes::Attributes;
use crate::ops::scalar;

/// A function with its parameters.
#[derive(Clone, Copy)]
pub(super) struct Gate {
    function: Function,
    alpha: f32,
    beta: f32,
}

#[derive(Clone, Copy)]
enum Function {
    /// One that kernels have.
    Kernel(Unary),
    /// Of an element and two parameters.
    Each(fn(f32, f32, f32) -> f32),
}

use Function::{Each, Kernel};

impl Gate {
    /// Replaces each element by what the gate makes of it, clipped before.
    pub(super) fn apply(self, isa: Isa, clip: f32, x: &mut [f32]) {
        if clip.is_finite() {
            for x in x.iter_mut() {
                *x = x.clamp(-clip, clip);
            }
        }
        match self.function {
            Kernel(unary) => unary_in_place_with(isa, unary, x),
            Each(function) => {
                for x in x {
                    *x = function(*x, self.alpha, self.beta);
                }
            }
        }
    }
}

/// Names (in lower case), functions and default parameters.
type Line = (&'static str, Function, f32, f32);
const GATES: &[Line] = &[
    ("sigmoid", Kernel(Unary::Sigmoid), 0.0, 0.0),
    ("tanh", Kernel(Unary::Tanh), 0.0, 0.0),
    ("relu", Kernel(Unary::Relu), 0.0, 0.0),
    ("affine", Each(|x, alpha, beta| alpha * x + beta), 1.0, 0.0),
    ("leakyrelu", Each(scalar::leaky_relu), 0.01, 0.0),
    ("thresholdedrelu", Each(|x, alpha, _| if x > alpha { x } else { 0.0 }), 1.0, 0.0),
    ("scaledtanh", Each(|x, alpha, beta| alpha * scalar::tanh(beta * x)), 1.0, 1.0),
    ("hardsigmoid", Each(scalar::hard_sigmoid), 0.2, 0.5),
    ("elu", Each(scalar::elu), 1.0, 0.0),
    ("softsign", Each(|x, _, _| x / (1.0 + x.abs())), 0.0, 0.0),
    ("softplus", Each(|x, _, _| scalar::softplus(x)), 0.0, 0.0),
];

/// Reads them: as many for each direction as there are defaults.
pub(super) fn read(a: Attributes<'_>, defaults: &[&str], directions: usize) -> Result<Vec<Gate>> {
    let names: Vec<String> = match a.raw("activations") {
        None => defaults.iter().map(|&name| name.to_owned()).collect(),
        Some(_) => a
            .texts("activations")?
            .unwrap_or_default()
            .iter()
            .map(|name| name.to_lowercase().replace('_', ""))
            .collect(),
    };
    let (wanted, all) = (defaults.len(), defaults.len() * directions);
    if names.len() != wanted && names.len() != all {
        return Err(value_error!("activations has {} elements, not {all}", names.len()));
    }
    let alphas = a.floats("activation_alpha")?.unwrap_or_default();
    let betas = a.floats("activation_beta")?.unwrap_or_default();
    (0..all)
        .map(|at| {
            let name = &names[at % names.len()];
            let line = GATES.iter().find(|line| line.0 == name);
            let &(_, function, alpha, beta) =
                line.ok_or_else(|| value_error!("activation '{name}' is not known"))?;
            let part = |values: &[f32], default| values.get(at).copied().unwrap_or(default);
            Ok(Gate { function, alpha: part(&alphas, alpha), beta: part(&betas, beta) })
        })
        .collect()
}
