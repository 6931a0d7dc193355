//! `maxmemory`: making room by the policy.
//!
//! Before each command, while more is in use than the limit allows, keys go: of a few samples of each database, and of a
//! pool of the best candidates of earlier samples, the one that the policy likes least. That comes near to the true order
//! of LRU or LFU without keeping one.
//!
//! **What counts.** In use is what the allocator says, less what evicting would not change: old versions of keys that are
//! kept for a snapshot, what the free thread has yet to free, and the bytes of the log that wait to be written. So a
//! snapshot, a large deletion or a slow disk makes nothing go; the process may then take more than the limit, as Redis
//! does with a child that saves. What clients have not yet taken counts, as in Redis.
//!
//! **How long.** `maxmemory-eviction-tenacity` bounds the time per command: 0.5 ms at 10. What is left is for the turns to
//! come, whether or not commands come; until then writes are let through. They are refused only where nothing may go.
//!
//! Nothing is evicted while a log is replayed or loaded.

use std::time::Duration;

use super::Engine;
use super::params::EvictionPolicy;

/// Candidates that are remembered from earlier samples.
const POOL: usize = 16;
/// Keys that are evicted between looks at the time.
const KEYS_AT_ONCE: usize = 16;

/// How making room went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There is room, or no limit.
    Enough,
    /// More is to go, in the turns to come.
    Coming,
    /// There is too little, and nothing may go.
    None,
}

/// A key and how little the policy likes it.
#[derive(Debug)]
struct Candidate {
    rank: u64,
    db: usize,
    key: Vec<u8>,
}

/// What eviction remembers.
#[derive(Debug, Default)]
pub(super) struct Evictor {
    /// The best candidate last.
    pool: Vec<Candidate>,
    /// The database in which random policies look next.
    next_db: usize,
    /// Unix ms at which the limit was exceeded, if it still is.
    exceeded_since_ms: Option<i64>,
    /// More is to go than the last turn had time for, or the configuration has changed.
    is_unfinished: bool,
}

impl Evictor {
    /// Another policy or limit may be in force.
    pub(super) fn reconsider(&mut self) {
        self.pool.clear();
        self.is_unfinished = true;
    }
}

impl Engine {
    /// Bytes in use that evicting keys would not give back.
    pub fn not_counted_for_eviction(&self) -> u64 {
        let (_, deferred_len) = self.keyspace.deferred();
        let waiting = deferred_len + self.journal.pending().len();
        waiting as u64 + self.keyspace.lazy_free().pending_len // usize has at most 64 bits
    }

    #[inline]
    fn exceeds_limit(&self) -> bool {
        let used = self.memory.used();
        used > self.config.maxmemory && used.saturating_sub(self.not_counted_for_eviction()) > self.config.maxmemory
    }

    /// Makes room if there is too little, for as long as the tenacity allows.
    #[inline]
    pub fn make_room(&mut self) -> Room {
        if self.config.maxmemory == 0 || self.persistence.is_loading {
            self.evictor.is_unfinished = false;
            self.note_exceeded(Room::Enough);
            return Room::Enough;
        }
        if !self.exceeds_limit() && self.evictor.exceeded_since_ms.is_none() {
            self.evictor.is_unfinished = false;
            return Room::Enough;
        }
        let room = self.evict();
        self.evictor.is_unfinished = room == Room::Coming;
        self.note_exceeded(room);
        room
    }

    /// Whether [`Engine::make_room`] should go on without waiting for a command.
    pub fn is_room_wanted(&self) -> bool {
        self.evictor.is_unfinished
    }

    /// Ms for which more has been in use than allowed.
    pub fn eviction_exceeded_ms(&self) -> i64 {
        self.evictor.exceeded_since_ms.map_or(0, |since| (self.clock.now_ms() - since).max(0))
    }

    fn note_exceeded(&mut self, room: Room) {
        if room != Room::Enough {
            self.evictor.exceeded_since_ms.get_or_insert(self.clock.now_ms());
            return;
        }
        self.stats.eviction_exceeded_ms += self.eviction_exceeded_ms();
        self.evictor.exceeded_since_ms = None;
    }

