//! The parameters: what redis.conf, the command line and CONFIG SET may say, and the settings that come of it.
//!
//! [`table`] has one row per directive of Redis 8.0 and Valkey 9.1; everything here is a loop over it. [`Config`] has a
//! typed field for each parameter that some part of the server reads; the rest are kept as text, so that CONFIG GET
//! tells what was set. What is accepted but not built yet is named by [`Config::warnings`]; what would protect or
//! change the role, and is not built, is refused, so that no password or ACL is silently ignored.
//!
//! Every value has one canonical spelling, the one of CONFIG GET: sizes in bytes, `yes` and `no`, words parted by one
//! blank. [`kind`] makes it from what the user typed, [`field`] stores it in the typed fields and reads it back.
//!
//! Nothing here touches files or the process: [`file`] and [`args`] are given closures to read with, and whoever calls
//! [`Config::prepare`] carries out what a change needs (chdir, another log) before it keeps the new settings.

pub mod args;
pub mod backup;
pub mod field;
pub mod file;
pub mod kind;
pub mod rewrite;
pub mod table;

use std::collections::BTreeMap;

use crate::codec::glob;
use crate::engine::notify::EventClasses;
use crate::value::Limits;

pub use field::{
    AppendFsync, BackupVerify, EvictionPolicy, FileMode, LogLevel, OutputLimits, Permission, RdbVersion,
    SanitizePayload, SavePoint, ShutdownFlags,
};
use table::{Change, Row, Status};

