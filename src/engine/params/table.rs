//! The table of parameters: one row per directive of Redis 8.0 and Valkey 9.1, and our own.
//!
//! A row that [`Row::works`] names has a field in [`Config`] and is obeyed; [`Row::moot`] ones ask for something that
//! does not arise here, or is so anyway; [`Row::refused`] ones may only be given their harmless default; the rest is
//! known, kept for CONFIG GET, and warned of. Defaults are spelled canonically, and are those of Redis where the two
//! servers differ.

use super::Config;
use super::backup;
use super::field::{
    APPEND_FSYNC, BACKUP_VERIFY, EVICTION_POLICIES, Field, LOG_LEVELS, PERMISSIONS, RDB_VERSIONS, SANITIZE_PAYLOAD,
    SHUTDOWN_FLAGS,
};
use super::kind::{self, Kind, ListParser};

/// When a parameter may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// At any time, by CONFIG SET.
    Mutable,
    /// Only at start.
    Immutable,
    /// By CONFIG SET where `enable-protected-configs` allows it.
    Protected,
}

/// What this version does with a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is obeyed.
    Works,
    /// Nothing here depends on it, so that ignoring it is no loss.
    Moot,
    /// It is accepted, with a warning where it differs from the default.
    NotBuilt,
    /// Only its harmless default is accepted.
    Refused,
}

/// How a typed field is read and written, in canonical text.
pub struct Access {
    pub read: fn(&Config) -> Vec<u8>,
    pub write: fn(&mut Config, &[u8]) -> Result<(), String>,
}

/// One directive.
pub struct Row {
    pub name: &'static str,
    /// Another name for the same; empty for none.
    pub alias: &'static str,
    pub kind: Kind,
    /// In canonical spelling.
    pub default: &'static str,
    pub change: Change,
    pub status: Status,
    /// `None` where the value is only kept.
    pub access: Option<Access>,
    visibility: Visibility,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Visibility {
    Listed,
    /// CONFIG GET and SET know it by its full name only.
    Hidden,
    /// A directive of the file, unknown to CONFIG GET and SET.
    FileOnly,
}

impl Row {
    /// The name, and the alias if there is one.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        [self.name, self.alias].into_iter().filter(|name| !name.is_empty())
    }

    /// Whether patterns of CONFIG GET pass it over.
    pub fn is_hidden(&self) -> bool {
        self.visibility != Visibility::Listed
    }

    /// Whether CONFIG GET and SET know it at all.
    pub fn is_listed(&self) -> bool {
        self.visibility != Visibility::FileOnly
    }

    /// Whether its value must not be logged.
    pub fn is_secret(&self) -> bool {
        matches!(self.name, "requirepass" | "masterauth" | "tls-key-file-pass" | "tls-client-key-file-pass" | "user")
    }

    const fn works(mut self, access: Access) -> Self {
        self.status = Status::Works;
        self.access = Some(access);
        self
    }

    /// Typed, but accepted with a warning: the field shows what was asked for.
    const fn shown(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    const fn moot(mut self) -> Self {
        self.status = Status::Moot;
        self
    }

    const fn refused(mut self) -> Self {
        self.status = Status::Refused;
        self
    }

    const fn default_to(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = alias;
        self
    }

    const fn immutable(mut self) -> Self {
        self.change = Change::Immutable;
        self
    }

    const fn protected(mut self) -> Self {
        self.change = Change::Protected;
        self
    }

    const fn hidden(mut self) -> Self {
        self.visibility = Visibility::Hidden;
        self
    }

    const fn file_only(mut self) -> Self {
        self.visibility = Visibility::FileOnly;
        self.change = Change::Immutable;
        self
    }
}

/// The row of a name or alias, in any case.
pub fn find(name: &[u8]) -> Option<&'static Row> {
    rows().find(|row| row.names().any(|known| name.eq_ignore_ascii_case(known.as_bytes())))
}

/// All rows.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    GROUPS.iter().copied().flatten()
}

const fn row(name: &'static str, kind: Kind, default: &'static str) -> Row {
    Row {
        name,
        alias: "",
        kind,
        default,
        change: Change::Mutable,
        status: Status::NotBuilt,
        access: None,
        visibility: Visibility::Listed,
    }
}

/// A switch that is on by default.
const fn yes(name: &'static str) -> Row {
    row(name, Kind::Bool, "yes")
}

