//! Fields that expire: giving, asking and taking away their time, alone or on the way of reading and writing them.
//!
//! In the log every time is absolute; a time that has passed is logged as HDEL.

use std::collections::HashSet;

use crate::codec::number;

use super::super::args::{self, is};
use super::super::{CommandError, Context, Outcome};
use super::{create, read, reply_element, typed, write};

/// Later times, in Unix ms, are refused, as in Redis 8.
const MAX_EXPIRE_AT_MS: i64 = (1 << 46) - 1;

/// How an expiry argument counts.
#[derive(Clone, Copy)]
struct Unit {
    command: &'static str,
    ms_per_unit: i64,
    is_relative: bool,
}

impl Unit {
    /// Unix time in ms of an argument.
    fn parse(self, argument: &[u8], now_ms: i64) -> Result<i64, CommandError> {
        let value = args::int(argument)?;
        if value < 0 {
            return Err(CommandError::text("ERR invalid expire time, must be >= 0"));
        }
        let base = if self.is_relative { now_ms } else { 0 };
        let at = value.checked_mul(self.ms_per_unit).and_then(|ms| ms.checked_add(base));
        at.filter(|&at| at <= MAX_EXPIRE_AT_MS).ok_or(CommandError::InvalidExpire(self.command))
    }

    /// The unit that the option EX, PX, EXAT or PXAT names.
    fn of_option(option: &[u8], command: &'static str) -> Option<Self> {
        let units = [("EX", 1000, true), ("PX", 1, true), ("EXAT", 1000, false), ("PXAT", 1, false)];
        let (_, ms_per_unit, is_relative) = units.into_iter().find(|unit| is(option, unit.0))?;
        Some(Self { command, ms_per_unit, is_relative })
    }
}

/// Which fields get the new time. A field without one counts as one that lives forever.
#[derive(Clone, Copy)]
enum Condition {
    Always,
    HasNone,
    HasOne,
    IsLater,
    IsSooner,
}

impl Condition {
    fn of_option(option: &[u8]) -> Option<Self> {
        [("NX", Self::HasNone), ("XX", Self::HasOne), ("GT", Self::IsLater), ("LT", Self::IsSooner)]
            .into_iter()
            .find_map(|(name, condition)| is(option, name).then_some(condition))
    }

    fn allows(self, former: Option<i64>, new: i64) -> bool {
        match self {
            Self::Always => true,
            Self::HasNone => former.is_none(),
            Self::HasOne => former.is_some(),
            Self::IsLater => former.is_some_and(|former| new > former),
            Self::IsSooner => former.is_none_or(|former| new < former),
        }
    }
}

/// The fields behind `FIELDS count` at `args[at]`; `bad_count` is said of a count that is no positive number.
fn fields<'a>(args: &'a [&'a [u8]], at: usize, bad_count: &'static str) -> Result<&'a [&'a [u8]], CommandError> {
    let mismatch = CommandError::text("ERR The `numfields` parameter must match the number of arguments");
    if !args.get(at).is_some_and(|word| is(word, "FIELDS")) {
        return Err(CommandError::text("ERR Mandatory argument FIELDS is missing or not at the right position"));
    }
    let Some(count) = args.get(at + 1) else { return Err(mismatch) };
    let count = number::parse_i64(count).filter(|&count| count > 0);
    let count = count.ok_or(CommandError::text(bad_count))?;
    let fields = &args[at + 2..];
    if usize::try_from(count) == Ok(fields.len()) { Ok(fields) } else { Err(mismatch) }
}

const COUNT_NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";
const COUNT_NOT_ABOVE_ZERO: &str = "ERR Parameter `numFields` should be greater than 0";

pub(super) fn hexpire(context: &mut Context<'_>) -> Outcome {
    expire(context, Unit { command: "hexpire", ms_per_unit: 1000, is_relative: true })
}

pub(super) fn hpexpire(context: &mut Context<'_>) -> Outcome {
    expire(context, Unit { command: "hpexpire", ms_per_unit: 1, is_relative: true })
}

pub(super) fn hexpireat(context: &mut Context<'_>) -> Outcome {
    expire(context, Unit { command: "hexpireat", ms_per_unit: 1000, is_relative: false })
}

