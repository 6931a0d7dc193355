//! The same path for records of the log: nothing expires, nothing is refused for the state of the server, nothing is
//! logged again.

use crate::engine::session::Transaction;
use crate::engine::{Engine, Session};
use crate::resp::Encoder;
use crate::resp::request::Arguments;

use super::spec::WRITE;
use super::{Command, Context, execute, table};

/// Why a record can't be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("unknown command '{0}'")]
    UnknownCommand(String),
    #[error("the command '{0}' is not one that a log may hold")]
    NotAWrite(String),
    #[error("'{command}' failed: {reply}")]
    Failed { command: String, reply: String },
}

/// Replays records one after the other: the session that they run in, and room for the replies, which nobody reads.
#[derive(Debug)]
pub struct Replay {
    session: Session,
    replies: Vec<u8>,
    is_strict: bool,
}

/// What logs have besides writes. PFCOUNT keeps its estimate in the value.
const ALSO_LOGGED: [&str; 2] = ["select", "pfcount"];

/// Room for replies beyond this is given back.
const MOST_REPLY_ROOM: usize = 64 << 10;

impl Default for Replay {
    fn default() -> Self {
        Self::new()
    }
}

impl Replay {
    /// For the log of a server.
    pub fn new() -> Self {
        Self { session: Session::replay(), replies: Vec::new(), is_strict: false }
    }

    /// For records that no server has executed before: one that fails is an error.
    pub fn strict() -> Self {
        Self { is_strict: true, ..Self::new() }
    }

    /// Replays one record. Commands of a MULTI are held back until its EXEC, and are dropped with the session if it
    /// never comes.
    pub fn run(&mut self, engine: &mut Engine, arguments: &[&[u8]]) -> Result<(), ReplayError> {
        let Ok(command) = execute::find(arguments) else {
            return Err(unknown(arguments));
        };
        match command.name {
            "multi" => self.session.transaction = Some(Transaction::default()),
            "exec" => {
                for record in self.session.transaction.take().unwrap_or_default().queue {
                    let record: Arguments<'_> = record.iter().map(Vec::as_slice).collect();
                    let command = execute::find(&record).map_err(|_| unknown(&record))?;
                    self.run_one(engine, command, &record)?;
                }
            }
            _ => match &mut self.session.transaction {
                Some(transaction) => transaction.queue.push(arguments.iter().map(|a| a.to_vec()).collect()),
                None => self.run_one(engine, command, arguments)?,
            },
        }
        Ok(())
    }

    /// Whether a MULTI waits for its EXEC.
    pub fn is_in_transaction(&self) -> bool {
        self.session.transaction.is_some()
    }

    /// Fetches the memory that the keys of the next records are in, as far as they are in the database selected now.
    pub fn prefetch(&self, engine: &Engine, records: &[Arguments<'_>]) {
        let mut places = smallvec::SmallVec::<[(usize, u64); 64]>::new();
        for record in records {
            if let Ok(command) = execute::find(record) {
                let keys = command.key_positions(record).into_iter().map(|position| record[position]);
                places.extend(keys.map(|key| (self.session.db, engine.keyspace.hash(key))));
            }
        }
        engine.keyspace.prefetch(&places);
    }

    fn run_one(
        &mut self,
        engine: &mut Engine,
        command: &'static Command,
        arguments: &[&[u8]],
    ) -> Result<(), ReplayError> {
        let name = || command.name.to_owned();
        if !command.is(WRITE) && !ALSO_LOGGED.contains(&command.name) {
            return Err(ReplayError::NotAWrite(name()));
        }
        self.replies.clear();
        self.replies.shrink_to(MOST_REPLY_ROOM);
        let session = &mut self.session;
        let reply = Encoder::new(&mut self.replies, session.protocol);
        let mut context = Context {
            engine,
            session,
            args: arguments,
            reply,
            changes: 0,
            is_logged: true,
            operations: None,
            is_replay: true,
        };
        // A write that failed for its argument's or its key's sake failed in the same way when it was logged, and changed
        // nothing then; real servers write such records in transactions, and skip over their errors.
        match (command.run)(&mut context) {
            Err(error) if self.is_strict || matches!(error, super::CommandError::DbOutOfRange) => {
                Err(ReplayError::Failed { command: name(), reply: error.to_string() })
            }
            _ => Ok(()),
        }
    }
}

fn unknown(arguments: &[&[u8]]) -> ReplayError {
    let name = super::args::printable(arguments[0]);
    match (table::find(arguments[0]), arguments.get(1)) {
        (Some(_), Some(second)) => ReplayError::UnknownCommand(format!("{name} {}", super::args::printable(second))),
        _ => ReplayError::UnknownCommand(name),
    }
}
