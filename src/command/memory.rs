//! MEMORY: what keys cost, and what the allocator holds.
//!
//! All figures are the allocator's own: a key counts the blocks that hold it, at the size that the allocator gives them, and
//! its share of the table that finds it, so that the sum over all keys is what the server grew by.

use super::args::{self, is};
use super::connection::help;
use super::spec::{Command, Keys, LOADING, NO_KEYS, READONLY, STALE, command, container};
use super::{CommandError, Context, Outcome};
use crate::allocator;

pub const COMMANDS: &[Command] = &[container("memory", 0, "4.0.0", MEMORY)];

const KEY: Keys = Keys::Range { first: 2, last: 2, step: 1 };

const MEMORY: &[Command] = &[
    command("usage", -3, READONLY, KEY, 0, "4.0.0", usage),
    command("doctor", 2, 0, NO_KEYS, 0, "4.0.0", doctor),
    command("stats", 2, 0, NO_KEYS, 0, "4.0.0", stats),
    command("purge", 2, 0, NO_KEYS, 0, "4.0.0", purge),
    command("malloc-stats", 2, 0, NO_KEYS, 0, "4.0.0", malloc_stats),
    command("help", 2, LOADING | STALE, NO_KEYS, 0, "4.0.0", memory_help),
];

/// Below this a server has no memory problems that are worth a word.
const SMALL_LEN: u64 = 5 << 20;
/// Waste below this is not worth a word either.
const WASTE_LEN: u64 = 10 << 20;

/// `USAGE key [SAMPLES count ...]`. The counts are checked and change nothing: collections know their size.
fn usage(context: &mut Context<'_>) -> Outcome {
    let mut options = context.args[3..].chunks_exact(2);
    for option in &mut options {
        if !is(option[0], "SAMPLES") || args::int(option[1])? < 0 {
            return Err(CommandError::Syntax);
        }
    }
    if !options.remainder().is_empty() {
        return Err(CommandError::Syntax);
    }
    let key = context.args[2];
    let footprint = context.db_mut().footprint(key);
    Ok(match footprint {
        Some(bytes) => context.reply.count(bytes),
        None => context.reply.null(),
    })
}

/// What the figures of this moment are.
struct Figures {
    used: u64,
    peak: u64,
    startup: u64,
    /// Tables of all databases.
    tables: u64,
    log_buffer: u64,
    deferred: u64,
    keys: u64,
    allocator: allocator::Usage,
    rss: u64,
}

impl Figures {
    fn take(context: &mut Context<'_>) -> Self {
        let now_us = context.engine.clock.now_us();
        context.engine.memory.refresh(now_us);
        let (memory, keyspace) = (&context.engine.memory, &context.engine.keyspace);
        Self {
            used: memory.used(),
            peak: memory.peak(),
            startup: memory.startup(),
            tables: keyspace.table_len(),
            log_buffer: context.engine.journal.pending().len() as u64, // usize has at most 64 bits
            deferred: keyspace.deferred().1 as u64,                    // as above
            keys: keyspace.len() as u64,                               // as above
            allocator: memory.usage(),
            rss: context.engine.stats.machine.rss,
        }
    }

    /// What is not data: what was in use before there was any, the tables, the log's buffer, old versions.
    fn overhead(&self) -> u64 {
        (self.startup + self.tables + self.log_buffer + self.deferred).min(self.used)
    }

    fn dataset(&self) -> u64 {
        self.used - self.overhead()
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 } // for a display
}

fn stats(context: &mut Context<'_>) -> Outcome {
    let figures = Figures::take(context);
    let Figures { used, peak, startup, allocator, rss, .. } = figures;
    let grown = used.saturating_sub(startup);
    let difference = |more: u64, less: u64| i64::try_from(i128::from(more) - i128::from(less)).unwrap_or(i64::MAX);
    let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let integers = [
        ("peak.allocated", count(peak)),
        ("total.allocated", count(used)),
        ("startup.allocated", count(startup)),
        ("replication.backlog", 0),
        ("clients.slaves", 0),
        ("clients.normal", 0),
        ("cluster.links", 0),
        ("aof.buffer", count(figures.log_buffer)),
        ("lua.caches", 0),
        ("functions.caches", 0),
        ("overhead.tables", count(figures.tables)),
        ("overhead.total", count(figures.overhead())),
        ("keys.count", count(figures.keys)),
        ("keys.bytes-per-key", count(grown.checked_div(figures.keys).unwrap_or(0))),
        ("dataset.bytes", count(figures.dataset())),
        ("snapshot.deferred.bytes", count(figures.deferred)),
        ("allocator.allocated", count(allocator.allocated)),
        ("allocator.active", count(allocator.active)),
        ("allocator.resident", count(allocator.resident)),
        ("allocator-fragmentation.bytes", difference(allocator.active, allocator.allocated)),
        ("allocator-rss.bytes", difference(allocator.resident, allocator.active)),
        ("rss-overhead.bytes", difference(rss, allocator.resident)),
        ("fragmentation.bytes", difference(rss, used)),
    ];
    let doubles = [
        ("dataset.percentage", share(figures.dataset(), grown) * 100.0),
        ("peak.percentage", share(used, peak) * 100.0),
        ("allocator-fragmentation.ratio", share(allocator.active, allocator.allocated)),
        ("allocator-rss.ratio", share(allocator.resident, allocator.active)),
        ("rss-overhead.ratio", share(rss, allocator.resident)),
        ("fragmentation", share(rss, used)),
    ];
    let reply = context.reply.map(integers.len() + doubles.len());
    for (name, value) in integers {
        context.reply.bulk(name.as_bytes());
        context.reply.int(value);
    }
    for (name, value) in doubles {
        context.reply.bulk(name.as_bytes());
        context.reply.double(value);
    }
    Ok(reply)
}

