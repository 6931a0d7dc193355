//! Taking items from lists, and moving them to others; at once, or as soon as there are any.

use crate::engine::wait::Awaited;
use crate::value::List;

use super::super::args;
use super::super::pop_first::{self, End as _};
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
            end.pop_to(list, count.min(former_len), &limits, reply, true);
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
    pop_first::wait_for_one(context, End::Left)
}

pub(super) fn brpop(context: &mut Context<'_>) -> Outcome {
    pop_first::wait_for_one(context, End::Right)
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
