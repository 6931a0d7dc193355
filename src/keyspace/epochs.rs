//! Who may still reach an entry that is gone: the count of snapshots, and the entries kept for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entry::Entry;
use super::lazyfree::{Garbage, LazyFree};
use crate::cow::segments::SegmentTable;
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
    birth: u32,
    death: u32,
    size: usize,
}

/// A table that was flushed while a snapshot could reach it.
struct DeferredTable {
    table: SegmentTable,
    death: u32,
    keys: usize,
    size: usize,
}

#[derive(Default)]
pub(super) struct Epochs {
    /// The epoch that new entries are born in: one more than the last snapshot's.
    current: u32,
    /// Epochs of open snapshots, oldest first.
    open: Vec<(u32, Arc<AtomicBool>)>,
    deferred: VecDeque<Deferred>,
    deferred_tables: Vec<DeferredTable>,
    deferred_size: usize,
    pub(super) lazy_free: LazyFree,
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

    /// Takes an entry that no table holds any more. `kept_len`: bytes outside of it that go with it.
    pub(super) fn retire(&mut self, entry: Entry, kept_len: impl FnOnce() -> usize) {
        if self.is_shared(entry) {
            let size = entry.size() + kept_len();
            self.deferred_size += size;
            self.deferred.push_back(Deferred { entry, birth: entry.birth(), death: self.current, size });
        } else {
            self.lazy_free.free(entry);
        }
    }

    /// Takes a table with all of its `keys` entries, of about `size` bytes: in no time at any size. It is kept whole
    /// until no snapshot is open that was there when it died.
    pub(super) fn retire_table(&mut self, table: SegmentTable, keys: usize, size: usize) {
        self.forget_closed();
        if keys == 0 {
            return;
        }
        if self.open.is_empty() {
            self.lazy_free.take(Garbage::Table(table), keys, size);
        } else {
            self.deferred_size += size;
            self.deferred_tables.push(DeferredTable { table, death: self.current, keys, size });
        }
    }

    pub(super) fn deferred(&self) -> (usize, usize) {
        let in_tables: usize = self.deferred_tables.iter().map(|table| table.keys).sum();
        (self.deferred.len() + in_tables, self.deferred_size)
    }

    pub(super) fn reclaim(&mut self) -> bool {
        if self.forget_closed() == 0 && self.deferred.is_empty() && self.deferred_tables.is_empty() {
            return false;
        }
        self.reclaim_tables();
        let (mut dead, mut dead_size) = (Vec::new(), 0);
        for _ in 0..RECLAIM_BATCH.min(self.deferred.len()) {
            let Some(oldest) = self.deferred.pop_front() else { break };
            if self.open.iter().any(|&(epoch, _)| oldest.birth <= epoch && epoch < oldest.death) {
                self.deferred.push_back(oldest);
            } else {
                dead_size += oldest.size;
                dead.push(oldest.entry);
            }
        }
        if !dead.is_empty() {
            self.deferred_size -= dead_size;
            let count = dead.len();
            self.lazy_free.take(Garbage::Entries(dead), count, dead_size);
        }
        !self.deferred.is_empty() && self.open.is_empty()
    }

    fn reclaim_tables(&mut self) {
        let open = &self.open;
        let may_go = |table: &mut DeferredTable| open.iter().all(|&(epoch, _)| epoch >= table.death);
        for DeferredTable { table, keys, size, .. } in self.deferred_tables.extract_if(.., may_go) {
            self.deferred_size -= size;
            self.lazy_free.take(Garbage::Table(table), keys, size);
        }
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
