//! An RDB that is put together from keys of others, copied as they stand.
//!
//! A value whose type the version knows is copied byte for byte; any other, and one that refers to a template, is decoded
//! and written anew. Databases are
//! announced with the counts that were taken in a pass before, the first time they come; what a writer said of the
//! number of keys in a slot is left out, since it would not be true any more.

use crate::opened::{self, FileReader};
use anyhow::Context;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::target::{SealedTarget, Target};
use ironkeep::rdb::{CopyError, Event, KeyHeader, KeyMeta, Version, WriteError, WriteOptions, Writer};
use ironkeep::value::Object;
use std::collections::BTreeMap;

/// A hint of Valkey and Redis in cluster mode: how many keys of a slot follow.
const SLOT_HINT: &[u8] = b"slot-info";
/// Where in a replication stream the file stands: true of the data as a whole only.
const REPLICATION: [&[u8]; 3] = [b"repl-id", b"repl-offset", b"repl-stream-db"];

/// How many keys, and keys that expire, each database holds.
#[derive(Clone, Debug, Default)]
pub struct Counts(BTreeMap<u64, (u64, u64)>);

impl Counts {
    pub fn add(&mut self, key: &KeyHeader) {
        self.put(key.db, key.expire_at_ms.is_some());
    }

    /// Counts one key more.
    pub fn put(&mut self, db: u64, expires: bool) {
        let counted = self.0.entry(db).or_default();
        counted.0 += 1;
        counted.1 += u64::from(expires);
    }

    /// Counts one key less, which was counted.
    pub fn take(&mut self, db: u64, expires: bool) {
        if let Some((keys, expiring)) = self.0.get_mut(&db) {
            *keys -= 1;
            *expiring -= u64::from(expires);
        }
    }

    pub fn keys(&self) -> u64 {
        self.0.values().map(|(keys, _)| keys).sum()
    }

    pub fn databases(&self) -> usize {
        self.0.values().filter(|(keys, _)| *keys > 0).count()
    }
}

/// One bit for each key of a file, in its order.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    words: Vec<u64>,
    len: usize,
}

impl Marks {
    /// So many keys, none of them marked.
    pub fn of_len(len: usize) -> Marks {
        Marks { words: vec![0; len.div_ceil(64)], len }
    }

    pub fn push(&mut self, mark: bool) {
        if self.len.is_multiple_of(64) {
            self.words.push(0);
        }
        self.len += 1;
        if mark {
            self.set(self.len - 1);
        }
    }

    /// Marks the key at `index`, which was pushed.
    pub fn set(&mut self, index: usize) {
        self.words[index / 64] |= 1 << (index % 64);
    }

    /// Whether the key at `index` is marked; one that was never pushed is not.
    pub fn get(&self, index: usize) -> bool {
        self.words.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
}

/// An RDB under way. Dropped, nothing is left of it.
pub struct Part {
    name: String,
    writer: Writer<Target>,
    counts: Counts,
    db: Option<u64>,
    /// Whether it holds all keys of its input.
    is_whole: bool,
}

impl Part {
    pub fn new(target: Target, version: Version, counts: Counts, is_whole: bool) -> anyhow::Result<Part> {
        let name = target.name().to_owned();
        let writer = Writer::new(target, version, WriteOptions::default()).with_context(|| name.clone())?;
        Ok(Part { name, writer, counts, db: None, is_whole })
    }

    /// Writes what stands beside the keys; what would not be true of the part is left out.
    pub fn beside(&mut self, event: &Event) -> Result<(), WriteError> {
        match event {
            Event::Aux { name, .. } if name == SLOT_HINT => Ok(()),
            Event::Aux { name, .. } if !self.is_whole && REPLICATION.contains(&name.as_slice()) => Ok(()),
            Event::Aux { name, value } => self.writer.aux(name, value),
            Event::ModuleAux { id, raw, .. } => self.writer.module_aux(*id, raw),
            Event::Function { code } => self.writer.function(code),
            Event::SlotImport { job, ranges } => self.writer.slot_import(job, ranges),
            other => other.refusal().map_or(Ok(()), |what| Err(WriteError::Refused(what))),
        }
    }

    /// Copies the key that is next in `reader`.
    pub fn copy(&mut self, reader: &mut FileReader, header: &KeyHeader) -> Result<(), CopyError> {
        self.select(header.db)?;
        self.writer.copy_key(reader, header)
    }

    /// Writes a key with a value of its own.
    pub fn write(&mut self, header: &KeyHeader, object: &Object) -> Result<(), WriteError> {
        self.select(header.db)?;
        self.writer.key(&KeyMeta::of(header), object.into())
    }

    fn select(&mut self, db: u64) -> Result<(), WriteError> {
        if self.db != Some(db) {
            // Taken, so that a database that comes again does not count its keys twice.
            let (keys, expires) = self.counts.0.remove(&db).unwrap_or_default();
            self.writer.select_db(db, keys, expires)?;
            self.db = Some(db);
        }
        Ok(())
    }

    /// Ends the file, which does not have its name yet.
    pub fn seal(self) -> anyhow::Result<SealedTarget> {
        let Part { name, writer, .. } = self;
        writer.finish().map_err(|error| output_failure(&name, error))?.seal()
    }

    /// The error of a copy out of `input` as the end of a verb.
    pub fn failure(&self, input: &str, error: CopyError) -> anyhow::Error {
        match error {
            CopyError::Read(error) => opened::failure(input, &error),
            CopyError::Write(error) => output_failure(&self.name, error),
        }
    }
}

/// The error of the output `name` as the end of a verb.
fn output_failure(name: &str, error: WriteError) -> anyhow::Error {
    match error {
        WriteError::Io(error) => anyhow::Error::new(error).context(name.to_owned()),
        error => Failure::error(Exit::Unsupported, error).context(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_where_they_were_set() {
        let mut marks = Marks::default();
        (0..200).for_each(|index| marks.push(index % 3 == 0));
        marks.set(100);
        assert!((0..200).all(|index| marks.get(index) == (index % 3 == 0 || index == 100)));
        assert!(!marks.get(200));
    }
}
