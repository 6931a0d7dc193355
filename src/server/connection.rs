//! One client: reading, executing, answering.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;

use crate::command;
use crate::engine::{Engine, Session};
use crate::resp::request::{Arguments, Decoder, RequestLimits, Step};

use super::outbox::Outbox;
use super::shared::Shared;

/// Bytes that a read asks for at least.
const READ_SIZE: usize = 16 * 1024;
/// Unsent replies beyond which no further request of the client is read: whoever does not take his answers waits.
const MAX_UNSENT: usize = 8 << 20;
/// How long a client that is to go may take none of its last replies.
const GIVE_UP_AFTER: Duration = Duration::from_secs(5);
/// Requests that are looked up ahead together.
const BATCH: usize = 64;

/// A socket of either kind.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.readable().await,
            Stream::Unix(stream) => stream.readable().await,
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.writable().await,
            Stream::Unix(stream) => stream.writable().await,
        }
    }

    /// Ends both directions: both kinds of waiting wake up. A socket whose peer is gone already needs no end.
    fn shut_down(&self) {
        let _ = match self {
            Stream::Tcp(stream) => rustix::net::shutdown(stream, rustix::net::Shutdown::Both),
            Stream::Unix(stream) => rustix::net::shutdown(stream, rustix::net::Shutdown::Both),
        };
    }

    fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_read(buffer),
            Stream::Unix(stream) => stream.try_read(buffer),
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_write(bytes),
            Stream::Unix(stream) => stream.try_write(bytes),
        }
    }
}

/// What tasks need of a connection: its socket and its replies.
pub(super) struct Connection {
    stream: Stream,
    outbox: RefCell<Outbox>,
    /// It stands in the list of the next flush.
    pub(super) is_pending: Cell<bool>,
    is_closed: Cell<bool>,
    /// A task waits for the socket to take more.
    is_draining: Cell<bool>,
    /// How far the log has got, as of the last flush.
    settled: Cell<u64>,
    /// The reading task waits for replies to leave.
    wants_room: Cell<bool>,
    /// Wakes it.
    has_room: Notify,
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Rc<Self> {
        Rc::new(Self {
            stream,
            outbox: RefCell::default(),
            is_pending: Cell::new(false),
            is_closed: Cell::new(false),
            is_draining: Cell::new(false),
            settled: Cell::new(0),
            wants_room: Cell::new(false),
            has_room: Notify::new(),
        })
    }

