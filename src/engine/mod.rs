//! All state that commands may touch, in one place with one owner.
//!
//! The engine does no I/O and knows no clock but the time it is told. What a command asks of the outside (a save, a
//! rewrite, an end) it leaves as an intent in [`jobs`]; what it changed stands in the [`journal`] as bytes of the log.

pub mod backups;
pub mod clients;
pub mod clock;
pub mod commandlog;
pub mod evict;
pub mod expire;
pub mod functions;
pub mod info;
pub mod jobs;
pub mod journal;
pub mod latency;
pub mod mail;
pub mod memory;
pub mod module_aux;
pub mod notify;
pub mod pace;
pub mod params;
pub mod pause;
pub mod peer;
pub mod persistence;
pub mod pubsub;
pub mod scripts;
pub mod session;
pub mod tracking;
pub mod unsynced;
pub mod wait;
pub mod watch;

use crate::keyspace::Keyspace;
use crate::rdb;
use crate::value::Limits;

use backups::Backups;
use clients::Clients;
use clock::{Clock, Moment};
use commandlog::{CommandLog, Notable};
use evict::Evictor;
use expire::ExpireCycle;
use functions::Functions;
use info::Stats;
use jobs::{BlockingWork, Job};
use journal::Journal;
use mail::Mail;
use memory::Memory;
use module_aux::ModuleAux;
use pace::Pace;
use params::{Config, RdbVersion};
use pause::Pause;
use persistence::Persistence;
use pubsub::PubSub;
use scripts::{Listener, Scripts};
use tracking::Tracking;
use unsynced::Unsynced;
use wait::Waiters;
use watch::Watches;

pub use session::Session;

/// What a load fills, to be handed from the thread that loads to the one that serves.
pub struct Data {
    keyspace: Keyspace,
    functions: Functions,
    module_aux: ModuleAux,
    journal: Journal,
}

const fn assert_send<T: Send>() {}
const _: () = assert_send::<Data>();

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
    pub scripts: Scripts,
    /// Hears other clients while a script runs for long; given by whoever has them.
    pub listener: Option<Listener>,
    pub module_aux: ModuleAux,
    pub clients: Clients,
    pub watches: Watches,
    /// Clients that wait for keys.
    pub waiters: Waiters,
    /// For clients, to be handed out before the next command.
    pub mail: Mail,
    pub pubsub: PubSub,
    /// Clients that see every command, in the order in which they asked.
    pub monitors: Vec<u64>,
    /// What clients may have cached.
    pub tracking: Tracking,
    pub pause: Pause,
    pub stats: Stats,
    /// Commands that took long, or were large.
    pub command_log: CommandLog,
    pub notable: Notable,
    /// Events that took too long.
    pub latency: latency::Monitor,
    pub persistence: Persistence,
    pub backups: Backups,
    pub clock: Clock,
    /// When the command before this one ended: this one began then.
    pub lap: Moment,
    pub pace: Pace,
    pub random: fastrand::Rng,
    /// Intents of commands, for the tasks to carry out.
    pub jobs: Vec<Job>,
    pub blocking_work: BlockingWork,
    /// How another server is asked.
    pub asking: peer::Asking,
    /// 40 hexadecimal digits that name this run.
    pub run_id: String,
    pub memory: Memory,
    /// Off only for tests, by DEBUG SET-ACTIVE-EXPIRE.
    pub is_active_expiry_on: bool,
    expire_cycle: ExpireCycle,
    evictor: Evictor,
}

