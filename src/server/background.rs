//! Saves and rewrites: their threads, and what the server learns from them.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::disk::File;
use crate::engine::Engine;
use crate::engine::persistence::Progress;
use crate::persist::append::Append;
use crate::persist::save::{self, Image};
use crate::persist::{PersistError, rewrite};

use super::log;
use super::shared::Shared;

/// Runs work on a thread of its own, at a low priority.
async fn on_thread<T: Send + 'static>(
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

/// Begins a background save, unless one is under way.
pub(super) fn start_save(shared: &Rc<Shared>) {
    let mut engine = shared.engine.borrow_mut();
    if engine.persistence.save.is_some() {
        return;
    }
    let before = Instant::now();
    let image = Image::take(&mut engine, false);
    engine.persistence.last_snapshot_us = u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX);
    engine.stats.snapshots += 1;
    let progress = Progress::new(engine.clock.now_ms(), image.keys());
    let changes = engine.journal.changes();
    engine.persistence.save = Some(progress.clone());
    engine.persistence.save_scheduled = false;
    engine.persistence.last_save_attempt_ms = engine.clock.now_ms();
    let (folder, name) = (PathBuf::from(&engine.config.dir), OsString::from(&engine.config.dbfilename));
    drop(engine);
    log::notice("Background saving started");
    let disk = Arc::clone(&shared.disk);
    let shared = Rc::clone(shared);
    tokio::task::spawn_local(async move {
        let cancelled = Arc::clone(&progress.is_cancelled);
        let outcome = on_thread("snapshot", move || {
            let sealed = image.write_to(&disk, &folder, &name, &progress)?;
            if progress.is_cancelled.load(Ordering::Relaxed) {
                return Err(PersistError::Cancelled);
            }
            sealed.commit().map_err(|source| PersistError::Io { path: folder.join(&name), source })
        })
        .await;
        end_save(&shared, outcome, changes, cancelled.load(Ordering::Relaxed));
    });
}

fn end_save(shared: &Rc<Shared>, outcome: Result<(), PersistError>, changes: u64, is_cancelled: bool) {
    let mut engine = shared.engine.borrow_mut();
    engine.clock.tick();
    let now = engine.clock.now_ms();
    let started = engine.persistence.save.take().map_or(now, |progress| progress.started_ms);
    engine.persistence.last_save_seconds = Some((now - started) / 1000);
    match outcome {
        Ok(()) => {
            engine.persistence.saved(now / 1000, changes);
            log::notice("Background saving terminated with success");
        }
        Err(_) if is_cancelled => log::notice("Background saving cancelled"),
        Err(error) => {
            engine.persistence.last_save_ok = false;
            log::warning(format!("Background saving error: {error}"));
        }
    }
    let rewrite_next = std::mem::take(&mut engine.persistence.rewrite_scheduled);
    drop(engine);
    if rewrite_next {
        start_rewrite(shared);
    }
}

/// Begins a rewrite, unless one is under way or the log is off.
pub(super) fn start_rewrite(shared: &Rc<Shared>) {
    if shared.engine.borrow().persistence.rewrite.is_some() || shared.append.borrow().is_held() {
        return;
    }
    let (image, is_on, held) = {
        // Step 1 and 2 of the rewrite: the log is held in the same moment as the snapshot is taken, or what is executed
        // before the files change would stand in the old increment alone. Where the log is broken, what is queued is in
        // the snapshot, and so in the base.
        let mut engine = shared.engine.borrow_mut();
        let mut append = shared.append.borrow_mut();
        let policy = engine.config.appendfsync;
        let is_flushed = append.flush(&mut engine.journal, policy).is_ok();
        if !is_flushed && (append.queued() > 0 || !append.needs_new_base()) {
            return refuse_rewrite(&mut engine, "the log can't be written");
        }
        let held = match hold(&mut append) {
            Ok(held) => held,
            Err(error) => return refuse_rewrite(&mut engine, &error.to_string()),
        };
        append.cover_fault();
        // What comes from here on goes into a new file, which begins with SELECT.
        engine.journal.forget_selected_db();
        let before = Instant::now();
        let image = Image::take(&mut engine, true);
        engine.persistence.last_snapshot_us = u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX);
        engine.stats.snapshots += 1;
        engine.persistence.rewrite = Some(Progress::new(engine.clock.now_ms(), image.keys()));
        engine.persistence.rewrite_scheduled = false;
        (image, append.is_on(), held)
    };
    log::notice("Background append only file rewriting started");
    let shared = Rc::clone(shared);
    tokio::task::spawn_local(async move {
        let outcome = rewrite_steps(&shared, image, is_on, held).await;
        end_rewrite(&shared, outcome);
    });
}

