//! The verbs: every command is a row of a table and a synchronous handler.
//!
//! A handler gets a [`Context`] and returns the proof that it replied, or a [`CommandError`]. It touches no socket, no
//! file and no clock. What it changed is logged as it was typed, unless it says otherwise with
//! [`Context::log_as`] where the change happens.
//!
//! [`execute()`] is the one path on which requests become effects: sockets, MULTI and scripts come through it, and
//! [`replay`] is the same path for the log.

pub mod args;
pub mod context;
pub mod error;
pub mod execute;
pub mod replay;
pub mod spec;
pub mod table;

mod acl;
mod backup;
mod bitmap;
mod changed;
mod client;
mod compare;
mod config_cmd;
mod connection;
#[cfg(test)]
mod console;
mod debug;
mod events;
mod functions;
mod generic;
mod geo;
mod hash;
mod hints;
mod hyperloglog;
mod increx;
mod info;
mod introspection;
mod latency;
mod lcs;
mod list;
mod memory;
mod monitor;
mod observe;
mod persistence;
mod pop_first;
mod pubsub;
mod replication;
mod sample;
mod scripting;
#[cfg(test)]
mod scripts;
mod server_cmd;
mod set;
mod slowlog;
mod sort;
mod stream;
mod string;
mod tracking;
mod transaction;
mod typed;
mod waiting;
mod zset;

pub use client::is_held;
pub use context::Context;
pub use error::CommandError;
pub use execute::{execute, execute_found, execute_while_busy, find_plain};
pub use functions::prepare as prepare_functions;
pub use observe::{begin_requests, end_requests};
pub use spec::Command;
pub use waiting::{serve_ready, time_out};

/// What a handler returns.
pub type Outcome = Result<crate::resp::Reply, CommandError>;
