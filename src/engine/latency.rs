//! How long commands take, and when anything took too long.
//!
//! A [`Histogram`] counts durations in 64 steps per power of two, so that a percentile is off by 1.6 % at most; Redis does
//! so by HdrHistogram with two digits. A [`Monitor`] keeps the worst of each second in which an event took at least
//! `latency-monitor-threshold`.

use std::collections::BTreeMap;

/// Steps per power of two.
const STEPS: u64 = 64;
/// Longer ones are counted as this, in ticks: one second, where a tick is longer than a quarter of a nanosecond.
const LONGEST: u64 = (1 << 32) - 1;
const BUCKETS: usize = 27 * STEPS as usize; // some hundreds; see the assertion below
const _: () = assert!(LONGEST < 1 << 32, "27 doublings of 64 steps reach to 2^32");

/// Durations of one command, in [ticks](super::clock::Clock::ticks).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u32]>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into(), total: 0 }
    }
}

impl Histogram {
    #[inline]
    pub fn count(&mut self, ticks: u64, calls: u32) {
        let count = &mut self.counts[bucket(ticks.min(LONGEST))];
        *count = count.saturating_add(calls);
        self.total += u64::from(calls);
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// The longest duration, in ticks, of those `percent` that took least.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = (percent / 100.0 * self.total as f64).ceil().max(1.0) as u64; // a count, not below 1
        let mut passed = 0;
        for (at, count) in self.counts.iter().enumerate() {
            passed += u64::from(*count);
            if passed >= wanted {
                return highest(at);
            }
        }
        0
    }

    /// Microseconds, powers of two of 1.024, with how many took at most so long; only those where that grows. `ns` tells
    /// how long so many ticks are.
    pub fn powers_us(&self, ns: impl Fn(u64) -> u64) -> Vec<(u64, u64)> {
        let (mut powers, mut passed, mut limit_ns) = (Vec::new(), 0, 1024);
        for (at, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            while ns(highest(at)) > limit_ns {
                limit_ns *= 2;
            }
            passed += u64::from(*count);
            match powers.last_mut() {
                Some((power_us, count)) if *power_us == limit_ns / 1024 => *count = passed,
                _ => powers.push((limit_ns / 1024, passed)),
            }
        }
        powers
    }
}

/// Below 128 each has its own; then there are [`STEPS`] for every doubling.
#[inline]
fn bucket(ticks: u64) -> usize {
    let shift = u64::from((63 - (ticks | 1).leading_zeros()).saturating_sub(6));
    (shift * STEPS + (ticks >> shift)) as usize // some hundreds
}

/// The longest duration that is counted there.
fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64; // widening
    let shift = (bucket / STEPS).saturating_sub(1);
    ((bucket - shift * STEPS + 1) << shift) - 1
}

/// Samples of an event that are kept.
const MOST_SAMPLES: usize = 160;

/// One second in which an event took too long, and how long at worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub unix_seconds: i64,
    pub ms: u64,
}

/// An event: its last samples, the oldest first, and the worst that ever was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    pub samples: Vec<Sample>,
    pub worst_ms: u64,
}

/// All events by name.
#[derive(Debug, Default)]
pub struct Monitor {
    events: BTreeMap<&'static str, Event>,
}

impl Monitor {
    /// Notes that `event` took so long, if that is `threshold_ms` or more; 0 is never.
    pub fn note(&mut self, event: &'static str, ms: u64, threshold_ms: u64, unix_seconds: i64) {
        if threshold_ms == 0 || ms < threshold_ms {
            return;
        }
        let event = self.events.entry(event).or_default();
        event.worst_ms = event.worst_ms.max(ms);
        match event.samples.last_mut() {
            Some(last) if last.unix_seconds == unix_seconds => last.ms = last.ms.max(ms),
            _ => {
                if event.samples.len() == MOST_SAMPLES {
                    event.samples.remove(0);
                }
                event.samples.push(Sample { unix_seconds, ms });
            }
        }
    }

    pub fn events(&self) -> impl ExactSizeIterator<Item = (&'static str, &Event)> {
        self.events.iter().map(|(name, event)| (*name, event))
    }

    pub fn event(&self, name: &[u8]) -> Option<(&'static str, &Event)> {
        self.events().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()))
    }

    /// Forgets these events, or all where none is named; how many there were.
    pub fn reset(&mut self, names: &[&[u8]]) -> usize {
        let before = self.events.len();
        let is_meant = |event: &str| names.is_empty() || names.iter().any(|n| n.eq_ignore_ascii_case(event.as_bytes()));
        self.events.retain(|event, _| !is_meant(event));
        before - self.events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap_and_are_narrow() {
        assert_eq!(bucket(LONGEST), BUCKETS - 1);
        for at in 0..BUCKETS - 1 {
            let (high, next) = (highest(at), highest(at + 1));
            assert_eq!((bucket(high), bucket(high + 1)), (at, at + 1));
            assert!((next - high) * STEPS <= next.max(STEPS), "{high} to {next}");
        }
    }

    #[test]
    fn percentiles_and_powers_are_those_of_the_durations() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|us| histogram.count(us * 1000, 1));
        for (percent, us) in [(50.0, 500.0), (99.0, 990.0), (100.0, 1000.0)] {
            let found = histogram.percentile(percent) as f64 / 1000.0;
            assert!((found - us).abs() <= us * 0.016, "{percent}: {found}");
        }
        let powers = histogram.powers_us(|ticks| ticks);
        assert_eq!(powers.first(), Some(&(1, 1)));
        assert_eq!(powers.last(), Some(&(1024, 1000)));
        assert!(powers.is_sorted());
        histogram.count(u64::MAX, 1);
        assert_eq!((histogram.total(), histogram.percentile(100.0)), (1001, LONGEST));
    }

    #[test]
    fn the_worst_of_each_second_is_kept() {
        let mut monitor = Monitor::default();
        for (ms, second) in [(5, 1), (9, 1), (7, 1), (1, 2), (6, 3)] {
            monitor.note("command", ms, 5, second);
        }
        monitor.note("fork", 100, 0, 1);
        let (_, event) = monitor.event(b"COMMAND").unwrap();
        let samples: Vec<_> = event.samples.iter().map(|sample| (sample.unix_seconds, sample.ms)).collect();
        assert_eq!((samples, event.worst_ms), (vec![(1, 9), (3, 6)], 9));
        (10..500).for_each(|second| monitor.note("command", 5, 5, second));
        assert_eq!(monitor.event(b"command").unwrap().1.samples.len(), MOST_SAMPLES);
        assert_eq!((monitor.reset(&[b"nosuch"]), monitor.reset(&[]), monitor.events().len()), (0, 1, 0));
    }
}
