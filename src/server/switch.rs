//! `CONFIG SET appendonly` while the server runs. Its client waits for the reply, and nobody else does.
//!
//! **On.** The log is [formed](crate::persist::log_dir::Forming) on threads; from the moment of the snapshot on, what is
//! executed goes to the increment too, and no reply waits for that. When base and increment are durable and in force the
//! promises hold, and the reply leaves behind the last write of before. Whatever fails on the way leaves the log off, and
//! none of its files.
//!
//! **Off.** A rewrite under way is given up. What the log should hold is written, sealed and synced first; then the log is
//! closed, with its files left as they are. Where the sync fails the log stays on.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::aof::OpenSpan;
use crate::aof::seal::HistoryId;
use crate::disk::Sealed;
use crate::engine::jobs::Switch;
use crate::engine::params::{Peer, SetError};
use crate::engine::persistence::Progress;
use crate::persist::PersistError;
use crate::persist::log_dir::{Forming, Increment, LogDir};
use crate::persist::outlets::Outlet;
use crate::persist::rewrite::Past;
use crate::persist::save::{Image, base_format};

use super::background::{on_thread, write_rest};
use super::shared::Shared;
use super::{flush, log, seat};

/// Carries out a switch, and answers its client.
pub(super) fn begin(shared: &Rc<Shared>, switch: Switch) {
    let shared = Rc::clone(shared);
    seat::spawn(async move {
        let word = if switch.is_on { "on" } else { "off" };
        let outcome = match wait_for_others(&shared, switch.is_on).await {
            Ok(()) if switch.is_on => switch_on(&shared).await,
            Ok(()) => switch_off(&shared).await,
            Err(error) => Err(error),
        };
        shared.engine.borrow_mut().persistence.is_switching = false;
        let reply = match outcome {
            Ok(()) => {
                log::notice(format!("AOF switched {word}"));
                b"+OK\r\n".to_vec()
            }
            Err(error) => {
                log::warning(format!("AOF can't be switched {word}: {error}"));
                undo(&shared, &switch);
                let reason = format!("Unable to turn {word} AOF. Check server logs.");
                format!("-ERR {}\r\n", SetError::failed("appendonly", reason)).into_bytes()
            }
        };
        let position = shared.engine.borrow().journal.end();
        let client = shared.connections.borrow().get(&switch.client).and_then(std::rc::Weak::upgrade);
        if let Some(client) = client {
            client.resume(&shared, &reply, Some(position));
        }
        shared.want_flush();
    });
}

/// Puts back what CONFIG SET had changed.
fn undo(shared: &Shared, switch: &Switch) {
    let mut engine = shared.engine.borrow_mut();
    let pairs: Vec<(&[u8], &[u8])> = switch.before.iter().map(|(name, value)| (name.as_bytes(), &value[..])).collect();
    let peer = if switch.is_local { Peer::Local } else { Peer::Remote };
    match engine.config.prepare(&pairs, peer) {
        Ok((config, _)) => engine.config = config,
        // Somebody has changed who may change what; the log's own switch must tell the truth.
        Err(_) => engine.config.appendonly = !switch.is_on,
    }
    engine.config_changed();
}

fn refused(shared: &Shared, reason: &str) -> PersistError {
    PersistError::Refused { path: shared.log_dir.borrow().folder().to_owned(), reason: reason.to_owned() }
}

