//! Attention: `softmax(scale · q · kᵀ + mask) · v`, head by head, on the float products.
//!
//! Heads lie side by side in a row, as the products before have made them: nothing is transposed but
//! what the products lay out for themselves. Sums are those of the products and of
//! [`crate::norm::softmax`]; the division by the total comes last, where there is less to divide. Or
//! on integers, which is faster and less exact: see `integer.rs`.

mod codes;
mod exp;
mod integer;

use std::cell::RefCell;

use crate::error::{KernelError, Result};
use crate::gemm::{BatchedShape, Matrices, Results, matmul_f32_with};
use crate::isa::Isa;
use crate::{epilogue::Activation, memory};

/// What rows of queries attend to.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// Heads of the queries, and of keys and values: as many, or a divisor.
    pub heads: [usize; 2],
    /// Elements of a head of queries and keys, and of values.
    pub sizes: [usize; 2],
    /// Multiplies products of queries and keys.
    pub scale: f32,
    /// Rows of keys and of values.
    pub keys: usize,
    /// Rows, and elements from one to the next.
    pub q: (&'a [f32], usize),
    /// As `q`.
    pub k: (&'a [f32], usize),
    /// As `q`.
    pub v: (&'a [f32], usize),
    /// What is added to the scaled products.
    pub mask: Option<Mask<'a>>,
    /// Row 0 attends to so many keys, each row after it to one more; to all, if there is none.
    pub causal: Option<usize>,
    /// Whether both products are of int8, made of the floats as they come.
    pub integer: bool,
    /// Whether a row of which the mask hides all keys is 0, not NaN.
    pub guarded: bool,
}

/// What is added for a head, a row and a key.
#[derive(Debug, Clone, Copy)]
pub struct Mask<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// From a head, a row, a key to the next; 0 where all have the same.
    pub strides: [usize; 3],
}

impl Mask<'_> {
    /// Whether it is the same for all heads and rows, and hides none of so many keys.
    fn adds_nothing(&self, keys: usize) -> bool {
        let [of_head, of_row, of_key] = self.strides;
        of_head == 0 && of_row == 0 && (0..keys).all(|key| self.data[key * of_key] == 0.0)
    }

    /// Writes what is added for a row of a head.
    fn fill(&self, head: usize, row: usize, out: &mut [f32]) {
        let [of_head, of_row, of_key] = self.strides;
        let from = &self.data[head * of_head + row * of_row..];
        if of_key == 1 {
            out.copy_from_slice(&from[..out.len()]);
        } else {
            out.iter_mut().enumerate().for_each(|(key, out)| *out = from[key * of_key]);
        }
    }
}

#[derive(Default)]
struct Room {
    scores: Vec<f32>,
    mask: Vec<f32>,
    totals: Vec<f32>,
    integers: integer::Room,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

impl Attention<'_> {
    /// Writes what is added for a row of a head; nothing where there is no mask.
    fn fill_mask(&self, head: usize, row: usize, out: &mut [f32]) {
        if let Some(mask) = &self.mask {
            mask.fill(head, row, out);
        }
    }

    /// Whether a row is 0 because its mask hides every key.
    fn hides_all(&self, mask: &[f32]) -> bool {
        let hides = |&added: &f32| added == f32::NEG_INFINITY;
        self.guarded && !mask.is_empty() && mask.iter().all(hides)
    }

    fn check(&self, rows: usize) -> Result<()> {
        let ([heads, of_keys], [d, dv]) = (self.heads, self.sizes);
        if of_keys == 0 || !heads.is_multiple_of(of_keys) {
            return Err(KernelError::Shape(format!(
                "{heads} heads of queries are not a multiple of {of_keys} heads of keys"
            )));
        }
        let fits = |(data, stride): (&[f32], usize), rows: usize, width: usize| {
            rows == 0 || width == 0 || {
                let last = (rows - 1).checked_mul(stride).and_then(|last| last.checked_add(width));
                last.is_some_and(|last| last <= data.len())
            }
        };
        let sound = fits(self.q, rows, heads * d)
            && fits(self.k, self.keys, of_keys * d)
            && fits(self.v, self.keys, of_keys * dv)
            && self.mask.is_none_or(|mask| {
                let sizes = [heads, rows, self.keys];
                let axes = sizes.iter().zip(mask.strides);
                let last = axes.fold(0, |last, (&size, stride)| last + (size.max(1) - 1) * stride);
                sizes.contains(&0) || last < mask.data.len()
            });
        if sound {
            return Ok(());
        }
        Err(KernelError::Shape(format!(
            "queries, keys, values or the mask are too few for {rows} rows of {heads} heads and {} \
             keys",
            self.keys
        )))
    }

