//! What expires: keys and fields of hashes, on access and by themselves.
//!
//! *On access*: before a command runs, each of its keys is removed if its time has come, and of its hashes the fields whose
//! time has come ([`Engine::expire_on_access`]). Commands that walk over keys they do not name pass over what is past its
//! time. *By itself*: a cycle goes through the keyspace's index of what expires, segment by segment, a bounded time per
//! turn ([`Engine::expire_for`]), and looks only into segments in which something is due.
//!
//! Each removal is a unit of the log of its own. While a log is replayed nothing expires: its records say when something
//! did.

use std::time::Duration;

use crate::value::Object;

use super::Engine;

/// Fields of one hash that the cycle removes before it looks at the time.
const FIELDS_AT_ONCE: usize = 128;
/// Keys that it removes before it does.
const KEYS_AT_ONCE: usize = 8;

/// Where the cycle stands.
#[derive(Debug, Default)]
pub(super) struct ExpireCycle {
    db: usize,
    segment: usize,
    /// In this database hashes are looked at now, after the keys.
    at_hashes: bool,
    /// Of the database: found, and not removed yet.
    due_keys: Vec<Vec<u8>>,
    due_hashes: Vec<Vec<u8>>,
    /// Keys that were found in this round, and those with an expiry that the round began with.
    found: usize,
    among: usize,
}

impl Engine {
    /// Removes what of this key's is past its time: the key, or fields of its hash. To be called with a unit open.
    #[inline]
    pub fn expire_on_access(&mut self, db: usize, key: &[u8]) {
        if !self.expire_if_due(db, key) && self.keyspace.hashes_that_expire(db) > 0 {
            self.expire_fields(db, key, usize::MAX);
        }
    }

    /// Removes `key` if its time has come, and logs that; not while loading.
    pub fn expire_if_due(&mut self, db: usize, key: &[u8]) -> bool {
        let now = self.clock.now_ms();
        let mut database = self.keyspace.db(db);
        if self.persistence.is_loading
            || database.expires() == 0
            || !matches!(database.expire_at_ms(key), Some(Some(at)) if at <= now)
        {
            return false;
        }
        database.remove(key);
        self.stats.expired_keys += 1;
        self.key_changed(db, key);
        self.tell_event(b'x', "expired", db, key);
        let verb: &[u8] = if self.config.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
        self.journal.append(db, &[verb, key]);
        true
    }

    /// Removes fields of a hash whose time has come, at most so many, and the hash with its last field. Returns how many
    /// it removed.
    fn expire_fields(&mut self, db: usize, key: &[u8], most: usize) -> usize {
        let now = self.clock.now_ms();
        let mut database = self.keyspace.db(db);
        if self.persistence.is_loading || !database.has_due_field(key, now) {
            return 0;
        }
        let Some(Object::Hash(hash)) = database.object_mut(key) else { return 0 };
        let fields = hash.due_fields(now, most);
        let is_all = fields.len() == hash.len();
        if is_all {
            database.remove(key);
        } else {
            for field in &fields {
                hash.remove(field);
            }
        }
        self.stats.expired_fields += fields.len() as u64; // usize has at most 64 bits
        self.key_changed(db, key);
        self.tell_event(b'h', "hexpired", db, key);
        if is_all {
            self.tell_event(b'g', "del", db, key);
        }
        if is_all && fields.len() > FIELDS_AT_ONCE {
            let verb: &[u8] = if self.config.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
            self.journal.append(db, &[verb, key]);
        } else {
            let mut operation: Vec<&[u8]> = vec![b"HDEL", key];
            operation.extend(fields.iter().map(Vec::as_slice));
            self.journal.append(db, &operation);
        }
        fields.len()
    }

    /// Goes on with the cycle for as long as `budget` allows; true if there is more to do before the round is over.
    pub fn expire_for(&mut self, budget: Duration) -> bool {
        if self.persistence.is_loading || !self.is_active_expiry_on {
            return false;
        }
        let stopwatch = self.clock.stopwatch();
        let mut has_more = true;
        while has_more && stopwatch.elapsed() < budget {
            has_more = self.remove_due() || self.find_due();
        }
        self.stats.expire_us += u64::try_from(stopwatch.elapsed().as_micros()).unwrap_or(u64::MAX);
        has_more
    }

    /// Removes some of what was found; false if there was nothing.
    fn remove_due(&mut self) -> bool {
        let db = self.expire_cycle.db;
        let keys = self.expire_cycle.due_keys.len();
        if keys > 0 {
            let some = self.expire_cycle.due_keys.split_off(keys.saturating_sub(KEYS_AT_ONCE));
            for key in some {
                self.journal.begin_unit();
                self.expire_if_due(db, &key);
                self.journal.end_unit();
            }
            return true;
        }
        let Some(key) = self.expire_cycle.due_hashes.pop() else { return false };
        self.journal.begin_unit();
        let removed = self.expire_fields(db, &key, FIELDS_AT_ONCE);
        self.journal.end_unit();
        if removed == FIELDS_AT_ONCE {
            self.expire_cycle.due_hashes.push(key);
        }
        true
    }

