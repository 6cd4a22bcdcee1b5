//! Stored checksums of integer results, made by the scalar path: every instruction set of every
//! machine must reproduce them.

use qcore_kernels::Isa;
use qcore_kernels::epilogue::{Requantize, requantize_rows_with};
use qcore_kernels::gemm::{Int8, ZeroPoint, matmul_integer_with};
use qcore_kernels::quant::{Layout, Params, quantize_with};
use qcore_kernels::view::MatRef;

use crate::random::Random;

/// FNV-1a over bytes.
fn checksum(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A product of int8 or uint8: rows, depth, columns, signs (1: A unsigned, 2: B unsigned), extremes
/// only, and the checksums of its sums and of their codes.
struct Stored {
    shape: (usize, usize, usize),
    signs: u8,
    extreme: bool,
    sums: u64,
    codes: u64,
}

const fn stored(
    shape: (usize, usize, usize),
    signs: u8,
    extreme: bool,
    sums: u64,
    codes: u64,
) -> Stored {
    Stored { shape, signs, extreme, sums, codes }
}

const PRODUCTS: &[Stored] = &[
    stored((1, 1, 1), 0, true, 0x0782_d97d_31bb_a341, 0xaf63_be4c_8601_b992),
    stored((1, 4, 16), 0, false, 0xaf15_cf5b_8c69_c1cb, 0x9988_caa3_e1be_4b46),
    stored((1, 300, 257), 1, false, 0xe315_1778_eff3_a297, 0x77cf_b2c4_251f_14b3),
    stored((2, 67, 130), 2, false, 0x865a_1412_0f59_8f8d, 0x9db8_775e_5e38_b6d3),
    stored((5, 9, 65), 3, true, 0xb4b8_b794_0e76_f5fb, 0x4cc2_c1ba_7b27_d9bf),
    stored((6, 64, 64), 0, true, 0x73d3_f450_24de_d840, 0x3732_891e_5a89_a1da),
    stored((7, 129, 31), 1, true, 0xf413_6d5c_e657_5229, 0xb1f9_61b4_6583_c41f),
    stored((15, 1024, 70), 3, false, 0x20ee_2ba6_852e_d0be, 0x98bf_057c_1b4d_7604),
    stored((64, 784, 128), 0, false, 0xcd35_7420_3724_74fb, 0x4b3f_ef1f_d5de_0d95),
];

fn view(bytes: &[u8], rows: usize, cols: usize, unsigned: bool) -> Int8<'_> {
    if unsigned {
        MatRef::from_slice(bytes, rows, cols).unwrap().into()
    } else {
        MatRef::from_slice(qcore_kernels::view::as_signed(bytes), rows, cols).unwrap().into()
    }
}

fn product(isa: Isa, index: usize, case: &Stored) -> (u64, u64) {
    let (m, k, n) = case.shape;
    let mut random = Random::new(index as u64);
    let mut bytes = |count: usize, unsigned: bool| -> Vec<u8> {
        let ends = if unsigned { [0, 255] } else { [0x80, 0x7f] };
        let byte = |random: &mut Random| {
            if case.extreme { ends[random.below(2)] } else { random.below(256) as u8 }
        };
        (0..count).map(|_| byte(&mut random)).collect()
    };
    let (ua, ub) = (case.signs & 1 != 0, case.signs & 2 != 0);
    let (a, b) = (bytes(m * k, ua), bytes(k * n, ub));
    let (za, zb) =
        (ZeroPoint::One(if ua { 131 } else { -5 }), ZeroPoint::One(if ub { 7 } else { 0 }));
    let mut sums = vec![0_i32; m * n];
    let (a, b) = (view(&a, m, k, ua), view(&b, k, n, ub));
    matmul_integer_with(isa, a, b, za, zb, &mut sums).unwrap();
    let multiplier: Vec<f32> = (0..n).map(|j| 1e-5 * (j % 7 + 1) as f32).collect();
    let bias: Vec<i32> = (0..n).map(|j| j as i32 * 11 - 300).collect();
    let (zero_point, min, max) = (3, -128, 127);
    let output = Requantize { bias: &bias, multiplier: &multiplier, zero_point, min, max };
    let mut codes = vec![0_i8; m * n];
    requantize_rows_with(isa, &sums, n, output, &mut codes).unwrap();
    let sums = checksum(sums.iter().flat_map(|sum| sum.to_le_bytes()));
    (sums, checksum(codes.iter().map(|code| code.cast_unsigned())))
}

#[test]
fn products_and_their_codes() {
    let mut wrong = Vec::new();
    for isa in Isa::available() {
        for (index, case) in PRODUCTS.iter().enumerate() {
            let (sums, codes) = product(isa, index, case);
            if (sums, codes) != (case.sums, case.codes) {
                wrong.push(format!("{isa} {:?}: {sums:#018x}, {codes:#018x}", case.shape));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn codes_of_floats() {
    // Values over many magnitudes, exact ties among them, from integer arithmetic alone.
    let mut random = Random::new(99);
    let x: Vec<f32> = (0..100_003)
        .map(|index| {
            let numerator = random.below(1 << 20) as i32 - (1 << 19);
            if index % 3 == 0 { numerator as f32 / 2.0 } else { numerator as f32 / 4096.0 }
        })
        .collect();
    let mut wrong = Vec::new();
    for isa in Isa::available() {
        for (scale, zero, stored) in [
            (1.0, 0, 0xa1ad_76a8_c672_0743_u64),
            (0.37, -9, 0x4a8a_3288_454f_a2d8),
            (1e-3, 100, 0xa6fb_1ad6_61b5_b5cf),
        ] {
            let params = Params {
                layout: Layout::Tensor,
                scale: &[scale],
                zero_point: &[zero],
                min: -128,
                max: 127,
            };
            let mut codes = vec![0_i8; x.len()];
            quantize_with(isa, &x, params, &mut codes).unwrap();
            let found = checksum(codes.iter().map(|code| code.cast_unsigned()));
            if found != stored {
                wrong.push(format!("{isa} {scale}: {found:#018x}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
