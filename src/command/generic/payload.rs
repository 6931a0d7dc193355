//! DUMP and RESTORE: a key as bytes that travel between servers.

use crate::rdb;

use super::super::args::{self, is};
use super::super::{CommandError, Context, Outcome};

pub(super) fn dump(context: &mut Context<'_>) -> Outcome {
    Ok(match encode(context, context.args[1])? {
        Some(payload) => context.reply.bulk(&payload),
        None => context.reply.null(),
    })
}

/// The key's value, if there is one, as RESTORE takes it.
pub(super) fn encode(context: &mut Context<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, CommandError> {
    let Some(view) = context.db_mut().into_value(key) else { return Ok(None) };
    let object = view.to_object();
    let version = context.engine.rdb_version(rdb::Version::needed(&object));
    rdb::dump::encode(&object, version).map(Some).map_err(CommandError::err)
}

struct RestoreOptions {
    replace: bool,
    absolute: bool,
    access: Option<u32>,
}

/// The option that gave [`RestoreOptions::access`]; the other one is refused then.
#[derive(PartialEq, Eq)]
enum Given {
    Idle,
    Frequency,
}

impl RestoreOptions {
    fn parse(context: &Context<'_>) -> Result<Self, CommandError> {
        let mut options = Self { replace: false, absolute: false, access: None };
        let access = &context.engine.keyspace.access;
        let mut given = None;
        let mut rest = &context.args[4..];
        while let [option, tail @ ..] = rest {
            rest = match tail {
                tail if is(option, "REPLACE") => {
                    options.replace = true;
                    tail
                }
                tail if is(option, "ABSTTL") => {
                    options.absolute = true;
                    tail
                }
                [value, tail @ ..] if is(option, "IDLETIME") && given != Some(Given::Frequency) => {
                    let seconds = args::int(value)?;
                    if seconds < 0 {
                        return Err(CommandError::err("Invalid IDLETIME value, must be >= 0"));
                    }
                    options.access = Some(access.restored(None, Some(seconds.unsigned_abs())));
                    given = Some(Given::Idle);
                    tail
                }
                [value, tail @ ..] if is(option, "FREQ") && given != Some(Given::Idle) => {
                    let frequency = u8::try_from(args::int(value)?);
                    let frequency =
                        frequency.map_err(|_| CommandError::err("Invalid FREQ value, must be >= 0 and <= 255"))?;
                    options.access = Some(access.restored(Some(frequency), None));
                    given = Some(Given::Frequency);
                    tail
                }
                _ => return Err(CommandError::Syntax),
            };
        }
        Ok(options)
    }
}

pub(super) fn restore(context: &mut Context<'_>) -> Outcome {
    let (key, payload) = (context.args[1], context.args[3]);
    let options = RestoreOptions::parse(context)?;
    if !options.replace && context.db_mut().contains(key) {
        return Err(CommandError::BusyKey);
    }
    let ttl = args::int(context.args[2])?;
    if ttl < 0 {
        return Err(CommandError::InvalidTtl);
    }
    let object = rdb::dump::decode(payload, &context.limits())
        .map_err(|error| match error.cause() {
            // Too short for the version and the checksum at its end.
            _ if payload.len() < 10 => CommandError::PayloadVersion,
            rdb::Cause::Checksum { .. } | rdb::Cause::NewerVersion(_) => CommandError::PayloadVersion,
            rdb::Cause::Unsupported { .. } => CommandError::err(error),
            _ => CommandError::BadPayload,
        })?
        .ok_or(CommandError::BadPayload)?;
    let replaced = context.remove(key);
    let base = if options.absolute { 0 } else { context.now_ms() };
    let expire_at_ms = (ttl > 0).then(|| ttl.saturating_add(base));
    if expire_at_ms.is_some_and(|at| at <= context.now_ms()) && !context.is_replay {
        if replaced {
            context.changed(1);
            let verb = context.removal_verb();
            context.log_as(&[verb, key]);
        }
        return Ok(context.reply.ok());
    }
    context.db_mut().insert(key, object, expire_at_ms);
    if let Some(access) = options.access {
        context.db_mut().set_access(key, access);
    }
    context.changed(1);
    if let (Some(at), false) = (expire_at_ms, options.absolute) {
        let mut number = itoa::Buffer::new();
        let mut absolute = context.args.to_vec();
        absolute[2] = number.format(at).as_bytes();
        absolute.push(b"ABSTTL");
        context.log_as(&absolute);
    }
    Ok(context.reply.ok())
}
