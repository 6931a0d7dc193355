//! Ironkeep: a Redis-compatible server that treats the disk as the point, and the library under its tools.
//!
//! Imports point down only; `tests/house.rs` holds it:
//!
//! ```text
//! cow, codec, disk -> resp, value -> rdb, aof, lua -> keyspace -> engine -> command -> persist -> backup -> server -> binaries
//!  containers, bytes   vocabulary     formats, scripts   data       state     verbs      tasks     catalogue  sockets
//! ```
//!
//! A `SET` travels: a connection reads bytes, [`resp`] finds the request in them, [`command`] runs the handler, which
//! changes [`keyspace`] and writes a reply; the effect enters the journal of [`engine`] and gets a position in the
//! log; [`persist`] writes (and syncs) the log, and only then may the reply leave through [`server`].
//!
//! A script travels likewise: [`lua`] runs it, and what it calls goes through [`command`] into the same journal.
//!
//! [`cli`] is what the binaries share: exit codes, JSON, finding the files, editing them in place.

pub mod allocator;
pub mod aof;
pub mod backup;
pub mod calendar;
pub mod cli;
pub mod codec;
pub mod command;
pub mod cow;
pub mod disk;
pub mod engine;
pub mod keyspace;
pub mod lua;
pub mod persist;
pub mod rdb;
pub mod resp;
pub mod server;
pub mod value;
