//! XINFO: what a stream, its groups and their consumers are like inside.

use crate::resp::{Encoder, Reply};
use crate::value::Stream;
use crate::value::stream::{Group, StreamId};

use super::super::{CommandError, Context, Outcome, args};
use super::{look, no_group_for_key, reply_entries, reply_help, reply_id, reply_maybe};

/// Entries and pending entries that FULL shows without COUNT.
const USUAL_COUNT: usize = 10;

fn existing(context: &mut Context<'_>) -> Result<Stream, CommandError> {
    look(context, context.args[2])?.ok_or(CommandError::NoSuchKey)
}

pub(super) fn stream(context: &mut Context<'_>) -> Outcome {
    let stream = existing(context)?;
    let bad_options = || {
        CommandError::err(format_args!(
            "unknown subcommand or wrong number of arguments for '{}'. Try XINFO HELP.",
            args::printable(context.args[1])
        ))
    };
    let (is_full, count) = match &context.args[3..] {
        [] => (false, USUAL_COUNT),
        [full] if args::is(full, "FULL") => (true, USUAL_COUNT),
        [full, option, value] if args::is(full, "FULL") && args::is(option, "COUNT") => (true, parse_count(value)?),
        _ => return Err(bad_options()),
    };
    let reply = &mut context.reply;
    reply.map(if is_full { 9 } else { 10 });
    general(reply, &stream);
    if is_full {
        reply.bulk(b"entries");
        reply_entries(reply, stream.range(StreamId::MIN, StreamId::MAX), count, |_| {});
        reply.bulk(b"groups");
        let written = reply.array(stream.group_count());
        stream.groups().for_each(|(name, group)| full_group(reply, &stream, Full { name, group, count }));
        return Ok(written);
    }
    reply.bulk(b"groups");
    reply.count(stream.group_count());
    reply.bulk(b"first-entry");
    reply_maybe(reply, stream.range(StreamId::MIN, StreamId::MAX).next());
    reply.bulk(b"last-entry");
    Ok(reply_maybe(reply, stream.range(StreamId::MIN, StreamId::MAX).next_back()))
}

/// 0 is no limit, and a negative number the usual one.
fn parse_count(text: &[u8]) -> Result<usize, CommandError> {
    Ok(match usize::try_from(args::int(text)?) {
        Ok(0) => usize::MAX,
        Ok(count) => count,
        Err(_) => USUAL_COUNT,
    })
}

fn general(reply: &mut Encoder<'_>, stream: &Stream) {
    reply.bulk(b"length");
    reply.count(stream.len());
    reply.bulk(b"radix-tree-keys");
    reply.count(stream.node_count());
    reply.bulk(b"radix-tree-nodes");
    reply.count(stream.radix_nodes());
    for (name, id) in [("last-generated-id", stream.last_id()), ("max-deleted-entry-id", stream.max_deleted_id())] {
        reply.bulk(name.as_bytes());
        reply_id(reply, id);
    }
    reply.bulk(b"entries-added");
    unsigned(reply, stream.entries_added());
    reply.bulk(b"recorded-first-entry-id");
    reply_id(reply, stream.first_id());
}

fn unsigned(reply: &mut Encoder<'_>, value: u64) -> Reply {
    reply.int(i64::try_from(value).unwrap_or(i64::MAX))
}

fn maybe(reply: &mut Encoder<'_>, value: Option<i64>) -> Reply {
    match value {
        Some(value) => reply.int(value),
        None => reply.null(),
    }
}

/// A group to be shown with `count` of each list.
#[derive(Clone, Copy)]
struct Full<'a> {
    name: &'a [u8],
    group: &'a Group,
    count: usize,
}

fn full_group(reply: &mut Encoder<'_>, stream: &Stream, shown: Full<'_>) {
    let Full { name, group, count } = shown;
    reply.map(7);
    reply.bulk(b"name");
    reply.bulk(name);
    reply.bulk(b"last-delivered-id");
    reply_id(reply, group.last_id());
    progress(reply, stream, group);
    reply.bulk(b"pel-count");
    reply.count(group.pending_len());
    reply.bulk(b"pending");
    reply.array(group.pending_len().min(count));
    for pending in group.pending_from(StreamId::MIN).take(count) {
        reply.array(4);
        reply_id(reply, pending.id);
        reply.bulk(pending.consumer);
        reply.int(pending.delivery_ms);
        unsigned(reply, pending.count);
    }
    reply.bulk(b"consumers");
    reply.array(group.consumer_count());
    for (name, consumer) in group.consumers() {
        reply.map(5);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"seen-time");
        reply.int(consumer.seen_ms());
        reply.bulk(b"active-time");
        reply.int(consumer.active_ms().unwrap_or(-1));
        reply.bulk(b"pel-count");
        reply.count(consumer.pending_len());
        reply.bulk(b"pending");
        reply.array(consumer.pending_len().min(count));
        for pending in group.pending_of(name, StreamId::MIN).take(count) {
            reply.array(3);
            reply_id(reply, pending.id);
            reply.int(pending.delivery_ms);
            unsigned(reply, pending.count);
        }
    }
}

fn progress(reply: &mut Encoder<'_>, stream: &Stream, group: &Group) {
    reply.bulk(b"entries-read");
    maybe(reply, group.entries_read().map(u64::cast_signed));
    reply.bulk(b"lag");
    maybe(reply, stream.lag(group));
}

pub(super) fn groups(context: &mut Context<'_>) -> Outcome {
    let stream = existing(context)?;
    let reply = &mut context.reply;
    let written = reply.array(stream.group_count());
    for (name, group) in stream.groups() {
        reply.map(6);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"consumers");
        reply.count(group.consumer_count());
        reply.bulk(b"pending");
        reply.count(group.pending_len());
        reply.bulk(b"last-delivered-id");
        reply_id(reply, group.last_id());
        progress(reply, &stream, group);
    }
    Ok(written)
}

pub(super) fn consumers(context: &mut Context<'_>) -> Outcome {
    let (key, name) = (context.args[2], context.args[3]);
    let stream = existing(context)?;
    let group = stream.group(name).ok_or_else(|| no_group_for_key(key, name))?;
    let now = context.now_ms();
    let since = |moment: i64| now.saturating_sub(moment).max(0);
    let reply = &mut context.reply;
    let written = reply.array(group.consumer_count());
    for (name, consumer) in group.consumers() {
        reply.map(4);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"pending");
        reply.count(consumer.pending_len());
        reply.bulk(b"idle");
        reply.int(since(consumer.seen_ms()));
        reply.bulk(b"inactive");
        reply.int(consumer.active_ms().map_or(-1, since));
    }
    Ok(written)
}

pub(super) fn help(context: &mut Context<'_>) -> Outcome {
    Ok(reply_help(&mut context.reply, HELP))
}

const HELP: &[&str] = &[
    "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CONSUMERS <key> <groupname>",
    "    Show consumers of <groupname>.",
    "GROUPS <key>",
    "    Show the stream consumer groups.",
    "STREAM <key> [FULL [COUNT <count>]",
    "    Show information about the stream.",
    "HELP",
    "    Print this help.",
];
