//! The connection itself: greeting, password, farewell.

use crate::resp::{Protocol, Reply};

use super::args::{self, is};
use super::spec::{ALLOW_BUSY, CAT_CONNECTION, Command, FAST, LOADING, NO_AUTH, NO_KEYS, NOSCRIPT, STALE, command};
use super::{CommandError, Context, Outcome};

const ALWAYS: u32 = NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY;

pub const COMMANDS: &[Command] = &[
    command("ping", -1, FAST, NO_KEYS, CAT_CONNECTION, "1.0.0", ping),
    command("echo", 2, LOADING | STALE | FAST, NO_KEYS, CAT_CONNECTION, "1.0.0", echo),
    command("hello", -1, ALWAYS, NO_KEYS, CAT_CONNECTION, "6.0.0", hello),
    command("auth", -2, ALWAYS, NO_KEYS, CAT_CONNECTION, "1.0.0", auth),
    command("quit", -1, ALWAYS, NO_KEYS, CAT_CONNECTION, "1.0.0", quit),
    command("reset", 1, ALWAYS, NO_KEYS, CAT_CONNECTION, "6.2.0", reset),
];

fn ping(context: &mut Context<'_>) -> Outcome {
    let text = match context.args[1..] {
        [] => None,
        [text] => Some(text),
        _ => return Err(CommandError::WrongArity("ping".to_owned())),
    };
    // Whoever expects messages gets one.
    if context.session.is_subscribed && context.session.protocol == Protocol::Resp2 {
        let reply = context.reply.array(2);
        context.reply.bulk(b"pong");
        context.reply.bulk(text.unwrap_or_default());
        return Ok(reply);
    }
    Ok(match text {
        None => context.reply.simple("PONG"),
        Some(text) => context.reply.bulk(text),
    })
}

fn echo(context: &mut Context<'_>) -> Outcome {
    Ok(context.reply.bulk(context.args[1]))
}

fn hello(context: &mut Context<'_>) -> Outcome {
    let mut rest = &context.args[1..];
    let mut protocol = context.session.protocol;
    if let [version, tail @ ..] = rest {
        protocol = match args::int(version) {
            Ok(2) => Protocol::Resp2,
            Ok(3) => Protocol::Resp3,
            Ok(_) => return Err(CommandError::NoProto),
            Err(_) => return Err(CommandError::err("Protocol version is not an integer or out of range")),
        };
        rest = tail;
    }
    let (mut credentials, mut name) = (None, None);
    while let [option, tail @ ..] = rest {
        rest = match tail {
            [user, password, tail @ ..] if is(option, "AUTH") => {
                credentials = Some((*user, *password));
                tail
            }
            [value, tail @ ..] if is(option, "SETNAME") => {
                check_name(value)?;
                name = Some(value.to_vec());
                tail
            }
            _ => return Err(CommandError::err(format!("Syntax error in HELLO option '{}'", args::printable(option)))),
        };
    }
    if let Some((user, password)) = credentials {
        authenticate(context, user, password)?;
    }
    if !context.session.is_authenticated {
        return Err(CommandError::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        context.session.name = name;
    }
    context.session.protocol = protocol;
    if let Some(tracker) = context.engine.tracking.get_mut(context.session.id) {
        tracker.protocol = protocol;
    }
    if context.session.is_subscribed {
        context.engine.pubsub.set_protocol(context.session.id, protocol);
    }
    context.reply.set_protocol(protocol);
    Ok(greet(context, protocol))
}

fn greet(context: &mut Context<'_>, protocol: Protocol) -> Reply {
    let id = i64::try_from(context.session.id).unwrap_or(i64::MAX);
    let reply = context.reply.map(7);
    for (name, value) in [("server", "redis"), ("version", crate::engine::info::REDIS_VERSION)] {
        context.reply.bulk(name.as_bytes());
        context.reply.bulk(value.as_bytes());
    }
    context.reply.bulk(b"proto");
    context.reply.int(if protocol == Protocol::Resp3 { 3 } else { 2 });
    context.reply.bulk(b"id");
    context.reply.int(id);
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
        context.reply.bulk(name.as_bytes());
        context.reply.bulk(value.as_bytes());
    }
    context.reply.bulk(b"modules");
    context.reply.array(0);
    reply
}

/// A client's name must not break the lines of CLIENT LIST.
pub(super) fn check_name(name: &[u8]) -> Result<(), CommandError> {
    if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Ok(());
    }
    Err(CommandError::err("Client names cannot contain spaces, newlines or special characters."))
}

fn auth(context: &mut Context<'_>) -> Outcome {
    match context.args[1..] {
        [_] if context.engine.config.requirepass.is_empty() => {
            return Err(CommandError::err(
                "AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?",
            ));
        }
        [password] => authenticate(context, b"default", password)?,
        [user, password] => authenticate(context, user, password)?,
        _ => return Err(CommandError::Syntax),
    }
    Ok(context.reply.ok())
}

/// There is one user, `default`; without `requirepass` any password is his.
fn authenticate(context: &mut Context<'_>, user: &[u8], password: &[u8]) -> Result<(), CommandError> {
    let wanted = &context.engine.config.requirepass;
    if user != b"default" || !(wanted.is_empty() || equal_in_constant_time(wanted, password)) {
        return Err(CommandError::WrongPass);
    }
    context.session.is_authenticated = true;
    Ok(())
}

/// Compares without telling by its duration how much was right.
fn equal_in_constant_time(wanted: &[u8], given: &[u8]) -> bool {
    let differences = (0..wanted.len().max(given.len())).fold(0, |sum, index| {
        let pair = (wanted.get(index).copied().unwrap_or(0), given.get(index).copied().unwrap_or(0));
        sum | (pair.0 ^ pair.1)
    });
    std::hint::black_box(differences) == 0 && wanted.len() == given.len()
}

fn quit(context: &mut Context<'_>) -> Outcome {
    context.session.is_closing = true;
    Ok(context.reply.ok())
}

fn reset(context: &mut Context<'_>) -> Outcome {
    let session = &mut *context.session;
    session.transaction = None;
    session.db = 0;
    session.protocol = Protocol::Resp2;
    session.name.clear();
    session.reply_mode = crate::engine::session::ReplyMode::On;
    session.is_authenticated = context.engine.config.requirepass.is_empty();
    (session.is_subscribed, session.is_monitor, session.is_no_touch) = (false, false, false);
    context.engine.tracking.remove(session.id);
    context.engine.pubsub.remove(session.id);
    context.engine.monitors.retain(|&client| client != session.id);
    context.engine.watches.unwatch(session.id);
    context.reply.set_protocol(Protocol::Resp2);
    Ok(context.reply.simple("RESET"))
}

/// The reply of every HELP: its lines as simple strings.
pub(super) fn help(context: &mut Context<'_>, command: &str, lines: &[(&str, &str)]) -> Reply {
    let reply = context.reply.array(1 + 2 * lines.len() + 2);
    context.reply.simple(&format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (usage, text) in lines.iter().chain(&[("HELP", "Print this help.")]) {
        context.reply.simple(usage);
        context.reply.simple(&format!("    {text}"));
    }
    reply
}
