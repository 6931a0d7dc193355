//! When a key was used last, or how often: the 24 access bits of its entry.
//!
//! ```text
//! without an LFU policy   24 bits: Unix time in seconds, modulo 2^24 (194 days)
//! with one                16 bits: Unix time in minutes of the last decay, modulo 2^16 | 8 bits: the counter
//! ```
//!
//! The counter is logarithmic, as Morris describes it (Counting large numbers of events in small registers, 1978): an
//! access raises it with probability `1 / ((counter - 5) * lfu-log-factor + 1)`; a new key begins with 5, so that it has
//! time to be used again; for every `lfu-decay-time` minutes it sinks by one. When the policy changes the bits keep what
//! they have, and mean something else until the key is used again, as in Redis.

/// The access bits of an entry are this many.
const BITS: u32 = 0x00FF_FFFF;
/// What the counter of a new key is.
const FIRST_COUNT: u32 = 5;

/// What time it is, and what is counted.
#[derive(Debug, Clone)]
pub struct AccessClock {
    is_frequency: bool,
    /// What is used now does not count as used.
    is_silent: bool,
    log_factor: u32,
    decay_minutes: u32,
    /// Unix time, modulo 2^24.
    seconds: u32,
    /// Unix time, modulo 2^16.
    minutes: u32,
    random: fastrand::Rng,
}

impl Default for AccessClock {
    fn default() -> Self {
        let random = fastrand::Rng::with_seed(0x1F0C);
        Self { is_frequency: false, is_silent: false, log_factor: 10, decay_minutes: 1, seconds: 0, minutes: 0, random }
    }
}

impl AccessClock {
    /// What the configuration says.
    pub fn configure(&mut self, is_frequency: bool, log_factor: u32, decay_minutes: u32) {
        (self.is_frequency, self.log_factor, self.decay_minutes) = (is_frequency, log_factor, decay_minutes);
    }

    /// Tells the time.
    #[inline]
    pub fn set(&mut self, now_ms: i64) {
        let seconds = now_ms / 1000;
        self.seconds = seconds as u32 & BITS; // modulo 2^24 is what is meant
        if self.is_frequency {
            self.minutes = (seconds / 60) as u32 & 0xFFFF; // modulo 2^16 is what is meant
        }
    }

    /// Whether keys that are used from here on keep their bits.
    #[inline]
    pub fn set_silent(&mut self, is_silent: bool) {
        self.is_silent = is_silent;
    }

    /// Whether the bits are a frequency.
    pub fn is_frequency(&self) -> bool {
        self.is_frequency
    }

    /// The bits of a key that is new.
    #[inline]
    pub fn fresh(&self) -> u32 {
        if self.is_frequency { self.minutes << 8 | FIRST_COUNT } else { self.seconds }
    }

    /// The bits of a key that is used now.
    #[inline]
    pub fn used(&mut self, before: u32) -> u32 {
        if self.is_silent {
            return before;
        }
        if !self.is_frequency {
            return self.seconds;
        }
        let count = self.frequency(before);
        let above = f64::from(count.saturating_sub(FIRST_COUNT));
        let chance = 1.0 / (above * f64::from(self.log_factor) + 1.0);
        let raised = count < 255 && self.random.f64() < chance;
        self.minutes << 8 | (count + u32::from(raised))
    }

    /// The bits of a key of which a file or a client says how often it was used, or how long ago.
    pub fn restored(&self, frequency: Option<u8>, idle_seconds: Option<u64>) -> u32 {
        match (frequency, idle_seconds) {
            (Some(frequency), _) if self.is_frequency => self.minutes << 8 | u32::from(frequency),
            (_, Some(idle)) if !self.is_frequency => {
                // An idle time beyond the clock's range is its whole range.
                let idle = u32::try_from(idle).unwrap_or(BITS).min(BITS);
                self.seconds.wrapping_sub(idle) & BITS
            }
            _ => self.fresh(),
        }
    }

    /// Seconds since the last use, if the bits are a time.
    pub fn idle_seconds(&self, access: u32) -> u32 {
        self.seconds.wrapping_sub(access) & BITS
    }

    /// The counter as it has sunk until now, if the bits are one.
    pub fn frequency(&self, access: u32) -> u32 {
        let (since, count) = (access >> 8, access & 0xFF);
        let minutes = self.minutes.wrapping_sub(since) & 0xFFFF;
        count.saturating_sub(minutes.checked_div(self.decay_minutes).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_times_are_seconds_and_survive_a_restore() {
        let mut clock = AccessClock::default();
        clock.set(1_700_000_000_000);
        let bits = clock.fresh();
        clock.set(1_700_000_090_500);
        assert_eq!(clock.idle_seconds(bits), 90);
        let used = clock.used(bits);
        assert_eq!(clock.idle_seconds(used), 0);
        assert_eq!(clock.idle_seconds(clock.restored(None, Some(77))), 77);
        assert_eq!(clock.idle_seconds(clock.restored(Some(9), None)), 0, "a frequency says nothing here");
        assert_eq!(clock.idle_seconds(clock.restored(None, Some(u64::MAX))), BITS);
    }

    #[test]
    fn the_counter_grows_with_the_logarithm_and_sinks_with_time() {
        let mut clock = AccessClock::default();
        clock.configure(true, 10, 1);
        clock.set(1_700_000_000_000);
        let mut counts = Vec::new();
        let mut bits = clock.fresh();
        for number in 1..=1_000_000 {
            bits = clock.used(bits);
            if [100, 1_000, 100_000, 1_000_000].contains(&number) {
                counts.push(clock.frequency(bits));
            }
        }
        // The table in redis.conf has 10, 18, 142 and 255 for the factor 10.
        for (count, range) in counts.iter().zip([7..=14, 13..=25, 125..=160, 250..=255]) {
            assert!(range.contains(count), "{counts:?}");
        }
        let full = clock.frequency(bits);
        clock.set(1_700_000_000_000 + 10 * 60_000);
        assert_eq!(clock.frequency(bits), full - 10);
        clock.configure(true, 10, 0);
        assert_eq!(clock.frequency(bits), full, "nothing sinks where the decay is off");
    }
}
