//! The end of a turn: one write of the log, then the replies.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine::params::AppendFsync;
use crate::engine::persistence::Persistence;
use crate::persist::append::{Append, Fault};

use super::background::Wanted;
use super::shared::Shared;
use super::{log, seat};

/// How often it is looked whether what is to be synced is written.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How soon after a base that should have made up for a failed fsync could not be made another is tried: what waits for it
/// goes on within 2 s of the disk's cure.
const TRY_AGAIN_AFTER_MS: i64 = 500;

/// Writes the log and sends what may leave.
pub(super) fn flush(shared: &Rc<Shared>) {
    if cfg!(feature = "fault-reply-first") {
        send_pending(shared, u64::MAX);
    }
    let (policy, now) = {
        let engine = shared.engine.borrow();
        (engine.config.appendfsync, engine.clock.monotonic())
    };
    // Behind a disk that can't keep up writes wait; what only read goes on.
    if policy != AppendFsync::Everysec || !shared.append.borrow_mut().is_late(now) {
        write_log(shared);
    } else {
        shared.append.borrow_mut().take_report();
    }
    let settled = shared.append.borrow().settled(policy);
    send_pending(shared, settled);
    note_synced(shared);
    shared.writers.follow(shared.append.borrow().syncs_lent());
}

/// Sends what waits for what somebody else has written or synced by now.
pub(super) fn take_report(shared: &Rc<Shared>) {
    let settled = {
        let (mut engine, mut append) = (shared.engine.borrow_mut(), shared.append.borrow_mut());
        if !append.take_report() {
            return;
        }
        let policy = engine.config.appendfsync;
        let settled = append.settled(policy);
        engine.unsynced.settle(settled, policy == AppendFsync::Always && append.is_on());
        settled
    };
    send_pending(shared, settled);
    note_synced(shared);
}

/// Sends what may leave without anything being written first.
pub(super) fn send_settled(shared: &Rc<Shared>) {
    let settled = shared.append.borrow().settled(shared.engine.borrow().config.appendfsync);
    send_pending(shared, settled);
}

/// Tells those who wait for writes to be on the disk how far it is.
fn note_synced(shared: &Shared) {
    let synced = shared.append.borrow().synced();
    let known = std::mem::replace(&mut shared.engine.borrow_mut().persistence.log_synced, synced);
    if known != synced {
        shared.synced.notify_waiters();
    }
}

/// Sends what may leave. Who still waits for the log, which a change of files may hold, stays in the list.
fn send_pending(shared: &Rc<Shared>, settled: u64) {
    let mut pending = std::mem::take(&mut *shared.pending.borrow_mut());
    shared.senders.borrow_mut().send(shared, &pending, settled);
    pending.retain(|connection| {
        let waits = connection.waits_for_log();
        if !waits {
            connection.leave_pending();
        }
        waits
    });
    // The list keeps its room from turn to turn.
    pending.append(&mut shared.pending.borrow_mut());
    *shared.pending.borrow_mut() = pending;
}

/// Writes the log, and tells the engine and the waiting clients if that failed.
pub(super) fn write_log(shared: &Rc<Shared>) {
    let mut engine = shared.engine.borrow_mut();
    let mut append = shared.append.borrow_mut();
    if append.is_forming() {
        return write_forming(&mut engine, &mut append);
    }
    let policy = engine.config.appendfsync;
    let outcome = append.advance(&mut engine.journal, policy);
    let before = engine.persistence.log_error.take();
    match &outcome {
        Ok(()) => {
            if before.is_some() {
                log::notice("AOF write error looks solved, writes are accepted again.");
            }
        }
        Err(fault) => {
            if before.is_none() {
                log::warning(match fault {
                    Fault::Write(reason) => format!("Error writing to the AOF file: {reason}"),
                    Fault::Sync(reason) => {
                        format!("Error syncing the AOF file: {reason}. Writes wait for a new base from memory.")
                    }
                });
            }
            engine.persistence.log_error = Some(fault.reason().to_owned());
        }
    }
    engine.persistence.log_size = engine.persistence.log_files_before + append.len();
    tell_of_reserve(&mut engine.persistence, append.reserve_refusal());
    let settled = append.settled(policy);
    engine.unsynced.settle(settled, policy == AppendFsync::Always && append.is_on());
    let needs_new_base = append.needs_new_base();
    drop((engine, append));
    if let Err(fault) = outcome {
        fail_waiting(shared, settled, fault.reason());
        let engine = shared.engine.borrow();
        let may_try = engine.clock.now_ms() - engine.persistence.last_rewrite_ended_ms >= TRY_AGAIN_AFTER_MS;
        drop(engine);
        if needs_new_base && may_try {
            super::background::start(shared, Wanted { rewrite: true, ..Wanted::default() });
        }
    }
}

