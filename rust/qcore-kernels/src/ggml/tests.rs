//! Every type on every instruction set; the values themselves are held to the reference decoder by the
//! Python tests.

use proptest::prelude::*;

use super::block::widened;
use super::{TYPES, by_name, decode_with, encode_with};
use crate::isa::Isa;

/// The bits of what blocks decode to; those of all NaNs alike.
fn bits(isa: Isa, name: &str, blocks: &[u8]) -> Vec<u32> {
    let kind = by_name(name).unwrap();
    let mut out = vec![0.0; blocks.len() / kind.bytes * kind.elements];
    decode_with(isa, kind, blocks, &mut out).unwrap();
    let bits = |value: &f32| if value.is_nan() { u32::MAX } else { value.to_bits() };
    out.iter().map(bits).collect()
}

#[test]
fn halves_widen_exactly() {
    for all in 0..=u16::MAX {
        let (found, wanted) = (widened(all), half::f16::from_bits(all).to_f32());
        assert!(
            found.to_bits() == wanted.to_bits() || (found.is_nan() && wanted.is_nan()),
            "{all}"
        );
    }
}

#[test]
fn types_have_their_own_names_and_numbers() {
    for (index, kind) in TYPES.iter().enumerate() {
        let before = &TYPES[..index];
        assert!(before.iter().all(|one| one.name != kind.name && one.number != kind.number));
        assert!(kind.elements % 32 == 0 && kind.bytes * 8 < kind.elements * 9);
    }
}

#[test]
fn lengths_have_to_agree() {
    for kind in TYPES {
        let mut out = vec![0.0; kind.elements];
        for bytes in [0, kind.bytes - 1, kind.bytes + 1, 2 * kind.bytes] {
            assert!(decode_with(Isa::Scalar, kind, &vec![0; bytes], &mut out).is_err());
        }
        assert!(decode_with(Isa::Scalar, kind, &vec![0; kind.bytes], &mut out[1..]).is_err());
        assert!(decode_with(Isa::Scalar, kind, &[], &mut []).is_ok());
    }
}

#[test]
fn a_block_worked_out_by_hand() {
    // d is 0.5; codes 0 to 15 in the low halves, 15 down to 0 in the high ones.
    let mut block = vec![0x00, 0x38];
    block.extend((0..16).map(|code: u8| code | (15 - code) << 4));
    let kind = by_name("Q4_0").unwrap();
    let mut out = [0.0; 32];
    decode_with(Isa::Scalar, kind, &block, &mut out).unwrap();
    let wanted: Vec<f32> =
        (0..16).chain((0..16).rev()).map(|code: i16| f32::from(code - 8) * 0.5).collect();
    assert_eq!(out[..], wanted);
}

#[test]
fn threads_do_not_matter() {
    let kind = by_name("Q4_K").unwrap();
    let blocks: Vec<u8> = (0..kind.bytes * 1500).map(|at| (at * 31 % 249) as u8).collect();
    let whole = bits(Isa::Scalar, "Q4_K", &blocks);
    let each = blocks.chunks(kind.bytes).flat_map(|block| bits(Isa::Scalar, "Q4_K", block));
    assert!(whole.into_iter().eq(each));
}

/// What rows become, and what that is.
fn through(isa: Isa, name: &str, x: &[f32], counts: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let kind = by_name(name).unwrap();
    let mut blocks = vec![0; x.len() / kind.elements * kind.bytes];
    encode_with(isa, kind, x, counts, &mut blocks).unwrap();
    let mut out = vec![0.0; x.len()];
    decode_with(isa, kind, &blocks, &mut out).unwrap();
    (blocks, out)
}

/// Numbers that spread like weights do.
fn weights(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0 - 0.5
    };
    (0..len).map(|_| (0..6).map(|_| next()).sum::<f32>() * 0.1).collect()
}

