//! Whether the tile unit may be used: the CPU has it, the system saves its registers, and this
//! process is allowed to.
//!
//! Stable Rust detects none of this. Linux gives the registers, 8 KB a thread, only to processes that
//! ask for them; it keeps no memory for a thread until that thread uses them.

use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

/// Bits of EDX of CPUID leaf 7: the tiles, and their int8 products (Intel SDM, volume 2A, CPUID).
const AMX_TILE: u32 = 1 << 24;
const AMX_INT8: u32 = 1 << 25;
/// Bits of EDX of CPUID leaf 7 that a kernel may not do without.
const NEEDED: u32 = AMX_TILE | AMX_INT8;
/// Bit of ECX of CPUID leaf 1: the system has set XCR0, which may be read.
const OSXSAVE: u32 = 1 << 27;
/// Bits of XCR0: the tiles' configuration and their data.
const XCR0_TILES: u64 = 1 << 17 | 1 << 18;

/// Asks for permission, once there is something to be permitted.
pub(super) fn is_usable() -> bool {
    // Leaves up to 7 exist on every CPU with AVX-512, and that is asked first.
    __cpuid(0).eax >= 7
        && __cpuid_count(7, 0).edx & NEEDED == NEEDED
        && __cpuid(1).ecx & OSXSAVE != 0
        // SAFETY: the system has set XCR0.
        && unsafe { enabled() } & XCR0_TILES == XCR0_TILES
        && request_permission()
}

/// XCR0.
///
/// # Safety
/// The CPU has XSAVE and the system has enabled it.
#[target_feature(enable = "xsave")]
unsafe fn enabled() -> u64 {
    // SAFETY: register 0 exists where XSAVE is enabled.
    unsafe { _xgetbv(0) }
}

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`: for all threads, now and later.
#[cfg(target_os = "linux")]
fn request_permission() -> bool {
    const ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: the call touches no memory of this process; it changes rcx and r11.
    unsafe {
        std::arch::asm!(
            "syscall",
            inout("rax") result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// No other system is known to this kernel.
#[cfg(not(target_os = "linux"))]
fn request_permission() -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    /// The system says what this process may use: the tiles, once they are found usable.
    #[test]
    fn usable_is_what_the_system_grants() {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags = text.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
        let listed = ["amx_tile", "amx_int8"].iter().all(|name| flags.contains(name));
        assert!(listed || !super::is_usable());
    }
}
