//! The same path for records of the log: nothing expires, nothing is refused for the state of the server, nothing is
//! logged again.

use crate::engine::session::Transaction;
use crate::engine::{Engine, Session};
use crate::resp::Encoder;
use crate::resp::request::Arguments;

use super::spec::WRITE;
use super::{Command, CommandError, Context, args, execute};

/// Why a record can't be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("unknown command '{0}'")]
    UnknownCommand(String),
    #[error("wrong number of arguments for '{0}'")]
    WrongArity(String),
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
        let command = playable(arguments, engine.keyspace.db_count())?;
        match command.name {
            "multi" => self.session.transaction = Some(Transaction::default()),
            "exec" => {
                for record in self.session.transaction.take().unwrap_or_default().queue {
                    let record: Arguments<'_> = record.iter().map(Vec::as_slice).collect();
                    let command = playable(&record, engine.keyspace.db_count())?;
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
            Err(error) if self.is_strict => {
                Err(ReplayError::Failed { command: command.name.to_owned(), reply: error.to_string() })
            }
            _ => Ok(()),
        }
    }
}

/// The command of a record, if a log may hold it where there are so many databases; whatever the data that it meets.
pub fn playable(arguments: &[&[u8]], db_count: usize) -> Result<&'static Command, ReplayError> {
    let command = execute::find(arguments).map_err(|error| unknown(arguments, &error))?;
    let numbers: &[&[u8]] = match command.name {
        "multi" | "exec" => return Ok(command),
        "select" => &arguments[1..2],
        "move" => &arguments[2..3],
        "swapdb" => &arguments[1..3],
        "copy" => match arguments[3..].iter().position(|word| args::is(word, "DB")) {
            Some(at) => arguments.get(at + 4..at + 5).unwrap_or_default(),
            None => &[],
        },
        _ => &[],
    };
    if !command.is(WRITE) && !ALSO_LOGGED.contains(&command.name) {
        return Err(ReplayError::NotAWrite(command.name.to_owned()));
    }
    let is_beyond = |index: i64| usize::try_from(index).map_or(true, |index| index >= db_count);
    if numbers.iter().any(|number| args::int(number).is_ok_and(is_beyond)) {
        let (command, reply) = (command.name.to_owned(), CommandError::DbOutOfRange.to_string());
        return Err(ReplayError::Failed { command, reply });
    }
    Ok(command)
}

fn unknown(arguments: &[&[u8]], error: &CommandError) -> ReplayError {
    let name = args::printable(arguments[0]);
    match (error, arguments.get(1)) {
        (CommandError::WrongArity(_), _) => ReplayError::WrongArity(name),
        (CommandError::UnknownSubcommand { .. }, Some(second)) => {
            ReplayError::UnknownCommand(format!("{name} {}", args::printable(second)))
        }
        _ => ReplayError::UnknownCommand(name),
    }
}
