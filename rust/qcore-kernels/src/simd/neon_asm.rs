//! What loops in assembly for ARM cores are written with.

/// Instructions of two kinds by turns, as cores that run in order issue them together.
macro_rules! zip {
    (; $($l:expr),*) => {
        concat!($($l),*)
    };
    ($($f:expr),+;) => {
        concat!($($f),+)
    };
    ($f:expr $(, $fs:expr)*; $l:expr $(, $ls:expr)*) => {
        concat!($f, $l, $crate::simd::neon_asm::zip!($($fs),*; $($ls),*))
    };
}

pub(crate) use zip;