pub(super) fn hpexpireat(context: &mut Context<'_>) -> Outcome {
    expire(context, Unit { command: "hpexpireat", ms_per_unit: 1, is_relative: false })
}

fn expire(context: &mut Context<'_>, unit: Unit) -> Outcome {
    let args = context.args;
    read(context, args[1])?;
    let at = unit.parse(args[2], context.now_ms())?;
    let condition = Condition::of_option(args[3]);
    let fields = fields(args, 3 + usize::from(condition.is_some()), COUNT_NOT_ABOVE_ZERO)?;
    let codes = set_expiry(context, at, condition.unwrap_or(Condition::Always), fields)?;
    let reply = context.reply.array(codes.len());
    for code in codes {
        context.reply.int(code);
    }
    Ok(reply)
}

/// Gives fields an expiry and logs it. Returns for each field -2 if there is none, 0 if the condition forbids it, 1 if
/// it got it, 2 if that time has passed and the field was removed.
fn set_expiry(
    context: &mut Context<'_>,
    at: i64,
    condition: Condition,
    fields: &[&[u8]],
) -> Result<Vec<i64>, CommandError> {
    let args = context.args;
    let limits = context.limits();
    let is_past = at <= context.now_ms() && !context.is_replay;
    let (Some(hash), _) = typed::write::<crate::value::Hash>(context, args[1])? else {
        return Ok(vec![-2; fields.len()]);
    };
    let (mut given, mut removed) = (Vec::new(), Vec::new());
    let mut codes = Vec::with_capacity(fields.len());
    for &field in fields {
        codes.push(match hash.expire_at(field) {
            None => -2,
            Some(former) if !condition.allows(former, at) => 0,
            Some(_) if is_past => {
                hash.remove(field);
                removed.push(field);
                2
            }
            Some(_) => {
                hash.set_expire(field, Some(at), &limits);
                given.push(field);
                1
            }
        });
    }
    if !given.is_empty() {
        context.db_mut().note_field_expiry(args[1]);
        context.changed(given.len());
        log_expiry(context, at, &given);
    }
    log_removed(context, &removed);
    Ok(codes)
}

/// Logs that the fields of the command's key expire then.
pub(super) fn log_expiry(context: &mut Context<'_>, at: i64, fields: &[&[u8]]) {
    let (mut at_text, mut count_text) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (at, count) = (at_text.format(at).as_bytes(), count_text.format(fields.len()).as_bytes());
    let head: [&[u8]; 5] = [b"HPEXPIREAT", context.args[1], at, b"FIELDS", count];
    context.log_as(&[&head, fields].concat());
}

/// Counts and logs that the fields of the command's key were removed, and removes the key if they were its last.
fn log_removed(context: &mut Context<'_>, fields: &[&[u8]]) {
    if fields.is_empty() {
        return;
    }
    let key = context.args[1];
    context.remove_if_empty(key);
    context.changed(fields.len());
    let head: [&[u8]; 2] = [b"HDEL", key];
    context.log_as(&[&head, fields].concat());
}

pub(super) fn hpersist(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    read(context, args[1])?;
    let fields = fields(args, 2, COUNT_NOT_POSITIVE)?;
    let codes = persist(context, fields)?;
    let reply = context.reply.array(codes.len());
    for code in codes {
        context.reply.int(code);
    }
    Ok(reply)
}

/// Takes the expiry from fields. Returns for each -2 if there is no field, -1 if it had none, 1 if it had one.
fn persist(context: &mut Context<'_>, fields: &[&[u8]]) -> Result<Vec<i64>, CommandError> {
    let args = context.args;
    let limits = context.limits();
    let (Some(hash), _) = typed::write::<crate::value::Hash>(context, args[1])? else {
        return Ok(vec![-2; fields.len()]);
    };
    let mut codes = Vec::with_capacity(fields.len());
    for field in fields {
        codes.push(match hash.expire_at(field) {
            None => -2,
            Some(None) => -1,
            Some(Some(_)) => {
                hash.set_expire(field, None, &limits);
                1
            }
        });
    }
    context.changed(codes.iter().filter(|&&code| code == 1).count());
    Ok(codes)
}

