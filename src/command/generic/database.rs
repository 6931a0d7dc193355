//! Whole databases.

use super::super::args::{self, is};
use super::super::{CommandError, Context, Outcome};

pub(super) fn dbsize(context: &mut Context<'_>) -> Outcome {
    let keys = context.db_mut().len();
    Ok(context.reply.count(keys))
}

pub(super) fn select(context: &mut Context<'_>) -> Outcome {
    let index = args::int(context.args[1])?;
    context.session.db = usize::try_from(index)
        .ok()
        .filter(|&index| index < context.engine.keyspace.db_count())
        .ok_or(CommandError::DbOutOfRange)?;
    Ok(context.reply.ok())
}

pub(super) fn flushdb(context: &mut Context<'_>) -> Outcome {
    check_flush_options(context)?;
    let removed = context.db_mut().len();
    context.db_mut().clear();
    context.tell_sender("FLUSHDB");
    flushed(context, removed)
}

pub(super) fn flushall(context: &mut Context<'_>) -> Outcome {
    check_flush_options(context)?;
    let removed = context.engine.keyspace.len();
    context.engine.keyspace.clear();
    context.tell_sender("FLUSHALL");
    flushed(context, removed)
}

/// A flush is logged even where there was nothing.
fn flushed(context: &mut Context<'_>, removed: usize) -> Outcome {
    context.engine.watches.touch_all();
    context.changed(removed.max(1));
    Ok(context.reply.ok())
}

fn check_flush_options(context: &Context<'_>) -> Result<(), CommandError> {
    match context.args[1..] {
        [] => Ok(()),
        [mode] if is(mode, "SYNC") || is(mode, "ASYNC") => Ok(()),
        _ => Err(CommandError::Syntax),
    }
}

pub(super) fn swapdb(context: &mut Context<'_>) -> Outcome {
    let index = |argument: &[u8], which: &str| {
        let index = args::int(argument).map_err(|_| CommandError::err(format!("invalid {which} DB index")))?;
        usize::try_from(index)
            .ok()
            .filter(|&index| index < context.engine.keyspace.db_count())
            .ok_or(CommandError::DbOutOfRange)
    };
    let (first, second) = (index(context.args[1], "first")?, index(context.args[2], "second")?);
    context.engine.keyspace.swap(first, second);
    context.engine.watches.touch_all();
    context.changed(1);
    Ok(context.reply.ok())
}
