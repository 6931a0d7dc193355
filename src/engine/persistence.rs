//! What is known of saving and logging, for INFO, LASTSAVE and the decision whether writes may go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};

/// State of the files, as the tasks report it.
#[derive(Debug, Clone)]
pub struct Persistence {
    /// Unix seconds of the last good save, or of the start.
    pub last_save: i64,
    /// [`Journal::changes`](super::journal::Journal::changes) at the last good save.
    pub changes_at_last_save: u64,
    /// Unix ms at which a background save has failed last.
    pub last_save_failed_ms: i64,
    pub last_save_ok: bool,
    pub last_save_seconds: Option<i64>,
    /// [`Progress::deferred_peak`] of the last background save.
    pub last_save_deferred: u64,
    pub saves: u64,
    /// The background save under way.
    pub save: Option<Progress>,
    pub save_scheduled: bool,
    /// The rewrite under way.
    pub rewrite: Option<Progress>,
    pub rewrite_scheduled: bool,
    pub last_rewrite_ok: bool,
    /// Why the last rewrite failed or was refused, if it was.
    pub last_rewrite_error: Option<String>,
    /// Bytes that must be free for the next one, as the last found too few.
    pub room_wanted: u64,
    pub last_rewrite_seconds: Option<i64>,
    /// [`Progress::deferred_peak`] of the last rewrite.
    pub last_rewrite_deferred: u64,
    pub rewrites: u64,
    pub rewrite_failures: u32,
    /// Why the log can't be written, if it can't.
    pub log_error: Option<String>,
    /// Why the file system keeps no blocks ahead of the log's end, where it has none.
    pub log_reserve_error: Option<String>,
    pub log_size: u64,
    /// Position of the log up to which everything is known to be on the disk.
    pub log_synced: u64,
    /// A thread is syncing the log.
    pub is_syncing: bool,
    /// Syncs that were due while another was under way.
    pub delayed_syncs: u64,
    /// Syncs that writes have waited for, as the oldest write that was not synced was too old.
    pub late_syncs: u64,
    pub log_base_size: u64,
    /// Bytes of the log's files in front of the increment that is written to.
    pub log_files_before: u64,
    pub last_rewrite_ended_ms: i64,
    /// Unix ms of the last flush of data that the log in force holds; for a log that was loaded, of the load.
    pub flushed_ms: Option<i64>,
    /// The same of the log in force when the rewrite under way took its snapshot.
    pub flushed_before_rewrite_ms: Option<i64>,
    /// Unix ms of the first flush of data that the last good save may still hold.
    pub unsaved_flush_ms: Option<i64>,
    /// Files of the log in history.
    pub history: Kept,
    /// Dumps from before a flush.
    pub kept_dumps: Kept,
    /// A thread is looking at what is kept, and may be changing the manifest.
    pub is_sweeping: bool,
    /// The last look could not remove what it should.
    pub has_sweep_failed: bool,
    /// The last dump before the end is being written: what came behind it would be lost.
    pub is_leaving: bool,
    /// CONFIG SET is switching the log on or off.
    pub is_switching: bool,
    /// Whether something may be kept that nobody has looked at.
    pub is_sweep_wanted: bool,
    /// Keys that the last load brought, and those that it dropped as expired.
    pub loaded_keys: u64,
    pub loaded_expired: u64,
    /// Duration of the last snapshot's start.
    pub last_snapshot_us: u64,
    pub is_loading: bool,
    /// `snapshot-max-rate` for the threads: bytes per second, 0 is no limit.
    pub max_rate: Arc<AtomicU64>,
    /// Of the load under way, or of the last one.
    pub load: Arc<LoadProgress>,
}

/// Files that are kept though nothing loads them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    pub files: usize,
    pub bytes: u64,
}

/// How far a load is. The thread that loads counts, and asks whether to go on; others look.
#[derive(Debug, Default)]
pub struct LoadProgress {
    /// Unix ms.
    pub started_ms: AtomicI64,
    /// Bytes of all files that are to be loaded.
    pub total_bytes: AtomicU64,
    /// Bytes of the files that are done.
    done_bytes: AtomicU64,
    /// Bytes of the file under way.
    file_bytes: AtomicU64,
    /// Asks the thread to give up.
    pub is_cancelled: AtomicBool,
}

/// Somebody wants no more of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadCancelled;

impl LoadProgress {
    /// The file under way has been loaded up to this offset.
    pub fn advance(&self, offset: u64) -> Result<(), LoadCancelled> {
        self.file_bytes.store(offset, Ordering::Relaxed);
        if self.is_cancelled.load(Ordering::Relaxed) { Err(LoadCancelled) } else { Ok(()) }
    }

    /// A file of `len` bytes is done.
    pub fn finish_file(&self, len: u64) {
        self.file_bytes.store(0, Ordering::Relaxed);
        self.done_bytes.fetch_add(len, Ordering::Relaxed);
    }

