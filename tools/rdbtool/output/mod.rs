//! What `rdbtool dump` can write: a trait, and one file per format.
//!
//! A format is a [`Visitor`] that is also told where keys begin and end. Elements pass through one at a time, so that
//! memory does not grow with the file; only a sorted set (files store large ones backwards) and a stream are held for
//! as long as they are written.

mod json;
mod members;
mod ndjson;
mod record;
mod sink;
mod stream;
mod text;

pub use json::JsonArray;
pub use ndjson::JsonLines;
pub use record::Records;
pub use sink::Sink;
pub use text::Listing;

use ironkeep::rdb::{KeyHeader, Visitor};
use std::io;

/// A format that a dump can be written in.
pub trait Format: Visitor {
    /// Everything that precedes the first record.
    fn open(&mut self);
    /// A name and its value out of the file's preamble.
    fn aux(&mut self, name: &[u8], value: &[u8]);
    /// What a module stored beside the keys.
    fn module_aux(&mut self, module: &str, raw: &[u8]);
    /// The code of a function library.
    fn function(&mut self, code: &[u8]);
    /// A key; its value follows through [`Visitor`].
    fn begin_key(&mut self, key: &KeyHeader);
    /// The value is complete.
    fn end_key(&mut self);
    /// The value in progress is damaged: what can be taken back of it is taken back, what is whole is written.
    fn abandon(&mut self) -> io::Result<()>;
    /// Everything that follows the last record; writes what is buffered.
    fn close(&mut self) -> io::Result<()>;
    /// The first error of the output, so that a closed pipe ends the walk early.
    fn check(&mut self) -> io::Result<()>;
}
