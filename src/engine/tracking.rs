//! Client-side caching: which clients are to hear that a key which they may have cached has changed.
//!
//! ```text
//! by default    a key is remembered for who reads it, and forgotten when the change has been told: one message per read
//! BCAST         nothing is remembered; every change of a key that begins with one of the client's prefixes is told
//! RESP3         a push, `>2 invalidate [keys]`, to the client itself, or to the one that REDIRECT names
//! RESP2         only by REDIRECT, to a client that has subscribed to `__redis__:invalidate`: a message of that channel
//! ```
//!
//! Databases are not told apart, as in Redis: a key of any of them stands for the name. Messages go out with the
//! [mail](super::mail), and rest on the change's place in the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::resp::{Encoder, Protocol};

use super::Engine;
use super::pubsub::Kind;

/// The channel of clients that hear for others over RESP2.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// Which keys a client wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All that it reads.
    Reads,
    /// What it reads behind CLIENT CACHING YES.
    OptIn,
    /// What it reads, but not behind CLIENT CACHING NO.
    OptOut,
    /// All that begin with its prefixes.
    Broadcast,
}

/// What one client has asked for.
#[derive(Debug, Clone)]
pub struct Tracker {
    pub mode: Mode,
    pub protocol: Protocol,
    /// The client that hears for this one; 0 is itself.
    pub redirect: u64,
    /// Its own changes are not told to it.
    pub is_deaf_to_itself: bool,
    /// CLIENT CACHING was said for the next command.
    pub is_cued: bool,
    /// The client that hears for it has gone.
    pub is_broken: bool,
    /// In broadcast mode; one that is empty is all keys.
    pub prefixes: BTreeSet<Vec<u8>>,
}

/// All that is tracked.
#[derive(Debug, Default)]
pub struct Tracking {
    clients: BTreeMap<u64, Tracker>,
    readers: HashMap<Vec<u8>, BTreeSet<u64>>,
    /// Readers over all keys.
    reads: usize,
    /// Who runs the command under way; 0 is nobody.
    current: u64,
    /// Keys that have changed since the last broadcast, with who changed them.
    changed: BTreeMap<Vec<u8>, u64>,
}

impl Tracking {
    /// Nobody tracks: the common case, to be left early.
    pub fn is_idle(&self) -> bool {
        self.clients.is_empty()
    }

    pub fn get(&self, client: u64) -> Option<&Tracker> {
        self.clients.get(&client)
    }

    pub fn get_mut(&mut self, client: u64) -> Option<&mut Tracker> {
        self.clients.get_mut(&client)
    }

    /// Switches it on, or over.
    pub fn insert(&mut self, client: u64, tracker: Tracker) {
        self.clients.insert(client, tracker);
    }

    /// Switches it off. What it has read is forgotten when that changes.
    pub fn remove(&mut self, client: u64) {
        if self.clients.remove(&client).is_some() && self.clients.is_empty() {
            *self = Self::default();
        }
    }

    pub fn client_count(&self) -> usize {
        self.clients.len()
    }

    /// Keys that are remembered, their readers, and prefixes.
    pub fn counts(&self) -> (usize, usize, usize) {
        let prefixes: BTreeSet<&Vec<u8>> = self.clients.values().flat_map(|tracker| &tracker.prefixes).collect();
        (self.readers.len(), self.reads, prefixes.len())
    }

    /// A client's command begins, or nobody's.
    pub fn begin(&mut self, client: u64) {
        self.current = client;
    }

    /// Remembers that the client has read the key, if it is to hear of it. `is_cued` is what CLIENT CACHING said in
    /// front of the command.
    pub fn read(&mut self, client: u64, key: &[u8]) {
        let Some(tracker) = self.clients.get(&client) else { return };
        let is_wanted = match tracker.mode {
            Mode::Reads => true,
            Mode::OptIn => tracker.is_cued,
            Mode::OptOut => !tracker.is_cued,
            Mode::Broadcast => false,
        };
        if is_wanted {
            let readers = match self.readers.get_mut(key) {
                Some(readers) => readers,
                None => self.readers.entry(key.to_vec()).or_default(),
            };
            self.reads += usize::from(readers.insert(client));
        }
    }

    fn forget(&mut self, key: &[u8]) -> BTreeSet<u64> {
        let readers = self.readers.remove(key).unwrap_or_default();
        self.reads -= readers.len();
        readers
    }
}

