//! XLEN, XRANGE and XREVRANGE.

use super::super::{Context, Outcome, args};
use super::{look, parse_end, parse_start, reply_entries};
use crate::command::CommandError;

pub(super) fn xlen(context: &mut Context<'_>) -> Outcome {
    let len = context.read_stream(context.args[1])?.map_or(0, |stream| stream.len());
    Ok(context.reply.count(len))
}

pub(super) fn xrange(context: &mut Context<'_>) -> Outcome {
    range(context, false)
}

pub(super) fn xrevrange(context: &mut Context<'_>) -> Outcome {
    range(context, true)
}

fn range(context: &mut Context<'_>, is_reverse: bool) -> Outcome {
    let (start, end) = if is_reverse { (3, 2) } else { (2, 3) };
    let (start, end) = (parse_start(context.args[start])?, parse_end(context.args[end])?);
    let count = parse_count(&context.args[4..])?;
    let Some(stream) = look(context, context.args[1])? else {
        return Ok(context.reply.array(0));
    };
    if count == Some(0) {
        return Ok(context.reply.null_array());
    }
    let (entries, count) = (stream.range(start, end), count.unwrap_or(usize::MAX));
    Ok(if is_reverse {
        reply_entries(&mut context.reply, entries.rev(), count, |_| {})
    } else {
        reply_entries(&mut context.reply, entries, count, |_| {})
    })
}

/// Reads `[COUNT n]`, the last of several; a negative one is 0.
fn parse_count(mut rest: &[&[u8]]) -> Result<Option<usize>, CommandError> {
    let mut count = None;
    while let [option, value, tail @ ..] = rest {
        if !args::is(option, "COUNT") {
            return Err(CommandError::Syntax);
        }
        count = Some(usize::try_from(args::int(value)?).unwrap_or(0));
        rest = tail;
    }
    if rest.is_empty() { Ok(count) } else { Err(CommandError::Syntax) }
}
