//! What a background save reads: all databases as they were at one moment.

use crate::cow::segments::SegmentTable;

use super::entry::{Entry, View};
use super::epochs::Token;

/// Entries lie anywhere in memory, so those this far ahead are fetched while one is visited.
const AHEAD: usize = 16;

/// All databases at one moment. Reading it consumes it, segment by segment, so that it lets go of what it has read.
pub struct Snapshot {
    dbs: Vec<SnapshotDb>,
    token: Token,
}

/// One database of a snapshot.
pub struct SnapshotDb {
    table: SegmentTable,
    pub keys: usize,
    pub expires: usize,
}

/// One key of a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotEntry<'a> {
    pub key: &'a [u8],
    pub value: View<'a>,
    pub expire_at_ms: Option<i64>,
    /// The access bits as they are now; the only thing that may be younger than the snapshot.
    pub access: u32,
}

impl Snapshot {
    pub(super) fn new(dbs: Vec<SnapshotDb>, token: Token) -> Self {
        Self { dbs, token }
    }

    /// Keys in all databases.
    pub fn len(&self) -> usize {
        self.dbs.iter().map(|db| db.keys).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Visits every database that has keys, and each key in it; stops at the first error.
    pub fn visit<E>(
        self,
        mut begin_db: impl FnMut(usize, &SnapshotDb) -> Result<bool, E>,
        mut visit: impl FnMut(usize, SnapshotEntry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { dbs, token } = self;
        for (index, db) in dbs.into_iter().enumerate() {
            if db.keys == 0 || !begin_db(index, &db)? {
                continue;
            }
            for segment in db.table.into_segments() {
                let mut ahead = segment.iter().map(Entry::from_payload);
                ahead.by_ref().take(AHEAD).for_each(Entry::prefetch);
                for payload in segment.iter() {
                    ahead.by_ref().take(1).for_each(Entry::prefetch);
                    visit(index, SnapshotEntry::of(Entry::from_payload(payload)))?;
                }
            }
        }
        drop(token); // until here the keyspace frees nothing that was visited
        Ok(())
    }
}

impl SnapshotDb {
    pub(super) fn new(table: SegmentTable, keys: usize, expires: usize) -> Self {
        Self { table, keys, expires }
    }
}

impl SnapshotEntry<'_> {
    pub(super) fn of(entry: Entry) -> Self {
        Self { key: entry.key(), value: entry.view(), expire_at_ms: entry.expire_at_ms(), access: entry.access() }
    }
}
