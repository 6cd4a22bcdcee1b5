//! Arithmetic that floats and integers have in common.

use crate::memory::Element;

/// Numbers of any type; integers wrap, and what is divided by 0 is 0.
pub(super) trait Number: Element + PartialOrd {
    fn sum(self, other: Self) -> Self;
    fn difference(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    fn over(self, other: Self) -> Self;
    fn power(self, other: Self) -> Self;
    fn remainder(self, other: Self) -> Self;
    fn modulo(self, other: Self) -> Self;
    fn larger(self, other: Self) -> Self;
    fn smaller(self, other: Self) -> Self;
    /// A function of the bits, each by itself: of integers only.
    fn bits(self, other: Self, f: fn(u64, u64) -> u64) -> Self;
    /// A share of a sum: of floats only.
    fn shared(self, by: f32) -> Self;
}

impl Number for f32 {
    fn sum(self, other: f32) -> f32 {
        self + other
    }
    fn difference(self, other: f32) -> f32 {
        self - other
    }
    fn times(self, other: f32) -> f32 {
        self * other
    }
    fn over(self, other: f32) -> f32 {
        self / other
    }
    fn power(self, other: f32) -> f32 {
        // The exponents that networks have, exactly rounded and fast.
        if other == 2.0 {
            self * self
        } else if other == 0.5 {
            self.sqrt()
        } else {
            f64::from(self).powf(f64::from(other)) as f32
        }
    }
    fn remainder(self, other: f32) -> f32 {
        self % other
    }
    fn modulo(self, other: f32) -> f32 {
        let rest = self % other;
        if rest != 0.0 && (rest < 0.0) != (other < 0.0) { rest + other } else { rest }
    }
    fn larger(self, other: f32) -> f32 {
        if self.is_nan() || self > other { self } else { other }
    }
    fn smaller(self, other: f32) -> f32 {
        if self.is_nan() || self < other { self } else { other }
    }
    fn bits(self, _: f32, _: fn(u64, u64) -> u64) -> f32 {
        self
    }
    fn shared(self, by: f32) -> f32 {
        self / by
    }
}

macro_rules! integer {
    ($($type:ty),+) => { $(
        impl Number for $type {
            fn sum(self, other: $type) -> $type {
                self.wrapping_add(other)
            }
            fn difference(self, other: $type) -> $type {
                self.wrapping_sub(other)
            }
            fn times(self, other: $type) -> $type {
                self.wrapping_mul(other)
            }
            fn over(self, other: $type) -> $type {
                if other == 0 { 0 } else { self.wrapping_div(other) }
            }
            #[allow(unused_comparisons, reason = "for the types that have a sign")]
            fn power(self, other: $type) -> $type {
                if other < 0 {
                    return match self {
                        1 => 1,
                        _ if self.wrapping_add(1) == 0 && other % 2 != 0 => self,
                        _ if self.wrapping_add(1) == 0 => 1,
                        _ => 0,
                    };
                }
                self.wrapping_pow(u32::try_from(other).unwrap_or(u32::MAX))
            }
            fn remainder(self, other: $type) -> $type {
                if other == 0 { 0 } else { self.wrapping_rem(other) }
            }
            #[allow(unused_comparisons, reason = "for the types that have a sign")]
            fn modulo(self, other: $type) -> $type {
                let rest = self.remainder(other);
                if rest != 0 && (rest < 0) != (other < 0) { rest.wrapping_add(other) } else { rest }
            }
            fn larger(self, other: $type) -> $type {
                self.max(other)
            }
            fn smaller(self, other: $type) -> $type {
                self.min(other)
            }
            fn bits(self, other: $type, f: fn(u64, u64) -> u64) -> $type {
                f(self as u64, other as u64) as $type
            }
            fn shared(self, _: f32) -> $type {
                self
            }
        }
    )+ };
}
integer!(i64, i32, u8, i8);
