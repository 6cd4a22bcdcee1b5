//! Quantize, dequantize, ranges and their kin against an oracle of one value at a time, on every
//! instruction set, in buffers that end at a guard page.

use half::{bf16, f16};
use proptest::prelude::*;
use qcore_kernels::Isa;
use qcore_kernels::quant::{
    Code, Counts, Element, Layout, Params, dequantize_with, fake_quantize_with,
    floor_quantize_with, quantize_with, ranges_with,
};

use crate::guard::Guarded;
use crate::simd::odd_floats;

/// Which scale element `index` has, by the definition of each layout.
fn scale_of(layout: Layout, index: usize) -> usize {
    match layout {
        Layout::Tensor => 0,
        Layout::Axis { channels, inner } => index / inner % channels,
        Layout::Groups { row, group } => index / row * row.div_ceil(group) + index % row / group,
    }
}

/// The definition, in the type that the elements compute in.
pub(crate) fn quantize_one<T: Element>(
    x: T,
    scale: f32,
    zero: i32,
    min: i32,
    max: i32,
) -> (i32, Counts) {
    let wide = if T::WIDE {
        (x.to_f64() / f64::from(scale)).round_ties_even()
    } else {
        f64::from((x.to_f32() / scale).round_ties_even())
    };
    if x.to_f64().is_nan() {
        return (zero.clamp(min, max), Counts { clipped: 0, nan: 1 });
    }
    let code = (wide + f64::from(zero)).clamp(f64::from(min), f64::from(max));
    let clipped = usize::from(code != wide + f64::from(zero));
    (code as i32, Counts { clipped, nan: 0 })
}

fn layouts(len: usize) -> Vec<Layout> {
    let mut layouts = vec![Layout::Tensor, Layout::Axis { channels: len.max(1), inner: 1 }];
    if len > 0 {
        layouts.push(Layout::Groups { row: len, group: 32 });
        layouts.push(Layout::Groups { row: len, group: len });
    }
    for parts in [2, 3, 7] {
        if len > 0 && len.is_multiple_of(parts) {
            layouts.push(Layout::Axis { channels: parts, inner: len / parts });
            layouts.push(Layout::Axis { channels: len / parts, inner: parts });
            layouts.push(Layout::Axis { channels: len / parts, inner: 1 });
            layouts.push(Layout::Groups { row: len / parts, group: 5 });
        }
    }
    layouts
}

/// Values around the codes' range, ties, and what is not a number.
pub(crate) fn values<T: Element>(len: usize, seed: usize) -> Vec<T> {
    let odd = odd_floats();
    let at = |i: usize| {
        let h = (i + seed).wrapping_mul(2_654_435_761) >> 7;
        if h.is_multiple_of(11) {
            odd[h / 11 % odd.len()]
        } else {
            (h % 1200) as f32 * 0.25 - 150.0
        }
    };
    (0..len).map(|i| T::from_f32(at(i))).collect()
}

fn check_quantize<T: Element, C: Code + PartialEq + std::fmt::Debug>(
    isa: Isa,
    x: &[T],
    params: Params<'_>,
) {
    let x = Guarded::new(x);
    let mut out = Guarded::new(&vec![C::default(); x.len()]);
    let found = quantize_with(isa, &x, params, &mut out).unwrap();
    let mut wanted = Counts::default();
    for (index, (&x, &code)) in x.iter().zip(out.iter()).enumerate() {
        let scale = scale_of(params.layout, index);
        let zero = params.zero_point.get(scale).copied().unwrap_or(0);
        let (one, counts) = quantize_one(x, params.scale[scale], zero, params.min, params.max);
        wanted.clipped += counts.clipped;
        wanted.nan += counts.nan;
        let real = x.to_f64();
        assert_eq!(code.to_i32(), one, "{isa} {params:?} [{index}] = {real}");
    }
    assert_eq!(found, wanted, "{isa} {params:?}");
}

