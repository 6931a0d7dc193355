//! Who waits for the log to be synced, sync by sync: under `always` those whom the last sync has answered are awaited before
//! the next one begins, where it is likely that they have something to write.
//!
//! Otherwise clients who write one request after the other fall into two crowds: what one of them writes while the other's
//! sync is under way is synced as soon as that ends, and so the first comes back too late for it, every time. Each sync then
//! serves half of the clients.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::shared::Shared;

/// How long nobody may come back until the others are waited for no longer: this part of the time that a sync takes, within
/// these limits.
const SILENCE_OF_SYNC: u32 = 8;
const SILENCE: std::ops::Range<Duration> = Duration::from_micros(20)..Duration::from_micros(250);
/// How long they are waited for at most: as long as two syncs take, and no longer than this.
const LONGEST: Duration = Duration::from_millis(5);

/// Counts the clients that wait for the next sync, and those who waited for the one before and have sent nothing since.
pub(super) struct Writers {
    /// The number of the next sync.
    next: Cell<u64>,
    /// [`Append::syncs_lent`](crate::persist::append::Append::syncs_lent), as of the last one: another log counts anew.
    lent: Cell<u64>,
    waiting: Cell<usize>,
    missing: Cell<usize>,
}

impl Default for Writers {
    fn default() -> Self {
        // A client that has never waited is known with 0.
        Self { next: Cell::new(2), lent: Cell::new(0), waiting: Cell::new(0), missing: Cell::new(0) }
    }
}

impl Writers {
    /// A client waits for the next sync; `last` is the one that it has waited for last.
    pub(super) fn count(&self, last: &Cell<u64>) {
        let next = self.next.get();
        let before = last.replace(next);
        if before < next {
            self.waiting.set(self.waiting.get() + 1);
        }
        if before + 1 == next {
            self.missing.set(self.missing.get().saturating_sub(1));
        }
    }

    /// The log has lent so many syncs: where that is another number, one has begun.
    pub(super) fn follow(&self, lent: u64) {
        if self.lent.replace(lent) != lent {
            self.next.set(self.next.get() + 1);
            self.missing.set(self.waiting.take());
        }
    }
}

/// How long the missing ones have been waited for.
#[derive(Default)]
pub(super) struct Gathering {
    /// Since when, and since when how many of them.
    since: Option<(Instant, Instant, usize)>,
}

impl Gathering {
    /// Whether to look for more before the log is written.
    pub(super) fn goes_on(&mut self, shared: &Shared) -> bool {
        let missing = shared.writers.missing.get();
        let sync_takes = if missing == 0 || shared.exit.get().is_some() {
            None
        } else {
            let engine = shared.engine.borrow();
            shared.append.borrow().next_sync_takes(&engine.journal, engine.config.appendfsync)
        };
        let goes_on = sync_takes.is_some_and(|sync_takes| self.is_worth_it(Instant::now(), missing, sync_takes));
        if !goes_on {
            self.since = None;
        }
        goes_on
    }

    fn is_worth_it(&mut self, now: Instant, missing: usize, sync_takes: Duration) -> bool {
        let (began, heard, before) = self.since.unwrap_or((now, now, missing));
        let heard = if missing < before { now } else { heard };
        self.since = Some((began, heard, missing));
        let silence = (sync_takes / SILENCE_OF_SYNC).clamp(SILENCE.start, SILENCE.end);
        now - heard < silence && now - began < LONGEST.min(sync_takes * 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_crowds_are_known_to_be_two_and_those_who_come_back_are_missed_no_more() {
        let (writers, clients): (_, [Cell<u64>; 4]) = (Writers::default(), Default::default());
        let come = |indices: &[usize]| {
            indices.iter().for_each(|index| writers.count(&clients[*index]));
            writers.missing.get()
        };
        assert_eq!(come(&[0, 1]), 0, "nobody was there before");
        writers.follow(1);
        assert_eq!(come(&[2, 2, 3]), 2);
        writers.follow(1);
        assert_eq!(come(&[0, 0]), 1);
        assert_eq!(come(&[1]), 0);
        writers.follow(2);
        assert_eq!(writers.missing.get(), 4);
        writers.follow(3);
        assert_eq!(writers.missing.get(), 0, "nobody has waited for that one");
        assert_eq!(come(&[0]), 0);
        writers.follow(1);
        assert_eq!(writers.missing.get(), 1, "another log was begun");
    }

    #[test]
    fn who_does_not_come_back_is_waited_for_until_it_is_silent_and_not_for_ever() {
        let start = Instant::now();
        let (sync_takes, us) = (Duration::from_micros(400), Duration::from_micros);
        let mut gathering = Gathering::default();
        let looks = [(0, 9), (40, 9), (49, 8), (90, 8), (98, 7)]
            .map(|(at, missing)| gathering.is_worth_it(start + us(at), missing, sync_takes));
        assert_eq!(looks, [true; 5]);
        assert!(!gathering.is_worth_it(start + us(150), 7, sync_takes), "52 us without any");
        let mut gathering = Gathering::default();
        let waited =
            (0..1000).take_while(|at| gathering.is_worth_it(start + us(at * 10), 5000 - *at as usize, sync_takes));
        assert_eq!(waited.count(), 80, "800 us are enough");
    }
}
