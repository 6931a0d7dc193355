//! Clients that wait for a key to have something for them, or for time to pass: who waits, since when, until when.
//!
//! A client is served by running its request again, as soon as a key that it waits for has changed: behind the command or
//! transaction that changed it, in front of any other client's next one. Those who wait for the same key are served in
//! the order of their coming; who finds nothing, as the one in front took it all, keeps its place.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Instant;

use crate::resp::Protocol;

/// What a waiting client wants of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    List,
    Zset,
    Stream,
    /// A stream with a group; that either is gone is to be told too.
    Group,
    /// Nothing of any key: replicas, of which there are none.
    Replicas,
}

/// One waiting client, with the request to be run again.
#[derive(Debug, Clone)]
pub struct Waiter {
    pub client: u64,
    pub db: usize,
    pub protocol: Protocol,
    pub request: Vec<Vec<u8>>,
    pub keys: Vec<Vec<u8>>,
    pub awaited: Awaited,
    /// None is for ever.
    pub deadline: Option<Instant>,
}

type Place = (usize, Vec<u8>);

/// All that wait.
#[derive(Debug, Default)]
pub struct Waiters {
    by_client: HashMap<u64, Waiter>,
    /// By the order of their coming.
    by_key: HashMap<Place, BTreeMap<u64, u64>>,
    places: HashMap<u64, u64>,
    last_place: u64,
    deadlines: BTreeSet<(Instant, u64)>,
    /// Keys that have changed and that somebody waits for, in that order.
    ready: VecDeque<Place>,
    is_ready: HashSet<Place>,
}

impl Waiters {
    /// Nobody waits: the common case, to be left early.
    pub fn is_idle(&self) -> bool {
        self.by_client.is_empty()
    }

    pub fn len(&self) -> usize {
        self.by_client.len()
    }

    pub fn is_empty(&self) -> bool {
        self.is_idle()
    }

    pub fn get(&self, client: u64) -> Option<&Waiter> {
        self.by_client.get(&client)
    }

    /// Adds a client. One that waits already, and found nothing, goes on as it was.
    pub fn add(&mut self, waiter: Waiter) {
        let client = waiter.client;
        if self.by_client.contains_key(&client) {
            return;
        }
        self.last_place += 1;
        for key in &waiter.keys {
            self.by_key.entry((waiter.db, key.clone())).or_default().insert(self.last_place, client);
        }
        self.places.insert(client, self.last_place);
        self.deadlines.extend(waiter.deadline.map(|deadline| (deadline, client)));
        self.by_client.insert(client, waiter);
    }

    /// Takes out a client, who has been served or has gone.
    pub fn remove(&mut self, client: u64) -> Option<Waiter> {
        let waiter = self.by_client.remove(&client)?;
        let place = self.places.remove(&client)?;
        for key in &waiter.keys {
            let key = (waiter.db, key.clone());
            if let Some(clients) = self.by_key.get_mut(&key) {
                clients.remove(&place);
                if clients.is_empty() {
                    self.by_key.remove(&key);
                }
            }
        }
        if let Some(deadline) = waiter.deadline {
            self.deadlines.remove(&(deadline, client));
        }
        Some(waiter)
    }

    /// A key has changed.
    pub fn touch(&mut self, db: usize, key: &[u8]) {
        if self.is_idle() {
            return;
        }
        let place = (db, key.to_vec());
        if self.by_key.contains_key(&place) && self.is_ready.insert(place.clone()) {
            self.ready.push_back(place);
        }
    }

    /// All keys have changed.
    pub fn touch_all(&mut self) {
        let mut places: Vec<Place> = self.by_key.keys().cloned().collect();
        places.sort_unstable();
        places.iter().for_each(|(db, key)| self.touch(*db, key));
    }

    /// Whether a key that somebody waits for has changed.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes the key that changed first, with those who wait for it now.
    pub fn take_ready(&mut self) -> Option<(Place, Vec<u64>)> {
        let place = self.ready.pop_front()?;
        self.is_ready.remove(&place);
        let clients = self.by_key.get(&place).map(|clients| clients.values().copied().collect());
        Some((place, clients.unwrap_or_default()))
    }

    /// Who has waited long enough by now.
    pub fn overdue(&self, now: Instant) -> Vec<u64> {
        self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, client)| *client).collect()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How many have a deadline.
    pub fn deadline_count(&self) -> usize {
        self.deadlines.len()
    }

    /// Keys that somebody waits for.
    pub fn key_count(&self) -> usize {
        self.by_key.len()
    }

    /// Keys of which somebody wants to know that they are gone.
    pub fn group_key_count(&self) -> usize {
        let wants = |client: &u64| self.get(*client).is_some_and(|waiter| waiter.awaited == Awaited::Group);
        self.by_key.values().filter(|clients| clients.values().any(wants)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(client: u64, keys: &[&str]) -> Waiter {
        Waiter {
            client,
            db: 0,
            protocol: Protocol::Resp2,
            request: Vec::new(),
            keys: keys.iter().map(|key| key.as_bytes().to_vec()).collect(),
            awaited: Awaited::List,
            deadline: None,
        }
    }

    #[test]
    fn keys_are_ready_once_in_the_order_of_their_change_with_clients_in_the_order_of_their_coming() {
        let mut waiters = Waiters::default();
        waiters.touch(0, b"a");
        assert!(!waiters.has_ready(), "nobody waits for it");
        waiters.add(waiter(7, &["a", "b", "a"]));
        waiters.add(waiter(3, &["b"]));
        waiters.add(waiter(7, &["c"]));
        for key in [b"b", b"a", b"b", b"c"] {
            waiters.touch(0, key);
        }
        waiters.touch(1, b"a");
        assert_eq!(waiters.take_ready(), Some(((0, b"b".to_vec()), vec![7, 3])));
        waiters.remove(7);
        assert_eq!(waiters.take_ready(), Some(((0, b"a".to_vec()), vec![])));
        assert_eq!((waiters.take_ready(), waiters.key_count(), waiters.len()), (None, 1, 1));
    }

    #[test]
    fn deadlines_pass_in_their_order_and_go_with_their_clients() {
        let (mut waiters, start) = (Waiters::default(), Instant::now());
        for (client, seconds) in [(1, 3), (2, 1), (3, 2)] {
            let deadline = start.checked_add(std::time::Duration::from_secs(seconds));
            waiters.add(Waiter { deadline, ..waiter(client, &["a"]) });
        }
        let two_later = start + std::time::Duration::from_secs(2);
        assert_eq!(waiters.overdue(start), NOBODY);
        assert_eq!(waiters.overdue(two_later), [2, 3]);
        waiters.remove(2);
        assert_eq!((waiters.next_deadline(), waiters.deadline_count()), (Some(two_later), 2));
    }

    const NOBODY: [u64; 0] = [];
}
