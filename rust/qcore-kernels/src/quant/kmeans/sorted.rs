//! Floats in ascending order, by the digits of their bits: in linear time, and looking now and then at
//! whether to stop, which the standard library's sort does not.

use crate::error::Result;
use crate::interrupt::Pace;
use crate::memory;

/// Bits of a digit: so many counts stay in the first cache.
const DIGIT: u32 = 11;

/// The bits of a float as an integer of the same order, -0 before 0.
fn key(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// Sorts values in their total order.
pub(super) fn sorted(values: &[f32]) -> Result<Vec<f32>> {
    sorted_by(memory::copied(values)?, |&value| key(value))
}

/// The places of values in ascending order; those of equal ones ascend.
pub(super) fn order(values: &[f32]) -> Result<Vec<usize>> {
    let places = memory::collected(0..values.len())?;
    sorted_by(places, |&place| key(values[place]))
}

/// Sorts by a key, stable: digit by digit, from the lowest on.
fn sorted_by<T: Copy>(mut from: Vec<T>, key: impl Fn(&T) -> u32) -> Result<Vec<T>> {
    let mut to = memory::copied(&from)?;
    let mut pace = Pace::new();
    for shift in (0..u32::BITS).step_by(DIGIT as usize) {
        let digit = |value: &T| (key(value) >> shift) as usize & ((1 << DIGIT) - 1);
        let mut places = [0_usize; 1 << DIGIT];
        for value in &from {
            pace.check(0)?;
            places[digit(value)] += 1;
        }
        if places.contains(&from.len()) {
            continue; // one digit for all
        }
        let mut next = 0;
        for place in &mut places {
            next += std::mem::replace(place, next);
        }
        for value in &from {
            pace.check(0)?;
            let place = &mut places[digit(value)];
            to[*place] = *value;
            *place += 1;
        }
        std::mem::swap(&mut from, &mut to);
    }
    Ok(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Vec<f32> {
        let mut values: Vec<f32> = (0..5000_u32)
            .map(|i| f32::from_bits(i.wrapping_mul(0x9E37_79B9)))
            .filter(|value| !value.is_nan())
            .collect();
        values.extend([0.0, -0.0, 1.0, 1.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, 1e-45, -1e-45]);
        values
    }

    #[test]
    fn the_order_is_that_of_the_library() {
        for len in [0, 1, 2, 5009] {
            let values = &values()[..len.min(values().len())];
            let mut wanted = values.to_vec();
            wanted.sort_by(f32::total_cmp);
            let found = sorted(values).unwrap();
            assert!(found.iter().zip(&wanted).all(|(a, b)| a.to_bits() == b.to_bits()));
            assert_eq!(found.len(), wanted.len());
        }
    }

    #[test]
    fn places_of_equal_values_ascend() {
        let values: Vec<f32> = (0..1000).map(|i| ((i * 7) % 13) as f32 - 6.0).collect();
        let mut wanted: Vec<usize> = (0..values.len()).collect();
        wanted.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        assert_eq!(order(&values).unwrap(), wanted);
    }
}
