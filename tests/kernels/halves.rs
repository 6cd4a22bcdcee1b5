//! Codes halved and packed as bytes, on every instruction set.

use qcore_kernels::Isa;
use qcore_kernels::simd::{Simd, SimdOp, dispatch};

use crate::simd::WIDEST;

/// Four vectors of doubled codes as bytes, and whether they were good.
struct Halves<'a> {
    doubled: &'a [i32],
    most: i16,
    least: i8,
}

impl SimdOp for Halves<'_> {
    type Output = (Vec<u8>, bool);

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Self::Output {
        let mut all = (Vec::new(), true);
        for block in self.doubled.chunks_exact(4 * S::LANES) {
            let mut v = [s.splat_i32(0); 4];
            for (part, v) in v.iter_mut().enumerate() {
                // SAFETY: a block has four vectors.
                *v = unsafe { s.load_i32(block[part * S::LANES..].as_ptr()) };
            }
            let (bytes, good) = s.halves(v, self.most, self.least);
            let mut stored = [0_u8; 4 * WIDEST];
            // SAFETY: no vector has more than WIDEST lanes.
            unsafe { s.store_bytes(stored.as_mut_ptr(), bytes) };
            all.0.extend(&stored[..4 * S::LANES]);
            all.1 &= good;
        }
        all
    }
}

#[test]
fn halves_are_codes_and_what_is_no_code_is_told() {
    let len = 8 * WIDEST;
    for isa in Isa::available() {
        for (most, least) in [(510_i16, 0_i8), (510, -128), (508, -127), (2, -1), (0, 5)] {
            let codes: Vec<i32> =
                (0..len as i32).map(|at| at * 37 % (i32::from(most) / 2 + 1)).collect();
            let mut doubled: Vec<i32> = codes.iter().map(|code| 2 * code + 2).collect();
            let wanted: Vec<u8> =
                codes.iter().map(|&code| (code + i32::from(least)) as u8).collect();
            let run = |doubled: &[i32]| dispatch(isa, Halves { doubled, most, least });
            assert_eq!(run(&doubled), (wanted, true), "{isa} {most} {least}");
            let over = i32::from(most) + 2;
            for odd in [0, 1, 3, -2, over + 1, over + 2, 1 << 16, (1 << 16) + 2, i32::MAX, i32::MIN]
            {
                for place in (0..len).step_by(7) {
                    let kept = std::mem::replace(&mut doubled[place], odd);
                    assert!(!run(&doubled).1, "{isa} {most} {odd} at {place}");
                    doubled[place] = kept;
                }
            }
        }
    }
}
