//! When keys go away.

use super::super::args::{self, is};
use super::super::{CommandError, Context, Outcome};

/// How the four commands count.
struct Unit {
    name: &'static str,
    ms_per_unit: i64,
    is_relative: bool,
}

pub(super) fn expire(context: &mut Context<'_>) -> Outcome {
    set(context, &Unit { name: "expire", ms_per_unit: 1000, is_relative: true })
}

pub(super) fn pexpire(context: &mut Context<'_>) -> Outcome {
    set(context, &Unit { name: "pexpire", ms_per_unit: 1, is_relative: true })
}

pub(super) fn expireat(context: &mut Context<'_>) -> Outcome {
    set(context, &Unit { name: "expireat", ms_per_unit: 1000, is_relative: false })
}

pub(super) fn pexpireat(context: &mut Context<'_>) -> Outcome {
    set(context, &Unit { name: "pexpireat", ms_per_unit: 1, is_relative: false })
}

/// NX, XX, GT, LT.
#[derive(Default)]
struct Conditions {
    none_yet: bool,
    has_one: bool,
    later: bool,
    sooner: bool,
}

impl Conditions {
    fn parse(options: &[&[u8]]) -> Result<Self, CommandError> {
        let mut conditions = Self::default();
        for option in options {
            let flag = match option {
                option if is(option, "NX") => &mut conditions.none_yet,
                option if is(option, "XX") => &mut conditions.has_one,
                option if is(option, "GT") => &mut conditions.later,
                option if is(option, "LT") => &mut conditions.sooner,
                option => return Err(CommandError::err(format!("Unsupported option {}", args::printable(option)))),
            };
            *flag = true;
        }
        let clashes = conditions.none_yet && (conditions.has_one || conditions.later || conditions.sooner);
        if clashes {
            return Err(CommandError::err("NX and XX, GT or LT options at the same time are not compatible"));
        }
        if conditions.later && conditions.sooner {
            return Err(CommandError::err("GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// A key without expiry counts as one that lives forever.
    fn allow(&self, former: Option<i64>, new: i64) -> bool {
        !(self.none_yet && former.is_some()
            || self.has_one && former.is_none()
            || self.later && former.is_none_or(|former| new <= former)
            || self.sooner && former.is_some_and(|former| new >= former))
    }
}

fn set(context: &mut Context<'_>, unit: &Unit) -> Outcome {
    let key = context.args[1];
    let conditions = Conditions::parse(&context.args[3..])?;
    let value = args::int(context.args[2])?;
    let base = if unit.is_relative { context.now_ms() } else { 0 };
    let at = value.checked_mul(unit.ms_per_unit).and_then(|ms| ms.checked_add(base));
    let at = at.ok_or(CommandError::InvalidExpire(unit.name))?;
    let Some(former) = context.db_mut().expire_at_ms(key) else {
        return Ok(context.reply.int(0));
    };
    if !conditions.allow(former, at) {
        return Ok(context.reply.int(0));
    }
    expire_at(context, key, at);
    Ok(context.reply.int(1))
}

/// Gives an existing key an expiry: in the log always absolute; a time that has passed removes the key.
pub(in super::super) fn expire_at(context: &mut Context<'_>, key: &[u8], at: i64) {
    context.changed(1);
    if at <= context.now_ms() && !context.is_replay {
        context.remove(key);
        let verb = context.removal_verb();
        context.log_as(&[verb, key]);
        return;
    }
    context.db_mut().set_expire_at_ms(key, Some(at));
    context.log_as(&[b"PEXPIREAT", key, itoa::Buffer::new().format(at).as_bytes()]);
}

pub(super) fn persist(context: &mut Context<'_>) -> Outcome {
    let key = context.args[1];
    let had_one = matches!(context.db_mut().expire_at_ms(key), Some(Some(_)));
    if had_one {
        context.db_mut().set_expire_at_ms(key, None);
        context.changed(1);
    }
    Ok(context.reply.int(i64::from(had_one)))
}

pub(super) fn ttl(context: &mut Context<'_>) -> Outcome {
    let now = context.now_ms();
    tell(context, |at| ((at - now).max(0) + 500) / 1000)
}

pub(super) fn pttl(context: &mut Context<'_>) -> Outcome {
    let now = context.now_ms();
    tell(context, |at| (at - now).max(0))
}

pub(super) fn expiretime(context: &mut Context<'_>) -> Outcome {
    tell(context, |at| at / 1000 + (at % 1000 + 500) / 1000)
}

pub(super) fn pexpiretime(context: &mut Context<'_>) -> Outcome {
    tell(context, |at| at)
}

/// Replies with -2 for no key, -1 for no expiry.
fn tell(context: &mut Context<'_>, unit: impl FnOnce(i64) -> i64) -> Outcome {
    let value = match context.engine.keyspace.db(context.session.db).expire_at_ms(context.args[1]) {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => unit(at),
    };
    Ok(context.reply.int(value))
}
