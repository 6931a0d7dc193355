//! Who may still reach an entry that is gone: the count of snapshots, and the entries kept for them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::entry::Entry;
use super::lazyfree::{Garbage, LazyFree};
use crate::cow::segments::{SEGMENTS, SegmentTable};
use crate::rdb::Version;
use crate::value::Object;

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
    birth: u64,
    death: u64,
    size: usize,
}

/// A table that was flushed while a snapshot could reach it.
struct DeferredTable {
    table: SegmentTable,
    death: u64,
    keys: usize,
    size: usize,
}

/// A snapshot that has been open for so long that no further one can be opened: births would lose their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a snapshot is still open that {MOST_BEHIND} others came after; when it has ended, try again")]
pub struct SnapshotTooOld;

/// Snapshots that may come while one stays open.
const MOST_BEHIND: u64 = 1 << 15;
// An entry is renewed at least once in SEGMENTS epochs, and is then at most as old as the oldest open snapshot, so the low
// half of its birth tells the whole.
const _: () = assert!(MOST_BEHIND + (SEGMENTS as u64) < 1 << 16);

#[derive(Default)]
pub(super) struct Epochs {
    /// The epoch that new entries are born in: one more than the last snapshot's.
    current: u64,
    /// Epochs of open snapshots, oldest first.
    open: Vec<(u64, Arc<AtomicBool>)>,
    deferred: BlockQueue<Deferred>,
    deferred_tables: Vec<DeferredTable>,
    deferred_size: usize,
    pub(super) lazy_free: LazyFree,
    pub(super) field_expiry_seen: bool,
    /// The highest RDB version that any other value took; `None`: the usual one.
    pub(super) rdb_version_seen: Option<Version>,
}

/// What keeps births from growing too old: each time a snapshot opens, one segment of every table is renewed.
#[derive(Clone, Copy)]
pub(super) struct Renewal {
    current: u64,
    /// The epoch of the oldest open snapshot, or the current one.
    oldest: u64,
    pub(super) segment: usize,
}

impl Renewal {
    /// Makes an entry that is older than every open snapshot as young as the oldest of them: all of them reach it as before.
    pub(super) fn renew(&self, entry: Entry) {
        if birth_of(entry, self.current) < self.oldest {
            entry.set_birth(self.oldest as u16); // the low half, as entries keep it
        }
    }
}

/// The whole birth of an entry that is in a table in epoch `current`: it's less than 2^16 epochs old.
fn birth_of(entry: Entry, current: u64) -> u64 {
    current - u64::from((current as u16).wrapping_sub(entry.birth())) // the low half, as entries keep it
}

/// Entries that one call of [`Epochs::reclaim`] looks at.
const RECLAIM_BATCH: usize = 20_000;

impl Epochs {
    #[cfg(test)]
    pub(super) fn start_at(&mut self, epoch: u64) {
        self.current = epoch;
    }

    #[cfg(test)]
    pub(super) fn current(&self) -> u64 {
        self.current
    }

    /// The birth of an entry that is made now.
    pub(super) fn newborn(&self) -> u16 {
        self.current as u16 // the low half, as entries keep it
    }

    /// Begins a snapshot: first, `renew` must be given one segment of every table, so that no entry grows too old.
    pub(super) fn begin_open(&mut self) -> Result<Renewal, SnapshotTooOld> {
        self.forget_closed();
        let oldest = self.open.first().map_or(self.current, |&(epoch, _)| epoch);
        if self.current - oldest >= MOST_BEHIND {
            return Err(SnapshotTooOld);
        }
        let segment = (self.current % SEGMENTS as u64) as usize; // below SEGMENTS
        Ok(Renewal { current: self.current, oldest, segment })
    }

    /// Remembers what of a new object a file's version depends on.
    pub(super) fn note(&mut self, object: &Object) {
        match object {
            Object::Hash(hash) => self.field_expiry_seen |= hash.has_field_expiry(),
            Object::Stream(_) | Object::Array(_) => {
                self.rdb_version_seen = self.rdb_version_seen.max(Some(Version::needed(object)));
            }
            _ => {}
        }
    }

    /// Opens a snapshot: whatever was born until now is its own.
    pub(super) fn open(&mut self) -> Token {
        let closed = Arc::new(AtomicBool::new(false));
        self.open.push((self.current, Arc::clone(&closed)));
        self.current += 1;
        Token { closed }
    }

    /// Whether an open snapshot may reach `entry`, which is in a table now.
    pub(super) fn is_shared(&self, entry: Entry) -> bool {
        self.open.last().is_some_and(|&(epoch, _)| birth_of(entry, self.current) <= epoch)
    }

    /// Takes an entry that no table holds any more. `kept_len`: bytes outside of it that go with it.
    pub(super) fn retire(&mut self, entry: Entry, kept_len: impl FnOnce() -> usize) {
        if self.is_shared(entry) {
            let size = entry.size() + kept_len();
            self.deferred_size += size;
            self.deferred.push_back(Deferred {
                entry,
                birth: birth_of(entry, self.current),
                death: self.current,
                size,
            });
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
        (self.deferred.len + in_tables, self.deferred_size)
    }

    pub(super) fn reclaim(&mut self) -> bool {
        if self.forget_closed() == 0 && self.deferred.len == 0 && self.deferred_tables.is_empty() {
            return false;
        }
        self.reclaim_tables();
        let (mut dead, mut dead_size) = (Vec::new(), 0);
        for _ in 0..RECLAIM_BATCH.min(self.deferred.len) {
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
        self.deferred.len > 0 && self.open.is_empty()
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

/// A queue that grows by a block at a time. One buffer for all would be copied whole whenever it is full: with some
/// million old versions in it, clients would notice.
struct BlockQueue<T> {
    /// None is empty, and none holds more than [`BLOCK`].
    blocks: VecDeque<VecDeque<T>>,
    len: usize,
}

const BLOCK: usize = 1024;

impl<T> Default for BlockQueue<T> {
    fn default() -> Self {
        Self { blocks: VecDeque::new(), len: 0 }
    }
}

impl<T> BlockQueue<T> {
    fn push_back(&mut self, item: T) {
        match self.blocks.back_mut().filter(|last| last.len() < BLOCK) {
            Some(last) => last.push_back(item),
            None => {
                let mut block = VecDeque::with_capacity(BLOCK);
                block.push_back(item);
                self.blocks.push_back(block);
            }
        }
        self.len += 1;
    }

    fn pop_front(&mut self) -> Option<T> {
        let first = self.blocks.front_mut()?;
        let item = first.pop_front();
        if first.is_empty() {
            self.blocks.pop_front();
        }
        self.len -= usize::from(item.is_some());
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_of_blocks_gives_back_in_order_and_keeps_no_empty_block() {
        let mut queue = BlockQueue::default();
        let (mut next, mut expected) = (0, 0);
        for round in 1..200 {
            for _ in 0..round * 37 % 2_000 {
                queue.push_back(next);
                next += 1;
            }
            for _ in 0..round * 53 % 2_000 {
                let Some(item) = queue.pop_front() else { break };
                assert_eq!(item, expected);
                expected += 1;
            }
            assert_eq!(queue.len, next - expected);
            assert!(queue.blocks.iter().all(|block| (1..=BLOCK).contains(&block.len())));
        }
        while queue.pop_front().is_some() {}
        assert!(queue.len == 0 && queue.blocks.is_empty());
    }
}
