//! An RDB from a snapshot; or, for the base of a log that is to have no RDB, commands.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aof::naming::BaseFormat;
use crate::disk::{Disk, Sealed};
use crate::engine::Engine;
use crate::engine::module_aux::ModuleAux;
use crate::engine::params::EvictionPolicy;
use crate::engine::persistence::Progress;
use crate::keyspace::{Snapshot, SnapshotEntry, SnapshotTooOld, View};
use crate::rdb::{self, KeyMeta, ObjectRef, WriteOptions, Writer};
use crate::value::{List, Object};

use super::PersistError;
use super::history::keep_dump;
use super::outlets::{Manner, Outlet, Outlets, first_path};

use commands::Commands;

mod commands;

/// All that an RDB of one moment is made from. It's taken on the executor and written anywhere.
pub struct Image {
    snapshot: Result<Snapshot, SnapshotTooOld>,
    functions: Vec<Vec<u8>>,
    module_aux: ModuleAux,
    version: rdb::Version,
    options: WriteOptions,
    aux: Vec<(&'static str, String)>,
    access: Access,
    manner: Manner,
    /// A base of commands, and its time in Unix seconds where it is to be told.
    commands: Option<Option<i64>>,
}

/// Looks at keys that are written, with the number of their database.
pub type Seen<'a> = &'a mut dyn FnMut(usize, &SnapshotEntry<'_>);

/// The remark in an RDB that says up to where the log held its data: `<history> <position>`, or [`WITHOUT_LOG`].
pub(super) const LOG_POSITION: &str = "ironkeep-log";
/// There was no log.
pub(super) const WITHOUT_LOG: &str = "off";

/// Keys between two reports of progress.
const TELL_EVERY: u64 = 64;

/// Keys between two offers of the core to whoever waits for it, some milliseconds. Where all cores are busy the executor would
/// otherwise wait for the end of this thread's time slice: under 50 writers on two cores an offer every 1,500 keys took their
/// p99.9 from 4.6 to 2.8 ms, and the save of 2 million from 1.1 to 1.5 s.
const YIELD_EVERY: u64 = 4096;

/// What the access bits mean. As in Redis since 5.0, a key's idle time is written under an LRU policy, its counter under
/// an LFU policy, and neither under any other: the bits mean only one of them at a time.
#[derive(Clone, Copy)]
enum Access {
    /// Not written: no policy needs them.
    Unsaid,
    /// An LRU clock; the value is now.
    Clock(u32),
    Frequency,
}

impl Image {
    /// Takes a snapshot; microseconds at any size. `is_base`: it will be the base of a log.
    pub fn take(engine: &mut Engine, is_base: bool) -> Self {
        let access = match engine.config.maxmemory_policy {
            EvictionPolicy::VolatileLfu | EvictionPolicy::AllkeysLfu => Access::Frequency,
            EvictionPolicy::VolatileLru | EvictionPolicy::AllkeysLru => Access::Clock(engine.access_clock()),
            _ => Access::Unsaid,
        };
        let seconds = engine.clock.now_ms() / 1000;
        let position = match engine.journal.history().filter(|_| engine.journal.is_on()) {
            Some(id) => Some(format!("{id} {}", engine.journal.end())),
            // The base of a log that begins is no dump.
            None => (!is_base).then(|| WITHOUT_LOG.to_owned()),
        };
        Self {
            version: engine.rdb_version(engine.keyspace.rdb_version_needed()),
            options: WriteOptions { checksum: engine.config.rdbchecksum, compress: engine.config.rdbcompression },
            functions: engine.functions.iter().map(|library| library.code.clone()).collect(),
            module_aux: engine.module_aux.clone(),
            aux: [
                ("redis-ver", crate::engine::info::REDIS_VERSION.to_owned()),
                ("redis-bits", "64".to_owned()),
                ("ctime", seconds.to_string()),
                ("ironkeep-ver", env!("CARGO_PKG_VERSION").to_owned()),
                ("aof-base", u8::from(is_base).to_string()),
            ]
            .into_iter()
            .chain(position.map(|position| (LOG_POSITION, position)))
            .collect(),
            access,
            manner: Manner {
                max_rate: Arc::clone(&engine.persistence.max_rate),
                syncs_early: engine.config.rdb_save_incremental_fsync,
            },
            commands: (is_base && base_format(engine) == BaseFormat::Resp)
                .then(|| engine.config.aof_timestamp_enabled.then_some(seconds)),
            snapshot: engine.keyspace.snapshot(),
        }
    }

    pub fn keys(&self) -> usize {
        self.snapshot.as_ref().map_or(0, Snapshot::len)
    }

    /// Writes it to each outlet under a temporary name and makes that durable; nobody sees a file until it is committed.
    /// What became of each, in their order.
    pub fn write_to(self, disk: &Arc<dyn Disk>, outlets: Vec<Outlet>) -> Vec<Result<Sealed, PersistError>> {
        let path = first_path(&outlets);
        let jobs: Vec<Progress> = outlets.iter().map(|outlet| outlet.progress.clone()).collect();
        let mut outlets = Outlets::create(disk, outlets, &self.manner);
        match self.write(&mut outlets, (&path, &jobs), &mut |_, _| {}) {
            Ok(()) => outlets.seal(),
            Err(error) => outlets.fail(&error.to_string()),
        }
    }

    /// For those who wait: written as fast as it goes.
    pub fn at_once(mut self) -> Self {
        self.manner.max_rate = Arc::default();
        self
    }

    /// As [`Image::write_to`] for one outlet, at once.
    pub fn write_at_once(self, disk: &Arc<dyn Disk>, outlet: Outlet) -> Result<Sealed, PersistError> {
        self.at_once().write_to(disk, vec![outlet]).pop().expect("one outlet gives one outcome")
    }

    /// Writes it to `out` in `version`; `path` is for errors.
    pub fn write_as(
        self,
        version: rdb::Version,
        options: WriteOptions,
        out: &mut dyn Write,
        path: &Path,
    ) -> Result<(), PersistError> {
        Self { version, options, ..self }.write(out, (path, &[]), &mut |_, _| {})
    }

    /// Writes it to `out`, and shows each key as it was in memory to `seen`; `path` is for errors. Not for a base.
    pub fn write_seen(
        self,
        out: &mut dyn Write,
        (path, job): (&Path, &Progress),
        seen: Seen<'_>,
    ) -> Result<(), PersistError> {
        self.write(out, (path, std::slice::from_ref(job)), seen)
    }

    /// The version that it is written in.
    pub fn version(&self) -> rdb::Version {
        self.version
    }

    /// The code of its function libraries.
    pub fn functions(&self) -> &[Vec<u8>] {
        &self.functions
    }

    fn write(
        self,
        out: &mut dyn Write,
        (path, jobs): (&Path, &[Progress]),
        seen: Seen<'_>,
    ) -> Result<(), PersistError> {
        if self.commands.is_some() {
            return self.write_commands(out, path, jobs);
        }
        let failed = |source| PersistError::Write { path: path.to_owned(), source };
        let snapshot = self.snapshot?;
        let mut writer = Writer::new(out, self.version, self.options).map_err(failed)?;
        for (name, value) in &self.aux {
            writer.aux(name.as_bytes(), value.as_bytes()).map_err(failed)?;
        }
        for module in &self.module_aux.before_keys {
            writer.module_aux(module.id, &module.raw).map_err(failed)?;
        }
        for code in &self.functions {
            writer.function(code).map_err(failed)?;
        }
        let access = self.access;
        let mut unpacked = Object::List(List::new());
        let writer_cell = std::cell::RefCell::new(writer);
        let mut keys_done = 0;
        snapshot.visit(
            |index, db| {
                let mut writer = writer_cell.borrow_mut();
                writer.select_db(index as u64, db.keys as u64, db.expires as u64).map_err(failed)?; // all fit 64 bits
                Ok::<_, PersistError>(true)
            },
            |db, entry| {
                write_key(&mut writer_cell.borrow_mut(), &entry, access, &mut unpacked).map_err(failed)?;
                seen(db, &entry);
                keys_done += 1;
                step(keys_done, jobs);
                Ok(())
            },
        )?;
        jobs.iter().for_each(|job| job.set_keys_done(keys_done));
        let mut writer = writer_cell.into_inner();
        for module in &self.module_aux.behind_keys {
            writer.module_aux(module.id, &module.raw).map_err(failed)?;
        }
        writer.finish().map_err(failed)?;
        Ok(())
    }
}

impl Image {
    fn write_commands(self, out: &mut dyn Write, path: &Path, jobs: &[Progress]) -> Result<(), PersistError> {
        let failed = |source| PersistError::Write { path: path.to_owned(), source };
        let snapshot = self.snapshot?;
        let mut commands = Commands::new(out, self.version);
        if let Some(seconds) = self.commands.flatten() {
            commands.timestamp(seconds);
        }
        for code in &self.functions {
            commands.command(&[b"FUNCTION", b"LOAD", code]).map_err(PersistError::io(path))?;
        }
        let mut unpacked = Object::List(List::new());
        let commands_cell = std::cell::RefCell::new(commands);
        let mut keys_done = 0;
        snapshot.visit(
            |index, _| {
                let index = index.to_string();
                commands_cell.borrow_mut().command(&[b"SELECT", index.as_bytes()]).map_err(PersistError::io(path))?;
                Ok::<_, PersistError>(true)
            },
            |_, entry| {
                commands_cell.borrow_mut().key(&entry, &mut unpacked).map_err(failed)?;
                keys_done += 1;
                step(keys_done, jobs);
                Ok(())
            },
        )?;
        jobs.iter().for_each(|job| job.set_keys_done(keys_done));
        commands_cell.into_inner().finish().map_err(PersistError::io(path))
    }
}

/// Behind every key: offers the core, and tells how far it is.
fn step(keys_done: u64, jobs: &[Progress]) {
    if keys_done.is_multiple_of(YIELD_EVERY) {
        std::thread::yield_now();
    }
    if keys_done.is_multiple_of(TELL_EVERY) {
        jobs.iter().for_each(|job| job.set_keys_done(keys_done));
    }
}

/// What the next base of the log is written as. Commands can't say what modules have stored beside the keys.
pub fn base_format(engine: &Engine) -> BaseFormat {
    let has_aux = !engine.module_aux.before_keys.is_empty() || !engine.module_aux.behind_keys.is_empty();
    if engine.config.aof_use_rdb_preamble || has_aux { BaseFormat::Rdb } else { BaseFormat::Resp }
}

fn write_key<W: Write>(
    writer: &mut Writer<W>,
    entry: &SnapshotEntry<'_>,
    access: Access,
    unpacked: &mut Object,
) -> Result<(), rdb::WriteError> {
    let (idle_seconds, frequency) = match access {
        Access::Unsaid => (None, None),
        Access::Clock(now) => (Some(u64::from(now.wrapping_sub(entry.access) & 0x00FF_FFFF)), None),
        Access::Frequency => (None, Some((entry.access & 0xFF) as u8)), // the counter has eight bits
    };
    let meta =
        KeyMeta { key: entry.key, expire_at_ms: entry.expire_at_ms, idle_seconds, frequency, ..KeyMeta::default() };
    match entry.value {
        View::Object(object) => writer.key(&meta, ObjectRef::Object(object)),
        View::Compact(compact) => {
            compact.fill(unpacked);
            writer.key(&meta, ObjectRef::Object(unpacked))
        }
        other => match other.string() {
            Some(string) => writer.key(&meta, ObjectRef::String(string)),
            None => Ok(()),
        },
    }
}

/// Saves at once, on this thread: DEBUG RELOAD. The path under which the dump before it was kept, if it
/// was: see [`commit_dump`].
pub fn save_now(engine: &mut Engine, disk: &Arc<dyn Disk>) -> Result<Option<PathBuf>, PersistError> {
    let folder = PathBuf::from(&engine.config.dir);
    let name = engine.config.dbfilename.clone();
    let image = Image::take(engine, false);
    let progress = Progress::new(engine.clock.now_ms(), image.keys());
    let changes = engine.journal.changes();
    let outlet = Outlet { folder: folder.clone(), name: name.clone().into(), progress };
    let sealed = image.write_at_once(disk, outlet)?;
    let flushed_ms = guarded_flush(engine);
    let committed = commit_dump(disk, (&folder, &name), sealed, flushed_ms);
    if committed.is_err() {
        engine.persistence.unsaved_flush_ms = flushed_ms;
    }
    let kept = committed?;
    engine.persistence.saved(engine.clock.now_ms() / 1000, changes);
    Ok(kept)
}

/// For a save whose snapshot was just taken: the first flush since the save before, where its data is to be kept. It
/// counts as saved from here on.
pub fn guarded_flush(engine: &mut Engine) -> Option<i64> {
    engine.persistence.unsaved_flush_ms.take().filter(|_| engine.config.flush_guard > 0)
}

/// Gives the dump `folder/name` its name. The one that has it now is kept beside if a flush at `flushed_ms` came behind
/// it, whose data it may be the last to hold; where it can't be kept it isn't replaced. The path under which it was kept.
pub fn commit_dump(
    disk: &Arc<dyn Disk>,
    (folder, name): (&Path, &str),
    sealed: Sealed,
    flushed_ms: Option<i64>,
) -> Result<Option<PathBuf>, PersistError> {
    let failed = || PersistError::io(&folder.join(name));
    let kept = flushed_ms.map(|at_ms| keep_dump(disk, folder, name, at_ms)).transpose().map_err(failed())?;
    sealed.commit().map_err(failed())?;
    Ok(kept.flatten())
}

/// A little less than the executor: at 10 a save on busy cores took six times as long, and clients felt no less of it.
const NICENESS: i32 = 3;

/// Tells the scheduler that this thread can wait. What does not work on this system changes nothing.
pub fn lower_priority() {
    let thread = rustix::thread::gettid();
    let _ = rustix::process::setpriority_process(Some(thread), NICENESS);
}
