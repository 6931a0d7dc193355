//! One RDB into an engine: a thread reads, checks and decodes; this one puts the keys where they belong.

use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::engine::Engine;
use crate::keyspace::{AccessClock, Ahead, KeyHasher, NewKey, NewValue};
use crate::persist::PersistError;
use crate::rdb::{self, Checksum, Event, Gathered, KeyHeader};
use crate::value::{Compact, Limits, Module};

use super::Loaded;
use super::pipeline::{self, Outlet};

/// A batch is handed over when it has so many keys, or so many bytes of keys and strings.
const BATCH_KEYS: usize = 512;
const BATCH_BYTES: usize = 256 << 10;
/// No key with its value is believed to take fewer bytes of a file when room is made for as many as it announces.
const LEAST_BYTES_PER_KEY: u64 = 8;

/// Loads one RDB.
pub(super) struct RdbLoader<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) path: &'a Path,
    /// Bytes of the file.
    pub(super) len: u64,
    /// The base of a log: expired keys stay, since later records may count on them.
    pub(super) is_base: bool,
    pub(super) loaded: &'a mut Loaded,
    /// Looks at the engine behind each batch, and may empty it.
    pub(super) seen: Seen<'a>,
}

/// Is told up to which offset the file has been loaded.
pub(super) type Seen<'a> = &'a mut dyn FnMut(&mut Engine, u64);

/// What was read of an RDB: where it ends, and what lies behind it.
pub(super) struct Ended<R> {
    pub(super) source: R,
    pub(super) unread: Vec<u8>,
    pub(super) offset: u64,
}

/// Keys of one database that have been read, and what stands behind them.
#[derive(Default)]
struct Batch {
    db: u64,
    /// Keys and strings.
    bytes: Vec<u8>,
    keys: Vec<ReadKey>,
    then: Option<Notice>,
    /// Up to where the file has been read.
    offset: u64,
}

struct ReadKey {
    key: Range<usize>,
    hash: u64,
    /// `None` for a collection without elements.
    value: Option<Gathered>,
    expire_at_ms: Option<i64>,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
    offset: u64,
}

/// What a file says between its keys.
enum Notice {
    Resize { keys: u64 },
    Function(Vec<u8>),
    ModuleAux { module: Module, is_behind_keys: bool },
    Warning(String),
}

impl RdbLoader<'_> {
    /// Reads to the end marker.
    pub(super) fn load<R: Read + Send>(&mut self, source: R) -> Result<Ended<R>, PersistError> {
        let (path, limits, hasher) = (self.path, self.engine.limits, self.engine.keyspace.hasher());
        let batch = Batch::default();
        let reading = |outlet| Reading { path, limits, hasher, outlet, batch, has_keys: false }.run(source);
        let (read, taken) = pipeline::run(reading, |batch: &mut Batch| self.take(batch));
        taken.and(read)
    }

    fn take(&mut self, batch: &mut Batch) -> Result<(), PersistError> {
        self.engine.persistence.load.advance(batch.offset)?;
        let db = match batch.keys.iter().find(|read| read.value.is_some()) {
            Some(first) => self.database(batch.db, first.offset)?,
            None => 0,
        };
        self.leave_out(&mut batch.keys);
        let access = self.engine.keyspace.access.clone();
        let (keys, bytes) = (&mut batch.keys, &batch.bytes);
        let filled = self.engine.keyspace.fill(db, keys, ReadKey::ahead, |read| read.take_new(bytes, &access));
        if let Err(index) = filled {
            let ReadKey { offset, key, .. } = &keys[index];
            return Err(self.refused(format!(
                "offset {offset}: the key \"{}\" stands twice in database {db}; `rdbtool check` lists all such keys",
                bytes[key.clone()].escape_ascii()
            )));
        }
        self.loaded.keys += keys.len() as u64; // a batch is small
        keys.clear();
        batch.bytes.clear();
        (self.seen)(self.engine, batch.offset);
        batch.then.take().map_or(Ok(()), |notice| self.heed(batch.db, notice))
    }

    /// Drops the keys that are not to be loaded, and counts them.
    fn leave_out(&mut self, keys: &mut Vec<ReadKey>) {
        let now_ms = self.engine.clock.now_ms();
        keys.retain(|read| {
            let is_empty = read.value.is_none();
            let is_due = !self.is_base && read.expire_at_ms.is_some_and(|at| at <= now_ms);
            self.loaded.empty += u64::from(is_empty);
            self.loaded.expired += u64::from(is_due && !is_empty);
            !is_empty && !is_due
        });
    }

    /// The index of the database with this number in the file.
    fn database(&self, number: u64, offset: u64) -> Result<usize, PersistError> {
        let databases = self.engine.keyspace.db_count();
        usize::try_from(number).ok().filter(|&db| db < databases).ok_or_else(|| {
            self.refused(format!(
                "offset {offset}: database {number} is beyond the {databases} that are configured; set `databases` higher"
            ))
        })
    }

    fn heed(&mut self, db: u64, notice: Notice) -> Result<(), PersistError> {
        match notice {
            Notice::Resize { keys } => {
                if let Some(db) = usize::try_from(db).ok().filter(|db| *db < self.engine.keyspace.db_count()) {
                    let keys = keys.min(self.len / LEAST_BYTES_PER_KEY);
                    self.engine.keyspace.expect(db, usize::try_from(keys).unwrap_or(usize::MAX));
                }
            }
            Notice::Function(code) => {
                let outcome = self.engine.functions.load(&code, false).map(|_| ());
                outcome.map_err(|error| self.refused(format!("a function library: {error}")))?;
            }
            Notice::ModuleAux { module, is_behind_keys } => {
                let aux = &mut self.engine.module_aux;
                let place = if is_behind_keys { &mut aux.behind_keys } else { &mut aux.before_keys };
                place.push(module);
            }
            Notice::Warning(text) => self.loaded.warnings.push(text),
        }
        Ok(())
    }

    fn refused(&self, reason: String) -> PersistError {
        refused(self.path, reason)
    }
}

