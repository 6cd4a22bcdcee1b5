//! The loops of NEON: twelve products, each with sums of its own.

use std::arch::asm;

/// A loop of twelve times an instruction, or two: what stands before and after the number of its sums.
macro_rules! twelve {
    ($name:ident, $features:literal, $before:literal, $after:literal) => {
        twelve!(@of $name, $features, $before, $after,
            "0" "1" "2" "3" "4" "5" "6" "7" "8" "9" "10" "11");
    };
    (@of $name:ident, $features:literal, $before:literal, $after:literal, $($sums:literal)*) => {
        /// # Safety
        /// The CPU has the features.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(rounds: u64) {
            // SAFETY: it touches registers alone, all of them declared.
            unsafe {
                asm!(
                    "2:",
                    $(concat!($before, $sums, $after),)*
                    "subs {rounds}, {rounds}, #1",
                    "b.ne 2b",
                    rounds = inout(reg) rounds => _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
                    out("v6") _, out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _,
                    out("v29") _,
                    options(nomem, nostack),
                );
            }
        }
    };
}

twelve!(smmla, "neon,i8mm", "smmla v", ".4s, v30.16b, v31.16b");
twelve!(sdot, "neon,dotprod", "sdot v", ".4s, v30.16b, v31.16b");
twelve!(smull, "neon", "smull v29.8h, v30.8b, v31.8b\n sadalp v", ".4s, v29.8h");
