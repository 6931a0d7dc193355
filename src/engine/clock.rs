//! The time, told once per turn: all commands of a turn see the same moment.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::codec::cycles;

/// Unix time and a monotonic time, as of the last [`Clock::tick`].
#[derive(Debug, Clone)]
pub struct Clock {
    now_us: i64,
    started: Instant,
    monotonic: Instant,
    is_fixed: bool,
    cycles: Cycles,
}

/// The processor's counter beside the clock.
#[derive(Debug, Clone, Copy)]
struct Cycles {
    is_steady: bool,
    /// When `started` was.
    first: u64,
    /// How long one takes, in ns, by what has passed since; more exact with every tick.
    ns: f64,
}

impl Clock {
    /// The clock of the system.
    pub fn system() -> Self {
        let now = Instant::now();
        let cycles = Cycles { is_steady: cycles::is_steady(), first: cycles::count(), ns: 0.0 };
        let mut clock = Self { now_us: 0, started: now, monotonic: now, is_fixed: false, cycles };
        clock.tick();
        clock
    }

    /// A clock that stands still, for tests.
    pub fn fixed(now_ms: i64) -> Self {
        let mut clock = Self { now_us: now_ms * 1000, is_fixed: true, ..Self::system() };
        clock.cycles.is_steady = false;
        clock
    }

    /// Reads the system's clock.
    pub fn tick(&mut self) {
        if self.is_fixed {
            return;
        }
        self.monotonic = Instant::now();
        if self.cycles.is_steady {
            let passed = cycles::count().wrapping_sub(self.cycles.first).max(1);
            self.cycles.ns = self.monotonic.duration_since(self.started).as_nanos() as f64 / passed as f64;
        }
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

    /// A moment by the cheapest clock there is, in ticks; a fixed clock has one moment only.
    #[inline]
    pub fn moment(&self) -> Moment {
        if self.cycles.is_steady { Moment(cycles::count()) } else { self.slow_moment() }
    }

    #[cold]
    fn slow_moment(&self) -> Moment {
        let elapsed = if self.is_fixed { Duration::ZERO } else { self.started.elapsed() };
        Moment(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// How many nanoseconds so many ticks are.
    pub fn ns(&self, ticks: u64) -> u64 {
        if self.cycles.is_steady { (ticks as f64 * self.cycles.ns) as u64 } else { ticks } // not negative
    }

    /// How many ticks so many nanoseconds are, rounded down.
    pub fn ticks(&self, ns: u64) -> u64 {
        if self.cycles.is_steady { (ns as f64 / self.cycles.ns) as u64 } else { ns } // saturates
    }

    /// Whole seconds since the server began.
    pub fn uptime_seconds(&self) -> u64 {
        self.monotonic.duration_since(self.started).as_secs()
    }
}

/// A moment within this run, told by [`Clock::moment`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment(u64);

impl Moment {
    /// Ticks since an earlier one.
    #[inline]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_agree_with_the_clock_of_the_system() {
        let mut clock = Clock::system();
        std::thread::sleep(Duration::from_millis(5));
        clock.tick();
        let (began, first) = (Instant::now(), clock.moment());
        std::thread::sleep(Duration::from_millis(20));
        let (last, took) = (clock.moment(), began.elapsed());
        let ns = clock.ns(last.since(first)) as f64 / took.as_nanos() as f64;
        assert!((0.95..=1.05).contains(&ns), "{ns} of the time");
        assert_eq!(first.since(last), 0);
        assert!(clock.ns(clock.ticks(1_000_000)).abs_diff(1_000_000) < 10);
        let fixed = Clock::fixed(1);
        assert_eq!(fixed.moment(), fixed.moment());
    }
}
