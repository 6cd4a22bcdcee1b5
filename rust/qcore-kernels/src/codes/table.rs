//! Functions of one code: a table with a line for each.

use crate::error::{KernelError, Result};
use crate::threads;

/// What each of the 256 codes becomes, by its byte.
pub type Table<T> = [T; 256];

/// Codes below which a thread of its own costs more than it saves.
const GRAIN: usize = 1 << 17;

/// Codes that are looked up side by side.
const SIDE: usize = 8;

/// `out = table[x]`; `x` are the bytes of codes.
pub fn look_up<T: Copy + Send + Sync>(table: &Table<T>, x: &[u8], out: &mut [T]) -> Result<()> {
    if x.len() != out.len() {
        let (found, wanted) = (out.len(), x.len());
        return Err(KernelError::Shape(format!("out has {found} elements, x has {wanted}")));
    }
    let tasks = threads::tasks_for(x.len(), 1, GRAIN);
    threads::for_each_chunk(out, x.len().div_ceil(tasks.max(1)).max(1), |start, out| {
        let x = &x[start..start + out.len()];
        let (mut codes, mut results) = (x.chunks_exact(SIDE), out.chunks_exact_mut(SIDE));
        for (x, out) in codes.by_ref().zip(results.by_ref()) {
            for side in 0..SIDE {
                out[side] = table[usize::from(x[side])];
            }
        }
        for (&x, out) in codes.remainder().iter().zip(results.into_remainder()) {
            *out = table[usize::from(x)];
        }
    });
    Ok(())
}
