//! Saves and rewrites: their threads, and what the server learns from them.
//!
//! Both are made from one snapshot where they begin in one turn, and its one thread writes both files in one walk; each
//! ends by itself. Where one is under way the other waits for its end, as the commands' replies say, so there is never a
//! second walk beside the first.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::aof::naming::BaseFormat;
use crate::disk::{File, Sealed};
use crate::engine::Engine;
use crate::engine::persistence::Progress;
use crate::persist::PersistError;
use crate::persist::append::Rest;
use crate::persist::log_dir::LogDir;
use crate::persist::outlets::Outlet;
use crate::persist::rewrite::{self, Past};
use crate::persist::save::{self, Image};

use super::shared::Shared;
use super::{history, log, seat};

/// How often a rewrite looks whether the log is written.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// What is to be begun from one snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) save: bool,
    pub(super) rewrite: bool,
}

const BOTH: Wanted = Wanted { save: true, rewrite: true };

/// A save that has begun.
struct Save {
    outlet: Outlet,
    ending: SaveEnding,
}

/// What is needed where a save ends.
struct SaveEnding {
    /// Changes of the data that it holds.
    changes: u64,
    /// What the dump before it holds and this one does not: see [`save::commit_dump`].
    flushed_ms: Option<i64>,
    /// Somebody waits for it, whose affair it is if it fails.
    told: Option<oneshot::Sender<Result<(), PersistError>>>,
}

/// A rewrite that has begun.
struct Rewrite {
    progress: Progress,
    increment: Increment,
}

/// Where the log goes on beside a rewrite.
enum Increment {
    /// Nowhere: it is off.
    Off,
    /// Where it is: nothing has been written there since the snapshot.
    Kept,
    /// In a new one from now on, which begins with `head`; the old one is to be synced first. The log is held until then.
    Next { old: Box<dyn File>, head: Vec<u8> },
    /// In a new one that begins with `head` behind that position, once the base is durable: a failed fsync has left the
    /// pages of the old one in doubt, whatever a second one says. The log is held until then.
    Anew { head: Vec<u8>, position: u64 },
}

/// Begins what is wanted and not under way yet.
pub(super) fn start(shared: &Rc<Shared>, mut wanted: Wanted) {
    if wanted == BOTH && save::base_format(&shared.engine.borrow()) == BaseFormat::Resp {
        // They can't share their bytes.
        (wanted.rewrite, shared.engine.borrow_mut().persistence.rewrite_scheduled) = (false, true);
    }
    let hold = (wanted.rewrite && may_rewrite(shared)).then(|| hold_log(shared)).flatten();
    let mut engine = shared.engine.borrow_mut();
    // The last dump is the shutdown's own.
    let is_saving = wanted.save && engine.persistence.save.is_none() && !shared.is_stopping.get();
    if !is_saving && hold.is_none() {
        return;
    }
    // Step 2 of a rewrite: nothing was executed since the log is held.
    let before = Instant::now();
    let image = Image::take(&mut engine, hold.is_some());
    shared.log_dir.borrow_mut().set_base_format(save::base_format(&engine));
    engine.persistence.last_snapshot_us = u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX);
    engine.stats.snapshots += 1;
    let save = is_saving.then(|| {
        log::notice("Background saving started");
        begin_save(&mut engine, &image, None)
    });
    let rewrite = hold.map(|increment| {
        let progress = Progress::new(engine.clock.now_ms(), image.keys());
        engine.persistence.rewrite = Some(progress.clone());
        engine.persistence.rewrite_scheduled = false;
        engine.persistence.flushed_before_rewrite_ms = engine.persistence.flushed_ms.take();
        log::notice("Background append only file rewriting started");
        Rewrite { progress, increment }
    });
    drop(engine);
    seat::spawn(run(Rc::clone(shared), image, save, rewrite));
}

