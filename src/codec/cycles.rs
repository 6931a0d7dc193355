//! The processor's counter of cycles: what time costs to tell where a command takes a tenth of a microsecond.
//!
//! Reading it takes 9 ns where the system's clock takes 22 (seen on the machine of the benches). What a cycle is must be
//! found out beside that clock, and it only tells time where it counts steadily, whatever the processor's speed. This is
//! one of the few places with `unsafe`.

#![allow(unsafe_code)]

/// Cycles since some moment; 0 always where there is no counter.
#[inline]
pub fn count() -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: RDTSC reads a register; where the system forbids it, `is_steady` has said no and it is not called.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    0
}

/// Whether the counter runs at one speed, on all cores, also while they sleep: leaf 0x8000_0007 of CPUID, EDX bit 8
/// (Intel SDM volume 3, 19.17.1, "Invariant TSC").
pub fn is_steady() -> bool {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::__cpuid;
        const EXTENDED: u32 = 0x8000_0000;
        #[allow(unused_unsafe)] // it is safe from Rust 1.92 on
        // SAFETY: every x86-64 processor has CPUID.
        let (most, power) = unsafe { (__cpuid(EXTENDED).eax, __cpuid(EXTENDED + 7).edx) };
        most >= EXTENDED + 7 && power & (1 << 8) != 0
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    false
}
