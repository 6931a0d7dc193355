//! What is known of backups, for INFO, BACKUP STATUS and the schedule.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::persistence::{Kept, Progress};

/// State of the catalogue, as the tasks report it.
#[derive(Debug, Clone, Default)]
pub struct Backups {
    /// The backup under way.
    pub under_way: Option<Progress>,
    /// A backup is being read back for a client.
    pub is_verifying: bool,
    /// `backup-max-rate` for the thread: bytes per second, 0 is no limit.
    pub max_rate: Arc<AtomicU64>,
    /// Unix ms of the next scheduled one, if any is.
    pub due_ms: Option<i64>,
    /// The last attempt since the start.
    pub last: Option<Attempt>,
    /// The newest backup that can be counted on, and the newest that was read back and found whole.
    pub newest: Option<Moment>,
    pub verified: Option<Moment>,
    /// All that are in the catalogue.
    pub kept: Kept,
    /// Since the start.
    pub made: u64,
    pub failures: u64,
    /// [`Journal::changes`](super::journal::Journal::changes) at the last one of this server.
    pub changes_at_last: Option<u64>,
    /// A scheduled one is due, and has failed or could not begin.
    pub is_late: bool,
}

/// How a backup went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Unix ms.
    pub started_ms: i64,
    pub seconds: i64,
    /// The backup, or why there is none.
    pub outcome: Result<String, String>,
}

/// A backup and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    pub id: String,
    /// Unix ms.
    pub at_ms: i64,
}
