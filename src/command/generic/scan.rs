//! Walking through the keys of a database.

use crate::codec::{glob, number};

use super::super::args::{self, is};
use super::super::{CommandError, Context, Outcome};

/// COUNT, MATCH and TYPE of the SCAN family.
pub(in super::super) struct ScanOptions<'a> {
    pub(in super::super) count: usize,
    pub(in super::super) pattern: Option<&'a [u8]>,
    pub(in super::super) type_name: Option<&'a [u8]>,
    pub(in super::super) no_values: bool,
}

impl<'a> ScanOptions<'a> {
    /// `of_keys`: TYPE is allowed (SCAN only).
    pub(in super::super) fn parse(options: &[&'a [u8]], of_keys: bool) -> Result<Self, CommandError> {
        let mut parsed = Self { count: 10, pattern: None, type_name: None, no_values: false };
        let mut rest = options;
        while let [option, tail @ ..] = rest {
            rest = match tail {
                [value, tail @ ..] if is(option, "COUNT") => {
                    parsed.count =
                        usize::try_from(args::int(value)?).ok().filter(|&n| n > 0).ok_or(CommandError::Syntax)?;
                    tail
                }
                [value, tail @ ..] if is(option, "MATCH") => {
                    parsed.pattern = Some(*value).filter(|pattern| *pattern != b"*");
                    tail
                }
                [value, tail @ ..] if is(option, "TYPE") && of_keys => {
                    parsed.type_name = Some(value);
                    tail
                }
                tail if is(option, "NOVALUES") && !of_keys => {
                    parsed.no_values = true;
                    tail
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(parsed)
    }

    pub(in super::super) fn admits(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }
}

pub(in super::super) fn parse_cursor(argument: &[u8]) -> Result<u64, CommandError> {
    number::parse_u64(argument).ok_or(CommandError::InvalidCursor)
}

pub(super) fn scan(context: &mut Context<'_>) -> Outcome {
    let position = parse_cursor(context.args[1])?;
    let options = ScanOptions::parse(&context.args[2..], true)?;
    let now = context.now_ms();
    let (mut found, mut expired) = (Vec::new(), Vec::new());
    let next = context.db_mut().visit_from(position, options.count, &mut |entry| {
        if entry.expire_at_ms.is_some_and(|at| at <= now) {
            expired.push(entry.key.to_vec());
        } else if options.admits(entry.key)
            && options.type_name.is_none_or(|name| name.eq_ignore_ascii_case(entry.value.type_name().as_bytes()))
        {
            found.push(entry.key.to_vec());
        }
    });
    for key in expired {
        context.engine.expire_if_due(context.session.db, &key);
    }
    let reply = context.reply.array(2);
    let mut cursor = itoa::Buffer::new();
    context.reply.bulk(cursor.format(next.unwrap_or(0)).as_bytes());
    context.reply.array(found.len());
    for key in found {
        context.reply.bulk(&key);
    }
    Ok(reply)
}

pub(super) fn keys(context: &mut Context<'_>) -> Outcome {
    let pattern = context.args[1];
    let now = context.now_ms();
    let start = context.reply.len();
    let mut count = 0;
    let db = context.engine.keyspace.db(context.session.db);
    let reply = &mut context.reply;
    db.visit(&mut |entry| {
        if entry.expire_at_ms.is_none_or(|at| at > now) && (pattern == b"*" || glob::matches(pattern, entry.key)) {
            reply.bulk(entry.key);
            count += 1;
        }
    });
    Ok(context.reply.array_since(start, count))
}

pub(super) fn randomkey(context: &mut Context<'_>) -> Outcome {
    let now = context.now_ms();
    // Where nearly all keys are expired, a hundred tries find a living one or give up, as in Redis.
    for _ in 0..100 {
        let Some(entry) = context
            .engine
            .keyspace
            .db(context.session.db)
            .random(&mut context.engine.random)
            .map(|entry| (entry.key.to_vec(), entry.expire_at_ms))
        else {
            return Ok(context.reply.null());
        };
        if entry.1.is_none_or(|at| at > now) {
            return Ok(context.reply.bulk(&entry.0));
        }
        context.engine.expire_if_due(context.session.db, &entry.0);
    }
    Ok(context.reply.null())
}
