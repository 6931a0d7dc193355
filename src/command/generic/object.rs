//! OBJECT: how a key is kept.

use super::super::spec::{CAT_KEYSPACE, Command, Keys, LOADING, NO_KEYS, READONLY, STALE, command};

use super::super::{CommandError, Context, Outcome};

const KEY: Keys = Keys::Range { first: 2, last: 2, step: 1 };

pub(super) const SUBCOMMANDS: &[Command] = &[
    command("encoding", 3, READONLY, KEY, CAT_KEYSPACE, "2.2.3", encoding),
    command("refcount", 3, READONLY, KEY, CAT_KEYSPACE, "2.2.3", refcount),
    command("idletime", 3, READONLY, KEY, CAT_KEYSPACE, "2.2.3", idletime),
    command("freq", 3, READONLY, KEY, CAT_KEYSPACE, "4.0.0", freq),
    command("help", 2, LOADING | STALE, NO_KEYS, CAT_KEYSPACE, "6.2.0", help),
];

fn encoding(context: &mut Context<'_>) -> Outcome {
    match context.engine.keyspace.db(context.session.db).into_value(context.args[2]).map(|view| view.encoding()) {
        Some(encoding) => Ok(context.reply.bulk(encoding.as_bytes())),
        None => Ok(context.reply.null()),
    }
}

/// Values are never shared between keys here.
fn refcount(context: &mut Context<'_>) -> Outcome {
    let exists = context.engine.keyspace.db(context.session.db).contains(context.args[2]);
    Ok(if exists { context.reply.int(1) } else { context.reply.null() })
}

fn idletime(context: &mut Context<'_>) -> Outcome {
    let access = context.engine.keyspace.db(context.session.db).entry(context.args[2]).map(|entry| entry.access);
    let Some(access) = access else { return Ok(context.reply.null()) };
    if context.engine.keyspace.access.is_frequency() {
        return Err(CommandError::err(
            "An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between \
             policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    Ok(context.reply.int(i64::from(context.engine.keyspace.access.idle_seconds(access))))
}

fn freq(context: &mut Context<'_>) -> Outcome {
    let access = context.engine.keyspace.db(context.session.db).entry(context.args[2]).map(|entry| entry.access);
    let Some(access) = access else { return Ok(context.reply.null()) };
    if !context.engine.keyspace.access.is_frequency() {
        return Err(CommandError::err(
            "An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    Ok(context.reply.int(i64::from(context.engine.keyspace.access.frequency(access))))
}

fn help(context: &mut Context<'_>) -> Outcome {
    Ok(super::super::connection::help(
        context,
        "OBJECT",
        &[
            (
                "ENCODING <key>",
                "Return the kind of internal representation used in order to store the value associated with a <key>.",
            ),
            (
                "FREQ <key>",
                "Return the access frequency index of the <key>. The returned integer is proportional to the logarithm of the recent access frequency of the key.",
            ),
            (
                "IDLETIME <key>",
                "Return the idle time of the <key>, that is the approximated number of seconds elapsed since the last access to the key.",
            ),
            ("REFCOUNT <key>", "Return the number of references of the value associated with the specified <key>."),
        ],
    ))
}
