//! What a power cut could still take back, under `appendfsync always`: keys written, but not yet synced.
//!
//! A reply that read such a key, or a whole database while there is any, waits for the position of that write. Other
//! reads don't wait. Where the log is off, or another policy rules, nothing is tracked.

use std::collections::HashMap;

/// Writes that are not on the disk yet.
#[derive(Debug, Default)]
pub struct Unsynced {
    is_tracking: bool,
    positions: HashMap<u64, u64>,
    /// The last write of any key.
    any: Option<u64>,
    /// The last write that concerned more than the keys it named.
    all: Option<u64>,
}

impl Unsynced {
    pub fn is_tracking(&self) -> bool {
        self.is_tracking
    }

    /// The log has reached `settled`; `is_tracking` says whether `always` is in force from here on.
    pub fn settle(&mut self, settled: u64, is_tracking: bool) {
        self.is_tracking = is_tracking;
        if !is_tracking || self.any.is_some_and(|position| position <= settled) {
            self.positions.clear();
            (self.any, self.all) = (None, None);
        }
    }

    /// A key was written; its record ends at `position`.
    pub fn note(&mut self, key_hash: u64, position: u64) {
        self.positions.insert(key_hash, position);
        self.any = Some(position);
    }

    /// Something was written that no list of keys describes.
    pub fn note_all(&mut self, position: u64) {
        (self.any, self.all) = (Some(position), Some(position));
    }

    /// The position that a reading of the key rests on.
    pub fn of_key(&self, key_hash: u64) -> Option<u64> {
        self.positions.get(&key_hash).copied().max(self.all)
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
}
