//! Giving keys other names and places.

use crate::value::Object;

use super::super::args::{self, is};
use super::super::{CommandError, Context, Outcome};

pub(super) fn rename(context: &mut Context<'_>) -> Outcome {
    let (from, to) = (context.args[1], context.args[2]);
    if !context.db_mut().contains(from) {
        return Err(CommandError::NoSuchKey);
    }
    if from != to {
        relocate(context, from, to);
    }
    Ok(context.reply.ok())
}

pub(super) fn renamenx(context: &mut Context<'_>) -> Outcome {
    let (from, to) = (context.args[1], context.args[2]);
    if !context.db_mut().contains(from) {
        return Err(CommandError::NoSuchKey);
    }
    if from == to || context.db_mut().contains(to) {
        return Ok(context.reply.int(0));
    }
    relocate(context, from, to);
    Ok(context.reply.int(1))
}

fn relocate(context: &mut Context<'_>, from: &[u8], to: &[u8]) {
    let mut db = context.db_mut();
    if let Some((object, expire_at_ms)) = db.take(from) {
        db.insert(to, object, expire_at_ms);
        context.changed(1);
    }
}

/// A number of a database, checked.
fn db_index(context: &Context<'_>, argument: &[u8]) -> Result<usize, CommandError> {
    let index = args::int(argument)?;
    usize::try_from(index)
        .ok()
        .filter(|&index| index < context.engine.keyspace.db_count())
        .ok_or(CommandError::DbOutOfRange)
}

pub(super) fn copy(context: &mut Context<'_>) -> Outcome {
    let (from, to) = (context.args[1], context.args[2]);
    let source_db = context.session.db;
    let (mut target_db, mut replace) = (source_db, false);
    let mut rest = &context.args[3..];
    while let [option, tail @ ..] = rest {
        match tail {
            [index, tail @ ..] if is(option, "DB") => {
                target_db = db_index(context, index)?;
                rest = tail;
            }
            tail if is(option, "REPLACE") => {
                replace = true;
                rest = tail;
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    if from == to && source_db == target_db {
        return Err(CommandError::SameObject);
    }
    let Some((object, expire_at_ms)) = content(context, source_db, from) else {
        return Ok(context.reply.int(0));
    };
    context.engine.expire_if_due(target_db, to);
    let mut target = context.engine.keyspace.db(target_db);
    if target.contains(to) && !replace {
        return Ok(context.reply.int(0));
    }
    target.insert(to, object, expire_at_ms);
    context.engine.key_changed(target_db, to);
    context.changed(1);
    Ok(context.reply.int(1))
}

/// A copy of what the key holds, which shares all chunks with it.
fn content(context: &mut Context<'_>, db: usize, key: &[u8]) -> Option<(Object, Option<i64>)> {
    let db = context.engine.keyspace.db(db);
    let entry = db.entry(key)?;
    Some((entry.value.to_object(), entry.expire_at_ms))
}

pub(super) fn move_key(context: &mut Context<'_>) -> Outcome {
    let key = context.args[1];
    let source_db = context.session.db;
    let target_db = db_index(context, context.args[2])?;
    if source_db == target_db {
        return Err(CommandError::SameObject);
    }
    context.engine.expire_if_due(target_db, key);
    if !context.db_mut().contains(key) || context.engine.keyspace.db(target_db).contains(key) {
        return Ok(context.reply.int(0));
    }
    if let Some((object, expire_at_ms)) = context.db_mut().take(key) {
        context.engine.keyspace.db(target_db).insert(key, object, expire_at_ms);
        context.engine.key_changed(target_db, key);
        context.changed(1);
    }
    Ok(context.reply.int(1))
}