/// Says aloud where the disk has no blocks to keep for the log, and where it has again. What is kept of the past gives way.
fn tell_of_reserve(persistence: &mut Persistence, refusal: Option<&str>) {
    match refusal {
        Some(reason) if persistence.log_reserve_error.is_none() => {
            log::warning(format!(
                "The disk keeps no blocks ahead of the log: {reason}. Writes go on while it takes them"
            ));
            persistence.is_sweep_wanted = true;
        }
        None if persistence.log_reserve_error.is_some() => log::notice("The disk keeps blocks ahead of the log again"),
        _ => {}
    }
    if refusal != persistence.log_reserve_error.as_deref() {
        persistence.log_reserve_error = refusal.map(str::to_owned);
    }
}

/// Writes a log that nobody relies on yet; where that fails there will be none.
fn write_forming(engine: &mut Engine, append: &mut Append) {
    if append.advance(&mut engine.journal, AppendFsync::No).is_err()
        && let Some(progress) = &engine.persistence.rewrite
    {
        progress.cancel();
    }
    engine.unsynced.settle(u64::MAX, false);
}

/// Replies that rest on what could not be logged become errors; they are not held back until the cure.
fn fail_waiting(shared: &Rc<Shared>, settled: u64, reason: &str) {
    let connections: Vec<_> = shared.connections.borrow().values().filter_map(std::rc::Weak::upgrade).collect();
    for connection in connections {
        connection.fail_unsettled(settled, reason);
        connection.send(shared, settled);
    }
}

/// Tells those who have waited for a disk for `write-wait-timeout` that they may have waited in vain. Until it answers, no
/// further writes are executed.
pub(super) fn give_up_waiting(shared: &Rc<Shared>) {
    let (settled, reason) = {
        let mut engine = shared.engine.borrow_mut();
        let mut append = shared.append.borrow_mut();
        let timeout = Duration::from_secs(engine.config.write_wait_timeout);
        let stalled = append.stalled_for(engine.clock.monotonic());
        if timeout.is_zero() || stalled < timeout || append.is_forming() {
            return;
        }
        let settled = append.settled(engine.config.appendfsync);
        match append.fault() {
            Some(fault) => (settled, fault.reason().to_owned()),
            None => {
                let reason = format!("the disk has not answered for {} s", timeout.as_secs());
                log::warning(format!("{reason}: waiting writes get an error, and further ones are refused"));
                append.give_up(reason.clone());
                engine.persistence.log_error = Some(reason.clone());
                (settled, reason)
            }
        }
    };
    fail_waiting(shared, settled, &reason);
}

/// Under `everysec`: has a thread sync what has been written, if a second has passed.
pub(super) fn sync_if_due(shared: &Rc<Shared>) {
    let is_due = {
        let (engine, append) = (shared.engine.borrow(), shared.append.borrow());
        let since = engine.clock.monotonic().duration_since(append.last_sync());
        engine.config.appendfsync == AppendFsync::Everysec && since.as_millis() >= 1000 && !append.is_forming()
    };
    if is_due {
        sync(shared);
    }
}

/// Has a thread sync what has been written, unless one is at it.
fn sync(shared: &Rc<Shared>) {
    let mut engine = shared.engine.borrow_mut();
    let now = engine.clock.monotonic();
    let mut append = shared.append.borrow_mut();
    let begun = append.begin_background_sync(&mut engine.journal, now);
    engine.persistence.is_syncing = append.is_syncing();
    engine.persistence.delayed_syncs = append.delayed_syncs();
    engine.persistence.late_syncs = append.late_syncs();
    let Some(file) = begun else { return };
    let shared = Rc::clone(shared);
    seat::spawn(async move {
        let outcome = tokio::task::spawn_blocking(move || file.sync_data()).await;
        let outcome = outcome.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        shared.append.borrow_mut().end_background_sync(outcome);
        shared.engine.borrow_mut().persistence.is_syncing = false;
        shared.want_flush();
    });
}

/// Waits until the log is synced up to a position, whatever the policy; false where that does not come to be in time.
pub(super) async fn until_synced(shared: &Rc<Shared>, position: u64, time: Duration) -> bool {
    shared.want_flush();
    let began = Instant::now();
    while began.elapsed() < time {
        {
            let append = shared.append.borrow();
            if !append.is_on() || append.is_forming() {
                return false;
            }
            if append.synced() >= position {
                return true;
            }
            if append.settled(AppendFsync::No) >= position && !append.is_syncing() {
                drop(append);
                sync(shared);
            }
        }
        // Whether it is written yet nobody tells.
        let _ = tokio::time::timeout(LOOK_EVERY, shared.synced.notified()).await;
    }
    false
}
