//! The folder of a multi-part log: its names, its manifest, and which steps change them.
//!
//! The manifest in memory is the one on disk, unless publishing another has failed: that one may be in force too then, or
//! become so with a crash, and nothing takes a name that it gives before the one in memory is published again. Each
//! method leaves a folder that loads, whenever it's interrupted.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aof::manifest::{Entry, FileType, Manifest, Replaced};
use crate::aof::naming::{self, BaseFormat};
use crate::aof::record::MAX_ANNOTATION;
use crate::aof::seal::Mark;
use crate::disk::{Disk, File, Mode, Sealed, publish_bytes};
use crate::engine::persistence::Kept;

use super::PersistError;
use super::history::{self, Rules};

mod forming;

pub use forming::Forming;

/// An increment: its path, and its file, open for appending.
pub type Increment = (PathBuf, Box<dyn File>);

/// The folder and its manifest. A clone is a value for a thread to work on.
#[derive(Clone)]
pub struct LogDir {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    folder: PathBuf,
    append_file_name: OsString,
    manifest: Manifest,
    /// A manifest could not be published, or not durably: the folder may have that one or the one above.
    is_in_doubt: bool,
    base_format: BaseFormat,
}

impl LogDir {
    /// The folder `dir/append_dir_name`, which need not exist yet, with the manifest that was loaded from it.
    pub fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        append_dir_name: &str,
        append_file_name: &str,
        manifest: Manifest,
    ) -> Self {
        let (dir, folder) = (dir.to_owned(), dir.join(append_dir_name));
        let append_file_name = append_file_name.into();
        Self { disk, dir, folder, append_file_name, manifest, is_in_doubt: false, base_format: BaseFormat::Rdb }
    }

    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Makes the folder, durably, if it's not there.
    pub fn create_folder(&self) -> Result<(), PersistError> {
        if self.disk.exists(&self.folder) {
            return Ok(());
        }
        self.disk.create_dir(&self.folder).map_err(PersistError::io(&self.folder))?;
        self.sync_name()
    }

    /// Makes the folder's name durable, for a log that begins in it: an attempt before may have failed in doing so.
    pub fn sync_name(&self) -> Result<(), PersistError> {
        self.disk.sync_dir(&self.dir).map_err(PersistError::io(&self.dir))
    }

    /// Opens the increment that the manifest names last, for appending.
    pub fn open_increment(&self) -> Result<Option<Increment>, PersistError> {
        let Some(entry) = self.manifest.last_increment() else { return Ok(None) };
        let path = self.folder.join(&entry.name);
        let file = self.disk.open(&path, Mode::Append).map_err(PersistError::io(&path))?;
        Ok(Some((path, file)))
    }

    /// Begins a new increment with this head: makes its file and publishes a manifest that names it. The bytes of the
    /// former one must be durable by now.
    pub fn begin_increment(&mut self, head: &[u8]) -> Result<Increment, PersistError> {
        let entry = self.free_increment();
        let path = self.folder.join(&entry.name);
        drop(self.disk.open(&path, Mode::Truncate).map_err(PersistError::io(&path))?);
        let mut file = self.disk.open(&path, Mode::Append).map_err(PersistError::io(&path))?;
        let written = file.write_all(head).and_then(|()| file.sync_all());
        // The name too: no order is promised in which names become durable, and the manifest must not be first.
        written.and_then(|()| self.disk.sync_dir(&self.folder)).map_err(PersistError::io(&path))?;
        let mut next = self.manifest.clone();
        next.increments.push(entry);
        self.publish(next)?;
        Ok((path, file))
    }

    /// The next increment whose name nobody has. A file of that name without records is the leftover of an attempt whose
    /// manifest could not be published; one with records is somebody's.
    fn free_increment(&self) -> Entry {
        let mut entry = self.manifest.next_increment(&self.append_file_name);
        while self.has_records(&self.folder.join(&entry.name)) {
            entry.seq += 1;
            entry.name = naming::increment(&self.append_file_name, entry.seq);
        }
        entry
    }

    /// Whether a file is there that holds more than the head of an increment.
    fn has_records(&self, path: &Path) -> bool {
        if !self.disk.exists(path) {
            return false;
        }
        let Ok(content) = self.disk.read_small(path, MAX_ANNOTATION as u64) else { return true };
        let is_head = matches!(Mark::parse(&content), Some(Ok(Mark::Identity(_))));
        !content.is_empty() && !is_head
    }

    /// What bases are written as from here on.
    pub fn set_base_format(&mut self, format: BaseFormat) {
        self.base_format = format;
    }

    /// The file name and entry of the next base.
    pub fn next_base(&self) -> Entry {
        self.manifest.next_base(&self.append_file_name, self.base_format)
    }

    /// The names that the next base may have been given before a crash.
    fn next_base_names(&self) -> [OsString; 2] {
        [BaseFormat::Rdb, BaseFormat::Resp].map(|format| self.manifest.next_base(&self.append_file_name, format).name)
    }

    /// Puts a base in force that holds everything before the last `keep_increments` increments: names its file and
    /// publishes the manifest, in which what it replaces is history; [`LogDir::remove_history`] removes that in time.
    pub fn replace_base(
        &mut self,
        entry: Entry,
        sealed: Sealed,
        keep_increments: usize,
        replaced: Replaced,
    ) -> Result<(), PersistError> {
        self.settle()?;
        sealed.commit().map_err(PersistError::io(&self.folder.join(&entry.name)))?;
        let mut next = self.manifest.clone();
        next.replace_base(entry, keep_increments, replaced);
        self.publish(next)
    }

    /// Removes the files in history that nobody wants any more, then their names.
    pub fn remove_history(&mut self, rules: &Rules) -> Result<(), PersistError> {
        if self.manifest.history.is_empty() {
            return Ok(());
        }
        let free = self.free_space().unwrap_or(u64::MAX);
        let unwanted = history::unwanted(&self.manifest.history, |entry| self.len(entry), free, rules);
        if unwanted.is_empty() {
            return Ok(());
        }
        for name in &unwanted {
            let path = self.folder.join(name);
            if self.disk.exists(&path) {
                self.disk.remove(&path).map_err(PersistError::io(&path))?;
            }
        }
        let mut next = self.manifest.clone();
        next.history.retain(|entry| !unwanted.contains(&entry.name));
        self.publish(next)
    }

    /// Bytes that are free beside the log. Its folder need not be there yet.
    pub fn free_space(&self) -> std::io::Result<u64> {
        self.disk.free_space(&self.dir)
    }

    /// What is kept in history.
    pub fn history(&self) -> Kept {
        let history = &self.manifest.history;
        Kept { files: history.len(), bytes: history.iter().map(|entry| self.len(entry)).sum() }
    }

    /// Takes an old single file into the folder as its base: the manifest first, then the rename, which a start can
    /// finish if a crash comes between.
    pub fn adopt_single(&mut self) -> Result<(), PersistError> {
        self.create_folder()?;
        let entry = Entry::new(self.append_file_name.clone(), 1, FileType::Base);
        let (from, to) = (self.dir.join(&self.append_file_name), self.folder.join(&self.append_file_name));
        self.publish(Manifest { base: Some(entry), ..Manifest::default() })?;
        self.disk.rename(&from, &to).map_err(PersistError::io(&from))?;
        self.disk.sync_dir(&self.folder).map_err(PersistError::io(&self.folder))?;
        self.disk.sync_dir(&self.dir).map_err(PersistError::io(&self.dir))
    }

    /// Removes what a crash left: temporary files in the folder and in the working directory, and a base that had got
    /// its name, but no manifest yet. Returns their names.
    pub fn remove_leftovers(&self) -> Vec<PathBuf> {
        let mut removed = Vec::new();
        // Only where it is the one file that no manifest names, and a log goes on without it: then it is what a rewrite
        // left behind. Where there are more, someone has put files or manifests here, and they are his.
        if let (Some(_), [name]) = (self.manifest.last_increment(), self.unnamed_files().as_slice())
            && self.next_base_names().contains(name)
        {
            let orphan = self.folder.join(name);
            removed.extend(self.disk.remove(&orphan).is_ok().then_some(orphan));
        }
        for folder in [&self.dir, &self.folder] {
            for name in self.disk.list(folder).unwrap_or_default() {
                let path = folder.join(&name);
                let is_file = self.disk.metadata(&path).is_ok_and(|metadata| metadata.is_file());
                if crate::disk::is_temporary(&name) && is_file && self.disk.remove(&path).is_ok() {
                    removed.push(path);
                }
            }
        }
        removed
    }

    /// What a crash leaves of a log's beginning before a manifest names it: the first base, and no other file but
    /// temporary ones and history. A log that was ever written to has an increment too, if an empty one.
    pub fn lone_base(&self) -> Option<PathBuf> {
        let mut names = self.disk.list(&self.folder).unwrap_or_default();
        names.retain(|name| !crate::disk::is_temporary(name) && !self.names(name));
        let first = names.pop().filter(|name| names.is_empty() && self.next_base_names().contains(name))?;
        self.manifest.is_empty().then(|| self.folder.join(first))
    }

    /// Whether it is the manifest, or a file that this names.
    fn names(&self, name: &OsString) -> bool {
        let mut all = self.manifest.loaded().chain(&self.manifest.history);
        (*name == self.manifest_name() && !self.is_manifest_gone()) || all.any(|entry| entry.name == *name)
    }

    /// Whether there is nothing that a manifest could name.
    fn is_manifest_gone(&self) -> bool {
        self.manifest.is_empty() && self.manifest.history.is_empty()
    }

    /// Files in the folder that look like those of a log, but that the manifest does not name; those without records and
    /// temporary ones apart.
    pub fn unnamed_files(&self) -> Vec<OsString> {
        let named = |name: &OsString| *name == self.manifest_name() || self.names(name);
        let is_of_log = |name: &OsString| {
            let name = name.to_string_lossy();
            [".base.rdb", ".base.aof", ".incr.aof", ".manifest"].iter().any(|suffix| name.ends_with(suffix))
        };
        let has_records = |name: &OsString| self.has_records(&self.folder.join(name));
        let names = self.disk.list(&self.folder).unwrap_or_default();
        let is_stray =
            |name: &OsString| is_of_log(name) && !crate::disk::is_temporary(name) && !named(name) && has_records(name);
        names.into_iter().filter(is_stray).collect()
    }

    /// Name of the manifest file.
    pub fn manifest_name(&self) -> OsString {
        naming::manifest(&self.append_file_name)
    }

    /// Bytes of the base and of all files that a load reads.
    pub fn sizes(&self) -> (u64, u64) {
        let base = self.manifest.base.as_ref().map_or(0, |base| self.len(base));
        (base, self.manifest.loaded().map(|entry| self.len(entry)).sum())
    }

    /// Bytes of a file; 0 where it is not there.
    fn len(&self, entry: &Entry) -> u64 {
        self.disk.metadata(&self.folder.join(&entry.name)).map_or(0, |metadata| metadata.len)
    }

    /// Makes sure that no other manifest is in force than the one in memory.
    fn settle(&mut self) -> Result<(), PersistError> {
        if self.is_in_doubt { self.publish(self.manifest.clone()) } else { Ok(()) }
    }

    fn publish(&mut self, next: Manifest) -> Result<(), PersistError> {
        self.is_in_doubt = true;
        self.write_manifest(&next)?;
        (self.manifest, self.is_in_doubt) = (next, false);
        Ok(())
    }

    fn write_manifest(&self, next: &Manifest) -> Result<(), PersistError> {
        let name = self.manifest_name();
        if next.is_empty() && next.history.is_empty() {
            // There is no manifest of nothing.
            let path = self.folder.join(&name);
            if self.disk.exists(&path) {
                let removed = self.disk.remove(&path).and_then(|()| self.disk.sync_dir(&self.folder));
                removed.map_err(PersistError::io(&path))?;
            }
            return Ok(());
        }
        publish_bytes(&self.disk, &self.folder, &name, &next.render())
            .map_err(PersistError::io(&self.folder.join(&name)))
    }
}
