//! The end: nothing acknowledged is left behind, or the server says so and stays.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use crate::engine::jobs::Shutdown;
use crate::engine::params::ShutdownFlags;
use crate::persist::save;

use super::shared::Shared;
use super::{flush, history, log};

/// What a signal asks for.
pub(super) fn of_signal(flags: ShutdownFlags) -> Shutdown {
    let save = match (flags.save, flags.nosave) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    Shutdown { save, force: flags.force, client: None }
}

/// Ends the server, or refuses to.
pub(super) fn begin(shared: &Rc<Shared>, wanted: Shutdown) {
    if shared.is_stopping.replace(true) {
        return;
    }
    if shared.engine.borrow().persistence.is_loading {
        // Nothing has been acknowledged, and what is half loaded must not be saved. The load ends, and the server with it.
        log::notice("Received shutdown signal during loading, scheduling shutdown.");
        shared.engine.borrow().persistence.load.is_cancelled.store(true, Ordering::Relaxed);
        return;
    }
    let shared = Rc::clone(shared);
    tokio::task::spawn_local(async move {
        log::notice("User requested shutdown...");
        // A change of files is a matter of milliseconds; it ends before the log is looked at.
        for _ in 0..500 {
            if !shared.append.borrow().is_held() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        cancel_jobs(&shared);
        // Nobody else may write or rename a file behind what is saved now.
        wait_for_jobs(&shared).await;
        match settle(&shared, wanted) {
            Ok(()) => {
                log::notice("Ironkeep is now ready to exit, bye bye...");
                shared.stop_with(0);
            }
            Err(reason) => refuse(&shared, wanted, &reason),
        }
    });
}

fn cancel_jobs(shared: &Rc<Shared>) {
    let persistence = &shared.engine.borrow().persistence;
    for progress in [&persistence.save, &persistence.rewrite].into_iter().flatten() {
        progress.cancel(); // one that is committing ends by itself
    }
}

/// Writes and saves all that there is.
fn settle(shared: &Rc<Shared>, wanted: Shutdown) -> Result<(), String> {
    flush::write_log(shared);
    {
        let mut engine = shared.engine.borrow_mut();
        let policy = engine.config.appendfsync;
        // What a thread has under way comes to its end; a failure is told below.
        let _ = shared.append.borrow_mut().flush(&mut engine.journal, policy);
    }
    if shared.append.borrow().is_on() {
        log::notice("Calling fsync() on the AOF file.");
        let synced = {
            let mut engine = shared.engine.borrow_mut();
            let policy = engine.config.appendfsync;
            let mut append = shared.append.borrow_mut();
            append.finish(&mut engine.journal, policy).and_then(|()| append.sync())
        };
        let is_written = shared.append.borrow().queued() == 0 && shared.engine.borrow().journal.pending().is_empty();
        if let (Err(fault), false) = (&synced, wanted.force) {
            return Err(format!("the log could not be synced: {}", fault.reason()));
        }
        if !is_written && !wanted.force {
            return Err("acknowledged or queued writes are not in the log".to_owned());
        }
    }
    let mut engine = shared.engine.borrow_mut();
    let has_points = !engine.config.save.is_empty();
    if wanted.save.unwrap_or(has_points) {
        log::notice("Saving the final RDB snapshot before exiting.");
        match save::save_now(&mut engine, &shared.disk) {
            Ok(kept) => {
                log::notice("DB saved on disk");
                history::tell_of_kept_dump(&mut engine, kept);
            }
            Err(error) if wanted.force => log::warning(format!("Error trying to save the DB: {error}")),
            Err(error) => return Err(format!("Error trying to save the DB, can't exit: {error}")),
        }
    }
    drop(engine);
    // From here on nothing is executed any more; what was answered before leaves.
    shared.exit.set(Some(0));
    flush::flush(shared);
    Ok(())
}

/// Lets the threads of cancelled jobs remove their temporary files.
async fn wait_for_jobs(shared: &Rc<Shared>) {
    for _ in 0..500 {
        let is_busy = {
            let persistence = &shared.engine.borrow().persistence;
            persistence.save.is_some() || persistence.rewrite.is_some()
        };
        if !is_busy {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

fn refuse(shared: &Rc<Shared>, wanted: Shutdown, reason: &str) {
    shared.is_stopping.set(false);
    log::warning(reason);
    log::warning("Errors trying to shut down the server. Check the logs for more information.");
    let client = wanted.client.and_then(|id| shared.connections.borrow().get(&id).and_then(std::rc::Weak::upgrade));
    if let Some(client) = client {
        client.reply_now(shared, b"-ERR Errors trying to SHUTDOWN. Check logs.\r\n");
    }
}
