//! Arithmetic of two float tensors.

use super::broadcast::{Broadcast, check_operand};
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::math::{self, MAX_LANES};
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads;

/// A function of two elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// The smaller; NaN where either is.
    Min,
    /// The larger; NaN where either is.
    Max,
    /// `a` to the power of `b`.
    Pow,
    /// `a`, times `b` below 0.
    Prelu,
}

/// Elements below which a thread of its own costs more than it saves.
const GRAIN: usize = 1 << 17;

/// Where an operand lies.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    /// Its elements; None if they are in the result's place, laid out like it, and overwritten.
    pub data: Option<&'a [f32]>,
    /// From an element to the next along each axis of the result; 0 where one serves for all.
    pub strides: &'a [usize],
}

/// [`binary_f32_with`] on the instruction set in force.
pub fn binary_f32(
    function: Binary,
    a: (&[f32], &[usize]),
    b: (&[f32], &[usize]),
    out: (&mut [f32], &[usize]),
) -> Result<()> {
    binary_f32_with(isa::active()?, function, a, b, out)
}

/// `out = function(a, b)`: row-major tensors, each with its shape, that broadcast to `out`'s.
pub fn binary_f32_with(
    isa: Isa,
    function: Binary,
    a: (&[f32], &[usize]),
    b: (&[f32], &[usize]),
    out: (&mut [f32], &[usize]),
) -> Result<()> {
    check_operand("a", a.0.len(), a.1)?;
    check_operand("b", b.0.len(), b.1)?;
    check_operand("out", out.0.len(), out.1)?;
    let walk = Broadcast::new([a.1, b.1], out.1)?;
    pairs(isa, function, &walk, [Some(a.0), Some(b.0)], out.0);
    Ok(())
}

/// [`binary_f32_with`] of operands of any strides, one of which may be overwritten.
pub fn binary_strided_f32_with(
    isa: Isa,
    function: Binary,
    a: Operand<'_>,
    b: Operand<'_>,
    out: (&mut [f32], &[usize]),
) -> Result<()> {
    check_operand("out", out.0.len(), out.1)?;
    let walk = Broadcast::with_strides(out.1, [a.strides, b.strides])?;
    for (operand, (name, given)) in [("a", a), ("b", b)].into_iter().enumerate() {
        walk.check(operand, name, given.data.map_or(out.0.len(), <[f32]>::len))?;
        if given.data.is_none() && !walk.is_whole(operand) {
            return Err(KernelError::Shape(format!("{name} is not laid out as the result is")));
        }
    }
    pairs(isa, function, &walk, [a.data, b.data], out.0);
    Ok(())
}

fn pairs(
    isa: Isa,
    function: Binary,
    walk: &Broadcast<2>,
    operands: [Option<&[f32]>; 2],
    out: &mut [f32],
) {
    let cost = if function == Binary::Pow { 64 } else { 1 };
    let tasks = threads::tasks_for(out.len(), cost, GRAIN);
    let chunk = threads::share(out.len(), tasks, cost).next_multiple_of(MAX_LANES);
    threads::for_each_chunk(out, chunk, |start, out| {
        // An operand in the result's place is read where its part of the result lies.
        let here = out.as_ptr().wrapping_sub(start);
        let [a, b] = operands.map(|data| data.map_or(here, <[f32]>::as_ptr));
        let (to, len) = (out.as_mut_ptr(), out.len());
        dispatch(isa, Pairs { function, a, b, walk, start, out: to, len });
    });
}

/// The elements of the result from `start` on. Operands are valid wherever the walk leads; one may lie
/// where the result does.
struct Pairs<'a> {
    function: Binary,
    a: *const f32,
    b: *const f32,
    walk: &'a Broadcast<2>,
    start: usize,
    out: *mut f32,
    len: usize,
}

impl SimdOp for Pairs<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Pairs { function, a, b, walk, start, out, len } = self;
        /// The loops of one function; see `unary.rs`.
        macro_rules! each {
            ($x:ident, $y:ident => $result:expr) => {
                walk.runs(
                    start,
                    len,
                    #[inline(always)]
                    |run| {
                        let ([dx, dy], len) = (run.steps, run.len);
                        // SAFETY: the walk leads to elements of each operand; `len` results lie from
                        // `to` on. Of a result in an operand's place each element is read first.
                        unsafe {
                            let a = a.wrapping_add(run.offsets[0]);
                            let b = b.wrapping_add(run.offsets[1]);
                            let to = out.add(run.start - start);
                            let mut at = 0;
                            if dx <= 1 && dy <= 1 {
                                let (first_a, first_b) = (s.splat_f32(*a), s.splat_f32(*b));
                                while at + S::LANES <= len {
                                    let $x = if dx == 0 { first_a } else { s.load_f32(a.add(at)) };
                                    let $y = if dy == 0 { first_b } else { s.load_f32(b.add(at)) };
                                    s.store_f32(to.add(at), $result);
                                    at += S::LANES;
                                }
                            }
                            while at < len {
                                let count = S::LANES.min(len - at);
                                let (mut x, mut y) = ([1.0_f32; MAX_LANES], [1.0_f32; MAX_LANES]);
                                for lane in 0..count {
                                    x[lane] = *a.add((at + lane) * dx);
                                    y[lane] = *b.add((at + lane) * dy);
                                }
                                let ($x, $y) = (s.load_f32(x.as_ptr()), s.load_f32(y.as_ptr()));
                                s.store_f32(x.as_mut_ptr(), $result);
                                to.add(at).copy_from_nonoverlapping(x.as_ptr(), count);
                                at += count;
                            }
                        }
                    },
                )
            };
        }
        match function {
            Binary::Add => each!(x, y => s.add(x, y)),
            Binary::Sub => each!(x, y => s.sub(x, y)),
            Binary::Mul => each!(x, y => s.mul(x, y)),
            Binary::Div => each!(x, y => s.div(x, y)),
            Binary::Min => {
                each!(x, y => s.select(s.unordered(x, y), s.add(x, y), s.min(x, y)));
            }
            Binary::Max => {
                each!(x, y => s.select(s.unordered(x, y), s.add(x, y), s.max(x, y)));
            }
            Binary::Prelu => each!(x, y => math::leaky_relu(s, x, y)),
            Binary::Pow => walk.runs(start, len, |run| {
                for index in 0..run.len {
                    // SAFETY: as above.
                    unsafe {
                        let x = *a.wrapping_add(run.offsets[0] + index * run.steps[0]);
                        let y = *b.wrapping_add(run.offsets[1] + index * run.steps[1]);
                        *out.add(run.start - start + index) = math::pow(x, y);
                    }
                }
            }),
        }
    }
}
