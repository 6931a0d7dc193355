//! What one client may take of the server's memory and time: `client-output-buffer-limit`, `client-query-buffer-limit`,
//! `timeout`.

use std::rc::{Rc, Weak};

use crate::engine::Engine;

use super::connection::Connection;
use super::log;
use super::shared::Shared;

/// Whether so many unexecuted bytes are more than a client may have sent.
pub(super) fn is_input_over(shared: &Shared, len: usize) -> bool {
    len as u64 > shared.engine.borrow().config.client_query_buffer_limit // usize has at most 64 bits
}

/// Ends a client whose unsent replies exceed the hard limit, or the soft one for too long.
pub(super) fn check_output(shared: &Shared, engine: &mut Engine, id: u64, connection: &Connection) {
    let limits = &engine.config.client_output_buffer_limit;
    let limits = if engine.pubsub.is_subscriber(id) { limits.pubsub } else { limits.normal };
    if limits.hard == 0 && limits.soft == 0 {
        return;
    }
    let unsent = connection.unsent();
    let now_ms = shared.now_ms.get();
    let is_over_soft = limits.soft > 0 && unsent >= limits.soft;
    let since_ms = match (is_over_soft, connection.over_soft_limit_ms.get()) {
        (false, _) => 0,
        (true, 0) => now_ms,
        (true, since_ms) => since_ms,
    };
    connection.over_soft_limit_ms.set(since_ms);
    let is_over_hard = limits.hard > 0 && unsent >= limits.hard;
    let is_over_long = is_over_soft && now_ms - since_ms > limits.soft_seconds.saturating_mul(1000);
    if (is_over_hard || is_over_long) && !connection.is_closed() {
        let address = engine.clients.get(id).map_or("", |client| client.address.as_str());
        log::warning(format!(
            "Client {address} scheduled to be closed ASAP for overcoming of output buffer limits: {unsent} bytes unsent"
        ));
        engine.stats.output_limit_disconnections += 1;
        connection.close();
    }
}

/// Once per second: ends who was silent for too long, and who takes its replies too slowly.
pub(super) fn look_at_clients(shared: &Rc<Shared>) {
    let timeout_ms = i64::try_from(shared.engine.borrow().config.timeout).unwrap_or(i64::MAX).saturating_mul(1000);
    let connections: Vec<_> = shared.connections.borrow().values().filter_map(Weak::upgrade).collect();
    for connection in connections {
        if timeout_ms > 0
            && !is_meant_to_be_idle(&connection)
            && shared.now_ms.get() - connection.last_seen_ms.get() > timeout_ms
        {
            log::verbose("Closing idle client");
            connection.close();
        } else {
            let id = connection.session.borrow().id;
            check_output(shared, &mut shared.engine.borrow_mut(), id, &connection);
        }
    }
}

/// Whether the client waits for a reply or for messages.
fn is_meant_to_be_idle(connection: &Connection) -> bool {
    let session = connection.session.borrow();
    session.awaits_reply || session.is_subscribed || session.is_monitor
}
