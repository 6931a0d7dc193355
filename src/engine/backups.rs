//! What is known of backups and of the archive, for INFO, BACKUP STATUS and the schedule.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::persistence::{Kept, Progress};
use crate::aof::seal::HistoryId;

/// State of the catalogue, as the tasks report it.
#[derive(Debug, Clone, Default)]
pub struct Backups {
    /// The backup under way.
    pub under_way: Option<Progress>,
    /// A backup is being read back for a client.
    pub is_verifying: bool,
    /// `backup-max-rate` for the thread: bytes per second, 0 is no limit.
    pub max_rate: Arc<AtomicU64>,
    /// The share of a core that the thread may take now: `backup-max-cpu` while clients ask for something.
    pub share: Arc<AtomicU64>,
    /// Commands executed at the last tick.
    pub commands_seen: u64,
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
    pub archive: Archive,
    pub set: SealedSet,
}

impl Backups {
    /// The first increment of the log that the archive or a set still reads, by its number; none where nothing is read.
    /// Where an archive does not know it yet that is all of them.
    pub fn log_needed_from(&self, is_archived: bool) -> Option<i64> {
        let archive = is_archived.then(|| self.archive.needed_from.unwrap_or(i64::MIN));
        archive.into_iter().chain(self.set.needed_from).min()
    }
}

/// The set of files that BACKUP START begins and BACKUP SEAL ends, as in Redis 8.10.
#[derive(Debug, Clone, Default)]
pub struct SealedSet {
    pub state: SetState,
    /// `dir` as it was at START, in which the folder of the set lies.
    pub dir: String,
    /// Why it has failed; empty where it has not.
    pub error: String,
    /// Unix ms of START and of SEAL; 0 for not yet.
    pub started_ms: i64,
    pub sealed_ms: i64,
    /// Those that do not change any more, by their whole paths.
    pub files: Vec<PathBuf>,
    /// Its folder has files of one that could not be removed.
    pub has_leftovers: bool,
    /// How many STARTs there were: who works for one that was aborted meanwhile finds another number.
    pub number: u64,
    /// A task works on its files.
    pub is_busy: bool,
    /// Its base, while that is written.
    pub base: Option<Progress>,
    /// Where in the log the increment begins; none where the log is off.
    pub from: Option<LogPlace>,
    /// The first increment of the log that is read for it.
    pub needed_from: Option<i64>,
}

/// How far a set is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SetState {
    #[default]
    Idle,
    /// It waits for the log, whose files are changing or which can't be written.
    Pending,
    /// The base is being written.
    Snapshotting,
    /// What is written goes into the set.
    Incrementing,
    /// It is getting its manifest, and can't be aborted any more.
    Publishing,
    Sealed,
    Failed,
}

impl SetState {
    /// The word for it in BACKUP STATUS.
    pub fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Pending => "pending",
            Self::Snapshotting => "snapshotting",
            Self::Incrementing | Self::Publishing => "incrementing",
            Self::Sealed => "sealed",
            Self::Failed => "failed",
        }
    }

    /// Whether BACKUP ABORT can end it.
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Pending | Self::Snapshotting | Self::Incrementing)
    }
}

/// A mark in the files of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPlace {
    pub id: HistoryId,
    pub position: u64,
    /// Number of the increment.
    pub seq: i64,
    /// Behind the mark, in that file.
    pub offset: u64,
}

/// State of the archive of the log, as its task reports it.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    /// Its name, if it is kept and was found, and the names of all that belongs to it.
    pub timeline: Option<String>,
    pub names: Vec<String>,
    /// Position up to which everything is archived, and Unix ms of the last look at which nothing else was there.
    pub position: u64,
    pub complete_ms: Option<i64>,
    /// The positions behind this one are in it without a gap.
    pub run_start: u64,
    /// A good backup stands in that run; or none does, and it wants one. Neither is so until the catalogue was looked at.
    pub has_base: bool,
    pub wants_base: bool,
    /// Why it can't go on.
    pub fault: Option<String>,
    /// The first increment that it still reads, by its number; none where that is not known.
    pub needed_from: Option<i64>,
    /// Since the start.
    pub segments: u64,
    pub bytes: u64,
    pub branches: u64,
}

impl Archive {
    /// What a backup of this history is to be joined with.
    pub fn timeline_of(&self, id: HistoryId) -> String {
        let is_of =
            |timeline: &&String| timeline.starts_with(id.as_str()) || self.names.iter().any(|name| name == id.as_str());
        self.timeline.clone().filter(|timeline| is_of(&timeline)).unwrap_or_else(|| id.to_string())
    }
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
