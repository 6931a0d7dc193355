//! All state that commands may touch, in one place with one owner.
//!
//! The engine does no I/O and knows no clock but the time it is told. What a command asks of the outside (a save, a
//! rewrite, an end) it leaves as an intent in [`jobs`]; what it changed stands in the [`journal`] as bytes of the log.

pub mod clients;
pub mod clock;
pub mod functions;
pub mod info;
pub mod jobs;
pub mod journal;
pub mod module_aux;
pub mod params;
pub mod persistence;
pub mod session;
pub mod unsynced;
pub mod watch;

use crate::keyspace::{Keyspace, View};
use crate::rdb;
use crate::value::{Limits, Object};

use clients::Clients;
use clock::Clock;
use functions::Functions;
use info::Stats;
use jobs::{BlockingWork, Job};
use journal::Journal;
use module_aux::ModuleAux;
use params::{Config, RdbVersion};
use persistence::Persistence;
use unsynced::Unsynced;
use watch::Watches;

pub use session::Session;

/// The state of a server.
pub struct Engine {
    pub keyspace: Keyspace,
    pub config: Config,
    /// Encoding thresholds, as the configuration has them; renewed by [`Engine::config_changed`].
    pub limits: Limits,
    pub journal: Journal,
    /// Keys whose last write is not on the disk yet.
    pub unsynced: Unsynced,
    pub functions: Functions,
    pub module_aux: ModuleAux,
    pub clients: Clients,
    pub watches: Watches,
    pub stats: Stats,
    pub persistence: Persistence,
    pub clock: Clock,
    pub random: fastrand::Rng,
    /// Intents of commands, for the tasks to carry out.
    pub jobs: Vec<Job>,
    pub blocking_work: BlockingWork,
    /// 40 hexadecimal digits that name this run.
    pub run_id: String,
    /// Position of the active expiry in each database.
    expire_cursors: Vec<u64>,
}

impl Engine {
    /// An empty engine.
    pub fn new(config: Config, clock: Clock, mut random: fastrand::Rng) -> Self {
        let run_id = (0..40).map(|_| char::from(b"0123456789abcdef"[random.usize(..16)])).collect();
        let persistence = Persistence::new(clock.now_ms());
        persistence.max_rate.store(config.snapshot_max_rate, std::sync::atomic::Ordering::Relaxed);
        Self {
            keyspace: Keyspace::new(config.databases),
            limits: config.limits(),
            journal: Journal::default(),
            unsynced: Unsynced::default(),
            functions: Functions::default(),
            module_aux: ModuleAux::default(),
            clients: Clients::default(),
            watches: Watches::default(),
            stats: Stats::default(),
            persistence,
            expire_cursors: vec![0; config.databases],
            config,
            clock,
            random,
            jobs: Vec::new(),
            blocking_work: BlockingWork::default(),
            run_id,
        }
    }

    /// The version of RDB to write, for data that takes `needed`.
    pub fn rdb_version(&self, needed: rdb::Version) -> rdb::Version {
        match self.config.rdb_version {
            RdbVersion::Auto => needed,
            RdbVersion::Rdb9 => rdb::Version::Rdb9,
            RdbVersion::Rdb10 => rdb::Version::Rdb10,
            RdbVersion::Rdb11 => rdb::Version::Rdb11,
            RdbVersion::Rdb12 => rdb::Version::Rdb12,
            RdbVersion::Rdb13 => rdb::Version::Rdb13,
            RdbVersion::Rdb14 => rdb::Version::Rdb14,
            RdbVersion::Rdb15 => rdb::Version::Rdb15,
            RdbVersion::Valkey80 => rdb::Version::Valkey80,
        }
    }

    /// Takes over what CONFIG SET changed.
    pub fn config_changed(&mut self) {
        self.limits = self.config.limits();
        self.persistence.max_rate.store(self.config.snapshot_max_rate, std::sync::atomic::Ordering::Relaxed);
    }

    /// The value that an access in this second leaves on a key: the LRU clock of 24 bits, in seconds.
    pub fn access_clock(&self) -> u32 {
        (self.clock.now_ms() / 1000) as u32 & 0x00FF_FFFF // the lower 24 bits are what is meant
    }

    /// Removes `key` if its time has come, and logs that; not while loading.
    pub fn expire_if_due(&mut self, db: usize, key: &[u8]) -> bool {
        let now = self.clock.now_ms();
        let mut database = self.keyspace.db(db);
        // While a log is replayed nothing expires by itself: its records say when something did.
        if self.persistence.is_loading
            || database.expires() == 0
            || !matches!(database.expire_at_ms(key), Some(Some(at)) if at <= now)
        {
            return false;
        }
        database.remove(key);
        self.stats.expired_keys += 1;
        self.watches.touch(db, key);
        let verb: &[u8] = if self.config.lazyfree_lazy_expire { b"UNLINK" } else { b"DEL" };
        self.journal.append(db, &[verb, key]);
        true
    }

    /// Looks for keys whose time has come, in a bounded number of each database, and removes them. Returns how many it
    /// removed.
    pub fn expire_cycle(&mut self, keys_per_db: usize) -> usize {
        let now = self.clock.now_ms();
        let fields_too = self.keyspace.may_have_field_expiry();
        let (mut due, mut with_due_fields) = (Vec::new(), Vec::new());
        for index in 0..self.keyspace.db_count() {
            let db = self.keyspace.db(index);
            if db.expires() == 0 && !fields_too {
                continue;
            }
            let next = db.visit_from(self.expire_cursors[index], keys_per_db, &mut |entry| {
                if entry.expire_at_ms.is_some_and(|at| at <= now) {
                    due.push((index, entry.key.to_vec()));
                } else if let View::Object(Object::Hash(hash)) = entry.value
                    && hash.min_expire().is_some_and(|at| at <= now)
                {
                    with_due_fields.push((index, entry.key.to_vec()));
                }
            });
            self.expire_cursors[index] = next.unwrap_or(0);
        }
        for (index, key) in &due {
            self.journal.begin_unit();
            self.expire_if_due(*index, key);
            self.journal.end_unit();
        }
        for (index, key) in &with_due_fields {
            self.expire_fields(*index, key);
        }
        due.len() + with_due_fields.len()
    }

    /// Removes the fields of a hash whose time has come, some at a time, and the hash with its last field.
    fn expire_fields(&mut self, index: usize, key: &[u8]) {
        let now = self.clock.now_ms();
        let mut db = self.keyspace.db(index);
        let Some(Object::Hash(hash)) = db.object_mut(key) else { return };
        let fields = hash.due_fields(now, 1_000);
        for field in &fields {
            hash.remove(field);
        }
        if hash.is_empty() {
            db.remove(key);
        }
        self.watches.touch(index, key);
        let mut operation: Vec<&[u8]> = vec![b"HDEL", key];
        operation.extend(fields.iter().map(Vec::as_slice));
        self.journal.begin_unit();
        self.journal.append(index, &operation);
        self.journal.end_unit();
    }

    /// Empties everything that a load fills.
    pub fn clear_data(&mut self) {
        self.keyspace.clear();
        self.functions.clear();
        self.module_aux = ModuleAux::default();
        self.watches.touch_all();
    }
}
