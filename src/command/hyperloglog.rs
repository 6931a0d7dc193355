//! HyperLogLogs: PFADD and kin, on strings that [`crate::value::hyperloglog`] describes.

use crate::keyspace::Expiry;
use crate::value::Element;
use crate::value::hyperloglog::{self as hll, Corrupt, Registers};

use super::args::is;
use super::spec::{
    ADMIN, ALL_KEYS, CAT_HYPERLOGLOG, Command, DENYOOM, FAST, Keys, MAY_REPLICATE, NO_KEYS, ONE_KEY, READONLY, WRITE,
    command,
};
use super::string::edit;
use super::{CommandError, Context, Outcome};

pub const COMMANDS: &[Command] = &[
    command("pfadd", -2, WRITE | DENYOOM | FAST, ONE_KEY, CAT_HYPERLOGLOG, "2.8.9", pfadd),
    command("pfcount", -2, READONLY | MAY_REPLICATE, ALL_KEYS, CAT_HYPERLOGLOG, "2.8.9", pfcount),
    command("pfmerge", -2, WRITE | DENYOOM, ALL_KEYS, CAT_HYPERLOGLOG, "2.8.9", pfmerge),
    command("pfdebug", 3, WRITE | DENYOOM | ADMIN, SECOND_KEY, CAT_HYPERLOGLOG, "2.8.9", pfdebug),
    command("pfselftest", 1, ADMIN, NO_KEYS, CAT_HYPERLOGLOG, "2.8.9", pfselftest),
];

const SECOND_KEY: Keys = Keys::Range { first: 2, last: 2, step: 1 };
const NOT_ONE: CommandError = CommandError::text("WRONGTYPE Key is not a valid HyperLogLog string value.");
const CORRUPT: CommandError = CommandError::text("INVALIDOBJ Corrupted HLL object detected");

impl From<Corrupt> for CommandError {
    fn from(_: Corrupt) -> Self {
        CORRUPT
    }
}

/// The bytes of the key's HyperLogLog; an error if it holds anything else.
fn read<'a>(context: &'a mut Context<'_>, key: &[u8]) -> Result<Option<&'a [u8]>, CommandError> {
    match context.read_string(key)? {
        None => Ok(None),
        Some(Element::Bytes(bytes)) if hll::is_valid(bytes) => Ok(Some(bytes)),
        Some(_) => Err(NOT_ONE),
    }
}

fn pfadd(context: &mut Context<'_>) -> Outcome {
    let (key, elements) = (context.args[1], &context.args[2..]);
    let former = read(context, key)?;
    let is_new = former.is_none();
    // A sparse value may turn out to be broken behind its first change, so a copy is changed; a dense one can't.
    let copy = match former {
        None => Some(hll::empty()),
        Some(bytes) => (!hll::is_dense(bytes)).then(|| bytes.to_vec()),
    };
    let max = context.engine.config.hll_sparse_max_bytes;
    let changes = match copy {
        Some(mut bytes) => {
            let changes = usize::from(is_new) + add_all(&mut bytes, elements, max, is_new)?;
            if changes > 0 {
                context.db_mut().set_edited(key, &bytes, Expiry::Keep);
            }
            changes
        }
        None => {
            let mut changes = Ok(0);
            edit(context, key, |bytes| changes = add_all(bytes, elements, max, false))?;
            changes?
        }
    };
    context.changed(changes);
    Ok(context.reply.int(i64::from(changes > 0)))
}

/// Adds elements to a value. Returns how many of them have changed it; then, or where it `is_new`, its estimate is forgotten.
fn add_all(bytes: &mut Vec<u8>, elements: &[&[u8]], max_sparse_bytes: usize, is_new: bool) -> Result<usize, Corrupt> {
    let mut changes = 0;
    for element in elements {
        changes += usize::from(hll::add(bytes, element, max_sparse_bytes)?);
    }
    if is_new || changes > 0 {
        hll::forget_count(bytes);
    }
    Ok(changes)
}

fn pfcount(context: &mut Context<'_>) -> Outcome {
    let keys = &context.args[1..];
    if let [key] = keys {
        let Some(bytes) = read(context, key)? else { return Ok(context.reply.int(0)) };
        if let Some(count) = hll::cached_count(bytes) {
            return Ok(context.reply.int(count.cast_signed()));
        }
        let count = Registers::of(bytes)?.count();
        // The estimate is kept in the value, and stands in the log like any change of one.
        edit(context, key, |bytes| hll::set_cached_count(bytes, count))?;
        context.changed(1);
        return Ok(context.reply.int(count.cast_signed()));
    }
    let count = merged(context, keys)?.0.count();
    Ok(context.reply.int(count.cast_signed()))
}