/// A switch that is off by default.
const fn no(name: &'static str) -> Row {
    row(name, Kind::Bool, "no")
}

const fn int(name: &'static str, default: &'static str, min: i64, max: i64) -> Row {
    row(name, Kind::Integer { min, max }, default)
}

const fn size(name: &'static str, default: &'static str) -> Row {
    size_within(name, default, 0, i64::MAX as u64) // positive
}

const fn size_within(name: &'static str, default: &'static str, min: u64, max: u64) -> Row {
    row(name, Kind::Memory { min, max }, default)
}

/// A time in seconds, of ten years at most.
const fn duration(name: &'static str, default: &'static str) -> Row {
    row(name, Kind::Duration { max: 10 * 366 * 86400 }, default)
}

const fn word(name: &'static str, default: &'static str, words: &'static [&'static str]) -> Row {
    row(name, Kind::Word(words), default)
}

const fn text(name: &'static str) -> Row {
    row(name, Kind::Text, "")
}

const fn list(name: &'static str, default: &'static str, parse: ListParser) -> Row {
    row(name, Kind::List(parse), default)
}

macro_rules! at {
    ($field:ident) => {
        Access { read: |config| config.$field.text(), write: |config, canonical| config.$field.store(canonical) }
    };
}

const INT: i64 = i32::MAX as i64; // widening
const LONG: i64 = i64::MAX;
const UINT: i64 = u32::MAX as i64; // widening

static GROUPS: &[&[Row]] =
    &[NETWORK, PROCESS, MEMORY, SNAPSHOTS, LOG, BACKUPS, ENCODINGS, OBSERVATION, REPLICATION, CLUSTER, TLS];

static NETWORK: &[Row] = &[
    int("port", "6379", 0, 65535).works(at!(port)),
    list("bind", "* -::*", kind::any_words).works(at!(bind)),
    yes("protected-mode").works(at!(protected_mode)),
    int("tcp-backlog", "511", 0, INT).immutable().works(at!(tcp_backlog)),
    int("tcp-keepalive", "300", 0, INT).works(at!(tcp_keepalive)),
    text("unixsocket").immutable().works(at!(unixsocket)),
    row("unixsocketperm", Kind::Octal, "0").immutable().works(at!(unixsocketperm)),
    text("unixsocketgroup").immutable(),
    int("timeout", "0", 0, INT).works(at!(timeout)),
    int("maxclients", "10000", 1, UINT).works(at!(maxclients)),
    size_within("proto-max-bulk-len", "536870912", 1 << 20, i64::MAX as u64).works(at!(proto_max_bulk_len)),
    size_within("client-query-buffer-limit", "1073741824", 1 << 20, i64::MAX as u64)
        .works(at!(client_query_buffer_limit)),
    list(
        "client-output-buffer-limit",
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        kind::output_limits,
    )
    .works(at!(client_output_buffer_limit)),
    text("requirepass").works(at!(requirepass)),
    text("aclfile").immutable().refused(),
    list("user", "", kind::user).file_only().refused(),
    list("rename-command", "", kind::any_words).file_only().refused(),
    list("loadmodule", "", kind::any_words).file_only().refused(),
    word("acl-pubsub-default", "resetchannels", &["allchannels", "resetchannels"]).moot(),
    int("acllog-max-len", "128", 0, LONG).moot(),
    word("enable-debug-command", "no", PERMISSIONS).immutable().works(at!(enable_debug_command)),
    word("enable-protected-configs", "no", PERMISSIONS).immutable().works(at!(enable_protected_configs)),
    word("enable-module-command", "no", PERMISSIONS).immutable().works(at!(enable_module_command)),
    text("bind-source-addr"),
    int("io-threads", "1", 1, 256).works(at!(io_threads)),
    no("io-threads-do-reads").hidden().moot(),
    int("max-new-connections-per-cycle", "10", 1, 1000).moot(),
    int("socket-mark-id", "0", 0, UINT).immutable(),
    no("mptcp").immutable(),
    int("prefetch-batch-max-size", "16", 0, 128).moot(),
    row("maxmemory-clients", Kind::MemoryOrPercent, "0"),
    int("tracking-table-max-keys", "1000000", 0, LONG).works(at!(tracking_table_max_keys)),
    list("rdma-bind", "", kind::any_words).immutable(),
    int("rdma-port", "0", 0, 65535).immutable(),
    int("rdma-completion-vector", "-1", -1, 1024).immutable(),
    int("rdma-rx-size", "1048576", 65536, 16777216).immutable(),
];

