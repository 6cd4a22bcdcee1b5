//! Functions of two elements by their definition: of integers and bools, and comparisons.

use super::Function;
use super::number::Number;
use crate::dtype::{DType, with_type};
use crate::error::Result;
use crate::memory::Element;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::walk::Walk;

/// A function of two operands that are broadcast.
pub(super) struct Meet {
    pub(super) name: &'static str,
    pub(super) function: Function,
    pub(super) dtype: DType,
    pub(super) walk: Walk<2>,
    pub(super) divide: Option<f32>,
}

impl Meet {
    fn apply<T: Number>(&self, io: &mut Io<'_>) -> Result<()> {
        match self.function {
            Function::Add => match self.divide {
                Some(by) => self.same(io, |a: T, b: T| a.sum(b).shared(by)),
                None => self.same(io, T::sum),
            },
            Function::Sub => self.same(io, T::difference),
            Function::Mul => self.same(io, T::times),
            Function::Div => self.same(io, T::over),
            Function::Max => self.same(io, T::larger),
            Function::Min => self.same(io, T::smaller),
            Function::Modulo => self.same(io, T::modulo),
            Function::Remainder => self.same(io, T::remainder),
            Function::Pow => self.same(io, T::power),
            Function::Bits(f) => self.same(io, move |a: T, b: T| a.bits(b, f)),
            Function::Compare(f) => self.rows(io, move |a: T, b: T| u8::from(f(a.partial_cmp(&b)))),
            Function::PRelu => {
                self.same(io, |x: T, slope: T| if x < T::default() { x.times(slope) } else { x })
            }
            Function::And | Function::Or | Function::Xor => {
                let f: fn(u8, u8) -> bool = match self.function {
                    Function::And => |a, b| a != 0 && b != 0,
                    Function::Or => |a, b| a != 0 || b != 0,
                    _ => |a, b| (a != 0) != (b != 0),
                };
                self.rows(io, move |a: u8, b: u8| u8::from(f(a, b)))
            }
        }
    }

    /// Output and inputs of one type: the output may lie in the place of an input.
    fn same<T: Element>(&self, io: &mut Io<'_>, f: impl Fn(T, T) -> T + Copy) -> Result<()> {
        let Some(placed) = io.in_place() else { return self.rows(io, f) };
        let other = io.input::<T>(1 - placed);
        let out = io.output::<T>(0)?;
        self.walk.for_rows(|start, n, at, steps| {
            let out = &mut out[start..start + n];
            let (at, step) = (at[1 - placed], steps[1 - placed]);
            match (placed, step) {
                (0, 1) => {
                    out.iter_mut().zip(&other[at..at + n]).for_each(|(x, &y)| *x = f(*x, y));
                }
                (_, 1) => {
                    out.iter_mut().zip(&other[at..at + n]).for_each(|(y, &x)| *y = f(x, *y));
                }
                (0, step) => {
                    let mut at = at;
                    for x in out {
                        *x = f(*x, other[at]);
                        at += step;
                    }
                }
                (_, step) => {
                    let mut at = at;
                    for y in out {
                        *y = f(other[at], *y);
                        at += step;
                    }
                }
            }
        });
        Ok(())
    }

    fn rows<A: Element, R: Element>(
        &self,
        io: &mut Io<'_>,
        f: impl Fn(A, A) -> R + Copy,
    ) -> Result<()> {
        let out = io.output::<R>(0)?;
        let (a, b) = (io.input::<A>(0), io.input::<A>(1));
        self.walk.for_rows(|start, n, at, steps| {
            let out = &mut out[start..start + n];
            match steps {
                [1, 1] => {
                    let pairs = a[at[0]..at[0] + n].iter().zip(&b[at[1]..at[1] + n]);
                    out.iter_mut().zip(pairs).for_each(|(out, (&x, &y))| *out = f(x, y));
                }
                [1, 0] => {
                    let y = b[at[1]];
                    let row = &a[at[0]..at[0] + n];
                    out.iter_mut().zip(row).for_each(|(out, &x)| *out = f(x, y));
                }
                [0, 1] => {
                    let x = a[at[0]];
                    let row = &b[at[1]..at[1] + n];
                    out.iter_mut().zip(row).for_each(|(out, &y)| *out = f(x, y));
                }
                _ => {
                    let [mut i, mut j] = at;
                    for out in out {
                        *out = f(a[i], b[j]);
                        i += steps[0];
                        j += steps[1];
                    }
                }
            }
        });
        Ok(())
    }
}

impl Step for Meet {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        with_type!(self.dtype, T => self.apply::<T>(io))
    }

    fn kernel(&self) -> &str {
        self.name
    }

    fn work(&self) -> usize {
        self.walk.count()
    }
}
