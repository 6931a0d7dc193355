//! What a power cut could still take back, under `appendfsync always`: keys written, but not yet synced.
//!
//! A reply that read such a key, or a whole database while there is any, waits for the position of that write. Other
//! reads don't wait. Where the log is off, or another policy rules, nothing is tracked.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Writes that are not on the disk yet.
///
/// They stand in two generations: those before some position, and those since. When the log has reached the former's
/// end it is emptied and begins anew behind the latter's, so that writers who never pause are forgotten all the same.
#[derive(Debug, Default)]
pub struct Unsynced {
    is_tracking: bool,
    before: Positions,
    since: Positions,
    /// The last write in `before`.
    before_end: u64,
    /// The last write of any key.
    any: Option<u64>,
    /// The last write that concerned more than the keys it named.
    all: Option<u64>,
}

type Positions = HashMap<u64, u64, BuildHasherDefault<Hashed>>;

/// Takes a key's hash as it is: it comes from a keyed function.
#[derive(Debug, Default)]
pub struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not for what it is used for here; any mixing is right.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(5) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Unsynced {
    pub fn is_tracking(&self) -> bool {
        self.is_tracking
    }

    /// The log has reached `settled`; `is_tracking` says whether `always` is in force from here on.
    pub fn settle(&mut self, settled: u64, is_tracking: bool) {
        self.is_tracking = is_tracking;
        if !is_tracking || self.any.is_some_and(|position| position <= settled) {
            self.before.clear();
            self.since.clear();
            (self.any, self.all) = (None, None);
        } else if self.before_end <= settled {
            self.before.clear();
            std::mem::swap(&mut self.before, &mut self.since);
            self.before_end = self.any.unwrap_or(0);
        }
    }

    /// A key was written; its record ends at `position`.
    pub fn note(&mut self, key_hash: u64, position: u64) {
        self.since.insert(key_hash, position);
        self.any = Some(position);
    }

    /// Something was written that no list of keys describes.
    pub fn note_all(&mut self, position: u64) {
        (self.any, self.all) = (Some(position), Some(position));
    }

    /// The position that a reading of the key rests on.
    pub fn of_key(&self, key_hash: u64) -> Option<u64> {
        let known = self.since.get(&key_hash).or_else(|| self.before.get(&key_hash));
        known.copied().max(self.all)
    }

    /// The position that a reading of anything rests on.
    pub fn of_all(&self) -> Option<u64> {
        self.any
    }
}

#[cfg(test)]
mod tests {
    use super::Unsynced;

    #[test]
    fn only_readers_of_unsynced_keys_wait_and_only_until_the_sync() {
        let mut unsynced = Unsynced::default();
        unsynced.settle(0, true);
        unsynced.note(1, 10);
        unsynced.note(2, 20);
        assert_eq!((unsynced.of_key(1), unsynced.of_key(3), unsynced.of_all()), (Some(10), None, Some(20)));
        unsynced.note_all(30);
        assert_eq!((unsynced.of_key(1), unsynced.of_key(3)), (Some(30), Some(30)));
        unsynced.settle(29, true);
        assert_eq!(unsynced.of_all(), Some(30));
        unsynced.settle(30, true);
        assert_eq!((unsynced.of_key(1), unsynced.of_all()), (None, None));
    }

    #[test]
    fn writers_who_never_pause_are_forgotten_as_the_log_goes_on() {
        let mut unsynced = Unsynced::default();
        unsynced.settle(0, true);
        for position in 1..10_000 {
            unsynced.note(position, position);
            if position % 10 == 0 {
                unsynced.settle(position - 5, true);
                assert!(unsynced.before.len() + unsynced.since.len() <= 30);
                assert_eq!(unsynced.of_key(position - 4), Some(position - 4));
            }
        }
    }
}
