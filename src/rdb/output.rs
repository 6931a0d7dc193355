//! The bytes under the writer: a buffer that is checksummed and written in large blocks.

use std::io::{self, Write};

use super::primitive::{put_count, put_element, put_length, put_plain, put_string, put_text_double};
use crate::codec::crc64::Crc64;
use crate::codec::lzf::Compressor;
use crate::value::Element;

/// The buffer is written once it holds this much.
const BLOCK: usize = 64 * 1024;
/// A buffer that has grown beyond this is let go after it is written.
const KEEP: usize = 4 << 20;

pub(super) struct Output<W> {
    inner: W,
    buffer: Vec<u8>,
    /// Bytes handed to `inner`.
    handed: u64,
    crc: Option<Crc64>,
    compressor: Option<Compressor>,
    /// No string may be longer.
    longest: u64,
}

impl<W: Write> Output<W> {
    pub(super) fn new(inner: W, checksum: bool, compress: bool) -> Self {
        Output {
            inner,
            buffer: Vec::new(),
            handed: 0,
            crc: checksum.then(Crc64::new),
            compressor: compress.then(Compressor::new),
            longest: u64::MAX,
        }
    }

    /// Refuses strings of more bytes.
    pub(super) fn limited_to(self, longest: u64) -> Self {
        Output { longest, ..self }
    }

    /// Bytes written so far, those in the buffer included.
    pub(super) fn written(&self) -> u64 {
        self.handed + self.buffer.len() as u64 // a buffer's length fits
    }

    /// A few bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Any number of bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() < BLOCK {
            self.buffer.extend_from_slice(bytes);
            return self.spill();
        }
        self.flush_buffer()?;
        self.hand(bytes)
    }

    pub(super) fn length(&mut self, length: u64) {
        put_length(&mut self.buffer, length);
    }

    /// A double as type 3 has it.
    pub(super) fn text_double(&mut self, value: f64) {
        put_text_double(&mut self.buffer, value);
    }

    /// A count of things in memory.
    pub(super) fn count(&mut self, count: usize) {
        put_count(&mut self.buffer, count);
    }

    /// A string, in binary if it spells a small integer.
    pub(super) fn string(&mut self, bytes: &[u8]) -> io::Result<()> {
        put_string(&mut self.buffer, bytes, self.compressor.as_mut());
        self.spill()
    }

    /// A string that is not worth a look for an integer.
    pub(super) fn blob(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 > self.longest {
            return Err(too_long(bytes.len(), self.longest));
        }
        if bytes.len() >= BLOCK && self.compressor.is_none() {
            put_count(&mut self.buffer, bytes.len());
            return self.bytes(bytes);
        }
        put_plain(&mut self.buffer, bytes, self.compressor.as_mut());
        self.spill()
    }

    pub(super) fn element(&mut self, element: Element<'_>) -> io::Result<()> {
        match element {
            Element::Bytes(bytes) if bytes.len() >= BLOCK => self.blob(bytes),
            _ => {
                put_element(&mut self.buffer, element, self.compressor.as_mut());
                self.spill()
            }
        }
    }

    /// Writes the buffer if it is full.
    pub(super) fn spill(&mut self) -> io::Result<()> {
        if self.buffer.len() < BLOCK { Ok(()) } else { self.flush_buffer() }
    }

    #[cold]
    fn flush_buffer(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.hand(&buffer);
        buffer.clear();
        if buffer.capacity() <= KEEP {
            self.buffer = buffer;
        }
        result
    }

    fn hand(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(crc) = &mut self.crc {
            crc.update(bytes);
        }
        self.handed += bytes.len() as u64; // a buffer's length fits
        self.inner.write_all(bytes)
    }

    /// Writes what is left, and behind it, if `trailer`, the checksum (zero if there is none), and flushes.
    pub(super) fn finish(mut self, trailer: bool) -> io::Result<W> {
        self.flush_buffer()?;
        if trailer {
            let checksum = self.crc.as_ref().map_or(0, Crc64::value);
            self.inner.write_all(&checksum.to_le_bytes())?;
        }
        self.inner.flush()?;
        Ok(self.inner)
    }
}

#[cold]
fn too_long(bytes: usize, longest: u64) -> io::Error {
    let text =
        format!("a string of {bytes} bytes is longer than the {longest} that this RDB version holds: it takes 8");
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_beyond_what_the_version_holds_is_an_error_and_not_a_length_that_old_servers_misread() {
        let long = vec![b'x'; BLOCK + 1];
        for compress in [true, false] {
            let mut output = Output::new(Vec::new(), true, compress).limited_to(BLOCK as u64);
            output.element(Element::Bytes(&long[..BLOCK])).unwrap();
            let error = output.element(Element::Bytes(&long)).unwrap_err();
            assert!(error.to_string().contains("a string of 65537 bytes"), "{error}");
        }
    }
}
