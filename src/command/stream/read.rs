//! XREAD and XREADGROUP, at once, or as soon as there is something new.

use crate::engine::wait::Awaited;
use crate::resp::{Encoder, Protocol, Reply};
use crate::value::Stream;
use crate::value::stream::{Pending, StreamId};

use super::super::waiting::{self, Timeout, Wait};
use super::super::{CommandError, Context, Outcome, args};
use super::{Claim, Member, look, no_group, parse_id, reply_entries, reply_entry, reply_id};

/// From where a stream is to be read.
#[derive(Clone, Copy)]
enum Source {
    /// After this id; within a group, of what the consumer was given.
    After(StreamId),
    /// `>`: what the group was not given yet.
    New,
}

/// The arguments of XREAD or XREADGROUP.
struct Options<'a> {
    /// How many entries of each stream.
    count: usize,
    group: Option<(&'a [u8], &'a [u8])>,
    no_ack: bool,
    /// With BLOCK.
    timeout: Option<Timeout>,
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
}

/// Where the word STREAMS stands: options have their values skipped.
pub(super) fn position_of_streams(arguments: &[&[u8]]) -> Option<usize> {
    let mut at = 1;
    while let Some(word) = arguments.get(at) {
        at += match *word {
            word if args::is(word, "STREAMS") => return Some(at),
            word if args::is(word, "BLOCK") || args::is(word, "COUNT") => 2,
            word if args::is(word, "GROUP") => 3,
            word if args::is(word, "NOACK") => 1,
            _ => return None,
        };
    }
    None
}