impl ReadKey {
    fn ahead(&self) -> Ahead {
        Ahead { hash: self.hash, expires: self.expire_at_ms.is_some() }
    }

    /// The key, whose value is not here any more.
    fn take_new<'a>(&mut self, bytes: &'a [u8], access: &AccessClock) -> NewKey<'a> {
        let access = access.restored(self.frequency, self.idle_seconds);
        let value = match self.value.take() {
            Some(Gathered::Int(value)) => NewValue::Int(value),
            Some(Gathered::Bytes(range)) => NewValue::Bytes(&bytes[range]),
            Some(Gathered::Compact(shape, range)) => NewValue::Compact(Compact { shape, bytes: &bytes[range] }),
            Some(Gathered::Object(object)) => NewValue::Object(object),
            None => unreachable!("collections without elements have been left out"),
        };
        NewKey { key: &bytes[self.key.clone()], value, expire_at_ms: self.expire_at_ms, access }
    }
}

fn refused(path: &Path, reason: String) -> PersistError {
    PersistError::Refused { path: path.to_owned(), reason }
}

/// The side that reads.
struct Reading<'a> {
    path: &'a Path,
    limits: Limits,
    hasher: KeyHasher,
    outlet: Outlet<Batch>,
    batch: Batch,
    has_keys: bool,
}

impl Reading<'_> {
    fn run<R: Read>(mut self, source: R) -> Result<Ended<R>, PersistError> {
        let options = rdb::Options { verify: true };
        let mut reader = rdb::Reader::new(source, options).map_err(|error| self.failed(error))?;
        let outcome = self.read(&mut reader);
        // What was read before an error comes before it.
        self.batch.offset = reader.offset();
        self.hand_over()?;
        outcome?;
        let offset = reader.offset();
        let (source, unread) = reader.into_inner();
        Ok(Ended { source, unread, offset })
    }

    fn read<R: Read>(&mut self, reader: &mut rdb::Reader<R>) -> Result<(), PersistError> {
        loop {
            let offset = reader.offset();
            let event = reader.next().map_err(|error| self.failed(error))?;
            if let Some(what) = event.refusal() {
                return Err(refused(self.path, format!("offset {offset}: {what}")));
            }
            let notice = match event {
                Event::Key(header) => {
                    self.read_key(reader, header)?;
                    continue;
                }
                Event::End { checksum: Checksum::Disabled } => {
                    let text = "RDB file was saved with checksum disabled: no check performed.";
                    self.batch.then = Some(Notice::Warning(text.to_owned()));
                    return Ok(());
                }
                Event::End { .. } => return Ok(()),
                Event::SelectDb(db) => {
                    self.hand_over()?;
                    self.batch.db = db;
                    continue;
                }
                event => notice_of(event, self.has_keys),
            };
            if notice.is_some() {
                self.batch.then = notice;
                self.batch.offset = reader.offset();
                self.hand_over()?;
            }
        }
    }

    fn read_key<R: Read>(&mut self, reader: &mut rdb::Reader<R>, header: KeyHeader) -> Result<(), PersistError> {
        self.has_keys = true;
        if let Some(what) = header.refusal() {
            return Err(refused(self.path, format!("offset {}: {what}", header.offset)));
        }
        let start = self.batch.bytes.len();
        self.batch.bytes.extend_from_slice(&header.key);
        let key_end = self.batch.bytes.len();
        let value = reader.gather(&self.limits, &mut self.batch.bytes).map_err(|error| self.failed(error))?;
        self.batch.keys.push(ReadKey {
            key: start..key_end,
            hash: self.hasher.hash(&header.key),
            value,
            expire_at_ms: header.expire_at_ms,
            idle_seconds: header.idle_seconds,
            frequency: header.frequency,
            offset: header.offset,
        });
        reader.reuse(header.key);
        if self.batch.keys.len() >= BATCH_KEYS || self.batch.bytes.len() >= BATCH_BYTES {
            self.batch.offset = reader.offset();
            self.hand_over()?;
        }
        Ok(())
    }

    /// Gives the batch to the other side, unless there is nothing in it. An error where that has given up, and has one
    /// of its own.
    fn hand_over(&mut self) -> Result<(), PersistError> {
        if self.batch.keys.is_empty() && self.batch.then.is_none() {
            return Ok(());
        }
        let db = self.batch.db;
        self.batch = self.outlet.exchange(std::mem::take(&mut self.batch)).ok_or(PersistError::Cancelled)?;
        self.batch.db = db;
        Ok(())
    }

    fn failed(&self, source: rdb::Error) -> PersistError {
        PersistError::Rdb { path: self.path.to_owned(), source }
    }
}

/// What is to be done about what stands between keys.
fn notice_of(event: Event, has_keys: bool) -> Option<Notice> {
    match event {
        Event::ResizeDb { keys, .. } => Some(Notice::Resize { keys }),
        Event::Function { code } => Some(Notice::Function(code)),
        Event::ModuleAux { id, raw, .. } => {
            let module = Module { id, raw: Arc::new(raw) };
            Some(Notice::ModuleAux { module, is_behind_keys: has_keys })
        }
        Event::SlotImport { job, .. } => Some(Notice::Warning(format!(
            "the import of slots \"{}\" was under way when the file was written; its keys are loaded, it does not go on \
             here and will be missing from later saves",
            job.escape_ascii()
        ))),
        _ => None,
    }
}
