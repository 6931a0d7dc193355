//! Requests of many clients, found before the first is executed, so that the memory of all their keys is fetched at
//! once. Every buffer is used again for the next batch: finding and executing a request of usual size allocates nothing.

use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::command::{self, Command};
use crate::engine::{Engine, Session};
use crate::keyspace::Keyspace;
use crate::resp::ProtocolError;
use crate::resp::request::{Arguments, RequestLimits, Step};

use super::connection::Connection;
use super::log;
use super::shared::Shared;

/// Requests of one batch, and of one client in it: so many that what is fetched for them stays in the nearest cache.
const MOST_REQUESTS: usize = 64;
const MOST_OF_ONE: usize = 64;
/// Keys of one request that are fetched ahead.
const MOST_KEYS: usize = 16;
/// Requests between two looks at the clock.
const LOOK_EVERY: u32 = 16;

/// How long a turn may execute; the rest of what has come waits for the next one, behind a look at the sockets.
pub(super) struct Budget {
    until: Instant,
    executed: u32,
    pub(super) is_spent: bool,
}

impl Budget {
    pub(super) fn new(now: Instant, length: Duration) -> Self {
        Self { until: now + length, executed: 0, is_spent: false }
    }

    fn count_one(&mut self) {
        self.executed += 1;
        if self.executed.is_multiple_of(LOOK_EVERY) {
            self.is_spent = Instant::now() >= self.until;
        }
    }
}

/// One request.
struct Request {
    /// Its row, where the name and the number of arguments say all.
    command: Option<&'static Command>,
    arguments: Range<usize>,
    keys: Range<usize>,
    /// Where it ends in its client's input.
    end: usize,
}

/// What one client has in the batch.
pub(super) struct Member {
    pub(super) connection: Rc<Connection>,
    requests: Range<usize>,
    /// A line of words behind the requests, and where it ends.
    inline: Option<(Vec<Vec<u8>>, usize)>,
    error: Option<ProtocolError>,
    /// Bytes of the input that are executed.
    pub(super) consumed: usize,
    /// Whole requests may stand behind those.
    pub(super) has_more: bool,
    /// Not everything that was found has been executed.
    pub(super) is_cut: bool,
}

/// The key at an argument, by the index of that argument.
struct Key {
    argument: usize,
    hash: u64,
}

/// The command that was found last: the next request often has the same.
#[derive(Default)]
struct Latest {
    /// As it was spelled.
    name: SmallVec<[u8; 16]>,
    count: usize,
    command: Option<&'static Command>,
}

impl Latest {
    /// The row of that name, if the number of arguments says all.
    fn find(&mut self, name: &[u8], count: usize) -> Option<&'static Command> {
        if count != self.count || name != self.name.as_slice() {
            self.command = command::find_plain(name, count);
            self.count = count;
            self.name.clear();
            if self.command.is_some() {
                self.name.extend_from_slice(name);
            } else {
                self.count = 0; // no request has so few
            }
        }
        self.command
    }
}

