//! Publish and subscribe.

use crate::codec::glob;
use crate::engine::pubsub::Kind;
use crate::resp::Reply;

use super::args;
use super::spec::{
    ALL_KEYS, CAT_PUBSUB, Command, FAST, LOADING, MAY_REPLICATE, NO_KEYS, NOSCRIPT, ONE_KEY, PUBSUB, STALE, command,
    container,
};
use super::{CommandError, Context, Outcome};

const ALWAYS: u32 = PUBSUB | LOADING | STALE;
const LISTENING: u32 = ALWAYS | NOSCRIPT;

pub const COMMANDS: &[Command] = &[
    command("subscribe", -2, LISTENING, NO_KEYS, CAT_PUBSUB, "2.0.0", subscribe),
    command("unsubscribe", -1, LISTENING, NO_KEYS, CAT_PUBSUB, "2.0.0", unsubscribe),
    command("psubscribe", -2, LISTENING, NO_KEYS, CAT_PUBSUB, "2.0.0", psubscribe),
    command("punsubscribe", -1, LISTENING, NO_KEYS, CAT_PUBSUB, "2.0.0", punsubscribe),
    command("ssubscribe", -2, LISTENING, ALL_KEYS, CAT_PUBSUB, "7.0.0", ssubscribe),
    command("sunsubscribe", -1, LISTENING, ALL_KEYS, CAT_PUBSUB, "7.0.0", sunsubscribe),
    command("publish", 3, ALWAYS | FAST | MAY_REPLICATE, NO_KEYS, CAT_PUBSUB, "2.0.0", publish),
    command("spublish", 3, ALWAYS | FAST | MAY_REPLICATE, ONE_KEY, CAT_PUBSUB, "7.0.0", spublish),
    container("pubsub", 0, "2.8.0", SUBCOMMANDS),
];

const SUBCOMMANDS: &[Command] = &[
    command("channels", -2, ALWAYS, NO_KEYS, CAT_PUBSUB, "2.8.0", channels),
    command("numsub", -2, ALWAYS, NO_KEYS, CAT_PUBSUB, "2.8.0", numsub),
    command("numpat", 2, ALWAYS, NO_KEYS, CAT_PUBSUB, "2.8.0", numpat),
    command("shardchannels", -2, ALWAYS, NO_KEYS, CAT_PUBSUB, "7.0.0", shardchannels),
    command("shardnumsub", -2, ALWAYS, NO_KEYS, CAT_PUBSUB, "7.0.0", shardnumsub),
    command("help", 2, LOADING | STALE, NO_KEYS, 0, "6.2.0", pubsub_help),
];

fn subscribe(context: &mut Context<'_>) -> Outcome {
    listen(context, Kind::Channel, "subscribe")
}

fn psubscribe(context: &mut Context<'_>) -> Outcome {
    listen(context, Kind::Pattern, "psubscribe")
}

/// Unlike the other two not inside MULTI.
fn ssubscribe(context: &mut Context<'_>) -> Outcome {
    if context.session.denies_waiting {
        return Err(CommandError::err("SSUBSCRIBE isn't allowed for a DENY BLOCKING client"));
    }
    listen(context, Kind::Shard, "ssubscribe")
}

fn unsubscribe(context: &mut Context<'_>) -> Outcome {
    stop_listening(context, Kind::Channel, "unsubscribe")
}

fn punsubscribe(context: &mut Context<'_>) -> Outcome {
    stop_listening(context, Kind::Pattern, "punsubscribe")
}

fn sunsubscribe(context: &mut Context<'_>) -> Outcome {
    stop_listening(context, Kind::Shard, "sunsubscribe")
}

/// One reply for each name.
fn listen(context: &mut Context<'_>, kind: Kind, word: &str) -> Outcome {
    let args = context.args;
    let client = context.session.id;
    context.engine.pubsub.set_protocol(client, context.session.protocol);
    let mut reply = context.reply.raw(b"");
    for name in &args[1..] {
        context.engine.pubsub.subscribe(client, kind, name);
        reply = tell(context, kind, word, Some(name));
    }
    context.session.is_subscribed = true;
    Ok(reply)
}

