//! The time, told once per turn: all commands of a turn see the same moment.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Unix time and a monotonic time, as of the last [`Clock::tick`].
#[derive(Debug, Clone)]
pub struct Clock {
    now_us: i64,
    started: Instant,
    monotonic: Instant,
    is_fixed: bool,
}

impl Clock {
    /// The clock of the system.
    pub fn system() -> Self {
        let now = Instant::now();
        let mut clock = Self { now_us: 0, started: now, monotonic: now, is_fixed: false };
        clock.tick();
        clock
    }

    /// A clock that stands still, for tests.
    pub fn fixed(now_ms: i64) -> Self {
        Self { now_us: now_ms * 1000, is_fixed: true, ..Self::system() }
    }

    /// Reads the system's clock.
    pub fn tick(&mut self) {
        if self.is_fixed {
            return;
        }
        self.monotonic = Instant::now();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.now_us = i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX);
    }

    /// Moves a fixed clock.
    pub fn advance(&mut self, ms: i64) {
        self.now_us += ms * 1000;
    }

    /// Unix time in ms.
    pub fn now_ms(&self) -> i64 {
        self.now_us / 1000
    }

    /// Unix time in microseconds.
    pub fn now_us(&self) -> i64 {
        self.now_us
    }

    /// The moment of the last tick on a clock that never goes back.
    pub fn monotonic(&self) -> Instant {
        self.monotonic
    }

    /// Starts to measure how long something takes, which is no time at all by a fixed clock.
    pub fn stopwatch(&self) -> Stopwatch {
        Stopwatch((!self.is_fixed).then(Instant::now))
    }

    /// Whole seconds since the server began.
    pub fn uptime_seconds(&self) -> u64 {
        self.monotonic.duration_since(self.started).as_secs()
    }
}

/// Time since a start.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Option<Instant>);

impl Stopwatch {
    pub fn elapsed(self) -> Duration {
        self.0.map_or(Duration::ZERO, |start| start.elapsed())
    }
}