impl Engine {
    /// An empty engine.
    pub fn new(config: Config, clock: Clock, mut random: fastrand::Rng) -> Self {
        let run_id = (0..40).map(|_| char::from(b"0123456789abcdef"[random.usize(..16)])).collect();
        let persistence = Persistence::new(clock.now_ms());
        persistence.max_rate.store(config.snapshot_max_rate, std::sync::atomic::Ordering::Relaxed);
        let mut engine = Self {
            keyspace: Keyspace::new(config.databases),
            limits: config.limits(),
            journal: Journal::default(),
            unsynced: Unsynced::default(),
            functions: Functions::default(),
            scripts: Scripts::default(),
            listener: None,
            module_aux: ModuleAux::default(),
            clients: Clients::default(),
            watches: Watches::default(),
            waiters: Waiters::default(),
            mail: Mail::default(),
            pubsub: PubSub::default(),
            monitors: Vec::new(),
            tracking: Tracking::default(),
            pause: Pause::default(),
            stats: Stats::default(),
            command_log: CommandLog::default(),
            notable: Notable::default(),
            latency: latency::Monitor::default(),
            persistence,
            backups: Backups::default(),
            memory: Memory::new(clock.now_us()),
            is_active_expiry_on: true,
            expire_cycle: ExpireCycle::default(),
            evictor: Evictor::default(),
            lap: clock.moment(),
            pace: Pace::default(),
            config,
            clock,
            random,
            jobs: Vec::new(),
            blocking_work: BlockingWork::default(),
            asking: peer::nobody,
            run_id,
        };
        engine.config_changed();
        engine
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

    /// Whether writes are refused because a background save has failed, until one succeeds.
    pub fn refuses_unsaved(&self) -> bool {
        !self.persistence.last_save_ok && self.config.stop_writes_on_bgsave_error && !self.config.save.is_empty()
    }

    /// Takes over what CONFIG SET changed.
    pub fn config_changed(&mut self) {
        self.limits = self.config.limits();
        self.notable = Notable::of(&self.config, &self.clock);
        self.persistence.max_rate.store(self.config.snapshot_max_rate, std::sync::atomic::Ordering::Relaxed);
        self.backups.max_rate.store(self.config.backup_max_rate, std::sync::atomic::Ordering::Relaxed);
        let is_frequency = self.config.maxmemory_policy.is_lfu();
        self.keyspace.access.configure(is_frequency, self.config.lfu_log_factor, self.config.lfu_decay_time);
        self.keyspace.access.set(self.clock.now_ms());
        self.evictor.reconsider();
    }

    /// Reads the clock.
    pub fn tick(&mut self) {
        self.clock.tick();
        self.notable = Notable::of(&self.config, &self.clock);
    }

    /// A key has changed: who watches it or waits for it is to know.
    pub fn key_changed(&mut self, db: usize, key: &[u8]) {
        self.watches.touch(db, key);
        self.waiters.touch(db, key);
        self.invalidate(key);
    }

    /// These databases are about to be emptied, or to take each other's place: of the keys in them that are watched those
    /// change that are there, or will be.
    pub fn touch_watched(&mut self, dbs: &[usize]) {
        for (db, key) in self.watches.watched() {
            if dbs.contains(&db) && dbs.iter().any(|&db| self.keyspace.db(db).contains(&key)) {
                self.watches.touch(db, &key);
            }
        }
    }

    /// As [`Engine::touch_watched`], of all databases.
    fn touch_all_watched(&mut self) {
        let dbs: Vec<usize> = (0..self.keyspace.db_count()).collect();
        self.touch_watched(&dbs);
    }

    /// Any key may have changed, but for who watches one, who has been told by [`Engine::touch_watched`].
    pub fn all_changed(&mut self) {
        self.waiters.touch_all();
        self.invalidate_all();
    }

    /// The value that an access in this second leaves on a key: the LRU clock of 24 bits, in seconds.
    pub fn access_clock(&self) -> u32 {
        (self.clock.now_ms() / 1000) as u32 & 0x00FF_FFFF // the lower 24 bits are what is meant
    }

    /// Hears what other clients say while a script runs for long.
    pub fn serve_while_busy(&mut self) {
        if let Some(listener) = self.listener.clone() {
            listener(self);
        }
    }

    /// What a load has filled, without the engine.
    pub fn into_data(self) -> Data {
        Data { keyspace: self.keyspace, functions: self.functions, module_aux: self.module_aux, journal: self.journal }
    }

    /// Takes over what was loaded into another engine. What was here before goes.
    pub fn adopt(&mut self, data: Data) {
        let Data { keyspace, functions, module_aux, journal } = data;
        (self.keyspace, self.functions, self.module_aux, self.journal) = (keyspace, functions, module_aux, journal);
        self.scripts.forget_functions();
        self.functions.forget_compiled();
        // What the configuration says of the keyspace may have changed meanwhile.
        self.config_changed();
        self.touch_all_watched();
        self.all_changed();
    }

    /// Empties everything that a load fills.
    pub fn clear_data(&mut self) {
        self.touch_all_watched();
        self.keyspace.clear();
        self.functions.clear();
        self.scripts.forget_functions();
        self.module_aux = ModuleAux::default();
        self.all_changed();
    }
}
