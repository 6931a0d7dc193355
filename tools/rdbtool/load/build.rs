//! A key by commands: built under another name, and given its own when it is whole.
//!
//! So a key that a cut connection leaves half-told is never seen, what is there already is noticed by RENAMENX, and the
//! leftover of an earlier load goes with the DEL in front.

use super::session::{Entry, Existing, Session};
use crate::opened::FileReader;
use crate::output::{Commands, Format, Sink, Style};
use ironkeep::cli::progress::Progress;
use ironkeep::rdb::{Error, Event, Header, KeyHeader, Options, Reader, Version};
use ironkeep::resp::Decoder;
use ironkeep::resp::request::{RequestLimits, Step};
use std::cell::RefCell;
use std::io::{self, Cursor, Read, Write};
use std::rc::Rc;

const LIMITS: RequestLimits = RequestLimits { max_bulk_len: i64::MAX / 2, authenticated: true };

/// Turns values into commands for a session.
pub struct Builder {
    session: Rc<RefCell<Session>>,
    commands: Commands,
    existing: Existing,
}

impl Builder {
    pub fn new(session: &Rc<RefCell<Session>>, existing: Existing, version: Version) -> Builder {
        let pipe = Pipe { session: Rc::clone(session), buffer: Vec::new(), decoder: Decoder::new() };
        // The temporary name is free: nothing is there to be replaced.
        let style = Style { restore: false, del: false, keep: true, version: Some(version) };
        let commands = Commands::new(Sink::new(Box::new(pipe)), style);
        Builder { session: Rc::clone(session), commands, existing }
    }

    /// Builds the key whose value is next in `reader`. The outer error is the session's fault or the value's, the inner
    /// one the input's.
    pub fn build(
        &mut self,
        entry: Entry,
        header: &KeyHeader,
        reader: &mut FileReader,
    ) -> anyhow::Result<Result<(), Error>> {
        let key = entry.place.key.clone();
        let temporary = [format!("rdbtool:load:{}:", entry.place.count).as_bytes(), &key].concat();
        if !self.session.borrow_mut().begin(entry) {
            return Ok(reader.skip());
        }
        self.session.borrow_mut().request(&[b"DEL", &temporary]);
        // The database is the session's business: the commands never change it behind its back, see `Pipe`.
        let renamed = KeyHeader { key: temporary.clone(), ..header.clone() };
        self.commands.begin_key(&renamed);
        let taken = self.commands.take(reader);
        if taken.is_ok() {
            self.commands.end_key(reader.offset());
        }
        let closed = if taken.is_ok() { self.commands.close() } else { self.commands.abandon() };
        let failure = self.commands.failure();
        let mut session = self.session.borrow_mut();
        if taken.is_ok() && closed.is_ok() && failure.is_none() {
            let rename: &[u8] = if self.existing == Existing::Replace { b"RENAME" } else { b"RENAMENX" };
            session.request(&[rename, &temporary, &key]);
        } else {
            session.abandon();
        }
        session.request(&[b"DEL", &temporary]);
        session.end();
        match failure {
            Some(error) => Err(error),
            // A connection that broke is known to the session.
            None => Ok(taken),
        }
    }
}

/// A value as it stands, as a file of its own.
pub fn reader_of(header: Header, key: &KeyHeader, value: Box<dyn Read>) -> Result<FileReader, Error> {
    let mut front = header.to_string().into_bytes();
    front.push(key.kind.number());
    // An empty name will do.
    front.push(0);
    let file: Box<dyn Read> = Box::new(Cursor::new(front).chain(value));
    let mut reader = Reader::new(Progress::hidden(file), Options { verify: false })?;
    match reader.next()? {
        Event::Key(_) => Ok(reader),
        _ => unreachable!("the type byte above announces a key"),
    }
}

/// Hands requests to the session one by one.
struct Pipe {
    session: Rc<RefCell<Session>>,
    buffer: Vec<u8>,
    decoder: Decoder,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        let mut session = self.session.borrow_mut();
        let mut at = 0;
        while let Step::Request { consumed } =
            self.decoder.decode(&self.buffer[at..], LIMITS).map_err(io::Error::other)?
        {
            let request = &self.buffer[at..at + consumed];
            let arguments = self.decoder.arguments(&self.buffer[at..]);
            if !arguments.first().is_some_and(|name| name.eq_ignore_ascii_case(b"SELECT")) {
                session.encoded(request);
            }
            at += consumed;
            if session.is_broken() {
                return Err(io::Error::other("the connection is gone"));
            }
        }
        self.buffer.drain(..at);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
