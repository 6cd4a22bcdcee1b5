//! Sizes of floats, compared as integers: in one comparison, what is not finite included.

/// The bits of a float but its sign: as integers they are in the order of sizes, and those of what is
/// not finite come last.
pub(crate) const SIZE: i32 = i32::MAX;

/// The largest size of some values, as its bits; at least `least`.
#[inline(always)]
pub(crate) fn largest_size_bits(values: &[f32], least: i32) -> i32 {
    values.iter().fold(least, |most, x| most.max(x.to_bits() as i32 & SIZE))
}