    fn evict(&mut self) -> Room {
        self.memory.refresh_if_old(self.clock.now_us());
        let policy = self.config.maxmemory_policy;
        let limit = time_limit(self.config.maxmemory_eviction_tenacity);
        let stopwatch = self.clock.stopwatch();
        let mut evicted = 0;
        while self.exceeds_limit() {
            if policy == EvictionPolicy::NoEviction {
                return Room::None;
            }
            if evicted > 0 && evicted % KEYS_AT_ONCE == 0 {
                // What the free thread has freed meanwhile counts no longer as waiting for it.
                self.memory.refresh(self.clock.now_us());
                if limit.is_some_and(|limit| stopwatch.elapsed() >= limit) {
                    return if self.exceeds_limit() { Room::Coming } else { Room::Enough };
                }
            }
            let victim = match policy {
                EvictionPolicy::AllkeysRandom | EvictionPolicy::VolatileRandom => self.random_victim(policy),
                _ => self.best_victim(policy),
            };
            let Some((db, key)) = victim else { return Room::None };
            self.evict_key(db, &key);
            evicted += 1;
        }
        Room::Enough
    }

    fn evict_key(&mut self, db: usize, key: &[u8]) {
        if !self.keyspace.db(db).remove(key) {
            return;
        }
        self.stats.evicted_keys += 1;
        self.key_changed(db, key);
        self.tell_event(b'e', "evicted", db, key);
        let verb: &[u8] = if self.config.lazyfree_lazy_eviction { b"UNLINK" } else { b"DEL" };
        self.journal.begin_unit();
        self.journal.append(db, &[verb, key]);
        self.journal.end_unit();
        if self.unsynced.is_tracking() {
            self.unsynced.note(self.keyspace.hash(key), self.journal.end());
        }
    }

    /// Any key, of each database in its turn.
    fn random_victim(&mut self, policy: EvictionPolicy) -> Option<(usize, Vec<u8>)> {
        for _ in 0..self.keyspace.db_count() {
            let db = self.evictor.next_db;
            self.evictor.next_db = (db + 1) % self.keyspace.db_count();
            let mut found = None;
            let take = &mut |entry: crate::keyspace::SnapshotEntry<'_>| found = Some(entry.key.to_vec());
            self.keyspace.db(db).sample(&mut self.random, 1, policy.is_volatile(), take);
            if let Some(key) = found {
                return Some((db, key));
            }
        }
        None
    }

    /// The key that the policy likes least among new samples and earlier ones.
    fn best_victim(&mut self, policy: EvictionPolicy) -> Option<(usize, Vec<u8>)> {
        loop {
            let sampled = self.sample_all(policy);
            while let Some(Candidate { db, key, .. }) = self.evictor.pool.pop() {
                let database = self.keyspace.db(db);
                let expiry = database.expire_at_ms(&key);
                // It may be gone, or may have lost its expiry, since it was sampled.
                if expiry.is_some_and(|at| at.is_some() || !policy.is_volatile()) {
                    return Some((db, key));
                }
            }
            if sampled == 0 {
                return None;
            }
        }
    }

    /// Puts samples of every database into the pool; how many there were.
    fn sample_all(&mut self, policy: EvictionPolicy) -> usize {
        let mut sampled = 0;
        let clock = self.keyspace.access.clone();
        let (pool, random) = (&mut self.evictor.pool, &mut self.random);
        for db in 0..self.keyspace.db_count() {
            self.keyspace.db(db).sample(random, self.config.maxmemory_samples, policy.is_volatile(), &mut |entry| {
                sampled += 1;
                let rank = match policy {
                    EvictionPolicy::AllkeysLfu | EvictionPolicy::VolatileLfu => {
                        u64::from(255 - clock.frequency(entry.access))
                    }
                    // Whatever is due soonest; an expiry is hardly ever before 1970.
                    EvictionPolicy::VolatileTtl => {
                        u64::MAX - entry.expire_at_ms.unwrap_or(i64::MAX).max(0).unsigned_abs()
                    }
                    _ => u64::from(clock.idle_seconds(entry.access)),
                };
                offer(pool, rank, db, entry.key);
            });
        }
        sampled
    }
}

/// Remembers a candidate if it is better than one of the pool, or there is room in it.
fn offer(pool: &mut Vec<Candidate>, rank: u64, db: usize, key: &[u8]) {
    let mut at = pool.partition_point(|candidate| candidate.rank < rank);
    if pool.len() >= POOL {
        if at == 0 {
            return;
        }
        pool.remove(0);
        at -= 1;
    }
    pool.insert(at, Candidate { rank, db, key: key.to_vec() });
}

