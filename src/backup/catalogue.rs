//! The folder in which backups are kept, each in its own:
//!
//! ```text
//! REPO/backups/20261122T030000Z-5e8a31/dump.rdb.zst     an RDB that any server loads, once it is unpacked
//!                                      dump.rdb.zst.age the same, encrypted: `age -d -i KEY FILE | zstd -d` unpacks it
//! REPO/backups/20261122T030000Z-5e8a31/manifest.json    comes last, and goes first
//! ```
//!
//! There is no index: what the folders say is the truth. One process at a time changes a catalogue; any number may read it.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{DirectoryLock, Disk, publish_bytes};
use crate::persist::rests::Share;

use super::BackupError;
use super::cipher::Keys;
use super::manifest::{self, Manifest};
use super::verify::is_out_of_reach;

/// Where backups are kept.
#[derive(Clone)]
pub struct Catalogue {
    disk: Arc<dyn Disk>,
    repo: PathBuf,
    keys: Keys,
    share: Share,
}

/// A backup of a listing.
#[derive(Debug, Clone)]
pub struct Listed {
    pub id: String,
    /// Or why it can't be read.
    pub manifest: Result<Manifest, String>,
}

impl Catalogue {
    /// The catalogue in this folder, which need not be there yet.
    pub fn new(disk: Arc<dyn Disk>, repo: &Path) -> Self {
        Self { disk, repo: repo.to_owned(), keys: Keys::default(), share: Share::default() }
    }

    /// Whose files are written and read with these keys.
    pub fn with_keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// Whose backups are packed and read back with so much of a core.
    pub fn with_share(self, share: Share) -> Self {
        Self { share, ..self }
    }

