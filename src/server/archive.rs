//! The archive of the log: when a piece is due, its thread, and what the server learns from it.
//!
//! Once a second it is looked how far the log is ahead of the archive. A piece is due at `aof-segment-size`, or
//! `aof-archive-timeout` after the first record that is not archived yet. The log is sealed where it ends then, so that the
//! piece can end there too, and a thread reads it from the files. Nobody waits for that: where the catalogue can't be
//! written, increments that a rewrite has replaced stay in history until it can, as far as there is room for them.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::aof::seal::HistoryId;
use crate::backup::archiver::{Advanced, Manner, Source};
use crate::backup::{Archiver, BackupError};
use crate::engine::params::AppendFsync;

use super::background::on_thread;
use super::shared::Shared;
use super::{backups, flush, log};

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pauses after errors double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// How long the bytes in front of a seal may take into the file before it is looked again.
const WRITE_TIME: Duration = Duration::from_millis(500);
/// And how long their sync.
const SYNC_TIME: Duration = Duration::from_secs(10);
/// Where backups are not packed.
const LEAST_LEVEL: i32 = 1;

/// Where the log is, as far as it can be archived.
struct Front {
    id: HistoryId,
    /// Position of its end.
    end: u64,
}

#[derive(Default)]
pub(super) struct Task {
    archiver: Option<Archiver>,
    /// When there was first something that is not archived.
    behind_since: Option<Instant>,
    failures: u32,
    next_try: Option<Instant>,
}

/// Archives for as long as the server runs.
pub(super) async fn archive_forever(shared: Rc<Shared>) {
    let mut task = Task::default();
    loop {
        let is_last = tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => false,
            () = shared.last_piece_wanted.notified() => true,
        };
        if is_last {
            task.finish(&shared).await;
            shared.last_piece_done.notify_one();
        }
        if shared.is_stopping.get() {
            continue;
        }
        if shared.engine.borrow().config.archives() {
            task.look(&shared).await;
            continue;
        }
        if task.archiver.is_some() {
            log::notice("The log is archived no longer");
        }
        task.let_go().await;
        task = Task::default();
        shared.engine.borrow_mut().backups.archive = Default::default();
    }
}

/// Has what is left archived before the server ends, behind the log's last seal; by the deadline, or at the next start.
pub(super) async fn end(shared: &Shared, deadline: Instant) {
    let end = shared.engine.borrow().journal.end();
    if !shared.append.borrow().is_on() || !shared.engine.borrow().config.archives() {
        return;
    }
    shared.last_piece_wanted.notify_one();
    // Where that takes too long the next start goes on.
    let _ = tokio::time::timeout_at(deadline.into(), shared.last_piece_done.notified()).await;
    let archive = &shared.engine.borrow().backups.archive;
    if archive.timeline.is_none() || archive.position < end {
        log::warning("The end of the log could not be archived: it will be after the next start");
    }
}

impl Task {
    /// Archives up to the end of the log, which is sealed there, and gives the archive back.
    async fn finish(&mut self, shared: &Rc<Shared>) {
        let mut advanced = Advanced::default();
        let outcome = self.archive_end(shared, &mut advanced).await;
        self.note(shared, outcome, advanced);
        self.let_go().await;
    }

    async fn archive_end(&mut self, shared: &Rc<Shared>, advanced: &mut Advanced) -> Result<bool, BackupError> {
        let (id, end) = {
            let journal = &shared.engine.borrow().journal;
            (journal.history(), journal.end())
        };
        let Some(id) = id else { return Ok(false) };
        if self.archiver.as_ref().is_none_or(|archiver| archiver.id() != id) {
            self.let_go().await;
            self.open_at(shared, (id, end), advanced).await?;
        }
        self.advance(shared, end, advanced).await?;
        Ok(true)
    }

    /// Gives the archive back, which may take a request to a bucket.
    async fn let_go(&mut self) {
        if let Some(archiver) = self.archiver.take() {
            // What can't be given back now is free when it is seen that nobody works there.
            let _ = on_thread("archive", move || {
                drop(archiver);
                Ok(())
            })
            .await;
        }
    }

    pub(super) async fn look(&mut self, shared: &Rc<Shared>) {
        if self.next_try.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let mut advanced = Advanced::default();
        let front = front(shared);
        let outcome = match &front {
            Some(front) => self.archive(shared, front, &mut advanced).await,
            None => self.end(shared, &mut advanced).await,
        };
        self.note(shared, outcome, advanced);
        if front.is_none() {
            let fault = "the log is off (appendonly no)".to_owned();
            shared.engine.borrow_mut().backups.archive.fault.get_or_insert(fault);
        }
    }