pub(super) fn httl(context: &mut Context<'_>) -> Outcome {
    let now = context.now_ms();
    tell(context, |at| (at - now).max(0).saturating_add(999) / 1000)
}

pub(super) fn hpttl(context: &mut Context<'_>) -> Outcome {
    let now = context.now_ms();
    tell(context, |at| (at - now).max(0))
}

pub(super) fn hexpiretime(context: &mut Context<'_>) -> Outcome {
    tell(context, |at| at.saturating_add(999) / 1000)
}

pub(super) fn hpexpiretime(context: &mut Context<'_>) -> Outcome {
    tell(context, |at| at)
}

/// Replies for each field -2 if there is none, -1 if it has no expiry, else what `unit` makes of it.
fn tell(context: &mut Context<'_>, unit: impl Fn(i64) -> i64) -> Outcome {
    let args = context.args;
    let (hash, reply) = read(context, args[1])?;
    let fields = fields(args, 2, COUNT_NOT_POSITIVE)?;
    let header = reply.array(fields.len());
    for field in fields {
        reply.int(match hash.and_then(|hash| hash.expire_at(field)) {
            None => -2,
            Some(None) => -1,
            Some(Some(at)) => unit(at),
        });
    }
    Ok(header)
}

pub(super) fn hgetdel(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (hash, reply) = write(context, args[1])?;
    let fields = fields(args, 2, COUNT_NOT_POSITIVE)?;
    let header = reply.array(fields.len());
    let mut removed = Vec::new();
    match hash {
        None => fields.iter().for_each(|_| reply_element(reply, None)),
        Some(hash) => {
            for &field in fields {
                reply_element(reply, hash.get(field));
                if hash.remove(field) {
                    removed.push(field);
                }
            }
        }
    }
    log_removed(context, &removed);
    Ok(header)
}

/// What HGETEX and HSETEX do to the expiry of the fields.
#[derive(Clone, Copy)]
enum Change {
    None,
    Persist,
    Keep,
    At(i64),
}

pub(super) fn hgetex(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let now = context.now_ms();
    read(context, args[1])?;
    let (change, at) = match Unit::of_option(args[2], "hgetex") {
        Some(unit) => (Change::At(unit.parse(args[3], now)?), 4),
        None if is(args[2], "PERSIST") => (Change::Persist, 3),
        None => (Change::None, 2),
    };
    if args.len() < at + 2 {
        return Err(CommandError::WrongArity("hgetex".to_owned()));
    }
    let fields = fields(args, at, COUNT_NOT_POSITIVE)?;
    let (hash, reply) = typed::read::<crate::value::Hash>(context, args[1])?;
    let header = reply.array(fields.len());
    // With a time that has passed a field is gone once it is read.
    let removes = matches!(change, Change::At(at) if at <= now);
    let mut removed = HashSet::new();
    for field in fields {
        let is_there = !removes || removed.insert(field);
        reply_element(reply, hash.filter(|_| is_there).and_then(|hash| hash.get(field)));
    }
    match change {
        Change::At(at) => {
            set_expiry(context, at, Condition::Always, fields)?;
        }
        Change::Persist => log_persisted(context, fields)?,
        Change::None | Change::Keep => {}
    }
    Ok(header)
}

fn log_persisted(context: &mut Context<'_>, fields: &[&[u8]]) -> Result<(), CommandError> {
    let codes = persist(context, fields)?;
    let persisted: Vec<&[u8]> =
        fields.iter().zip(codes).filter(|(_, code)| *code == 1).map(|(field, _)| *field).collect();
    if persisted.is_empty() {
        return Ok(());
    }
    let mut count = itoa::Buffer::new();
    let count = count.format(persisted.len()).as_bytes();
    let head: [&[u8]; 4] = [b"HPERSIST", context.args[1], b"FIELDS", count];
    context.log_as(&[&head[..], &persisted].concat());
    Ok(())
}

/// The request HSETEX, read.
struct SetEx<'a> {
    /// Write only if all fields exist (`true`) or none does.
    existing: Option<bool>,
    change: Change,
    /// Fields and values, alternating.
    pairs: &'a [&'a [u8]],
}