fn check_quantize_all<T: Element, C: Code + PartialEq + std::fmt::Debug>(min: i32, max: i32) {
    for len in (0..140).chain([1000, 2053]) {
        let x = values::<T>(len, len);
        for layout in layouts(len) {
            let count = layout.scales(len);
            let scale: Vec<f32> =
                (0..count).map(|i| [1.0, 0.5, 0.123, 3e-39, 2e38, 0.007_874_016][i % 6]).collect();
            let zero: Vec<i32> = (0..count).map(|i| min.max(max - 3 * i as i32)).collect();
            for isa in Isa::available() {
                let params = Params { layout, scale: &scale, zero_point: &[], min, max };
                check_quantize::<T, C>(isa, &x, params);
                let params = Params { zero_point: &zero, ..params };
                check_quantize::<T, C>(isa, &x, params);
            }
        }
    }
}

#[test]
fn float32_to_every_code_type() {
    check_quantize_all::<f32, i8>(-128, 127);
    check_quantize_all::<f32, i8>(-7, 7);
    check_quantize_all::<f32, u8>(0, 255);
    check_quantize_all::<f32, i16>(-32768, 32767);
    check_quantize_all::<f32, u16>(0, 65535);
}

#[test]
fn other_floats_to_bytes() {
    check_quantize_all::<f64, i8>(-127, 127);
    check_quantize_all::<f16, i8>(-127, 127);
    check_quantize_all::<bf16, u8>(0, 255);
}

#[test]
fn near_ties_are_those_of_division() {
    // Every half step, and its neighbours, for scales whose reciprocal is not exact.
    for scale in [0.1_f32, 0.3, 0.007_874_016, 1.7e-6, 3.3e7, 0.999_999_94, 1.000_000_1] {
        let mut x = Vec::new();
        for half in -260..=260 {
            let tie = half as f32 * 0.5 * scale;
            x.extend([tie, tie.next_up(), tie.next_down(), tie.next_up().next_up()]);
        }
        for isa in Isa::available() {
            for (zero, min, max) in [(0, -128, 127), (-128, -128, 127), (127, -127, 127)] {
                let params = Params {
                    layout: Layout::Tensor,
                    scale: &[scale],
                    zero_point: &[zero],
                    min,
                    max,
                };
                check_quantize::<f32, i8>(isa, &x, params);
            }
        }
    }
}

#[test]
fn big_arrays_are_streamed_and_split_without_a_seam() {
    // 2^23 bytes of codes pass the cache; the odd start keeps the output unaligned.
    let len = (1 << 23) + 79;
    let x = values::<f32>(len, 1);
    let mut out = vec![0_i8; len + 3];
    let mut real = vec![0.0_f32; len];
    for (layout, count) in [(Layout::Tensor, 1), (Layout::Axis { channels: 3, inner: len / 3 }, 3)]
    {
        let scale: Vec<f32> = (0..count).map(|i| 0.7 + i as f32).collect();
        let params = Params { layout, scale: &scale, zero_point: &[], min: -128, max: 127 };
        let found = quantize_with(Isa::best(), &x, params, &mut out[3..]).unwrap();
        let mut wanted = Counts::default();
        for (index, &x) in x.iter().enumerate() {
            let (one, counts) = quantize_one(x, scale[scale_of(layout, index)], 0, -128, 127);
            assert_eq!(i32::from(out[3 + index]), one, "[{index}] = {x}");
            wanted.clipped += counts.clipped;
            wanted.nan += counts.nan;
        }
        assert_eq!(found, wanted);
        dequantize_with(Isa::best(), &out[3..], params, &mut real).unwrap();
        for (index, &code) in out[3..].iter().enumerate() {
            assert_eq!(real[index], f32::from(code) * scale[scale_of(layout, index)]);
        }
    }
}

