//! The floor form, and rows that find their own scale, on every instruction set.

use half::f16;
use qcore_kernels::Isa;
use qcore_kernels::quant::{
    Code, Counts, Element, fake_quantize_rows_with, floor_dequantize_with, floor_quantize_with,
    quantize_rows_i8_with,
};

use crate::guard::Guarded;
use crate::quant::{quantize_one, values};

fn check_floor<T: Element, C: Code>(scale: f64, offset: f64, min: i32, max: i32) {
    for len in (0..40).chain([1000]) {
        let x = Guarded::new(&values::<T>(len, 2));
        for isa in Isa::available() {
            let mut out = Guarded::new(&vec![C::default(); len]);
            let found = floor_quantize_with(isa, &x, scale, offset, min, max, &mut out).unwrap();
            let mut wanted = Counts::default();
            for (index, x) in x.iter().enumerate() {
                let cell = if T::WIDE {
                    ((x.to_f64() - offset) / scale).floor()
                } else {
                    f64::from(((x.to_f32() - offset as f32) / scale as f32).floor())
                };
                let cell = if cell.is_nan() { 0.0 } else { cell };
                let clamped = cell.clamp(f64::from(min), f64::from(max));
                wanted.nan += usize::from(x.to_f64().is_nan());
                wanted.clipped += usize::from(clamped != cell);
                assert_eq!(out[index].to_i32(), clamped as i32, "{isa} {}", x.to_f64());
            }
            assert_eq!(found, wanted, "{isa}");
            let mut real = Guarded::new(&vec![0.0_f32; len]);
            floor_dequantize_with(isa, &out, scale, offset, 0.5, &mut real).unwrap();
            for (code, &real) in out.iter().zip(real.iter()) {
                let wanted = (f64::from(code.to_i32()) + 0.5) * scale + offset;
                assert_eq!(real, wanted as f32, "{isa}");
            }
        }
    }
}

#[test]
#[allow(clippy::approx_constant, reason = "the worked example is this number")]
fn the_floor_form() {
    check_floor::<f32, i16>(0.01, 0.1, -32768, 32767);
    check_floor::<f32, u8>(1.7, -150.0, 0, 255);
    check_floor::<f64, u16>(0.01, -100.0, 0, 65535);
    check_floor::<f16, i8>(1.0, 0.0, -128, 127);
    // 304, not 314: the offset counts.
    let mut code = [0_i16];
    let counts =
        floor_quantize_with(Isa::Scalar, &[3.141_59_f32], 0.01, 0.1, -32768, 32767, &mut code);
    assert_eq!((code[0], counts.unwrap()), (304, Counts::default()));
}

#[test]
fn dynamic_rows_find_their_own_scale() {
    for row in [1, 7, 64, 100] {
        let rows = 5;
        let mut x = values::<f32>(rows * row, 4);
        x.iter_mut().filter(|x| !x.is_finite() || x.abs() > 1e30).for_each(|x| *x = 1.0);
        x[..row].fill(0.0);
        let x = Guarded::new(&x);
        for isa in Isa::available() {
            let (mut out, mut scale) =
                (Guarded::new(&vec![9_i8; rows * row]), Guarded::new(&vec![0.0; rows]));
            quantize_rows_i8_with(isa, &x, row, &mut out, &mut scale).unwrap();
            assert_eq!(scale[0], 1.0);
            for (index, x) in x.chunks_exact(row).enumerate().skip(1) {
                let absmax = x.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
                assert_eq!(scale[index], if absmax > 0.0 { absmax / 127.5 } else { 1.0 });
            }
            for (index, &x) in x.iter().enumerate() {
                let (one, _) = quantize_one(x, scale[index / row], 0, -128, 127);
                assert_eq!(i32::from(out[index]), one, "{isa} {row} [{index}]");
            }
            let mut real = Guarded::new(&vec![9.0_f32; rows * row]);
            fake_quantize_rows_with(isa, &x, row, &mut real).unwrap();
            for (index, &real) in real.iter().enumerate() {
                let decoded = f32::from(out[index]) * scale[index / row];
                assert_eq!(real, decoded, "{isa} {row} [{index}]");
            }
        }
        let mut bad = x.to_vec();
        bad[2 * row] = f32::NAN;
        let error = fake_quantize_rows_with(Isa::best(), &bad, row, &mut vec![0.0; rows * row]);
        assert!(error.unwrap_err().to_string().contains("row 2"));
        let (mut out, mut scale) = (vec![0; rows * row], vec![0.0; rows]);
        let error = quantize_rows_i8_with(Isa::best(), &bad, row, &mut out, &mut scale);
        assert!(error.unwrap_err().to_string().contains("row 2"));
    }
}