/// Waits until nobody else changes the files of the log. A rewrite of a log that is to be off is given up.
async fn wait_for_others(shared: &Rc<Shared>, is_on: bool) -> Result<(), PersistError> {
    loop {
        if shared.is_stopping.get() {
            return Err(refused(shared, "the server is shutting down"));
        }
        {
            let persistence = &shared.engine.borrow().persistence;
            if persistence.rewrite.is_none() && !persistence.is_sweeping && !shared.append.borrow().is_held() {
                return Ok(());
            }
            if let (Some(progress), false) = (&persistence.rewrite, is_on) {
                progress.cancel(); // one that is committing ends by itself
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A log under way, and what it is made from.
struct Formed {
    forming: Forming,
    image: Image,
    progress: Progress,
}

async fn switch_on(shared: &Rc<Shared>) -> Result<(), PersistError> {
    let progress = Progress::new(shared.engine.borrow().clock.now_ms(), shared.engine.borrow().keyspace.len());
    shared.engine.borrow_mut().persistence.rewrite = Some(progress.clone());
    let outcome = form(shared, progress).await;
    if outcome.is_err() {
        give_up(shared).await;
    }
    let mut engine = shared.engine.borrow_mut();
    engine.persistence.rewrite = None;
    engine.persistence.is_sweep_wanted = true;
    drop(engine);
    flush::write_log(shared);
    outcome
}

async fn form(shared: &Rc<Shared>, progress: Progress) -> Result<(), PersistError> {
    let (forming, increment, head_len) = reserve(shared).await?;
    let formed = take_snapshot(shared, forming, increment, head_len, progress.clone());
    let outlet = {
        let folder = shared.log_dir.borrow().folder().to_owned();
        Outlet { folder, name: formed.forming.base.name.clone(), progress: formed.progress }
    };
    let (disk, image) = (shared.disk.clone(), formed.image);
    let base = on_thread("snapshot", move || {
        image.write_to(&disk, vec![outlet]).pop().unwrap_or(Err(PersistError::Cancelled))
    });
    let base = base.await?;
    if !progress.begin_commit() {
        return Err(PersistError::Cancelled);
    }
    put_in_force(shared, formed.forming, base).await
}

/// Makes room for the log in the folder: the names, and the increment, with the length of its head.
async fn reserve(shared: &Rc<Shared>) -> Result<(Forming, Increment, u64), PersistError> {
    let head = {
        let engine = &mut *shared.engine.borrow_mut();
        // While the journal is off its position stands still.
        let (id, at) = (HistoryId::random(&mut engine.random), engine.journal.end());
        engine.journal.seal_as(id, OpenSpan::at(at), at);
        engine.journal.begin_file()
    };
    let head_len = head.len() as u64; // usize has at most 64 bits
    let mut log_dir = shared.log_dir.borrow().clone();
    log_dir.set_base_format(base_format(&shared.engine.borrow()));
    let (log_dir, reserved) = on_thread("rotate", move || {
        let reserved = log_dir.reserve();
        let made = reserved.and_then(|forming| log_dir.create_formed(&forming, &head).map(|made| (forming, made)));
        Ok((log_dir, made))
    })
    .await?;
    *shared.log_dir.borrow_mut() = log_dir;
    reserved.map(|(forming, increment)| (forming, increment, head_len))
}

/// In one moment: the base holds everything before it, the increment everything after.
fn take_snapshot(
    shared: &Shared,
    forming: Forming,
    (path, file): Increment,
    head_len: u64,
    progress: Progress,
) -> Formed {
    let engine = &mut *shared.engine.borrow_mut();
    let image = Image::take(engine, true);
    engine.stats.snapshots += 1;
    engine.persistence.flushed_before_rewrite_ms = engine.persistence.flushed_ms.take();
    engine.journal.set_on(true);
    shared.append.borrow_mut().form_in(path, file, head_len, engine.journal.end());
    Formed { forming, image, progress }
}

/// Syncs the increment up to here, and puts it in force with the base.
async fn put_in_force(shared: &Rc<Shared>, forming: Forming, base: Sealed) -> Result<(), PersistError> {
    let (file, past) = {
        let mut engine = shared.engine.borrow_mut();
        let mut append = shared.append.borrow_mut();
        let file = append.hold(&mut engine.journal).map_err(PersistError::io(shared.log_dir.borrow().folder()))?;
        let flushed_ms = engine.persistence.flushed_before_rewrite_ms;
        (file.ok_or_else(|| refused(shared, "the log was closed"))?, Past::new(&engine, flushed_ms, true))
    };
    write_rest(shared).await?;
    let mut log_dir = shared.log_dir.borrow().clone();
    let (log_dir, outcome) = on_thread("rewrite", move || {
        let synced = file.sync_all().map_err(|source| PersistError::Sync { path: log_dir.folder().to_owned(), source });
        let outcome = synced.and_then(|()| log_dir.put_in_force(forming, base, past.replaced));
        if outcome.is_ok()
            && let Err(error) = log_dir.remove_history(&past.rules)
        {
            log::warning(format!("Files of an earlier log could not be removed: {error}"));
        }
        Ok((log_dir, outcome))
    })
    .await?;
    let (base_size, _) = log_dir.sizes();
    *shared.log_dir.borrow_mut() = log_dir;
    outcome?;
    let mut engine = shared.engine.borrow_mut();
    engine.persistence.log_base_size = base_size;
    engine.persistence.log_files_before = base_size;
    engine.persistence.flushed_before_rewrite_ms = None;
    shared.append.borrow_mut().end_forming();
    Ok(())
}

/// Closes the log that was being formed, and removes its files.
async fn give_up(shared: &Rc<Shared>) {
    let past = {
        let mut engine = shared.engine.borrow_mut();
        engine.journal.close();
        shared.append.borrow_mut().close();
        let flushed_ms = engine.persistence.flushed_before_rewrite_ms.take();
        engine.persistence.flushed_ms = engine.persistence.flushed_ms.max(flushed_ms);
        Past::new(&engine, None, true)
    };
    let mut log_dir: LogDir = shared.log_dir.borrow().clone();
    let removed = on_thread("rewrite", move || {
        let outcome = log_dir.give_up_formed(&past.rules);
        Ok((log_dir, outcome))
    });
    let removed = removed.await.and_then(|(log_dir, outcome)| {
        *shared.log_dir.borrow_mut() = log_dir;
        outcome
    });
    if let Err(error) = removed {
        log::warning(format!("What was begun of a log could not be removed, and will be later: {error}"));
    }
}

async fn switch_off(shared: &Rc<Shared>) -> Result<(), PersistError> {
    let file = {
        let engine = &mut *shared.engine.borrow_mut();
        let mut append = shared.append.borrow_mut();
        if let Some(fault) = append.fault() {
            return Err(refused(shared, &format!("the log can't be written: {}", fault.reason())));
        }
        engine.journal.seal_end();
        append.hold(&mut engine.journal).map_err(PersistError::io(shared.log_dir.borrow().folder()))?
    };
    if let Err(error) = write_rest(shared).await {
        shared.append.borrow_mut().release();
        return Err(error);
    }
    let synced = match file {
        None => Ok(()),
        Some(file) => on_thread("rotate", move || Ok(file.sync_all().inspect(|()| drop(file.give_back()))))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error.to_string()))),
    };
    let mut append = shared.append.borrow_mut();
    if let Err(source) = synced {
        append.release();
        append.fail_sync(source.to_string());
        return Err(PersistError::Sync { path: shared.log_dir.borrow().folder().to_owned(), source });
    }
    shared.engine.borrow_mut().journal.close();
    append.close();
    Ok(())
}
