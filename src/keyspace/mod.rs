//! Databases: keys, what they hold, when they expire; and snapshots of all of it.
//!
//! A [`Db`] maps keys to entries. A [`Snapshot`] clones one root per database and may be read on another thread while the
//! databases change; it sees what was there when it was taken, and nothing else.
//!
//! **Epochs.** The keyspace counts snapshots. An entry carries the epoch of its birth. An entry younger than every open
//! snapshot is changed in place or freed at once. Any other is replaced by a new one, and the old is kept, with the epoch
//! of its death, until no open snapshot lies between the two: so a snapshot holds at most one old version of a key,
//! and snapshots that overlap drain. Entries keep the low half of their birth only; each time a snapshot opens, the births
//! in one of the segments are renewed, so that none gets old enough to be mistaken for a young one.
//!
//! Values are inside entries when they are short strings or small collections that nobody changes at the moment
//! (`value::Compact`), and `value::Object`s else; those are copy-on-write themselves, so replacing the entry of a large
//! collection copies a pointer to it.

mod access;
mod db;
mod entry;
mod epochs;
mod expiring;
mod fill;
mod hashing;
mod lazyfree;
mod snapshot;
mod unpacked;

pub use access::AccessClock;
pub use db::{Db, Expiry};
pub use entry::View;
pub use epochs::SnapshotTooOld;
pub use fill::{Ahead, NewKey, NewValue};
pub use hashing::KeyHasher;
pub use lazyfree::LazyFreeCounts;
pub use snapshot::{Snapshot, SnapshotDb, SnapshotEntry};

use crate::rdb::Version;

use epochs::Epochs;
use unpacked::Unpacked;

/// All databases of a server.
pub struct Keyspace {
    dbs: Vec<db::Table>,
    epochs: Epochs,
    unpacked: Unpacked,
    hashing: hashing::Hashing,
    /// What the access bits of new and used keys become.
    pub access: AccessClock,
}

impl Keyspace {
    /// `count` empty databases.
    pub fn new(count: usize) -> Self {
        Self {
            dbs: (0..count).map(|_| db::Table::default()).collect(),
            epochs: Epochs::default(),
            unpacked: Unpacked::default(),
            hashing: hashing::Hashing::new(),
            access: AccessClock::default(),
        }
    }

    pub fn db_count(&self) -> usize {
        self.dbs.len()
    }

    /// A database to read and change. Panics if there is no such number, as the session's number is checked when it is
    /// set.
    pub fn db(&mut self, index: usize) -> Db<'_> {
        while let Some(loose) = self.unpacked.overdue() {
            self.borrow(loose.db).pack(loose);
        }
        self.borrow(index)
    }

    fn borrow(&mut self, index: usize) -> Db<'_> {
        let Self { dbs, epochs, unpacked, hashing, access } = self;
        Db { table: &mut dbs[index], index, epochs, unpacked, hashing, access }
    }

    /// The hash that decides a key's place.
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hashing.hash(key)
    }

    /// What computes the same elsewhere.
    pub fn hasher(&self) -> KeyHasher {
        self.hashing.hasher()
    }

    /// Keys in a database, and how many of them have an expiry.
    pub fn counts(&self, index: usize) -> (usize, usize) {
        self.dbs[index].counts()
    }

    /// Keys in all databases.
    pub fn len(&self) -> usize {
        self.dbs.iter().map(|table| table.counts().0).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hashes of a database with fields that expire, or that had such and were not looked at since.
    pub fn hashes_that_expire(&self, index: usize) -> usize {
        self.dbs[index].expiring_hashes()
    }

    /// Whether any hash has had a field expiry since the keyspace was last empty.
    pub fn may_have_field_expiry(&self) -> bool {
        self.epochs.field_expiry_seen
    }

    /// The lowest RDB version that can hold whatever was here since the keyspace was last empty.
    pub fn rdb_version_needed(&self) -> Version {
        let usual = if self.epochs.field_expiry_seen { Version::Rdb12 } else { Version::Rdb11 };
        self.epochs.rdb_version_seen.map_or(usual, |seen| seen.max(usual))
    }

    /// Until [`Keyspace::forget`], the bytes at this place, a key of the request that is executed, are known to have this
    /// hash.
    #[inline]
    pub fn know(&mut self, key: &[u8], hash: u64) {
        self.hashing.know(key, hash);
    }

    /// The request is executed: its bytes may go.
    #[inline]
    pub fn forget(&mut self) {
        self.hashing.forget();
    }

    /// Fetches the memory that looking up keys will need, each given by its database and hash, all of it at once. Worth
    /// it for two keys or more.
    pub fn prefetch(&self, keys: &[(usize, u64)]) {
        let each = |fetch: fn(&db::Table, crate::cow::segments::Place)| {
            keys.iter().for_each(|&(index, hash)| fetch(&self.dbs[index], db::place(hash)));
        };
        each(db::Table::prefetch_slots);
        each(db::Table::prefetch_entry);
        // Keys with long values are among their like.
        let mut samples = keys.iter().step_by(keys.len().div_ceil(2).max(1));
        if samples.any(|&(index, hash)| self.dbs[index].is_long(db::place(hash))) {
            each(db::Table::prefetch_rest);
        }
    }

    /// A snapshot of all databases, in microseconds at any size. Fails only while one is open that is 2^15 snapshots old.
    pub fn snapshot(&mut self) -> Result<Snapshot, SnapshotTooOld> {
        let renewal = self.epochs.begin_open()?;
        self.dbs.iter().for_each(|table| table.renew(renewal));
        let token = self.epochs.open();
        Ok(Snapshot::new(self.dbs.iter().map(db::Table::share).collect(), token))
    }

    /// Frees what no open snapshot can reach any more, some thousand entries at a time; true if there is more to do.
    pub fn reclaim(&mut self) -> bool {
        self.epochs.reclaim()
    }

    /// Old versions that open snapshots hold: how many, and their bytes.
    pub fn deferred(&self) -> (usize, usize) {
        self.epochs.deferred()
    }

    /// About how many bytes the tables take that find the keys, without the keys.
    pub fn table_len(&self) -> u64 {
        self.dbs.iter().map(db::Table::len_of_tables).sum()
    }

    /// What the thread that frees has to do and has done.
    pub fn lazy_free(&self) -> LazyFreeCounts {
        self.epochs.lazy_free.counts()
    }

    /// Begins the count of what was freed anew.
    pub fn reset_lazy_freed(&mut self) {
        self.epochs.lazy_free.reset_freed();
    }

    /// Gives back a value that left its key, wherever that is quick.
    pub fn free_object(&mut self, object: crate::value::Object) {
        self.epochs.lazy_free.free_object(object);
    }

    /// Exchanges two databases.
    pub fn swap(&mut self, first: usize, second: usize) {
        self.dbs.swap(first, second);
        self.unpacked.swap(first, second);
    }

    /// Empties all databases, in no time at any size.
    pub fn clear(&mut self) {
        for index in 0..self.dbs.len() {
            self.db(index).clear();
        }
        self.epochs.field_expiry_seen = false;
        self.epochs.rdb_version_seen = None;
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        self.clear();
        self.epochs.abandon();
    }
}

#[cfg(test)]
mod model;
