//! What is noted of every command that has run: how long it took, and whether that, or its size, is worth keeping.
//!
//! A command begins where the one before it ended, so that one look at the clock does for each.

use crate::engine::clock::Moment;
use crate::engine::commandlog::{Reason, Sender};
use crate::engine::info::Call;
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

/// Notes a command.
#[inline]
pub(super) fn note(engine: &mut Engine, session: &Session, ran: Ran<'_>) {
    let now = engine.clock.moment();
    let ns = engine.clock.ns_between(ran.began, now);
    engine.lap = now;
    let call = Call {
        ns,
        has_failed: ran.has_failed,
        is_repeated: session.is_repeated,
        is_tracked: engine.config.latency_tracking && !session.awaits_reply,
    };
    engine.stats.calls.count(ran.command, call);
    if session.awaits_reply || ran.command.is(SKIP_SLOWLOG) {
        return;
    }
    let config = &engine.config;
    let request_len: usize = ran.arguments.iter().map(|argument| argument.len()).sum();
    let is_over = |value: u64, limit: i64| u64::try_from(limit).is_ok_and(|limit| value >= limit);
    let is_slow = is_over(ns / 1000, config.slowlog_log_slower_than);
    let is_late = config.latency_monitor_threshold > 0 && ns / 1_000_000 >= config.latency_monitor_threshold;
    // The lengths of the parts of a request take some bytes each.
    let is_large = is_over((request_len + 32 * ran.arguments.len()) as u64, config.commandlog_request_larger_than)
        || is_over(ran.reply_len as u64, config.commandlog_reply_larger_than);
    if is_slow || is_late || is_large {
        keep(engine, session, &ran, ns);
    }
}

/// Keeps what is worth it.
#[cold]
fn keep(engine: &mut Engine, session: &Session, ran: &Ran<'_>, ns: u64) {
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
    use super::*;

    #[test]
    fn the_length_of_a_request_is_that_of_its_encoding() {
        for words in [&[&b"GET"[..], b"a"][..], &[b"SET", b"k", &[b'x'; 1234]], &[&b""[..]; 11]] {
            let mut encoded = Vec::new();
            crate::resp::encode_request(&mut encoded, words);
            assert_eq!(request_len(words), encoded.len() as u64);
        }
    }
}
