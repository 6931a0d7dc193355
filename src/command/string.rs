//! Strings: values of bytes, counters, expiry on the way in.

use crate::codec::long_double::{Infinite, LongDouble, Parsed};
use crate::keyspace::Expiry;

use super::args::{self, is};
use super::compare::Condition;
use super::spec::{
    ALL_KEYS, CAT_STRING, Command, DENYOOM, FAST, Keys, MOVABLE_KEYS, ONE_KEY, READONLY, WRITE, command,
};
use super::{CommandError, Context, Outcome};

pub const COMMANDS: &[Command] = &[
    command("get", 2, READONLY | FAST, ONE_KEY, CAT_STRING, "1.0.0", get),
    command("set", -3, WRITE | DENYOOM, ONE_KEY, CAT_STRING, "1.0.0", set),
    command("setnx", 3, WRITE | DENYOOM | FAST, ONE_KEY, CAT_STRING, "1.0.0", setnx),
    command("setex", 4, WRITE | DENYOOM, ONE_KEY, CAT_STRING, "2.0.0", setex),
    command("psetex", 4, WRITE | DENYOOM, ONE_KEY, CAT_STRING, "2.6.0", psetex),
    command("getset", 3, WRITE | DENYOOM | FAST, ONE_KEY, CAT_STRING, "1.0.0", getset),
    command("getdel", 2, WRITE | FAST, ONE_KEY, CAT_STRING, "6.2.0", getdel),
    command("getex", -2, WRITE | FAST, ONE_KEY, CAT_STRING, "6.2.0", getex),
    command("strlen", 2, READONLY | FAST, ONE_KEY, CAT_STRING, "2.2.0", strlen),
    command("append", 3, WRITE | DENYOOM | FAST, ONE_KEY, CAT_STRING, "2.0.0", append),
    command("getrange", 4, READONLY, ONE_KEY, CAT_STRING, "2.4.0", getrange),
    command("substr", 4, READONLY, ONE_KEY, CAT_STRING, "1.0.0", getrange),
    command("setrange", 4, WRITE | DENYOOM, ONE_KEY, CAT_STRING, "2.2.0", setrange),
    command("incr", 2, WRITE | DENYOOM | FAST, ONE_KEY, CAT_STRING, "1.0.0", incr),
    command("decr", 2, WRITE | DENYOOM | FAST, ONE_KEY, CAT_STRING, "1.0.0", decr),
    command("incrby", 3, WRITE | DENYOOM | FAST, ONE_KEY, CAT_STRING, "1.0.0", incrby),
    command("decrby", 3, WRITE | DENYOOM | FAST, ONE_KEY, CAT_STRING, "1.0.0", decrby),
    command("incrbyfloat", 3, WRITE | DENYOOM | FAST, ONE_KEY, CAT_STRING, "2.6.0", incrbyfloat),
    command("mget", -2, READONLY | FAST, ALL_KEYS, CAT_STRING, "1.0.0", mget),
    command("mset", -3, WRITE | DENYOOM, PAIRS, CAT_STRING, "1.0.1", mset),
    command("msetex", -4, WRITE | DENYOOM | MOVABLE_KEYS, Keys::Found(msetex_keys), CAT_STRING, "9.1.0", msetex),
    command("msetnx", -3, WRITE | DENYOOM, PAIRS, CAT_STRING, "1.0.1", msetnx),
];

const PAIRS: Keys = Keys::Range { first: 1, last: -1, step: 2 };

fn get(context: &mut Context<'_>) -> Outcome {
    let key = context.args[1];
    match context.engine.keyspace.db(context.session.db).into_value_used(key) {
        None => {
            context.engine.stats.keyspace_misses += 1;
            Ok(context.reply.null())
        }
        Some(view) => {
            context.engine.stats.keyspace_hits += 1;
            let string = view.string().ok_or(CommandError::WrongType)?;
            Ok(string.with(|bytes| context.reply.bulk(bytes)))
        }
    }
}

/// The options of SET.
#[derive(Default, Clone, Copy)]
struct SetOptions<'a> {
    only_if_absent: bool,
    only_if_present: bool,
    condition: Option<Condition<'a>>,
    get: bool,
    keep_ttl: bool,
    expire_at_ms: Option<i64>,
    /// The log has a SET of its own for it, and not the request, which not every server knows.
    is_rephrased: bool,
}

