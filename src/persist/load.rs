//! A start: what is on disk becomes the data in memory.
//!
//! ```text
//! appendonly yes:  a log there?        -> load it, unless a dump is known to hold more
//!                  an RDB there?       -> load it; it becomes the log's base before anybody is served
//!                  nothing             -> start empty with an empty base
//! appendonly no:   an RDB there?       -> load it; otherwise start empty
//! ```
//!
//! `preload-file` names what is loaded in place of both, into a folder that holds neither ([`preload()`]).
//!
//! Nothing is ever started empty beside data that could be loaded, and a file that could not be loaded stops the start
//! with its name, the offset, and what to do. The one exception is a torn tail of the log's last file, which a crash
//! leaves: it's cut, after what is cut has been put into a file beside.

use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aof::log::read_manifest;
use crate::aof::{HistoryEnd, Log, OpenSpan, naming};
use crate::disk::{Disk, Mode, publish};
use crate::engine::Engine;
use crate::rdb::{self as rdb_format, Event};

use super::PersistError;
use super::log_dir::LogDir;

mod dump;
mod log;
mod log_files;
mod pipeline;
mod preload;
mod rdb;

pub use dump::NewerDump;
use log_files::LogLoader;
pub use preload::preload;
use rdb::RdbLoader;

/// What was found and loaded.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The file or manifest, if there was one.
    pub source: Option<PathBuf>,
    pub keys: u64,
    /// Keys of an RDB that were dropped as their time had come.
    pub expired: u64,
    /// Collections without elements, which are skipped.
    pub empty: u64,
    /// Records replayed.
    pub records: u64,
    /// Unix ms of the load, if a flush among the records has removed anything.
    pub flushed_ms: Option<i64>,
    /// Bytes of the increments behind their last seals.
    pub unsealed_bytes: u64,
    /// The end of the last increment.
    pub log_end: Option<LogEnd>,
    /// Remarks for the log.
    pub warnings: Vec<String>,
}

/// Where a log can be continued.
pub struct LogEnd {
    pub history: HistoryEnd,
    /// What the next seal is to cover.
    pub span: OpenSpan,
    /// Whether the last increment holds any.
    pub has_records: bool,
}

impl std::fmt::Debug for LogEnd {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("LogEnd").field("history", &self.history).finish_non_exhaustive()
    }
}

/// Loads the RDB that the configuration names, if it is there.
pub fn load_rdb(engine: &mut Engine, disk: &Arc<dyn Disk>) -> Result<Loaded, PersistError> {
    let path = Path::new(&engine.config.dir).join(&engine.config.dbfilename);
    if disk.exists(&path) { load_rdb_at(engine, disk, path) } else { Ok(Loaded::default()) }
}

fn load_rdb_at(engine: &mut Engine, disk: &Arc<dyn Disk>, path: PathBuf) -> Result<Loaded, PersistError> {
    let mut loaded = Loaded::default();
    let file = disk.open(&path, Mode::Read).map_err(PersistError::io(&path))?;
    let len = file.len().map_err(PersistError::io(&path))?;
    let source = crate::rdb::envelope::unwrap(file).map_err(PersistError::io(&path))?;
    engine.persistence.load.begin(engine.clock.now_ms(), len);
    RdbLoader { engine, path: &path, len, is_base: false, loaded: &mut loaded, seen: &mut |_, _| {} }.load(source)?;
    loaded.source = Some(path);
    Ok(loaded)
}

/// Loads an RDB that is only to be looked at, expired keys too. `seen` is called every few hundred keys with the offset
/// reached, and may empty the engine of what it has seen; `path` is for errors.
pub fn look_through(
    engine: &mut Engine,
    path: &Path,
    source: impl io::Read + Send,
    seen: &mut dyn FnMut(&mut Engine, u64),
) -> Result<Loaded, PersistError> {
    let mut loaded = Loaded::default();
    // Without a length no room is made for all the keys that the file announces: they are never here together.
    RdbLoader { engine, path, len: 0, is_base: true, loaded: &mut loaded, seen }.load(source)?;
    Ok(loaded)
}

/// Loads the log that the configuration names. Returns its folder, ready to be continued, and `None` in
/// [`Loaded::source`] where there is no log.
pub fn load_log(engine: &mut Engine, disk: &Arc<dyn Disk>) -> Result<(LogDir, Loaded), PersistError> {
    let config = &engine.config;
    let dir = PathBuf::from(&config.dir);
    let (append_dir, append_file) = (config.appenddirname.clone(), config.appendfilename.clone());
    let log = Log::of_server(disk.as_ref(), &dir, append_dir.as_ref(), append_file.as_ref())?;
    let manifest = match &log {
        Some(log) => log.manifest.clone().map(|(_, manifest)| manifest),
        // It may name history.
        None => read_manifest(disk.as_ref(), &dir.join(&append_dir).join(naming::manifest(append_file.as_ref()))).ok(),
    };
    let manifest = manifest.unwrap_or_default();
    let mut log_dir = LogDir::new(Arc::clone(disk), &dir, &append_dir, &append_file, manifest);
    let mut loaded = Loaded::default();
    let Some(log) = log else {
        let has_rdb = disk.exists(&dir.join(&engine.config.dbfilename));
        loaded.warnings.extend(settle_lone_base(&log_dir, has_rdb, engine.clock.now_ms())?);
        refuse_strays(&log_dir, &format!("no manifest named {} is there", log_dir.manifest_name().display()))?;
        return Ok((log_dir, loaded));
    };
    load_files(engine, disk, &log, TornTail::Cut, &mut loaded)?;
    // What a crashed server wrote may be in the page cache alone; from here on it counts as durable.
    for file in &log.files {
        let open = disk.open(&file.path, Mode::Append).map_err(PersistError::io(&file.path))?;
        open.sync_all().map_err(PersistError::io(&file.path))?;
    }
    loaded.source = Some(log.path().to_owned());
    loaded.keys = engine.keyspace.len() as u64; // usize has at most 64 bits
    if log.manifest.is_none() {
        log_dir.adopt_single()?;
        loaded
            .warnings
            .push(format!("Successfully migrated an old-style AOF file into {}", log_dir.folder().display()));
    }
    Ok((log_dir, loaded))
}

