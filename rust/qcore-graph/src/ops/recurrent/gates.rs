//! The activations of recurrent cells, by ONNX's names for them.

use crate::attributes::Attributes;
use crate::error::{Result, value_error};
use crate::ops::scalar;

/// A function with its parameters.
#[derive(Clone, Copy)]
pub(super) struct Gate {
    function: fn(f32, f32, f32) -> f32,
    alpha: f32,
    beta: f32,
}

impl Gate {
    pub(super) fn of(self, x: f32) -> f32 {
        (self.function)(x, self.alpha, self.beta)
    }
}

/// Names (in lower case), functions and default parameters.
type Line = (&'static str, fn(f32, f32, f32) -> f32, f32, f32);
const GATES: &[Line] = &[
    ("sigmoid", |x, _, _| scalar::sigmoid(x), 0.0, 0.0),
    ("tanh", |x, _, _| scalar::tanh(x), 0.0, 0.0),
    ("relu", |x, _, _| scalar::relu(x), 0.0, 0.0),
    ("affine", |x, alpha, beta| alpha * x + beta, 1.0, 0.0),
    ("leakyrelu", scalar::leaky_relu, 0.01, 0.0),
    ("thresholdedrelu", |x, alpha, _| if x > alpha { x } else { 0.0 }, 1.0, 0.0),
    ("scaledtanh", |x, alpha, beta| alpha * scalar::tanh(beta * x), 1.0, 1.0),
    ("hardsigmoid", scalar::hard_sigmoid, 0.2, 0.5),
    ("elu", scalar::elu, 1.0, 0.0),
    ("softsign", |x, _, _| x / (1.0 + x.abs()), 0.0, 0.0),
    ("softplus", |x, _, _| scalar::softplus(x), 0.0, 0.0),
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