static PROCESS: &[Row] = &[
    no("daemonize").immutable().works(at!(daemonize)),
    text("pidfile").immutable().works(at!(pidfile)),
    text("logfile").immutable().works(at!(logfile)),
    word("loglevel", "notice", LOG_LEVELS).works(at!(loglevel)),
    no("always-show-logo").immutable().works(at!(always_show_logo)),
    row("hz", Kind::Clamped { min: 1, max: 500 }, "10").works(at!(hz)),
    yes("dynamic-hz").moot(),
    row("shutdown-on-sigint", Kind::Words(SHUTDOWN_FLAGS), "default").works(at!(shutdown_on_sigint)),
    row("shutdown-on-sigterm", Kind::Words(SHUTDOWN_FLAGS), "default").works(at!(shutdown_on_sigterm)),
    int("shutdown-timeout", "10", 0, INT).works(at!(shutdown_timeout)),
    word("supervised", "no", &["upstart", "systemd", "auto", "no"]).immutable(),
    no("syslog-enabled").immutable(),
    text("syslog-ident").immutable().default_to("redis").moot(),
    word("syslog-facility", "local0", SYSLOG_FACILITIES).immutable().moot(),
    word("log-format", "legacy", &["legacy", "logfmt"]),
    word("log-timestamp-format", "legacy", &["legacy", "iso8601", "milliseconds"]),
    yes("crash-log-enabled").moot(),
    yes("crash-memcheck-enabled").moot(),
    no("hide-user-data-from-log").moot(),
    yes("set-proc-title").immutable().moot(),
    text("proc-title-template").default_to("{title} {listen-addr} {server-mode}").moot(),
    text("locale-collate"),
    list("ignore-warnings", "", kind::any_words).moot(),
    word("oom-score-adj", "no", &["no", "yes", "relative", "absolute"]),
    list("oom-score-adj-values", "0 200 800", kind::oom_values).moot(),
    yes("disable-thp").immutable().moot(),
    text("server-cpulist").alias("server_cpulist").immutable(),
    text("bio-cpulist").alias("bio_cpulist").immutable(),
    text("aof-rewrite-cpulist").alias("aof_rewrite_cpulist").immutable(),
    text("bgsave-cpulist").alias("bgsave_cpulist").immutable(),
    text("availability-zone"),
    no("extended-redis-compatibility").moot(),
    no("import-mode"),
    text("hash-seed").immutable(),
    int("busy-reply-threshold", "5000", 0, LONG).alias("lua-time-limit").works(at!(busy_reply_threshold)),
];

const SYSLOG_FACILITIES: &[&str] =
    &["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"];

static MEMORY: &[Row] = &[
    int("databases", "16", 1, INT).immutable().works(at!(databases)),
    size("maxmemory", "0").works(at!(maxmemory)),
    word("maxmemory-policy", "noeviction", EVICTION_POLICIES).works(at!(maxmemory_policy)),
    int("maxmemory-samples", "5", 1, 64).works(at!(maxmemory_samples)),
    int("maxmemory-eviction-tenacity", "10", 0, 100).works(at!(maxmemory_eviction_tenacity)),
    int("lfu-log-factor", "10", 0, INT).works(at!(lfu_log_factor)),
    int("lfu-decay-time", "1", 0, INT).works(at!(lfu_decay_time)),
    int("active-expire-effort", "1", 1, 10).works(at!(active_expire_effort)),
    no("lazyfree-lazy-eviction").works(at!(lazyfree_lazy_eviction)),
    no("lazyfree-lazy-expire").works(at!(lazyfree_lazy_expire)),
    no("lazyfree-lazy-server-del").works(at!(lazyfree_lazy_server_del)),
    no("lazyfree-lazy-user-del").works(at!(lazyfree_lazy_user_del)),
    no("lazyfree-lazy-user-flush").works(at!(lazyfree_lazy_user_flush)),
    yes("activerehashing").moot(),
    no("activedefrag"),
    int("active-defrag-cycle-min", "1", 1, 99).moot(),
    int("active-defrag-cycle-max", "25", 1, 99).moot(),
    int("active-defrag-cycle-us", "500", 0, 100000).moot(),
    size_within("active-defrag-ignore-bytes", "104857600", 1, i64::MAX as u64).moot(),
    int("active-defrag-max-scan-fields", "1000", 1, LONG).moot(),
    int("active-defrag-threshold-lower", "10", 0, 1000).moot(),
    int("active-defrag-threshold-upper", "100", 0, 1000).moot(),
    yes("jemalloc-bg-thread").moot(),
];