/// The registers of several, and whether one of them is dense.
fn merged(context: &mut Context<'_>, keys: &[&[u8]]) -> Result<(Registers, bool), CommandError> {
    let (mut registers, mut is_any_dense) = (Registers::default(), false);
    for key in keys {
        if let Some(bytes) = read(context, key)? {
            registers.merge(bytes)?;
            is_any_dense |= hll::is_dense(bytes);
        }
    }
    Ok((registers, is_any_dense))
}

fn pfmerge(context: &mut Context<'_>) -> Outcome {
    let target = context.args[1];
    let (registers, is_any_dense) = merged(context, &context.args[1..])?;
    let is_new = read(context, target)?.is_none();
    let max = context.engine.config.hll_sparse_max_bytes;
    let mut outcome = Ok(());
    edit(context, target, |bytes| {
        if is_new {
            *bytes = hll::empty();
        }
        if is_any_dense && !hll::is_dense(bytes) {
            outcome = hll::make_dense(bytes);
        }
        outcome = outcome.and_then(|()| registers.raise(bytes, max));
        hll::forget_count(bytes);
    })?;
    outcome?;
    context.changed(1);
    Ok(context.reply.ok())
}

fn pfdebug(context: &mut Context<'_>) -> Outcome {
    let (subcommand, key) = (context.args[1], context.args[2]);
    let Some(bytes) = read(context, key)? else {
        return Err(CommandError::err("The specified key does not exist"));
    };
    let was_dense = hll::is_dense(bytes);
    if is(subcommand, "ENCODING") {
        return Ok(context.reply.simple(if was_dense { "dense" } else { "sparse" }));
    }
    if is(subcommand, "DECODE") {
        if was_dense {
            return Err(CommandError::err("HLL encoding is not sparse"));
        }
        let runs = hll::runs(bytes).map(|run| match run.value {
            0 if run.is_long() => format!("Z:{}", run.len),
            0 => format!("z:{}", run.len),
            value => format!("v:{value},{}", run.len),
        });
        let text = runs.collect::<Vec<_>>().join(" ");
        return Ok(context.reply.bulk(text.as_bytes()));
    }
    let is_getreg = is(subcommand, "GETREG");
    if !is_getreg && !is(subcommand, "TODENSE") {
        let name = super::args::printable(subcommand);
        return Err(CommandError::err(format!("Unknown PFDEBUG subcommand '{name}'")));
    }
    let mut dense = bytes.to_vec();
    if !was_dense {
        hll::make_dense(&mut dense)?;
        context.db_mut().set_edited(key, &dense, Expiry::Keep);
        context.changed(1);
    }
    if !is_getreg {
        return Ok(context.reply.int(i64::from(!was_dense)));
    }
    let registers = Registers::of(&dense)?;
    let reply = context.reply.array(registers.iter().count());
    registers.iter().for_each(|value| {
        context.reply.int(value.into());
    });
    Ok(reply)
}

/// Adds a hundred thousand elements to a sparse and a dense value, whose registers must agree, and holds the estimates to
/// five times the expected error.
fn pfselftest(context: &mut Context<'_>) -> Outcome {
    let (mut sparse, mut dense) = (hll::empty(), hll::empty());
    hll::make_dense(&mut dense)?;
    let max = context.engine.config.hll_sparse_max_bytes;
    for number in 1..=100_000_u64 {
        let element = number.to_le_bytes();
        hll::add(&mut sparse, &element, max)?;
        hll::add(&mut dense, &element, max)?;
        if number.is_power_of_two() {
            let (one, other) = (Registers::of(&sparse)?, Registers::of(&dense)?);
            if !one.iter().eq(other.iter()) {
                return Err(CommandError::err("TESTFAILED sparse and dense registers differ"));
            }
            let (estimate, error) = (one.count(), number / 20 + 2); // 0.81 % is expected
            if estimate.abs_diff(number) > error {
                return Err(CommandError::err(format!("TESTFAILED Too big error. card:{number} estimate:{estimate}")));
            }
        }
    }
    Ok(context.reply.ok())
}
