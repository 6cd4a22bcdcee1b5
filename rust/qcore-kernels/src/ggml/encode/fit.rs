//! The search for a scale, or for a scale and a least value.

use super::levels::Levels;

/// How far from the obvious scale is looked, in both directions: shares of it.
const GRID: [f32; 18] = [
    0.70, 0.74, 0.78, 0.82, 0.86, 0.89, 0.92, 0.95, 0.975, 1.0, 1.025, 1.05, 1.08, 1.11, 1.15, 1.2,
    1.3, 1.45,
];
/// Where there are more than eight levels to a side, a tenth of a level more or less is another scale.
const FINE: f32 = 0.1;
/// Solutions from which a search goes on.
const ROUNDS: usize = 4;
/// A search goes on from what is at most so many times as bad as the best that was found.
const HOPE: f32 = 1.25;

/// The scales to start from, of so many levels to a side: shares of that which takes the farthest value
/// to the outermost level.
#[inline(always)]
fn starts(side: f32) -> impl Iterator<Item = f32> {
    // Of a hundred levels each is a small thing, and so is what a search finds.
    let step = if side < 64.0 { 1 } else { 3 };
    let fine = (-9..=9).step_by(step).map(move |tenths| side / (side + FINE * tenths as f32));
    let many = side > 8.0;
    // Of a hundred levels none is worth giving up for the rest.
    let grid = GRID.into_iter().filter(move |share| !many || (side < 64.0 && *share < 0.95));
    grid.chain(fine.filter(move |_| many))
}

const LANES: usize = 8;

#[inline(always)]
fn total(lanes: [f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// Sums over elements, `N` at once; lengths are multiples of eight.
#[inline(always)]
fn sums<const N: usize>(
    x: &[f32],
    counts: &[f32],
    terms: impl Fn(f32, f32) -> [f32; N],
) -> [f32; N] {
    let mut lanes = [[0.0; LANES]; N];
    for (x, counts) in x.as_chunks::<LANES>().0.iter().zip(counts.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            let terms = terms(x[lane], counts[lane]);
            for (sum, term) in lanes.iter_mut().zip(terms) {
                sum[lane] += term;
            }
        }
    }
    lanes.map(total)
}

/// The reciprocal of a scale; 0 of none, and of one that is too small to have one.
#[inline(always)]
pub(super) fn inverse(scale: f32) -> f32 {
    let turned = 1.0 / scale;
    if turned.is_finite() { turned } else { 0.0 }
}

/// The error of nearest codes under a scale and a least value.
#[inline(always)]
pub(super) fn error(x: &[f32], counts: &[f32], levels: impl Levels, scale: f32, low: f32) -> f32 {
    let turned = inverse(scale);
    let [error] = sums(x, counts, |x, count| {
        let off = x - (scale * levels.nearest((x - low) * turned) + low);
        [count * (off * off)]
    });
    error
}

/// The element that is farthest from 0.
#[inline(always)]
pub(super) fn farthest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |far: f32, &x| if x.abs() > far.abs() { x } else { far })
}

/// The scale, of either sign, under which values lose least.
#[inline(always)]
pub(super) fn scale(x: &[f32], counts: &[f32], levels: impl Levels) -> f32 {
    let far = farthest(x);
    if far == 0.0 {
        return 0.0;
    }
    // What of the error a scale explains: that of no scale, less this, is left.
    let moments = |scale: f32| {
        let turned = inverse(scale);
        sums(x, counts, |x, count| {
            let level = levels.nearest(x * turned);
            [count * x * level, count * level * level]
        })
    };
    let explained = |[both, own]: [f32; 2]| if own > 0.0 { both * both / own } else { 0.0 };
    let [low, high] = levels.ends();
    let (mut best, mut most) = (far / high, 0.0);
    let [all] = sums(x, counts, |x, count| [count * x * x]);
    // Of levels that are the same on both sides, one end gives what the other does.
    let ends = if low == -high { &[high][..] } else { &[low, high] };
    for &end in ends {
        for share in starts(levels.side()) {
            let (mut scale, mut own) = (far / end * share, 0.0);
            for _ in 0..ROUNDS {
                let found = moments(scale);
                let gain = explained(found);
                // Solutions that are no better than their start end a search, and so does despair.
                if gain <= own || all - gain > (all - most) * HOPE {
                    break;
                }
                (own, scale) = (gain, found[0] / found[1]);
                if gain > most {
                    (most, best) = (gain, scale);
                }
            }
        }
    }
    best
}

/// The scale and the least value under which values lose least; `below`: that is at most 0.
#[inline(always)]
pub(super) fn scale_and_low(
    x: &[f32],
    counts: &[f32],
    levels: impl Levels,
    below: bool,
) -> (f32, f32) {
    let mut least = x.iter().copied().fold(f32::INFINITY, f32::min);
    let greatest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if below {
        least = least.min(0.0);
    }
    if greatest <= least {
        return (0.0, least);
    }
    let top = levels.ends()[1];
    let (mut best, mut least_error) = ((0.0, least), f32::INFINITY);
    for share in starts(levels.side()) {
        let (mut scale, mut low) = ((greatest - least) / top * share, least);
        let mut own = f32::INFINITY;
        for _ in 0..ROUNDS {
            let found = error(x, counts, levels, scale, low);
            if found >= own || found > least_error * HOPE {
                break;
            }
            own = found;
            if found < least_error {
                (least_error, best) = (found, (scale, low));
            }
            (scale, low) = solved(x, counts, levels, scale, low, below);
        }
    }
    best
}

/// The best scale and least value of the codes that others give.
#[inline(always)]
fn solved(
    x: &[f32],
    counts: &[f32],
    levels: impl Levels,
    scale: f32,
    low: f32,
    below: bool,
) -> (f32, f32) {
    let turned = inverse(scale);
    let [w, wx, wl, wll, wxl] = sums(x, counts, |x, count| {
        let level = levels.nearest((x - low) * turned);
        [count, count * x, count * level, count * level * level, count * x * level]
    });
    let determinant = w * wll - wl * wl;
    if determinant <= 0.0 {
        return (scale, low);
    }
    let (slope, start) = ((w * wxl - wx * wl) / determinant, (wll * wx - wl * wxl) / determinant);
    if below && start > 0.0 {
        return (if wll > 0.0 { wxl / wll } else { scale }, 0.0);
    }
    if slope > 0.0 { (slope, start) } else { (scale, low) }
}
