//! A client of Redis, Valkey and Ironkeep: blocking, pipelining, and never waiting without end.
//!
//! An error that a server answers is an [`Answer`], since only the caller knows what it means to him; a connection that
//! fails or bytes that are no protocol are `io::Error`s. [`Client::connect`] gives errors ready for a user.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::escape::Escaped;
use super::exit::{Exit, Failure};
use super::url::Address;
use crate::resp::answer::{Answer, Decoder};
use crate::resp::encode_request;

/// The longest wait for a connection, and for the next byte where the caller names no other.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
pub const PATIENCE: Duration = Duration::from_secs(60);
const CHUNK: usize = 64 * 1024;
/// Room for requests that is kept.
const KEEP: usize = 1 << 20;

/// A connection.
pub struct Client {
    stream: TcpStream,
    decoder: Decoder,
    /// Bytes that came, of which those before `at` are used up.
    input: Vec<u8>,
    at: usize,
    output: Vec<u8>,
    received: u64,
}

impl Client {
    /// Connects and logs in. Waits at most `patience` for every answer.
    pub fn connect(address: &Address, patience: Duration) -> anyhow::Result<Client> {
        let stream = open(address, patience).map_err(|error| unreachable(address, &error))?;
        let mut client =
            Client { stream, decoder: Decoder::new(), input: Vec::new(), at: 0, output: Vec::new(), received: 0 };
        client.log_in(address)?;
        Ok(client)
    }

    fn log_in(&mut self, address: &Address) -> anyhow::Result<()> {
        let Some(password) = address.password() else { return Ok(()) };
        let answer = match &address.user {
            Some(user) => self.ask(&["AUTH", user, password]),
            None => self.ask(&["AUTH", password]),
        };
        let answer = answer.map_err(|error| unreachable(address, &error))?;
        match answer.error() {
            // A password from the environment for a server that has none is no reason to stop.
            Some(text) if is_password_unneeded(text) => Ok(()),
            Some(text) => Err(refusal(address, "AUTH", text)),
            None => Ok(()),
        }
    }

    /// Adds a request to those that [`Client::flush`] sends.
    pub fn queue<A: AsRef<[u8]>>(&mut self, arguments: &[A]) {
        encode_request(&mut self.output, arguments);
    }

    /// Adds a request that is encoded already.
    pub fn queue_encoded(&mut self, request: &[u8]) {
        self.output.extend_from_slice(request);
    }

    /// Bytes that wait for [`Client::flush`].
    pub fn queued_bytes(&self) -> usize {
        self.output.len()
    }

    /// Sends what was queued.
    pub fn flush(&mut self) -> io::Result<()> {
        let sent = self.stream.write_all(&self.output);
        self.output.clear();
        self.output.shrink_to(KEEP);
        sent.map_err(in_words)
    }

    /// Waits for the next answer.
    pub fn receive(&mut self) -> io::Result<Answer> {
        loop {
            let (used, answer) = self.decoder.decode(&self.input[self.at..]).map_err(io::Error::other)?;
            self.at += used;
            if let Some(answer) = answer {
                return Ok(answer);
            }
            self.fill()?;
        }
    }

    /// Sends one request and waits for its answer.
    pub fn ask<A: AsRef<[u8]>>(&mut self, arguments: &[A]) -> io::Result<Answer> {
        self.queue(arguments);
        self.flush()?;
        self.receive()
    }

    /// Waits for the next line, which comes without its end; lines of no bytes, which servers send as a sign of life,
    /// are passed over.
    pub fn line(&mut self, most: usize) -> io::Result<Vec<u8>> {
        loop {
            while let Some(len) = memchr::memchr(b'\n', &self.input[self.at..]) {
                let line = self.input[self.at..self.at + len].trim_ascii_end().to_vec();
                self.at += len + 1;
                if !line.is_empty() {
                    return Ok(line);
                }
            }
            if self.input.len() - self.at > most {
                return Err(io::Error::other("a line of the answer has no end"));
            }
            self.fill()?;
        }
    }

    /// Bytes received since the connection was made.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Reads more into the buffer.
    fn fill(&mut self) -> io::Result<()> {
        self.input.drain(..self.at);
        self.at = 0;
        let start = self.input.len();
        self.input.resize(start + CHUNK.max(start), 0);
        let read = receive_into(&mut self.stream, &mut self.input[start..]);
        self.input.truncate(start + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(closed()),
            count => {
                self.received += count as u64; // usize fits
                Ok(())
            }
        }
    }
}

/// The bytes that follow, as they come: for what is no answer.
impl Read for Client {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let waiting = &self.input[self.at..];
        if !waiting.is_empty() {
            let count = waiting.len().min(out.len());
            out[..count].copy_from_slice(&waiting[..count]);
            self.at += count;
            return Ok(count);
        }
        let count = receive_into(&mut self.stream, out)?;
        self.received += count as u64; // usize fits
        Ok(count)
    }
}

fn open(address: &Address, patience: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for place in (address.host.as_str(), address.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&place, CONNECT_PATIENCE.min(patience)) {
            Ok(stream) => {
                stream.set_read_timeout(Some(patience))?;
                stream.set_write_timeout(Some(patience))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn receive_into(stream: &mut TcpStream, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(out) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.map_err(in_words),
        }
    }
}

/// The error of a server that went away.
pub fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")
}

/// A timeout says "resource temporarily unavailable", a broken pipe would end the tool quietly.
fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            io::Error::new(io::ErrorKind::TimedOut, "the server was silent for too long (see --timeout)")
        }
        io::ErrorKind::BrokenPipe => closed(),
        _ => error,
    }
}

/// The error for a server that can't be reached or went away.
pub fn unreachable(address: &Address, error: &io::Error) -> anyhow::Error {
    let what = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nothing listens there: is the server running, and on this port?".to_owned()
        }
        _ => error.to_string(),
    };
    Failure::error(Exit::Unreadable, what).context(address.to_string())
}

/// The error for a request that the server refused, with what to do next where that is known.
pub fn refusal(address: &Address, request: &str, text: &[u8]) -> anyhow::Error {
    let hint = HINTS.iter().find(|(code, _)| text.starts_with(code.as_bytes())).map_or("", |(_, hint)| hint);
    let message = format!("the server refuses {request}: {}{hint}", Escaped(text));
    Failure::error(Exit::Unreadable, message).context(address.to_string())
}

/// What to do about an error by its first words.
const HINTS: &[(&str, &str)] = &[
    ("NOAUTH", " (give the password in REDISCLI_AUTH, or in the URL: redis://user:password@host)"),
    ("WRONGPASS", " (REDISCLI_AUTH or the URL holds another password than the server)"),
    ("NOPERM", " (the user needs this command: see ACL SETUSER)"),
    ("LOADING", " (try again when it has loaded)"),
    ("NOMASTERLINK", " (this replica has no link to its master: ask the master, or wait)"),
    ("MASTERDOWN", " (this replica has no link to its master: ask the master, or wait)"),
    ("READONLY", " (this is a replica: ask its master)"),
    ("OOM", " (the server is at its maxmemory)"),
    ("MISCONF", " (the server can't write its own data: see its log)"),
    ("ERR max number of clients", " (see maxclients)"),
    ("DENIED", " (protected mode: ask from the server's own host, or set a password)"),
    ("ERR unknown command", " (this server does not have it)"),
];

fn is_password_unneeded(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    text.contains("no password is set") || text.contains("without any password configured")
}
