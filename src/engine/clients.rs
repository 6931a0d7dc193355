//! The list of clients, as CLIENT LIST shows it.

use std::collections::BTreeMap;

use super::Session;

/// What is shown of a client.
#[derive(Debug, Clone, Default)]
pub struct ClientInfo {
    pub id: u64,
    pub address: String,
    pub local_address: String,
    pub name: Vec<u8>,
    pub library_name: Vec<u8>,
    pub library_version: Vec<u8>,
    pub db: usize,
    pub created_ms: i64,
    pub last_command_ms: i64,
    pub last_command: &'static str,
    pub is_resp3: bool,
    pub is_no_touch: bool,
    /// Commands queued by MULTI; `None` outside of one.
    pub queued: Option<usize>,
    pub watched: usize,
}

/// All connected clients, by id, which grows in the order of their coming.
#[derive(Debug, Default)]
pub struct Clients {
    by_id: BTreeMap<u64, ClientInfo>,
    last_id: u64,
    /// How many wait for a reply that comes later.
    pub waiting: usize,
}

impl Clients {
    pub fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Takes over what `session` says of its client.
    pub fn update(&mut self, session: &Session, watched: usize) {
        let info = self.by_id.entry(session.id).or_default();
        info.id = session.id;
        info.db = session.db;
        info.created_ms = session.created_ms;
        info.last_command_ms = session.last_command_ms;
        info.last_command = session.last_command;
        info.is_resp3 = session.protocol == crate::resp::Protocol::Resp3;
        info.is_no_touch = session.is_no_touch;
        info.queued = session.transaction.as_ref().map(|transaction| transaction.queue.len());
        info.watched = watched;
        for (known, now) in [
            (&mut info.name, &session.name),
            (&mut info.library_name, &session.library_name),
            (&mut info.library_version, &session.library_version),
        ] {
            if known != now {
                known.clone_from(now);
            }
        }
        if info.address.is_empty() {
            info.address.clone_from(&session.address);
            info.local_address.clone_from(&session.local_address);
        }
    }

    pub fn remove(&mut self, id: u64) {
        self.by_id.remove(&id);
    }

    pub fn get(&self, id: u64) -> Option<&ClientInfo> {
        self.by_id.get(&id)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ClientInfo> {
        self.by_id.values()
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}
