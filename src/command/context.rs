//! What a handler gets, and all that it may touch.

use crate::engine::{Engine, Session};
use crate::keyspace::{Db, View};
use crate::resp::Encoder;
use crate::value::{Limits, Object, Stream};

use super::CommandError;
use super::events::Operation;

/// One command under execution.
pub struct Context<'a> {
    pub engine: &'a mut Engine,
    pub session: &'a mut Session,
    /// The request, the command's name first.
    pub args: &'a [&'a [u8]],
    pub reply: Encoder<'a>,
    pub(super) changes: u64,
    pub(super) is_logged: bool,
    /// What was logged, where somebody is to hear of it.
    pub(super) operations: Option<Vec<Operation>>,
    /// The log is being replayed: nothing expires, nothing is refused for the state of the disk.
    pub is_replay: bool,
}

impl<'a> Context<'a> {
    /// Unix time in ms: the same for the whole command.
    pub fn now_ms(&self) -> i64 {
        self.engine.clock.now_ms()
    }

    /// Encoding thresholds.
    pub fn limits(&self) -> Limits {
        self.engine.limits
    }

    /// The selected database.
    pub fn db_mut(&mut self) -> Db<'_> {
        self.engine.keyspace.db(self.session.db)
    }

    /// What the key holds; it counts as used, as a hit or a miss.
    pub fn value(&mut self, key: &[u8]) -> Option<View<'_>> {
        let view = self.engine.keyspace.db(self.session.db).into_value_used(key);
        if view.is_some() {
            self.engine.stats.keyspace_hits += 1;
        } else {
            self.engine.stats.keyspace_misses += 1;
        }
        view
    }

    /// Whether there is such a key; a hit or a miss, but no use of it.
    pub fn has(&mut self, key: &[u8]) -> bool {
        let is_there = self.db_mut().contains(key);
        if is_there {
            self.engine.stats.keyspace_hits += 1;
        } else {
            self.engine.stats.keyspace_misses += 1;
        }
        is_there
    }

    /// The key's stream to read; an error if it holds another type.
    pub fn read_stream(&mut self, key: &[u8]) -> Result<Option<&Stream>, CommandError> {
        match self.value(key) {
            None => Ok(None),
            Some(View::Object(Object::Stream(stream))) => Ok(Some(stream)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The key's stream to change; an error if it holds another type.
    pub fn write_stream(&mut self, key: &[u8]) -> Result<Option<&mut Stream>, CommandError> {
        match self.db_mut().into_object_used(key) {
            None => Ok(None),
            Some(Some(Object::Stream(stream))) => Ok(Some(stream)),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// The key's stream to change, made empty if there is none; an error if it holds another type.
    pub fn create_stream(&mut self, key: &[u8]) -> Result<&mut Stream, CommandError> {
        match self.db_mut().into_object_or_insert(key, || Object::Stream(Box::default())) {
            Some(Object::Stream(stream)) => Ok(stream),
            _ => Err(CommandError::WrongType),
        }
    }

    /// The key's string to read; an error if it holds another type.
    pub fn read_string(&mut self, key: &[u8]) -> Result<Option<crate::value::Element<'_>>, CommandError> {
        match self.value(key) {
            None => Ok(None),
            Some(view) => view.string().map(Some).ok_or(CommandError::WrongType),
        }
    }

    /// Removes the key if its collection has become empty. Streams stay.
    pub fn remove_if_empty(&mut self, key: &[u8]) -> bool {
        let mut db = self.db_mut();
        let is_empty = match db.get(key) {
            Some(View::Object(Object::Stream(_) | Object::Module(_) | Object::Array(_) | Object::String(_))) => false,
            Some(View::Object(object)) => object.is_empty(),
            _ => false,
        };
        is_empty && db.remove(key)
    }

    /// Removes any key.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.db_mut().remove(key)
    }

    /// Says that the command changed `count` things. A command that changed anything is logged.
    pub fn changed(&mut self, count: usize) {
        self.changes += count as u64; // usize has at most 64 bits
    }

    /// How many things the command has changed so far.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Logs this instead of the request as it was typed. Several calls are several operations, replayed as one unit.
    pub fn log_as<A: AsRef<[u8]>>(&mut self, operation: &[A]) {
        let operation: crate::resp::request::Arguments<'_> = operation.iter().map(AsRef::as_ref).collect();
        self.log_in_db_as(self.session.db, &operation);
    }

    /// As [`Context::log_as`], for a change in another database than the selected one.
    pub fn log_in_db_as(&mut self, db: usize, operation: &[&[u8]]) {
        self.is_logged = true;
        self.tell_as(db, operation);
        // What is replayed comes from the log.
        if !self.is_replay {
            self.engine.journal.append(db, operation);
        }
    }

    /// Tells of this effect beside those that are logged.
    pub fn also_tell(&mut self, operation: &[&[u8]]) {
        self.tell_as(self.session.db, operation);
    }

    fn tell_as(&mut self, db: usize, operation: &[&[u8]]) {
        if let Some(operations) = &mut self.operations {
            operations.push((db, operation.iter().map(|argument| argument.to_vec()).collect()));
        }
    }

    /// Has the log say who sent this command.
    pub fn tell_sender(&mut self, command: &'static str) {
        if !self.is_replay {
            self.engine.journal.note_sender(command, &self.session.address, "default");
        }
    }

    /// The verb with which a key that the server itself removes is logged.
    pub fn removal_verb(&self) -> &'static [u8] {
        if self.engine.config.lazyfree_lazy_server_del { b"UNLINK" } else { b"DEL" }
    }
}
