//! Stochastic rounding: up or down, each as likely as it is near, so that errors average out.

use super::quantize::Counts;
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::quant::code::Code;
use crate::quant::element::Element;
use crate::quant::layout::{Params, Run};
use crate::quant::split::map_parts;

/// Quantizes `x` into `out`, rounding `x / scale` up with the probability of its fraction.
///
/// The random number of an element depends on `seed` and its index alone, so neither threads nor
/// instruction sets play a part. NaN gets the code of 0.
///
/// Gupta et al., *Deep Learning with Limited Numerical Precision*, ICML 2015.
pub fn stochastic_quantize<T: Element, C: Code>(
    x: &[T],
    params: Params<'_>,
    seed: u64,
    out: &mut [C],
) -> Result<Counts> {
    params.check(x.len())?;
    if out.len() != x.len() || params.min < C::MIN || params.max > C::MAX {
        return Err(KernelError::Shape("out does not fit x or the codes".to_owned()));
    }
    let total = x.len();
    let mut counts = Counts::default();
    map_parts(
        params.layout,
        out,
        |part, out| {
            let mut counts = Counts::default();
            let mut pace = Pace::new();
            for run in part.runs.clone().map(|run| params.layout.run(run, total)) {
                pace.check(run.len)?;
                let start = run.start - part.elements.start;
                let (x, out) = (&x[run.start..run.start + run.len], &mut out[start..]);
                stochastic_run(x, &params, run, seed, &mut out[..run.len], &mut counts);
            }
            Ok(counts)
        },
        |found| counts.add(found),
    )?;
    Ok(counts)
}

fn stochastic_run<T: Element, C: Code>(
    x: &[T],
    params: &Params<'_>,
    run: Run,
    seed: u64,
    out: &mut [C],
    counts: &mut Counts,
) {
    for (index, (x, out)) in x.iter().zip(out).enumerate() {
        let scale = if run.each { index } else { run.scale };
        let zero = f64::from(params.zero(scale));
        let step = params.scale[scale];
        let level =
            if T::WIDE { x.to_f64() / f64::from(step) } else { f64::from(x.to_f32() / step) };
        let chance = uniform(seed, (run.start + index) as u64);
        let below = level.floor();
        let rounded = below + f64::from(u8::from(chance < level - below));
        let rounded = if level.is_nan() { 0.0 } else { rounded };
        let code = (rounded + zero).clamp(f64::from(params.min), f64::from(params.max));
        counts.nan += usize::from(level.is_nan());
        counts.clipped += usize::from(code != rounded + zero);
        *out = C::from_i32(code as i32);
    }
}

/// A number from [0, 1), by Steele, Lea and Flood's `SplitMix64` as a counter: *Fast Splittable
/// Pseudorandom Number Generators*, OOPSLA 2014.
fn uniform(seed: u64, index: u64) -> f64 {
    let mut z = seed.wrapping_add((index.wrapping_add(1)).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 * (0.5 / (1_u64 << 52) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::Layout;

    #[test]
    fn the_mean_of_many_is_the_value() {
        let x = vec![0.3_f32; 100_000];
        let mut codes = vec![0_i8; x.len()];
        let params =
            Params { layout: Layout::Tensor, scale: &[1.0], zero_point: &[], min: -8, max: 7 };
        stochastic_quantize(&x, params, 7, &mut codes).unwrap();
        let mean = codes.iter().map(|&c| f64::from(c)).sum::<f64>() / x.len() as f64;
        assert!((mean - 0.3).abs() < 0.01, "{mean}");
    }

    #[test]
    fn whole_levels_and_odd_values_are_not_random() {
        let x = [2.0_f32, -3.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let mut codes = [0_i8; 5];
        let params =
            Params { layout: Layout::Tensor, scale: &[1.0], zero_point: &[1], min: -8, max: 7 };
        let counts = stochastic_quantize(&x, params, 0, &mut codes).unwrap();
        assert_eq!((codes, counts), ([3, -2, 1, 7, -8], Counts { clipped: 2, nan: 1 }));
    }
}