#[test]
fn what_is_written_loses_little() {
    // Signal over noise in dB: about six a bit.
    let least = [
        ("Q2_K", 8.0),
        ("Q3_K", 13.5),
        ("Q4_0", 18.5),
        ("Q4_1", 20.0),
        ("Q4_K", 20.5),
        ("IQ4_NL", 20.0),
        ("IQ4_XS", 19.5),
        ("MXFP4", 16.0),
        ("Q5_0", 25.0),
        ("Q5_1", 26.0),
        ("Q5_K", 26.0),
        ("Q6_K", 31.0),
        ("Q8_0", 43.0),
    ];
    assert_eq!(least.len(), TYPES.iter().filter(|kind| kind.is_written()).count());
    let x = weights(4096, 1);
    for (name, least) in least {
        let (_, out) = through(Isa::Scalar, name, &x, &[1.0; 256]);
        let noise: f32 = x.iter().zip(&out).map(|(x, out)| (x - out) * (x - out)).sum();
        let found = 10.0 * (x.iter().map(|x| x * x).sum::<f32>() / noise).log10();
        assert!(found > least, "{name}: {found} dB");
    }
}

#[test]
fn zeros_and_extremes_are_written() {
    for kind in TYPES.iter().filter(|kind| kind.is_written()) {
        let zeros = vec![0.0; 512];
        let (_, out) = through(Isa::Scalar, kind.name, &zeros, &[1.0; 256]);
        assert!(out.iter().all(|&out| out == 0.0), "{kind:?}: {}", out[0]);
        for value in [1.0, -1.0, 1e-4, -2e3] {
            let (_, out) = through(Isa::Scalar, kind.name, &[value; 256], &[1.0; 256]);
            let near = |out: &f32| (out - value).abs() <= value.abs() / 4.0;
            assert!(out.iter().all(near), "{kind:?} {value}: {:?}", &out[..3]);
        }
        let mut blocks = vec![0; 256 / kind.elements * kind.bytes];
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(encode_with(Isa::Scalar, kind, &[bad; 256], &[1.0; 256], &mut blocks).is_err());
        }
        let huge = encode_with(Isa::Scalar, kind, &[1e38; 256], &[1.0; 256], &mut blocks);
        assert_eq!(huge.is_ok(), kind.name == "MXFP4", "{kind:?}");
        assert!(encode_with(Isa::Scalar, kind, &[0.0; 256], &[1.0; 255], &mut blocks).is_err());
    }
}

#[test]
fn what_counts_more_loses_less() {
    let x = weights(256 * 64, 3);
    let counts: Vec<f32> = (0..256).map(|at| if at % 4 == 0 { 50.0 } else { 1.0 }).collect();
    let lost = |out: &[f32]| -> f32 {
        x.iter().zip(out).step_by(4).map(|(x, out)| (x - out) * (x - out)).sum()
    };
    for kind in TYPES.iter().filter(|kind| kind.is_written() && kind.name != "MXFP4") {
        let (_, even) = through(Isa::Scalar, kind.name, &x, &[1.0; 256]);
        let (_, weighed) = through(Isa::Scalar, kind.name, &x, &counts);
        assert!(lost(&weighed) < lost(&even), "{kind:?}");
    }
}

proptest! {
    #[test]
    fn every_instruction_set_writes_the_same_bytes(seed in any::<u32>(), index in 0..TYPES.len()) {
        let kind = &TYPES[index];
        prop_assume!(kind.is_written());
        let (x, counts) = (weights(512, seed), weights(256, seed ^ 1).iter().map(|x| x.abs()).collect::<Vec<_>>());
        let wanted = through(Isa::Scalar, kind.name, &x, &counts).0;
        for isa in Isa::available() {
            prop_assert_eq!(&through(isa, kind.name, &x, &counts).0, &wanted, "{:?} {:?}", isa, kind);
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits(
        data in proptest::collection::vec(any::<u8>(), 3 * 210),
        index in 0..TYPES.len(),
    ) {
        let kind = &TYPES[index];
        let blocks = &data[..data.len() / kind.bytes * kind.bytes];
        let wanted = bits(Isa::Scalar, kind.name, blocks);
        for isa in Isa::available() {
            prop_assert_eq!(&bits(isa, kind.name, blocks), &wanted, "{:?} {:?}", isa, kind);
        }
    }
}