    /// The log was switched off, and synced: what is in it is all that comes.
    async fn end(&mut self, shared: &Rc<Shared>, advanced: &mut Advanced) -> Result<bool, BackupError> {
        self.advance(shared, u64::MAX, advanced).await?;
        self.let_go().await;
        Ok(false)
    }

    /// Archives what is due; whether anything was tried.
    async fn archive(
        &mut self,
        shared: &Rc<Shared>,
        front: &Front,
        advanced: &mut Advanced,
    ) -> Result<bool, BackupError> {
        if self.archiver.as_ref().is_none_or(|archiver| archiver.id() != front.id) {
            // What is left of the history before.
            if let Err(error) = self.advance(shared, u64::MAX, advanced).await {
                log::warning(format!("The end of a history could not be archived: {error}"));
            }
            // The hold on the former one goes first.
            self.let_go().await;
            return self.open(shared, front.id, advanced).await;
        }
        let archived = self.archiver.as_ref().map_or(0, Archiver::archived);
        let is_behind = front.end > archived;
        let since = self.behind_since.filter(|_| is_behind).or_else(|| is_behind.then(Instant::now));
        self.behind_since = since;
        let (size, timeout) = {
            let config = &shared.engine.borrow().config;
            (config.aof_segment_size.max(1), Duration::from_secs(config.aof_archive_timeout))
        };
        let now_ms = shared.engine.borrow().clock.now_ms();
        let Some(since) = since else {
            shared.engine.borrow_mut().backups.archive.complete_ms = Some(now_ms);
            return Ok(true);
        };
        let is_due = front.end - archived >= size || since.elapsed() + LOOK_EVERY >= timeout;
        let Some(end) = (if is_due { seal(shared).await } else { None }) else { return Ok(false) };
        self.advance(shared, end, advanced).await?;
        if self.archiver.as_ref().is_some_and(|archiver| archiver.archived() >= end) {
            self.behind_since = None;
            shared.engine.borrow_mut().backups.archive.complete_ms = Some(now_ms);
        }
        Ok(true)
    }

    /// Finds out where the archive of this history goes on.
    async fn open(&mut self, shared: &Rc<Shared>, id: HistoryId, advanced: &mut Advanced) -> Result<bool, BackupError> {
        let Some(here) = seal(shared).await else { return Ok(false) };
        if front(shared).is_none_or(|front| front.id != id) {
            return Ok(false);
        }
        self.open_at(shared, (id, here), advanced).await?;
        backups::refresh(shared).await;
        Ok(true)
    }

    /// As [`Task::open`], of a log that is sealed and synced up to this position.
    async fn open_at(
        &mut self,
        shared: &Rc<Shared>,
        (id, here): (HistoryId, u64),
        advanced: &mut Advanced,
    ) -> Result<(), BackupError> {
        let (source, catalogue) = (source(shared, here), backups::catalogue(shared, &shared.engine.borrow().config));
        let archiver = on_thread("archive", move || Ok(Archiver::open(&catalogue, id, &source))).await??;
        let (timeline, at) = (archiver.archive().timeline(), archiver.archived());
        log::notice(format!("The log is archived: history {id}, timeline {timeline}, from position {at}"));
        if archiver.has_branched() {
            advanced.branches += 1;
            log::warning(format!(
                "The log does not go on where an archive ends: it is an older copy, was changed or restored, has lost \
                 records, or is another server's. What comes is the branch {timeline}, and can be brought back from the \
                 next backup on"
            ));
        }
        tell(shared, &archiver);
        self.archiver = Some(archiver);
        Ok(())
    }