/// Declares [`Config`] and its blank form, which only [`Config::default`] sees: it fills in the table's defaults.
macro_rules! settings {
    ($( $(#[$doc:meta])* $name:ident: $type:ty, )*) => {
        /// The settings in force. Sizes are in bytes; the unit of every other number is that of its directive.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $( $(#[$doc])* pub $name: $type, )*
            /// The configuration file that was read, as it was named; empty without one.
            pub config_file: String,
            /// Canonical values of the parameters without a field, where they differ from the default.
            kept: BTreeMap<&'static str, Vec<u8>>,
        }

        impl Config {
            fn blank() -> Self {
                Self { $( $name: Default::default(), )* config_file: String::new(), kept: BTreeMap::new() }
            }
        }
    };
}

settings! {
    // Network
    port: u16,
    /// Addresses as typed: `*` and `::*` mean every one, a leading `-` means "if it is there".
    bind: Vec<String>,
    protected_mode: bool,
    tcp_backlog: u32,
    /// Seconds; 0 switches probes off.
    tcp_keepalive: u32,
    /// Path of the socket file; empty for none.
    unixsocket: String,
    /// Mode bits of the socket file; 0 leaves them to the umask.
    unixsocketperm: FileMode,
    /// Seconds after which an idle client is closed; 0 is never.
    timeout: u64,
    maxclients: usize,
    /// Threads that replies leave by, the executor among them.
    io_threads: usize,
    proto_max_bulk_len: i64,
    client_query_buffer_limit: u64,
    client_output_buffer_limit: OutputLimits,
    // Access
    /// The password of AUTH; empty for none.
    requirepass: Vec<u8>,
    enable_debug_command: Permission,
    enable_protected_configs: Permission,
    enable_module_command: Permission,
    // Process
    daemonize: bool,
    pidfile: String,
    /// Empty is standard output.
    logfile: String,
    loglevel: LogLevel,
    always_show_logo: bool,
    /// Runs of the background work per second.
    hz: u32,
    shutdown_on_sigint: ShutdownFlags,
    shutdown_on_sigterm: ShutdownFlags,
    /// Seconds that a shutdown waits for replicas.
    shutdown_timeout: u64,
    // Databases and memory
    databases: usize,
    /// 0 for no limit.
    maxmemory: u64,
    maxmemory_policy: EvictionPolicy,
    /// Keys that are looked at for each that is evicted.
    maxmemory_samples: usize,
    /// How long an eviction may hold the clients, from 0 to 100 (without end).
    maxmemory_eviction_tenacity: u32,
    lfu_log_factor: u32,
    /// Minutes in which a counter sinks by one; 0 for never.
    lfu_decay_time: u32,
    active_expire_effort: u32,
    lazyfree_lazy_eviction: bool,
    lazyfree_lazy_expire: bool,
    lazyfree_lazy_server_del: bool,
    lazyfree_lazy_user_del: bool,
    lazyfree_lazy_user_flush: bool,
    notify_keyspace_events: EventClasses,
    /// Ms that a script may run before other clients are told that the server is busy; 0 is for ever.
    busy_reply_threshold: u64,
    // Snapshots
    /// The working directory; the server replaces it by the absolute path at start.
    dir: String,
    dbfilename: String,
    save: Vec<SavePoint>,
    rdbcompression: bool,
    rdbchecksum: bool,
    rdb_version: RdbVersion,
    rdb_save_incremental_fsync: bool,
    /// Bytes per second that background saves and rewrites may write; 0 is no limit.
    snapshot_max_rate: u64,
    stop_writes_on_bgsave_error: bool,
    sanitize_dump_payload: SanitizePayload,
    // Log
    appendonly: bool,
    appendfsync: AppendFsync,
    appendfilename: String,
    appenddirname: String,
    no_appendfsync_on_rewrite: bool,
    /// Growth over the base in percent that starts a rewrite; 0 is never.
    auto_aof_rewrite_percentage: u32,
    auto_aof_rewrite_min_size: u64,
    aof_load_truncated: bool,
    /// Whether the seals of a log must fit for it to be loaded.
    aof_verify: bool,
    /// Seconds that a write waits for a disk that does not answer; 0 is without end.
    write_wait_timeout: u64,
    aof_use_rdb_preamble: bool,
    aof_timestamp_enabled: bool,
    /// Seconds for which files that a rewrite has replaced are kept; 0 is not at all.
    aof_history_retention: u64,
    /// Bytes that they may take; 0 is as many as are free beside them.
    aof_history_max_size: u64,
    /// Seconds for which what was before a FLUSHALL or FLUSHDB is kept on disk; 0 is not at all.
    flush_guard: u64,
    aof_disable_auto_gc: bool,
    // Backups
    /// The folder of the catalogue; empty for none.
    backup_repo: String,
    /// Cron patterns with `;` between them; empty for none.
    backup_schedule: String,
    backup_timezone: String,
    backup_encryption_recipient: String,
    /// Seconds that a scheduled backup may be late by chance.
    backup_jitter: u64,
    /// Whether one that was due while the server was down is made at its start.
    backup_catch_up: bool,
    /// Whether a scheduled one is left out where nothing has changed since the last.
    backup_skip_unchanged: bool,
    backup_retention: String,
    backup_compression: String,
    /// Bytes per second; 0 is no limit.
    backup_max_cpu: u64,
    backup_max_rate: u64,
    backup_verify: BackupVerify,
    /// Seconds for which any moment can be brought back; 0 is since the oldest backup that is kept.
    backup_pitr_window: u64,
    /// The folder of BACKUP START and SEAL, below `dir`.
    backupdirname: String,
    /// Seconds after which a sealed set is removed; 0 is never.
    backup_sealed_ttl: u64,
    /// `rdb:PATH` or `aof:PATH`; empty for none.
    preload_file: String,
    /// Whether the log goes to the catalogue too, as it is written.
    aof_archive: bool,
    /// Bytes of records.
    aof_segment_size: u64,
    /// Seconds.
    aof_archive_timeout: u64,
    // Encodings
    hash_max_listpack_entries: usize,
    hash_max_listpack_value: usize,
    set_max_intset_entries: usize,
    set_max_listpack_entries: usize,
    set_max_listpack_value: usize,
    zset_max_listpack_entries: usize,
    zset_max_listpack_value: usize,
    list_max_listpack_size: i64,
    stream_node_max_bytes: usize,
    stream_node_max_entries: usize,
    hll_sparse_max_bytes: usize,
    // Observation
    /// Microseconds; negative switches the slow log off.
    slowlog_log_slower_than: i64,
    slowlog_max_len: usize,
    /// Bytes; negative switches the log off.
    commandlog_request_larger_than: i64,
    commandlog_reply_larger_than: i64,
    commandlog_large_request_max_len: usize,
    commandlog_large_reply_max_len: usize,
    /// Milliseconds; 0 switches the monitor off.
    latency_monitor_threshold: u64,
    latency_tracking: bool,
    /// Of INFO latencystats, with spaces between.
    latency_percentiles: String,
    /// Keys that are remembered for clients which cache them; 0 is without a limit.
    tracking_table_max_keys: usize,
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Self::blank();
        for row in table::rows() {
            config.store(row, row.default.as_bytes().to_vec()).expect("the table's defaults are canonical");
        }
        config
    }
}

/// A parameter that [`Config::prepare`] gave another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The name of the row, whatever alias was typed.
    pub name: &'static str,
    pub before: Vec<u8>,
    pub after: Vec<u8>,
}

/// Why CONFIG SET changed nothing. `Display` is the reply without its `ERR`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("Unknown option or number of arguments for CONFIG SET - '{0}'")]
    Unknown(String),
    #[error("CONFIG SET failed (possibly related to argument '{name}') - {reason}")]
    Failed { name: String, reason: String },
}

impl SetError {
    /// For whoever carries a change out and finds that it can't be done.
    pub fn failed(name: &str, reason: impl Into<String>) -> Self {
        Self::Failed { name: name.to_owned(), reason: reason.into() }
    }
}

/// Whether a client may do what is only for trusted ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// On this machine: loopback or a Unix socket.
    Local,
    Remote,
}

impl Config {
    /// The canonical value of a row.
    pub fn value_of(&self, row: &Row) -> Vec<u8> {
        match &row.access {
            Some(access) => (access.read)(self),
            None => self.kept.get(row.name).map_or_else(|| row.default.as_bytes().to_vec(), Vec::clone),
        }
    }