impl<'a> Options<'a> {
    fn parse(arguments: &'a [&'a [u8]], is_group: bool, now_ms: i64) -> Result<Self, CommandError> {
        let mut options = Options { count: usize::MAX, group: None, no_ack: false, timeout: None, keys: &[], ids: &[] };
        let mut at = 1;
        while let Some(word) = arguments.get(at) {
            let rest = &arguments[at + 1..];
            at += match *word {
                word if args::is(word, "BLOCK") && !rest.is_empty() => {
                    options.timeout = Some(waiting::milliseconds(rest[0], now_ms)?);
                    2
                }
                word if args::is(word, "COUNT") && !rest.is_empty() => {
                    let count = usize::try_from(args::int(rest[0])?).unwrap_or(0);
                    options.count = if count == 0 { usize::MAX } else { count };
                    2
                }
                word if args::is(word, "STREAMS") && !rest.is_empty() => {
                    options.split(rest, is_group)?;
                    break;
                }
                word if args::is(word, "GROUP") && rest.len() >= 2 => {
                    refuse_outside_group(is_group, "GROUP")?;
                    options.group = Some((rest[0], rest[1]));
                    3
                }
                word if args::is(word, "NOACK") => {
                    refuse_outside_group(is_group, "NOACK")?;
                    options.no_ack = true;
                    1
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        if options.keys.is_empty() {
            return Err(CommandError::Syntax);
        }
        if is_group && options.group.is_none() {
            return Err(CommandError::err("Missing GROUP option for XREADGROUP"));
        }
        Ok(options)
    }

    fn split(&mut self, rest: &'a [&'a [u8]], is_group: bool) -> Result<(), CommandError> {
        if !rest.len().is_multiple_of(2) {
            let (command, ids) =
                if is_group { ("xreadgroup", "an ID or '>'") } else { ("xread", "an ID, '+', or '$'") };
            return Err(CommandError::err(format_args!(
                "Unbalanced '{command}' list of streams: for each stream key {ids} must be specified."
            )));
        }
        (self.keys, self.ids) = rest.split_at(rest.len() / 2);
        Ok(())
    }
}

fn refuse_outside_group(is_group: bool, option: &str) -> Result<(), CommandError> {
    if is_group {
        return Ok(());
    }
    Err(CommandError::err(format_args!(
        "The {option} option is only supported by XREADGROUP. You called XREAD instead."
    )))
}

pub(super) fn xread(context: &mut Context<'_>) -> Outcome {
    let options = Options::parse(context.args, false, context.now_ms())?;
    let mut sources = Vec::with_capacity(options.keys.len());
    for (key, id) in options.keys.iter().zip(options.ids) {
        let stream = look(context, key)?;
        let after = parse_after(id, stream.as_ref())?;
        sources.push((key, stream, after));
    }
    let mut body = Vec::new();
    let mut reply = Encoder::new(&mut body, context.session.protocol);
    let mut served = 0;
    for (key, stream, after) in &sources {
        let Some((stream, first)) = stream.as_ref().zip(after.incr()).filter(|(stream, _)| stream.top_id() > *after)
        else {
            continue;
        };
        reply_key(&mut reply, key);
        reply_entries(&mut reply, stream.range(first, StreamId::MAX), options.count, |_| {});
        served += 1;
    }
    if let (0, Some(timeout)) = (served, options.timeout) {
        let request = Some(with_ids(context.args, &options, &sources));
        return Ok(context.wait_for(Wait { request, ..Wait::new(options.keys, Awaited::Stream, timeout) }));
    }
    Ok(finish(context, &body, served))
}

/// The request with the ids that `$` stands for now.
fn with_ids<S>(request: &[&[u8]], options: &Options<'_>, sources: &[(&&[u8], S, StreamId)]) -> Vec<Vec<u8>> {
    let first = request.len() - options.ids.len();
    let mut request: Vec<Vec<u8>> = request.iter().map(|argument| argument.to_vec()).collect();
    for (id, (_, _, after)) in request[first..].iter_mut().zip(sources) {
        if id == b"$" {
            *id = after.to_text();
        }
    }
    request
}

/// The id after which XREAD begins.
fn parse_after(id: &[u8], stream: Option<&Stream>) -> Result<StreamId, CommandError> {
    match id {
        b"$" => Ok(stream.map_or(StreamId::MIN, Stream::last_id)),
        b"+" => Ok(stream.and_then(|stream| stream.top_id().decr()).unwrap_or(StreamId::MIN)),
        b">" => Err(CommandError::err(
            "The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
        )),
        _ => parse_id(id, 0),
    }
}

/// Begins the reply of one stream: a pair in RESP2, a key and its value in a map of RESP3.
fn reply_key(reply: &mut Encoder<'_>, key: &[u8]) {
    if reply.protocol() == Protocol::Resp2 {
        reply.array(2);
    }
    reply.bulk(key);
}

/// Answers with the replies of `served` streams, or a null if there are none.
fn finish(context: &mut Context<'_>, body: &[u8], served: usize) -> Reply {
    match (served, context.reply.protocol()) {
        (0, _) => return context.reply.null_array(),
        (_, Protocol::Resp2) => context.reply.array(served),
        (_, Protocol::Resp3) => context.reply.map(served),
    };
    context.reply.raw(body)
}

pub(super) fn xreadgroup(context: &mut Context<'_>) -> Outcome {
    let options = Options::parse(context.args, true, context.now_ms())?;
    let (group, consumer) = options.group.unwrap_or_default();
    let mut sources = Vec::with_capacity(options.keys.len());
    for (&key, id) in options.keys.iter().zip(options.ids) {
        let exists = context.read_stream(key)?.is_some_and(|stream| stream.group(group).is_some());
        if !exists {
            return Err(no_group(key, group, " in XREADGROUP with GROUP option"));
        }
        sources.push((Member { key, group, consumer }, parse_source(id)?));
    }
    let mut body = Vec::new();
    let mut reply = Encoder::new(&mut body, context.session.protocol);
    let mut served = 0;
    for (member, source) in sources {
        member.seen(context)?;
        served += usize::from(match source {
            Source::After(id) => read_history(context, &mut reply, Slice { member, after: id, count: options.count })?,
            Source::New => read_new(context, &mut reply, member, &options)?,
        });
    }
    if let (0, Some(timeout)) = (served, options.timeout) {
        return Ok(context.wait_for(Wait::new(options.keys, Awaited::Group, timeout)));
    }
    Ok(finish(context, &body, served))
}

fn parse_source(id: &[u8]) -> Result<Source, CommandError> {
    match id {
        b">" => Ok(Source::New),
        b"$" => Err(CommandError::err(
            "The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by \
             specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.",
        )),
        b"+" => Err(CommandError::err(
            "The + ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by \
             specifying a proper ID, or use the > ID to get new messages. The + ID would just return an empty result set.",
        )),
        // The greatest id has always meant the same as `>`.
        _ => parse_id(id, 0).map(|id| if id == StreamId::MAX { Source::New } else { Source::After(id) }),
    }
}

/// Answers with what the group was not given yet, and gives it to the consumer; false if there is nothing.
fn read_new(
    context: &mut Context<'_>,
    reply: &mut Encoder<'_>,
    member: Member<'_>,
    options: &Options<'_>,
) -> Result<bool, CommandError> {
    let Some(stream) = look(context, member.key)? else { return Ok(false) };
    let last_id = stream.group(member.group).map_or(StreamId::MAX, |group| group.last_id());
    let Some(first) = last_id.incr().filter(|_| stream.top_id() > last_id) else {
        return Ok(false);
    };
    let mut ids = Vec::new();
    reply_key(reply, member.key);
    reply_entries(reply, stream.range(first, StreamId::MAX), options.count, |id| ids.push(id));
    drop(stream);
    deliver(context, member, &ids, options.no_ack)?;
    Ok(true)
}

/// Gives entries that were just shown to the consumer, and logs that.
fn deliver(context: &mut Context<'_>, member: Member<'_>, ids: &[StreamId], no_ack: bool) -> Result<(), CommandError> {
    let now = context.now_ms();
    let Some(stream) = context.write_stream(member.key)? else { return Ok(()) };
    for &id in ids {
        stream.advance_group(member.group, id);
    }
    let Some(group) = stream.group_mut(member.group) else { return Ok(()) };
    if !no_ack {
        group.set_active(member.consumer, Some(now));
        for &id in ids {
            group.deliver(Pending { id, consumer: member.consumer, delivery_ms: now, count: 1 });
        }
    }
    let (last_id, entries_read) = (group.last_id(), group.entries_read());
    context.changed(ids.len());
    if !no_ack {
        for &id in ids {
            member.log_claim(context, Claim { id, delivery_ms: now, count: 1, last_id: id });
        }
    }
    member.log_position(context, last_id, entries_read);
    Ok(())
}

/// Which of a consumer's pending entries are wanted.
#[derive(Clone, Copy)]
struct Slice<'a> {
    member: Member<'a>,
    after: StreamId,
    count: usize,
}