fn check_dequantize<C: Code, T: Element>() {
    for len in (0..70).chain([1000, 2053]) {
        let span = C::MAX - C::MIN + 1;
        let codes: Vec<C> = (0..len)
            .map(|i| C::from_i32(C::MIN + (i as i32 * 7919 + 5).rem_euclid(span)))
            .collect();
        let codes = Guarded::new(&codes);
        for layout in layouts(len) {
            let count = layout.scales(len);
            let scale: Vec<f32> = (0..count).map(|i| 0.1 + 0.3 * (i % 50) as f32).collect();
            let zeros: Vec<i32> = (0..count).map(|i| C::MIN + (i % 90) as i32).collect();
            for zero_point in [&[][..], &zeros[..]] {
                let params = Params { layout, scale: &scale, zero_point, min: 0, max: 0 };
                for isa in Isa::available() {
                    let mut out = Guarded::new(&vec![T::default(); len]);
                    dequantize_with(isa, &codes, params, &mut out).unwrap();
                    for (index, (code, real)) in codes.iter().zip(out.iter()).enumerate() {
                        let at = scale_of(layout, index);
                        let level = code.to_i32() - zero_point.get(at).copied().unwrap_or(0);
                        let wanted = if T::WIDE {
                            T::from_f64(f64::from(level) * f64::from(scale[at]))
                        } else {
                            T::from_f32(level as f32 * scale[at])
                        };
                        assert_eq!(real.to_f64(), wanted.to_f64(), "{isa} {layout:?} [{index}]");
                    }
                }
            }
        }
    }
}

#[test]
fn codes_of_every_type_decode() {
    check_dequantize::<i8, f32>();
    check_dequantize::<u8, f32>();
    check_dequantize::<i16, f32>();
    check_dequantize::<u16, f32>();
    check_dequantize::<i8, f64>();
    check_dequantize::<i8, f16>();
    check_dequantize::<u8, bf16>();
}

fn check_ranges<T: Element>(clean: bool) {
    for len in (0..140).chain([1000, 2053]) {
        let mut x = values::<T>(len, 3);
        if clean {
            x.retain(|x| x.to_f64().is_finite());
        }
        let x = Guarded::new(&x);
        for layout in layouts(x.len()) {
            for isa in Isa::available() {
                let found = ranges_with(isa, &x, layout).unwrap();
                assert_eq!(found.len(), layout.scales(x.len()));
                for (scale, found) in found.iter().enumerate() {
                    let mine = |i: &usize| scale_of(layout, *i) == scale;
                    let mine: Vec<f64> = (0..x.len()).filter(mine).map(|i| x[i].to_f64()).collect();
                    let finite = mine.iter().copied().filter(|x| x.is_finite());
                    assert_eq!(found.min, finite.clone().fold(f64::INFINITY, f64::min));
                    assert_eq!(found.max, finite.fold(f64::NEG_INFINITY, f64::max));
                    assert_eq!(found.nan, mine.iter().filter(|x| x.is_nan()).count());
                    assert_eq!(found.infinite, mine.iter().filter(|x| x.is_infinite()).count());
                }
            }
        }
    }
}

#[test]
fn ranges_are_those_of_the_finite_values() {
    for clean in [false, true] {
        check_ranges::<f32>(clean);
        check_ranges::<f64>(clean);
        check_ranges::<f16>(clean);
        check_ranges::<bf16>(clean);
    }
}

#[test]
fn one_nan_is_seen_wherever_it_is() {
    for len in [1, 15, 16, 17, 63, 64, 65, 130] {
        for place in 0..len {
            let mut x = vec![1.0_f32; len];
            x[place] = f32::NAN;
            for isa in Isa::available() {
                for layout in [Layout::Tensor, Layout::Axis { channels: 1, inner: len }] {
                    let range = ranges_with(isa, &x, layout).unwrap()[0];
                    assert_eq!(range.nan, 1, "{isa} {len} {place}");
                }
            }
        }
    }
}

