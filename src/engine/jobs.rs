//! Intents: what commands ask of the tasks around the engine.

use std::rc::Rc;

use crate::lua::LogLevel;

use super::Engine;

/// Something to do after the command, by whoever may do I/O.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Save a snapshot in the background.
    BackgroundSave,
    /// Rewrite the log in the background.
    RewriteLog,
    /// Close the connection of a client.
    KillClient(u64),
    Shutdown(Shutdown),
    /// Write a line to the server's own log, for a script.
    Log(LogLevel, String),
    /// Let held clients go on when the pause, if there still is one, has ended.
    AwaitEndOfPause,
    /// Turn the log on or off, as the configuration now says, and answer the client.
    SwitchLog(Switch),
    /// Data was flushed: say so, and how it can be brought back.
    TellOfFlush(Flush),
    /// Reply to a client when its writes are durable.
    AwaitSync(SyncWait),
    /// Save a snapshot, and tell the client how that went.
    Save {
        client: u64,
    },
    /// Have the configuration file say what is in force, and tell the client.
    RewriteConfig {
        client: u64,
    },
    /// Send the client an RDB of this moment.
    StreamSnapshot {
        client: u64,
    },
    /// Work on backups, and tell the client what came of it.
    Backup {
        client: u64,
        work: BackupWork,
    },
}

/// What a client wants of the catalogue of backups, or of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupWork {
    Create {
        label: Option<String>,
    },
    List,
    Verify {
        id: String,
        is_quick: bool,
    },
    /// Of the set, whose state has been looked at.
    StartSet,
    SealSet,
    AbortSet,
    CleanUpSet,
}

/// What WAITAOF waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncWait {
    pub client: u64,
    /// Position of the log behind the client's last command.
    pub position: u64,
    pub wants_local: bool,
    /// Replicas that are to have it durably too.
    pub replicas: usize,
    /// None is for ever.
    pub timeout: Option<std::time::Duration>,
}

/// A CONFIG SET of appendonly whose client waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    pub client: u64,
    pub is_on: bool,
    /// The parameters that were changed, with what they were before.
    pub before: Vec<(&'static str, Vec<u8>)>,
    /// Whether the client may change what only local ones may.
    pub is_local: bool,
}

/// A FLUSHALL or FLUSHDB that has removed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flush {
    pub command: &'static str,
    /// Of the client, and the name that it has given itself.
    pub address: String,
    pub name: Vec<u8>,
    pub keys: usize,
    /// Unix ms of the first flush since the last good save: this one, or one before it.
    pub unsaved_ms: i64,
}

/// Work that a command's own reply waits for: it is done at once, while the command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocking {
    ReloadFromRdb {
        save_first: bool,
    },
    ReloadFromLog,
    /// As [`Job::RewriteConfig`], for a transaction: its reply can't come later.
    RewriteConfig,
}

/// Who does blocking work; set by the server, absent in tests of commands alone.
#[derive(Clone, Default)]
pub struct BlockingWork(Option<Rc<Work>>);

type Work = dyn Fn(&mut Engine, Blocking) -> Result<(), String>;

impl BlockingWork {
    pub fn new(work: impl Fn(&mut Engine, Blocking) -> Result<(), String> + 'static) -> Self {
        Self(Some(Rc::new(work)))
    }
}

/// Has the work done; the error is for the log and, where the contract says so, for the client.
pub fn run_blocking(engine: &mut Engine, work: Blocking) -> Result<(), String> {
    match engine.blocking_work.0.clone() {
        Some(run) => run(engine, work),
        None => Err("this engine has no disk".to_owned()),
    }
}

/// How to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shutdown {
    /// Save (`Some(true)`), don't (`Some(false)`), or save if there are save points.
    pub save: Option<bool>,
    pub force: bool,
    /// A client that waits for the outcome, if it is refused.
    pub client: Option<u64>,
}