/// Begins a save for somebody who waits for its end: as fast as it goes. It is not under way yet, as the caller has made sure.
pub(super) fn save_at_once(shared: &Rc<Shared>) -> oneshot::Receiver<Result<(), PersistError>> {
    let (told, outcome) = oneshot::channel();
    let engine = &mut *shared.engine.borrow_mut();
    assert!(engine.persistence.save.is_none(), "one save at a time");
    let image = Image::take(engine, false).at_once();
    engine.stats.snapshots += 1;
    let save = begin_save(engine, &image, Some(told));
    seat::spawn(run(Rc::clone(shared), image, Some(save), None));
    outcome
}

fn begin_save(engine: &mut Engine, image: &Image, told: Option<oneshot::Sender<Result<(), PersistError>>>) -> Save {
    let progress = Progress::new(engine.clock.now_ms(), image.keys());
    engine.persistence.save = Some(progress.clone());
    engine.persistence.save_scheduled = false;
    let (folder, name) = (PathBuf::from(&engine.config.dir), engine.config.dbfilename.clone().into());
    let flushed_ms = save::guarded_flush(engine);
    let ending = SaveEnding { changes: engine.journal.changes(), flushed_ms, told };
    Save { outlet: Outlet { folder, name, progress }, ending }
}

/// Whether nobody else is changing the log's files. A rewrite that has to wait for such a change comes next.
fn may_rewrite(shared: &Shared) -> bool {
    let persistence = &mut shared.engine.borrow_mut().persistence;
    let is_changing = persistence.is_sweeping || persistence.is_switching;
    persistence.rewrite_scheduled |= is_changing;
    persistence.rewrite.is_none() && !is_changing && !shared.append.borrow().is_held()
}

/// Step 1 of a rewrite: the log is held in the same moment as the snapshot is taken, or what is executed before the files
/// change would stand in the old increment alone. None where the rewrite can't begin.
fn hold_log(shared: &Shared) -> Option<Increment> {
    let mut engine = shared.engine.borrow_mut();
    let mut append = shared.append.borrow_mut();
    if append.is_stalled() {
        return refuse_rewrite(&mut engine, "the disk does not answer");
    }
    if append.needs_new_base() {
        append.abandon();
        let head = engine.journal.begin_file_anew();
        return Some(Increment::Anew { head, position: engine.journal.end() });
    }
    if append.fault().is_some() {
        return refuse_rewrite(&mut engine, "the log can't be written");
    }
    if append.is_empty() && engine.journal.pending().is_empty() {
        // What comes goes behind a base, and begins with SELECT.
        engine.journal.forget_selected_db();
        return Some(if append.is_on() { Increment::Kept } else { Increment::Off });
    }
    // The end of the file, which the rotation syncs.
    engine.journal.seal_end();
    match append.hold(&mut engine.journal) {
        Ok(Some(old)) => Some(Increment::Next { old, head: engine.journal.begin_file() }),
        Ok(None) => Some(Increment::Off),
        Err(error) => refuse_rewrite(&mut engine, &error.to_string()),
    }
}

fn refuse_rewrite<T>(engine: &mut Engine, reason: &str) -> Option<T> {
    let persistence = &mut engine.persistence;
    persistence.last_rewrite_ok = false;
    persistence.last_rewrite_error = Some(reason.to_owned());
    persistence.rewrite_scheduled = false;
    persistence.rewrite_failures += 1;
    persistence.last_rewrite_ended_ms = engine.clock.now_ms();
    log::warning(format!("Can't rewrite append only file in background: {reason}"));
    None
}

/// Carries out a save, a rewrite, or both, each to its own end.
async fn run(shared: Rc<Shared>, image: Image, save: Option<Save>, mut rewrite: Option<Rewrite>) {
    if let Some(wanted) = &rewrite
        && let Err(error) = find_room(&shared, wanted).await
    {
        end_rewrite(&shared, Err(error));
        rewrite = None;
    }
    if let Some(Rewrite { progress, increment: Increment::Next { old, head } }) = rewrite {
        rewrite = match rotate(&shared, old, head).await {
            Ok(()) => Some(Rewrite { progress, increment: Increment::Kept }),
            Err(error) => {
                end_rewrite(&shared, Err(error));
                None
            }
        };
    }
    if save.is_some() || rewrite.is_some() {
        write_and_end(&shared, image, save, rewrite).await;
    }
    start_scheduled(&shared);
}

