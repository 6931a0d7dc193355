//! Clients that wait, and nobody else with them: for the disk (WAITAOF, SAVE, CONFIG REWRITE), or for a key until their time
//! is up.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::command::CommandError;
use crate::engine::jobs::SyncWait;

use super::background::save_at_once;
use super::config_file;
use super::connection::Connection;
use super::shared::Shared;
use super::{log, seat};

/// How often it is looked whether the client is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Replies to the client when what it waits for has come, or its time is up.
pub(super) fn begin(shared: &Rc<Shared>, wait: SyncWait) {
    let connection = shared.connections.borrow().get(&wait.client).and_then(std::rc::Weak::upgrade);
    let (Some(connection), shared) = (connection, Rc::clone(shared)) else { return };
    shared.engine.borrow_mut().clients.waiting += 1;
    seat::spawn(async move {
        let reply = decide(&shared, &connection, wait).await;
        shared.engine.borrow_mut().clients.waiting -= 1;
        connection.resume(&shared, reply.as_bytes(), None);
    });
}

/// Lets clients that are held go on once nothing holds them.
pub(super) fn await_end_of_pause(shared: &Rc<Shared>) {
    let shared = Rc::clone(shared);
    seat::spawn(async move {
        let until = shared.engine.borrow().pause.until(Instant::now());
        if let Some(until) = until {
            tokio::time::sleep_until(until.into()).await;
        }
        shared.tick();
        // Another pause may have followed, which has its own task.
        if shared.engine.borrow().pause.held(Instant::now()).is_none() {
            let connections: Vec<_> = shared.connections.borrow().values().filter_map(std::rc::Weak::upgrade).collect();
            connections.iter().for_each(|connection| connection.let_go(&shared));
        }
    });
}

/// Saves, and replies to the client how that went; why it failed stands in the log.
pub(super) fn save(shared: &Rc<Shared>, client: u64) {
    // The last dump is the shutdown's own.
    let saving = (!shared.is_stopping.get()).then(|| save_at_once(shared));
    let shared = Rc::clone(shared);
    seat::spawn(async move {
        let is_saved = match saving {
            Some(outcome) => matches!(outcome.await, Ok(Ok(()))),
            None => false,
        };
        reply(&shared, client, if is_saved { b"+OK\r\n" } else { b"-ERR\r\n" });
    });
}

/// Has the configuration file say what is in force, and replies to the client. One after the other: the last one says the
/// latest.
pub(super) fn rewrite_config(shared: &Rc<Shared>, client: u64) {
    let shared = Rc::clone(shared);
    seat::spawn(async move {
        let mine = shared.config_file.lock().await;
        let (config, disk) = (shared.engine.borrow().config.clone(), Arc::clone(&shared.disk));
        let outcome = tokio::task::spawn_blocking(move || config_file::rewrite(&config, &disk)).await;
        drop(mine);
        let outcome = outcome.unwrap_or_else(|error| Err(error.into()));
        match outcome {
            Ok(()) => reply(&shared, client, b"+OK\r\n"),
            Err(error) => {
                log::warning(format!("CONFIG REWRITE failed: {error:#}"));
                reply(&shared, client, format!("-ERR Rewriting config file: {error:#}\r\n").as_bytes());
            }
        }
    });
}

/// Lets those go whose waiting for a key has lasted long enough, for as long as the server runs.
pub(super) async fn time_out_forever(shared: Rc<Shared>) {
    loop {
        let deadline = shared.engine.borrow().waiters.next_deadline();
        shared.next_look.set(deadline);
        match deadline {
            None => shared.deadline_came.notified().await,
            Some(deadline) => {
                // Whichever comes first, the earliest deadline is looked at anew.
                let _ = tokio::time::timeout_at(deadline.into(), shared.deadline_came.notified()).await;
            }
        }
        shared.tick();
        let mut engine = shared.engine.borrow_mut();
        crate::command::time_out(&mut engine);
        shared.deliver(&mut engine);
    }
}

/// Gives the client the reply that it waits for, if it is still there.
pub(super) fn reply(shared: &Rc<Shared>, client: u64, reply: &[u8]) {
    let connection = shared.connections.borrow().get(&client).and_then(std::rc::Weak::upgrade);
    if let Some(connection) = connection {
        connection.resume(shared, reply, None);
    }
}

/// The reply, once it is clear. Who has gone gets none.
async fn decide(shared: &Shared, connection: &Connection, wait: SyncWait) -> String {
    let deadline = wait.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let (is_on, synced) = {
            let engine = shared.engine.borrow();
            (engine.journal.is_on(), engine.persistence.log_synced)
        };
        if wait.wants_local && !is_on {
            return format!("-{}\r\n", CommandError::NoLogToWaitFor);
        }
        let is_durable = is_on && synced >= wait.position;
        let is_reached = is_durable >= wait.wants_local && wait.replicas == 0;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if is_reached || left.is_some_and(|left| left.is_zero()) || connection.is_closed() {
            return format!("*2\r\n:{}\r\n:0\r\n", u8::from(is_durable));
        }
        let nap = left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY));
        // What came in time is seen at the next look, and what did not too.
        let _ = tokio::time::timeout(nap, shared.synced.notified()).await;
    }
}