static SNAPSHOTS: &[Row] = &[
    list("save", "3600 1 300 100 60 10000", kind::save_points).works(at!(save)),
    text("dir").default_to("./").protected().works(at!(dir)),
    row("dbfilename", Kind::Checked(kind::file_name), "dump.rdb").protected().works(at!(dbfilename)),
    yes("rdbcompression").works(at!(rdbcompression)),
    yes("rdbchecksum").immutable().works(at!(rdbchecksum)),
    word("rdb-version", "auto", RDB_VERSIONS).works(at!(rdb_version)),
    word("rdb-version-check", "strict", &["strict", "relaxed"]).moot(),
    no("rdb-del-sync-files").moot(),
    yes("rdb-save-incremental-fsync").works(at!(rdb_save_incremental_fsync)),
    size("snapshot-max-rate", "0").works(at!(snapshot_max_rate)),
    yes("stop-writes-on-bgsave-error").works(at!(stop_writes_on_bgsave_error)),
    word("sanitize-dump-payload", "no", SANITIZE_PAYLOAD).works(at!(sanitize_dump_payload)),
    int("rdb-key-save-delay", "0", i32::MIN as i64, INT).hidden(), // widening
    int("key-load-delay", "0", i32::MIN as i64, INT).hidden(),     // widening
    size_within("loading-process-events-interval-bytes", "2097152", 1024, INT as u64).hidden().moot(), // positive
];

static LOG: &[Row] = &[
    no("appendonly").works(at!(appendonly)),
    word("appendfsync", "everysec", APPEND_FSYNC).works(at!(appendfsync)),
    row("appendfilename", Kind::Checked(kind::log_file_name), "appendonly.aof").immutable().works(at!(appendfilename)),
    row("appenddirname", Kind::Checked(kind::log_folder_name), "appendonlydir").immutable().works(at!(appenddirname)),
    no("no-appendfsync-on-rewrite").shown(at!(no_appendfsync_on_rewrite)),
    int("auto-aof-rewrite-percentage", "100", 0, INT).works(at!(auto_aof_rewrite_percentage)),
    size("auto-aof-rewrite-min-size", "67108864").works(at!(auto_aof_rewrite_min_size)),
    yes("aof-load-truncated").works(at!(aof_load_truncated)),
    yes("aof-verify").works(at!(aof_verify)),
    int("write-wait-timeout", "10", 0, INT).works(at!(write_wait_timeout)),
    size("aof-load-corrupt-tail-max-size", "0").hidden(),
    yes("aof-use-rdb-preamble").works(at!(aof_use_rdb_preamble)),
    no("aof-timestamp-enabled").works(at!(aof_timestamp_enabled)),
    duration("aof-history-retention", "0").works(at!(aof_history_retention)),
    size("aof-history-max-size", "0").works(at!(aof_history_max_size)),
    duration("flush-guard", "3600").works(at!(flush_guard)),
    no("aof-disable-auto-gc").hidden().works(at!(aof_disable_auto_gc)),
    yes("aof-rewrite-incremental-fsync").moot(),
];

static BACKUPS: &[Row] = &[
    text("backup-repo").immutable().works(at!(backup_repo)),
    list("backup-schedule", "", backup::schedule).works(at!(backup_schedule)),
    row("backup-timezone", Kind::Checked(backup::timezone), "UTC").works(at!(backup_timezone)),
    duration("backup-jitter", "0").works(at!(backup_jitter)),
    yes("backup-catch-up").works(at!(backup_catch_up)),
    no("backup-skip-unchanged").works(at!(backup_skip_unchanged)),
    list("backup-retention", "", backup::retention).works(at!(backup_retention)),
    row("backup-compression", Kind::Checked(backup::compression), "zstd:3").works(at!(backup_compression)),
    int("backup-max-cpu", "10", 0, 100).works(at!(backup_max_cpu)),
    size("backup-max-rate", "0").works(at!(backup_max_rate)),
    list("backup-encryption-recipient", "", backup::recipients).immutable().works(at!(backup_encryption_recipient)),
    word("backup-verify", "restore", BACKUP_VERIFY).works(at!(backup_verify)),
    duration("backup-pitr-window", "0").works(at!(backup_pitr_window)),
    row("backupdirname", Kind::Checked(backup::set_folder_name), "backupdir").immutable().works(at!(backupdirname)),
    duration("backup-sealed-ttl", "0").works(at!(backup_sealed_ttl)),
    row("preload-file", Kind::Checked(backup::preload_file), "").immutable().works(at!(preload_file)),
    no("aof-archive").works(at!(aof_archive)),
    size("aof-segment-size", "16777216").works(at!(aof_segment_size)),
    duration("aof-archive-timeout", "60").works(at!(aof_archive_timeout)),
];

