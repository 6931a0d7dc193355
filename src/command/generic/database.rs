//! Whole databases.

use crate::engine::jobs::{Flush, Job};

use super::super::args::{self, is};
use super::super::{CommandError, Context, Outcome};

pub(super) fn dbsize(context: &mut Context<'_>) -> Outcome {
    let keys = context.db_mut().len();
    Ok(context.reply.count(keys))
}

pub(super) fn select(context: &mut Context<'_>) -> Outcome {
    let index = args::int32(context.args[1])?;
    context.session.db = usize::try_from(index)
        .ok()
        .filter(|&index| index < context.engine.keyspace.db_count())
        .ok_or(CommandError::DbOutOfRange)?;
    Ok(context.reply.ok())
}

pub(super) fn flushdb(context: &mut Context<'_>) -> Outcome {
    check_flush_options(context)?;
    let removed = context.db_mut().len();
    context.engine.touch_watched(&[context.session.db]);
    context.db_mut().clear();
    flushed(context, "FLUSHDB", removed)
}

pub(super) fn flushall(context: &mut Context<'_>) -> Outcome {
    check_flush_options(context)?;
    let removed = context.engine.keyspace.len();
    for db in 0..context.engine.keyspace.db_count() {
        context.engine.touch_watched(&[db]);
    }
    context.engine.keyspace.clear();
    flushed(context, "FLUSHALL", removed)
}

/// A flush is logged even where there was nothing.
fn flushed(context: &mut Context<'_>, command: &'static str, removed: usize) -> Outcome {
    context.tell_sender(command);
    if removed > 0 {
        tell_of_flush(context, command, removed);
    }
    context.engine.all_changed();
    context.changed(removed.max(1));
    Ok(context.reply.ok())
}

/// Has what is on disk of the removed keys guarded, and the log of the server tell who sent the command.
fn tell_of_flush(context: &mut Context<'_>, command: &'static str, keys: usize) {
    let now_ms = context.now_ms();
    let persistence = &mut context.engine.persistence;
    persistence.flushed(now_ms);
    if context.is_replay {
        return;
    }
    let unsaved_ms = persistence.unsaved_flush_ms.unwrap_or(now_ms);
    let (address, name) = (context.session.address.clone(), context.session.name.clone());
    context.engine.jobs.push(Job::TellOfFlush(Flush { command, address, name, keys, unsaved_ms }));
}

fn check_flush_options(context: &Context<'_>) -> Result<(), CommandError> {
    match context.args[1..] {
        [] => Ok(()),
        [mode] if is(mode, "SYNC") || is(mode, "ASYNC") => Ok(()),
        _ => Err(CommandError::Syntax),
    }
}

pub(super) fn swapdb(context: &mut Context<'_>) -> Outcome {
    let number = |argument: &[u8], which: &str| {
        args::int32(argument).map_err(|_| CommandError::err(format!("invalid {which} DB index")))
    };
    let (first, second) = (number(context.args[1], "first")?, number(context.args[2], "second")?);
    let count = context.engine.keyspace.db_count();
    let index =
        |number: i64| usize::try_from(number).ok().filter(|&index| index < count).ok_or(CommandError::DbOutOfRange);
    let (first, second) = (index(first)?, index(second)?);
    if first != second {
        context.engine.touch_watched(&[first, second]);
        context.engine.keyspace.swap(first, second);
        context.engine.all_changed();
    }
    context.changed(1);
    Ok(context.reply.ok())
}
