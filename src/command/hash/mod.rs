//! Hashes: fields with values, each of which may expire by itself.
//!
//! A field whose time has come is removed before any of these commands looks at its hash, and that is logged as HDEL;
//! so no handler ever meets one. While a log is replayed nothing expires.

mod expiry;
mod random;
#[cfg(test)]
mod tests;

use crate::codec::long_double::{LongDouble, Parsed};
use crate::resp::Encoder;
use crate::value::{Element, Hash};

use super::args;
use super::generic::{ScanOptions, parse_cursor};
use super::spec::{CAT_HASH, Command, DENYOOM, FAST, ONE_KEY, READONLY, WRITE, command};
use super::string::increased;
use super::typed::{self, Page};
use super::{CommandError, Context, Outcome};

pub const COMMANDS: &[Command] = &[
    command("hset", -4, WRITE | DENYOOM | FAST, ONE_KEY, CAT_HASH, "2.0.0", hset),
    command("hmset", -4, WRITE | DENYOOM | FAST, ONE_KEY, CAT_HASH, "2.0.0", hmset),
    command("hsetnx", 4, WRITE | DENYOOM | FAST, ONE_KEY, CAT_HASH, "2.0.0", hsetnx),
    command("hget", 3, READONLY | FAST, ONE_KEY, CAT_HASH, "2.0.0", hget),
    command("hmget", -3, READONLY | FAST, ONE_KEY, CAT_HASH, "2.0.0", hmget),
    command("hgetall", 2, READONLY, ONE_KEY, CAT_HASH, "2.0.0", hgetall),
    command("hkeys", 2, READONLY, ONE_KEY, CAT_HASH, "2.0.0", hkeys),
    command("hvals", 2, READONLY, ONE_KEY, CAT_HASH, "2.0.0", hvals),
    command("hlen", 2, READONLY | FAST, ONE_KEY, CAT_HASH, "2.0.0", hlen),
    command("hstrlen", 3, READONLY | FAST, ONE_KEY, CAT_HASH, "3.2.0", hstrlen),
    command("hexists", 3, READONLY | FAST, ONE_KEY, CAT_HASH, "2.0.0", hexists),
    command("hdel", -3, WRITE | FAST, ONE_KEY, CAT_HASH, "2.0.0", hdel),
    command("hincrby", 4, WRITE | DENYOOM | FAST, ONE_KEY, CAT_HASH, "2.0.0", hincrby),
    command("hincrbyfloat", 4, WRITE | DENYOOM | FAST, ONE_KEY, CAT_HASH, "2.6.0", hincrbyfloat),
    command("hscan", -3, READONLY, ONE_KEY, CAT_HASH, "2.8.0", hscan),
    command("hrandfield", -2, READONLY, ONE_KEY, CAT_HASH, "6.2.0", random::hrandfield),
    command("hexpire", -6, WRITE | FAST, ONE_KEY, CAT_HASH, "7.4.0", expiry::hexpire),
    command("hpexpire", -6, WRITE | FAST, ONE_KEY, CAT_HASH, "7.4.0", expiry::hpexpire),
    command("hexpireat", -6, WRITE | FAST, ONE_KEY, CAT_HASH, "7.4.0", expiry::hexpireat),
    command("hpexpireat", -6, WRITE | FAST, ONE_KEY, CAT_HASH, "7.4.0", expiry::hpexpireat),
    command("hpersist", -5, WRITE | FAST, ONE_KEY, CAT_HASH, "7.4.0", expiry::hpersist),
    command("httl", -5, READONLY | FAST, ONE_KEY, CAT_HASH, "7.4.0", expiry::httl),
    command("hpttl", -5, READONLY | FAST, ONE_KEY, CAT_HASH, "7.4.0", expiry::hpttl),
    command("hexpiretime", -5, READONLY | FAST, ONE_KEY, CAT_HASH, "7.4.0", expiry::hexpiretime),
    command("hpexpiretime", -5, READONLY | FAST, ONE_KEY, CAT_HASH, "7.4.0", expiry::hpexpiretime),
    command("hgetdel", -5, WRITE | FAST, ONE_KEY, CAT_HASH, "8.0.0", expiry::hgetdel),
    command("hgetex", -5, WRITE | FAST, ONE_KEY, CAT_HASH, "8.0.0", expiry::hgetex),
    command("hsetex", -6, WRITE | DENYOOM | FAST, ONE_KEY, CAT_HASH, "8.0.0", expiry::hsetex),
];

/// The hash to read, and the reply. What has expired was removed before the command began.
fn read<'e, 'a>(
    context: &'e mut Context<'a>,
    key: &[u8],
) -> Result<(Option<&'e Hash>, &'e mut Encoder<'a>), CommandError> {
    typed::read(context, key)
}

/// The hash to change, and the reply.
fn write<'e, 'a>(
    context: &'e mut Context<'a>,
    key: &[u8],
) -> Result<(Option<&'e mut Hash>, &'e mut Encoder<'a>), CommandError> {
    typed::write(context, key)
}

/// The hash to change, made if there is none.
fn create<'e>(context: &'e mut Context<'_>, key: &[u8]) -> Result<&'e mut Hash, CommandError> {
    typed::create(context, key)
}

fn reply_element(reply: &mut Encoder<'_>, element: Option<Element<'_>>) {
    match element {
        Some(element) => element.with(|text| reply.bulk(text)),
        None => reply.null(),
    };
}

