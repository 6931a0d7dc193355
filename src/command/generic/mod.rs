//! Commands on keys of any type, and on whole databases.

mod copy;
mod database;
mod expire;
mod migrate;
mod object;
mod payload;
mod scan;

pub(super) use expire::expire_at;
pub(super) use scan::{ScanOptions, parse_cursor};

use super::spec::{
    ALL_KEYS, ASKING, CAT_CONNECTION, CAT_DANGEROUS, CAT_KEYSPACE, Command, DENYOOM, FAST, Keys, LOADING, MOVABLE_KEYS,
    NO_KEYS, ONE_KEY, READONLY, STALE, TWO_KEYS, WRITE, command, container,
};
use super::{Context, Outcome};

const KEYSPACE: u32 = CAT_KEYSPACE;

pub const COMMANDS: &[Command] = &[
    command("del", -2, WRITE, ALL_KEYS, KEYSPACE, "1.0.0", del),
    command("unlink", -2, WRITE | FAST, ALL_KEYS, KEYSPACE, "4.0.0", del),
    command("exists", -2, READONLY | FAST, ALL_KEYS, KEYSPACE, "1.0.0", exists),
    command("touch", -2, READONLY | FAST, ALL_KEYS, KEYSPACE, "3.2.1", touch),
    command("type", 2, READONLY | FAST, ONE_KEY, KEYSPACE, "1.0.0", type_of),
    command("rename", 3, WRITE, TWO_KEYS, KEYSPACE, "1.0.0", copy::rename),
    command("renamenx", 3, WRITE | FAST, TWO_KEYS, KEYSPACE, "1.0.0", copy::renamenx),
    command("copy", -3, WRITE | DENYOOM, TWO_KEYS, KEYSPACE, "6.2.0", copy::copy),
    command("move", 3, WRITE | FAST, ONE_KEY, KEYSPACE, "1.0.0", copy::move_key),
    command("expire", -3, WRITE | FAST, ONE_KEY, KEYSPACE, "1.0.0", expire::expire),
    command("pexpire", -3, WRITE | FAST, ONE_KEY, KEYSPACE, "2.6.0", expire::pexpire),
    command("expireat", -3, WRITE | FAST, ONE_KEY, KEYSPACE, "1.2.0", expire::expireat),
    command("pexpireat", -3, WRITE | FAST, ONE_KEY, KEYSPACE, "2.6.0", expire::pexpireat),
    command("persist", 2, WRITE | FAST, ONE_KEY, KEYSPACE, "2.2.0", expire::persist),
    command("ttl", 2, READONLY | FAST, ONE_KEY, KEYSPACE, "1.0.0", expire::ttl),
    command("pttl", 2, READONLY | FAST, ONE_KEY, KEYSPACE, "2.6.0", expire::pttl),
    command("expiretime", 2, READONLY | FAST, ONE_KEY, KEYSPACE, "7.0.0", expire::expiretime),
    command("pexpiretime", 2, READONLY | FAST, ONE_KEY, KEYSPACE, "7.0.0", expire::pexpiretime),
    command("keys", 2, READONLY, NO_KEYS, KEYSPACE | CAT_DANGEROUS, "1.0.0", scan::keys),
    command("scan", -2, READONLY, NO_KEYS, KEYSPACE, "2.8.0", scan::scan),
    command("randomkey", 1, READONLY, NO_KEYS, KEYSPACE, "1.0.0", scan::randomkey),
    command("dump", 2, READONLY, ONE_KEY, KEYSPACE, "2.6.0", payload::dump),
    command("restore", -4, WRITE | DENYOOM, ONE_KEY, KEYSPACE | CAT_DANGEROUS, "2.6.0", payload::restore),
    command(
        "restore-asking",
        -4,
        WRITE | DENYOOM | ASKING,
        ONE_KEY,
        KEYSPACE | CAT_DANGEROUS,
        "3.0.0",
        payload::restore,
    ),
    command(
        "migrate",
        -6,
        WRITE | MOVABLE_KEYS,
        Keys::ShownAt(3, migrate::key_positions),
        KEYSPACE | CAT_DANGEROUS,
        "2.6.0",
        migrate::migrate,
    ),
    container("object", 0, "2.2.3", object::SUBCOMMANDS),
    command("dbsize", 1, READONLY | FAST, NO_KEYS, KEYSPACE, "1.0.0", database::dbsize),
    command("flushdb", -1, WRITE, NO_KEYS, KEYSPACE | CAT_DANGEROUS, "1.0.0", database::flushdb),
    command("flushall", -1, WRITE, NO_KEYS, KEYSPACE | CAT_DANGEROUS, "1.0.0", database::flushall),
    command("swapdb", 3, WRITE | FAST, NO_KEYS, KEYSPACE | CAT_DANGEROUS, "4.0.0", database::swapdb),
    command("select", 2, LOADING | STALE | FAST, NO_KEYS, CAT_CONNECTION, "1.0.0", database::select),
];

fn del(context: &mut Context<'_>) -> Outcome {
    let mut removed = 0;
    for key in &context.args[1..] {
        removed += usize::from(context.remove(key));
    }
    context.changed(removed);
    Ok(context.reply.count(removed))
}

fn exists(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let found = args[1..].iter().filter(|key| context.has(key)).count();
    Ok(context.reply.count(found))
}

fn touch(context: &mut Context<'_>) -> Outcome {
    let args = context.args;
    let found = args[1..].iter().filter(|key| context.value(key).is_some()).count();
    Ok(context.reply.count(found))
}

fn type_of(context: &mut Context<'_>) -> Outcome {
    let name = match context.engine.keyspace.db(context.session.db).into_value(context.args[1]) {
        None => "none".to_owned(),
        Some(crate::keyspace::View::Object(crate::value::Object::Module(module))) => module.name(),
        Some(view) => view.type_name().to_owned(),
    };
    Ok(context.reply.simple(&name))
}
