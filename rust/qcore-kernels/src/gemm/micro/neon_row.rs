//! One row and 32 columns, two panels, on ARM cores that run instructions in order. Each register of B
//! serves one product and is read in halves, one of them by a general register: what a compiler makes
//! of that computes each address by itself.

use std::arch::aarch64::int32x4_t;
use std::arch::asm;

use crate::gemm::microkernel::{DEPTH, GROUP_BYTES, Tile};

// The lines of B are 64 bytes apart, and A moves on by a sixteenth of what B does.
const _: () = assert!(GROUP_BYTES == 64 && GROUP_BYTES >> 4 == DEPTH);

/// A register of B times one group, while another is read four products ahead, and one that was read
/// two products before is filled.
macro_rules! dot {
    ($acc:literal $b:literal, $a:literal $lane:literal; $next:literal $x:literal, $panel:literal $group:literal
     $offset:literal; $filled:literal $from:literal; $beside:expr) => {
        concat!(
            "sdot v", $acc, ".4s, v", $b, ".16b, v", $a, ".4b[", $lane, "]\n", "ldr d", $next,
            ", [{", $panel, "}, #", $group, "*64+", $offset, "]\n", "ins v", $filled, ".d[1], {",
            $from, "}\n", "ldr {", $x, "}, [{", $panel, "}, #", $group, "*64+", $offset, "+8]\n",
            $beside, "\n",
        )
    };
}

/// Group `$lane` of the eight values of `$a` times all columns; `$then` is the line that is read after
/// this one.
macro_rules! dots {
    ($a:literal $lane:literal, $group:literal, $then:literal;
     $p:expr, $q:expr, $r:expr, $s:expr, $t:expr) => {
        concat!(
            dot!("8" "16", $a $lane; "20" "p0", "c" $group "0"; "18" "p2"; $p),
            dot!("9" "17", $a $lane; "21" "p1", "c" $group "16"; "19" "p3"; ""),
            dot!("10" "18", $a $lane; "22" "p2", "c" $group "32"; "20" "p0"; $q),
            dot!("11" "19", $a $lane; "23" "p3", "c" $group "48"; "21" "p1"; $r),
            dot!("12" "20", $a $lane; "16" "p0", "b" $then "0"; "22" "p2"; $s),
            dot!("13" "21", $a $lane; "17" "p1", "b" $then "16"; "23" "p3"; ""),
            dot!("14" "22", $a $lane; "18" "p2", "b" $then "32"; "16" "p0"; $t),
            dot!("15" "23", $a $lane; "19" "p3", "b" $then "48"; "17" "p1"; ""),
        )
    };
}

/// `fours` times four depth groups, on the dot product.
///
/// # Safety
/// - The row of `t` is valid for as many groups, and so are 32 columns of B; there are some.
/// - The CPU has the dot product.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn dots(acc: &mut [int32x4_t; 8], t: &Tile, fours: usize) {
    let flip = u64::from(t.flip.cast_unsigned()) << 32 | u64::from(t.flip.cast_unsigned());
    // SAFETY: the caller vouches for what is read: in the last turn what comes next is the same again.
    // Nothing is written but registers that are declared.
    unsafe {
        asm!(
            "ldr {low}, [{a}]",
            "ldr {high}, [{a}, #8]",
            "eor {low}, {low}, {flip}",
            "fmov d0, {low}",
            "ldr q16, [{b}]",
            "ldr q17, [{b}, #16]",
            "ldr d18, [{b}, #32]",
            "ldr d19, [{b}, #48]",
            "ldr {p2}, [{b}, #40]",
            "ldr {p3}, [{b}, #56]",
            "2:",
            "subs {fours}, {fours}, #1",
            "csel {step}, {step}, xzr, ne",
            dots!("0" "0", "0", "1"; "eor {high}, {high}, {flip}", "fmov d1, {high}",
                "add {a}, {a}, {step}, lsr #4", "", ""),
            dots!("0" "1", "1", "2"; "ldr {low}, [{a}]", "", "", "", "eor {low}, {low}, {flip}"),
            dots!("1" "0", "2", "3"; "fmov d0, {low}", "", "ldr {high}, [{a}, #8]", "", ""),
            dots!("1" "1", "3", "0"; "", "", "add {b}, {b}, {step}", "", "add {c}, {c}, {step}"),
            "cbnz {fours}, 2b",
            fours = inout(reg) fours => _,
            step = inout(reg) 4 * GROUP_BYTES => _,
            flip = in(reg) flip,
            a = inout(reg) t.a => _,
            b = inout(reg) t.b => _,
            c = inout(reg) t.b.wrapping_add(t.panel_stride) => _,
            low = out(reg) _, high = out(reg) _,
            p0 = out(reg) _, p1 = out(reg) _, p2 = out(reg) _, p3 = out(reg) _,
            out("v0") _, out("v1") _,
            inout("v8") acc[0], inout("v9") acc[1], inout("v10") acc[2], inout("v11") acc[3],
            inout("v12") acc[4], inout("v13") acc[5], inout("v14") acc[6], inout("v15") acc[7],
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            options(readonly, nostack),
        );
    }
}