    /// Looks into the next segment that may have something due; false at the end of the round.
    fn find_due(&mut self) -> bool {
        let now = self.clock.now_ms();
        let cycle = &mut self.expire_cycle;
        while cycle.db < self.keyspace.db_count() {
            let mut db = self.keyspace.db(cycle.db);
            if cycle.segment == 0 && !cycle.at_hashes {
                cycle.among += db.expires();
            }
            let next = if cycle.at_hashes {
                db.due_hashes_from(cycle.segment, now, &mut cycle.due_hashes)
            } else {
                db.due_keys_from(cycle.segment, now, &mut cycle.due_keys)
            };
            cycle.found += cycle.due_keys.len();
            cycle.segment = next.unwrap_or(0);
            if next.is_some() {
                return true;
            }
            cycle.db += usize::from(cycle.at_hashes);
            cycle.at_hashes = !cycle.at_hashes;
        }
        // Shown with two decimals.
        let percent = if cycle.among == 0 { 0.0 } else { cycle.found as f64 * 100.0 / cycle.among as f64 };
        self.stats.stale_percent = self.stats.stale_percent * 0.95 + percent * 0.05;
        *cycle = ExpireCycle::default();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::clock::Clock;
    use crate::engine::params::Config;
    use crate::keyspace::Expiry;
    use crate::value::{Hash, Limits};

    const NOW_MS: i64 = 1_700_000_000_000;
    const LONG: Duration = Duration::from_secs(60);

    fn engine() -> Engine {
        Engine::new(Config::default(), Clock::fixed(NOW_MS), fastrand::Rng::with_seed(1))
    }

    #[test]
    fn a_round_removes_what_is_due_and_nothing_else_whatever_became_of_the_keys() {
        let mut engine = engine();
        let mut random = fastrand::Rng::with_seed(2);
        let mut model = std::collections::HashMap::new();
        let mut snapshots = std::collections::VecDeque::new();
        for step in 0..40_000 {
            let key = random.u32(..3_000).to_string().into_bytes();
            let now = engine.clock.now_ms();
            let at = now + random.i64(1..5_000);
            let mut db = engine.keyspace.db(3);
            match random.u8(..8) {
                0 => {
                    db.set_string(&key, b"value", Expiry::Clear);
                    model.insert(key, None);
                }
                1..=3 => {
                    db.set_string(&key, b"value", Expiry::At(at));
                    model.insert(key, Some(at));
                }
                4 => {
                    assert_eq!(db.set_expire_at_ms(&key, Some(at)), model.contains_key(&key));
                    model.entry(key).and_modify(|expiry| *expiry = Some(at));
                }
                5 => {
                    db.set_expire_at_ms(&key, None);
                    model.entry(key).and_modify(|expiry| *expiry = None);
                }
                6 => assert_eq!(db.remove(&key), model.remove(&key).is_some()),
                _ => engine.clock.advance(random.i64(0..20)),
            }
            if step % 500 == 0 {
                while engine.expire_for(LONG) {}
                let now = engine.clock.now_ms();
                model.retain(|_, expiry| expiry.is_none_or(|at| at > now));
                let expires = model.values().filter(|expiry| expiry.is_some()).count();
                assert_eq!(engine.keyspace.counts(3), (model.len(), expires));
                snapshots.push_back(engine.keyspace.snapshot());
                snapshots.truncate(2);
                engine.keyspace.reclaim();
            }
        }
        assert!(engine.stats.expired_keys > 5_000, "{} expired", engine.stats.expired_keys);
    }

    #[test]
    fn fields_expire_in_large_and_small_hashes_and_with_the_last_of_them_the_key() {
        let mut engine = engine();
        engine.journal.set_on(true);
        let limits = Limits { hash_max_listpack_entries: 16, ..Limits::default() };
        for (key, fields, due) in [("small", 10, 4), ("large", 2_000, 900), ("gone", 700, 700), ("still", 5, 0)] {
            let mut hash = Hash::new();
            for field in 0..fields {
                hash.set(format!("f{field}").as_bytes(), b"v", &limits);
                let at = if field < due { NOW_MS + 10 } else { NOW_MS + 100_000 };
                hash.set_expire(format!("f{field}").as_bytes(), Some(at), &limits);
            }
            engine.keyspace.db(0).insert(key.as_bytes(), Object::Hash(hash), None);
        }
        assert_eq!(engine.keyspace.hashes_that_expire(0), 4);
        while engine.expire_for(LONG) {}
        assert_eq!((engine.stats.expired_fields, engine.journal.pending().len()), (0, 0));
        engine.clock.advance(10);
        while engine.expire_for(LONG) {}
        assert_eq!((engine.stats.expired_fields, engine.keyspace.len()), (4 + 900 + 700, 3));
        assert_eq!(engine.keyspace.hashes_that_expire(0), 3);
        for (key, left) in [("small", 6), ("large", 1_100), ("still", 5)] {
            let db = engine.keyspace.db(0);
            let Some(crate::keyspace::View::Object(object)) = db.get(key.as_bytes()) else { panic!("{key} is there") };
            assert_eq!(object.len(), left, "{key}");
        }
    }

    #[test]
    fn a_round_looks_at_nothing_where_nothing_is_due() {
        let mut engine = engine();
        for number in 0..20_000 {
            let at = if number % 100 == 0 { Expiry::At(NOW_MS + 60_000) } else { Expiry::Clear };
            engine.keyspace.db(0).set_string(number.to_string().as_bytes(), b"v", at);
        }
        let mut due = Vec::new();
        assert_eq!(engine.keyspace.db(0).due_keys_from(0, NOW_MS, &mut due), None);
        assert!(engine.keyspace.db(0).due_keys_from(0, NOW_MS + 60_000, &mut due).is_some());
        assert!(!due.is_empty() && due.len() <= 3, "only one segment was looked at");
    }
}