fn set_pairs(context: &mut Context<'_>, name: &'static str) -> Result<usize, CommandError> {
    let args = context.args;
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity(name.to_owned()));
    }
    let limits = context.limits();
    let hash = create(context, args[1])?;
    let mut added = 0;
    for pair in args[2..].chunks_exact(2) {
        added += usize::from(hash.set(pair[0], pair[1], &limits));
    }
    context.changed(args.len() / 2 - 1);
    Ok(added)
}

fn hset(context: &mut Context<'_>) -> Outcome {
    let added = set_pairs(context, "hset")?;
    Ok(context.reply.count(added))
}

fn hmset(context: &mut Context<'_>) -> Outcome {
    set_pairs(context, "hmset")?;
    Ok(context.reply.ok())
}

fn hsetnx(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let limits = context.limits();
    let hash = create(context, args[1])?;
    if hash.contains(args[2]) {
        return Ok(context.reply.int(0));
    }
    hash.set(args[2], args[3], &limits);
    context.changed(1);
    Ok(context.reply.int(1))
}

fn hget(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (hash, reply) = read(context, args[1])?;
    Ok(match hash.and_then(|hash| hash.get(args[2])) {
        Some(value) => value.with(|text| reply.bulk(text)),
        None => reply.null(),
    })
}

fn hmget(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (hash, reply) = read(context, args[1])?;
    let header = reply.array(args.len() - 2);
    for field in &args[2..] {
        reply_element(reply, hash.and_then(|hash| hash.get(field)));
    }
    Ok(header)
}

fn hgetall(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (hash, reply) = read(context, args[1])?;
    let header = reply.map(hash.map_or(0, Hash::len));
    for (field, value, _) in hash.into_iter().flat_map(Hash::iter) {
        field.with(|text| reply.bulk(text));
        value.with(|text| reply.bulk(text));
    }
    Ok(header)
}

fn hkeys(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (hash, reply) = read(context, args[1])?;
    let header = reply.array(hash.map_or(0, Hash::len));
    for (field, ..) in hash.into_iter().flat_map(Hash::iter) {
        field.with(|text| reply.bulk(text));
    }
    Ok(header)
}

fn hvals(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (hash, reply) = read(context, args[1])?;
    let header = reply.array(hash.map_or(0, Hash::len));
    for (_, value, _) in hash.into_iter().flat_map(Hash::iter) {
        value.with(|text| reply.bulk(text));
    }
    Ok(header)
}

fn hlen(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (hash, reply) = read(context, args[1])?;
    Ok(reply.count(hash.map_or(0, Hash::len)))
}

fn hstrlen(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (hash, reply) = read(context, args[1])?;
    Ok(reply.count(hash.and_then(|hash| hash.get(args[2])).map_or(0, |value| value.len())))
}

fn hexists(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (hash, reply) = read(context, args[1])?;
    Ok(reply.int(i64::from(hash.is_some_and(|hash| hash.contains(args[2])))))
}

fn hdel(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let (Some(hash), _) = write(context, args[1])? else { return Ok(context.reply.int(0)) };
    let removed = args[2..].iter().filter(|field| hash.remove(field)).count();
    if removed > 0 {
        context.remove_if_empty(args[1]);
        context.changed(removed);
    }
    Ok(context.reply.count(removed))
}

fn hincrby(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let increment = args::int(args[3])?;
    let limits = context.limits();
    let former = match read(context, args[1])?.0.and_then(|hash| hash.get(args[2])) {
        None => 0,
        Some(value) => value.as_i64().ok_or(CommandError::HashNotInteger)?,
    };
    let sum = former.checked_add(increment).ok_or(CommandError::Overflow)?;
    let mut buffer = itoa::Buffer::new();
    typed::create::<Hash>(context, args[1])?.set_keeping_expiry(args[2], buffer.format(sum).as_bytes(), &limits);
    context.changed(1);
    Ok(context.reply.int(sum))
}

fn hincrbyfloat(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let increment = args::long_double(args[3])?;
    if increment == Parsed::Infinite {
        return Err(CommandError::text("ERR value is NaN or Infinity"));
    }
    let limits = context.limits();
    let former = match read(context, args[1])?.0.and_then(|hash| hash.get(args[2])) {
        None => LongDouble::parse(b"0"),
        Some(value) => value.with(LongDouble::parse),
    };
    let text = increased(former.ok_or(CommandError::HashNotFloat)?, increment)?;
    let hash = typed::create::<Hash>(context, args[1])?;
    hash.set_keeping_expiry(args[2], &text, &limits);
    let expire_at = hash.expire_at(args[2]).flatten();
    context.changed(1);
    context.log_as(&[b"HSET", args[1], args[2], &text]);
    if let Some(at) = expire_at {
        // HSET has dropped it.
        expiry::log_expiry(context, at, &[args[2]]);
    }
    Ok(context.reply.bulk(&text))
}

fn hscan(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let cursor = parse_cursor(args[2])?;
    let (hash, reply) = read(context, args[1])?;
    let mut page = Page::new(reply.protocol());
    let mut next = 0;
    if let Some(hash) = hash {
        let options = ScanOptions::parse(&args[3..], false)?;
        next = hash.scan(cursor, options.count, &mut |field, value| {
            if field.with(|name| options.admits(name)) {
                page.push(field);
                if !options.no_values {
                    page.push(value);
                }
            }
        });
    }
    Ok(page.write_scan(reply, next))
}
