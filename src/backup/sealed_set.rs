//! The set of files that BACKUP START begins and BACKUP SEAL ends, as Redis 8.10 does: a log that is complete in itself, and
//! that every server since Redis 7.0 loads as its `appenddirname`.
//!
//! ```text
//! DIR/backupdir/appendonly.aof.1.base.rdb     the snapshot of START
//! DIR/backupdir/appendonly.aof.1.incr.aof     identity, and the records from START to SEAL, with their seals
//! DIR/backupdir/appendonly.aof.manifest       names both, when both are durable
//! DIR/backupdir/unsealed                      empty; there from START on until it is sealed, and while it is removed
//! ```
//!
//! What stands beside `unsealed` is no set: a start removes it. What stands there without it and without a manifest somebody
//! else has put there. The increment has an identity of its own: whoever starts on it begins another
//! history than the server that wrote it.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::aof::log::read_manifest;
use crate::aof::naming::{self, BaseFormat};
use crate::aof::seal::{HistoryId, Identity, Mark};
use crate::aof::{Entry, FileType, HistoryEnd, Manifest, Past, Reader, Sealing};
use crate::disk::{Disk, Mode, is_temporary, publish, publish_bytes};
use crate::engine::backups::LogPlace;
use crate::engine::params::Config;

use super::BackupError;
use super::archiver::next;

const UNSEALED: &str = "unsealed";
/// Number of the base and of the increment.
const SEQ: i64 = 1;
/// Bytes that are read of a log file at once.
const READ: usize = 1 << 18;

/// The folder of the set.
#[derive(Clone)]
pub struct SetFolder {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    folder: PathBuf,
    append_file_name: OsString,
    /// It is the folder of the log too, and nothing can be done in it.
    is_log: bool,
}

/// A set that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Unix ms, as far as the files tell.
    pub started_ms: i64,
    pub sealed_ms: i64,
    pub files: Vec<PathBuf>,
}

/// The files of a log at a moment.
pub struct LogFiles {
    pub folder: PathBuf,
    pub manifest: Manifest,
}

/// What an increment is to hold: the records of the log between a place and a position, under another name.
pub struct Span {
    pub files: LogFiles,
    pub from: LogPlace,
    pub to: u64,
    pub id: HistoryId,
    /// Unix ms.
    pub now_ms: i64,
}

