//! How fast keys may go to the server.

use ironkeep::engine::params::kind::parse_memory;
use std::time::{Duration, Instant};

/// What may be sent before the first wait, as a part of a second's worth.
const BURST: f64 = 0.05;

/// The most per second: `500` are keys, `20mb` bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    Keys(f64),
    Bytes(f64),
}

impl Rate {
    pub fn parse(text: &str) -> Result<Rate, String> {
        let rate = match text.parse::<u64>() {
            Ok(keys) => Rate::Keys(keys as f64), // exact below 2^53
            Err(_) => {
                let bytes = parse_memory(text.as_bytes());
                Rate::Bytes(
                    bytes.ok_or("a rate is keys per second (500), or bytes per second with a unit (20mb)")? as f64
                )
            }
        };
        match rate {
            Rate::Keys(most) | Rate::Bytes(most) if most < 1.0 => Err("a rate of nothing would never end".to_owned()),
            rate => Ok(rate),
        }
    }
}

/// Keeps what was sent below a rate.
pub struct Pace {
    rate: Option<Rate>,
    start: Option<Instant>,
    sent: f64,
}

impl Pace {
    pub fn new(rate: Option<Rate>) -> Pace {
        Pace { rate, start: None, sent: 0.0 }
    }

    /// Counts a key that is about to be sent, and says how long to wait first.
    pub fn wait_for(&mut self, bytes: usize) -> Option<Duration> {
        let start = *self.start.get_or_insert_with(Instant::now);
        self.wait_at(start.elapsed().as_secs_f64(), bytes)
    }

    fn wait_at(&mut self, elapsed: f64, bytes: usize) -> Option<Duration> {
        let (most, cost) = match self.rate? {
            Rate::Keys(most) => (most, 1.0),
            Rate::Bytes(most) => (most, bytes as f64), // exact below 2^53
        };
        let due = self.sent / most - BURST;
        self.sent += cost;
        (due > elapsed).then(|| Duration::from_secs_f64(due - elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_keys_or_bytes() {
        assert_eq!(Rate::parse("500"), Ok(Rate::Keys(500.0)));
        assert_eq!(Rate::parse("20mb"), Ok(Rate::Bytes(20.0 * 1024.0 * 1024.0)));
        assert!(Rate::parse("0").is_err() && Rate::parse("fast").is_err() && Rate::parse("-1").is_err());
    }

    #[test]
    fn what_is_sent_never_runs_ahead_of_the_rate() {
        for (rate, bytes) in [(Rate::Keys(1000.0), 7), (Rate::Bytes(1000.0), 1)] {
            let (mut pace, mut now) = (Pace::new(Some(rate)), 0.0);
            for sent in 0..5_000 {
                now += pace.wait_at(now, bytes).map_or(0.0, |wait| wait.as_secs_f64());
                assert!(f64::from(sent) <= (now + BURST) * 1000.0 + 1.0, "{sent} at {now}");
            }
            assert!((4.8..5.0).contains(&now), "{now}");
        }
        assert_eq!(Pace::new(None).wait_at(0.0, usize::MAX), None);
    }
}