/// One reply for each name, or, where none is given, for each that the client has; if there is none, one that names none.
fn stop_listening(context: &mut Context<'_>, kind: Kind, word: &str) -> Outcome {
    let client = context.session.id;
    let names = match &context.args[1..] {
        [] => context.engine.pubsub.names(client, kind),
        names => names.iter().map(|name| name.to_vec()).collect(),
    };
    let mut reply = context.reply.raw(b"");
    for name in &names {
        context.engine.pubsub.unsubscribe(client, kind, name);
        reply = tell(context, kind, word, Some(name));
    }
    if names.is_empty() {
        reply = tell(context, kind, word, None);
    }
    context.session.is_subscribed = context.engine.pubsub.is_subscriber(client);
    Ok(reply)
}

/// What became of a subscription, and how many there are now: those of shards are counted apart.
fn tell(context: &mut Context<'_>, kind: Kind, word: &str, name: Option<&[u8]>) -> Reply {
    let (pubsub, client) = (&context.engine.pubsub, context.session.id);
    let count = match kind {
        Kind::Shard => pubsub.count(client, Kind::Shard),
        Kind::Channel | Kind::Pattern => pubsub.count(client, Kind::Channel) + pubsub.count(client, Kind::Pattern),
    };
    let reply = context.reply.push(3);
    context.reply.bulk(word.as_bytes());
    match name {
        Some(name) => context.reply.bulk(name),
        None => context.reply.null(),
    };
    context.reply.count(count);
    reply
}

fn publish(context: &mut Context<'_>) -> Outcome {
    send(context, false)
}

fn spublish(context: &mut Context<'_>) -> Outcome {
    send(context, true)
}

fn send(context: &mut Context<'_>, is_shard: bool) -> Outcome {
    let engine = &mut *context.engine;
    let receivers = engine.pubsub.publish(&mut engine.mail, is_shard, context.args[1], context.args[2]);
    Ok(context.reply.count(receivers))
}

fn channels(context: &mut Context<'_>) -> Outcome {
    list(context, Kind::Channel)
}

fn shardchannels(context: &mut Context<'_>) -> Outcome {
    list(context, Kind::Shard)
}

/// The names that have subscribers, those that match if there is a pattern.
fn list(context: &mut Context<'_>, kind: Kind) -> Outcome {
    let pattern = match context.args[2..] {
        [] => None,
        [pattern] => Some(pattern),
        _ => {
            let name = args::printable(context.args[1]);
            return Err(CommandError::err(format!(
                "unknown subcommand or wrong number of arguments for '{name}'. Try PUBSUB HELP."
            )));
        }
    };
    let start = context.reply.len();
    let mut count = 0;
    for (name, _) in context.engine.pubsub.subscribed(kind) {
        if pattern.is_none_or(|pattern| glob::matches(pattern, name)) {
            context.reply.bulk(name);
            count += 1;
        }
    }
    Ok(context.reply.array_since(start, count))
}

fn numsub(context: &mut Context<'_>) -> Outcome {
    count(context, Kind::Channel)
}

fn shardnumsub(context: &mut Context<'_>) -> Outcome {
    count(context, Kind::Shard)
}

/// Each name with the number of its subscribers.
fn count(context: &mut Context<'_>, kind: Kind) -> Outcome {
    let names = &context.args[2..];
    let reply = context.reply.array(names.len() * 2);
    for name in names {
        context.reply.bulk(name);
        context.reply.count(context.engine.pubsub.subscribers_of(kind, name));
    }
    Ok(reply)
}

fn numpat(context: &mut Context<'_>) -> Outcome {
    let patterns = context.engine.pubsub.subscribed(Kind::Pattern).len();
    Ok(context.reply.count(patterns))
}

fn pubsub_help(context: &mut Context<'_>) -> Outcome {
    let reply = context.reply.array(HELP.len());
    for line in HELP {
        context.reply.simple(line);
    }
    Ok(reply)
}

const HELP: &[&str] = &[
    "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
    "HELP",
    "    Print this help.",
];

#[cfg(test)]
mod tests {
    use super::super::console::assert_rows_are_those_of_redis;

    #[test]
    fn the_rows_are_those_of_redis() {
        assert_rows_are_those_of_redis(super::COMMANDS);
    }
}
