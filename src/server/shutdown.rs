//! The end: nothing acknowledged is left behind, or the server says so and stays.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::engine::jobs::Shutdown;
use crate::engine::params::ShutdownFlags;

use super::background::save_at_once;
use super::shared::Shared;
use super::{archive, flush, log, seat};

/// How often it is looked whether what is waited for has come.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How long a last dump may stand still behind the deadline.
const SILENCE: Duration = Duration::from_secs(1);

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
    seat::spawn(async move {
        log::notice("User requested shutdown...");
        match end_all(&shared, wanted).await {
            Ok(()) => {
                log::notice("Ironkeep is now ready to exit, bye bye...");
                shared.stop_with(0);
            }
            Err(reason) => refuse(&shared, wanted, &reason),
        }
    });
}

/// Brings everything to the disk, within `shutdown-timeout`; clients are served meanwhile, but writers get no replies.
async fn end_all(shared: &Rc<Shared>, wanted: Shutdown) -> Result<(), String> {
    let seconds = shared.engine.borrow().config.shutdown_timeout.max(1);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    // A change of files is a matter of milliseconds; it ends before the log is looked at.
    let mut is_well = wait_while(deadline, || shared.append.borrow().is_held()).await;
    cancel_jobs(shared);
    // Nobody else may write or rename a file behind what is saved now; threads remove their temporary files.
    is_well &= wait_while(deadline, || is_busy(shared)).await;
    let synced = if is_well { sync_log(shared, deadline).await } else { Ok(false) };
    let reason = match synced {
        Ok(true) => return settle(shared, wanted, deadline).await,
        Ok(false) => format!("the disk has not answered for {seconds} s: acknowledged writes may not be on it"),
        Err(reason) => format!("the log could not be synced: {reason}"),
    };
    if !wanted.force {
        if !may_leave(shared, wanted) {
            return Err(reason);
        }
        log::warning("The disk does not answer, but every write is on it: leaving without a last seal");
    } else {
        log::warning(format!("{reason}; leaving all the same, and nothing more is saved, as FORCE asks"));
    }
    leave(shared);
    Ok(())
}

/// Whether nothing is left to be done that matters: the log is on, and has every write durably.
fn may_leave(shared: &Shared, wanted: Shutdown) -> bool {
    let (engine, append) = (shared.engine.borrow(), shared.append.borrow());
    let wants_save = wanted.save.unwrap_or(!engine.config.save.is_empty());
    append.is_on() && append.is_durable(&engine.journal) && !wants_save
}

/// Whether it ended before the deadline.
async fn wait_while(deadline: Instant, is_so: impl Fn() -> bool) -> bool {
    while is_so() {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    true
}

fn is_busy(shared: &Shared) -> bool {
    let persistence = &shared.engine.borrow().persistence;
    persistence.save.is_some() || persistence.rewrite.is_some()
}

/// Has the log written, synced and sealed; false where the disk does not answer in time.
async fn sync_log(shared: &Rc<Shared>, deadline: Instant) -> Result<bool, String> {
    if !shared.append.borrow().is_on() {
        return Ok(true);
    }
    log::notice("Calling fsync() on the AOF file.");
    flush::write_log(shared);
    shared.append.borrow_mut().set_closing(true);
    let mut sealed = None;
    while Instant::now() < deadline {
        let step = {
            let mut engine = shared.engine.borrow_mut();
            shared.append.borrow_mut().close_up(&mut engine.journal, &mut sealed)
        };
        match step {
            Ok(true) => return Ok(true),
            Ok(false) => tokio::time::sleep(LOOK_EVERY).await,
            Err(fault) => return Err(fault.reason().to_owned()),
        }
    }
    Ok(false)
}

fn cancel_jobs(shared: &Rc<Shared>) {
    let persistence = &shared.engine.borrow().persistence;
    for progress in [&persistence.save, &persistence.rewrite].into_iter().flatten() {
        progress.cancel(); // one that is committing ends by itself
    }
}

/// Saves what is to be saved; the log is at its end. Nothing is written behind that, so no write is executed meanwhile.
async fn settle(shared: &Rc<Shared>, wanted: Shutdown, deadline: Instant) -> Result<(), String> {
    shared.engine.borrow_mut().persistence.is_leaving = true;
    let has_points = !shared.engine.borrow().config.save.is_empty();
    if wanted.save.unwrap_or(has_points) {
        log::notice("Saving the final RDB snapshot before exiting.");
        match save_last(shared, deadline).await {
            Ok(()) => {}
            Err(reason) if wanted.force => log::warning(format!("Error trying to save the DB: {reason}")),
            Err(reason) => return Err(format!("Error trying to save the DB, can't exit: {reason}")),
        }
    }
    archive::end(shared, deadline).await;
    leave(shared);
    Ok(())
}

/// Saves the last dump. It takes as long as it takes while it gets on; where nothing more is written by the deadline, and for
/// another [`SILENCE`], the disk does not answer, and the dump is given up.
async fn save_last(shared: &Rc<Shared>, deadline: Instant) -> Result<(), String> {
    let mut outcome = save_at_once(shared);
    let Some(progress) = shared.engine.borrow().persistence.save.clone() else { unreachable!("it has just begun") };
    let (mut done, mut until) = (progress.keys_done(), deadline);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, &mut outcome).await {
            Ok(Ok(saved)) => return saved.map_err(|error| error.to_string()),
            Ok(Err(_)) => return Err("its task has ended".to_owned()),
            Err(_) if progress.keys_done() > done => {}
            Err(_) => {
                progress.cancel(); // what is getting its name already is a good dump all the same
                return Err("the disk does not answer".to_owned());
            }
        }
        (done, until) = (progress.keys_done(), Instant::now() + SILENCE);
    }
}

/// From here on nothing is executed any more; what was answered before leaves.
fn leave(shared: &Rc<Shared>) {
    shared.exit.set(Some(0));
    shared.append.borrow_mut().set_closing(false);
    flush::flush(shared);
}

fn refuse(shared: &Rc<Shared>, wanted: Shutdown, reason: &str) {
    shared.is_stopping.set(false);
    shared.engine.borrow_mut().persistence.is_leaving = false;
    shared.append.borrow_mut().set_closing(false);
    shared.want_flush();
    log::warning(reason);
    log::warning("Errors trying to shut down the server. Check the logs for more information.");
    let client = wanted.client.and_then(|id| shared.connections.borrow().get(&id).and_then(std::rc::Weak::upgrade));
    if let Some(client) = client {
        client.reply_now(shared, b"-ERR Errors trying to SHUTDOWN. Check logs.\r\n");
    }
}