fn doctor(context: &mut Context<'_>) -> Outcome {
    let text = findings(&Figures::take(context)).join("\n");
    Ok(context.reply.verbatim("txt", text.as_bytes()))
}

/// One sentence for each problem, or one that says there is none.
fn findings(figures: &Figures) -> Vec<String> {
    let Figures { used, peak, allocator, rss, deferred, .. } = *figures;
    if used < SMALL_LEN {
        return vec![format!("In use are {used} bytes: too few for memory to be a problem.")];
    }
    let mut found = Vec::new();
    if peak - peak.min(used) > used / 2 {
        found.push(format!(
            "Peak: {peak} bytes were in use once, {used} are now. The allocator may still hold pages from then; MEMORY \
             PURGE gives them back."
        ));
    }
    let wasted = allocator.active.saturating_sub(allocator.allocated);
    if wasted > WASTE_LEN && wasted > allocator.allocated / 10 {
        found.push(format!("Fragmentation: {wasted} bytes lie unused in pages of which other parts are in use."));
    }
    let held = allocator.resident.saturating_sub(allocator.active);
    if held > WASTE_LEN && held > allocator.active / 10 {
        found.push(format!(
            "Allocator: {held} bytes are resident in pages that nothing uses; MEMORY PURGE gives them back."
        ));
    }
    let beside = rss.saturating_sub(allocator.resident);
    if beside > WASTE_LEN && beside > allocator.resident / 10 {
        found.push(format!("Process: {beside} bytes are resident that are not the allocator's."));
    }
    if deferred > WASTE_LEN && deferred > used / 10 {
        found.push(format!("Snapshots: {deferred} bytes are old versions of keys, kept until the open snapshots end."));
    }
    if found.is_empty() {
        found.push(format!("No problem was found: {used} bytes are in use, {rss} resident."));
    }
    found
}

fn purge(context: &mut Context<'_>) -> Outcome {
    allocator::purge();
    Ok(context.reply.ok())
}

fn malloc_stats(context: &mut Context<'_>) -> Outcome {
    let allocator::Usage { allocated, active, resident } = Figures::take(context).allocator;
    let text = format!("jemalloc\nallocated: {allocated}\nactive: {active}\nresident: {resident}\n");
    Ok(context.reply.verbatim("txt", text.as_bytes()))
}

fn memory_help(context: &mut Context<'_>) -> Outcome {
    Ok(help(
        context,
        "MEMORY",
        &[
            ("DOCTOR", "Return memory problems reports."),
            ("MALLOC-STATS", "Return internal statistics report from the memory allocator."),
            ("PURGE", "Give pages that nothing uses back to the system."),
            ("STATS", "Return information about the memory usage of the server."),
            ("USAGE <key> [SAMPLES <count>]", "Return memory in bytes used by <key> and its value."),
        ],
    ))
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
    fn memory_of_a_key_grows_with_it() {
        let mut console = Console::new();
        assert_eq!(console.run("memory usage a"), "_");
        let usage = |console: &mut Console, value: &str| -> usize {
            console.run(&format!("set a {value}"));
            console.run("memory usage a samples 5").trim_start_matches(':').parse().unwrap()
        };
        let small = usage(&mut console, "b");
        assert!(usage(&mut console, &"b".repeat(1000)) >= small + 990);
        for wrong in ["samples -1", "samples", "samples 1 samples", "samples 1 samples -1", "nosuch 1"] {
            assert_eq!(console.run(&format!("memory usage a {wrong}")), "-ERR syntax error", "{wrong}");
        }
        assert_eq!(console.run("memory usage a samples 1 samples 2"), console.run("memory usage a"));
        assert!(console.run("memory stats").contains(" keys.count :1 "));
    }

    #[test]
    fn the_doctor_names_what_is_wrong_and_only_that() {
        let healthy = Figures {
            used: 100 << 20,
            peak: 110 << 20,
            startup: 1 << 20,
            tables: 10 << 20,
            log_buffer: 0,
            deferred: 0,
            keys: 1_000_000,
            allocator: allocator::Usage { allocated: 100 << 20, active: 102 << 20, resident: 105 << 20 },
            rss: 108 << 20,
        };
        let first_words = |figures: Figures| -> Vec<String> {
            findings(&figures).iter().map(|text| text.split([':', ' ']).next().unwrap().to_owned()).collect()
        };
        assert_eq!(first_words(Figures { ..healthy }), ["No"]);
        assert_eq!(first_words(Figures { used: 1 << 20, ..healthy }), ["In"]);
        assert_eq!(first_words(Figures { peak: 300 << 20, ..healthy }), ["Peak"]);
        assert_eq!(first_words(Figures { deferred: 50 << 20, rss: 200 << 20, ..healthy }), ["Process", "Snapshots"]);
        let allocator = allocator::Usage { allocated: 100 << 20, active: 130 << 20, resident: 190 << 20 };
        assert_eq!(first_words(Figures { allocator, rss: 191 << 20, ..healthy }), ["Fragmentation", "Allocator"]);
    }
}
