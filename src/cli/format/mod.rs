//! Ways to write the data of an RDB, value by value as it is read: the trait, and the one format that both tools write,
//! the commands that rebuild it. The others are rdbtool's own.
//!
//! A format is a [`Visitor`] that is also told where keys begin and end. Elements pass through one at a time, and what
//! must wait (the members of a sorted set, which files store backwards; when fields expire; what consumers have pending)
//! waits in a temporary file where it is much: memory grows neither with the file nor with a value. A single string is
//! held, whatever its length.

mod commands;
pub mod pending;
pub mod sink;
mod spool;

pub use commands::{Commands, Style};
pub use sink::Sink;
pub use spool::Spool;

use super::progress::Progress;
use crate::rdb::{self, KeyHeader, Reader, Visitor};
use std::io::{self, Read};

/// The reader of all formats.
pub type FileReader = Reader<Progress<Box<dyn Read>>>;

/// A format that a dump can be written in.
pub trait Format: Visitor {
    /// Where its bytes go.
    fn sink(&mut self) -> &mut Sink;
    /// Everything that precedes the first record.
    fn open(&mut self) {}
    /// A name and its value out of the file's preamble.
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        let _ = (name, value);
    }
    /// What a module stored beside the keys.
    fn module_aux(&mut self, id: u64, raw: &[u8]) {
        let _ = (id, raw);
    }
    /// The code of a function library.
    fn function(&mut self, code: &[u8]) {
        let _ = code;
    }
    /// A slot import that was under way.
    fn slot_import(&mut self, job: &[u8], ranges: &[(u64, u64)]) {
        let _ = (job, ranges);
    }
    /// A number under an opcode of another product.
    fn foreign(&mut self, name: &str, value: u64) {
        let _ = (name, value);
    }
    /// A key.
    fn begin_key(&mut self, key: &KeyHeader);
    /// Takes the key's value from the reader: as a [`Visitor`], as raw bytes, or not at all.
    fn take(&mut self, reader: &mut FileReader) -> Result<(), rdb::Error>;
    /// The value is complete; what comes next in the file begins at `end_offset`.
    fn end_key(&mut self, end_offset: u64);
    /// The value in progress is damaged: what can be taken back of it is taken back, what is whole is written.
    fn abandon(&mut self) -> io::Result<()> {
        self.sink().abandon();
        self.sink().finish()
    }
    /// Everything that follows the last record; writes what is buffered.
    fn close(&mut self) -> io::Result<()> {
        self.sink().finish()
    }
    /// The first error of the output, so that a closed pipe ends the walk early.
    fn check(&mut self) -> io::Result<()> {
        self.sink().check()
    }
    /// What keeps the format from going on that is not the output's fault.
    fn failure(&mut self) -> Option<anyhow::Error> {
        None
    }
    /// What the format left out, a sentence each.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}
