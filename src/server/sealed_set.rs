//! BACKUP START, SEAL, ABORT and CLEANUP: the set of files below `backupdirname`, and what removes it in time.
//!
//! ```text
//! idle -START-> pending -> snapshotting -> incrementing -SEAL-> sealed -CLEANUP or backup-sealed-ttl-> idle
//!                  any of these three -ABORT, or an error-> failed -START or CLEANUP-> ...
//! ```
//!
//! Nothing is copied while writes go on: the log keeps its increments until SEAL reads from them. So the set costs clients
//! what a snapshot costs. Without a log nothing remembers what was written: then SEAL takes the snapshot, of its own
//! moment, and the set is one base.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::aof::seal::HistoryId;
use crate::backup::BackupError;
use crate::backup::sealed_set::{LogFiles, Sealed, SetFolder, Span};
use crate::engine::backups::{LogPlace, SealedSet, SetState};
use crate::engine::persistence::Progress;
use crate::persist::PersistError;
use crate::persist::outlets::Outlet;
use crate::persist::save::Image;

use super::background::on_thread;
use super::shared::Shared;
use super::{archive, log, seat};

/// How often it is looked whether a set is to be removed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often whether a set may begin, or another's work has ended.
const TRY_EVERY: Duration = Duration::from_millis(5);
/// How long the log may take to be sealed and synced.
const SEAL_TIME: Duration = Duration::from_secs(60);

fn folder(shared: &Shared) -> SetFolder {
    let engine = shared.engine.borrow();
    SetFolder::new(&shared.disk, &engine.backups.set.dir, &engine.config)
}

fn with_set<T>(shared: &Shared, change: impl FnOnce(&mut SealedSet) -> T) -> T {
    change(&mut shared.engine.borrow_mut().backups.set)
}

async fn on_folder<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce(&SetFolder) -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let folder = folder(shared);
    on_thread("backup set", move || Ok(work(&folder))).await?
}

fn refused(shared: &Shared, reason: &str) -> BackupError {
    BackupError::Refused { path: folder(shared).path().to_owned(), reason: reason.to_owned() }
}

/// What a start has found in the folder.
pub(super) fn adopt(shared: &Shared, sealed: Sealed) {
    let Sealed { started_ms, sealed_ms, files } = sealed;
    let dir = shared.engine.borrow().config.dir.clone();
    with_set(shared, |set| {
        *set = SealedSet { state: SetState::Sealed, dir, started_ms, sealed_ms, files, ..SealedSet::default() }
    });
}

/// Begins the set of a START, which has made it pending and busy. When this ends well its folder is ready, and the rest
/// goes on by itself.
pub(super) async fn start(shared: &Rc<Shared>) -> Result<(), BackupError> {
    let has_leftovers = with_set(shared, |set| std::mem::take(&mut set.has_leftovers));
    let begin = move |folder: &SetFolder| {
        if has_leftovers {
            folder.discard()?;
        }
        folder.begin()
    };
    if let Err(error) = on_folder(shared, begin).await {
        // What is in the folder is not ours.
        with_set(shared, |set| (set.is_busy, set.has_leftovers) = (false, has_leftovers));
        fail(shared, &error);
        return Err(error);
    }
    let shared = Rc::clone(shared);
    seat::spawn(async move {
        let outcome = snapshot(&shared).await;
        if let Err(error) = &outcome {
            fail(&shared, error);
            let _ = discard(&shared).await; // it has said why
        }
        with_set(&shared, |set| (set.is_busy, set.base) = (false, None));
    });
    Ok(())
}

/// The set is of no use any more, unless it is known already why.
fn fail(shared: &Shared, error: &BackupError) {
    let engine = &mut *shared.engine.borrow_mut();
    let set = &mut engine.backups.set;
    if set.state != SetState::Failed {
        log::warning(format!("BACKUP START: {error}"));
        (set.state, set.error) = (SetState::Failed, error.to_string().replace(['\r', '\n'], " "));
    }
    let_log_go(engine);
}

/// The log need not keep its increments for the set any more.
fn let_log_go(engine: &mut crate::engine::Engine) {
    engine.backups.set.needed_from = None;
    engine.persistence.is_sweep_wanted = true;
}

