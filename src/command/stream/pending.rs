//! XACK and XPENDING.

use crate::value::stream::{Group, StreamId};

use super::super::{CommandError, Context, Outcome, args};
use super::{look, no_group, parse_end, parse_id, parse_start, reply_id};

pub(super) fn xack(context: &mut Context<'_>) -> Outcome {
    let (key, name) = (context.args[1], context.args[2]);
    if context.read_stream(key)?.is_none_or(|stream| stream.group(name).is_none()) {
        return Ok(context.reply.int(0));
    }
    let ids = context.args[3..].iter().map(|text| parse_id(text, 0)).collect::<Result<Vec<_>, _>>()?;
    let acknowledged = match context.write_stream(key)?.and_then(|stream| stream.group_mut(name)) {
        Some(group) => ids.into_iter().filter(|id| group.ack(*id)).count(),
        None => 0,
    };
    context.changed(acknowledged);
    Ok(context.reply.count(acknowledged))
}

/// Which pending entries an XPENDING lists.
struct Listing<'a> {
    min_idle_ms: i64,
    start: StreamId,
    end: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Listing<'a> {
    /// Reads `[IDLE ms] start end count [consumer]`.
    fn parse(request: &'a [&'a [u8]]) -> Result<Self, CommandError> {
        if !(6..=9).contains(&request.len()) {
            return Err(CommandError::Syntax);
        }
        let (min_idle_ms, rest) = if args::is(request[3], "IDLE") {
            let min_idle_ms = args::int(request[4])?;
            if request.len() < 8 {
                return Err(CommandError::Syntax);
            }
            (min_idle_ms, &request[5..])
        } else {
            (0, &request[3..])
        };
        let count = usize::try_from(args::int(rest[2])?).unwrap_or(0);
        let (start, end) = (parse_start(rest[0])?, parse_end(rest[1])?);
        Ok(Self { min_idle_ms, start, end, count, consumer: rest.get(3).copied() })
    }
}

pub(super) fn xpending(context: &mut Context<'_>) -> Outcome {
    let request = context.args;
    let listing = if request.len() == 3 { None } else { Some(Listing::parse(request)?) };
    let (key, name) = (request[1], request[2]);
    let stream = look(context, key)?;
    let group = stream.as_ref().and_then(|stream| stream.group(name));
    let group = group.ok_or_else(|| no_group(key, name, ""))?;
    Ok(match listing {
        None => summary(context, group),
        Some(listing) => list(context, group, &listing),
    })
}

fn summary(context: &mut Context<'_>, group: &Group) -> crate::resp::Reply {
    let reply = &mut context.reply;
    reply.array(4);
    reply.count(group.pending_len());
    let Some((first, last)) = group.pending_ends() else {
        reply.null();
        reply.null();
        return reply.null_array();
    };
    reply_id(reply, first);
    reply_id(reply, last);
    let busy = || group.consumers().filter(|(_, consumer)| consumer.pending_len() > 0);
    let written = reply.array(busy().count());
    for (name, consumer) in busy() {
        reply.array(2);
        reply.bulk(name);
        reply.bulk(consumer.pending_len().to_string().as_bytes());
    }
    written
}

fn list(context: &mut Context<'_>, group: &Group, listing: &Listing<'_>) -> crate::resp::Reply {
    let now = context.now_ms();
    let (start, mut written) = (context.reply.len(), 0);
    let all = listing.consumer.is_none().then(|| group.pending_from(listing.start)).into_iter().flatten();
    let own = listing.consumer.map(|name| group.pending_of(name, listing.start)).into_iter().flatten();
    let listed = all.chain(own).take_while(|pending| pending.id <= listing.end);
    let is_idle = |delivery_ms: i64| now.saturating_sub(delivery_ms) >= listing.min_idle_ms;
    for pending in listed.filter(|pending| listing.min_idle_ms == 0 || is_idle(pending.delivery_ms)).take(listing.count)
    {
        let reply = &mut context.reply;
        reply.array(4);
        reply_id(reply, pending.id);
        reply.bulk(pending.consumer);
        reply.int(now.saturating_sub(pending.delivery_ms).max(0));
        reply.int(i64::try_from(pending.count).unwrap_or(i64::MAX));
        written += 1;
    }
    context.reply.array_since(start, written)
}
