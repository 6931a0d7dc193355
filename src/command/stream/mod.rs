//! Streams: appending, reading, trimming, and the groups that consume them.
//!
//! What the log gets is what happened, not what was asked: an id made from the clock is logged as that id, a trim that
//! may stop early as the trim that leaves the same entries, a delivery to a consumer as the XCLAIM that delivers it.

mod claim;
mod delete;
mod group;
mod info;
mod pending;
mod range;
mod read;
#[cfg(test)]
mod tests;
mod write;

use crate::resp::{Encoder, Reply};
use crate::value::Stream;
use crate::value::stream::{Entry, StreamId};

use super::spec::{
    BLOCKING, CAT_STREAM, Command, DENYOOM, FAST, Keys, LOADING, MOVABLE_KEYS, NO_KEYS, ONE_KEY, READONLY, STALE,
    WRITE, command, container,
};
use super::{CommandError, Context};

pub const COMMANDS: &[Command] = &[
    command("xadd", -5, WRITE | DENYOOM | FAST, ONE_KEY, CAT_STREAM, "5.0.0", write::xadd),
    command("xtrim", -4, WRITE, ONE_KEY, CAT_STREAM, "5.0.0", write::xtrim),
    command("xdel", -3, WRITE | FAST, ONE_KEY, CAT_STREAM, "5.0.0", write::xdel),
    command("xdelex", -5, WRITE | FAST, ONE_KEY, CAT_STREAM, "8.2.0", delete::xdelex),
    command("xackdel", -6, WRITE | FAST, ONE_KEY, CAT_STREAM, "8.2.0", delete::xackdel),
    command("xsetid", -3, WRITE | DENYOOM | FAST, ONE_KEY, CAT_STREAM, "5.0.0", write::xsetid),
    command("xlen", 2, READONLY | FAST, ONE_KEY, CAT_STREAM, "5.0.0", range::xlen),
    command("xrange", -4, READONLY, ONE_KEY, CAT_STREAM, "5.0.0", range::xrange),
    command("xrevrange", -4, READONLY, ONE_KEY, CAT_STREAM, "5.0.0", range::xrevrange),
    command("xread", -4, READONLY | BLOCKING | MOVABLE_KEYS, STREAMS, CAT_STREAM, "5.0.0", read::xread),
    command("xreadgroup", -7, WRITE | BLOCKING | MOVABLE_KEYS, STREAMS, CAT_STREAM, "5.0.0", read::xreadgroup),
    container("xgroup", 0, "5.0.0", GROUP),
    command("xack", -4, WRITE | FAST, ONE_KEY, CAT_STREAM, "5.0.0", pending::xack),
    command("xpending", -3, READONLY, ONE_KEY, CAT_STREAM, "5.0.0", pending::xpending),
    command("xclaim", -6, WRITE | FAST, ONE_KEY, CAT_STREAM, "5.0.0", claim::xclaim),
    command("xautoclaim", -6, WRITE | FAST, ONE_KEY, CAT_STREAM, "6.2.0", claim::xautoclaim),
    container("xinfo", 0, "5.0.0", INFO),
];

const GROUP: &[Command] = &[
    command("create", -5, WRITE | DENYOOM, SECOND, CAT_STREAM, "5.0.0", group::create),
    command("setid", -5, WRITE, SECOND, CAT_STREAM, "5.0.0", group::setid),
    command("destroy", 4, WRITE, SECOND, CAT_STREAM, "5.0.0", group::destroy),
    command("createconsumer", 5, WRITE | DENYOOM, SECOND, CAT_STREAM, "6.2.0", group::createconsumer),
    command("delconsumer", 5, WRITE, SECOND, CAT_STREAM, "5.0.0", group::delconsumer),
    command("help", 2, LOADING | STALE, NO_KEYS, CAT_STREAM, "5.0.0", group::help),
];

const INFO: &[Command] = &[
    command("stream", -3, READONLY, SECOND, CAT_STREAM, "5.0.0", info::stream),
    command("groups", 3, READONLY, SECOND, CAT_STREAM, "5.0.0", info::groups),
    command("consumers", 4, READONLY, SECOND, CAT_STREAM, "5.0.0", info::consumers),
    command("help", 2, LOADING | STALE, NO_KEYS, CAT_STREAM, "5.0.0", info::help),
];

/// The key of a subcommand.
const SECOND: Keys = Keys::Range { first: 2, last: 2, step: 1 };
/// The keys behind STREAMS: the first half of what follows it.
const STREAMS: Keys = Keys::Found(keys_behind_streams);

fn keys_behind_streams(arguments: &[&[u8]]) -> Vec<usize> {
    let Some(at) = read::position_of_streams(arguments) else {
        return Vec::new();
    };
    (at + 1..at + 1 + (arguments.len() - at - 1) / 2).collect()
}

const INVALID_ID: CommandError = CommandError::text("ERR Invalid stream ID specified as stream command argument");

/// An id without `-`, `+` and `*`.
fn parse_id(text: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    StreamId::parse(text, missing_seq).ok_or(INVALID_ID)
}

/// The first id of a range: `-`, `+`, an id, or `(` and an id that is left out.
fn parse_start(text: &[u8]) -> Result<StreamId, CommandError> {
    match text.strip_prefix(b"(") {
        Some(text) => parse_id(text, 0)?.incr().ok_or(CommandError::text("ERR invalid start ID for the interval")),
        None => parse_end_or_start(text, 0),
    }
}

