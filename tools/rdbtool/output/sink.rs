//! Buffered bytes on their way to standard output.
//!
//! Writing never fails at the place of the call: a visitor has no way to say so. The first error is kept, everything
//! after it is dropped, and [`Sink::finish`] or [`Sink::check`] hands it out.

use std::io::{self, Write};

/// Bytes that are collected before they are written.
const BATCH: usize = 128 * 1024;

/// The buffer in front of the output.
pub struct Sink {
    buffer: Vec<u8>,
    target: Box<dyn Write>,
    failed: Option<io::Error>,
    /// Where the record in progress begins in `buffer`; `None` when a part of it has been written already.
    record: Option<usize>,
}

impl Sink {
    pub fn new(target: Box<dyn Write>) -> Sink {
        Sink { buffer: Vec::with_capacity(2 * BATCH), target, failed: None, record: None }
    }

    /// The place to append to; [`Sink::spill`] is to follow soon.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
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

    /// The first error, if there was one.
    pub fn check(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Writes what is left.
    pub fn finish(&mut self) -> io::Result<()> {
        self.write_out();
        self.check()
    }

    fn write_out(&mut self) {
        if self.failed.is_none() {
            self.failed = self.target.write_all(&self.buffer).and_then(|()| self.target.flush()).err();
        }
        self.buffer.clear();
        self.record = None;
    }
}