static ENCODINGS: &[Row] = &[
    int("hash-max-listpack-entries", "512", 0, LONG)
        .alias("hash-max-ziplist-entries")
        .works(at!(hash_max_listpack_entries)),
    size("hash-max-listpack-value", "64").alias("hash-max-ziplist-value").works(at!(hash_max_listpack_value)),
    int("set-max-intset-entries", "512", 0, LONG).works(at!(set_max_intset_entries)),
    int("set-max-listpack-entries", "128", 0, LONG).works(at!(set_max_listpack_entries)),
    size("set-max-listpack-value", "64").works(at!(set_max_listpack_value)),
    int("zset-max-listpack-entries", "128", 0, LONG)
        .alias("zset-max-ziplist-entries")
        .works(at!(zset_max_listpack_entries)),
    size("zset-max-listpack-value", "64").alias("zset-max-ziplist-value").works(at!(zset_max_listpack_value)),
    int("list-max-listpack-size", "-2", i32::MIN as i64, INT) // widening
        .alias("list-max-ziplist-size")
        .works(at!(list_max_listpack_size)),
    int("list-compress-depth", "0", 0, INT).moot(),
    size("stream-node-max-bytes", "4096").works(at!(stream_node_max_bytes)),
    int("stream-node-max-entries", "100", 0, LONG).works(at!(stream_node_max_entries)),
    size("hll-sparse-max-bytes", "3000").shown(at!(hll_sparse_max_bytes)),
    int("list-max-ziplist-entries", "512", 0, LONG).hidden().moot(),
    int("list-max-ziplist-value", "64", 0, LONG).hidden().moot(),
];

static OBSERVATION: &[Row] = &[
    int("slowlog-log-slower-than", "10000", -1, LONG)
        .alias("commandlog-execution-slower-than")
        .works(at!(slowlog_log_slower_than)),
    int("slowlog-max-len", "128", 0, LONG).alias("commandlog-slow-execution-max-len").works(at!(slowlog_max_len)),
    int("commandlog-large-reply-max-len", "128", 0, LONG).works(at!(commandlog_large_reply_max_len)),
    int("commandlog-large-request-max-len", "128", 0, LONG).works(at!(commandlog_large_request_max_len)),
    int("commandlog-reply-larger-than", "1048576", -1, LONG).works(at!(commandlog_reply_larger_than)),
    int("commandlog-request-larger-than", "1048576", -1, LONG).works(at!(commandlog_request_larger_than)),
    int("latency-monitor-threshold", "0", 0, LONG).works(at!(latency_monitor_threshold)),
    yes("latency-tracking").works(at!(latency_tracking)),
    list("latency-tracking-info-percentiles", "50 99 99.9", kind::percentiles).works(at!(latency_percentiles)),
    list("notify-keyspace-events", "", kind::keyspace_events).works(at!(notify_keyspace_events)),
];

