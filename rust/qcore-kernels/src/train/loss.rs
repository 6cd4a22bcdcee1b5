//! Softmax and cross entropy, with a temperature: hard labels and a teacher's alike.

use super::same_length;
use crate::error::{KernelError, Result};

/// Adds `weight · T² · KL(target ‖ softmax(logits / T))`, averaged over the rows, to the loss, and its
/// gradient with respect to the logits to `delta`; returns the loss.
///
/// With `T = 1` and one-hot targets this is the cross entropy. Hinton, Vinyals and Dean, *Distilling
/// the Knowledge in a Neural Network*, 2015, section 2.
pub fn softmax_loss(
    logits: &[f32],
    target: &[f32],
    cols: usize,
    temperature: f32,
    weight: f32,
    delta: &mut [f32],
) -> Result<f64> {
    if cols == 0 || !logits.len().is_multiple_of(cols) {
        return Err(KernelError::Shape(format!("{} logits in rows of {cols}", logits.len())));
    }
    same_length(logits.len(), &[("target", target.len()), ("delta", delta.len())])?;
    let rows = logits.len() / cols;
    let slope = weight * temperature / rows as f32;
    let mut total = 0.0;
    let rows_of = |x| <[f32]>::chunks_exact(x, cols);
    for ((z, target), delta) in
        rows_of(logits).zip(rows_of(target)).zip(delta.chunks_exact_mut(cols))
    {
        let top = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = z.iter().map(|z| ((z - top) / temperature).exp()).sum();
        let log_sum = sum.ln();
        for ((z, &target), delta) in z.iter().zip(target).zip(delta) {
            let log_p = (z - top) / temperature - log_sum;
            *delta += slope * (log_p.exp() - target);
            if target > 0.0 {
                total += (target * (target.ln() - log_p)) as f64;
            }
        }
    }
    Ok(total * (weight * temperature * temperature) as f64 / rows.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let logits = [0.3, -1.2, 2.0, 0.0, 0.5, -0.5];
        let target = [0.0, 1.0, 0.0, 0.2, 0.5, 0.3];
        for temperature in [1.0, 4.0] {
            let loss =
                |z: &[f32]| softmax_loss(z, &target, 3, temperature, 0.7, &mut [0.0; 6]).unwrap();
            let mut delta = [0.0; 6];
            softmax_loss(&logits, &target, 3, temperature, 0.7, &mut delta).unwrap();
            for index in 0..6 {
                let (mut up, mut down) = (logits, logits);
                up[index] += 1e-2;
                down[index] -= 1e-2;
                let slope = (loss(&up) - loss(&down)) / 2e-2;
                assert!((slope - delta[index] as f64).abs() < 1e-3, "{index}: {slope}");
            }
        }
    }
}
