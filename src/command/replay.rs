//! The same path for records of the log: nothing expires, nothing is refused for the state of the server, nothing is
//! logged again.

use crate::engine::session::Transaction;
use crate::engine::{Engine, Session};
use crate::resp::Encoder;

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

/// Replays one record. Commands of a MULTI are held back until its EXEC, and are dropped with the session if it never
/// comes.
pub fn replay(engine: &mut Engine, session: &mut Session, arguments: &[&[u8]]) -> Result<(), ReplayError> {
    replay_as(engine, session, arguments, false)
}

/// As [`replay`], for records that no server has executed before: one that fails is an error.
pub fn replay_strictly(engine: &mut Engine, session: &mut Session, arguments: &[&[u8]]) -> Result<(), ReplayError> {
    replay_as(engine, session, arguments, true)
}

fn replay_as(
    engine: &mut Engine,
    session: &mut Session,
    arguments: &[&[u8]],
    is_strict: bool,
) -> Result<(), ReplayError> {
    let Ok(command) = execute::find(arguments) else {
        return Err(unknown(arguments));
    };
    match command.name {
        "multi" => session.transaction = Some(Transaction::default()),
        "exec" => {
            for record in session.transaction.take().unwrap_or_default().queue {
                let record: crate::resp::request::Arguments<'_> = record.iter().map(Vec::as_slice).collect();
                let command = execute::find(&record).map_err(|_| unknown(&record))?;
                replay_one(engine, session, command, &record, is_strict)?;
            }
        }
        _ => match &mut session.transaction {
            Some(transaction) => transaction.queue.push(arguments.iter().map(|a| a.to_vec()).collect()),
            None => replay_one(engine, session, command, arguments, is_strict)?,
        },
    }
    Ok(())
}

fn replay_one(
    engine: &mut Engine,
    session: &mut Session,
    command: &'static Command,
    arguments: &[&[u8]],
    is_strict: bool,
) -> Result<(), ReplayError> {
    let name = || command.name.to_owned();
    if !command.is(WRITE) && command.name != "select" {
        return Err(ReplayError::NotAWrite(name()));
    }
    let mut out = Vec::new();
    let reply = Encoder::new(&mut out, session.protocol);
    let mut context = Context { engine, session, args: arguments, reply, changes: 0, is_logged: true, is_replay: true };
    // A write that failed for its argument's or its key's sake failed in the same way when it was logged, and changed
    // nothing then; real servers write such records in transactions, and skip over their errors.
    match (command.run)(&mut context) {
        Err(error) if is_strict || matches!(error, super::CommandError::DbOutOfRange) => {
            Err(ReplayError::Failed { command: name(), reply: error.to_string() })
        }
        _ => Ok(()),
    }
}

fn unknown(arguments: &[&[u8]]) -> ReplayError {
    let name = super::args::printable(arguments[0]);
    match (table::find(arguments[0]), arguments.get(1)) {
        (Some(_), Some(second)) => ReplayError::UnknownCommand(format!("{name} {}", super::args::printable(second))),
        _ => ReplayError::UnknownCommand(name),
    }
}
