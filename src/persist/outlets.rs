//! The files that one image is written to, side by side: a dump and the base of a log that are begun in one turn are
//! walked, encoded, compressed and checksummed once.
//!
//! Each file has its own fate: one that is cancelled, or whose disk fails, is removed at once, and the others go on; the
//! writing ends early when none is left. What is written is
//!
//! - held to `snapshot-max-rate`, which is read anew every 10 ms, so that CONFIG SET reaches a save that is under way;
//! - synced as it grows (`rdb-save-incremental-fsync`), on a thread beside, so that neither the end of a save nor the log
//!   of the server has to wait for hundreds of megabytes, and the disk works while the next bytes are made.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::disk::{Disk, Draft, Sealed};
use crate::engine::persistence::Progress;

use super::PersistError;

/// The most that is written between two looks at the clock and at who still wants it.
const PIECE: usize = 256 * 1024;
/// How soon a cancelled job or another rate is noticed while waiting.
const NAP: Duration = Duration::from_millis(10);

/// Where an image is to be written, and whom to tell how far it is.
pub struct Outlet {
    pub folder: PathBuf,
    pub name: OsString,
    pub progress: Progress,
}

/// How an image is to be written.
#[derive(Clone, Default)]
pub struct Manner {
    /// Bytes per second, all files together; 0 is no limit.
    pub max_rate: Arc<AtomicU64>,
    /// Whether files are synced as they grow.
    pub syncs_early: bool,
}

/// Open files that take the same bytes.
pub struct Outlets {
    open: Vec<OpenOutlet>,
    pace: Pace,
}

impl Outlets {
    pub fn create(disk: &Arc<dyn Disk>, outlets: Vec<Outlet>, manner: &Manner) -> Self {
        let open = outlets.into_iter().map(|outlet| OpenOutlet::create(disk, outlet, manner.syncs_early)).collect();
        Self { open, pace: Pace::new(Arc::clone(&manner.max_rate)) }
    }

    /// Makes the files durable, in the order in which they were given. Nobody sees them until they are committed.
    pub fn seal(self) -> Vec<Result<Sealed, PersistError>> {
        self.open.into_iter().map(OpenOutlet::seal).collect()
    }

    /// What becomes of each file where the image itself could not be written.
    pub fn fail(self, reason: &str) -> Vec<Result<Sealed, PersistError>> {
        self.open.into_iter().map(|outlet| Err(outlet.fail(reason))).collect()
    }
}