    /// Names and canonical values of all parameters that match one of `patterns`, in order of name. A parameter with
    /// an alias is listed under each name that matches; one that is named in full is spelled as it was typed; hidden
    /// ones must be named in full.
    pub fn get_matching(&self, patterns: &[&[u8]]) -> Vec<(String, Vec<u8>)> {
        let mut found = BTreeMap::new();
        for pattern in patterns {
            if !pattern.iter().any(|byte| b"*?[".contains(byte)) {
                if let Some(row) = table::find(pattern).filter(|row| row.is_listed()) {
                    let typed = String::from_utf8_lossy(pattern).into_owned();
                    found.entry(typed.to_ascii_lowercase()).or_insert((typed, self.value_of(row)));
                }
                continue;
            }
            for row in table::rows().filter(|row| !row.is_hidden()) {
                for name in row.names().filter(|name| glob::matches_ignoring_case(pattern, name.as_bytes())) {
                    found.entry(name.to_owned()).or_insert((name.to_owned(), self.value_of(row)));
                }
            }
        }
        found.into_values().collect()
    }

    /// When collections change their encoding.
    pub fn limits(&self) -> Limits {
        Limits {
            hash_max_listpack_entries: self.hash_max_listpack_entries,
            hash_max_listpack_value: self.hash_max_listpack_value,
            set_max_intset_entries: self.set_max_intset_entries,
            set_max_listpack_entries: self.set_max_listpack_entries,
            set_max_listpack_value: self.set_max_listpack_value,
            zset_max_listpack_entries: self.zset_max_listpack_entries,
            zset_max_listpack_value: self.zset_max_listpack_value,
            list_max_listpack_size: self.list_max_listpack_size,
            stream_node_max_bytes: self.stream_node_max_bytes,
            stream_node_max_entries: self.stream_node_max_entries,
        }
    }

    /// Changes several parameters, all or none, as CONFIG SET does; see [`Config::prepare`] where a change needs work
    /// that may fail.
    pub fn set(&mut self, pairs: &[(&[u8], &[u8])], peer: Peer) -> Result<Vec<Changed>, SetError> {
        let (config, changed) = self.prepare(pairs, peer)?;
        *self = config;
        Ok(changed)
    }

    /// The settings as they would be after CONFIG SET with these names and values, and what differs.
    pub fn prepare(&self, pairs: &[(&[u8], &[u8])], peer: Peer) -> Result<(Config, Vec<Changed>), SetError> {
        let mut next = self.clone();
        let mut rows: Vec<&'static Row> = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            let typed = || String::from_utf8_lossy(name).into_owned();
            let row = table::find(name).filter(|row| row.is_listed()).ok_or_else(|| SetError::Unknown(typed()))?;
            let failed = |reason: &str| Err(SetError::failed(&typed(), reason));
            match row.change {
                Change::Immutable => return failed("can't set immutable config"),
                Change::Protected if !self.enable_protected_configs.allows(peer) => {
                    return failed("can't set protected config");
                }
                _ => {}
            }
            if rows.iter().any(|earlier| std::ptr::eq(*earlier, row)) {
                return failed("duplicate parameter");
            }
            rows.push(row);
        }
        let mut changed = Vec::new();
        for (row, (name, value)) in rows.iter().zip(pairs) {
            let failed = |reason: String| SetError::failed(&String::from_utf8_lossy(name), reason);
            let before = self.value_of(row);
            next.assign(row, &[value]).map_err(failed)?;
            let after = next.value_of(row);
            if before != after {
                changed.push(Changed { name: row.name, before, after });
            }
        }
        Ok((next, changed))
    }

    /// One sentence for each parameter that is set to something which is not built yet.
    pub fn warnings(&self) -> Vec<String> {
        table::rows()
            .filter(|row| row.status == Status::NotBuilt && self.value_of(row) != row.default.as_bytes())
            .map(|row| {
                let value = self.value_of(row);
                format!(
                    "WARNING: '{} {}' is accepted but has no effect: this version doesn't implement it.",
                    row.name,
                    if row.is_secret() { "(secret)".into() } else { String::from_utf8_lossy(&value) }
                )
            })
            .collect()
    }

    /// Gives a parameter the value that the words behind its name spell.
    fn assign(&mut self, row: &'static Row, words: &[&[u8]]) -> Result<(), String> {
        let canonical = row.kind.canonical(words, &self.value_of(row))?;
        if row.status == Status::Refused && canonical != row.default.as_bytes() {
            return Err(format!(
                "'{}' is refused: this version doesn't implement it, and ignoring it would leave you with less \
                 protection, or another role, than you asked for",
                row.name
            ));
        }
        self.store(row, canonical)
    }

    fn store(&mut self, row: &'static Row, canonical: Vec<u8>) -> Result<(), String> {
        match &row.access {
            Some(access) => (access.write)(self, &canonical),
            None if canonical == row.default.as_bytes() => {
                self.kept.remove(row.name);
                Ok(())
            }
            None => {
                self.kept.insert(row.name, canonical);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
