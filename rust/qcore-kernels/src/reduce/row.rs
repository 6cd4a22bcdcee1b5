//! One result from the elements of a row.

use crate::math::MAX_LANES;
use crate::simd::Simd;

/// Elements after which new partial results are begun: rounding errors of long rows stay small.
const PANEL: usize = 256 * MAX_LANES;

/// What is taken of each element.
pub(crate) trait Term: Copy {
    /// The term of a vector's elements.
    fn of<S: Simd>(self, s: S, x: S::F32) -> S::F32;
}

/// The element itself.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

impl Term for Plain {
    #[inline(always)]
    fn of<S: Simd>(self, _: S, x: S::F32) -> S::F32 {
        x
    }
}

/// Its square.
#[derive(Clone, Copy)]
pub(crate) struct Square;

impl Term for Square {
    #[inline(always)]
    fn of<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        s.mul(x, x)
    }
}

/// Its size.
#[derive(Clone, Copy)]
pub(super) struct Size;

impl Term for Size {
    #[inline(always)]
    fn of<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        s.abs(x)
    }
}

/// The square of its distance from a value.
#[derive(Clone, Copy)]
pub(crate) struct CenteredSquare(pub(crate) f32);

impl Term for CenteredSquare {
    #[inline(always)]
    fn of<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        let distance = s.sub(x, s.splat_f32(self.0));
        s.mul(distance, distance)
    }
}

/// How results become one.
pub(crate) trait Join: Copy {
    /// What changes nothing.
    const NOTHING: f32;
    /// Both joined; `a` holds what came first.
    fn join<S: Simd>(s: S, a: S::F32, b: S::F32) -> S::F32;
    /// [`Join::join`] of two floats.
    #[inline(always)]
    fn join_one(a: f32, b: f32) -> f32 {
        Self::join(crate::simd::Scalar, a, b)
    }
}

/// The sum.
#[derive(Clone, Copy)]
pub(crate) struct Sum;

impl Join for Sum {
    const NOTHING: f32 = 0.0;
    #[inline(always)]
    fn join<S: Simd>(s: S, a: S::F32, b: S::F32) -> S::F32 {
        s.add(a, b)
    }
}

/// The product.
#[derive(Clone, Copy)]
pub(super) struct Product;

impl Join for Product {
    const NOTHING: f32 = 1.0;
    #[inline(always)]
    fn join<S: Simd>(s: S, a: S::F32, b: S::F32) -> S::F32 {
        s.mul(a, b)
    }
}

/// The largest; NaN if there is one.
#[derive(Clone, Copy)]
pub(crate) struct Largest;

impl Join for Largest {
    const NOTHING: f32 = f32::NEG_INFINITY;
    #[inline(always)]
    fn join<S: Simd>(s: S, a: S::F32, b: S::F32) -> S::F32 {
        // Of two operands of which one is NaN, `max` gives the second.
        let larger = s.max(b, a);
        s.select(s.eq(b, b), larger, b)
    }
}

/// The smallest; NaN if there is one.
#[derive(Clone, Copy)]
pub(super) struct Smallest;

impl Join for Smallest {
    const NOTHING: f32 = f32::INFINITY;
    #[inline(always)]
    fn join<S: Simd>(s: S, a: S::F32, b: S::F32) -> S::F32 {
        let smaller = s.min(b, a);
        s.select(s.eq(b, b), smaller, b)
    }
}

/// [`reduce_row`] of some rows of one length at once, to the same bits: their chains of sums run side
/// by side, where one row's waits for itself.
#[allow(clippy::needless_range_loop, reason = "loops over indices are unrolled whole")]
#[inline(always)]
pub(crate) fn reduce_rows<S: Simd, T: Term, J: Join, const N: usize>(
    s: S,
    rows: [&[f32]; N],
    terms: [T; N],
    join: J,
) -> [f32; N] {
    let n = rows[0].len();
    if n == 0 || n > PANEL || rows.iter().any(|row| row.len() != n) {
        let mut whole = [J::NOTHING; N];
        for row in 0..N {
            whole[row] = reduce_row(s, rows[row], terms[row], join);
        }
        return whole;
    }
    reduce_panel(s, rows, terms, join)
}

/// Joins the terms of a row, in the order of the room.
#[inline(always)]
pub(crate) fn reduce_row<S: Simd, T: Term, J: Join>(s: S, row: &[f32], term: T, join: J) -> f32 {
    let mut whole = J::NOTHING;
    for (index, panel) in row.chunks(PANEL).enumerate() {
        let [part] = reduce_panel(s, [panel], [term], join);
        whole = if index == 0 { part } else { J::join_one(whole, part) };
    }
    whole
}

/// The order of the room, which is the same on every instruction set: sixteen chains, joined lane by
/// lane at the end. Rows have one length, which is not 0.
#[allow(clippy::needless_range_loop, reason = "loops over indices are unrolled whole")]
#[inline(always)]
fn reduce_panel<S: Simd, T: Term, J: Join, const N: usize>(
    s: S,
    rows: [&[f32]; N],
    terms: [T; N],
    _: J,
) -> [f32; N] {
    let n = rows[0].len();
    assert!(rows.iter().all(|row| row.len() == n), "rows of one length");
    let (vectors, body) = (MAX_LANES / S::LANES, n / MAX_LANES * MAX_LANES);
    // As many as the sixteen take: the rest of the array is never touched.
    let mut parts = [[s.splat_f32(J::NOTHING); MAX_LANES]; N];
    let mut at = 0;
    while at < body {
        for row in 0..N {
            for vector in 0..vectors {
                // SAFETY: MAX_LANES elements follow in each row, of which this takes its LANES.
                let x = unsafe { s.load_f32(rows[row].as_ptr().add(at + vector * S::LANES)) };
                parts[row][vector] = J::join(s, parts[row][vector], terms[row].of(s, x));
            }
        }
        at += MAX_LANES;
    }
    let mut lanes = [[0.0_f32; MAX_LANES]; N];
    for row in 0..N {
        let mut rest = [0.0_f32; MAX_LANES];
        rest[..n - body].copy_from_slice(&rows[row][body..]);
        for vector in 0..vectors {
            // SAFETY: both have MAX_LANES elements.
            unsafe {
                let to = lanes[row].as_mut_ptr().add(vector * S::LANES);
                s.store_f32(to, parts[row][vector]);
                let from = rest.as_mut_ptr().add(vector * S::LANES);
                s.store_f32(from, terms[row].of(s, s.load_f32(from)));
            }
        }
        for lane in 0..n - body {
            lanes[row][lane] = J::join_one(lanes[row][lane], rest[lane]);
        }
    }
    let mut whole = lanes.map(|lanes| lanes[0]);
    for lane in 1..MAX_LANES {
        for row in 0..N {
            whole[row] = J::join_one(whole[row], lanes[row][lane]);
        }
    }
    whole
}
