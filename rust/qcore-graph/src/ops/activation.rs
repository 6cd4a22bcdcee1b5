//! What a product or a convolution does to its sums: bias and residual added, then an activation.

use crate::attributes::Attributes;
use crate::error::{Result, value_error};
use crate::ops::scalar;

/// An activation with its parameters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Activation {
    function: fn(f32, f32, f32) -> f32,
    a: f32,
    b: f32,
    linear: bool,
    clamp: Option<(f32, f32)>,
}

/// A name, the function, and what its parameters are by default.
type Line = (&'static str, fn(f32, f32, f32) -> f32, f32, f32);

const TABLE: &[Line] = &[
    ("linear", |x, _, _| x, 0.0, 0.0),
    ("relu", |x, _, _| scalar::relu(x), 0.0, 0.0),
    ("relu6", clip, 0.0, 6.0),
    ("clip", clip, f32::NEG_INFINITY, f32::INFINITY),
    ("sigmoid", |x, _, _| scalar::sigmoid(x), 0.0, 0.0),
    ("tanh", |x, _, _| scalar::tanh(x), 0.0, 0.0),
    ("hard_sigmoid", scalar::hard_sigmoid, 0.2, 0.5),
    ("hard_swish", |x, _, _| scalar::hard_swish(x), 0.0, 0.0),
    ("silu", |x, _, _| scalar::silu(x), 0.0, 0.0),
    ("gelu", |x, _, _| scalar::gelu(x), 0.0, 0.0),
    ("gelu_tanh", |x, _, _| scalar::gelu_tanh(x), 0.0, 0.0),
    ("leaky_relu", scalar::leaky_relu, 0.01, 0.0),
    ("elu", scalar::elu, 1.0, 0.0),
    ("softplus", |x, _, _| scalar::softplus(x), 0.0, 0.0),
];

fn clip(x: f32, low: f32, high: f32) -> f32 {
    if x < low {
        low
    } else if x > high {
        high
    } else {
        x
    }
}

impl Activation {
    /// Reads `activation` and, for what it takes, `activation_min` and `activation_max` or
    /// `activation_alpha` and `activation_beta`.
    pub(super) fn read(attributes: Attributes<'_>) -> Result<Self> {
        let name = attributes.text_or("activation", "linear")?;
        let Some(&(_, function, a, b)) = TABLE.iter().find(|line| line.0 == name) else {
            let allowed: Vec<_> = TABLE.iter().map(|line| line.0).collect();
            let allowed = allowed.join("', '");
            return Err(value_error!("activation is '{name}'; it must be one of '{allowed}'"));
        };
        let [first, second] = if matches!(name, "clip" | "relu6") {
            ["activation_min", "activation_max"]
        } else {
            ["activation_alpha", "activation_beta"]
        };
        let (a, b) = (attributes.float_or(first, a)?, attributes.float_or(second, b)?);
        let clamp = match name {
            "linear" => Some((f32::NEG_INFINITY, f32::INFINITY)),
            "relu" => Some((0.0, f32::INFINITY)),
            "relu6" | "clip" => Some((a, b)),
            _ => None,
        };
        Ok(Self { function, a, b, linear: name == "linear", clamp })
    }

    /// The bounds of a clamp: infinities where there is none. None of any other function.
    pub(super) fn bounds(self) -> Option<(f32, f32)> {
        self.clamp
    }

    /// Replaces values by what it makes of them.
    pub(super) fn apply(self, values: &mut [f32]) {
        if !self.linear {
            let Self { function, a, b, .. } = self;
            for x in values.iter_mut() {
                *x = function(*x, a, b);
            }
        }
    }

    /// Whether it leaves values as they are.
    pub(super) fn is_linear(self) -> bool {
        self.linear
    }
}
