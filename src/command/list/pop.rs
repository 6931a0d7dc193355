//! Taking items from lists, and moving them to others; at once, or as soon as there are any.

use crate::codec::number;
use crate::engine::wait::Awaited;
use crate::resp::Reply;
use crate::value::List;

use super::super::args::{self, is};
use super::super::waiting::{self, Wait};
use super::super::{CommandError, Context, Outcome, typed};
use super::End;

pub(super) fn lpop(context: &mut Context<'_>) -> Outcome {
    pop(context, End::Left, "lpop")
}

pub(super) fn rpop(context: &mut Context<'_>) -> Outcome {
    pop(context, End::Right, "rpop")
}

fn pop(context: &mut Context<'_>, end: End, name: &'static str) -> Outcome {
    let args = context.args;
    let limits = context.limits();
    if args.len() > 3 {
        return Err(CommandError::WrongArity(name.to_owned()));
    }
    let count = args.get(2).map(|count| args::count(count)).transpose()?;
    let (Some(list), reply) = typed::write::<List>(context, args[1])? else {
        return Ok(if count.is_some() { context.reply.null_array() } else { context.reply.null() });
    };
    let former_len = list.len();
    let header = match count {
        None => {
            let at = end.position(former_len);
            let header = match list.get(at) {
                Some(item) => item.with(|text| reply.bulk(text)),
                None => reply.null(),
            };
            list.remove_range(at, 1, &limits);
            header
        }
        Some(count) => {
            let header = reply.array(count.min(former_len));
            end.pop_to(list, count, &limits, reply);
            header
        }
    };
    let removed = former_len - list.len();
    if removed == former_len {
        context.remove(args[1]);
    }
    context.changed(removed);
    Ok(header)
}

pub(super) fn blpop(context: &mut Context<'_>) -> Outcome {
    wait_to_pop(context, End::Left)
}

pub(super) fn brpop(context: &mut Context<'_>) -> Outcome {
    wait_to_pop(context, End::Right)
}

/// Replies with the first key that has a list, and the item at its end.
fn wait_to_pop(context: &mut Context<'_>, end: End) -> Outcome {
    let args = context.args;
    let limits = context.limits();
    let (keys, timeout) = (&args[1..args.len() - 1], args[args.len() - 1]);
    let timeout = waiting::seconds(timeout, context.now_ms())?;
    for &key in keys {
        let (Some(list), reply) = typed::write::<List>(context, key)? else { continue };
        let header = reply.array(2);
        reply.bulk(key);
        end.pop_to(list, 1, &limits, reply);
        context.remove_if_empty(key);
        context.changed(1);
        context.log_as(&[end.verb(), key]);
        return Ok(header);
    }
    Ok(context.wait_for(Wait::new(keys, Awaited::List, timeout)))
}

pub(super) fn lmove(context: &mut Context<'_>) -> Outcome {
    let (from, to) = (End::parse(context.args[3])?, End::parse(context.args[4])?);
    move_item(context, from, to)
}

pub(super) fn rpoplpush(context: &mut Context<'_>) -> Outcome {
    move_item(context, End::Right, End::Left)
}

pub(super) fn blmove(context: &mut Context<'_>) -> Outcome {
    let (from, to) = (End::parse(context.args[3])?, End::parse(context.args[4])?);
    wait_to_move(context, &[b"LMOVE", context.args[1], context.args[2], context.args[3], context.args[4]], (from, to))
}

pub(super) fn brpoplpush(context: &mut Context<'_>) -> Outcome {
    wait_to_move(context, &[b"RPOPLPUSH", context.args[1], context.args[2]], (End::Right, End::Left))
}

/// Moves an item, once there is one; that is logged as `operation`.
fn wait_to_move(context: &mut Context<'_>, operation: &[&[u8]], (from, to): (End, End)) -> Outcome {
    let args = context.args;
    let timeout = waiting::seconds(args[args.len() - 1], context.now_ms())?;
    if context.may_wait() && typed::read::<List>(context, args[1])?.0.is_none() {
        return Ok(context.wait_for(Wait::new(&args[1..2], Awaited::List, timeout)));
    }
    let reply = move_item(context, from, to)?;
    if context.changes() > 0 {
        context.log_as(operation);
    }
    Ok(reply)
}

fn move_item(context: &mut Context<'_>, from: End, to: End) -> Outcome {
    let (source, target) = (context.args[1], context.args[2]);
    let limits = context.limits();
    if typed::read::<List>(context, source)?.0.is_none() {
        return Ok(context.reply.null());
    }
    typed::read::<List>(context, target)?;
    let (list, _) = typed::write::<List>(context, source)?;
    let Some(item) = list.and_then(|list| from.pop(list, &limits)) else { return Ok(context.reply.null()) };
    to.push(typed::create::<List>(context, target)?, &item, &limits);
    context.remove_if_empty(source);
    context.changed(1);
    Ok(context.reply.bulk(&item))
}

/// `numkeys key ... word [COUNT count]` of LMPOP and ZMPOP.
pub(in super::super) struct MultiPop<'a> {
    pub(in super::super) keys: &'a [&'a [u8]],
    /// Which end.
    pub(in super::super) word: &'a [u8],
    pub(in super::super) count: usize,
}

impl<'a> MultiPop<'a> {
    pub(in super::super) fn parse(args: &'a [&'a [u8]]) -> Result<Self, CommandError> {
        let positive = |argument: &[u8], what: &str| {
            let value = number::parse_i64(argument).filter(|&value| value > 0);
            let value = value.and_then(|value| usize::try_from(value).ok());
            value.ok_or_else(|| CommandError::err(format!("{what} should be greater than 0")))
        };
        let key_count = positive(args[0], "numkeys")?;
        let rest = &args[1..];
        if key_count >= rest.len() {
            return Err(CommandError::Syntax);
        }
        let (keys, options) = rest.split_at(key_count);
        let count = match &options[1..] {
            [] => 1,
            [option, value] if is(option, "COUNT") => positive(value, "count")?,
            _ => return Err(CommandError::Syntax),
        };
        Ok(Self { keys, word: options[0], count })
    }
}

pub(super) fn lmpop(context: &mut Context<'_>) -> Outcome {
    let request = MultiPop::parse(&context.args[1..])?;
    let end = End::parse(request.word)?;
    Ok(match pop_from_first(context, &request, end)? {
        Some(reply) => reply,
        None => context.reply.null_array(),
    })
}

pub(super) fn blmpop(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let request = MultiPop::parse(&args[2..])?;
    let end = End::parse(request.word)?;
    let timeout = waiting::seconds(args[1], context.now_ms())?;
    Ok(match pop_from_first(context, &request, end)? {
        Some(reply) => reply,
        None => context.wait_for(Wait::new(request.keys, Awaited::List, timeout)),
    })
}

/// Pops from the first of the keys that has a list.
fn pop_from_first(context: &mut Context<'_>, request: &MultiPop<'_>, end: End) -> Result<Option<Reply>, CommandError> {
    let limits = context.limits();
    for &key in request.keys {
        let (Some(list), reply) = typed::write::<List>(context, key)? else { continue };
        let count = request.count.min(list.len());
        let header = reply.array(2);
        reply.bulk(key);
        reply.array(count);
        end.pop_to(list, count, &limits, reply);
        context.remove_if_empty(key);
        context.changed(count);
        context.log_as(&[end.verb(), key, itoa::Buffer::new().format(count).as_bytes()]);
        return Ok(Some(header));
    }
    Ok(None)
}
