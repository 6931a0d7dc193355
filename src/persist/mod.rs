//! Data on disk: loading it, writing the log before replies leave, snapshots and rewrites on threads.
//!
//! - [`load`]: a start. Decides between log and RDB, replays, and deals with a broken end.
//! - [`log_dir`]: the folder of the multi-part log, and its manifest.
//! - [`history`]: what is kept of the past, and for how long.
//! - [`append`]: the increment that is written to. Bytes of the journal go out with write(2), are synced by policy; the
//!   positions that it reports decide when replies may leave.
//! - [`log_thread`]: where the disk is slow, what writes and syncs the increment.
//! - [`save`]: an RDB from a snapshot, on a thread or at once.
//! - [`outlets`]: the files that one snapshot is written to, their rate and their syncs.
//! - [`rewrite`]: a new base from a snapshot, in five steps that each leave a directory that loads.
//!
//! The order that all of it keeps: what a manifest names is durable before the manifest is published.

pub mod append;
pub mod history;
pub mod load;
pub mod log_dir;
pub mod log_thread;
pub mod outlets;
pub mod rests;
pub mod rewrite;
pub mod save;

use std::path::{Path, PathBuf};

/// Why data could not be loaded or kept. `Display` is one sentence or more, for the log and for standard error.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// What was written before is in doubt.
    #[error("{}: fsync: {source}", .path.display())]
    Sync { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", .path.display())]
    Rdb { path: PathBuf, source: crate::rdb::Error },
    #[error("{}: {source}", .path.display())]
    Write { path: PathBuf, source: crate::rdb::WriteError },
    #[error(transparent)]
    Log(#[from] crate::aof::LogError),
    #[error("{}: offset {offset}: {reason}", .path.display())]
    Replay { path: PathBuf, offset: u64, reason: String },
    #[error("{}: {reason}", .path.display())]
    Refused { path: PathBuf, reason: String },
    #[error(transparent)]
    Snapshot(#[from] crate::keyspace::SnapshotTooOld),
    #[error("cancelled")]
    Cancelled,
}

impl From<crate::engine::persistence::LoadCancelled> for PersistError {
    fn from(_: crate::engine::persistence::LoadCancelled) -> Self {
        Self::Cancelled
    }
}

impl PersistError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
