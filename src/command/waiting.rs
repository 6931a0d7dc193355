//! Commands whose client waits: for a key, or for time to pass.
//!
//! A handler that finds nothing returns [`Context::wait_for`]. When one of the keys has changed, [`serve_ready`] runs the
//! request again, in a unit of the log of its own: what it takes then is logged behind what put it there.

use std::time::Duration;

use crate::codec::long_double::{LongDouble, Parsed};
use crate::codec::number;
use crate::engine::Engine;
use crate::engine::session::Session;
use crate::engine::wait::{Awaited, Waiter};
use crate::resp::request::Arguments;
use crate::resp::{Encoder, Reply};

use super::{CommandError, Context, execute};

/// How long a client is willing to wait; none is for ever.
pub(super) type Timeout = Option<Duration>;

/// A timeout in seconds, with a fraction; 0 is none.
pub(super) fn seconds(argument: &[u8], now_ms: i64) -> Result<Timeout, CommandError> {
    let ms = match LongDouble::parse(argument) {
        Some(Parsed::Finite(seconds)) => seconds.times_and_up(1000),
        Some(Parsed::Infinite) if argument.starts_with(b"-") => i64::MIN,
        Some(Parsed::Infinite) => i64::MAX,
        None => return Err(CommandError::err("timeout is not a float or out of range")),
    };
    checked(ms, now_ms)
}

/// A timeout in ms; 0 is none.
pub(super) fn milliseconds(argument: &[u8], now_ms: i64) -> Result<Timeout, CommandError> {
    let ms = number::parse_i64(argument);
    checked(ms.ok_or_else(|| CommandError::err("timeout is not an integer or out of range"))?, now_ms)
}

fn checked(ms: i64, now_ms: i64) -> Result<Timeout, CommandError> {
    let positive = u64::try_from(ms).map_err(|_| CommandError::err("timeout is negative"))?;
    if ms > i64::MAX - now_ms {
        return Err(CommandError::err("timeout is out of range"));
    }
    Ok((positive > 0).then(|| Duration::from_millis(positive)))
}

/// What a command that has found nothing waits for.
pub(super) struct Wait<'a> {
    pub(super) keys: &'a [&'a [u8]],
    pub(super) awaited: Awaited,
    pub(super) timeout: Timeout,
    /// The request to be run again, where that is not the one that was typed.
    pub(super) request: Option<Vec<Vec<u8>>>,
}

impl<'a> Wait<'a> {
    pub(super) fn new(keys: &'a [&'a [u8]], awaited: Awaited, timeout: Timeout) -> Self {
        Self { keys, awaited, timeout, request: None }
    }
}

impl Context<'_> {
    /// Lets the client wait; a transaction, which can't, has a null instead.
    pub(super) fn wait_for(&mut self, wait: Wait<'_>) -> Reply {
        if !self.may_wait() {
            return self.reply.null_array();
        }
        let typed = || self.args.iter().map(|argument| argument.to_vec()).collect();
        let now = self.engine.clock.monotonic();
        let waiter = Waiter {
            client: self.session.id,
            db: self.session.db,
            protocol: self.session.protocol,
            request: wait.request.unwrap_or_else(typed),
            keys: wait.keys.iter().map(|key| key.to_vec()).collect(),
            awaited: wait.awaited,
            // Who has longer than a clock can tell waits for ever.
            deadline: wait.timeout.and_then(|timeout| now.checked_add(timeout)),
        };
        self.engine.waiters.add(waiter);
        self.session.awaits_reply = true;
        self.reply.raw(b"")
    }

    /// Whether a reply may come later.
    pub(super) fn may_wait(&self) -> bool {
        !self.session.denies_waiting && !self.is_replay
    }
}

/// Serves those who wait for keys that have changed, the first key first, and of each those who came first. What they do may
/// serve others.
pub fn serve_ready(engine: &mut Engine) {
    while let Some(((db, key), clients)) = engine.waiters.take_ready() {
        for client in clients {
            let found = kind_of(engine, db, &key);
            if engine.waiters.get(client).is_some_and(|waiter| concerns(waiter.awaited, found)) {
                serve(engine, client);
            }
        }
    }
}

/// What of interest a key holds.
fn kind_of(engine: &mut Engine, db: usize, key: &[u8]) -> Option<Awaited> {
    match engine.keyspace.db(db).get(key)?.type_name() {
        "list" => Some(Awaited::List),
        "zset" => Some(Awaited::Zset),
        "stream" => Some(Awaited::Stream),
        _ => None,
    }
}

fn concerns(awaited: Awaited, found: Option<Awaited>) -> bool {
    awaited == Awaited::Group || found == Some(awaited)
}

/// Runs a waiting client's request again; it goes on waiting if that finds nothing.
fn serve(engine: &mut Engine, client: u64) {
    let Some(waiter) = engine.waiters.get(client).cloned() else { return };
    let mut session = Session::new(client, String::new(), 0);
    (session.db, session.protocol) = (waiter.db, waiter.protocol);
    let arguments: Arguments<'_> = waiter.request.iter().map(Vec::as_slice).collect();
    let mut reply = Vec::new();
    let position = execute::execute_again(engine, &mut session, &arguments, &mut reply);
    if !session.awaits_reply {
        engine.waiters.remove(client);
        engine.mail.reply(client, &reply, position);
    }
}

/// Lets those go whose time is up.
pub fn time_out(engine: &mut Engine) {
    for client in engine.waiters.overdue(engine.clock.monotonic()) {
        give_up(engine, client);
    }
}

/// Ends a client's waiting as if its time were up; false if it doesn't wait.
pub(super) fn give_up(engine: &mut Engine, client: u64) -> bool {
    let Some(waiter) = engine.waiters.remove(client) else { return false };
    let mut bytes = Vec::new();
    let mut reply = Encoder::new(&mut bytes, waiter.protocol);
    match waiter.awaited {
        Awaited::Replicas => reply.int(0),
        _ => reply.null_array(),
    };
    engine.mail.reply(client, &bytes, None);
    true
}

/// Ends a client's waiting with an error; false if it doesn't wait.
pub(super) fn interrupt(engine: &mut Engine, client: u64) -> bool {
    let is_waiting = engine.waiters.remove(client).is_some();
    if is_waiting {
        let error = CommandError::text("UNBLOCKED client unblocked via CLIENT UNBLOCK");
        engine.stats.count_error(&error.to_string());
        engine.mail.reply(client, format!("-{error}\r\n").as_bytes(), None);
    }
    is_waiting
}