    /// Begins anew, with files of so many bytes.
    pub fn begin(&self, now_ms: i64, total_bytes: u64) {
        self.started_ms.store(now_ms, Ordering::Relaxed);
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
        self.done_bytes.store(0, Ordering::Relaxed);
        self.file_bytes.store(0, Ordering::Relaxed);
    }

    /// Bytes so far.
    pub fn loaded_bytes(&self) -> u64 {
        self.done_bytes.load(Ordering::Relaxed) + self.file_bytes.load(Ordering::Relaxed)
    }
}

/// A background job's progress, seen from the engine and from the job's thread.
#[derive(Debug, Clone)]
pub struct Progress {
    pub started_ms: i64,
    pub keys_total: u64,
    /// Of what snapshots held back, the most that was seen while the job ran, in bytes.
    pub deferred_peak: u64,
    keys_done: Arc<AtomicU64>,
    stage: Arc<AtomicU8>,
}

const RUNNING: u8 = 0;
const CANCELLED: u8 = 1;
const COMMITTING: u8 = 2;

impl Progress {
    pub fn new(started_ms: i64, keys_total: usize) -> Self {
        let keys_total = keys_total as u64; // usize has at most 64 bits
        Self { started_ms, keys_total, deferred_peak: 0, keys_done: Arc::default(), stage: Arc::default() }
    }

    pub fn keys_done(&self) -> u64 {
        self.keys_done.load(Ordering::Relaxed)
    }

    /// The job's thread says how far it is.
    pub fn set_keys_done(&self, count: u64) {
        self.keys_done.store(count, Ordering::Relaxed);
    }

    /// Asks the job to give up; false where it is too late, as the file is getting its name.
    pub fn cancel(&self) -> bool {
        self.leave_running(CANCELLED)
    }

    pub fn is_cancelled(&self) -> bool {
        self.stage.load(Ordering::Relaxed) == CANCELLED
    }

    /// From here on the job can't be cancelled; false if it has been.
    pub fn begin_commit(&self) -> bool {
        self.leave_running(COMMITTING)
    }

    /// Whether the job is at `stage` now: it has been running, or is there already.
    fn leave_running(&self, stage: u8) -> bool {
        // Relaxed: nothing but the word itself is handed over by it.
        let changed = self.stage.compare_exchange(RUNNING, stage, Ordering::Relaxed, Ordering::Relaxed);
        changed.is_ok() || changed == Err(stage)
    }

    /// Notes what snapshots hold back now, in bytes.
    pub fn note_deferred(&mut self, bytes: u64) {
        self.deferred_peak = self.deferred_peak.max(bytes);
    }
}

impl Persistence {
    pub fn new(now_ms: i64) -> Self {
        Self {
            last_save: now_ms / 1000,
            changes_at_last_save: 0,
            last_save_failed_ms: 0,
            last_save_ok: true,
            last_save_seconds: None,
            last_save_deferred: 0,
            saves: 0,
            save: None,
            save_scheduled: false,
            rewrite: None,
            rewrite_scheduled: false,
            last_rewrite_ok: true,
            last_rewrite_error: None,
            room_wanted: 0,
            last_rewrite_seconds: None,
            last_rewrite_deferred: 0,
            max_rate: Arc::default(),
            rewrites: 0,
            rewrite_failures: 0,
            log_error: None,
            log_reserve_error: None,
            log_size: 0,
            is_syncing: false,
            delayed_syncs: 0,
            late_syncs: 0,
            log_base_size: 0,
            log_files_before: 0,
            last_rewrite_ended_ms: 0,
            log_synced: 0,
            flushed_ms: None,
            flushed_before_rewrite_ms: None,
            unsaved_flush_ms: None,
            history: Kept::default(),
            kept_dumps: Kept::default(),
            is_sweeping: false,
            has_sweep_failed: false,
            is_leaving: false,
            is_switching: false,
            is_sweep_wanted: true,
            loaded_keys: 0,
            loaded_expired: 0,
            last_snapshot_us: 0,
            is_loading: false,
            load: Arc::default(),
        }
    }

    /// Notes what snapshots hold back now, in bytes, for the jobs under way.
    pub fn note_deferred(&mut self, bytes: u64) {
        [&mut self.save, &mut self.rewrite].into_iter().flatten().for_each(|job| job.note_deferred(bytes));
    }

    /// Data has been flushed.
    pub fn flushed(&mut self, now_ms: i64) {
        self.flushed_ms = Some(now_ms);
        self.unsaved_flush_ms.get_or_insert(now_ms);
    }

    /// A save of the data as of `changes` is durable.
    pub fn saved(&mut self, unix_seconds: i64, changes: u64) {
        self.last_save = unix_seconds;
        self.changes_at_last_save = changes;
        self.last_save_ok = true;
        self.saves += 1;
    }
}
