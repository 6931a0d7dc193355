//! How much memory is in use: what INFO tells, and what `maxmemory` is measured against.
//!
//! The truth is the allocator's count, which takes microseconds to ask for. Between two such questions the count of the
//! executor's own thread, two loads, says what has changed; what other threads take and free meanwhile shows with the
//! next question, which comes with every tick, and before anything is evicted.
//!
//! Where jemalloc is not the allocator, as in a program that uses the library alone, the count falls back to what
//! the system says is resident, as of the last tick.

use crate::allocator::{self, Usage};

/// Where the count comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Allocator,
    /// Resident memory, in bytes.
    Resident(u64),
    /// For tests: as many bytes.
    Told(u64),
}

/// Counts of memory, in bytes.
#[derive(Debug)]
pub struct Memory {
    source: Source,
    /// As of the last [`Memory::refresh`], with the executor's balance of then.
    usage: Usage,
    balance: i64,
    refreshed_us: i64,
    peak: u64,
    peak_ms: i64,
    startup: u64,
}

impl Memory {
    /// Before there is any data.
    pub fn new(now_us: i64) -> Self {
        let source = if allocator::is_global() { Source::Allocator } else { Source::Resident(0) };
        let mut memory =
            Self { source, usage: Usage::default(), balance: 0, refreshed_us: 0, peak: 0, peak_ms: 0, startup: 0 };
        memory.refresh(now_us);
        memory.startup = memory.used();
        memory
    }

    /// In use now. Of the executor's thread only.
    #[inline]
    pub fn used(&self) -> u64 {
        match self.source {
            Source::Allocator => {
                let since = allocator::thread_balance().wrapping_sub(self.balance);
                self.usage.allocated.saturating_add_signed(since)
            }
            Source::Resident(bytes) | Source::Told(bytes) => bytes,
        }
    }

    /// Asks the allocator.
    pub fn refresh(&mut self, now_us: i64) {
        self.refreshed_us = now_us;
        if self.source == Source::Allocator {
            self.usage = allocator::usage();
            self.balance = allocator::thread_balance();
        }
        let used = self.used();
        if used > self.peak {
            self.peak = used;
            self.peak_ms = now_us / 1000;
        }
    }

    /// Asks the allocator, unless it was asked within the last millisecond.
    pub fn refresh_if_old(&mut self, now_us: i64) {
        if now_us - self.refreshed_us >= 1_000 || now_us < self.refreshed_us {
            self.refresh(now_us);
        }
    }

    /// The system says how much is resident: what counts where the allocator keeps no count.
    pub fn note_resident(&mut self, bytes: u64) {
        if let Source::Resident(before) = self.source {
            self.source = Source::Resident(bytes);
            self.startup = if before == 0 { bytes } else { self.startup };
        }
    }

    /// For tests: takes this for what is in use.
    pub fn pretend(&mut self, bytes: u64) {
        self.source = Source::Told(bytes);
        self.peak = self.peak.max(bytes);
    }

    /// What the allocator said last; where it is not asked all three are what is in use.
    pub fn usage(&self) -> Usage {
        match self.source {
            Source::Allocator => self.usage,
            Source::Resident(bytes) | Source::Told(bytes) => Usage { allocated: bytes, active: bytes, resident: bytes },
        }
    }

    /// The most that was in use when the allocator was asked, or is now.
    pub fn peak(&self) -> u64 {
        self.peak.max(self.used())
    }

    /// Unix time in ms of the peak.
    pub fn peak_ms(&self) -> i64 {
        self.peak_ms
    }

    /// What was in use before there was any data.
    pub fn startup(&self) -> u64 {
        self.startup
    }
}