impl SetFolder {
    /// That of a server in the data folder `dir`.
    pub fn new(disk: &Arc<dyn Disk>, dir: &str, config: &Config) -> Self {
        let dir = PathBuf::from(dir);
        let folder = dir.join(&config.backupdirname);
        let is_log = config.backupdirname == config.appenddirname;
        Self { disk: Arc::clone(disk), dir, folder, append_file_name: (&config.appendfilename).into(), is_log }
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub fn base_name(&self) -> OsString {
        naming::base(&self.append_file_name, SEQ, BaseFormat::Rdb)
    }

    fn increment_name(&self) -> OsString {
        naming::increment(&self.append_file_name, SEQ)
    }

    fn manifest_name(&self) -> OsString {
        naming::manifest(&self.append_file_name)
    }

    pub fn base_path(&self) -> PathBuf {
        self.folder.join(self.base_name())
    }

    /// Makes the folder ready for a set. It must be empty, but for what is left of one that was never sealed.
    pub fn begin(&self) -> Result<(), BackupError> {
        let refuse = |reason: String| Err(BackupError::Refused { path: self.folder.clone(), reason });
        if self.is_log {
            return refuse("this is the folder of the log: give backupdirname another name".to_owned());
        }
        match self.disk.create_dir(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(self.failed(error)),
            _ => self.disk.sync_dir(&self.dir).map_err(BackupError::io(&self.dir))?,
        }
        if self.is_unsealed() {
            self.discard()?;
        }
        if let Some(name) = self.names()?.into_iter().find(|name| !is_temporary(name)) {
            let name = name.to_string_lossy().into_owned();
            return refuse(format!("a backup begins in an empty folder, and {name} is here: move it elsewhere"));
        }
        self.mark_unsealed()
    }

    /// At a start: the set that is sealed here, if one is. What a crash has left of another is removed.
    pub fn recover(&self) -> Result<Option<Sealed>, BackupError> {
        if self.is_log || !self.disk.exists(&self.folder) {
            return Ok(None);
        }
        if self.is_unsealed() {
            self.discard()?;
        }
        Ok(self.sealed())
    }

    /// The set, where a manifest of ours names it.
    fn sealed(&self) -> Option<Sealed> {
        let manifest_path = self.folder.join(self.manifest_name());
        let manifest = read_manifest(&*self.disk, &manifest_path).ok()?;
        let increment = manifest.increments.iter().map(|entry| &entry.name);
        let named: Vec<&OsString> = manifest.base.iter().map(|base| &base.name).chain(increment).collect();
        let names = [self.base_name(), self.increment_name()];
        if named != names.iter().take(named.len().max(1)).collect::<Vec<_>>() || !manifest.history.is_empty() {
            return None;
        }
        let files: Vec<PathBuf> = named.into_iter().map(|name| self.folder.join(name)).chain([manifest_path]).collect();
        let mut times_ms = Vec::new();
        for path in &files {
            times_ms.push(unix_ms(self.disk.metadata(path).ok()?.modified));
        }
        let [started_ms, .., sealed_ms] = times_ms[..] else { return None };
        Some(Sealed { started_ms, sealed_ms, files })
    }

    /// Writes the increment, durably. Where the log does not hold all of it any more that is an error.
    pub fn write_increment(&self, span: &Span) -> Result<(), BackupError> {
        let name = self.increment_name();
        let mut outcome = Ok(());
        let written = publish(&self.disk, &self.folder, &name, |out| {
            let at = span.from.position;
            let version = env!("CARGO_PKG_VERSION").as_bytes();
            let mut head = Vec::new();
            let identity = Identity { id: span.id, at, synced: at, version, time_ms: span.now_ms };
            Mark::Identity(identity).append_to(&mut head);
            out.write_all(&head)?;
            outcome = span.copy(&*self.disk, out);
            // What it was is told below.
            if outcome.is_ok() { Ok(()) } else { Err(io::Error::other("the log can't be read")) }
        });
        outcome.and(written.map_err(BackupError::io(&self.folder.join(&name))))
    }

    /// Puts the manifest there, and takes `unsealed` away: when this ends well it is a set, whatever happens.
    pub fn publish(&self) -> Result<Vec<PathBuf>, BackupError> {
        let base = Entry::new(self.base_name(), SEQ, FileType::Base);
        let increment = self.increment_name();
        let mut files = vec![self.base_path()];
        let mut manifest = Manifest { base: Some(base), ..Manifest::default() };
        if self.disk.exists(&self.folder.join(&increment)) {
            files.push(self.folder.join(&increment));
            manifest.increments.push(Entry::new(increment, SEQ, FileType::Increment));
        }
        let path = self.folder.join(self.manifest_name());
        publish_bytes(&self.disk, &self.folder, &self.manifest_name(), &manifest.render())
            .map_err(BackupError::io(&path))?;
        files.push(path);
        self.remove(OsStr::new(UNSEALED))?;
        self.disk.sync_dir(&self.folder).map_err(|error| self.failed(error))?;
        Ok(files)
    }

    /// Removes the files of a set, sealed or not. After a crash at any step what is left is none.
    pub fn discard(&self) -> Result<(), BackupError> {
        if self.is_log || !self.disk.exists(&self.folder) {
            return Ok(());
        }
        self.mark_unsealed()?;
        // The manifest goes first, and the mark goes last.
        self.remove(&self.manifest_name())?;
        self.disk.sync_dir(&self.folder).map_err(|error| self.failed(error))?;
        let ours = [self.base_name(), self.increment_name()];
        for name in self.names()?.iter().filter(|name| is_temporary(name) || ours.contains(name)) {
            self.remove(name)?;
        }
        self.disk.sync_dir(&self.folder).map_err(|error| self.failed(error))?;
        self.remove(OsStr::new(UNSEALED))?;
        self.disk.sync_dir(&self.folder).map_err(|error| self.failed(error))
    }

    fn is_unsealed(&self) -> bool {
        self.disk.exists(&self.folder.join(UNSEALED))
    }

    fn mark_unsealed(&self) -> Result<(), BackupError> {
        let path = self.folder.join(UNSEALED);
        drop(self.disk.open(&path, Mode::Append).map_err(BackupError::io(&path))?);
        self.disk.sync_dir(&self.folder).map_err(|error| self.failed(error))
    }

    fn remove(&self, name: &OsStr) -> Result<(), BackupError> {
        let path = self.folder.join(name);
        if self.disk.exists(&path) { self.disk.remove(&path).map_err(BackupError::io(&path)) } else { Ok(()) }
    }

    fn names(&self) -> Result<Vec<OsString>, BackupError> {
        self.disk.list(&self.folder).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> BackupError {
        BackupError::io(&self.folder)(error)
    }
}

fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl LogFiles {
    /// The increments from this number on, also those that a rewrite has replaced, in the order in which they were written.
    fn increments(&self, from: i64) -> Vec<&Entry> {
        let was_increment = |past: Past| past.was == FileType::Increment;
        let replaced = self.manifest.history.iter().filter(|entry| entry.past.is_some_and(was_increment));
        let mut found: Vec<&Entry> =
            replaced.chain(&self.manifest.increments).filter(|entry| entry.seq >= from).collect();
        found.sort_by_key(|entry| entry.seq);
        found
    }

    fn refuse(&self, reason: &str) -> BackupError {
        BackupError::Refused { path: self.folder.clone(), reason: format!("{reason}: begin anew with BACKUP START") }
    }

    /// The mark at a position of this history, in the increment of that number or one behind it.
    pub fn find(&self, disk: &dyn Disk, id: HistoryId, position: u64, seq: i64) -> Result<LogPlace, BackupError> {
        for entry in self.increments(seq) {
            let path = self.folder.join(&entry.name);
            let file = disk.open(&path, Mode::Read).map_err(BackupError::io(&path))?;
            let mut reader = Reader::new(BufReader::with_capacity(READ, file));
            while let Some(item) = next(&mut reader, &path)? {
                if item.mark().is_some_and(|mark| mark.at() == position) {
                    return Ok(LogPlace { id, position, seq: entry.seq, offset: item.end() });
                }
            }
        }
        Err(self.refuse("the position of the snapshot is in no file of the log"))
    }
}

impl Span {
    /// Copies what stands in the log between its ends, without the heads of files.
    fn copy(&self, disk: &dyn Disk, out: &mut dyn Write) -> Result<(), BackupError> {
        let (mut at, mut offset) = (self.from.position, self.from.offset);
        if at == self.to {
            return Ok(());
        }
        let lost = || self.files.refuse("the log has lost records since then, or was switched off");
        let increments = self.files.increments(self.from.seq);
        if increments.first().is_none_or(|first| first.seq != self.from.seq) {
            return Err(lost());
        }
        for entry in increments {
            let path = self.files.folder.join(&entry.name);
            let failed = || BackupError::io(&path);
            let mut file = disk.open(&path, Mode::Read).map_err(failed())?;
            file.seek(SeekFrom::Start(std::mem::take(&mut offset))).map_err(failed())?;
            let begins_at = file.stream_position().map_err(failed())?;
            let after = Some(HistoryEnd { id: Some(self.from.id), at });
            let reader = Reader::resume(BufReader::with_capacity(READ, file), Vec::new(), begins_at, None);
            let mut reader = reader.take_seals(Sealing { after, is_lenient: false });
            while let Some(item) = next(&mut reader, &path)? {
                let mark = item.mark();
                if let Some(Mark::Identity(identity)) = mark {
                    if identity.id != self.from.id || identity.at != at {
                        return Err(lost());
                    }
                    continue;
                }
                at += item.record().map_or(0, |record| record.len());
                out.write_all(item.raw()).map_err(BackupError::io(&path))?;
                if mark.is_some() && at == self.to {
                    return Ok(());
                }
                if at > self.to {
                    return Err(lost());
                }
            }
        }
        Err(lost())
    }
}

#[cfg(test)]
mod tests;
