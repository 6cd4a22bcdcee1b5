//! From the sums of a layer straight to the codes of its output.

use super::Affine;

/// Integer biases and multipliers, where a layer can go from codes to codes: every bias fits int32
/// beside the greatest sum.
///
/// A channel of next to no weight can have a bias that does not fit; such a layer goes by floats,
/// which lose nothing.
pub(crate) fn requantized(
    inputs: usize,
    bias: &[f32],
    weight_scale: &[f32],
    input: Affine,
    output: Affine,
) -> Option<(Vec<i32>, Vec<f32>)> {
    // |code - zero_point| <= 255 and |weight| <= 128.
    let greatest = inputs as f64 * 255.0 * 128.0;
    let room = (i32::MAX as f64 - greatest).max(0.0);
    let (mut biases, mut multipliers) = (Vec::new(), Vec::new());
    for (bias, weight_scale) in bias.iter().zip(weight_scale) {
        let scale = input.scale * weight_scale;
        let code = (*bias as f64 / scale as f64).round_ties_even();
        let multiplier = scale / output.scale;
        if code.abs() > room || !multiplier.is_normal() {
            return None;
        }
        biases.push(code as i32);
        multipliers.push(multiplier);
    }
    Some((biases, multipliers))
}
