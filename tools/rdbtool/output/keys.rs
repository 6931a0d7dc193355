//! `--keys`: the names alone, one per line, or each ended by a NUL.
//!
//! On a terminal they are escaped; a program gets the bytes as they are, where a newline in a key looks like the end of
//! it, and `--null` does not.

use super::Format;
use crate::opened::FileReader;
use ironkeep::cli::escape::Escaped;
use ironkeep::cli::format::Sink;
use ironkeep::rdb::{self, KeyHeader, Visitor};
use std::io::Write;

/// The list of names.
pub struct Keys {
    sink: Sink,
    end: u8,
    escaped: bool,
}

impl Keys {
    /// `null`: a NUL behind each name; `on_terminal`: names are escaped.
    pub fn new(sink: Sink, null: bool, on_terminal: bool) -> Keys {
        Keys { sink, end: if null { 0 } else { b'\n' }, escaped: on_terminal }
    }
}

/// Appends a key, escaped for a terminal where it goes to one.
pub fn write_key(out: &mut Vec<u8>, key: &[u8], escaped: bool) {
    if escaped {
        let _ = write!(out, "{}", Escaped(key)); // a Vec takes everything
    } else {
        out.extend_from_slice(key);
    }
}

impl Format for Keys {
    fn sink(&mut self) -> &mut Sink {
        &mut self.sink
    }

    fn begin_key(&mut self, key: &KeyHeader) {
        self.sink.begin_record();
        write_key(self.sink.buffer(), &key.key, self.escaped);
        self.sink.buffer().push(self.end);
    }

    fn take(&mut self, reader: &mut FileReader) -> Result<(), rdb::Error> {
        reader.skip()
    }

    fn end_key(&mut self, _end_offset: u64) {
        self.sink.spill();
    }
}

impl Visitor for Keys {}
