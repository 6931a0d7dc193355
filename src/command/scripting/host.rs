//! What a running script may do to the server.

use crate::engine::jobs::Job;
use crate::engine::{Engine, Session};
use crate::lua::{Effects, Host, LogLevel};
use crate::resp::{Encoder, Protocol};

use super::super::spec::{DENYOOM, MAY_REPLICATE, NOSCRIPT, WRITE};
use super::super::{Command, CommandError, execute, table};

/// What was found when the script began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Rules {
    /// Commands that write are refused.
    pub(in super::super) is_read_only: bool,
    /// There is no room for what takes more; unless the script has written before, which is not to be left half done.
    pub(in super::super) is_full: bool,
}

/// The server of one script. The session is the client's, and as before when this goes.
pub(in super::super) struct ScriptHost<'a> {
    engine: &'a mut Engine,
    session: &'a mut Session,
    request: &'a [&'a [u8]],
    rules: Rules,
    before: Before,
}

/// Of the client's session.
struct Before {
    db: usize,
    protocol: Protocol,
    denies_waiting: bool,
}

impl<'a> ScriptHost<'a> {
    pub(in super::super) fn new(
        engine: &'a mut Engine,
        session: &'a mut Session,
        request: &'a [&'a [u8]],
        rules: Rules,
    ) -> Self {
        let before = Before { db: session.db, protocol: session.protocol, denies_waiting: session.denies_waiting };
        session.denies_waiting = true;
        session.is_scripted = true;
        Self { engine, session, request, rules, before }
    }

    /// The command, if the script may call it now.
    fn allow(&mut self, arguments: &[&[u8]]) -> Result<&'static Command, CommandError> {
        let command = execute::find(arguments).map_err(|error| match error {
            CommandError::WrongArity(_) => CommandError::ScriptWrongArity,
            _ => CommandError::ScriptUnknownCommand,
        })?;
        if command.is(NOSCRIPT) {
            return Err(CommandError::NotFromScript);
        }
        let has_written = self.engine.scripts.running.as_ref().is_some_and(|running| running.has_written);
        if self.rules.is_read_only && command.is(WRITE | MAY_REPLICATE) {
            return Err(CommandError::ReadOnlyScript);
        }
        if command.is(WRITE) {
            execute::check_disk(self.engine)?;
        }
        if command.is(DENYOOM) && self.rules.is_full && !has_written {
            return Err(CommandError::OutOfMemory);
        }
        if let Some(running) = self.engine.scripts.running.as_mut().filter(|_| command.is(WRITE)) {
            running.has_written = true;
        }
        Ok(command)
    }
}

impl Drop for ScriptHost<'_> {
    fn drop(&mut self) {
        self.session.db = self.before.db;
        self.session.protocol = self.before.protocol;
        self.session.denies_waiting = self.before.denies_waiting;
        self.session.is_scripted = false;
    }
}

impl Host for ScriptHost<'_> {
    fn call(&mut self, arguments: &[&[u8]], protocol: Protocol, effects: Effects, reply: &mut Vec<u8>) {
        match self.allow(arguments) {
            Ok(command) => {
                self.session.protocol = protocol;
                if effects.are_logged() {
                    execute::run(self.engine, self.session, command, arguments, reply);
                } else {
                    let was_on = self.engine.journal.look_away();
                    execute::run(self.engine, self.session, command, arguments, reply);
                    self.engine.journal.listen(was_on);
                }
            }
            Err(error) => {
                let text = error.to_string();
                self.engine.stats.count_error(&text);
                Encoder::new(reply, protocol).error(text.as_bytes());
            }
        }
    }

    /// There are no users yet who may not.
    fn may_call(&mut self, arguments: &[&[u8]]) -> Option<bool> {
        table::find(arguments[0]).map(|_| true)
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        self.engine.jobs.push(Job::Log(level, String::from_utf8_lossy(text).into_owned()));
    }

    fn count_error(&mut self, text: &[u8]) {
        self.engine.stats.count_error(&String::from_utf8_lossy(text));
    }

    fn pulse(&mut self) -> Option<&'static str> {
        let threshold = self.engine.config.busy_reply_threshold;
        let running = self.engine.scripts.running.as_mut()?;
        if threshold == 0 || running.since.elapsed().as_millis() < u128::from(threshold) {
            return None;
        }
        if !std::mem::replace(&mut running.is_long, true) {
            running.command = self.request.iter().map(|argument| argument.to_vec()).collect();
            let which = if running.is_function { "FUNCTION" } else { "SCRIPT" };
            let text = format!(
                "Slow script detected: still in execution after {} milliseconds. You can try killing the script using \
                 the {which} KILL command. Script name is: {}.",
                running.since.elapsed().as_millis(),
                running.name
            );
            self.engine.jobs.push(Job::Log(LogLevel::Warning, text));
        }
        self.engine.serve_while_busy();
        self.engine.scripts.running.as_ref()?.end
    }
}