    /// Lets go of the client: whoever waits for the socket wakes up and finds it closed.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        self.stream.shut_down();
        self.has_room.notify_one();
    }

    /// Sends what may leave now that the log has reached `settled`. What the socket does not take is left to a task
    /// that waits for it. Returns how many bytes left.
    pub(super) fn send(self: &Rc<Self>, settled: u64) -> usize {
        self.settled.set(settled);
        let mut sent = 0;
        if self.is_draining.get() || self.is_closed.get() {
            return sent;
        }
        let mut outbox = self.outbox.borrow_mut();
        loop {
            let bytes = outbox.sendable(settled);
            if bytes.is_empty() {
                break;
            }
            match self.stream.try_write(bytes) {
                Ok(count @ 1..) => {
                    sent += count;
                    outbox.advance(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_draining.set(true);
                    tokio::task::spawn_local(drain(Rc::clone(self)));
                    return sent;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => {
                    self.close();
                    return sent;
                }
            }
        }
        if self.wants_room.get() && outbox.len() < MAX_UNSENT {
            self.has_room.notify_one();
        }
        sent
    }

    /// Whether replies rest on what the log had not reached at the last flush.
    pub(super) fn waits_for_log(&self) -> bool {
        !self.is_closed.get() && self.outbox.borrow().is_held()
    }

    pub(super) fn fail_unsettled(&self, settled: u64, reason: &str) {
        self.outbox.borrow_mut().fail_unsettled(settled, reason);
    }

    /// Waits until replies have left.
    async fn wait_for_room(&self) {
        self.wants_room.set(true);
        self.has_room.notified().await;
        self.wants_room.set(false);
    }

    /// Adds a reply that rests on nothing.
    pub(super) fn reply_now(self: &Rc<Self>, reply: &[u8]) {
        self.outbox.borrow_mut().bytes_mut().extend_from_slice(reply);
        self.send(self.settled.get());
    }
}

/// Waits for a socket that was full.
async fn drain(connection: Rc<Connection>) {
    let is_writable = connection.stream.writable().await.is_ok();
    connection.is_draining.set(false);
    if is_writable {
        connection.send(connection.settled.get());
    } else {
        connection.close();
    }
}

/// Serves a client until it goes.
pub(super) async fn serve(shared: Rc<Shared>, connection: Rc<Connection>, mut session: Session) {
    let mut reader = Reader::default();
    while !connection.is_closed.get() && !session.is_closing {
        if shared.exit.get().is_some() {
            return std::future::pending().await;
        }
        if connection.outbox.borrow().len() >= MAX_UNSENT {
            connection.wait_for_room().await;
            // What stopped for want of room goes on, whether or not more has come.
            process(&shared, &connection, &mut session, &mut reader);
            continue;
        }
        let is_readable = tokio::select! {
            biased;
            outcome = connection.stream.readable() => outcome.is_ok(),
            () = idle_timeout(&shared) => false,
        };
        if !is_readable || reader.fill(&shared, &connection.stream).is_err() {
            break;
        }
        process(&shared, &connection, &mut session, &mut reader);
    }
    part(&shared, &connection, &session).await;
}

/// Ends when the client has been silent for as long as `timeout` allows.
async fn idle_timeout(shared: &Rc<Shared>) {
    let timeout = shared.engine.borrow().config.timeout;
    if timeout == 0 {
        return std::future::pending().await;
    }
    tokio::time::sleep(Duration::from_secs(timeout)).await;
}

/// Lets the last replies leave, and forgets the client.
async fn part(shared: &Rc<Shared>, connection: &Rc<Connection>, session: &Session) {
    while !connection.is_closed.get() && !connection.outbox.borrow().is_empty() {
        let before = connection.outbox.borrow().len();
        let left = tokio::time::timeout(GIVE_UP_AFTER, connection.wait_for_room()).await;
        if left.is_err() && connection.outbox.borrow().len() == before {
            break;
        }
    }
    connection.close();
    shared.connections.borrow_mut().remove(&session.id);
    let mut engine = shared.engine.borrow_mut();
    engine.clients.remove(session.id);
    engine.watches.unwatch(session.id);
}

/// Bytes that have come and are not yet executed.
#[derive(Default)]
struct Reader {
    buffer: Vec<u8>,
    filled: usize,
    decoder: Decoder,
}

impl Reader {
    /// Reads what is there. The end of the stream is an error.
    fn fill(&mut self, shared: &Rc<Shared>, stream: &Stream) -> io::Result<()> {
        let room = self.decoder.bytes_wanted(self.filled).clamp(READ_SIZE, 16 << 20);
        if self.buffer.len() < self.filled + room {
            self.buffer.resize(self.filled + room, 0);
        }
        match stream.try_read(&mut self.buffer[self.filled..]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.filled += count;
                shared.engine.borrow_mut().stats.net_input_bytes += count as u64; // usize has at most 64 bits
                Ok(())
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn consume(&mut self, count: usize) {
        // A large value comes in many pieces; nothing of it is to be moved each time.
        if count == 0 {
            return;
        }
        self.buffer.copy_within(count..self.filled, 0);
        self.filled -= count;
        if self.filled == 0 && self.buffer.len() > 4 * READ_SIZE {
            self.buffer = Vec::new();
        }
    }
}

/// Executes all whole requests that are there.
fn process(shared: &Rc<Shared>, connection: &Rc<Connection>, session: &mut Session, reader: &mut Reader) {
    if shared.exit.get().is_some() {
        return;
    }
    let mut consumed = 0;
    {
        let mut engine = shared.engine.borrow_mut();
        engine.clock.tick();
        let mut outbox = connection.outbox.borrow_mut();
        while consumed < reader.filled && !session.is_closing && outbox.len() < MAX_UNSENT {
            let limits = RequestLimits {
                max_bulk_len: engine.config.proto_max_bulk_len,
                authenticated: session.is_authenticated,
            };
            let bytes = &reader.buffer[consumed..reader.filled];
            let batch = Batch::decode(&mut reader.decoder, bytes, limits);
            match execute_batch(&mut engine, session, batch, &mut outbox) {
                Executed::All { bytes: 0 } => break,
                Executed::All { bytes } => consumed += bytes,
                Executed::Some { bytes } => {
                    // The others are found again when there is room for their replies.
                    consumed += bytes;
                    reader.decoder = Decoder::new();
                    break;
                }
            }
        }
        let watched = engine.watches.keys(session.id).len();
        engine.clients.update(session, watched);
        if engine.is_room_wanted() {
            shared.room_wanted.notify_one();
        }
    }
    reader.consume(consumed);
    if !connection.is_pending.replace(true) {
        shared.pending.borrow_mut().push(Rc::clone(connection));
    }
    shared.want_flush();
    shared.take_up_jobs();
}

/// How far a batch was executed, in bytes of its requests.
enum Executed {
    All { bytes: usize },
    Some { bytes: usize },
}

fn execute_batch(engine: &mut Engine, session: &mut Session, batch: Batch<'_>, outbox: &mut Outbox) -> Executed {
    batch.prefetch(engine, session);
    for (index, request) in batch.requests.iter().enumerate() {
        if session.is_closing || outbox.len() >= MAX_UNSENT {
            return Executed::Some { bytes: index.checked_sub(1).map_or(0, |last| batch.ends[last]) };
        }
        execute_one(engine, session, request, outbox);
    }
    if let Some(error) = batch.error {
        let reply = format!("-ERR Protocol error: {error}\r\n");
        outbox.bytes_mut().extend_from_slice(reply.as_bytes());
        session.is_closing = true;
    }
    Executed::All { bytes: batch.consumed }
}

fn execute_one(engine: &mut Engine, session: &mut Session, request: &[&[u8]], outbox: &mut Outbox) {
    // What a browser sends to a server that it takes for one of its own: no reply, no second line of it.
    if request[0].eq_ignore_ascii_case(b"post") || request[0].eq_ignore_ascii_case(b"host:") {
        super::log::warning(format!("Possible cross protocol scripting by {}: connection closed", session.address));
        session.is_closing = true;
        return;
    }
    let start = outbox.end();
    let position = command::execute(engine, session, request, outbox.bytes_mut());
    if let (Some(position), false) = (position, cfg!(feature = "fault-reply-first")) {
        outbox.hold_since(start, position);
    }
}

/// Requests that have come together.
struct Batch<'a> {
    requests: Vec<Arguments<'a>>,
    /// Where each ends.
    ends: Vec<usize>,
    consumed: usize,
    error: Option<crate::resp::ProtocolError>,
}

impl<'a> Batch<'a> {
    fn decode(decoder: &'a mut Decoder, bytes: &'a [u8], limits: RequestLimits) -> Self {
        let mut batch = Self { requests: Vec::new(), ends: Vec::new(), consumed: 0, error: None };
        let mut ends_inline = false;
        while batch.requests.len() < BATCH && batch.consumed < bytes.len() {
            let rest = &bytes[batch.consumed..];
            match decoder.decode(rest, limits) {
                Ok(Step::Incomplete) => break,
                Ok(Step::Request { consumed }) => {
                    batch.consumed += consumed;
                    let arguments = decoder.arguments(rest);
                    if !arguments.is_empty() {
                        batch.requests.push(arguments);
                        batch.ends.push(batch.consumed);
                    }
                }
                Ok(Step::Inline { consumed }) => {
                    // Its words live in the decoder, so it ends the batch.
                    batch.consumed += consumed;
                    ends_inline = true;
                    break;
                }
                Err(error) => {
                    batch.error = Some(error);
                    break;
                }
            }
        }
        if ends_inline && !decoder.inline_words().is_empty() {
            batch.requests.push(decoder.inline_words());
            batch.ends.push(batch.consumed);
        }
        batch
    }

    /// Has the memory of all keys fetched while the first are being looked up.
    fn prefetch(&self, engine: &Engine, session: &Session) {
        if self.requests.len() < 2 {
            return;
        }
        let keys: smallvec::SmallVec<[&[u8]; BATCH]> =
            self.requests.iter().filter_map(|request| request.get(1).copied()).collect();
        engine.keyspace.prefetch(session.db, &keys);
    }
}
