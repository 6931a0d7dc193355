//! Another server, which a command asks while its own client waits.

use std::time::Duration;

use crate::resp::Answer;

/// Requests to another server, sent over one connection.
#[derive(Debug)]
pub struct Ask<'a> {
    pub host: &'a str,
    pub port: u16,
    /// Of the connection, of each write and of each read.
    pub timeout: Duration,
    /// Encoded, one behind the other.
    pub requests: &'a [u8],
    pub answers_wanted: usize,
}

/// What was under way when the time ran out or the connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Connecting,
    Writing,
    Reading,
}

/// Asks, and gives the answers that came before the fault, if there is one.
pub type Asking = fn(&Ask<'_>) -> (Vec<Answer>, Option<Fault>);

/// An engine without a server can reach nobody.
pub fn nobody(_: &Ask<'_>) -> (Vec<Answer>, Option<Fault>) {
    (Vec::new(), Some(Fault::Connecting))
}