/// The requests, client by client.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) members: Vec<Member>,
    requests: Vec<Request>,
    /// Of all requests, as ranges of their client's input.
    arguments: Vec<Range<usize>>,
    keys: Vec<Key>,
    /// Database and hash of every key.
    places: Vec<(usize, u64)>,
    latest: Latest,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.members.clear();
        self.requests.clear();
        self.arguments.clear();
        self.keys.clear();
        self.places.clear();
    }

    pub(super) fn is_full(&self) -> bool {
        self.requests.len() >= MOST_REQUESTS
    }

    /// Finds the next requests of a client.
    pub(super) fn add(&mut self, engine: &Engine, connection: Rc<Connection>) {
        let mut member = Member {
            requests: self.requests.len()..self.requests.len(),
            inline: None,
            error: None,
            consumed: 0,
            has_more: false,
            is_cut: false,
            connection,
        };
        {
            let session = member.connection.session.borrow();
            let mut input = member.connection.input.borrow_mut();
            let limits = RequestLimits {
                max_bulk_len: engine.config.proto_max_bulk_len,
                authenticated: session.is_authenticated,
            };
            // What a client may ask for changes with AUTH.
            let most = if session.is_authenticated { MOST_OF_ONE } else { 1 };
            let mut found = 0;
            let len = input.len();
            while found < len && !member.has_more {
                let (decoder, bytes) = input.decoder(found);
                match decoder.decode(bytes, limits) {
                    Ok(Step::Incomplete) => break,
                    Ok(Step::Request { consumed }) => {
                        self.push(engine, &session, bytes, decoder.ranges(), found, found + consumed);
                        found += consumed;
                    }
                    Ok(Step::Inline { consumed }) => {
                        found += consumed;
                        member.inline = Some((decoder.take_inline_words(), found));
                        member.has_more = found < len;
                    }
                    Err(error) => {
                        member.error = Some(error);
                        break;
                    }
                }
                member.has_more |= self.requests.len() - member.requests.start >= most && found < len;
            }
        }
        member.requests.end = self.requests.len();
        self.members.push(member);
    }

    /// Adds a request that stands at `start` in its client's input, with its arguments relative to that.
    fn push(
        &mut self,
        engine: &Engine,
        session: &Session,
        bytes: &[u8],
        ranges: &[Range<usize>],
        start: usize,
        end: usize,
    ) {
        let (first_argument, first_key) = (self.arguments.len(), self.keys.len());
        self.arguments.extend(ranges.iter().map(|range| range.start + start..range.end + start));
        let command = ranges.first().and_then(|name| self.latest.find(&bytes[name.clone()], ranges.len()));
        if let Some(command) = command {
            for position in command.plain_key_positions(ranges.len()).take(MOST_KEYS) {
                let hash = engine.keyspace.hash(&bytes[ranges[position].clone()]);
                self.keys.push(Key { argument: first_argument + position, hash });
                self.places.push((session.db, hash));
            }
        }
        let (arguments, keys) = (first_argument..self.arguments.len(), first_key..self.keys.len());
        self.requests.push(Request { command, arguments, keys, end });
    }

    /// Has the memory of all keys fetched while the first are being looked up. Worth it for two or more.
    pub(super) fn prefetch(&self, keyspace: &Keyspace) {
        if self.places.len() > 1 {
            keyspace.prefetch(&self.places);
        }
    }

    /// Executes what was found, until the time is up.
    pub(super) fn run(&mut self, shared: &Rc<Shared>, engine: &mut Engine, budget: &mut Budget) {
        engine.lap = engine.clock.moment();
        let mut members = std::mem::take(&mut self.members);
        for member in &mut members {
            self.run_member(shared, engine, member, budget);
        }
        self.members = members;
    }

    fn run_member(&self, shared: &Rc<Shared>, engine: &mut Engine, member: &mut Member, budget: &mut Budget) {
        let connection = &member.connection;
        let mut session = connection.session.borrow_mut();
        let input = connection.input.borrow();
        let bytes = input.bytes();
        command::begin_requests(engine, &session, member.requests.len());
        for request in &self.requests[member.requests.clone()] {
            if session.is_closing || session.awaits_reply || budget.is_spent || !connection.has_room(engine) {
                member.is_cut = true;
                break;
            }
            let arguments: Arguments<'_> =
                self.arguments[request.arguments.clone()].iter().map(|range| &bytes[range.clone()]).collect();
            if command::is_held(engine, &session, &arguments) {
                (session.is_held, member.is_cut) = (true, true);
                break;
            }
            for key in &self.keys[request.keys.clone()] {
                engine.keyspace.know(arguments[key.argument - request.arguments.start], key.hash);
            }
            execute_one(shared, engine, (&mut session, connection), request.command, &arguments);
            engine.keyspace.forget();
            budget.count_one();
            member.consumed = request.end;
        }
        if let (Some((words, end)), false) = (&member.inline, member.is_cut) {
            if session.is_closing || session.awaits_reply || !connection.has_room(engine) {
                member.is_cut = true;
            } else {
                let arguments: Arguments<'_> = words.iter().map(Vec::as_slice).collect();
                if !arguments.is_empty() && command::is_held(engine, &session, &arguments) {
                    (session.is_held, member.is_cut) = (true, true);
                } else {
                    execute_one(shared, engine, (&mut session, connection), None, &arguments);
                    member.consumed = *end;
                }
            }
        }
        command::end_requests(engine, &mut session);
        // A reply that comes later comes before it.
        member.is_cut |= member.error.is_some() && session.awaits_reply;
        if let (Some(error), false) = (&member.error, member.is_cut || session.is_closing) {
            connection.push_reply(format!("-ERR Protocol error: {error}\r\n").as_bytes());
            session.is_closing = true;
        }
        let watched = if engine.watches.is_idle() { 0 } else { engine.watches.keys(session.id).len() };
        engine.clients.update(&session, watched);
    }
}

fn execute_one(
    shared: &Rc<Shared>,
    engine: &mut Engine,
    (session, connection): (&mut Session, &Connection),
    command: Option<&'static Command>,
    arguments: &[&[u8]],
) {
    let Some(name) = arguments.first() else { return };
    // What a browser sends to a server that it takes for one of its own: no reply, no second line of it.
    if command.is_none() && (name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")) {
        log::warning(format!("Possible cross protocol scripting by {}: connection closed", session.address));
        session.is_closing = true;
        return;
    }
    connection.append_reply(|out| match command {
        Some(command) => command::execute_found(engine, session, command, arguments, out),
        None => command::execute(engine, session, arguments, out),
    });
    if !engine.mail.is_empty() {
        shared.deliver(engine);
        engine.lap = engine.clock.moment();
    }
}