/// What to do with a torn tail.
#[derive(Clone, Copy)]
enum TornTail {
    /// Cut it from the file, after it has been kept beside.
    Cut,
    /// Leave the file as it is.
    PassOver,
}

/// Replays a log into `engine` and changes nothing on disk, for tools. A torn tail is passed over with a warning.
pub fn replay_log(engine: &mut Engine, disk: &Arc<dyn Disk>, log: &Log) -> Result<Loaded, PersistError> {
    let mut loaded = Loaded { source: Some(log.path().to_owned()), ..Loaded::default() };
    load_files(engine, disk, log, TornTail::PassOver, &mut loaded)?;
    loaded.keys = engine.keyspace.len() as u64; // usize has at most 64 bits
    Ok(loaded)
}

fn load_files(
    engine: &mut Engine,
    disk: &Arc<dyn Disk>,
    log: &Log,
    tail: TornTail,
    loaded: &mut Loaded,
) -> Result<(), PersistError> {
    let (mut log, mut is_cut) = (log.clone(), false);
    engine.persistence.is_loading = true;
    let outcome = loop {
        engine.persistence.load.begin(engine.clock.now_ms(), log.files.iter().map(|file| file.len).sum());
        match (LogLoader { engine, disk, log: &log, tail, loaded, is_cut }).load() {
            Ok(None) => break Ok(()),
            // Records were replayed before the seal behind them was read, which said that they had changed.
            Ok(Some(cut)) => {
                engine.clear_data();
                log.files[cut.index].len = cut.offset;
                (loaded.records, loaded.unsealed_bytes, loaded.log_end, is_cut) = (0, 0, None, true);
                (loaded.expired, loaded.empty) = (0, 0);
            }
            Err(error) => break Err(error),
        }
    };
    engine.persistence.is_loading = false;
    loaded.flushed_ms = engine.persistence.flushed_ms;
    outcome
}

/// Removes what a crash left of a log's beginning, whose data is still where it came from, the RDB; what it says. One that
/// holds anything is kept beside, under a name that is none of a log's, in case someone else has put it there; where there
/// is no RDB it is the only data, and stays for [`refuse_strays`].
fn settle_lone_base(log_dir: &LogDir, has_rdb: bool, now_ms: i64) -> Result<Option<String>, PersistError> {
    let Some(path) = log_dir.lone_base() else { return Ok(None) };
    let failed = || PersistError::io(&path);
    let disk = log_dir.disk();
    let said = if is_empty_rdb(disk.open(&path, Mode::Read).map_err(failed())?) {
        disk.remove(&path).map_err(failed())?;
        format!("Removed {}, an empty base that a crash left before its log began", path.display())
    } else if !has_rdb {
        return Ok(None);
    } else {
        let kept = path.with_extension(format!("rdb.unused-{now_ms}"));
        disk.rename(&path, &kept).map_err(failed())?;
        format!(
            "{} belongs to no log: a crash left it before the log began. It was not loaded, and is kept as {}",
            path.display(),
            kept.display()
        )
    };
    disk.sync_dir(log_dir.folder()).map_err(PersistError::io(log_dir.folder()))?;
    Ok(Some(said))
}

/// Whether a whole RDB says nothing but who wrote it.
fn is_empty_rdb(source: impl io::Read) -> bool {
    let Ok(mut reader) = rdb_format::Reader::new(source, rdb_format::Options::default()) else { return false };
    loop {
        match reader.next() {
            Ok(Event::Aux { .. }) => {}
            Ok(Event::End { .. }) => return true,
            _ => return false,
        }
    }
}

/// Stops a start that would begin anew beside the files of a log that it does not load.
pub fn refuse_strays(log_dir: &LogDir, why: &str) -> Result<(), PersistError> {
    let strays = log_dir.unnamed_files();
    if strays.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = strays.iter().map(|name| name.to_string_lossy()).collect();
    Err(PersistError::Refused {
        path: log_dir.folder().to_owned(),
        reason: format!(
            "{} of a log lie here, but {why}, so they would not be loaded. Put the manifest back, or set appendfilename \
             or appendonly as they were, or move the files elsewhere; `aoftool info FILE` looks into one",
            names.join(", ")
        ),
    })
}

/// Puts everything from `offset` on into a file beside the working directory's log folder; its path.
fn keep_tail(engine: &Engine, disk: &Arc<dyn Disk>, path: &Path, offset: u64) -> Result<PathBuf, PersistError> {
    let mut file = disk.open(path, Mode::Read).map_err(PersistError::io(path))?;
    file.seek(SeekFrom::Start(offset)).map_err(PersistError::io(path))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".torn-{}", engine.clock.now_ms()));
    publish(disk, folder, &name, |out| io::copy(&mut file, out)).map_err(PersistError::io(&folder.join(&name)))?;
    Ok(folder.join(name))
}

#[cfg(test)]
mod tests;