    /// Computes all heads of the rows of queries that there are, side by side.
    pub fn run(&self, isa: Isa, out: &mut [f32]) -> Result<()> {
        let ([heads, of_keys], [_, dv]) = (self.heads, self.sizes);
        let width = heads * dv;
        let rows = out.len().checked_div(width).unwrap_or(0);
        if rows * width != out.len() {
            let found = out.len();
            return Err(KernelError::Shape(format!(
                "out has {found} elements, not rows of {width}"
            )));
        }
        self.check(rows)?;
        if rows == 0 {
            return Ok(());
        }
        if self.keys == 0 {
            out.fill(0.0);
            return Ok(());
        }
        memory::with_kept(&ROOM, |room| {
            if self.integer {
                return self.integers(isa, &mut room.integers, rows, out);
            }
            memory::resize(&mut room.scores, memory::size(&[rows, self.keys])?, 0.0)?;
            memory::resize(&mut room.mask, if self.mask.is_some() { self.keys } else { 0 }, 0.0)?;
            memory::resize(&mut room.totals, rows, 0.0)?;
            for head in 0..heads {
                self.head(isa, head, head / (heads / of_keys), room, out)?;
            }
            Ok(())
        })
    }

    fn head(
        &self,
        isa: Isa,
        head: usize,
        of_keys: usize,
        room: &mut Room,
        out: &mut [f32],
    ) -> Result<()> {
        let ([heads, _], [d, dv], keys) = (self.heads, self.sizes, self.keys);
        let (rows, width) = (room.totals.len(), heads * dv);
        let batch_strides = &[][..];
        // An empty operand has no element to start from.
        let from = |(data, stride): (&'_ [f32], usize), at: usize| (at.min(data.len()), stride);
        let (q, q_stride) = from(self.q, head * d);
        let (k, k_stride) = from(self.k, of_keys * d);
        let (v, v_stride) = from(self.v, of_keys * dv);
        let matrices =
            |data, row_stride, col_stride| Matrices { data, batch_strides, row_stride, col_stride };
        let shape = BatchedShape { batch: &[], m: rows, k: d, n: keys };
        let to = Results { data: &mut room.scores, batch_strides, row_stride: keys };
        let queries = matrices(&self.q.0[q..], q_stride, 1);
        let across = matrices(&self.k.0[k..], 1, k_stride);
        matmul_f32_with(isa, shape, queries, across, &[], Activation::Linear, to)?;
        for (row, scores) in room.scores.chunks_exact_mut(keys).enumerate() {
            self.fill_mask(head, row, &mut room.mask);
            let seen = self.causal.map_or(keys, |first| first.saturating_add(row).min(keys));
            let (seen, hidden) = scores.split_at_mut(seen);
            hidden.fill(0.0);
            let mask = room.mask.get(..seen.len()).unwrap_or(&[]);
            room.totals[row] = exp::exponentials(isa, seen, self.scale, mask);
            if self.hides_all(mask) {
                seen.fill(0.0);
                room.totals[row] = 1.0;
            }
        }
        let shape = BatchedShape { batch: &[], m: rows, k: keys, n: dv };
        let to = Results { data: &mut out[head * dv..], batch_strides, row_stride: width };
        let weights = matrices(&room.scores, keys, 1);
        let values = matrices(&self.v.0[v..], v_stride, 1);
        matmul_f32_with(isa, shape, weights, values, &[], Activation::Linear, to)?;
        exp::divide(isa, &room.totals, &mut out[head * dv..], width, dv);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