    /// Has a thread archive what is in the files up to a position.
    async fn advance(&mut self, shared: &Rc<Shared>, limit: u64, advanced: &mut Advanced) -> Result<(), BackupError> {
        let Some(mut archiver) = self.archiver.take() else { return Ok(()) };
        let source = source(shared, limit);
        let manner = {
            let config = &shared.engine.borrow().config;
            let level = config.backup_level().unwrap_or(LEAST_LEVEL);
            Manner { segment_size: config.aof_segment_size.max(1), level }
        };
        let before = archiver.archive().timeline().to_owned();
        let (archiver, outcome, done) = on_thread("archive", move || {
            let mut done = Advanced::default();
            let outcome = archiver.advance(&source, &manner, &mut done);
            Ok((archiver, outcome, done))
        })
        .await?;
        *advanced = Advanced {
            segments: advanced.segments + done.segments,
            bytes: advanced.bytes + done.bytes,
            branches: advanced.branches + done.branches,
        };
        tell(shared, &archiver);
        self.archiver = Some(archiver);
        if outcome.is_err() {
            // Whoever goes on begins with what the catalogue says.
            self.let_go().await;
        }
        if done.branches > 0 {
            log::warning(format!(
                "Records behind the archive {before} are in no file of the log any more. What comes is a branch, and can be \
                 brought back from the next backup on"
            ));
            backups::refresh(shared).await;
        }
        outcome
    }

    fn note(&mut self, shared: &Shared, outcome: Result<bool, BackupError>, advanced: Advanced) {
        let archive = &mut shared.engine.borrow_mut().backups.archive;
        archive.segments += advanced.segments;
        archive.bytes += advanced.bytes;
        archive.branches += advanced.branches;
        match outcome {
            Ok(false) => {}
            Ok(true) => {
                if archive.fault.take().is_some() && self.failures > 0 {
                    log::notice("The log is archived again");
                }
                (self.failures, self.next_try) = (0, None);
            }
            Err(error) => {
                let error = error.to_string();
                if self.failures == 0 {
                    log::warning(format!("The log can't be archived: {error}"));
                }
                let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LAST_PAUSE);
                self.next_try = Some(Instant::now() + pause);
                self.failures += 1;
                archive.fault = Some(error);
            }
        }
    }
}

/// The log's files as they are now.
fn source(shared: &Shared, limit: u64) -> Source {
    let log_dir = shared.log_dir.borrow();
    Source { folder: log_dir.folder().to_owned(), manifest: log_dir.manifest().clone(), limit }
}

/// Where the log is; none while it is off, or has not begun.
fn front(shared: &Shared) -> Option<Front> {
    let (engine, append) = (shared.engine.borrow(), shared.append.borrow());
    let is_in_force = append.is_on() && engine.journal.is_on() && append.settled(AppendFsync::No) != u64::MAX;
    let id = engine.journal.history().filter(|_| is_in_force)?;
    Some(Front { id, end: engine.journal.end() })
}

/// The history that is logged; none while the log is off, or has not begun.
pub(super) fn history(shared: &Shared) -> Option<HistoryId> {
    front(shared).map(|front| front.id)
}

/// Seals the log where it ends, and waits until that is in the file and synced: its position. None where that can't be now.
pub(super) async fn seal(shared: &Rc<Shared>) -> Option<u64> {
    let end = seal_here(shared)?;
    until_in_file(shared, end, WRITE_TIME).await.then_some(end)
}

/// Has the log sealed where it ends: its position. None where that can't be now.
pub(super) fn seal_here(shared: &Shared) -> Option<u64> {
    let mut engine = shared.engine.borrow_mut();
    if shared.append.borrow().is_held() || !engine.journal.is_between_operations() {
        return None;
    }
    engine.journal.seal_end();
    Some(engine.journal.end())
}

/// Waits until the log is in the file up to here, with the seal that stands there, for so long; and then until that is synced.
pub(super) async fn until_in_file(shared: &Rc<Shared>, end: u64, time: Duration) -> bool {
    shared.want_flush();
    let began = Instant::now();
    while began.elapsed() < time {
        if is_in_file(shared, end) {
            return flush::until_synced(shared, end, SYNC_TIME).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

/// Whether everything up to this position is in the file, with the seal behind it.
fn is_in_file(shared: &Shared, end: u64) -> bool {
    let append = shared.append.borrow();
    let written = append.settled(AppendFsync::No);
    let is_idle = append.queued() == 0 && shared.engine.borrow().journal.pending().is_empty();
    written > end || (written == end && is_idle)
}

/// Takes note of how far the archive is.
fn tell(shared: &Shared, archiver: &Archiver) {
    let archive = &mut shared.engine.borrow_mut().backups.archive;
    let timeline = Some(archiver.archive().timeline().to_owned());
    if archive.timeline != timeline {
        (archive.timeline, archive.has_base, archive.wants_base) = (timeline, false, false);
    }
    archive.names = archiver.archive().names();
    (archive.position, archive.run_start) = (archiver.archived(), archiver.run_start());
    archive.needed_from = Some(archiver.needed_from());
}