impl<'a> SetEx<'a> {
    fn parse(args: &'a [&'a [u8]], now_ms: i64) -> Result<Self, CommandError> {
        let mut parsed = Self { existing: None, change: Change::None, pairs: &[] };
        let mut at = 2;
        while let Some(&word) = args.get(at) {
            at += 1;
            if is(word, "FIELDS") {
                parsed.pairs = Self::pairs(&args[at..])?;
                return Ok(parsed);
            } else if is(word, "FNX") || is(word, "FXX") {
                if parsed.existing.is_some() {
                    return Err(CommandError::text("ERR Only one of FXX or FNX arguments can be specified"));
                }
                parsed.existing = Some(is(word, "FXX"));
                continue;
            }
            let unit = Unit::of_option(word, "hsetex");
            if unit.is_none() && !is(word, "KEEPTTL") {
                return Err(CommandError::err(format!("unknown argument: {}", args::printable(word))));
            }
            if !matches!(parsed.change, Change::None) {
                return Err(CommandError::text(
                    "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
                ));
            }
            parsed.change = match unit {
                None => Change::Keep,
                Some(unit) => {
                    let time = args.get(at).ok_or(CommandError::WrongArity("hsetex".to_owned()))?;
                    at += 1;
                    Change::At(unit.parse(time, now_ms)?)
                }
            };
        }
        Err(CommandError::WrongArity("hsetex".to_owned()))
    }

    /// The pairs behind FIELDS: their count first.
    fn pairs(args: &'a [&'a [u8]]) -> Result<&'a [&'a [u8]], CommandError> {
        let wrong_arity = || CommandError::WrongArity("hsetex".to_owned());
        let (count, pairs) = args.split_first().ok_or_else(wrong_arity)?;
        let count = number::parse_i64(count).filter(|&count| count > 0 && count <= i64::from(i32::MAX));
        let count = count.ok_or(CommandError::text("ERR invalid number of fields"))?;
        let places = usize::try_from(count).ok().and_then(|count| count.checked_mul(2));
        if places == Some(pairs.len()) { Ok(pairs) } else { Err(wrong_arity()) }
    }

    fn fields(&self) -> impl Iterator<Item = &'a [u8]> {
        self.pairs.iter().step_by(2).copied()
    }
}

pub(super) fn hsetex(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let key = args[1];
    let now = context.now_ms();
    let request = SetEx::parse(args, now)?;
    let (hash, reply) = read(context, key)?;
    if let Some(wanted) = request.existing
        && request.fields().any(|field| hash.is_some_and(|hash| hash.contains(field)) != wanted)
    {
        return Ok(reply.int(0));
    }
    let limits = context.limits();
    if matches!(request.change, Change::At(at) if at <= now && !context.is_replay) {
        let mut removed: Vec<&[u8]> = request.fields().collect();
        if let (Some(hash), _) = write(context, key)? {
            removed.retain(|field| hash.remove(field));
            log_removed(context, &removed);
        }
        return Ok(context.reply.int(1));
    }
    let hash = create(context, key)?;
    for pair in request.pairs.chunks_exact(2) {
        match request.change {
            Change::Keep => hash.set_keeping_expiry(pair[0], pair[1], &limits),
            _ => hash.set(pair[0], pair[1], &limits),
        };
        if let Change::At(at) = request.change {
            hash.set_expire(pair[0], Some(at), &limits);
        }
    }
    context.changed(request.pairs.len() / 2);
    log_set(context, &request);
    Ok(context.reply.int(1))
}

/// Logs HSETEX without its condition, which was met, and with an absolute time.
fn log_set(context: &mut Context<'_>, request: &SetEx<'_>) {
    let (mut at_text, mut count_text) = (itoa::Buffer::new(), itoa::Buffer::new());
    let mut operation: Vec<&[u8]> = vec![b"HSETEX", context.args[1]];
    match request.change {
        Change::At(at) => {
            let key = context.args[1];
            context.db_mut().note_field_expiry(key);
            operation.extend([b"PXAT", at_text.format(at).as_bytes()]);
        }
        Change::Keep => operation.push(b"KEEPTTL"),
        Change::None | Change::Persist => {}
    }
    operation.extend([b"FIELDS", count_text.format(request.pairs.len() / 2).as_bytes()]);
    operation.extend(request.pairs);
    context.log_as(&operation);
}