static REPLICATION: &[Row] = &[
    list("replicaof", "", kind::replica_of).alias("slaveof").immutable().refused(),
    text("masterauth").alias("primaryauth"),
    text("masteruser").alias("primaryuser"),
    yes("replica-serve-stale-data").alias("slave-serve-stale-data"),
    yes("replica-read-only").alias("slave-read-only"),
    yes("replica-announced"),
    text("replica-announce-ip").alias("slave-announce-ip"),
    int("replica-announce-port", "0", 0, 65535).alias("slave-announce-port"),
    int("replica-priority", "100", 0, INT).alias("slave-priority"),
    yes("replica-ignore-maxmemory").alias("slave-ignore-maxmemory"),
    no("replica-ignore-disk-write-errors"),
    no("replica-lazy-flush").alias("slave-lazy-flush").moot(),
    size("replica-full-sync-buffer-limit", "0"),
    size_within("repl-backlog-size", "1048576", 1, i64::MAX as u64),
    int("repl-backlog-ttl", "3600", 0, LONG),
    no("repl-disable-tcp-nodelay"),
    word("repl-diskless-load", "disabled", &["disabled", "on-empty-db", "swapdb", "flush-before-load"]),
    yes("repl-diskless-sync"),
    int("repl-diskless-sync-delay", "5", 0, INT),
    int("repl-diskless-sync-max-replicas", "0", 0, INT),
    int("repl-ping-replica-period", "10", 1, INT).alias("repl-ping-slave-period"),
    int("repl-timeout", "60", 1, INT),
    no("repl-mptcp"),
    no("dual-channel-replication-enabled"),
    int("min-replicas-to-write", "0", 0, INT).alias("min-slaves-to-write").refused(),
    int("min-replicas-max-lag", "10", 0, INT).alias("min-slaves-max-lag"),
    word("propagation-error-behavior", "ignore", &["ignore", "panic", "panic-on-replicas"]).moot(),
    int("slot-migration-max-failover-repl-bytes", "0", -1, LONG),
];

static CLUSTER: &[Row] = &[
    no("cluster-enabled").immutable().refused(),
    text("cluster-config-file").default_to("nodes.conf").immutable(),
    word("cluster-config-save-behavior", "sync", &["sync", "best-effort"]),
    int("cluster-node-timeout", "15000", 0, LONG),
    int("cluster-port", "0", 0, 65535).immutable(),
    int("cluster-databases", "1", 1, INT).immutable(),
    int("cluster-migration-barrier", "1", 0, INT),
    int("cluster-replica-validity-factor", "10", 0, INT).alias("cluster-slave-validity-factor"),
    no("cluster-replica-no-failover").alias("cluster-slave-no-failover"),
    yes("cluster-require-full-coverage"),
    no("cluster-allow-reads-when-down"),
    yes("cluster-allow-pubsubshard-when-down"),
    yes("cluster-allow-replica-migration"),
    size("cluster-link-sendbuf-limit", "0"),
    int("cluster-compatibility-sample-ratio", "0", 0, 100),
    word("cluster-preferred-endpoint-type", "ip", &["ip", "hostname", "unknown-endpoint"]),
    text("cluster-announce-ip"),
    text("cluster-announce-hostname"),
    text("cluster-announce-human-nodename"),
    int("cluster-announce-port", "0", 0, 65535),
    int("cluster-announce-tls-port", "0", 0, 65535),
    int("cluster-announce-bus-port", "0", 0, 65535),
    text("cluster-announce-client-ipv4"),
    text("cluster-announce-client-ipv6"),
    int("cluster-announce-client-port", "0", 0, 65535),
    int("cluster-announce-client-tls-port", "0", 0, 65535),
    int("cluster-blacklist-ttl", "60", 0, INT),
    int("cluster-manual-failover-timeout", "5000", 1, INT),
    int("cluster-slot-migration-log-max-len", "1000", 0, LONG),
    no("cluster-slot-stats-enabled"),
];

static TLS: &[Row] = &[
    int("tls-port", "0", 0, 65535).refused(),
    no("tls-cluster").refused(),
    no("tls-replication").refused(),
    word("tls-auth-clients", "yes", &["no", "yes", "optional"]).refused(),
    word("tls-auth-clients-user", "off", &["off", "CN", "URI"]).refused(),
    text("tls-ca-cert-dir").refused(),
    text("tls-ca-cert-file").refused(),
    text("tls-cert-file").refused(),
    text("tls-key-file").refused(),
    text("tls-key-file-pass").refused(),
    text("tls-client-cert-file").refused(),
    text("tls-client-key-file").refused(),
    text("tls-client-key-file-pass").refused(),
    text("tls-dh-params-file").refused(),
    text("tls-ciphers").refused(),
    text("tls-ciphersuites").refused(),
    text("tls-protocols").refused(),
    no("tls-prefer-server-ciphers").refused(),
    yes("tls-session-caching").refused(),
    int("tls-session-cache-size", "20480", 0, INT).refused(),
    int("tls-session-cache-timeout", "300", 0, INT).refused(),
    int("tls-auto-reload-interval", "0", 0, INT).refused(),
    int("max-new-tls-connections-per-cycle", "1", 1, 1000).moot(),
];
