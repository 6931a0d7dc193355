//! A server's data as an RDB, by SYNC: what a replica does first, and `redis-cli --rdb` does.
//!
//! ```text
//! -> REPLCONF capa eof          the transfer may end by a mark instead of having a length
//! -> REPLCONF version 255.255.255   Valkey >= 9 may write its newest version (others answer an error, which is no matter)
//! -> REPLCONF rdb-only 1        no log is to follow (Redis >= 7; others answer an error, which is no matter)
//! -> REPLCONF rdb-filter-only functions     only where functions alone are wanted
//! -> SYNC
//! <- newlines while the server makes the RDB, then
//! <- $<length> CRLF, the bytes           or     $EOF:<40 bytes> CRLF, the bytes, the same 40 bytes
//! ```
//!
//! Without a version Valkey 9 writes RDB 11, and breaks off at the first hash with fields that expire, as `valkey-cli
//! --rdb` then sees. What comes is read as it comes; a connection that ends early is an error that says how far it got, never an end.

use std::io::{self, Read};
use std::time::Duration;

use super::client::{Client, refusal, unreachable};
use super::escape::Escaped;
use super::exit::{Exit, Failure};
use super::url::Address;

/// Length of the mark at the end of a transfer without length.
const MARK: usize = 40;
const MOST_LINE: usize = 4096;
const CHUNK: usize = 128 * 1024;

/// What to ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyncOptions {
    /// Function libraries and no keys.
    pub functions_only: bool,
}

/// An RDB on its way.
pub struct Transfer {
    client: Client,
    end: End,
    /// Bytes of the RDB handed out.
    received: u64,
    /// Bytes that came and were not handed out, of which those before `at` are used up; by a mark only.
    held: Vec<u8>,
    at: usize,
}

enum End {
    Length(u64),
    Mark([u8; MARK]),
    Reached,
}

impl Transfer {
    /// Asks for the data and waits until it begins.
    pub fn begin(address: &Address, options: SyncOptions, patience: Duration) -> anyhow::Result<Transfer> {
        let mut client = Client::connect(address, patience)?;
        let failed = |error: io::Error| unreachable(address, &error);
        client.ask(&["REPLCONF", "capa", "eof"]).map_err(failed)?;
        client.ask(&["REPLCONF", "version", "255.255.255"]).map_err(failed)?;
        client.ask(&["REPLCONF", "rdb-only", "1"]).map_err(failed)?;
        if options.functions_only {
            let answer = client.ask(&["REPLCONF", "rdb-filter-only", "functions"]).map_err(failed)?;
            if let Some(text) = answer.error() {
                let message = format!("functions alone are given by Redis >= 7 and Valkey only: {}", Escaped(text));
                return Err(Failure::error(Exit::Unsupported, message).context(address.to_string()));
            }
        }
        client.queue(&["SYNC"]);
        client.flush().map_err(failed)?;
        let line = client.line(MOST_LINE).map_err(failed)?;
        let end = end_of(&line).map_err(|refused| match refused {
            Some(text) => refusal(address, "SYNC", text),
            None => {
                let message = format!("an RDB was to begin, not {}", Escaped(&line));
                Failure::error(Exit::Unreadable, message).context(address.to_string())
            }
        })?;
        Ok(Transfer { client, end, received: 0, held: Vec::new(), at: 0 })
    }

    /// Bytes still to come, where the server said.
    pub fn remaining(&self) -> Option<u64> {
        match self.end {
            End::Length(left) => Some(left),
            End::Mark(_) => None,
            End::Reached => Some(0),
        }
    }

    fn cut(&self, error: io::Error) -> io::Error {
        let message = match self.end {
            End::Length(left) => format!("{error} after {} of {} bytes", self.received, self.received + left),
            _ => format!("{error} after {} bytes, before the mark of its end", self.received),
        };
        io::Error::new(error.kind(), message)
    }

    fn read_counted(&mut self, out: &mut [u8], left: u64) -> io::Result<usize> {
        if left == 0 {
            self.end = End::Reached;
            return Ok(0);
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        match self.client.read(&mut out[..most]) {
            Ok(0) if most > 0 => Err(self.cut(super::client::closed())),
            Ok(count) => {
                self.received += count as u64; // usize fits
                self.end = End::Length(left - count as u64); // at most `left`
                Ok(count)
            }
            Err(error) => Err(self.cut(error)),
        }
    }

    fn read_to_mark(&mut self, out: &mut [u8], mark: [u8; MARK]) -> io::Result<usize> {
        loop {
            let waiting = &self.held[self.at..];
            let found = memchr::memmem::find(waiting, &mark);
            // What may be the beginning of the mark waits for the rest of it.
            let ready = found.unwrap_or(waiting.len().saturating_sub(MARK - 1));
            if ready > 0 {
                let count = ready.min(out.len());
                out[..count].copy_from_slice(&waiting[..count]);
                self.at += count;
                self.received += count as u64; // usize fits
                return Ok(count);
            }
            if found.is_some() {
                self.end = End::Reached;
                return Ok(0);
            }
            self.held.drain(..self.at);
            self.at = 0;
            let start = self.held.len();
            self.held.resize(start + CHUNK, 0);
            let read = self.client.read(&mut self.held[start..]);
            self.held.truncate(start + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Err(self.cut(super::client::closed())),
                Ok(_) => {}
                Err(error) => return Err(self.cut(error)),
            }
        }
    }
}

impl Read for Transfer {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        match self.end {
            End::Reached => Ok(0),
            End::Length(left) => self.read_counted(out, left),
            End::Mark(mark) => self.read_to_mark(out, mark),
        }
    }
}

/// How the transfer will end; the error is what the server answered instead.
fn end_of(line: &[u8]) -> Result<End, Option<&[u8]>> {
    if let Some(text) = line.strip_prefix(b"-") {
        return Err(Some(text));
    }
    let rest = line.strip_prefix(b"$").ok_or(None)?;
    if let Some(mark) = rest.strip_prefix(b"EOF:") {
        return mark.try_into().map(End::Mark).map_err(|_| None);
    }
    let length = crate::codec::number::parse_i64(rest).and_then(|length| u64::try_from(length).ok());
    length.map(End::Length).ok_or(None)
}