impl Write for Outlets {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(PIECE)];
        let open = &mut self.open;
        self.pace.wait(|| open.iter().all(OpenOutlet::is_over));
        let taken: usize = open.iter_mut().map(|outlet| outlet.take(bytes)).sum();
        self.pace.spend(taken);
        if open.iter().all(OpenOutlet::is_over) {
            return Err(io::Error::other("none of the files is wanted any more"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct OpenOutlet {
    path: PathBuf,
    progress: Progress,
    /// The file, or why there is none any more.
    draft: Result<Draft, PersistError>,
}

impl OpenOutlet {
    fn create(disk: &Arc<dyn Disk>, outlet: Outlet, syncs_early: bool) -> Self {
        let path = outlet.folder.join(&outlet.name);
        let draft = Draft::create(disk, &outlet.folder, &outlet.name).map_err(PersistError::io(&path));
        let draft = if syncs_early { draft.map(Draft::sync_as_it_grows) } else { draft };
        Self { path, progress: outlet.progress, draft }
    }

    fn is_over(&self) -> bool {
        self.draft.is_err() || self.progress.is_cancelled()
    }

    /// Writes `bytes`, if the file is still wanted; how many it took.
    fn take(&mut self, bytes: &[u8]) -> usize {
        if self.progress.is_cancelled() {
            self.draft = Err(PersistError::Cancelled); // which removes the file
        }
        let Ok(draft) = &mut self.draft else { return 0 };
        if let Err(error) = draft.write_all(bytes) {
            self.draft = Err(PersistError::io(&self.path)(error));
            return 0;
        }
        bytes.len()
    }

    fn seal(self) -> Result<Sealed, PersistError> {
        let draft = self.draft?;
        if self.progress.is_cancelled() {
            return Err(PersistError::Cancelled);
        }
        draft.seal().map_err(PersistError::io(&self.path))
    }

    fn fail(self, reason: &str) -> PersistError {
        match self.draft {
            Err(error) => error,
            Ok(_) if self.progress.is_cancelled() => PersistError::Cancelled,
            Ok(_) => PersistError::Refused { path: self.path, reason: reason.to_owned() },
        }
    }
}

/// Keeps bytes to a rate that may change at any time.
struct Pace {
    /// Bytes per second; 0 is no limit.
    rate: Arc<AtomicU64>,
    /// When what was spent so far is paid for.
    due: Instant,
    /// The rate that `due` was computed with.
    assumed: u64,
}

impl Pace {
    fn new(rate: Arc<AtomicU64>) -> Self {
        Self { rate, due: Instant::now(), assumed: 0 }
    }

    /// Waits until more may be spent, or `is_over`.
    fn wait(&mut self, is_over: impl Fn() -> bool) {
        loop {
            let now = Instant::now();
            self.follow_rate(now);
            if self.due <= now || is_over() {
                return;
            }
            std::thread::sleep(NAP.min(self.due - now));
        }
    }

    /// What is still owed is owed at the new rate.
    fn follow_rate(&mut self, now: Instant) {
        let rate = self.rate.load(Ordering::Relaxed);
        if rate == self.assumed {
            return;
        }
        let owed = self.due.saturating_duration_since(now).as_secs_f64() * self.assumed as f64; // an estimate will do
        self.assumed = rate;
        self.due = now + time_for(owed, rate);
    }

    fn spend(&mut self, bytes: usize) {
        // What was not spent in time is not saved up: the rate is a limit for each moment, not an average.
        self.due = self.due.max(Instant::now()) + time_for(bytes as f64, self.assumed); // an estimate will do
    }
}

fn time_for(bytes: f64, rate: u64) -> Duration {
    const LONGEST: f64 = 1e6; // seconds
    if rate == 0 { Duration::ZERO } else { Duration::from_secs_f64((bytes / rate as f64).min(LONGEST)) } // as above
}

/// The path that errors of an image name which goes to no file of its own.
pub(super) fn first_path(outlets: &[Outlet]) -> PathBuf {
    outlets.first().map_or_else(PathBuf::new, |outlet| Path::new(&outlet.folder).join(&outlet.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn outlet(folder: &Path, name: &str) -> (Outlet, Progress) {
        let progress = Progress::new(0, 0);
        (Outlet { folder: folder.to_owned(), name: name.into(), progress: progress.clone() }, progress)
    }

    #[test]
    fn a_cancelled_file_goes_at_once_and_the_other_gets_every_byte() {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let ((first, cancelled), (second, _)) = (outlet(folder.path(), "a"), outlet(folder.path(), "b"));
        let manner = Manner { syncs_early: true, ..Manner::default() };
        let mut outlets = Outlets::create(&disk, vec![first, second], &manner);
        outlets.write_all(&[1; 1000]).unwrap();
        assert_eq!(disk.list(folder.path()).unwrap().len(), 2);
        assert!(cancelled.cancel());
        let rest = vec![2; 40 << 20]; // so that a sync begins early
        outlets.write_all(&rest).unwrap();
        assert_eq!(disk.list(folder.path()).unwrap().len(), 1);
        let mut sealed = outlets.seal().into_iter();
        assert!(matches!(sealed.next(), Some(Err(PersistError::Cancelled))));
        sealed.next().unwrap().unwrap().commit().unwrap();
        let written = disk.read_small(&folder.path().join("b"), 1 << 30).unwrap();
        assert_eq!((written[..1000].to_vec(), written[1000..].to_vec()), (vec![1; 1000], rest));
        assert_eq!(disk.list(folder.path()).unwrap(), ["b"]);
    }

    #[test]
    fn a_file_that_cannot_be_made_does_not_stop_the_other_and_none_left_stops_the_writing() {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let (first, _) = outlet(&folder.path().join("missing"), "a");
        let (second, cancelled) = outlet(folder.path(), "b");
        let mut outlets = Outlets::create(&disk, vec![first, second], &Manner::default());
        outlets.write_all(b"bytes").unwrap();
        cancelled.cancel();
        outlets.write_all(b"more").unwrap_err();
        let outcomes = outlets.seal();
        assert!(matches!(outcomes[0], Err(PersistError::Io { .. })));
        assert!(matches!(outcomes[1], Err(PersistError::Cancelled)));
        assert!(disk.list(folder.path()).unwrap().is_empty());
    }

    #[test]
    fn a_rate_holds_and_another_takes_its_place_while_it_is_waited_for() {
        let rate = Arc::new(AtomicU64::new(1_000_000));
        let mut pace = Pace::new(Arc::clone(&rate));
        let started = Instant::now();
        for _ in 0..10 {
            pace.wait(|| false);
            pace.spend(10_000);
        }
        pace.wait(|| false);
        let paid = started.elapsed();
        assert!((Duration::from_millis(95)..Duration::from_secs(3)).contains(&paid), "{paid:?}");
        pace.spend(1_000_000_000); // a quarter of an hour
        pace.wait(|| started.elapsed() > paid + Duration::from_millis(50));
        rate.store(0, Ordering::Relaxed);
        pace.wait(|| false);
        assert!(started.elapsed() < Duration::from_secs(60));
        // Who comes back to a limit later owes nothing.
        rate.store(1, Ordering::Relaxed);
        pace.wait(|| false);
    }

    #[test]
    fn a_job_that_is_cancelled_cannot_commit_and_one_that_commits_cannot_be_cancelled() {
        let (cancelled, committing) = (Progress::new(0, 0), Progress::new(0, 0));
        assert!(cancelled.cancel() && !cancelled.begin_commit() && cancelled.is_cancelled());
        assert!(committing.begin_commit() && !committing.cancel() && !committing.is_cancelled());
    }
}
