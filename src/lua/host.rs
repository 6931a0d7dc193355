//! What a script asks of the server.

use crate::resp::Protocol;

/// The server, as a running script sees it.
pub trait Host {
    /// Runs a command, whose name comes first. Its reply is appended, in this version of the protocol; what is refused is an
    /// error reply.
    fn call(&mut self, arguments: &[&[u8]], protocol: Protocol, effects: Effects, reply: &mut Vec<u8>);

    /// Whether the user may run the command; none if there is no such command, or it takes another number of arguments.
    fn may_call(&mut self, arguments: &[&[u8]]) -> Option<bool>;

    /// Writes a line to the server's log.
    fn log(&mut self, level: LogLevel, text: &[u8]);

    /// Counts an error that the script replies.
    fn count_error(&mut self, text: &[u8]);

    /// Called every hundred thousand instructions: the text of the error that ends the script, if something is to.
    fn pulse(&mut self) -> Option<&'static str>;
}

/// Where the effects of commands go, as `redis.set_repl` says: bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effects(pub u8);

impl Effects {
    pub const NONE: Self = Self(0);
    pub const LOG: Self = Self(1);
    pub const REPLICAS: Self = Self(2);
    pub const ALL: Self = Self(3);

    pub fn are_logged(self) -> bool {
        self.0 & Self::LOG.0 != 0
    }
}

/// The levels of `redis.log`, by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
}