/// Removes what is in the folder of a set that has failed; what stays is removed by the next START or CLEANUP.
async fn discard(shared: &Shared) -> Result<(), BackupError> {
    with_set(shared, |set| set.files.clear());
    let outcome = on_folder(shared, SetFolder::discard).await;
    with_set(shared, |set| set.has_leftovers = outcome.is_err());
    outcome.inspect_err(|error| log::warning(format!("The files of a backup could not be removed: {error}")))
}

/// A snapshot, and where in the log it was taken.
struct Begun {
    image: Image,
    progress: Progress,
    id: HistoryId,
    position: u64,
    /// The increment that is written to.
    seq: i64,
}

/// Writes the base of a pending set, and finds the place in the log at which the increment begins.
async fn snapshot(shared: &Rc<Shared>) -> Result<(), BackupError> {
    let begun = loop {
        let state = with_set(shared, |set| set.state);
        if state != SetState::Pending {
            return Err(BackupError::Cancelled);
        }
        if !shared.append.borrow().is_on() {
            with_set(shared, |set| set.state = SetState::Incrementing);
            log::notice("Backup set begun: the log is off, so BACKUP SEAL takes the snapshot");
            return Ok(());
        }
        if let Some(begun) = take_snapshot(shared) {
            break begun;
        }
        tokio::time::sleep(TRY_EVERY).await;
    };
    let Begun { image, progress, id, position, seq } = begun;
    write_base(shared, image, progress).await?;
    if !archive::until_in_file(shared, position, SEAL_TIME).await {
        return Err(refused(shared, "the log could not be synced: begin anew with BACKUP START"));
    }
    let files = log_files(shared);
    let place = on_folder(shared, move |folder| files.find(&**folder.disk(), id, position, seq)).await?;
    let base = folder(shared).base_path();
    with_set(shared, |set| {
        if set.state != SetState::Snapshotting {
            return Err(BackupError::Cancelled);
        }
        (set.state, set.from, set.files) = (SetState::Incrementing, Some(place), vec![base]);
        Ok(())
    })?;
    log::notice(format!("Backup set begun: its base is written, of position {position} of the log"));
    Ok(())
}

/// Takes the snapshot at a mark of the log; none where the log can't take one now.
fn take_snapshot(shared: &Shared) -> Option<Begun> {
    let id = archive::history(shared)?;
    let position = archive::seal_here(shared)?;
    let seq = shared.log_dir.borrow().manifest().last_increment()?.seq;
    let engine = &mut *shared.engine.borrow_mut();
    let image = Image::take(engine, false);
    engine.stats.snapshots += 1;
    // The increment begins here, and whoever reads it does not know what was selected before.
    engine.journal.forget_selected_db();
    let progress = Progress::new(engine.clock.now_ms(), image.keys());
    let set = &mut engine.backups.set;
    (set.state, set.base, set.needed_from) = (SetState::Snapshotting, Some(progress.clone()), Some(seq));
    Some(Begun { image, progress, id, position, seq })
}

async fn write_base(shared: &Shared, image: Image, progress: Progress) -> Result<(), BackupError> {
    on_folder(shared, move |folder| {
        let outlet = Outlet { folder: folder.path().to_owned(), name: folder.base_name(), progress };
        let written = image.write_to(folder.disk(), vec![outlet]).pop().unwrap_or(Err(PersistError::Cancelled))?;
        written.commit().map_err(|source| BackupError::Io { path: folder.base_path(), source })
    })
    .await
}

fn log_files(shared: &Shared) -> LogFiles {
    let log_dir = shared.log_dir.borrow();
    LogFiles { folder: log_dir.folder().to_owned(), manifest: log_dir.manifest().clone() }
}

