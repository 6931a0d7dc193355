//! Buffered bytes on their way to the output.
//!
//! Writing never fails at the place of the call: a visitor has no way to say so. The first error is kept, everything
//! after it is dropped, and [`Sink::finish`] or [`Sink::check`] hands it out.

use crate::cli::json;
use crate::value::Element;
use std::io::{self, Write};

/// Bytes that are collected before they are written.
const BATCH: usize = 128 * 1024;
/// Of a longer string, pieces of this size are made into JSON; a multiple of three, as base64 wants.
const PIECE: usize = 48 * 1024;

/// The buffer in front of the output.
pub struct Sink<W = Box<dyn Write>> {
    buffer: Vec<u8>,
    target: W,
    failed: Option<io::Error>,
    /// Where the record in progress begins in `buffer`; `None` when a part of it has been written already.
    record: Option<usize>,
}

impl<W: Write> Sink<W> {
    pub fn new(target: W) -> Sink<W> {
        Sink { buffer: Vec::with_capacity(2 * BATCH), target, failed: None, record: None }
    }

    /// The place to append to; [`Sink::spill`] is to follow soon.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Appends any number of bytes; many of them go past the buffer.
    pub fn append(&mut self, bytes: &[u8]) {
        if bytes.len() < BATCH {
            self.buffer.extend_from_slice(bytes);
            return self.spill();
        }
        self.write_out();
        if self.failed.is_none() {
            self.failed = self.target.write_all(bytes).err();
        }
    }

    /// Appends a JSON string. A long one is made piece by piece, so that it is not held a second time.
    #[inline]
    pub fn json(&mut self, element: Element<'_>) {
        match element {
            Element::Bytes(bytes) if bytes.len() > PIECE => self.json_pieces(bytes),
            _ => write_json(&mut self.buffer, element),
        }
    }

    #[cold]
    fn json_pieces(&mut self, bytes: &[u8]) {
        let is_text = json::is_text(bytes);
        self.buffer.extend_from_slice(if is_text { b"\"" } else { b"\"base64:" });
        for piece in bytes.chunks(PIECE) {
            if is_text {
                json::write_text_piece(&mut self.buffer, piece);
            } else {
                json::write_base64_piece(&mut self.buffer, piece);
            }
            self.spill();
        }
        self.buffer.push(b'"');
    }

    /// Marks the start of a record, up to which [`Sink::abandon`] can go back.
    #[inline]
    pub fn begin_record(&mut self) {
        self.record = Some(self.buffer.len());
    }

    /// Takes back the record in progress, unless a part of it is written already.
    pub fn abandon(&mut self) {
        if let Some(start) = self.record.take() {
            self.buffer.truncate(start);
        }
    }

    /// Writes the buffer out once it holds enough.
    #[inline]
    pub fn spill(&mut self) {
        if self.buffer.len() >= BATCH {
            self.write_out();
        }
    }

    /// Remembers that something behind the output failed: a temporary file.
    pub fn fail(&mut self, error: io::Error) {
        self.failed.get_or_insert(error);
    }

    /// The value, or what it failed with remembered.
    pub fn note<T>(&mut self, outcome: io::Result<T>) -> Option<T> {
        outcome.map_err(|error| self.fail(error)).ok()
    }

    /// The first error, if there was one.
    pub fn check(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Writes what is left.
    pub fn finish(&mut self) -> io::Result<()> {
        self.write_out();
        self.check()
    }

    /// The output behind the buffer, which has everything after [`Sink::finish`].
    pub fn target(&mut self) -> &mut W {
        &mut self.target
    }

    fn write_out(&mut self) {
        if self.failed.is_none() {
            self.failed = self.target.write_all(&self.buffer).and_then(|()| self.target.flush()).err();
        }
        self.buffer.clear();
        self.record = None;
    }
}

/// Appends an element as a JSON string. Integers are text too, but text that needs no escape.
#[inline]
pub fn write_json(out: &mut Vec<u8>, element: Element<'_>) {
    match element {
        Element::Bytes(bytes) => json::write_bytes(out, bytes),
        Element::Int(value) => {
            out.push(b'"');
            json::write_i64(out, value);
            out.push(b'"');
        }
    }
}
