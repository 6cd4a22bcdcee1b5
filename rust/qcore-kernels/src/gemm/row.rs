//! One row times a matrix that lies as `[in, out]`, added to sums: the step of a recurrent network.

use crate::error::{KernelError, Result};
use crate::isa::Isa;
use crate::simd::{Simd, SimdOp, dispatch};

/// Outputs whose sums stay in registers while the inputs go by.
const BLOCK: usize = 64;

/// `sums += x · w` for row-major `w` of `x.len()` rows.
///
/// Each sum is one chain over the inputs in their order, multiplied and added separately: the same
/// bits on every instruction set.
pub fn add_row_times_with(isa: Isa, x: &[f32], w: &[f32], sums: &mut [f32]) -> Result<()> {
    if x.len().checked_mul(sums.len()) != Some(w.len()) {
        return Err(KernelError::Shape(format!(
            "w has {} elements; for a row of {} and {} sums it must have their product",
            w.len(),
            x.len(),
            sums.len()
        )));
    }
    if !sums.is_empty() {
        dispatch(isa, RowTimes { x, w, sums });
    }
    Ok(())
}

struct RowTimes<'a> {
    x: &'a [f32],
    w: &'a [f32],
    sums: &'a mut [f32],
}

impl SimdOp for RowTimes<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, _: S) {
        // Loops of a fixed length, which the compiler makes vectors of: lanes are outputs.
        let n = self.sums.len();
        let (blocks, rest) = self.sums.as_chunks_mut::<BLOCK>();
        for (place, sums) in blocks.iter_mut().enumerate() {
            let mut held = *sums;
            for (&x, row) in self.x.iter().zip(self.w.chunks_exact(n)) {
                let row: &[f32; BLOCK] = row[place * BLOCK..][..BLOCK].try_into().expect("a block");
                for (sum, &w) in held.iter_mut().zip(row) {
                    *sum += x * w;
                }
            }
            *sums = held;
        }
        let start = n - rest.len();
        for (&x, row) in self.x.iter().zip(self.w.chunks_exact(n)) {
            for (sum, &w) in rest.iter_mut().zip(&row[start..]) {
                *sum += x * w;
            }
        }
    }
}
