//! The activation that is fused behind a product or a convolution.

use qcore_kernels::elementwise::Unary;
use qcore_kernels::epilogue::Activation;

use crate::error::{Result, value_error};
use crate::graph::attributes::Attributes;

/// Reads `activation` and, for what it takes, `activation_min` and `activation_max` or
/// `activation_alpha` and `activation_beta`.
pub(super) fn read(attributes: Attributes<'_>) -> Result<Activation> {
    let name = attributes.text_or("activation", "linear")?;
    let found = Activation::from_name(name).filter(|found| *found != Activation::Softmax);
    let Some(activation) = found else {
        let allowed = Unary::names().collect::<Vec<_>>().join("', '");
        return Err(value_error!("activation is '{name}'; it must be 'linear', '{allowed}'"));
    };
    let Activation::Each(function) = activation else { return Ok(activation) };
    let number = |name: &str, default: f32| attributes.float_or(name, default);
    Ok(Activation::Each(match function {
        Unary::Clip { low, high } => Unary::Clip {
            low: number("activation_min", low)?,
            high: number("activation_max", high)?,
        },
        Unary::HardSigmoid { slope, offset } => Unary::HardSigmoid {
            slope: number("activation_alpha", slope)?,
            offset: number("activation_beta", offset)?,
        },
        Unary::LeakyRelu { slope } => {
            Unary::LeakyRelu { slope: number("activation_alpha", slope)? }
        }
        Unary::Elu { scale } => Unary::Elu { scale: number("activation_alpha", scale)? },
        other => other,
    }))
}
