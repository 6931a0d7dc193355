//! Backups: snapshots that are kept in a catalogue, read back, and gone through by rules.
//!
//! - [`cipher`]: files that only the holder of a key can read.
//! - [`archive`]: the log in pieces beside them; [`archiver`] puts them there, [`rewind`] goes back to a moment.
//! - [`catalogue`]: the folders, and who may change them.
//! - [`manifest`]: what a backup says of itself.
//! - [`create`]: from a snapshot to a backup that has been read back.
//! - [`verify`]: reading one back.
//! - [`summary`]: what data comes to, for comparing what was written with what came back.
//! - [`prune`]: what is kept, and what goes.
//! - [`restore`]: a data folder out of one.
//! - [`sealed_set`]: a base, an increment and a manifest, as BACKUP START and SEAL of Redis 8.10 leave them in a folder.
//!
//! Nothing here knows the server: a thread of it does this work, and so does `ironkeep backup`.

pub mod archive;
pub mod archiver;
pub mod catalogue;
pub mod cipher;
pub mod create;
pub mod manifest;
pub mod prune;
pub mod restore;
pub mod rewind;
pub mod sealed_set;
pub mod summary;
pub mod verify;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::persist::PersistError;

pub use archive::Archive;
pub use archiver::Archiver;
pub use catalogue::{Catalogue, Listed};
pub use cipher::Keys;
pub use manifest::Manifest;
pub use verify::Level;

/// Why a backup could not be made, found or used. `Display` is for the log and for standard error.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("another process works in the catalogue {}: try again when it is done", .repo.display())]
    Busy { repo: PathBuf },
    #[error("there is no backup '{id}' in {}: `ironkeep backup list` shows those that are", .repo.display())]
    NoSuchBackup { id: String, repo: PathBuf },
    #[error("{}: this is no manifest: {reason}", .path.display())]
    Manifest { path: PathBuf, reason: String },
    #[error(transparent)]
    Persist(#[from] PersistError),
    /// It was read back, and is not what was written.
    #[error("the backup {id} is damaged: {fault}")]
    Damaged { id: String, fault: String },
    #[error("{}: {reason}", .path.display())]
    Refused { path: PathBuf, reason: String },
    #[error("cancelled")]
    Cancelled,
}

impl BackupError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