/// How long one turn may evict, without end at 100: 50 us per unit up to 10, from there on 15 % more for each.
fn time_limit(tenacity: u32) -> Option<Duration> {
    match tenacity {
        0..=10 => Some(Duration::from_micros(50 * u64::from(tenacity))),
        11..100 => Some(Duration::from_secs_f64(500e-6 * 1.15f64.powi(tenacity as i32 - 10))), // below 100
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::clock::Clock;
    use crate::engine::params::Config;
    use crate::keyspace::Expiry;

    const LIMIT: u64 = 1_000_000;

    /// An engine with 100 keys in each of two databases, of which 10 expire, that takes `used` bytes.
    fn engine(policy: EvictionPolicy, used: u64) -> Engine {
        let mut config = Config::default();
        (config.maxmemory, config.maxmemory_policy, config.maxmemory_eviction_tenacity) = (LIMIT, policy, 100);
        let mut engine = Engine::new(config, Clock::fixed(1_700_000_000_000), fastrand::Rng::with_seed(1));
        for number in 0..200 {
            let expiry = if number % 10 == 0 { Expiry::At(1_800_000_000_000) } else { Expiry::Clear };
            engine.keyspace.db(number % 2 * 5).set_string(number.to_string().as_bytes(), &[b'v'; 100], expiry);
        }
        engine.memory.pretend(used);
        engine
    }

    #[test]
    fn below_the_limit_and_without_one_nothing_goes() {
        let mut below = engine(EvictionPolicy::AllkeysLru, LIMIT);
        assert_eq!((below.make_room(), below.keyspace.len()), (Room::Enough, 200));
        let mut unlimited = engine(EvictionPolicy::AllkeysLru, LIMIT + 1);
        unlimited.config.maxmemory = 0;
        assert_eq!((unlimited.make_room(), unlimited.keyspace.len()), (Room::Enough, 200));
        let mut loading = engine(EvictionPolicy::AllkeysLru, LIMIT + 1);
        loading.persistence.is_loading = true;
        assert_eq!((loading.make_room(), loading.keyspace.len()), (Room::Enough, 200));
    }

    #[test]
    fn every_policy_takes_what_it_may_from_all_databases_and_no_more() {
        for (policy, left) in [
            (EvictionPolicy::NoEviction, 200),
            (EvictionPolicy::AllkeysLru, 0),
            (EvictionPolicy::AllkeysLfu, 0),
            (EvictionPolicy::AllkeysRandom, 0),
            (EvictionPolicy::VolatileLru, 180),
            (EvictionPolicy::VolatileLfu, 180),
            (EvictionPolicy::VolatileRandom, 180),
            (EvictionPolicy::VolatileTtl, 180),
        ] {
            // Nothing that goes makes a difference here, so that all goes that may.
            let mut engine = engine(policy, LIMIT + 1);
            assert_eq!((engine.make_room(), engine.keyspace.len()), (Room::None, left), "{policy:?}");
            assert_eq!(engine.stats.evicted_keys, 200 - left as u64, "{policy:?}");
        }
    }

    #[test]
    fn old_versions_kept_for_a_snapshot_make_nothing_go() {
        let mut engine = engine(EvictionPolicy::AllkeysLru, LIMIT);
        let snapshot = engine.keyspace.snapshot();
        for number in 0..100 {
            engine.keyspace.db(number % 2 * 5).set_string(number.to_string().as_bytes(), &[b'w'; 100], Expiry::Clear);
        }
        let kept = engine.not_counted_for_eviction();
        assert!(kept >= 100 * 100, "{kept}");
        engine.memory.pretend(LIMIT + kept);
        assert_eq!((engine.make_room(), engine.keyspace.len()), (Room::Enough, 200));
        // What is evicted now stays for the snapshot, so that it counts no longer: a few keys are enough.
        engine.memory.pretend(LIMIT + kept + 500);
        assert_eq!(engine.make_room(), Room::Enough);
        assert!((150..200).contains(&engine.keyspace.len()), "{} keys are left", engine.keyspace.len());
        drop(snapshot);
    }

    #[test]
    fn what_is_logged_of_an_eviction_is_a_unit_of_its_own() {
        let mut engine = engine(EvictionPolicy::VolatileTtl, LIMIT * 2);
        engine.journal.set_on(true);
        engine.make_room();
        let log = String::from_utf8(engine.journal.pending().to_vec()).unwrap();
        assert_eq!((log.matches("DEL").count(), log.contains("MULTI")), (20, false));
    }

    #[test]
    fn the_time_allowed_grows_with_the_tenacity() {
        let us = |tenacity| time_limit(tenacity).map(|limit| limit.as_micros());
        assert_eq!((us(0), us(1), us(10), us(11), us(100)), (Some(0), Some(50), Some(500), Some(575), None));
        assert!(us(99) > Some(100_000_000));
    }
}
