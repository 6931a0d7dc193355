//! Telling the processor which memory comes next.
//!
//! A batch of requests knows all its keys before the first is executed, so their cache misses can overlap. This is one
//! of the few places with `unsafe`: a prefetch reads nothing and faults never, whatever the address.

#![allow(unsafe_code)]

/// Asks for the cache line at `address`. Does nothing on processors other than x86-64.
#[inline]
pub fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: PREFETCHT0 is a hint that neither dereferences nor faults, for any address.
    unsafe {
        std::arch::x86_64::_mm_prefetch(address.cast::<i8>(), std::arch::x86_64::_MM_HINT_T0);
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}
