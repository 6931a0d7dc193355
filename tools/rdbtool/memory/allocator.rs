//! What an allocator really hands out: servers count `malloc_usable_size`, so a request is worth its size class.
//!
//! jemalloc has classes a quantum apart up to 64 bytes, and from there on four classes per doubling: 80, 96, 112, 128,
//! 160, ... at any size. Distributions build it with a quantum of 16 bytes; the copy in the sources of Redis and Valkey
//! is built with 8.

use clap::ValueEnum;

/// The allocator that a server was built with; its INFO says `mem_allocator`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Allocator {
    /// jemalloc as distributions package it, with a quantum of 16 bytes
    #[default]
    Jemalloc,
    /// jemalloc as it comes with the sources of Redis and Valkey (official images), with a quantum of 8 bytes
    JemallocBundled,
    /// The GNU C library
    Libc,
}

impl Allocator {
    /// Bytes that a request for `bytes` takes.
    #[inline]
    pub fn size(self, bytes: u64) -> u64 {
        let quantum = match self {
            // Chunks are multiples of 16, of which 8 are the chunk's own.
            Allocator::Libc => return bytes.saturating_sub(8).max(16).next_multiple_of(16) + 8,
            _ if bytes <= 8 => return 8,
            Allocator::Jemalloc => 16,
            Allocator::JemallocBundled => 8,
        };
        if bytes <= 64 {
            bytes.next_multiple_of(quantum)
        } else {
            bytes.next_multiple_of(1 << ((bytes - 1).ilog2() - 2))
        }
    }

    /// The name as the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Allocator::Jemalloc => "jemalloc",
            Allocator::JemallocBundled => "jemalloc-bundled",
            Allocator::Libc => "libc",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_class_tables() {
        let sizes = |allocator: Allocator, bytes: &[u64]| -> Vec<u64> {
            bytes.iter().map(|&bytes| allocator.size(bytes)).collect()
        };
        let asked = [0, 1, 8, 9, 17, 24, 33, 64, 65, 81, 128, 129, 257, 536, 4097, 20481];
        let packaged = [8, 8, 8, 16, 32, 32, 48, 64, 80, 96, 128, 160, 320, 640, 5120, 24576];
        let bundled = [8, 8, 8, 16, 24, 24, 40, 64, 80, 96, 128, 160, 320, 640, 5120, 24576];
        assert_eq!(sizes(Allocator::Jemalloc, &asked), packaged);
        assert_eq!(sizes(Allocator::JemallocBundled, &asked), bundled);
        assert_eq!(sizes(Allocator::Libc, &[0, 24, 25, 40, 41]), [24, 24, 40, 40, 56]);
    }
}
