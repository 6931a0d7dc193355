//! What is known of saving and logging, for INFO, LASTSAVE and the decision whether writes may go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// State of the files, as the tasks report it.
#[derive(Debug, Clone)]
pub struct Persistence {
    /// Unix seconds of the last good save, or of the start.
    pub last_save: i64,
    /// [`Journal::changes`](super::journal::Journal::changes) at the last good save.
    pub changes_at_last_save: u64,
    /// Unix ms at which the last background save was begun.
    pub last_save_attempt_ms: i64,
    pub last_save_ok: bool,
    pub last_save_seconds: Option<i64>,
    pub saves: u64,
    /// The background save under way.
    pub save: Option<Progress>,
    pub save_scheduled: bool,
    /// The rewrite under way.
    pub rewrite: Option<Progress>,
    pub rewrite_scheduled: bool,
    pub last_rewrite_ok: bool,
    pub last_rewrite_seconds: Option<i64>,
    pub rewrites: u64,
    pub rewrite_failures: u32,
    /// Why the log can't be written, if it can't.
    pub log_error: Option<String>,
    pub log_size: u64,
    /// A thread is syncing the log.
    pub is_syncing: bool,
    /// Syncs that were due while another was under way.
    pub delayed_syncs: u64,
    pub log_base_size: u64,
    /// Bytes of the log's files in front of the increment that is written to.
    pub log_files_before: u64,
    pub last_rewrite_ended_ms: i64,
    /// Keys that the last load brought, and those that it dropped as expired.
    pub loaded_keys: u64,
    pub loaded_expired: u64,
    /// Duration of the last snapshot's start.
    pub last_snapshot_us: u64,
    pub is_loading: bool,
}

/// A background job's progress.
#[derive(Debug, Clone)]
pub struct Progress {
    pub started_ms: i64,
    pub keys_total: u64,
    /// Keys done, counted by the job's thread.
    pub keys_done: Arc<AtomicU64>,
    /// Asks the job's thread to give up.
    pub is_cancelled: Arc<AtomicBool>,
}

impl Progress {
    pub fn new(started_ms: i64, keys_total: usize) -> Self {
        let keys_total = keys_total as u64; // usize has at most 64 bits
        Self { started_ms, keys_total, keys_done: Arc::default(), is_cancelled: Arc::default() }
    }
}

impl Persistence {
    pub fn new(now_ms: i64) -> Self {
        Self {
            last_save: now_ms / 1000,
            changes_at_last_save: 0,
            last_save_attempt_ms: 0,
            last_save_ok: true,
            last_save_seconds: None,
            saves: 0,
            save: None,
            save_scheduled: false,
            rewrite: None,
            rewrite_scheduled: false,
            last_rewrite_ok: true,
            last_rewrite_seconds: None,
            rewrites: 0,
            rewrite_failures: 0,
            log_error: None,
            log_size: 0,
            is_syncing: false,
            delayed_syncs: 0,
            log_base_size: 0,
            log_files_before: 0,
            last_rewrite_ended_ms: 0,
            loaded_keys: 0,
            loaded_expired: 0,
            last_snapshot_us: 0,
            is_loading: false,
        }
    }

    /// A save of the data as of `changes` is durable.
    pub fn saved(&mut self, unix_seconds: i64, changes: u64) {
        self.last_save = unix_seconds;
        self.changes_at_last_save = changes;
        self.last_save_ok = true;
        self.saves += 1;
    }
}
