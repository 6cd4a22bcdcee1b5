//! Whether the cores of an ARM CPU run instructions in order and load 8 bytes in a cycle: loads of 16
//! bytes stop these, loads of 8 issue beside products.

use std::sync::OnceLock;

/// Implementer and part number of the Cortex-A34, A35, A53 and A55, as `MIDR_EL1` gives them.
const PARTS: [u64; 4] = [0x4_1d02, 0x4_1d04, 0x4_1d03, 0x4_1d05];

/// Whether every core is of that kind. Results do not depend on it.
pub(crate) fn runs_in_order() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let known: Vec<u64> = (0..).map_while(of_core).collect();
        let known = if known.is_empty() { own().into_iter().collect() } else { known };
        !known.is_empty() && known.into_iter().all(is_in_order)
    })
}

fn is_in_order(midr: u64) -> bool {
    PARTS.contains(&((midr >> 24 & 0xff) << 12 | midr >> 4 & 0xfff))
}

/// The register of a core, where the system tells; none past the last.
fn of_core(core: usize) -> Option<u64> {
    let path = format!("/sys/devices/system/cpu/cpu{core}/regs/identification/midr_el1");
    let text = std::fs::read_to_string(path).ok()?;
    u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

/// The register of the core that runs this, where the system lets programs read it.
fn own() -> Option<u64> {
    /// The entry of the auxiliary vector for capabilities, and that of reading this register.
    const AT_HWCAP: u64 = 16;
    const HWCAP_CPUID: u64 = 1 << 11;
    let bytes = std::fs::read("/proc/self/auxv").ok()?;
    let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
    let entries = bytes.chunks_exact(16).map(|pair| (word(&pair[..8]), word(&pair[8..])));
    let granted = entries.into_iter().any(|(key, bits)| key == AT_HWCAP && bits & HWCAP_CPUID != 0);
    if !granted {
        return None;
    }
    let midr: u64;
    // SAFETY: the system reads the register for programs, as it just said; nothing else is touched.
    unsafe {
        std::arch::asm!("mrs {midr}, midr_el1", midr = out(reg) midr,
            options(pure, nomem, nostack, preserves_flags));
    }
    Some(midr)
}

#[cfg(test)]
mod tests {
    use super::is_in_order;

    #[test]
    fn parts_are_told_by_their_numbers() {
        // Variant and revision, the third digit and the last, do not matter.
        assert!(is_in_order(0x410f_d034) && is_in_order(0x411f_d050));
        assert!(!is_in_order(0x414f_d0b1) && !is_in_order(0x510f_d034) && !is_in_order(0));
    }
}
