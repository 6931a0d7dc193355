//! INFO: the sections and names of fields of Redis, which monitoring reads, with what is true of this server.
//!
//! A field that means something here has its value; one that monitoring expects and that can't be anything else (no
//! replicas, no evictions, no fork) says so with 0. Fields that would be made up are left out.

use std::fmt::Display;
use std::sync::atomic::Ordering::Relaxed;

use crate::engine::Engine;
use crate::engine::backups::Moment;
use crate::engine::info::{CallCount, REDIS_VERSION};
use crate::engine::persistence::Progress;
use crate::engine::pubsub::Kind;

use super::introspection::visit_rows;
use super::spec::{CAT_DANGEROUS, Command, LOADING, NO_KEYS, STALE, command};
use super::{Context, Outcome};

pub const COMMANDS: &[Command] = &[command("info", -1, LOADING | STALE, NO_KEYS, CAT_DANGEROUS, "1.0.0", info)];

/// A section of INFO.
struct Section {
    title: &'static str,
    /// Whether it belongs to INFO without arguments.
    by_default: bool,
    write: fn(&Engine, &mut Page),
}

const SECTIONS: &[Section] = &[
    Section { title: "Server", by_default: true, write: server },
    Section { title: "Clients", by_default: true, write: clients },
    Section { title: "Memory", by_default: true, write: memory },
    Section { title: "Persistence", by_default: true, write: persistence },
    Section { title: BACKUP, by_default: true, write: backup },
    Section { title: "Stats", by_default: true, write: stats },
    Section { title: "Replication", by_default: true, write: replication },
    Section { title: "CPU", by_default: true, write: cpu },
    Section { title: "Modules", by_default: true, write: |_, _| {} },
    Section { title: "Commandstats", by_default: false, write: commandstats },
    Section { title: "Errorstats", by_default: true, write: errorstats },
    Section { title: "Latencystats", by_default: false, write: latencystats },
    Section { title: "Cluster", by_default: true, write: |_, page| page.line("cluster_enabled", 0) },
    Section { title: "Keyspace", by_default: true, write: keyspace },
];

/// It belongs to the others where there is a catalogue.
const BACKUP: &str = "Backup";

/// `INFO [section ...]`: sections come in their own order, each once; `all`, `everything` and `default` are groups.
fn info(context: &mut Context<'_>) -> Outcome {
    let names: Vec<String> =
        context.args[1..].iter().map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
    let named = |wanted: &str| names.iter().any(|name| name == wanted);
    let all = named("all") || named("everything");
    let by_default = names.is_empty() || named("default");
    let now_us = context.engine.clock.now_us();
    context.engine.memory.refresh(now_us);
    let mut page = Page::default();
    let has_backups = !context.engine.config.backup_repo.is_empty();
    for section in SECTIONS.iter().filter(|section| has_backups || section.title != BACKUP || named("backup")) {
        if all || (by_default && section.by_default) || named(&section.title.to_ascii_lowercase()) {
            page.begin(section.title);
            (section.write)(context.engine, &mut page);
        }
    }
    Ok(context.reply.verbatim("txt", page.text.as_bytes()))
}

/// The text under way: titles with `#`, an empty line between sections, `name:value` lines.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn begin(&mut self, title: &str) {
        if !self.text.is_empty() {
            self.text.push_str("\r\n");
        }
        self.text.push_str(&format!("# {title}\r\n"));
    }

    fn line(&mut self, name: &str, value: impl Display) {
        self.text.push_str(&format!("{name}:{value}\r\n"));
    }

    /// Several fields whose value is 0 by nature.
    fn zeros(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.line(name, 0));
    }

    /// A size in bytes, and once more for human eyes under `name_human`.
    fn size(&mut self, name: &str, bytes: u64) {
        self.line(name, bytes);
        self.line(&format!("{name}_human"), human(bytes));
    }
}

/// `734.55K`, as Redis spells sizes.
fn human(bytes: u64) -> String {
    let value = bytes as f64; // shown with two decimals
    for (shift, unit) in [(40, "T"), (30, "G"), (20, "M"), (10, "K")] {
        if bytes >= 1 << shift {
            return format!("{:.2}{unit}", value / (1u64 << shift) as f64); // a power of two is exact
        }
    }
    format!("{bytes}B")
}

