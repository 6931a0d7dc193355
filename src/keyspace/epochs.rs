//! Who may still reach an entry that is gone: the count of snapshots, and the entries kept for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entry::Entry;
use crate::rdb::Version;

/// Held by a snapshot for as long as it may read entries.
#[derive(Debug)]
pub(super) struct Token {
    closed: Arc<AtomicBool>,
}

impl Drop for Token {
    fn drop(&mut self) {
        // Release: all reads of entries through the snapshot come before the keyspace sees it closed.
        self.closed.store(true, Ordering::Release);
    }
}

/// An entry that was replaced or removed while a snapshot could reach it.
struct Deferred {
    entry: Entry,
    death: u32,
    size: usize,
}

#[derive(Default)]
pub(super) struct Epochs {
    /// The epoch that new entries are born in: one more than the last snapshot's.
    current: u32,
    /// Epochs of open snapshots, oldest first.
    open: Vec<(u32, Arc<AtomicBool>)>,
    deferred: VecDeque<Deferred>,
    deferred_size: usize,
    pub(super) field_expiry_seen: bool,
    /// The highest RDB version that any other value took; `None`: the usual one.
    pub(super) rdb_version_seen: Option<Version>,
}

/// Entries that one call of [`Epochs::reclaim`] looks at.
const RECLAIM_BATCH: usize = 20_000;

impl Epochs {
    pub(super) fn current(&self) -> u32 {
        self.current
    }

    /// Opens a snapshot: whatever was born until now is its own.
    pub(super) fn open(&mut self) -> Token {
        self.forget_closed();
        let closed = Arc::new(AtomicBool::new(false));
        self.open.push((self.current, Arc::clone(&closed)));
        self.current = self.current.checked_add(1).expect("fewer than 2^32 snapshots are taken in one run");
        Token { closed }
    }

    /// Whether an open snapshot may reach `entry`, which is in a table now.
    pub(super) fn is_shared(&self, entry: Entry) -> bool {
        self.open.last().is_some_and(|&(epoch, _)| entry.birth() <= epoch)
    }

    /// Takes an entry that no table holds any more.
    pub(super) fn retire(&mut self, entry: Entry) {
        if self.is_shared(entry) {
            let size = entry.size();
            self.deferred_size += size;
            self.deferred.push_back(Deferred { entry, death: self.current, size });
        } else {
            entry.free();
        }
    }

    pub(super) fn deferred(&self) -> (usize, usize) {
        (self.deferred.len(), self.deferred_size)
    }

    pub(super) fn reclaim(&mut self) -> bool {
        if self.forget_closed() == 0 && self.deferred.is_empty() {
            return false;
        }
        for _ in 0..RECLAIM_BATCH.min(self.deferred.len()) {
            let Some(oldest) = self.deferred.pop_front() else { break };
            let birth = oldest.entry.birth();
            if self.open.iter().any(|&(epoch, _)| birth <= epoch && epoch < oldest.death) {
                self.deferred.push_back(oldest);
            } else {
                self.deferred_size -= oldest.size;
                oldest.entry.free();
            }
        }
        !self.deferred.is_empty() && self.open.is_empty()
    }

    /// Leaves to their fate the entries that a snapshot on another thread may still read, as the process is ending; frees
    /// the others.
    pub(super) fn abandon(&mut self) {
        while self.reclaim() {}
    }

    /// Drops closed snapshots from the list; the number that were dropped.
    fn forget_closed(&mut self) -> usize {
        let before = self.open.len();
        // Acquire: pairs with the token's release, so that freeing comes after the snapshot's last read.
        self.open.retain(|(_, closed)| !closed.load(Ordering::Acquire));
        before - self.open.len()
    }
}
