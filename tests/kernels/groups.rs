//! Groups quantized in one pass are what `ranges` and `quantize` make of them in two.

use proptest::prelude::*;
use qcore_kernels::Isa;
use qcore_kernels::quant::{
    Grouped, Layout, Params, quantize_groups_with, quantize_with, ranges_with,
};

use crate::guard::Guarded;
use crate::random::Random;

fn check(isa: Isa, x: &[f32], row: usize, group: usize, greatest: i32) {
    let x = Guarded::new(x);
    let mut out = Guarded::new(&vec![0_i8; x.len()]);
    let how = Grouped { row, group, greatest: greatest as f32, half: false };
    let found = quantize_groups_with(isa, &x, how, &mut out).unwrap();
    let layout = Layout::Groups { row, group };
    let ranges = ranges_with(Isa::Scalar, &x, layout).unwrap();
    let scale: Vec<f32> =
        ranges.iter().map(|range| range.absmax() as f32 / greatest as f32).collect();
    let odd = ranges.iter().any(|range| range.nan > 0 || range.infinite > 0);
    if odd || !scale.iter().all(|scale| scale.is_normal()) {
        assert_eq!(found, None);
        return;
    }
    let mut wanted = vec![0_i8; x.len()];
    let params = Params { layout, scale: &scale, zero_point: &[], min: -greatest, max: greatest };
    quantize_with(Isa::Scalar, &x, params, &mut wanted).unwrap();
    assert_eq!(found.as_deref(), Some(&scale[..]));
    assert_eq!(&out[..], &wanted[..], "{isa} rows of {row} in groups of {group}");
}

proptest! {
    #[test]
    fn every_length_on_every_isa(
        rows in 1_usize..4, row in 1_usize..150, group in 1_usize..70, seed in any::<u64>(),
        exponent in -30_i32..30, greatest in prop::sample::select(vec![1, 3, 7, 127]),
    ) {
        let mut random = Random::new(seed);
        let mut next = || (random.below(20_001) as f32 - 10_000.0) * 2_f32.powi(exponent);
        let x: Vec<f32> = (0..rows * row).map(|_| next()).collect();
        for isa in Isa::available() {
            check(isa, &x, row, group, greatest);
        }
    }

    #[test]
    fn any_bits(bits in prop::collection::vec(any::<u32>(), 1..100), group in 1_usize..40) {
        let x: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        for isa in Isa::available() {
            check(isa, &x, x.len(), group, 127);
        }
    }

    /// Halves of the step, where a reciprocal would go wrong.
    #[test]
    fn ties(levels in prop::collection::vec(-254_i32..255, 33..90), scale in 0.001_f32..100.0) {
        let mut x: Vec<f32> = levels.iter().map(|&half| half as f32 * 0.5 * scale).collect();
        x[0] = 127.0 * scale;
        for isa in Isa::available() {
            check(isa, &x, x.len(), x.len(), 127);
        }
    }
}