/// The last id of a range, as [`parse_start`].
fn parse_end(text: &[u8]) -> Result<StreamId, CommandError> {
    match text.strip_prefix(b"(") {
        Some(text) => parse_id(text, u64::MAX)?.decr().ok_or(CommandError::text("ERR invalid end ID for the interval")),
        None => parse_end_or_start(text, u64::MAX),
    }
}

fn parse_end_or_start(text: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => parse_id(text, missing_seq),
    }
}

fn reply_id(reply: &mut Encoder<'_>, id: StreamId) -> Reply {
    reply.short_bulk(|text| id.write_to(text))
}

/// An entry, or a null.
fn reply_maybe(reply: &mut Encoder<'_>, entry: Option<Entry<'_>>) -> Reply {
    match entry {
        Some(entry) => reply_entry(reply, &entry),
        None => reply.null(),
    }
}

fn reply_entry(reply: &mut Encoder<'_>, entry: &Entry<'_>) -> Reply {
    reply.array(2);
    reply_id(reply, entry.id);
    let written = reply.array(entry.fields.len() * 2);
    for (field, value) in &entry.fields {
        field.with(|text| reply.bulk(text));
        value.with(|text| reply.bulk(text));
    }
    written
}

/// Up to `count` entries, as an array.
fn reply_entries<'s>(
    reply: &mut Encoder<'_>,
    entries: impl Iterator<Item = Entry<'s>>,
    count: usize,
    mut each: impl FnMut(StreamId),
) -> Reply {
    let (start, mut written) = (reply.len(), 0);
    for entry in entries.take(count) {
        reply_entry(reply, &entry);
        each(entry.id);
        written += 1;
    }
    reply.array_since(start, written)
}

/// An error that quotes the user's own words, cut where the servers cut them.
fn no_group(key: &[u8], group: &[u8], behind: &str) -> CommandError {
    let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
    CommandError::Text(format!("NOGROUP No such key '{key}' or consumer group '{group}'{behind}").into())
}

fn no_group_for_key(key: &[u8], group: &[u8]) -> CommandError {
    let (key, group) = (String::from_utf8_lossy(key), String::from_utf8_lossy(group));
    CommandError::Text(format!("NOGROUP No such consumer group '{group}' for key name '{key}'").into())
}

/// A consumer's place: the key, the group and its own name.
#[derive(Clone, Copy)]
struct Member<'a> {
    key: &'a [u8],
    group: &'a [u8],
    consumer: &'a [u8],
}

impl Member<'_> {
    /// Notes that the consumer is there, and makes it if it is new.
    fn seen(&self, context: &mut Context<'_>) -> Result<(), CommandError> {
        let now = context.now_ms();
        let group = context.write_stream(self.key)?.and_then(|stream| stream.group_mut(self.group));
        let Some(group) = group else { return Ok(()) };
        if group.create_consumer(self.consumer, now) {
            context.changed(1);
            if context.is_replay {
                return Ok(());
            }
            let made: [&[u8]; 5] = [b"XGROUP", b"CREATECONSUMER", self.key, self.group, self.consumer];
            context.log_as(&made);
        } else {
            group.set_seen(self.consumer, now);
        }
        Ok(())
    }

    /// Logs that the pending entry is as it is: who has it, since when, delivered how often.
    fn log_claim(&self, context: &mut Context<'_>, claim: Claim) {
        if context.is_replay {
            return;
        }
        let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
        context.log_as(&[
            b"XCLAIM",
            self.key,
            self.group,
            self.consumer,
            b"0",
            &claim.id.to_text(),
            b"TIME",
            time.format(claim.delivery_ms).as_bytes(),
            b"RETRYCOUNT",
            count.format(claim.count).as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            &claim.last_id.to_text(),
        ]);
    }

    /// Logs what the group was given last, and how much that is in all.
    fn log_position(&self, context: &mut Context<'_>, last_id: StreamId, entries_read: Option<u64>) {
        if context.is_replay {
            return;
        }
        let mut number = itoa::Buffer::new();
        let read = entries_read.map_or("-1", |read| number.format(read));
        let last_id = last_id.to_text();
        let moved: [&[u8]; 7] = [b"XGROUP", b"SETID", self.key, self.group, &last_id, b"ENTRIESREAD", read.as_bytes()];
        context.log_as(&moved);
    }
}

/// A pending entry, as the log tells it.
#[derive(Clone, Copy)]
struct Claim {
    id: StreamId,
    delivery_ms: i64,
    count: u64,
    /// The group's last id.
    last_id: StreamId,
}

/// The key's stream as it is now. It costs two counted pointers, and leaves the context free; it must be dropped
/// before the stream is written to, or the write will copy what they share.
fn look(context: &mut Context<'_>, key: &[u8]) -> Result<Option<Stream>, CommandError> {
    Ok(context.read_stream(key)?.cloned())
}

/// The lines of a HELP.
fn reply_help(reply: &mut Encoder<'_>, lines: &[&str]) -> Reply {
    let written = reply.array(lines.len());
    for line in lines {
        reply.simple(line);
    }
    written
}
