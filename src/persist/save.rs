//! An RDB from a snapshot.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk::{Disk, Draft, Sealed};
use crate::engine::Engine;
use crate::engine::module_aux::ModuleAux;
use crate::engine::params::EvictionPolicy;
use crate::engine::persistence::Progress;
use crate::keyspace::{Snapshot, SnapshotEntry, SnapshotTooOld, View};
use crate::rdb::{self, KeyMeta, ObjectRef, WriteOptions, Writer};
use crate::value::{List, Object};

use super::PersistError;

/// All that an RDB of one moment is made from. It's taken on the executor and written anywhere.
pub struct Image {
    snapshot: Result<Snapshot, SnapshotTooOld>,
    functions: Vec<Vec<u8>>,
    module_aux: ModuleAux,
    version: rdb::Version,
    options: WriteOptions,
    aux: Vec<(&'static str, String)>,
    access: Access,
}

/// What the access bits mean.
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
        Self {
            version: engine.rdb_version(engine.keyspace.rdb_version_needed()),
            options: WriteOptions { checksum: engine.config.rdbchecksum, compress: engine.config.rdbcompression },
            functions: engine.functions.iter().map(|library| library.code.clone()).collect(),
            module_aux: engine.module_aux.clone(),
            aux: vec![
                ("redis-ver", crate::engine::info::REDIS_VERSION.to_owned()),
                ("redis-bits", "64".to_owned()),
                ("ctime", seconds.to_string()),
                ("ironkeep-ver", env!("CARGO_PKG_VERSION").to_owned()),
                ("aof-base", u8::from(is_base).to_string()),
            ],
            access,
            snapshot: engine.keyspace.snapshot(),
        }
    }

    pub fn keys(&self) -> usize {
        self.snapshot.as_ref().map_or(0, Snapshot::len)
    }

    /// Writes it to `folder/name` under a temporary name and makes it durable; nobody sees it until it is committed.
    pub fn write_to(
        self,
        disk: &Arc<dyn Disk>,
        folder: &Path,
        name: &std::ffi::OsStr,
        progress: &Progress,
    ) -> Result<Sealed, PersistError> {
        let path = folder.join(name);
        let mut draft = Draft::create(disk, folder, name).map_err(PersistError::io(&path))?;
        self.write(&mut draft, &path, progress)?;
        draft.seal().map_err(PersistError::io(&path))
    }

    /// Writes it to `out` in `version`; `path` is for errors.
    pub fn write_as(
        self,
        version: rdb::Version,
        options: WriteOptions,
        out: &mut dyn Write,
        path: &Path,
    ) -> Result<(), PersistError> {
        let progress = Progress::new(0, self.keys());
        Self { version, options, ..self }.write(out, path, &progress)
    }

    fn write(self, out: &mut dyn Write, path: &Path, progress: &Progress) -> Result<(), PersistError> {
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
        snapshot.visit(
            |index, db| {
                let mut writer = writer_cell.borrow_mut();
                writer.select_db(index as u64, db.keys as u64, db.expires as u64).map_err(failed)?; // all fit 64 bits
                Ok::<_, PersistError>(true)
            },
            |_, entry| {
                if progress.keys_done.fetch_add(1, Ordering::Relaxed).is_multiple_of(1024)
                    && progress.is_cancelled.load(Ordering::Relaxed)
                {
                    return Err(PersistError::Cancelled);
                }
                write_key(&mut writer_cell.borrow_mut(), &entry, access, &mut unpacked).map_err(failed)
            },
        )?;
        let mut writer = writer_cell.into_inner();
        for module in &self.module_aux.behind_keys {
            writer.module_aux(module.id, &module.raw).map_err(failed)?;
        }
        writer.finish().map_err(failed)?;
        Ok(())
    }
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

/// Saves at once, on this thread: SAVE, SHUTDOWN, DEBUG RELOAD.
pub fn save_now(engine: &mut Engine, disk: &Arc<dyn Disk>) -> Result<(), PersistError> {
    let folder = std::path::PathBuf::from(&engine.config.dir);
    let name = engine.config.dbfilename.clone();
    let image = Image::take(engine, false);
    let progress = Progress::new(engine.clock.now_ms(), image.keys());
    let changes = engine.journal.changes();
    let sealed = image.write_to(disk, &folder, name.as_ref(), &progress)?;
    sealed.commit().map_err(PersistError::io(&folder.join(&name)))?;
    engine.persistence.saved(engine.clock.now_ms() / 1000, changes);
    Ok(())
}

/// Tells the scheduler that this thread can wait. What does not work on this system changes nothing.
pub fn lower_priority() {
    let thread = rustix::thread::gettid();
    let _ = rustix::process::setpriority_process(Some(thread), 10);
}
