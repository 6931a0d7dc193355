//! Clients that wait for their writes to be on the disk: WAITAOF.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::command::CommandError;
use crate::engine::jobs::SyncWait;

use super::connection::Connection;
use super::seat;
use super::shared::Shared;

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

/// The reply, once it is clear. Who has gone gets none.
async fn decide(shared: &Shared, connection: &Connection, wait: SyncWait) -> String {
    let deadline = wait.timeout_ms.map(|timeout_ms| Instant::now() + Duration::from_millis(timeout_ms));
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