/// Fails where the disk has no room for the base; what is kept of the past gives way to the next attempt then. What a failed
/// fsync has left in doubt is tried in any case.
async fn find_room(shared: &Rc<Shared>, rewrite: &Rewrite) -> Result<(), PersistError> {
    if matches!(rewrite.increment, Increment::Anew { .. }) {
        return Ok(());
    }
    let log_dir = shared.log_dir.borrow().clone();
    let needed = base_room(&shared.engine.borrow());
    let found = on_thread("rewrite", move || rewrite::find_room(&log_dir, needed)).await;
    if let Err(PersistError::Refused { .. }) = found {
        let persistence = &mut shared.engine.borrow_mut().persistence;
        (persistence.room_wanted, persistence.is_sweep_wanted) = (needed, true);
    }
    found
}

/// Bytes that a base of this moment may take: no more than the files of the log, but for what few commands blow up, nor than the
/// data takes in memory.
fn base_room(engine: &Engine) -> u64 {
    let data = engine.memory.used().saturating_sub(engine.memory.startup());
    match engine.persistence.log_size {
        0 => data,
        log_size => data.min(log_size),
    }
}

async fn write_and_end(shared: &Rc<Shared>, image: Image, save: Option<Save>, rewrite: Option<Rewrite>) {
    let (outlet, ending) = save.map(|save| (save.outlet, save.ending)).unzip();
    let rewritten = rewrite.as_ref().map(|rewrite| rewrite.progress.clone());
    let log_dir = shared.log_dir.borrow().clone();
    let flushed_ms = ending.as_ref().and_then(|ending: &SaveEnding| ending.flushed_ms);
    let outlets = (outlet.map(|outlet| (outlet, flushed_ms)), rewritten.clone());
    let written = on_thread("snapshot", {
        let log_dir = log_dir.clone();
        move || Ok(write_files(image, &log_dir, outlets))
    });
    let (saved, base) = match written.await {
        Ok(outcomes) => outcomes,
        Err(error) => {
            let reason = error.to_string();
            let failed = || PersistError::Refused { path: PathBuf::from("snapshot"), reason: reason.clone() };
            (ending.as_ref().map(|_| Err(failed())), rewritten.as_ref().map(|_| Err(failed())))
        }
    };
    if let (Some(outcome), Some(ending)) = (saved, ending) {
        end_save(shared, outcome, ending);
    }
    if let (Some(base), Some(rewrite)) = (base, rewrite) {
        let outcome = match base {
            Ok(sealed) => replace_base(shared, log_dir, sealed, rewrite).await,
            Err(error) => Err(error),
        };
        end_rewrite(shared, outcome);
    }
}

/// What became of a save, with where it has kept the dump before it, and the file of a rewrite's base.
type Written = (Option<Result<Option<PathBuf>, PersistError>>, Option<Result<Sealed, PersistError>>);

/// Writes the image to the save's outlet, with [`SaveEnding::flushed_ms`], and to the base of a rewrite with this progress;
/// gives the save its name. On the snapshot's thread.
fn write_files(
    image: Image,
    log_dir: &LogDir,
    (save, rewrite): (Option<(Outlet, Option<i64>)>, Option<Progress>),
) -> Written {
    let mut outlets = Vec::new();
    let target = save.as_ref().map(|(Outlet { folder, name, progress }, flushed_ms)| {
        (progress.clone(), folder.clone(), name.to_string_lossy().into_owned(), *flushed_ms)
    });
    outlets.extend(save.map(|(outlet, _)| outlet));
    let has_base = rewrite.is_some();
    let mut base_folder = Ok(());
    if let Some(progress) = rewrite {
        base_folder = log_dir.create_folder();
        outlets.extend(base_folder.is_ok().then(|| rewrite::base_outlet(log_dir, progress)));
    }
    let mut sealed = image.write_to(log_dir.disk(), outlets).into_iter();
    let saved = target.map(|(progress, folder, name, flushed_ms)| {
        let sealed = sealed.next().unwrap_or(Err(PersistError::Cancelled))?;
        if !progress.begin_commit() {
            return Err(PersistError::Cancelled);
        }
        save::commit_dump(log_dir.disk(), (&folder, &name), sealed, flushed_ms)
    });
    let base = has_base.then(|| base_folder.and_then(|()| sealed.next().unwrap_or(Err(PersistError::Cancelled))));
    (saved, base)
}