fn refuse_rewrite(engine: &mut Engine, reason: &str) {
    engine.persistence.last_rewrite_ok = false;
    engine.persistence.last_rewrite_ended_ms = engine.clock.now_ms();
    log::warning(format!("Can't rewrite append only file in background: {reason}"));
}

/// A log that is held for a rewrite.
struct Held {
    /// The increment so far, to be synced; none where a failed fsync has left its pages in doubt: whatever a second one
    /// says, the new base replaces it.
    old: Option<Box<dyn File>>,
}

/// Holds the log, if it is on. An increment that is still empty began with the snapshot, so no other need begin.
fn hold(append: &mut Append) -> io::Result<Option<Held>> {
    if !append.is_on() || append.is_empty() {
        return Ok(None);
    }
    let trusts_old = !append.needs_new_base();
    Ok(Some(Held { old: append.hold()?.filter(|_| trusts_old) }))
}

async fn rewrite_steps(shared: &Rc<Shared>, image: Image, is_on: bool, held: Option<Held>) -> Result<(), PersistError> {
    let progress = shared.engine.borrow().persistence.rewrite.clone().expect("start_rewrite has set it");
    if let Some(held) = held {
        rotate(shared, held).await?;
    }
    let log_dir = shared.log_dir.borrow().clone();
    let sealed = on_thread("snapshot", {
        let log_dir = log_dir.clone();
        move || rewrite::write_base(&log_dir, image, &progress)
    })
    .await?;
    let keep_increments = usize::from(is_on);
    let (log_dir, outcome) =
        on_thread("rewrite", move || Ok(rewrite::replace_base(log_dir, sealed, keep_increments))).await?;
    let (base, _) = log_dir.sizes();
    *shared.log_dir.borrow_mut() = log_dir;
    outcome?;
    let mut engine = shared.engine.borrow_mut();
    engine.persistence.log_base_size = base;
    engine.persistence.log_files_before = base;
    shared.append.borrow_mut().forgive_sync();
    Ok(())
}

/// Step 3: changes files, and lets the log go on.
async fn rotate(shared: &Rc<Shared>, held: Held) -> Result<(), PersistError> {
    let log_dir = shared.log_dir.borrow().clone();
    let outcome = on_thread("rotate", move || rewrite::rotate(log_dir, held.old)).await;
    let result = match outcome {
        Ok((log_dir, path, file)) => {
            let mut engine = shared.engine.borrow_mut();
            let mut append = shared.append.borrow_mut();
            engine.persistence.log_files_before += append.len();
            append.switch_to(path, file);
            *shared.log_dir.borrow_mut() = log_dir;
            Ok(())
        }
        Err(error) => {
            let mut append = shared.append.borrow_mut();
            append.release();
            if let PersistError::Sync { source, .. } = &error {
                append.fail_sync(source.to_string());
            }
            Err(error)
        }
    };
    shared.want_flush();
    result
}

fn end_rewrite(shared: &Rc<Shared>, outcome: Result<(), PersistError>) {
    let mut engine = shared.engine.borrow_mut();
    engine.clock.tick();
    let now = engine.clock.now_ms();
    let started = engine.persistence.rewrite.take().map_or(now, |progress| progress.started_ms);
    engine.persistence.last_rewrite_seconds = Some((now - started) / 1000);
    engine.persistence.last_rewrite_ok = outcome.is_ok();
    engine.persistence.last_rewrite_ended_ms = now;
    match outcome {
        Ok(()) => {
            engine.persistence.rewrites += 1;
            engine.persistence.rewrite_failures = 0;
            log::notice("Background AOF rewrite finished successfully");
        }
        Err(error) => {
            engine.persistence.rewrite_failures += 1;
            log::warning(format!("Background AOF rewrite failed: {error}"));
        }
    }
    let save_next = std::mem::take(&mut engine.persistence.save_scheduled);
    drop(engine);
    shared.want_flush();
    if save_next {
        start_save(shared);
    }
}
