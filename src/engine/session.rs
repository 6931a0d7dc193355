//! What the server knows of one client.

use crate::resp::Protocol;

/// A client's state.
#[derive(Debug)]
pub struct Session {
    pub id: u64,
    /// Address and port, or the path of a Unix socket; empty for the log's replay.
    pub address: String,
    pub local_address: String,
    pub db: usize,
    pub protocol: Protocol,
    pub is_authenticated: bool,
    pub name: Vec<u8>,
    pub library_name: Vec<u8>,
    pub library_version: Vec<u8>,
    /// The queue of MULTI.
    pub transaction: Option<Transaction>,
    pub created_ms: i64,
    pub last_command_ms: i64,
    pub last_command: &'static str,
    /// Position of the log behind the last command.
    pub log_end: u64,
    /// The reply to its last request comes later; until then none of its requests is executed.
    pub awaits_reply: bool,
    /// A transaction runs, in which no reply may come later.
    pub denies_waiting: bool,
    /// A script of its runs: what is executed is called from that.
    pub is_scripted: bool,
    /// Its request has waited, and was counted and shown when it came.
    pub is_repeated: bool,
    /// It has subscriptions: in the protocol's second version little else is possible then.
    pub is_subscribed: bool,
    /// It sees every command.
    pub is_monitor: bool,
    /// Its next request waits for the end of a CLIENT PAUSE.
    pub is_held: bool,
    /// Its pipelines have had something slow in them.
    pub is_timed_closely: bool,
    /// What it reads does not count as used.
    pub is_no_touch: bool,
    /// REPLCONF: it knows a transfer that ends by a mark, and wants no log of commands behind it.
    pub takes_eof_mark: bool,
    pub wants_rdb_only: bool,
    /// The connection is to be closed once the reply has left.
    pub is_closing: bool,
    pub reply_mode: ReplyMode,
    /// The client connected from this machine: loopback or a Unix socket.
    pub is_local: bool,
}

/// CLIENT REPLY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// CLIENT REPLY SKIP has just run; it replies nothing itself.
    SkipThis,
    /// The next reply is swallowed.
    SkipNext,
}

/// Commands between MULTI and EXEC.
#[derive(Debug, Default)]
pub struct Transaction {
    pub queue: Vec<Vec<Vec<u8>>>,
    /// A command was refused while queueing, so EXEC will be.
    pub is_aborted: bool,
    /// A command of the queue takes memory.
    pub takes_memory: bool,
    /// A command of the queue writes.
    pub writes: bool,
    /// A command of the queue is one that replicas would be sent.
    pub is_replicated: bool,
}

impl Session {
    pub fn new(id: u64, address: String, now_ms: i64) -> Self {
        Self {
            id,
            address,
            local_address: String::new(),
            db: 0,
            protocol: Protocol::Resp2,
            is_authenticated: true,
            name: Vec::new(),
            library_name: Vec::new(),
            library_version: Vec::new(),
            transaction: None,
            created_ms: now_ms,
            last_command_ms: now_ms,
            last_command: "NULL",
            log_end: 0,
            awaits_reply: false,
            denies_waiting: false,
            is_scripted: false,
            is_repeated: false,
            is_subscribed: false,
            is_monitor: false,
            is_held: false,
            is_timed_closely: false,
            is_no_touch: false,
            takes_eof_mark: false,
            wants_rdb_only: false,
            is_closing: false,
            reply_mode: ReplyMode::On,
            is_local: true,
        }
    }

    /// The session that replays a log or loads a file.
    pub fn replay() -> Self {
        Self::new(0, String::new(), 0)
    }
}
