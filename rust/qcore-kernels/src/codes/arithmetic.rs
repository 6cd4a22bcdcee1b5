//! Sums and products of two tensors of codes, or of codes and floats.

use crate::elementwise::{Broadcast, Run};
use crate::error::{KernelError, Result};
use crate::isa::Isa;
use crate::math::MAX_LANES;
use crate::quant::Code;
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads;

/// What is done to two elements, in the scale of the result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arithmetic {
    /// `a * factor of a + b * factor of b`; three roundings.
    Sum([f32; 2]),
    /// `(a * b) * factor`; of codes `a * b` is exact.
    Product(f32),
}

/// Elements of an operand.
#[derive(Debug, Clone, Copy)]
pub enum TermData<'a, C> {
    /// Codes, and that of 0.
    Codes(&'a [C], i32),
    /// Floats.
    Floats(&'a [f32]),
}

/// An operand: a row-major tensor that is broadcast to the result.
#[derive(Debug, Clone, Copy)]
pub struct Term<'a, C> {
    /// Its elements.
    pub data: TermData<'a, C>,
    /// Its shape.
    pub shape: &'a [usize],
}

/// How a result becomes a code: `clamp(rint(x) + zero_point, min, max)`.
#[derive(Debug, Clone, Copy)]
pub struct ToCodes {
    /// The code of 0.
    pub zero_point: i32,
    /// The least code.
    pub min: i32,
    /// The greatest code.
    pub max: i32,
}

impl ToCodes {
    /// Checks that the codes are of their type.
    pub(super) fn check<C: Code>(&self) -> Result<()> {
        let of_type = C::MIN..=C::MAX;
        let all = [self.zero_point, self.min, self.max];
        if self.min <= self.max && all.iter().all(|code| of_type.contains(code)) {
            return Ok(());
        }
        Err(KernelError::Value(format!("{self:?}: codes must be within {} to {}", C::MIN, C::MAX)))
    }
}

/// Elements below which a thread of its own costs more than it saves.
const GRAIN: usize = 1 << 17;

/// `out = a + b` or `a * b`. The first operand is codes.
pub fn arithmetic_with<C: Code>(
    isa: Isa,
    function: Arithmetic,
    a: Term<'_, C>,
    b: Term<'_, C>,
    to: ToCodes,
    out: (&mut [C], &[usize]),
) -> Result<()> {
    to.check::<C>()?;
    let (out, shape) = out;
    let walk = Broadcast::new([a.shape, b.shape], shape)?;
    let TermData::Codes(first, zero) = a.data else {
        return Err(KernelError::Value("the first operand must be codes".to_owned()));
    };
    let second = match b.data {
        TermData::Codes(codes, _) => codes.len(),
        TermData::Floats(floats) => floats.len(),
    };
    for (name, len, dims) in
        [("a", first.len(), a.shape), ("b", second, b.shape), ("out", out.len(), shape)]
    {
        if crate::memory::size(dims)? != len {
            return Err(KernelError::Shape(format!(
                "{name} has {len} elements, which is not shape {dims:?}"
            )));
        }
    }
    let tasks = threads::tasks_for(out.len(), 1, GRAIN);
    let chunk = out.len().div_ceil(tasks.max(1)).next_multiple_of(MAX_LANES);
    threads::for_each_chunk(out, chunk, |start, out| {
        let (a, walk) = ((first, zero), &walk);
        match b.data {
            TermData::Codes(codes, zero) => {
                dispatch(isa, Pairs { function, a, b: (codes, zero), to, walk, start, out });
            }
            TermData::Floats(floats) => {
                dispatch(isa, Pairs { function, a, b: (floats, 0), to, walk, start, out });
            }
        }
    });
    Ok(())
}

/// What vectors of floats are made of.
trait Loaded: Copy + Default {
    /// `LANES` elements, counted from the element that stands for 0.
    ///
    /// # Safety
    /// `ptr` is valid for reading `LANES` elements.
    unsafe fn level<S: Simd>(s: S, ptr: *const Self, zero: S::I32) -> S::F32;
}

impl<C: Code> Loaded for C {
    #[inline(always)]
    unsafe fn level<S: Simd>(s: S, ptr: *const Self, zero: S::I32) -> S::F32 {
        // SAFETY: the caller's promise is this function's own.
        s.to_f32(s.sub_i32(unsafe { C::load(s, ptr) }, zero))
    }
}

impl Loaded for f32 {
    #[inline(always)]
    unsafe fn level<S: Simd>(s: S, ptr: *const Self, _: S::I32) -> S::F32 {
        // SAFETY: the caller's promise is this function's own.
        unsafe { s.load_f32(ptr) }
    }
}

