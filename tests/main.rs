//! The one crate of integration tests; each module says what belongs in it. Lengths of the long ones come from the
//! environment: such a module names its variable at its head, and its tests print the count that they reached.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)] // tests may end by panicking

/// The rules of the house: import directions, lengths, where files, clock, tokio and `unsafe` may appear.
mod house;

/// Starting servers, talking to them, comparing what they hold. No tests of its own.
mod rig;

/// Files that others wrote, whole and broken.
mod formats {
    mod agreement;
    mod corpus;
    mod log_agreement;
    mod mutation;
    /// What only newer servers write, through a running server.
    mod newer_servers;
    mod passed_through;
}

/// Clients with habits of their own.
mod clients;

/// Libraries and tools that people use.
mod client_libraries;

/// What commands answer, beside real servers.
mod commands;

/// Random requests, to ours and to Redis.
mod differential;

/// What several clients see of each other, beside real servers.
mod sessions;

/// Scripts, as a running server carries them out and logs them.
mod scripts;

/// redis.conf, as a running server reads and writes it.
mod configuration;

/// Backups, from the schedule to a restored server; and what the archive of the log brings back between them.
mod archive;
mod backups;
mod encryption;
/// The same in a bucket of S3.
mod s3;

/// What BACKUP START and SEAL leave, and starts on it.
mod sealed_sets;

/// What survives a death.
mod durability {
    /// An accident, and the way back.
    mod flush_guard;
    /// What rewrites have replaced.
    mod history;
    mod kill;
    pub mod load;
    mod loading;
    mod locks;
    pub mod model;
    /// Allocations that fail.
    mod out_of_memory;
    mod refused;
    /// The marks in the log by which it proves itself.
    mod seals;
    mod shutdown;
    /// The log, switched on and off while the server runs.
    mod switch;
    mod waitaof;
}

/// Faults of the machine, done to the real binary.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod faults {
    /// A death or an error at each system call.
    mod calls;
    /// Real servers under some of the same faults.
    mod comparison;
    /// What was written, and what of it must be there.
    mod ledger;
    /// Power cuts of a file system that forgets what was not synced.
    mod lossy;
    mod operations;
    /// A disk that is full, and has room again.
    mod small_disk;
    /// A server's system calls, watched and failed.
    mod tracer;
}

/// What a snapshot reads while everything changes under it.
mod snapshots;
/// What goes away: for want of memory, for its time, and off the executor.
mod memory {
    mod eviction;
    mod expiry;
    mod lazyfree;
    /// What MEMORY USAGE says, beside what the allocator says.
    mod usage;
}

/// What we write, read by real Redis and Valkey.
mod interop;

/// Keys that go from one running server to another.
mod migrate;

/// What `rdbtool convert` writes, read by real Redis and Valkey.
mod conversions;

/// The tools as their users meet them: the binaries, run on files.
mod tools {
    mod aoftool;
    /// Data of logs at a time, and beside each other.
    mod aoftool_at;
    /// Logs and RDBs in other shapes.
    mod aoftool_convert;
    /// Some of the records of a log.
    mod aoftool_dump;
    /// Logs into running servers.
    mod aoftool_merge;
    /// Called by the names of others.
    mod aoftool_names;
    mod aoftool_replay;
    /// What is left of a damaged log, and cuts, and seals.
    mod aoftool_skip;
    /// What a log is made of, and the course of what was written.
    mod aoftool_stats;
    /// What a server adds to its log.
    mod aoftool_tail;
    /// An accident taken back, and the taking back too.
    mod aoftool_undo;
    /// `rdbtool build`: there and back again, and bad input.
    mod build;
    /// The verdict on a file, and all that is wrong with it.
    mod check;
    mod convert;
    /// What two files do not agree on.
    mod diff;
    /// The formats of `rdbtool dump`, and how much memory they take.
    mod dump;
    /// The bytes of a file beside their meaning.
    mod explain;
    /// Data of running servers.
    mod fetch;
    /// Some of the keys of a file.
    mod filter;
    /// Where the bytes of rdbtool may come from.
    mod inputs;
    /// Files into running servers.
    mod load;
    /// Completions and man pages.
    mod manual;
    /// The estimate of memory, beside real servers.
    mod memory;
    /// Several files made one.
    mod merge;
    /// Files of servers that are not at hand.
    mod newer;
    mod rdbtool;
    /// Called by the names of others.
    mod rdbtool_names;
    mod repair;
    /// The page about memory, in a browser too.
    mod report;
    /// One file shared out to several.
    mod split;
    mod strip;
    /// What breaks the tools of others.
    mod traps;
}
