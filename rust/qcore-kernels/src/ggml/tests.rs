//! Every type on every instruction set; the values themselves are held to the reference decoder by the
//! Python tests.

use proptest::prelude::*;

use super::block::widened;
use super::{TYPES, by_name, decode_with};
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

proptest! {
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
