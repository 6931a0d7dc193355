//! Clients that write as fast as they may until the connection breaks.

use super::model::Model;
use crate::rig::{Client, Value};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Writes until the server is gone. `total` counts acknowledged writes of all clients. An error reply is a failure: no
/// write may be refused here.
pub fn write_until_death(port: u16, model: &mut Model, total: &AtomicUsize) -> Result<(), String> {
    let Ok(mut client) = Client::connect(port) else { return Ok(()) };
    loop {
        let mut batch = Vec::new();
        for _ in 0..model.batch_len() {
            let write = model.next();
            let requests = model.requests(write);
            requests.iter().for_each(|request| client.queue(request));
            batch.push(requests.len());
        }
        // Replies may lie in the socket even where the sending has failed.
        let is_sent = client.flush().is_ok();
        for count in batch {
            for _ in 0..count {
                match client.reply() {
                    Err(_) => return Ok(()),
                    Ok(Value::Error(text)) => return Err(text),
                    Ok(_) => {}
                }
            }
            model.acknowledged += 1;
            total.fetch_add(1, Ordering::Relaxed);
        }
        if !is_sent {
            return Ok(());
        }
    }
}
