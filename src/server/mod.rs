//! Sockets and tasks around the engine, on one thread at a time.
//!
//! ```text
//! connection task  reads what its socket has
//!        |
//! turn task        finds the requests of all who have sent some, fetches the memory of their keys, executes them;
//!                  replies wait in the connection with the log position that they rest on; then one write(2) of the
//!                  log for all that was executed, then all replies leave
//! tick task        ten times a second: save points, syncs, automatic rewrites
//! housekeeping     what expires or has no room goes away, a millisecond at a time
//! job tasks        a save or rewrite: each waits for its thread
//! ```
//!
//! A *turn* is what lies between two polls of the sockets: the scheduler first runs every connection that has become
//! readable, then the turn task that the first of them woke. So fifty clients that write at once cost one write to the
//! log (and one fsync under `always`). The thread that executes makes these calls outside of its tasks ([`seat`]): where the
//! disk does not answer, another thread goes on with them.

mod archive;
mod background;
mod backups;
mod batch;
mod busy;
mod config_file;
mod connection;
#[cfg(test)]
mod faults;
mod flush;
mod history;
mod housekeep;
mod input;
mod limits;
mod listen;
mod loading;
mod log;
mod outbox;
mod peer;
mod sealed_set;
mod seat;
mod senders;
mod shared;
mod shutdown;
mod snapshot_stream;
mod socket;
mod start;
mod switch;
mod tick;
mod turn;
mod vanished;
mod waiting;
mod writers;

pub use start::run;