#[test]
fn fake_quantization_is_quantize_then_dequantize() {
    for len in (0..70).chain([1000]) {
        let x = Guarded::new(&values::<f32>(len, 9));
        for layout in layouts(len) {
            let count = layout.scales(len);
            let scale: Vec<f32> = (0..count).map(|i| [1.0, 0.37][i % 2]).collect();
            let zero_point: Vec<i32> = (0..count).map(|i| -3 - (i % 50) as i32).collect();
            for zero_point in [&[][..], &zero_point[..]] {
                let params = Params { layout, scale: &scale, zero_point, min: -128, max: 127 };
                for isa in Isa::available() {
                    let mut out = Guarded::new(&vec![9.0; len]);
                    let mut inside = Guarded::new(&vec![9.0; len]);
                    fake_quantize_with(isa, &x, params, &mut out, Some(&mut inside)).unwrap();
                    for (index, &x) in x.iter().enumerate() {
                        let at = scale_of(layout, index);
                        let zero = zero_point.get(at).copied().unwrap_or(0);
                        let (code, counts) = quantize_one(x, scale[at], zero, -128, 127);
                        if x.is_nan() {
                            assert!(out[index].is_nan(), "{isa} {layout:?} [{index}]");
                            continue;
                        }
                        assert_eq!(out[index], (code - zero) as f32 * scale[at], "{isa} [{index}]");
                        assert_eq!(inside[index], 1.0 - counts.clipped as f32, "{isa} [{index}]");
                    }
                    let mut alone = Guarded::new(&vec![9.0; len]);
                    fake_quantize_with(isa, &x, params, &mut alone, None).unwrap();
                    let same = |(a, b): (&f32, &f32)| a == b || (a.is_nan() && b.is_nan());
                    assert!(out.iter().zip(alone.iter()).all(same));
                }
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let params =
        Params { layout: Layout::Tensor, scale: &[1.0], zero_point: &[], min: -128, max: 127 };
    let isa = Isa::Scalar;
    assert!(quantize_with(isa, &[1.0_f32], params, &mut [0_i8; 2]).is_err());
    assert!(quantize_with(isa, &[1.0_f32], params, &mut [0_u8]).is_err());
    assert!(quantize_with(isa, &[1.0_f32], Params { scale: &[], ..params }, &mut [0_i8]).is_err());
    let zero_point = &[i32::MIN][..];
    assert!(quantize_with(isa, &[1.0_f32], Params { zero_point, ..params }, &mut [0_i8]).is_err());
    let layout = Layout::Axis { channels: 2, inner: 2 };
    assert!(ranges_with(isa, &[1.0_f32; 3], layout).is_err());
    let layout = Layout::Groups { row: 4, group: 0 };
    assert!(ranges_with(isa, &[1.0_f32; 4], layout).is_err());
    assert!(floor_quantize_with(isa, &[1.0_f32], 1.0, 0.0, -1, 1, &mut [0_u8]).is_err());
    assert!(dequantize_with(isa, &[1_i8], params, &mut [0.0_f32; 2]).is_err());
}

proptest! {
    /// Any bits, any scale: what every instruction set gives is the definition.
    #[test]
    fn any_float_and_any_scale(
        bits in prop::collection::vec(any::<u32>(), 0..200),
        scale in 1_u32..0x7f80_0000,
        zero in -128_i32..128,
    ) {
        let x: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let scale = [f32::from_bits(scale)];
        let params = Params {
            layout: Layout::Tensor, scale: &scale, zero_point: &[zero], min: -128, max: 127,
        };
        for isa in Isa::available() {
            check_quantize::<f32, i8>(isa, &x, params);
        }
    }

    /// Products near every level, where a reciprocal would go wrong.
    #[test]
    fn multiples_of_the_scale(
        levels in prop::collection::vec((-520_i32..520, -3_i32..4), 64..130),
        scale in 0x2000_0000_u32..0x6000_0000,
    ) {
        let scale = [f32::from_bits(scale)];
        let near = |(half, off): (i32, i32)| {
            let tie = half as f32 * 0.5 * scale[0];
            f32::from_bits(tie.to_bits().wrapping_add_signed(off))
        };
        let x: Vec<f32> = levels.into_iter().map(near).collect();
        let params =
            Params { layout: Layout::Tensor, scale: &scale, zero_point: &[], min: -128, max: 127 };
        for isa in Isa::available() {
            check_quantize::<f32, i8>(isa, &x, params);
        }
    }
}