/// The elements of the result from `start` on.
struct Pairs<'a, A, B> {
    function: Arithmetic,
    a: (&'a [A], i32),
    b: (&'a [B], i32),
    to: ToCodes,
    walk: &'a Broadcast<2>,
    start: usize,
    out: &'a mut [A],
}

impl<A: Code + Loaded, B: Loaded> SimdOp for Pairs<'_, A, B> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Pairs { function, a, b, to, walk, start, out } = self;
        let each = Each {
            s,
            function,
            zeros: [s.splat_i32(a.1), s.splat_i32(b.1)],
            zero: s.splat_i32(to.zero_point),
            // The codes' range before the zero point is added: exact in float32.
            low: s.splat_f32((to.min - to.zero_point) as f32),
            high: s.splat_f32((to.max - to.zero_point) as f32),
        };
        walk.runs(
            start,
            out.len(),
            #[inline(always)]
            |run| {
                let part = &mut out[run.start - start..][..run.len];
                each.run(a.0, b.0, run, part);
            },
        );
    }
}

/// What is the same for all elements.
#[derive(Clone, Copy)]
struct Each<S: Simd> {
    s: S,
    function: Arithmetic,
    zeros: [S::I32; 2],
    zero: S::I32,
    low: S::F32,
    high: S::F32,
}

impl<S: Simd> Each<S> {
    #[inline(always)]
    fn codes(self, x: S::F32, y: S::F32) -> S::I32 {
        let s = self.s;
        let level = match self.function {
            Arithmetic::Sum([a, b]) => s.add(s.mul(x, s.splat_f32(a)), s.mul(y, s.splat_f32(b))),
            Arithmetic::Product(factor) => s.mul(s.mul(x, y), s.splat_f32(factor)),
        };
        // The bounds are integers, so it does not matter that rounding comes after them.
        let level = s.min(s.max(level, self.low), self.high);
        s.add_i32(s.to_i32(level), self.zero)
    }

    /// The codes of `LANES` elements from `at` on; an operand of step 0 is `fixed`.
    ///
    /// # Safety
    /// Operands of step 1 have `at + LANES` elements.
    #[inline(always)]
    unsafe fn pair<A: Loaded, B: Loaded>(
        self,
        a: &[A],
        b: &[B],
        fixed: [S::F32; 2],
        steps: [usize; 2],
        at: usize,
    ) -> S::I32 {
        let [mut x, mut y] = fixed;
        // SAFETY: the caller's promise.
        unsafe {
            if steps[0] == 1 {
                x = A::level(self.s, a.as_ptr().add(at), self.zeros[0]);
            }
            if steps[1] == 1 {
                y = B::level(self.s, b.as_ptr().add(at), self.zeros[1]);
            }
        }
        self.codes(x, y)
    }

    /// Elements of the result that follow one another.
    #[inline(always)]
    fn run<A: Code + Loaded, B: Loaded>(self, a: &[A], b: &[B], run: Run<2>, out: &mut [A]) {
        let (s, [at_a, at_b], [da, db]) = (self.s, run.offsets, run.steps);
        let len = out.len();
        let mut at = 0;
        if da <= 1 && db <= 1 && len >= S::LANES {
            let one = |vector: bool| if vector { len } else { 1 };
            let (a, b) = (&a[at_a..at_a + one(da == 1)], &b[at_b..at_b + one(db == 1)]);
            let fixed = [spread(s, a[0], self.zeros[0]), spread(s, b[0], self.zeros[1])];
            let wide = 4 * S::LANES;
            while at + wide <= len {
                let mut four = [self.zero; 4];
                for (quarter, codes) in four.iter_mut().enumerate() {
                    let at = at + quarter * S::LANES;
                    // SAFETY: at + LANES <= len, which an operand of step 1 has.
                    *codes = unsafe { self.pair(a, b, fixed, run.steps, at) };
                }
                // SAFETY: at + 4 * LANES <= len.
                unsafe { A::store4(s, out.as_mut_ptr().add(at), four) };
                at += wide;
            }
            while at < len {
                // The last vector ends with the run and so repeats some codes.
                at = at.min(len - S::LANES);
                // SAFETY: at + LANES <= len, which an operand of step 1 has.
                unsafe {
                    let codes = self.pair(a, b, fixed, run.steps, at);
                    A::store(s, out.as_mut_ptr().add(at), codes);
                }
                at += S::LANES;
            }
            return;
        }
        while at < len {
            let count = S::LANES.min(len - at);
            let (mut x, mut y) = ([A::default(); MAX_LANES], [B::default(); MAX_LANES]);
            for lane in 0..count {
                x[lane] = a[at_a + (at + lane) * da];
                y[lane] = b[at_b + (at + lane) * db];
            }
            // SAFETY: the rooms have MAX_LANES elements.
            unsafe {
                let left = A::level(s, x.as_ptr(), self.zeros[0]);
                let right = B::level(s, y.as_ptr(), self.zeros[1]);
                A::store(s, x.as_mut_ptr(), self.codes(left, right));
            }
            out[at..at + count].copy_from_slice(&x[..count]);
            at += count;
        }
    }
}

/// One element in every lane.
#[inline(always)]
fn spread<S: Simd, T: Loaded>(s: S, value: T, zero: S::I32) -> S::F32 {
    let room = [value; MAX_LANES];
    // SAFETY: the room has MAX_LANES elements.
    unsafe { T::level(s, room.as_ptr(), zero) }
}
