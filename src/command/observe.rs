//! What is noted of every command that has run: how long it took, and whether that, or its size, is worth keeping.
//!
//! A command begins where the one before it ended, so that one look at the clock does for each, or for
//! [several](crate::engine::pace).

use crate::engine::clock::Moment;
use crate::engine::commandlog::{Reason, Sender};
use crate::engine::pace::LONG;
use crate::engine::{Engine, Session};

use super::Command;
use super::monitor::secrets;
use super::spec::{FAST, SKIP_SLOWLOG};

/// A command that has run.
pub(super) struct Ran<'a> {
    pub(super) command: &'static Command,
    pub(super) arguments: &'a [&'a [u8]],
    pub(super) began: Moment,
    /// Bytes of the reply.
    pub(super) reply_len: usize,
    pub(super) has_failed: bool,
}

/// A command begins: others that wait to be timed together are.
#[inline]
pub(super) fn begin(engine: &mut Engine, session: &mut Session, command: &'static Command) -> Moment {
    if engine.pace.is_of_others(address(command)) {
        end_group(engine, session);
    }
    engine.lap
}

fn address(command: &'static Command) -> usize {
    std::ptr::from_ref(command).addr()
}

/// Behind the requests of a client.
pub fn end_requests(engine: &mut Engine, session: &mut Session) {
    end_group(engine, session);
    engine.pace.set_long(false);
}

/// Commands that are timed together end here, if there are any.
fn end_group(engine: &mut Engine, session: &mut Session) {
    let (row, count) = engine.pace.take();
    if count > 0 {
        let now = engine.clock.moment();
        let ticks = now.since(engine.lap);
        engine.lap = now;
        engine.stats.calls.add_time(row, ticks, count, engine.config.latency_tracking);
        session.is_timed_closely |= ticks >= engine.notable.ticks;
    }
}

/// Begins the requests of a client; so many stand behind each other.
pub fn begin_requests(engine: &mut Engine, session: &Session, count: usize) {
    engine.pace.set_long(count >= LONG && !session.is_timed_closely && !engine.notable.is_fine);
}

/// Notes a command.
#[inline]
pub(super) fn note(engine: &mut Engine, session: &mut Session, ran: Ran<'_>) {
    engine.stats.calls.count(ran.command, session.is_repeated, ran.has_failed);
    let mut ticks = 0;
    if !engine.pace.is_long() {
        let now = engine.clock.moment();
        ticks = now.since(ran.began);
        engine.lap = now;
        let is_tracked = engine.config.latency_tracking && !session.awaits_reply;
        engine.stats.calls.add_time(address(ran.command), ticks, 1, is_tracked);
    } else if engine.pace.add(address(ran.command)) {
        end_group(engine, session);
    }
    let notable = engine.notable;
    let request_len = ran.arguments.iter().map(|argument| argument.len()).sum::<usize>() + ran.arguments.len();
    if ticks >= notable.ticks || ran.reply_len >= notable.reply_len || request_len >= notable.request_len {
        keep(engine, session, &ran, ticks);
    }
}

/// Keeps what is worth it.
#[cold]
fn keep(engine: &mut Engine, session: &Session, ran: &Ran<'_>, ticks: u64) {
    if session.awaits_reply || ran.command.is(SKIP_SLOWLOG) {
        return;
    }
    let ns = engine.clock.ns(ticks);
    let unix_seconds = engine.clock.now_ms() / 1000;
    let event = if ran.command.is(FAST) { "fast-command" } else { "command" };
    engine.latency.note(event, ns / 1_000_000, engine.config.latency_monitor_threshold, unix_seconds);
    let waited = engine.clients.get(session.id).filter(|_| session.address.is_empty());
    let (address, name) = match waited {
        // Who has waited is served by a session that does not know its address.
        Some(client) => (client.address.as_str(), client.name.as_slice()),
        None => (session.address.as_str(), session.name.as_slice()),
    };
    let (config, secrets) = (&engine.config, secrets(ran.command, ran.arguments));
    let sender = Sender { address, name, unix_seconds };
    for (reason, value, limit, most) in [
        (Reason::Slow, ns / 1000, config.slowlog_log_slower_than, config.slowlog_max_len),
        (
            Reason::LargeRequest,
            request_len(ran.arguments),
            config.commandlog_request_larger_than,
            config.commandlog_large_request_max_len,
        ),
        (
            Reason::LargeReply,
            ran.reply_len as u64, // usize has at most 64 bits
            config.commandlog_reply_larger_than,
            config.commandlog_large_reply_max_len,
        ),
    ] {
        if u64::try_from(limit).is_ok_and(|limit| value >= limit) {
            engine.command_log.push((reason, value), ran.arguments, &secrets, sender, most);
        }
    }
}

/// Bytes of the request as clients send it, `*N` and `$LEN` among them.
fn request_len(arguments: &[&[u8]]) -> u64 {
    let digits = |value: usize| value.checked_ilog10().unwrap_or(0) as usize + 1;
    let of = |argument: &&[u8]| argument.len() + digits(argument.len()) + "$\r\n\r\n".len();
    let len = arguments.iter().map(of).sum::<usize>() + digits(arguments.len()) + "*\r\n".len();
    len as u64 // usize has at most 64 bits
}

#[cfg(test)]
mod tests {
    use super::super::console::Console;
    use super::*;

    #[test]
    fn commands_of_a_long_pipeline_are_counted_each_and_timed_together() {
        let mut console = Console::new();
        begin_requests(&mut console.engine, &console.session, 21);
        (0..10).for_each(|_| drop(console.run("get a")));
        (0..10).for_each(|_| drop(console.run("set a 1")));
        console.run("get a");
        end_requests(&mut console.engine, &mut console.session);
        console.script(
            "latency histogram get => %1 get %2 calls :11 histogram_usec %1 :1 :11
             latency histogram set => %1 set %2 calls :10 histogram_usec %1 :1 :10",
        );
        // By a clock that stands still nothing is slow, but where everything is to be kept.
        console.script("config set slowlog-log-slower-than 0 => +OK");
        begin_requests(&mut console.engine, &console.session, 21);
        assert!(!console.engine.pace.is_long());
    }

    #[test]
    fn who_has_sent_something_slow_is_timed_closely() {
        let mut console = Console::new();
        begin_requests(&mut console.engine, &console.session, 21);
        console.run("get a");
        console.engine.notable.ticks = 0;
        end_requests(&mut console.engine, &mut console.session);
        assert!(console.session.is_timed_closely);
        begin_requests(&mut console.engine, &console.session, 21);
        assert!(!console.engine.pace.is_long());
    }

    #[test]
    fn the_length_of_a_request_is_that_of_its_encoding() {
        for words in [&[&b"GET"[..], b"a"][..], &[b"SET", b"k", &[b'x'; 1234]], &[&b""[..]; 11]] {
            let mut encoded = Vec::new();
            crate::resp::encode_request(&mut encoded, words);
            assert_eq!(request_len(words), encoded.len() as u64);
        }
    }
}