/// Answers with what the consumer was given and has not acknowledged. It counts as another delivery, which the
/// servers don't log.
fn read_history(context: &mut Context<'_>, reply: &mut Encoder<'_>, wanted: Slice<'_>) -> Result<bool, CommandError> {
    let Slice { member, after, count } = wanted;
    let now = context.now_ms();
    let Some(stream) = look(context, member.key)? else { return Ok(false) };
    let first = after.incr();
    let ids: Vec<_> = match (stream.group(member.group), first) {
        (Some(group), Some(first)) => {
            group.pending_of(member.consumer, first).take(count).map(|pending| (pending.id, pending.count)).collect()
        }
        _ => Vec::new(),
    };
    reply_key(reply, member.key);
    reply.array(ids.len());
    let mut shown = Vec::with_capacity(ids.len());
    for (id, deliveries) in ids {
        match stream.get(id) {
            Some(entry) => {
                reply_entry(reply, &entry);
                shown.push((id, deliveries));
            }
            None => {
                reply.array(2);
                reply_id(reply, id);
                reply.null_array();
            }
        }
    }
    drop(stream);
    let Some(group) = context.write_stream(member.key)?.and_then(|stream| stream.group_mut(member.group)) else {
        return Ok(true);
    };
    for (id, deliveries) in shown {
        let count = deliveries.saturating_add(1);
        group.deliver(Pending { id, consumer: member.consumer, delivery_ms: now, count });
    }
    Ok(true)
}
