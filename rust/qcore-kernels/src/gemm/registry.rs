//! The table of micro-kernels: a kernel exists where it has a line here.

use super::micro;
use super::microkernel::Kernel;
use crate::isa::Isa;

/// Every kernel of this architecture, from the best to the plainest.
#[cfg(target_arch = "x86_64")]
static TABLE: &[&Kernel] = &[
    &micro::amx::KERNEL,
    &micro::avx512_vnni::KERNEL,
    &micro::avx512::KERNEL,
    &micro::avx_vnni::KERNEL,
    &micro::avx2::KERNEL,
    &micro::sse2::KERNEL,
    &micro::scalar::KERNEL,
];

/// Every kernel of this architecture, from the best to the plainest.
#[cfg(target_arch = "aarch64")]
static TABLE: &[&Kernel] = &[
    &micro::neon_i8mm::KERNEL,
    &micro::neon_dot::KERNEL,
    &micro::neon::KERNEL,
    &micro::scalar::KERNEL,
];

/// The same for cores that run instructions in order.
#[cfg(target_arch = "aarch64")]
static IN_ORDER: &[&Kernel] = &[
    &micro::neon_i8mm::KERNEL,
    &micro::neon_dot::IN_ORDER,
    &micro::neon::IN_ORDER,
    &micro::scalar::KERNEL,
];

/// Every kernel of this architecture, from the best to the plainest.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static TABLE: &[&Kernel] = &[&micro::scalar::KERNEL];

/// The best kernel that runs where `isa` is in force.
///
/// # Panics
/// If this CPU does not have `isa`: kernels run no instruction that it lacks.
pub(crate) fn kernel_for(isa: Isa) -> &'static Kernel {
    assert!(isa.is_available(), "this CPU does not have {isa}");
    table().iter().find(|kernel| isa.includes(kernel.isa)).expect("every Isa includes scalar")
}

/// The kernels of this CPU's cores.
fn table() -> &'static [&'static Kernel] {
    #[cfg(target_arch = "aarch64")]
    if crate::isa::runs_in_order() {
        return IN_ORDER;
    }
    TABLE
}

/// The name of the int8 micro-kernel that runs where `isa` is in force.
#[must_use]
pub fn kernel_id(isa: Isa) -> &'static str {
    kernel_for(isa).id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_isa_has_a_kernel_of_its_own_or_of_one_it_contains() {
        for isa in Isa::available() {
            let kernel = kernel_for(isa);
            assert!(isa.includes(kernel.isa));
            assert!(kernel.id.contains(kernel.isa.name()));
            assert!(kernel.tiles.iter().all(|row| row.len() == kernel.rows()));
        }
    }
}
