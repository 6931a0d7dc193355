//! WATCH: which sessions want to know that a key changed.

use std::collections::{HashMap, HashSet};

/// Watched keys and the sessions whose EXEC is lost.
#[derive(Debug, Default)]
pub struct Watches {
    watchers: HashMap<(usize, Vec<u8>), Vec<u64>>,
    keys_of: HashMap<u64, Vec<(usize, Vec<u8>)>>,
    touched: HashSet<u64>,
}

impl Watches {
    /// No session watches anything: the common case, to be left early.
    pub fn is_idle(&self) -> bool {
        self.watchers.is_empty()
    }

    pub fn watch(&mut self, session: u64, db: usize, key: &[u8]) {
        let sessions = self.watchers.entry((db, key.to_vec())).or_default();
        if !sessions.contains(&session) {
            sessions.push(session);
            self.keys_of.entry(session).or_default().push((db, key.to_vec()));
        }
    }

    /// Forgets what the session watches.
    pub fn unwatch(&mut self, session: u64) {
        self.touched.remove(&session);
        for key in self.keys_of.remove(&session).unwrap_or_default() {
            if let Some(sessions) = self.watchers.get_mut(&key) {
                sessions.retain(|&other| other != session);
                if sessions.is_empty() {
                    self.watchers.remove(&key);
                }
            }
        }
    }

    /// Keys that the session watches.
    pub fn keys(&self, session: u64) -> &[(usize, Vec<u8>)] {
        self.keys_of.get(&session).map_or(&[], Vec::as_slice)
    }

    /// Keys that anybody watches.
    pub fn key_count(&self) -> usize {
        self.watchers.len()
    }

    /// Sessions that watch anything.
    pub fn session_count(&self) -> usize {
        self.keys_of.len()
    }

    /// A key changed.
    pub fn touch(&mut self, db: usize, key: &[u8]) {
        if self.is_idle() {
            return;
        }
        if let Some(sessions) = self.watchers.get(&(db, key.to_vec())) {
            self.touched.extend(sessions);
        }
    }

    /// All keys that anybody watches.
    pub fn watched(&self) -> Vec<(usize, Vec<u8>)> {
        self.watchers.keys().cloned().collect()
    }

    /// Whether any key that the session watches has changed since.
    pub fn is_touched(&self, session: u64) -> bool {
        self.touched.contains(&session)
    }
}