/// A register of B times one group, in two halves of 16 bits; what the register before it gave is added.
/// The next register is filled, and the one after it read.
macro_rules! product {
    ($b:literal $a:literal; $p:literal $q:literal; $r:literal $s:literal => $one:literal $two:literal;
     $filled:literal; $next:literal, $panel:literal $group:literal $offset:literal; $beside:expr) => {
        concat!(
            "smull v",
            $p,
            ".8h, v",
            $b,
            ".8b, v",
            $a,
            ".8b\n",
            "ins v",
            $filled,
            ".d[1], {x}\n",
            "ldr d",
            $next,
            ", [{",
            $panel,
            "}, #",
            $group,
            "*64+",
            $offset,
            "]\n",
            "smull2 v",
            $q,
            ".8h, v",
            $b,
            ".16b, v",
            $a,
            ".16b\n",
            "ldr {x}, [{",
            $panel,
            "}, #",
            $group,
            "*64+",
            $offset,
            "+8]\n",
            "sadalp v",
            $one,
            ".4s, v",
            $r,
            ".8h\n",
            $beside,
            "\n",
            "sadalp v",
            $two,
            ".4s, v",
            $s,
            ".8h\n",
        )
    };
}

/// A group, of which `$a` holds copies, times all columns.
macro_rules! products {
    ($a:literal, $group:literal, $then:literal; $p:expr, $q:expr, $r:expr, $s:expr, $t:expr) => {
        concat!(
            product!("2" $a; "6" "7"; "8" "9" => "30" "31"; "3"; "4", "b" $group "32"; $p),
            product!("3" $a; "8" "9"; "6" "7" => "16" "17"; "4"; "5", "b" $group "48"; $q),
            product!("4" $a; "6" "7"; "8" "9" => "18" "19"; "5"; "2", "c" $group "0"; $r),
            product!("5" $a; "8" "9"; "6" "7" => "20" "21"; "2"; "3", "c" $group "16"; ""),
            product!("2" $a; "6" "7"; "8" "9" => "22" "23"; "3"; "4", "c" $group "32"; $s),
            product!("3" $a; "8" "9"; "6" "7" => "24" "25"; "4"; "5", "c" $group "48"; ""),
            product!("4" $a; "6" "7"; "8" "9" => "26" "27"; "5"; "2", "b" $then "0"; $t),
            product!("5" $a; "8" "9"; "6" "7" => "28" "29"; "2"; "3", "b" $then "16"; ""),
        )
    };
}

/// `fours` times four depth groups, without the dot product: two registers of sums of each four columns.
///
/// # Safety
/// The row of `t` is valid for as many groups, and so are 32 columns of B; there are some.
#[inline(never)]
pub(super) unsafe fn products(acc: &mut [int32x4_t; 16], t: &Tile, fours: usize) {
    // SAFETY: as above.
    unsafe {
        asm!(
            "ldr {w:w}, [{a}]",
            "eor {w:w}, {w:w}, {flip:w}",
            "dup v0.4s, {w:w}",
            "ldr q2, [{b}]",
            "ldr d3, [{b}, #16]",
            "ldr {x}, [{b}, #24]",
            "movi v8.2d, #0",
            "movi v9.2d, #0",
            "2:",
            "subs {fours}, {fours}, #1",
            "csel {step}, {step}, xzr, ne",
            products!("0", "0", "1"; "ldr {w:w}, [{a}, #4]", "", "eor {w:w}, {w:w}, {flip:w}",
                "dup v1.4s, {w:w}", ""),
            products!("1", "1", "2"; "ldr {w:w}, [{a}, #8]", "", "eor {w:w}, {w:w}, {flip:w}",
                "dup v0.4s, {w:w}", ""),
            products!("0", "2", "3"; "ldr {w:w}, [{a}, #12]", "", "eor {w:w}, {w:w}, {flip:w}",
                "dup v1.4s, {w:w}", "add {a}, {a}, {step}, lsr #4"),
            products!("1", "3", "0"; "ldr {w:w}, [{a}]", "add {b}, {b}, {step}",
                "eor {w:w}, {w:w}, {flip:w}", "dup v0.4s, {w:w}", "add {c}, {c}, {step}"),
            "cbnz {fours}, 2b",
            "sadalp v30.4s, v8.8h",
            "sadalp v31.4s, v9.8h",
            fours = inout(reg) fours => _,
            step = inout(reg) 4 * GROUP_BYTES => _,
            flip = in(reg) t.flip,
            a = inout(reg) t.a => _,
            b = inout(reg) t.b => _,
            c = inout(reg) t.b.wrapping_add(t.panel_stride) => _,
            w = out(reg) _, x = out(reg) _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _,
            out("v5") _, out("v6") _, out("v7") _, out("v8") _, out("v9") _,
            inout("v16") acc[0], inout("v17") acc[1], inout("v18") acc[2], inout("v19") acc[3],
            inout("v20") acc[4], inout("v21") acc[5], inout("v22") acc[6], inout("v23") acc[7],
            inout("v24") acc[8], inout("v25") acc[9], inout("v26") acc[10], inout("v27") acc[11],
            inout("v28") acc[12], inout("v29") acc[13], inout("v30") acc[14], inout("v31") acc[15],
            options(readonly, nostack),
        );
    }
}