impl<'a> SetOptions<'a> {
    fn parse(context: &Context<'a>) -> Result<Self, CommandError> {
        Self::parse_from(context, 3, "set")
    }

    /// Reads the options of a command from this argument on.
    fn parse_from(context: &Context<'a>, from: usize, command: &'static str) -> Result<Self, CommandError> {
        let (mut options, mut expiry) = (Self::default(), None);
        let mut rest = &context.args[from..];
        while let [option, tail @ ..] = rest {
            rest = tail;
            let has_condition = options.condition.is_some();
            if is(option, "NX") && !options.only_if_present && !has_condition {
                options.only_if_absent = true;
            } else if is(option, "XX") && !options.only_if_absent && !has_condition {
                options.only_if_present = true;
            } else if let [value, tail @ ..] = tail
                && let Some(condition) = Condition::of(option, value)
                && !(options.only_if_absent || options.only_if_present || has_condition)
            {
                (options.condition, options.is_rephrased) = (Some(condition), true);
                rest = tail;
            } else if is(option, "GET") {
                (options.get, options.is_rephrased) = (true, true);
            } else if is(option, "KEEPTTL") && expiry.is_none() {
                options.keep_ttl = true;
            } else if let (Some(unit), [value, tail @ ..], false) = (ExpireUnit::of(option), tail, options.keep_ttl)
                && expiry.is_none_or(|(former, _)| former == unit)
            {
                expiry = Some((unit, *value));
                rest = tail;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if let Some((unit, value)) = expiry {
            options.expire_at_ms = Some(unit.absolute(value, context.now_ms(), command)?);
        }
        Ok(options)
    }
}

/// How an expiry option counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct ExpireUnit {
    pub(super) ms_per_unit: i64,
    pub(super) is_relative: bool,
}

impl ExpireUnit {
    /// The unit of EX, PX, EXAT, PXAT.
    pub(super) fn of(option: &[u8]) -> Option<Self> {
        let (ms_per_unit, is_relative) = match option.to_ascii_uppercase().as_slice() {
            b"EX" => (1000, true),
            b"PX" => (1, true),
            b"EXAT" => (1000, false),
            b"PXAT" => (1, false),
            _ => return None,
        };
        Some(Self { ms_per_unit, is_relative })
    }

    /// Unix ms of an expiry that must lie after the epoch.
    pub(super) fn absolute(self, value: &[u8], now_ms: i64, command: &'static str) -> Result<i64, CommandError> {
        let value = args::int(value)?;
        let invalid = CommandError::InvalidExpire(command);
        if value <= 0 {
            return Err(invalid);
        }
        self.to_unix_ms(value, now_ms).ok_or(invalid)
    }