/// Runs work on a thread of its own, at a low priority.
pub(super) async fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, PersistError> + Send + 'static,
) -> Result<T, PersistError> {
    let (sender, receiver) = oneshot::channel();
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        save::lower_priority();
        // The receiver is gone only if the server is ending.
        let _ = sender.send(work());
    });
    let failed = |source| PersistError::Io { path: PathBuf::from(name), source };
    spawned.map_err(failed)?;
    receiver.await.unwrap_or_else(|_| Err(failed(io::Error::other("the thread ended without an answer"))))
}

fn end_save(shared: &Rc<Shared>, outcome: Result<Option<PathBuf>, PersistError>, ending: SaveEnding) {
    let SaveEnding { changes, flushed_ms, told } = ending;
    let mut engine = shared.engine.borrow_mut();
    engine.clock.tick();
    let now = engine.clock.now_ms();
    note_deferred(&mut engine);
    let persistence = &mut engine.persistence;
    if let Some(progress) = persistence.save.take() {
        persistence.last_save_seconds = Some((now - progress.started_ms) / 1000);
        persistence.last_save_deferred = progress.deferred_peak;
    }
    if outcome.is_err() {
        persistence.unsaved_flush_ms = flushed_ms.or(persistence.unsaved_flush_ms);
    }
    if outcome.is_ok() {
        persistence.saved(now / 1000, changes);
    }
    match (&outcome, &told) {
        (Ok(_), None) => log::notice("Background saving terminated with success"),
        (Ok(_), Some(_)) => log::notice("DB saved on disk"),
        (Err(PersistError::Cancelled), None) => log::notice("Background saving cancelled"),
        (Err(error), None) => {
            (persistence.last_save_ok, persistence.last_save_failed_ms) = (false, now);
            log::warning(format!("Background saving error: {error}"));
        }
        (Err(error), Some(_)) => log::warning(format!("Error saving DB on disk: {error}")),
    }
    let outcome = outcome.map(|kept| history::tell_of_kept_dump(&mut engine, kept));
    if let Some(told) = told {
        let _ = told.send(outcome); // whoever waited may have given up
    }
}

/// Begins what was to wait for the end of another job, unless one is still under way or the server is ending.
fn start_scheduled(shared: &Rc<Shared>) {
    let wanted = {
        let persistence = &mut shared.engine.borrow_mut().persistence;
        if shared.is_stopping.get() || persistence.save.is_some() || persistence.rewrite.is_some() {
            return;
        }
        let save = std::mem::take(&mut persistence.save_scheduled);
        Wanted { save, rewrite: std::mem::take(&mut persistence.rewrite_scheduled) }
    };
    start(shared, wanted);
}

/// Notes for the jobs under way what they make the keyspace hold.
pub(super) fn note_deferred(engine: &mut Engine) {
    let (_, bytes) = engine.keyspace.deferred();
    engine.persistence.note_deferred(bytes as u64); // usize has at most 64 bits
}

