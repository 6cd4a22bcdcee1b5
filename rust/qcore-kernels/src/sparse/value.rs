//! What a sparse matrix holds: float32, float64, int8 or uint8.

/// A stored value.
pub trait Value: Copy + Default + PartialEq + Send + Sync + std::fmt::Debug + 'static {
    /// The type's name, as NumPy has it.
    const NAME: &'static str;

    /// The sum, if the type holds it.
    fn sum(self, other: Self) -> Option<Self>;

    /// Whether it is zero, of either sign.
    fn is_zero(self) -> bool {
        self == Self::default()
    }
}

/// A stored integer.
pub trait Int8Value: Value + Into<i32> {
    /// The least value.
    const MIN: i32;
    /// The greatest value.
    const MAX: i32;
    /// The value's bits.
    fn byte(self) -> u8;
}

macro_rules! float {
    ($($type:ident $name:literal),+) => {$(
        impl Value for $type {
            const NAME: &'static str = $name;

            fn sum(self, other: Self) -> Option<Self> {
                Some(self + other)
            }
        }
    )+};
}

macro_rules! integer {
    ($($type:ident $name:literal),+) => {$(
        impl Value for $type {
            const NAME: &'static str = $name;

            fn sum(self, other: Self) -> Option<Self> {
                self.checked_add(other)
            }
        }

        impl Int8Value for $type {
            const MIN: i32 = $type::MIN as i32;
            const MAX: i32 = $type::MAX as i32;

            #[inline(always)]
            fn byte(self) -> u8 {
                self as u8
            }
        }
    )+};
}

float!(f32 "float32", f64 "float64");
integer!(i8 "int8", u8 "uint8");