impl Engine {
    /// A key has changed: who has read it hears of it, and who wants to hear of its prefix will.
    pub(super) fn invalidate(&mut self, key: &[u8]) {
        if self.tracking.is_idle() {
            return;
        }
        let by = self.tracking.current;
        if self.tracking.clients.values().any(|tracker| tracker.mode == Mode::Broadcast) {
            self.tracking.changed.insert(key.to_vec(), by);
        }
        for client in self.tracking.forget(key) {
            let wants =
                |tracker: &Tracker| tracker.mode != Mode::Broadcast && !(tracker.is_deaf_to_itself && client == by);
            if self.tracking.get(client).is_some_and(wants) {
                self.tell_invalid(client, Some(&[key]));
            }
        }
    }

    /// All keys are gone.
    pub(super) fn invalidate_all(&mut self) {
        let clients: Vec<u64> = self.tracking.clients.keys().copied().collect();
        for client in clients {
            self.tell_invalid(client, None);
        }
        self.tracking.readers.clear();
        self.tracking.reads = 0;
    }

    /// Tells of the changes of the command that has run, by prefix, and of keys that there is no room to remember.
    pub fn tell_of_changes(&mut self) {
        if self.tracking.is_idle() {
            return;
        }
        self.tracking.begin(0);
        let most = self.config.tracking_table_max_keys;
        while most > 0 && self.tracking.readers.len() > most {
            let Some(key) = self.tracking.readers.keys().next().cloned() else { break };
            for client in self.tracking.forget(&key) {
                if self.tracking.get(client).is_some() {
                    self.tell_invalid(client, Some(&[&key]));
                }
            }
        }
        let changed = std::mem::take(&mut self.tracking.changed);
        if changed.is_empty() {
            return;
        }
        let trackers: Vec<(u64, bool, BTreeSet<Vec<u8>>)> = self
            .tracking
            .clients
            .iter()
            .map(|(&id, tracker)| (id, tracker.is_deaf_to_itself, tracker.prefixes.clone()))
            .collect();
        for (client, is_deaf, prefixes) in trackers {
            for prefix in &prefixes {
                let concerns = |&(key, by): &(&Vec<u8>, &u64)| key.starts_with(prefix) && !(is_deaf && *by == client);
                let keys: Vec<&[u8]> = changed.iter().filter(concerns).map(|(key, _)| key.as_slice()).collect();
                if !keys.is_empty() {
                    self.tell_invalid(client, Some(&keys));
                }
            }
        }
    }

    /// Sends what a client cannot rely on any more, to it or to whom it has named; no keys are all.
    fn tell_invalid(&mut self, client: u64, keys: Option<&[&[u8]]>) {
        let Some(tracker) = self.tracking.clients.get_mut(&client) else { return };
        let redirect = tracker.redirect;
        let (target, protocol) = match redirect {
            0 => (client, tracker.protocol),
            other => match self.clients.get(other) {
                Some(info) => (other, if info.is_resp3 { Protocol::Resp3 } else { Protocol::Resp2 }),
                None => {
                    tracker.is_broken = true;
                    let protocol = tracker.protocol;
                    return self.tell_broken(client, other, protocol);
                }
            },
        };
        let mut message = Vec::new();
        let mut encoder = Encoder::new(&mut message, protocol);
        if protocol == Protocol::Resp3 {
            encoder.push(2);
            encoder.bulk(b"invalidate");
        } else if redirect != 0 && self.pubsub.count(target, Kind::Channel) > 0 {
            encoder.array(3);
            encoder.bulk(b"message");
            encoder.bulk(CHANNEL);
        } else {
            return;
        }
        match keys {
            None => {
                encoder.null();
            }
            Some(keys) => {
                encoder.array(keys.len());
                keys.iter().for_each(|key| {
                    encoder.bulk(key);
                });
            }
        }
        self.mail.message(target, message.into());
    }

    /// Who can be told over RESP3 is told that nobody hears for it any more.
    fn tell_broken(&mut self, client: u64, redirect: u64, protocol: Protocol) {
        if protocol == Protocol::Resp3 {
            let mut message = Vec::new();
            let mut encoder = Encoder::new(&mut message, protocol);
            encoder.push(2);
            encoder.bulk(b"tracking-redir-broken");
            encoder.int(i64::try_from(redirect).unwrap_or(i64::MAX));
            self.mail.message(client, message.into());
        }
    }
}