/// Seals the set, which SEAL has made busy.
pub(super) async fn seal(shared: &Rc<Shared>) -> Result<(), BackupError> {
    let outcome = match with_set(shared, |set| set.from) {
        Some(from) => seal_increment(shared, from).await,
        None => seal_base(shared).await,
    };
    let outcome = match outcome {
        Ok(()) => publish(shared).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &outcome {
        fail(shared, error);
        let _ = discard(shared).await; // it has said why
    }
    with_set(shared, |set| (set.is_busy, set.base) = (false, None));
    outcome
}

/// Writes what was logged from the base on until now.
async fn seal_increment(shared: &Rc<Shared>, from: LogPlace) -> Result<(), BackupError> {
    let began = Instant::now();
    let to = loop {
        if archive::history(shared).is_some_and(|id| id != from.id) || !shared.append.borrow().is_on() {
            return Err(refused(shared, "the log was switched off since then: begin anew with BACKUP START"));
        }
        if let Some(to) = archive::seal(shared).await {
            break to;
        }
        if began.elapsed() >= SEAL_TIME {
            return Err(refused(shared, "the log could not be synced: begin anew with BACKUP START"));
        }
        tokio::time::sleep(TRY_EVERY).await;
    };
    let (id, now_ms) = {
        let engine = &mut *shared.engine.borrow_mut();
        (HistoryId::random(&mut engine.random), engine.clock.now_ms())
    };
    let span = Span { files: log_files(shared), from, to, id, now_ms };
    on_folder(shared, move |folder| folder.write_increment(&span)).await
}

/// Writes the base of this moment, where there is no log.
async fn seal_base(shared: &Shared) -> Result<(), BackupError> {
    let (image, progress) = {
        let engine = &mut *shared.engine.borrow_mut();
        let image = Image::take(engine, false);
        engine.stats.snapshots += 1;
        let progress = Progress::new(engine.clock.now_ms(), image.keys());
        engine.backups.set.base = Some(progress.clone());
        (image, progress)
    };
    write_base(shared, image, progress).await
}

async fn publish(shared: &Shared) -> Result<(), BackupError> {
    with_set(shared, |set| {
        if set.state != SetState::Incrementing {
            return Err(BackupError::Cancelled);
        }
        set.state = SetState::Publishing;
        Ok(())
    })?;
    let files = on_folder(shared, SetFolder::publish).await?;
    let engine = &mut *shared.engine.borrow_mut();
    engine.clock.tick();
    let now_ms = engine.clock.now_ms();
    let set = &mut engine.backups.set;
    (set.state, set.sealed_ms, set.files) = (SetState::Sealed, now_ms, files);
    let_log_go(engine);
    log::notice("Backup set sealed");
    Ok(())
}

/// Removes the files of a set that ABORT has made fail.
pub(super) async fn abort(shared: &Rc<Shared>) -> Result<(), BackupError> {
    let number = with_set(shared, |set| set.number);
    // Whoever works on it finds out, and removes what there is.
    while with_set(shared, |set| set.is_busy && set.number == number) {
        tokio::time::sleep(TRY_EVERY).await;
    }
    let is_ours = with_set(shared, |set| {
        let is_ours = set.number == number && set.state == SetState::Failed;
        set.is_busy |= is_ours;
        is_ours
    });
    if !is_ours {
        return Ok(());
    }
    let_log_go(&mut shared.engine.borrow_mut());
    let outcome = discard(shared).await;
    with_set(shared, |set| set.is_busy = false);
    log::notice("Backup set aborted");
    outcome
}

/// Removes the files of a set that is sealed or has failed, and that the caller has made busy.
pub(super) async fn clean_up(shared: &Rc<Shared>) -> Result<(), BackupError> {
    let has_files = with_set(shared, |set| set.has_leftovers || !set.files.is_empty());
    let outcome = if has_files { on_folder(shared, SetFolder::discard).await } else { Ok(()) };
    with_set(shared, |set| match &outcome {
        Ok(()) => *set = SealedSet { number: set.number, ..SealedSet::default() },
        Err(_) => set.is_busy = false,
    });
    outcome
}

/// Removes sealed sets when `backup-sealed-ttl` has passed, for as long as the server runs.
pub(super) async fn expire_forever(shared: Rc<Shared>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let is_due = {
            let engine = &mut *shared.engine.borrow_mut();
            let ttl_ms = i64::try_from(engine.config.backup_sealed_ttl.saturating_mul(1000)).unwrap_or(i64::MAX);
            let now_ms = engine.clock.now_ms();
            let set = &mut engine.backups.set;
            let is_over = ttl_ms > 0 && now_ms >= set.sealed_ms.saturating_add(ttl_ms);
            let is_due = set.state == SetState::Sealed && is_over && !set.is_busy;
            set.is_busy |= is_due;
            is_due
        };
        if !is_due {
            continue;
        }
        match clean_up(&shared).await {
            Ok(()) => log::notice("The sealed backup set is removed (backup-sealed-ttl)"),
            Err(error) => log::warning(format!("The sealed backup set could not be removed: {error}")),
        }
    }
}