fn percent(part: u64, whole: u64) -> String {
    // Shown with two decimals.
    let share = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    format!("{share:.2}%")
}

fn ratio(part: u64, whole: u64) -> String {
    // Shown with two decimals.
    format!("{:.2}", if whole == 0 { 0.0 } else { part as f64 / whole as f64 })
}

fn status(ok: bool) -> &'static str {
    if ok { "ok" } else { "err" }
}

fn server(engine: &Engine, page: &mut Page) {
    let config = &engine.config;
    page.line("redis_version", REDIS_VERSION);
    page.line("redis_git_sha1", "00000000");
    page.line("redis_git_dirty", 0);
    page.line("redis_build_id", 0);
    page.line("redis_mode", "standalone");
    page.line("server_name", "ironkeep");
    page.line("ironkeep_version", env!("CARGO_PKG_VERSION"));
    page.line("os", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    page.line("arch_bits", usize::BITS);
    page.line("monotonic_clock", "POSIX clock_gettime");
    page.line("multiplexing_api", "epoll");
    page.line("process_id", std::process::id());
    page.line("process_supervised", "no");
    page.line("run_id", &engine.run_id);
    page.line("tcp_port", config.port);
    page.line("server_time_usec", engine.clock.now_us());
    let uptime = engine.clock.uptime_seconds();
    page.line("uptime_in_seconds", uptime);
    page.line("uptime_in_days", uptime / 86_400);
    page.line("hz", config.hz);
    page.line("configured_hz", config.hz);
    page.line("lru_clock", engine.access_clock());
    page.line("executable", std::env::current_exe().unwrap_or_default().display());
    page.line("config_file", &config.config_file);
    page.line("io_threads_active", u8::from(engine.stats.is_sending_by_threads));
    let addresses: String = config.bind.iter().map(|address| format!("bind={address},")).collect();
    page.line("listener0", format!("name=tcp,{addresses}port={}", config.port));
}

fn clients(engine: &Engine, page: &mut Page) {
    page.line("connected_clients", engine.clients.len());
    page.line("cluster_connections", 0);
    page.line("maxclients", engine.config.maxclients);
    page.zeros(&["client_recent_max_input_buffer", "client_recent_max_output_buffer"]);
    page.line("blocked_clients", engine.clients.waiting + engine.waiters.len());
    page.line("tracking_clients", engine.tracking.client_count());
    page.line("pubsub_clients", engine.pubsub.subscriber_count());
    page.line("watching_clients", engine.watches.session_count());
    page.line("clients_in_timeout_table", engine.waiters.deadline_count());
    page.line("total_watched_keys", engine.watches.key_count());
    page.line("total_blocking_keys", engine.waiters.key_count());
    page.line("total_blocking_keys_on_nokey", engine.waiters.group_key_count());
}

/// What is in use is the allocator's count. Overhead is what was in use before there was data, the tables of the keys, and
/// the log's buffer; the rest is data.
fn memory(engine: &Engine, page: &mut Page) {
    let machine = &engine.stats.machine;
    let (used, peak, startup) = (engine.memory.used(), engine.memory.peak(), engine.memory.startup());
    let log_buffer = engine.journal.pending().len() as u64; // usize has at most 64 bits
    let overhead = (startup + engine.keyspace.table_len() + log_buffer).min(used);
    let dataset = used - overhead;
    page.size("used_memory", used);
    page.size("used_memory_rss", machine.rss);
    page.size("used_memory_peak", peak);
    page.line("used_memory_peak_time", engine.memory.peak_ms() / 1000);
    page.line("used_memory_peak_perc", percent(used, peak));
    page.line("used_memory_overhead", overhead);
    page.line("used_memory_startup", startup);
    page.line("used_memory_dataset", dataset);
    page.line("used_memory_dataset_perc", percent(dataset, used.saturating_sub(startup)));
    let usage = engine.memory.usage();
    page.line("allocator_allocated", usage.allocated);
    page.line("allocator_active", usage.active);
    page.line("allocator_resident", usage.resident);
    page.line("allocator_muzzy", 0);
    page.size("total_system_memory", machine.total_memory);
    scripts(page, engine);
    page.size("maxmemory", engine.config.maxmemory);
    page.line("maxmemory_policy", engine.config.maxmemory_policy.word());
    let difference = |more: u64, less: u64| i128::from(more) - i128::from(less);
    page.line("allocator_frag_ratio", ratio(usage.active, usage.allocated));
    page.line("allocator_frag_bytes", difference(usage.active, usage.allocated));
    page.line("allocator_rss_ratio", ratio(usage.resident, usage.active));
    page.line("allocator_rss_bytes", difference(usage.resident, usage.active));
    page.line("rss_overhead_ratio", ratio(machine.rss, usage.resident));
    page.line("rss_overhead_bytes", difference(machine.rss, usage.resident));
    page.line("mem_fragmentation_ratio", ratio(machine.rss, used));
    page.line("mem_fragmentation_bytes", difference(machine.rss, used));
    page.line("mem_not_counted_for_evict", engine.not_counted_for_eviction());
    page.zeros(&[
        "mem_replication_backlog",
        "mem_total_replication_buffers",
        "mem_clients_slaves",
        "mem_clients_normal",
        "mem_cluster_links",
    ]);
    page.line("mem_aof_buffer", engine.journal.pending().len());
    page.line("mem_allocator", "jemalloc");
    page.line("active_defrag_running", 0);
    let lazy_free = engine.keyspace.lazy_free();
    page.line("lazyfree_pending_objects", lazy_free.pending);
    page.line("lazyfreed_objects", lazy_free.freed);
    let (deferred, deferred_bytes) = engine.keyspace.deferred();
    page.line("snapshot_deferred_objects", deferred);
    page.line("snapshot_deferred_bytes", deferred_bytes);
}

/// Of Lua: what it holds, and the code that is kept for it.
fn scripts(page: &mut Page, engine: &Engine) {
    let (of_scripts, of_functions) = engine.scripts.state_memory();
    let functions_len: usize = engine.functions.iter().map(|library| library.code.len() + library.name.len()).sum();
    page.size("used_memory_lua", of_scripts as u64); // usize has at most 64 bits, here and below
    page.line("used_memory_vm_eval", of_scripts);
    page.line("used_memory_scripts_eval", engine.scripts.code_len());
    page.line("number_of_cached_scripts", engine.scripts.len());
    page.line("number_of_functions", engine.functions.count());
    page.line("number_of_libraries", engine.functions.iter().len());
    page.line("used_memory_vm_functions", of_functions);
    page.size("used_memory_vm_total", (of_scripts + of_functions) as u64);
    page.line("used_memory_functions", functions_len);
    page.size("used_memory_scripts", (engine.scripts.code_len() + functions_len) as u64);
}

/// Seconds that a job has taken so far; -1 where none runs.
fn running_seconds(job: Option<&Progress>, now_ms: i64) -> i64 {
    job.map_or(-1, |job| now_ms.saturating_sub(job.started_ms).max(0) / 1000)
}

fn persistence(engine: &Engine, page: &mut Page) {
    let state = &engine.persistence;
    let now_ms = engine.clock.now_ms();
    page.line("loading", u8::from(state.is_loading));
    page.line("async_loading", 0);
    let (_, deferred_bytes) = engine.keyspace.deferred();
    let jobs = [&state.save, &state.rewrite].into_iter().flatten();
    let deferred_bytes = deferred_bytes as u64; // usize has at most 64 bits
    page.line("current_cow_peak", jobs.map(|job| job.deferred_peak).fold(deferred_bytes, u64::max));
    page.line("current_cow_size", deferred_bytes);
    page.line("current_cow_size_age", 0); // it is measured now
    let job = state.save.as_ref().or(state.rewrite.as_ref());
    let done = job.map_or(0, |job| job.keys_done());
    let total = job.map_or(0, |job| job.keys_total);
    page.line("current_fork_perc", percent(done, total).trim_end_matches('%'));
    page.line("current_save_keys_processed", done);
    page.line("current_save_keys_total", total);
    let changes = engine.journal.changes().saturating_sub(state.changes_at_last_save);
    page.line("rdb_changes_since_last_save", changes);
    page.line("rdb_bgsave_in_progress", u8::from(state.save.is_some()));
    page.line("rdb_last_save_time", state.last_save);
    page.line("rdb_last_bgsave_status", status(state.last_save_ok));
    page.line("rdb_last_bgsave_time_sec", state.last_save_seconds.unwrap_or(-1));
    page.line("rdb_current_bgsave_time_sec", running_seconds(state.save.as_ref(), now_ms));
    page.line("rdb_saves", state.saves);
    page.line("rdb_last_cow_size", state.last_save_deferred);
    page.line("rdb_last_load_keys_expired", state.loaded_expired);
    page.line("rdb_last_load_keys_loaded", state.loaded_keys);
    page.line("rdb_kept_dumps", state.kept_dumps.files);
    page.line("rdb_kept_dumps_size", state.kept_dumps.bytes);
    log_fields(engine, page);
    page.zeros(&["module_fork_in_progress", "module_fork_last_cow_size"]);
    if engine.config.appendonly {
        page.line("aof_current_size", state.log_size);
        page.line("aof_base_size", state.log_base_size);
        page.line("aof_pending_rewrite", u8::from(state.rewrite_scheduled));
        page.line("aof_buffer_length", engine.journal.pending().len());
        page.line("aof_pending_bio_fsync", u8::from(state.is_syncing));
        page.line("aof_delayed_fsync", state.delayed_syncs);
        page.line("aof_late_fsync", state.late_syncs);
        page.line("aof_reserve_status", status(state.log_reserve_error.is_none()));
        page.line("aof_position", engine.journal.end());
        page.line("aof_sealed_position", engine.journal.sealed().unwrap_or(0));
    }
    if state.is_loading {
        loading_fields(engine, page);
    }
}

fn backup(engine: &Engine, page: &mut Page) {
    backup_fields(engine).iter().for_each(|(name, value)| page.line(name, value));
}

/// What is known of backups. Times are Unix seconds, -1 for none.
pub(super) fn backup_fields(engine: &Engine) -> Vec<(&'static str, String)> {
    let (state, now_ms) = (&engine.backups, engine.clock.now_ms());
    let seconds = |at_ms: Option<i64>| at_ms.map_or(-1, |at_ms| at_ms.div_euclid(1000)).to_string();
    let at = |moment: &Option<Moment>| moment.as_ref().map(|moment| moment.at_ms);
    let id = |moment: &Option<Moment>| moment.as_ref().map_or(String::new(), |moment| moment.id.clone());
    let (last_status, last_error) = match state.last.as_ref().map(|last| &last.outcome) {
        None => ("none", String::new()),
        Some(Ok(_)) => ("ok", String::new()),
        Some(Err(error)) => ("err", error.replace(['\r', '\n'], " ")),
    };
    let age = at(&state.verified).map_or(-1, |at_ms| (now_ms - at_ms) / 1000);
    let archive = &state.archive;
    let is_on = engine.config.archives();
    let lag_ms = archive.complete_ms.filter(|_| is_on).map(|complete_ms| (now_ms - complete_ms).max(0));
    let (done, total) = state.under_way.as_ref().map_or((0, 0), |job| (job.keys_done(), job.keys_total));
    vec![
        ("backup_in_progress", u8::from(state.under_way.is_some()).to_string()),
        ("backup_current_keys_processed", done.to_string()),
        ("backup_current_keys_total", total.to_string()),
        ("backup_last_status", last_status.to_owned()),
        ("backup_last_error", last_error),
        ("backup_last_duration_sec", state.last.as_ref().map_or(-1, |last| last.seconds).to_string()),
        ("backup_last_id", id(&state.newest)),
        ("backup_last_time", seconds(at(&state.newest))),
        ("backup_last_verified_id", id(&state.verified)),
        ("backup_last_verified_time", seconds(at(&state.verified))),
        ("backup_last_verified_age_sec", age.to_string()),
        ("backup_next_time", seconds(state.due_ms)),
        ("backup_late", u8::from(state.is_late).to_string()),
        ("backup_count", state.kept.files.to_string()),
        ("backup_size", state.kept.bytes.to_string()),
        ("backup_made", state.made.to_string()),
        ("backup_failures", state.failures.to_string()),
        ("archive_enabled", u8::from(is_on).to_string()),
        ("archive_status", if archive.fault.is_some() && is_on { "err" } else { "ok" }.to_owned()),
        ("archive_last_error", archive.fault.as_ref().map_or(String::new(), |fault| fault.replace(['\r', '\n'], " "))),
        ("archive_timeline", archive.timeline.clone().unwrap_or_default()),
        ("archive_position", archive.position.to_string()),
        ("archive_lag_sec", lag_ms.map_or(-1, |lag_ms| lag_ms / 1000).to_string()),
        ("archive_has_base", u8::from(archive.has_base).to_string()),
        ("archive_segments", archive.segments.to_string()),
        ("archive_bytes", archive.bytes.to_string()),
        ("archive_branches", archive.branches.to_string()),
    ]
}

fn log_fields(engine: &Engine, page: &mut Page) {
    let state = &engine.persistence;
    page.line("aof_enabled", u8::from(engine.config.appendonly));
    page.line("aof_rewrite_in_progress", u8::from(state.rewrite.is_some()));
    page.line("aof_rewrite_scheduled", u8::from(state.rewrite_scheduled));
    page.line("aof_last_rewrite_time_sec", state.last_rewrite_seconds.unwrap_or(-1));
    page.line("aof_current_rewrite_time_sec", running_seconds(state.rewrite.as_ref(), engine.clock.now_ms()));
    page.line("aof_last_bgrewrite_status", status(state.last_rewrite_ok));
    page.line("aof_last_bgrewrite_error", state.last_rewrite_error.as_deref().unwrap_or(""));
    page.line("aof_rewrites", state.rewrites);
    page.line("aof_rewrites_consecutive_failures", state.rewrite_failures);
    page.line("aof_last_write_status", status(state.log_error.is_none()));
    page.line("aof_last_cow_size", state.last_rewrite_deferred);
    page.line("aof_history_files", state.history.files);
    page.line("aof_history_size", state.history.bytes);
}

fn loading_fields(engine: &Engine, page: &mut Page) {
    let load = &engine.persistence.load;
    let (started_ms, total) = (load.started_ms.load(Relaxed), load.total_bytes.load(Relaxed));
    let loaded = load.loaded_bytes().min(total);
    let elapsed_ms = u64::try_from(engine.clock.now_ms().saturating_sub(started_ms)).unwrap_or(0);
    page.line("loading_start_time", started_ms / 1000);
    page.line("loading_total_bytes", total);
    page.line("loading_rdb_used_mem", 0);
    page.line("loading_loaded_bytes", loaded);
    page.line("loading_loaded_perc", percent(loaded, total).trim_end_matches('%'));
    // At the speed so far; one second where none is known yet.
    let eta = (elapsed_ms / 1000).saturating_mul(total - loaded).checked_div(loaded).unwrap_or(1);
    page.line("loading_eta_seconds", eta);
}

fn stats(engine: &Engine, page: &mut Page) {
    let stats = &engine.stats;
    let machine = &stats.machine;
    let kilobytes = |bytes: u64| ratio(bytes, 1024);
    page.line("total_connections_received", stats.connections_received);
    page.line("total_commands_processed", stats.commands_processed);
    page.line("instantaneous_ops_per_sec", machine.ops_per_second);
    page.line("total_net_input_bytes", stats.net_input_bytes);
    page.line("total_net_output_bytes", stats.net_output_bytes);
    page.zeros(&["total_net_repl_input_bytes", "total_net_repl_output_bytes"]);
    page.line("instantaneous_input_kbps", kilobytes(machine.input_per_second));
    page.line("instantaneous_output_kbps", kilobytes(machine.output_per_second));
    page.line("instantaneous_input_repl_kbps", "0.00");
    page.line("instantaneous_output_repl_kbps", "0.00");
    page.line("rejected_connections", stats.rejected_connections);
    page.line("sync_full", stats.full_syncs);
    page.zeros(&["sync_partial_ok", "sync_partial_err"]);
    page.line("expired_subkeys", stats.expired_fields);
    page.line("expired_keys", stats.expired_keys);
    page.line("expired_stale_perc", format!("{:.2}", stats.stale_percent));
    page.line("expired_time_cap_reached_count", stats.expire_time_caps);
    page.line("expire_cycle_cpu_milliseconds", stats.expire_us / 1000);
    page.line("evicted_keys", stats.evicted_keys);
    page.zeros(&["evicted_clients"]);
    page.line("evicted_scripts", engine.scripts.evicted);
    let exceeded_ms = engine.eviction_exceeded_ms();
    page.line("total_eviction_exceeded_time", stats.eviction_exceeded_ms + exceeded_ms);
    page.line("current_eviction_exceeded_time", exceeded_ms);
    page.line("keyspace_hits", stats.keyspace_hits);
    page.line("keyspace_misses", stats.keyspace_misses);
    page.line("pubsub_channels", engine.pubsub.subscribed(Kind::Channel).len());
    page.line("pubsub_patterns", engine.pubsub.subscribed(Kind::Pattern).len());
    page.line("pubsubshard_channels", engine.pubsub.subscribed(Kind::Shard).len());
    // What was a fork there is a snapshot here.
    page.line("latest_fork_usec", engine.persistence.last_snapshot_us);
    page.line("total_forks", stats.snapshots);
    page.zeros(&["migrate_cached_sockets", "slave_expires_tracked_keys", "active_defrag_hits", "active_defrag_misses"]);
    page.zeros(&["active_defrag_key_hits", "active_defrag_key_misses", "total_active_defrag_time"]);
    let (keys, reads, prefixes) = engine.tracking.counts();
    page.zeros(&["current_active_defrag_time", "unexpected_error_replies"]);
    page.line("tracking_total_keys", keys);
    page.line("tracking_total_items", reads);
    page.line("tracking_total_prefixes", prefixes);
    page.line("total_error_replies", stats.error_replies);
    page.zeros(&["dump_payload_sanitizations", "io_threaded_reads_processed"]);
    page.line("io_threaded_writes_processed", stats.writes_by_threads);
    page.line("client_query_buffer_limit_disconnections", stats.query_limit_disconnections);
    page.line("client_output_buffer_limit_disconnections", stats.output_limit_disconnections);
    page.line("eventloop_cycles", stats.turns.count);
    page.line("eventloop_duration_sum", stats.turns.total.as_micros());
    page.line("eventloop_duration_cmd_sum", stats.turns.in_commands.as_micros());
    page.line("eventloop_duration_max", stats.turns.longest.as_micros());
    page.line("instantaneous_eventloop_cycles_per_sec", machine.turns_per_second);
    page.line("instantaneous_eventloop_duration_usec", machine.turn_us);
    page.zeros(&["acl_access_denied_auth", "acl_access_denied_cmd", "acl_access_denied_key"]);
    page.line("acl_access_denied_channel", 0);
}

fn replication(engine: &Engine, page: &mut Page) {
    page.line("role", "master");
    page.line("connected_slaves", 0);
    page.line("master_failover_state", "no-failover");
    page.line("master_replid", &engine.run_id);
    page.line("master_replid2", "0".repeat(40));
    page.line("master_repl_offset", 0);
    page.line("second_repl_offset", -1);
    page.line("repl_backlog_active", 0);
    page.line("repl_backlog_size", 0);
    page.zeros(&["repl_backlog_first_byte_offset", "repl_backlog_histlen"]);
}

fn cpu(engine: &Engine, page: &mut Page) {
    let machine = &engine.stats.machine;
    page.line("used_cpu_sys", format!("{:.6}", machine.cpu_system));
    page.line("used_cpu_user", format!("{:.6}", machine.cpu_user));
    page.line("used_cpu_sys_children", "0.000000");
    page.line("used_cpu_user_children", "0.000000");
}

fn commandstats(engine: &Engine, page: &mut Page) {
    visit_rows(&mut |name, row| {
        let count = engine.stats.calls.of(row);
        if count != CallCount::default() {
            let CallCount { calls, failed, rejected, ticks } = count;
            let ns = engine.clock.ns(ticks);
            let (usec, mean) = (ns / 1000, ns as f64 / 1000.0 / calls.max(1) as f64);
            page.line(
                &format!("cmdstat_{name}"),
                format!(
                    "calls={calls},usec={usec},usec_per_call={mean:.2},rejected_calls={rejected},failed_calls={failed}"
                ),
            );
        }
    });
}

/// The percentiles that the configuration names, of each command whose durations are counted.
fn latencystats(engine: &Engine, page: &mut Page) {
    let percents: Vec<&str> = engine.config.latency_percentiles.split_ascii_whitespace().collect();
    visit_rows(&mut |name, row| {
        let Some(histogram) = engine.stats.calls.histogram(row) else { return };
        let values = percents.iter().map(|percent| {
            let ns = engine.clock.ns(histogram.percentile(percent.parse().unwrap_or(0.0)));
            format!("p{percent}={:.3}", ns as f64 / 1000.0)
        });
        page.line(&format!("latency_percentiles_usec_{name}"), values.collect::<Vec<_>>().join(","));
    });
}

fn errorstats(engine: &Engine, page: &mut Page) {
    for (code, count) in engine.stats.errors.iter() {
        page.line(&format!("errorstat_{code}"), format!("count={count}"));
    }
}

fn keyspace(engine: &Engine, page: &mut Page) {
    for index in 0..engine.keyspace.db_count() {
        let (keys, expires) = engine.keyspace.counts(index);
        let hashes = engine.keyspace.hashes_that_expire(index);
        if keys > 0 {
            page.line(&format!("db{index}"), format!("keys={keys},expires={expires},avg_ttl=0,subexpiry={hashes}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::console::{Console, assert_rows_are_those_of_redis};
    use super::*;

    #[test]
    fn the_rows_are_those_of_redis() {
        assert_rows_are_those_of_redis(COMMANDS);
    }

    #[test]
    fn sizes_read_as_redis_spells_them() {
        for (bytes, text) in [(0, "0B"), (1023, "1023B"), (752_176, "734.55K"), (25_276_502_016, "23.54G")] {
            assert_eq!(human(bytes), text);
        }
    }

    fn titles(text: &str) -> Vec<&str> {
        text.split("# ").skip(1).filter_map(|section| section.split(' ').next()).collect()
    }

    #[test]
    fn sections_come_in_their_order_and_only_those_asked_for() {
        let mut console = Console::new();
        assert_eq!(titles(&console.run("info keyspace SERVER")), ["Server", "Keyspace"]);
        assert_eq!(titles(&console.run("info nosuch")), Vec::<&str>::new());
        let by_default = console.run("info");
        assert!(!titles(&by_default).contains(&"Commandstats"));
        assert!(titles(&console.run("info default commandstats")).contains(&"Commandstats"));
        let usual = SECTIONS.iter().map(|section| section.title).filter(|title| *title != BACKUP);
        assert_eq!(titles(&console.run("info everything")), usual.collect::<Vec<_>>());
        assert_eq!(titles(&console.run("info backup")), [BACKUP]);
        console.engine.config.backup_repo = "backups".to_owned();
        assert!(titles(&console.run("info")).contains(&BACKUP));
    }

    /// Fields of Redis 8.0.6 that would be made up here, or that say how it is built.
    const LEFT_OUT: &[&str] = &[
        "reply_buffer_",
        "total_reads_processed",
        "total_writes_processed",
        "io_thread_0",
        "used_cpu_sys_main_thread",
        "used_cpu_user_main_thread",
        "atomicvar_api",
        "mem_overhead_db_hashtable_rehashing",
        "mem_replica_full_sync_buffer",
        "module",
        "cmdstat_",
        "latency_percentiles_usec_",
    ];

    #[test]
    fn the_fields_of_redis_are_there() {
        let reference = include_str!("../../testdata/reference/redis-8.0.6.info.txt");
        let ours = Console::new().run("info everything");
        for field in reference.lines().filter_map(|line| line.split_once(':')).map(|(field, _)| field) {
            if !LEFT_OUT.iter().any(|prefix| field.starts_with(prefix)) {
                assert!(ours.contains(&format!(" {field}:")), "{field} is missing");
            }
        }
    }

    #[test]
    fn values_are_those_of_the_engine() {
        let mut console = Console::new();
        console.run("set a 1 ex 100");
        console.run("get a");
        console.run("get b");
        let text = console.run("info");
        for field in [
            "keyspace_hits:1 ",
            "keyspace_misses:1 ",
            "rdb_changes_since_last_save:1 ",
            "db0:keys=1,expires=1,avg_ttl=0,subexpiry=0",
            "aof_enabled:0 ",
            "loading:0 ",
        ] {
            assert!(text.contains(field), "{field} in {text}");
        }
        assert!(!text.contains("loading_total_bytes"));
        console.engine.persistence.is_loading = true;
        console.engine.persistence.load.begin(0, 200);
        console.engine.persistence.load.advance(50).unwrap();
        assert!(console.run("info persistence").contains("loading_loaded_perc:25.00 "));
    }
}