/// Step 5: puts the base in force.
async fn replace_base(
    shared: &Rc<Shared>,
    log_dir: LogDir,
    sealed: Sealed,
    rewrite: Rewrite,
) -> Result<(), PersistError> {
    if !rewrite.progress.begin_commit() {
        return Err(PersistError::Cancelled);
    }
    let past = {
        let engine = shared.engine.borrow();
        let is_end = matches!(rewrite.increment, Increment::Off | Increment::Anew { .. });
        Past::new(&engine, engine.persistence.flushed_before_rewrite_ms, is_end)
    };
    let (log_dir, outcome) = match rewrite.increment {
        Increment::Anew { head, position } => {
            let head_len = head.len() as u64; // usize has at most 64 bits
            let work = move || Ok(rewrite::replace_all(log_dir, sealed, &head, past));
            let (log_dir, outcome) = on_thread("rewrite", work).await?;
            let begun = outcome.map(|(path, file)| {
                shared.append.borrow_mut().begin_anew(path, file, head_len, position);
            });
            (log_dir, begun)
        }
        increment => {
            let keep_increments = usize::from(!matches!(increment, Increment::Off));
            on_thread("rewrite", move || Ok(rewrite::replace_base(log_dir, sealed, keep_increments, past))).await?
        }
    };
    let (base, _) = log_dir.sizes();
    *shared.log_dir.borrow_mut() = log_dir;
    outcome?;
    let mut engine = shared.engine.borrow_mut();
    engine.persistence.log_base_size = base;
    engine.persistence.log_files_before = base;
    engine.persistence.is_sweep_wanted = true;
    Ok(())
}

/// Waits until the old file has what was executed before the snapshot.
pub(super) async fn write_rest(shared: &Rc<Shared>) -> Result<(), PersistError> {
    loop {
        let rest = shared.append.borrow().rest();
        match rest {
            Rest::Written => return Ok(()),
            Rest::Failed(reason) => {
                let path = shared.append.borrow().path().map(PathBuf::from).unwrap_or_default();
                return Err(PersistError::Refused { path, reason });
            }
            Rest::Waits => {
                shared.want_flush();
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}

/// Step 3: changes files, and lets the log go on.
async fn rotate(shared: &Rc<Shared>, old: Box<dyn File>, head: Vec<u8>) -> Result<(), PersistError> {
    write_rest(shared).await?;
    let log_dir = shared.log_dir.borrow().clone();
    let head_len = head.len() as u64; // usize has at most 64 bits
    let outcome = on_thread("rotate", move || rewrite::rotate(log_dir, old.as_ref(), &head)).await;
    let mut append = shared.append.borrow_mut();
    let result = match outcome {
        Ok((log_dir, path, file)) => {
            shared.engine.borrow_mut().persistence.log_files_before += append.len();
            append.switch_to(path, file, head_len);
            *shared.log_dir.borrow_mut() = log_dir;
            Ok(())
        }
        Err(error) => {
            if let PersistError::Sync { source, .. } = &error {
                append.fail_sync(source.to_string());
            }
            Err(error)
        }
    };
    drop(append);
    shared.want_flush();
    result
}

fn end_rewrite(shared: &Rc<Shared>, outcome: Result<(), PersistError>) {
    if outcome.is_err() {
        shared.append.borrow_mut().release();
    }
    let mut engine = shared.engine.borrow_mut();
    engine.clock.tick();
    let now = engine.clock.now_ms();
    note_deferred(&mut engine);
    if let Some(progress) = engine.persistence.rewrite.take() {
        engine.persistence.last_rewrite_seconds = Some((now - progress.started_ms) / 1000);
        engine.persistence.last_rewrite_deferred = progress.deferred_peak;
    }
    let flushed_ms = engine.persistence.flushed_before_rewrite_ms.take();
    if outcome.is_err() {
        engine.persistence.flushed_ms = engine.persistence.flushed_ms.max(flushed_ms);
    }
    engine.persistence.last_rewrite_ok = outcome.is_ok();
    engine.persistence.last_rewrite_ended_ms = now;
    match outcome {
        Ok(()) => {
            engine.persistence.rewrites += 1;
            engine.persistence.rewrite_failures = 0;
            engine.persistence.last_rewrite_error = None;
            engine.persistence.room_wanted = 0;
            log::notice("Background AOF rewrite finished successfully");
        }
        Err(error) => {
            engine.persistence.rewrite_failures += 1;
            engine.persistence.last_rewrite_error = Some(error.to_string());
            log::warning(format!("Background AOF rewrite failed: {error}"));
        }
    }
    drop(engine);
    shared.want_flush();
}
