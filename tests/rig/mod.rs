//! What the tests of the running server stand on: real servers started on loopback, ours and its peers, a client that
//! gives up instead of hanging, and the contents of a server as a value that can be compared.

mod client;
mod contents;
mod corpus;
mod folder;
mod log;
pub mod script;
mod server;

pub use client::{Client, Value};
pub use contents::{Contents, Data, differences, read_contents};
pub use corpus::{corpus_root, flushed_logs, logs, rdb_files, truth_of};
pub use folder::{copy_folder, files_below};
pub use log::{log_file, records};
pub use server::{Program, Server, free_port};

/// A length of a test that the environment may change.
pub fn length(variable: &str, usual: usize) -> usize {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}: no count")))
}

/// Says that a test, or a part of one, can't run here. Under CI nothing may be missing.
pub fn skip(reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must not skip: {reason}");
    println!("skipped: {reason}");
}

/// Says that a part of a test can't run because the machine does not let it, to which no installation is a cure: no failure,
/// under CI neither.
pub fn denied(reason: &str) {
    println!("skipped, the machine denies it: {reason}");
}