    /// Unix ms of any expiry, unless it overflows.
    pub(super) fn to_unix_ms(self, value: i64, now_ms: i64) -> Option<i64> {
        value.checked_mul(self.ms_per_unit)?.checked_add(if self.is_relative { now_ms } else { 0 })
    }
}

fn set(context: &mut Context<'_>) -> Outcome {
    let options = SetOptions::parse(context)?;
    let (key, value) = (context.args[1], context.args[2]);
    let former = if options.get { context.read_string(key)?.map(|string| string.to_vec()) } else { None };
    let is_refused = match options.condition {
        Some(condition) => !condition.holds(context.read_string(key)?)?,
        None => {
            let needs_presence = options.only_if_absent || options.only_if_present;
            needs_presence && context.db_mut().contains(key) == options.only_if_absent
        }
    };
    if is_refused {
        return Ok(match former {
            Some(former) => context.reply.bulk(&former),
            None => context.reply.null(),
        });
    }
    store(context, key, value, &options);
    Ok(match (options.get, former) {
        (true, Some(former)) => context.reply.bulk(&former),
        (true, None) => context.reply.null(),
        (false, _) => context.reply.ok(),
    })
}

fn store(context: &mut Context<'_>, key: &[u8], value: &[u8], options: &SetOptions<'_>) {
    let expiry = match options.expire_at_ms {
        Some(at) => Expiry::At(at),
        None if options.keep_ttl => Expiry::Keep,
        None => Expiry::Clear,
    };
    if options.expire_at_ms.is_some_and(|at| at <= context.now_ms()) && !context.is_replay {
        // A time that has passed: the key is gone at once, and so it stands in the log.
        if context.remove(key) {
            context.changed(1);
            let verb = context.removal_verb();
            context.log_as(&[verb, key]);
        }
        return;
    }
    context.db_mut().set_string(key, value, expiry);
    context.changed(1);
    match options.expire_at_ms {
        Some(at) => context.log_as(&[b"SET", key, value, b"PXAT", itoa::Buffer::new().format(at).as_bytes()]),
        None if !options.is_rephrased => {}
        None if options.keep_ttl => context.log_as(&[b"SET", key, value, b"KEEPTTL"]),
        None => context.log_as(&[b"SET", key, value]),
    }
}

fn setnx(context: &mut Context<'_>) -> Outcome {
    let (key, value) = (context.args[1], context.args[2]);
    let is_new = !context.db_mut().contains(key);
    if is_new {
        store(context, key, value, &SetOptions::default());
    }
    Ok(context.reply.int(i64::from(is_new)))
}

fn setex(context: &mut Context<'_>) -> Outcome {
    set_with_expiry(context, ExpireUnit { ms_per_unit: 1000, is_relative: true }, "setex")
}

fn psetex(context: &mut Context<'_>) -> Outcome {
    set_with_expiry(context, ExpireUnit { ms_per_unit: 1, is_relative: true }, "psetex")
}

fn set_with_expiry(context: &mut Context<'_>, unit: ExpireUnit, name: &'static str) -> Outcome {
    let (key, value) = (context.args[1], context.args[3]);
    let expire_at_ms = Some(unit.absolute(context.args[2], context.now_ms(), name)?);
    store(context, key, value, &SetOptions { expire_at_ms, ..SetOptions::default() });
    Ok(context.reply.ok())
}

fn getset(context: &mut Context<'_>) -> Outcome {
    let (key, value) = (context.args[1], context.args[2]);
    let former = context.read_string(key)?.map(|string| string.to_vec());
    store(context, key, value, &SetOptions { is_rephrased: true, ..SetOptions::default() });
    Ok(reply_bulk_or_null(context, former))
}

fn getdel(context: &mut Context<'_>) -> Outcome {
    let key = context.args[1];
    let former = context.read_string(key)?.map(|string| string.to_vec());
    if former.is_some() {
        context.remove(key);
        context.changed(1);
        context.log_as(&[b"DEL", key]);
    }
    Ok(reply_bulk_or_null(context, former))
}

fn getex(context: &mut Context<'_>) -> Outcome {
    let key = context.args[1];
    // One option may come again, and the last one counts.
    let (mut chosen, mut rest) = (None, &context.args[2..]);
    while let [option, tail @ ..] = rest {
        let (next, tail) = match (ExpireUnit::of(option), tail) {
            (Some(unit), [value, tail @ ..]) => (Some((unit, *value)), tail),
            (None, tail) if is(option, "PERSIST") => (None, tail),
            _ => return Err(CommandError::Syntax),
        };
        let unit = |choice: Option<(ExpireUnit, _)>| choice.map(|(unit, _)| unit);
        if chosen.is_some_and(|former| unit(former) != unit(next)) {
            return Err(CommandError::Syntax);
        }
        (chosen, rest) = (Some(next), tail);
    }
    let Some(value) = context.read_string(key)?.map(|string| string.to_vec()) else {
        return Ok(context.reply.null());
    };
    // Of a key that is not there no time is read.
    let expire_at_ms = match chosen {
        None => None,
        Some(None) => Some(None),
        Some(Some((unit, value))) => Some(Some(unit.absolute(value, context.now_ms(), "getex")?)),
    };
    match expire_at_ms {
        None => {}
        Some(None) if context.db_mut().expire_at_ms(key) == Some(None) => {}
        Some(None) => {
            context.db_mut().set_expire_at_ms(key, None);
            context.changed(1);
            context.log_as(&[&b"PERSIST"[..], key]);
        }
        Some(Some(at)) => super::generic::expire_at(context, key, at),
    }
    Ok(context.reply.bulk(&value))
}

fn reply_bulk_or_null(context: &mut Context<'_>, value: Option<Vec<u8>>) -> crate::resp::Reply {
    match value {
        Some(value) => context.reply.bulk(&value),
        None => context.reply.null(),
    }
}

fn strlen(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let len = context.read_string(args[1])?.map_or(0, |string| string.len());
    Ok(context.reply.count(len))
}

fn append(context: &mut Context<'_>) -> Outcome {
    let (key, tail) = (context.args[1], context.args[2]);
    let Some(len) = context.read_string(key)?.map(|string| string.len()) else {
        check_len(context, tail.len())?;
        context.db_mut().set_string(key, tail, Expiry::Clear);
        context.changed(1);
        return Ok(context.reply.count(tail.len()));
    };
    check_len(context, len.saturating_add(tail.len()))?;
    let len = edit(context, key, |bytes| {
        bytes.extend_from_slice(tail);
    })?;
    context.changed(1);
    Ok(context.reply.count(len))
}

/// Changes a string's bytes: in place where it is a large one of its own, by a copy where it is short. Returns the new
/// length; the expiry stays.
pub(super) fn edit(
    context: &mut Context<'_>,
    key: &[u8],
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<usize, CommandError> {
    let former = context.read_string(key)?.map(|string| string.len());
    let mut db = context.db_mut();
    if let Some(crate::value::Object::String(string)) = db.object_mut(key) {
        let bytes = string.make_mut();
        change(bytes);
        return Ok(bytes.len());
    }
    let mut bytes = Vec::with_capacity(former.unwrap_or(0));
    if let Some(string) = db.get(key).and_then(|view| view.string()) {
        string.write_to(&mut bytes);
    }
    change(&mut bytes);
    // What was changed as bytes stays bytes, even where it spells a number: as in Redis.
    db.set_edited(key, bytes.as_slice(), Expiry::Keep);
    Ok(bytes.len())
}

/// Whether a string may be as long.
pub(super) fn check_len(context: &Context<'_>, len: usize) -> Result<(), CommandError> {
    let max = context.engine.config.proto_max_bulk_len;
    // What the log holds was allowed when it was written.
    if !context.is_replay && i64::try_from(len).unwrap_or(i64::MAX) > max {
        Err(CommandError::StringTooLong)
    } else {
        Ok(())
    }
}

fn getrange(context: &mut Context<'_>) -> Outcome {
    let (key, start, end) = (context.args[1], args::int(context.args[2])?, args::int(context.args[3])?);
    let is_backwards = start < 0 && end < 0 && start > end;
    let part = match context.read_string(key)? {
        None => Vec::new(),
        // As in Redis, an end that lies before the first byte is that byte.
        Some(string) => string.with(|bytes| {
            let end = if end < 0 { end.saturating_add_unsigned(bytes.len() as u64).max(0) } else { end }; // 64 bits
            match args::rank_range(start, end, bytes.len()) {
                Some((first, count)) if !is_backwards => bytes[first..first + count].to_vec(),
                _ => Vec::new(),
            }
        }),
    };
    Ok(context.reply.bulk(&part))
}

fn setrange(context: &mut Context<'_>) -> Outcome {
    let (key, patch) = (context.args[1], context.args[3]);
    let offset = args::int(context.args[2])?;
    let offset = usize::try_from(offset).map_err(|_| CommandError::err("offset is out of range"))?;
    let len = context.read_string(key)?.map_or(0, |string| string.len());
    if patch.is_empty() {
        return Ok(context.reply.count(len));
    }
    check_len(context, offset.saturating_add(patch.len()))?;
    let len = edit(context, key, |bytes| {
        let end = offset + patch.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(patch);
    })?;
    context.changed(1);
    Ok(context.reply.count(len))
}

fn incr(context: &mut Context<'_>) -> Outcome {
    add(context, 1)
}

fn decr(context: &mut Context<'_>) -> Outcome {
    add(context, -1)
}

fn incrby(context: &mut Context<'_>) -> Outcome {
    let increment = args::int(context.args[2])?;
    add(context, increment)
}

fn decrby(context: &mut Context<'_>) -> Outcome {
    let decrement = args::int(context.args[2])?;
    let increment = decrement.checked_neg().ok_or(CommandError::err("decrement would overflow"))?;
    add(context, increment)
}

fn add(context: &mut Context<'_>, increment: i64) -> Outcome {
    let key = context.args[1];
    let former = match context.read_string(key)? {
        None => 0,
        Some(string) => string.as_i64().ok_or(CommandError::NotInteger)?,
    };
    let sum = former.checked_add(increment).ok_or(CommandError::Overflow)?;
    context.db_mut().set_int(key, sum, Expiry::Keep);
    context.changed(1);
    Ok(context.reply.int(sum))
}

fn incrbyfloat(context: &mut Context<'_>) -> Outcome {
    let key = context.args[1];
    let former = match context.read_string(key)? {
        None => LongDouble::parse(b"0"),
        Some(string) => string.with(LongDouble::parse),
    };
    let text = increased(former.ok_or(CommandError::NotFloat)?, args::long_double(context.args[2])?)?;
    // Bytes also where they spell an integer, as in Redis.
    context.db_mut().set_bytes(key, &text, Expiry::Keep);
    context.changed(1);
    context.log_as(&[b"SET", key, &text, b"KEEPTTL"]);
    Ok(context.reply.bulk(&text))
}

/// A sum as it is stored.
pub(super) fn increased(former: Parsed, increment: Parsed) -> Result<Vec<u8>, CommandError> {
    let (Parsed::Finite(former), Parsed::Finite(increment)) = (former, increment) else {
        return Err(CommandError::NanOrInfinity);
    };
    let sum = former.plus(increment).map_err(|Infinite| CommandError::NanOrInfinity)?;
    let mut text = Vec::with_capacity(24);
    sum.write(&mut text);
    Ok(text)
}

fn mget(context: &mut Context<'_>) -> Outcome {
    let keys = &context.args[1..];
    let reply = context.reply.array(keys.len());
    for key in keys {
        match context.engine.keyspace.db(context.session.db).get(key).and_then(|view| view.string()) {
            Some(string) => string.with(|bytes| context.reply.bulk(bytes)),
            None => context.reply.null(),
        };
    }
    Ok(reply)
}

fn mset(context: &mut Context<'_>) -> Outcome {
    check_pairs(context, "mset")?;
    for pair in context.args[1..].chunks_exact(2) {
        context.db_mut().set_string(pair[0], pair[1], Expiry::Clear);
        context.changed(1);
    }
    Ok(context.reply.ok())
}

fn msetnx(context: &mut Context<'_>) -> Outcome {
    check_pairs(context, "msetnx")?;
    let args = context.args;
    if args[1..].chunks_exact(2).any(|pair| context.db_mut().contains(pair[0])) {
        return Ok(context.reply.int(0));
    }
    for pair in args[1..].chunks_exact(2) {
        context.db_mut().set_string(pair[0], pair[1], Expiry::Clear);
        context.changed(1);
    }
    Ok(context.reply.int(1))
}

/// How many pairs MSETEX has, if all are there.
fn pair_count(args: &[&[u8]]) -> Option<usize> {
    let count = usize::try_from(args::int(args.get(1)?).ok()?).ok()?;
    (1..=args.len().saturating_sub(2) / 2).contains(&count).then_some(count)
}

fn msetex_keys(args: &[&[u8]]) -> Vec<usize> {
    (0..pair_count(args).unwrap_or(0)).map(|pair| 2 + 2 * pair).collect()
}

/// `numkeys key value ... [NX | XX] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]`: all pairs or none.
fn msetex(context: &mut Context<'_>) -> Outcome {
    const MOST_PAIRS: i64 = i32::MAX as i64;
    let args = context.args;
    if !args::int(args[1]).is_ok_and(|count| (1..=MOST_PAIRS).contains(&count)) {
        return Err(CommandError::err("invalid numkeys value or out of range"));
    }
    let count = pair_count(args).ok_or(CommandError::Syntax)?;
    let options = SetOptions::parse_from(context, 2 + 2 * count, "msetex")?;
    if options.get || options.condition.is_some() {
        return Err(CommandError::Syntax);
    }
    let pairs = args[2..2 + 2 * count].chunks_exact(2);
    let is_refused = |context: &mut Context<'_>, key: &[u8]| {
        let is_there = context.db_mut().contains(key);
        if is_there { options.only_if_absent } else { options.only_if_present }
    };
    if pairs.clone().any(|pair| is_refused(context, pair[0])) {
        return Ok(context.reply.int(0));
    }
    for pair in pairs {
        store(context, pair[0], pair[1], &SetOptions { is_rephrased: true, ..options });
    }
    Ok(context.reply.int(1))
}

fn check_pairs(context: &Context<'_>, name: &str) -> Result<(), CommandError> {
    if context.args.len().is_multiple_of(2) { Err(CommandError::WrongArity(name.to_owned())) } else { Ok(()) }
}
