//! The types of elements that flow through a graph.

use std::fmt;

/// The type of a value's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// float32.
    F32,
    /// int64.
    I64,
    /// int32.
    I32,
    /// One byte, 0 or 1.
    Bool,
    /// uint8.
    U8,
    /// int8.
    I8,
}

/// Every type with its name, which is NumPy's.
const NAMES: &[(DType, &str, usize)] = &[
    (DType::F32, "float32", 4),
    (DType::I64, "int64", 8),
    (DType::I32, "int32", 4),
    (DType::Bool, "bool", 1),
    (DType::U8, "uint8", 1),
    (DType::I8, "int8", 1),
];

impl DType {
    /// NumPy's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES[self as usize].1
    }

    /// The type of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|entry| entry.1 == name).map(|entry| entry.0)
    }

    /// Bytes of an element.
    #[must_use]
    pub fn size(self) -> usize {
        NAMES[self as usize].2
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Runs `$body` with `$t` standing for the Rust type of a dtype; bool is a `u8`.
macro_rules! with_type {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::dtype::DType::I64 => {
                type $t = i64;
                $body
            }
            $crate::dtype::DType::I32 => {
                type $t = i32;
                $body
            }
            $crate::dtype::DType::Bool | $crate::dtype::DType::U8 => {
                type $t = u8;
                $body
            }
            $crate::dtype::DType::I8 => {
                type $t = i8;
                $body
            }
        }
    };
}
pub(crate) use with_type;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for &(dtype, name, size) in NAMES {
            assert_eq!((dtype.name(), dtype.size()), (name, size));
            assert_eq!(DType::from_name(name), Some(dtype));
        }
        assert_eq!(DType::from_name("float64"), None);
    }
}