    pub(super) fn share(&self) -> Share {
        Share::clone(&self.share)
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    pub fn repo(&self) -> &Path {
        &self.repo
    }

    /// The folder of all backups.
    fn folder(&self) -> PathBuf {
        self.repo.join("backups")
    }

    /// The folder of one.
    pub fn folder_of(&self, id: &str) -> PathBuf {
        self.folder().join(id)
    }

    /// Makes the folders that are missing.
    pub fn create(&self) -> Result<(), BackupError> {
        for folder in [self.repo.clone(), self.folder()] {
            let created = self.disk.create_dir(&folder);
            if let Err(error) = &created
                && error.kind() != io::ErrorKind::AlreadyExists
            {
                return created.map_err(BackupError::io(&folder));
            }
            let parent = folder.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
            match self.disk.sync_dir(parent) {
                // Somebody else's folder, in which somebody else has made ours.
                Err(error) if created.is_err() && error.kind() == io::ErrorKind::PermissionDenied => {}
                // Also of one that is there: who made it may not have come to this.
                synced => synced.map_err(BackupError::io(parent))?,
            }
        }
        Ok(())
    }

    /// Takes the catalogue for changes; none on a file system that has no locks.
    pub fn hold(&self) -> Result<Option<DirectoryLock>, BackupError> {
        let folder = self.folder();
        match self.disk.lock_dir(&folder) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(BackupError::Busy { repo: self.repo.clone() })
            }
            Err(error) => Err(BackupError::io(&folder)(error)),
        }
    }

    /// All backups, from the oldest to the newest.
    pub fn list(&self) -> Result<Vec<Listed>, BackupError> {
        let mut found = Vec::new();
        for id in self.ids()? {
            match self.read(&id) {
                Ok(manifest) => found.push(Listed { id, manifest: Ok(manifest) }),
                Err(BackupError::NoSuchBackup { .. }) => {}
                // What can't be reached now must not be passed over.
                Err(BackupError::Io { path, source }) if is_out_of_reach(&source) => {
                    return Err(BackupError::Io { path, source });
                }
                Err(error) => found.push(Listed { id, manifest: Err(error.to_string()) }),
            }
        }
        // What the clock does not tell apart, the log does.
        let place = |manifest: &Manifest| (manifest.started_ms, manifest.position);
        found.sort_by_key(|listed| listed.manifest.as_ref().map_or((i64::MIN, None), place));
        Ok(found)
    }

    /// The names of all folders, backups or not.
    fn ids(&self) -> Result<Vec<String>, BackupError> {
        let folder = self.folder();
        match self.disk.list(&folder) {
            Ok(names) => {
                Ok(names.into_iter().filter_map(|name| name.into_string().ok()).filter(|name| is_id(name)).collect())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(BackupError::io(&folder)(error)),
        }
    }

    /// The manifest of a backup.
    pub fn read(&self, id: &str) -> Result<Manifest, BackupError> {
        let path = self.folder_of(id).join(manifest::NAME);
        let missing = || BackupError::NoSuchBackup { id: id.to_owned(), repo: self.repo.clone() };
        if !is_id(id) {
            return Err(missing());
        }
        match self.disk.read_small(&path, manifest::MAX_LEN) {
            Ok(content) => Manifest::parse(&content, id).map_err(|reason| BackupError::Manifest { path, reason }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
            Err(error) => Err(BackupError::io(&path)(error)),
        }
    }

    /// The manifest of a backup, or of the newest that is not known to be damaged for `latest`.
    pub fn find(&self, id: &str) -> Result<Manifest, BackupError> {
        if id != "latest" {
            return self.read(id);
        }
        let manifests = self.list()?.into_iter().rev().filter_map(|listed| listed.manifest.ok());
        let newest = { manifests }.find(|manifest| manifest.fault().is_none());
        newest.ok_or_else(|| BackupError::NoSuchBackup { id: id.to_owned(), repo: self.repo.clone() })
    }

    /// Makes the folder of a new backup.
    pub fn begin(&self, id: &str) -> Result<PathBuf, BackupError> {
        let folder = self.folder_of(id);
        self.disk.create_dir(&folder).map_err(BackupError::io(&folder))?;
        self.disk.sync_dir(&self.folder()).map_err(BackupError::io(&folder))?;
        Ok(folder)
    }

    /// Writes a backup's manifest, or another one in its place.
    pub fn publish(&self, manifest: &Manifest) -> Result<(), BackupError> {
        let folder = self.folder_of(&manifest.id);
        let written = publish_bytes(&self.disk, &folder, OsStr::new(manifest::NAME), &manifest.render());
        written.map_err(BackupError::io(&folder.join(manifest::NAME)))
    }

    /// Removes a backup, or what is left of one.
    pub fn remove(&self, id: &str) -> Result<(), BackupError> {
        let folder = self.folder_of(id);
        let names = self.disk.list(&folder).map_err(BackupError::io(&folder))?;
        // Without it the rest is nothing.
        let (first, rest): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name == manifest::NAME);
        for name in first.into_iter().chain(rest) {
            let path = folder.join(&name);
            self.disk.remove(&path).map_err(BackupError::io(&path))?;
            if name == manifest::NAME {
                self.disk.sync_dir(&folder).map_err(BackupError::io(&folder))?;
            }
        }
        self.disk.remove_dir(&folder).map_err(BackupError::io(&folder))?;
        self.disk.sync_dir(&self.folder()).map_err(BackupError::io(&folder))
    }

    /// Removes what a crash has left; how many. For who holds the catalogue, since nothing is under way then.
    pub fn sweep(&self) -> Result<usize, BackupError> {
        let mut swept = 0;
        for id in self.ids()? {
            if !self.disk.exists(&self.folder_of(&id).join(manifest::NAME)) {
                self.remove(&id)?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}

/// A name for a backup that begins at this moment.
pub fn new_id(started_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(started_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{}-{:06x}", at.strftime("%Y%m%dT%H%M%SZ"), fastrand::u32(..1 << 24))
}

/// Whether the name is one that [`new_id`] gives; nothing else in the folder is ours.
fn is_id(name: &str) -> bool {
    let (digits, hex) = (|b: &u8| b.is_ascii_digit(), |b: &u8| b.is_ascii_hexdigit());
    match name.as_bytes() {
        [date @ .., b'Z', b'-', a, b, c, d, e, f] => {
            let [year_to_day @ .., b'T', h, m, i, n, s, t] = date else { return false };
            let is_time = year_to_day.len() == 8 && year_to_day.iter().chain([h, m, i, n, s, t]).all(digits);
            is_time && [a, b, c, d, e, f].into_iter().all(hex)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_what_others_put_there() {
        assert!(is_id(&new_id(0)) && is_id(&new_id(1_795_316_400_000)));
        assert!(new_id(1_795_316_400_000).starts_with("20261122T030000Z-"));
        for name in ["", "lost+found", "20261122T030000Z-5e8a3", "20261122T030000Z-5e8a3g", "2026112xT030000Z-5e8a31"] {
            assert!(!is_id(name), "{name}");
        }
    }
}
