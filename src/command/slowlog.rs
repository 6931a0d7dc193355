//! SLOWLOG, and COMMANDLOG as Valkey has it beside: the last commands that took long, or were large.

use crate::engine::commandlog::Reason;

use super::acl::unknown_or_wrong;
use super::args::{self, is};
use super::connection::help;
use super::spec::{ADMIN, CAT_ADMIN, CAT_DANGEROUS, Command, LOADING, NO_KEYS, STALE, command, container};
use super::{CommandError, Context, Outcome};

const ALWAYS: u32 = LOADING | STALE;
const CAT_ADMINS: u32 = CAT_ADMIN | CAT_DANGEROUS;
/// Entries that SLOWLOG GET shows by default.
const SHOWN: usize = 10;

pub const COMMANDS: &[Command] =
    &[container("slowlog", 0, "2.2.12", SLOWLOG), container("commandlog", 0, "8.1.0", COMMANDLOG)];

const SLOWLOG: &[Command] = &[
    command("get", -2, ADMIN | ALWAYS, NO_KEYS, CAT_ADMINS, "2.2.12", slowlog_get),
    command("len", 2, ADMIN | ALWAYS, NO_KEYS, CAT_ADMINS, "2.2.12", slowlog_len),
    command("reset", 2, ADMIN | ALWAYS, NO_KEYS, CAT_ADMINS, "2.2.12", slowlog_reset),
    command("help", 2, ALWAYS, NO_KEYS, 0, "6.2.0", slowlog_help),
];

const COMMANDLOG: &[Command] = &[
    command("get", 4, ADMIN | ALWAYS, NO_KEYS, CAT_ADMINS, "8.1.0", commandlog_get),
    command("len", 3, ADMIN | ALWAYS, NO_KEYS, CAT_ADMINS, "8.1.0", commandlog_len),
    command("reset", 3, ADMIN | ALWAYS, NO_KEYS, CAT_ADMINS, "8.1.0", commandlog_reset),
    command("help", 2, ALWAYS, NO_KEYS, 0, "8.1.0", commandlog_help),
];

fn slowlog_get(context: &mut Context<'_>) -> Outcome {
    let count = match context.args[2..] {
        [] => SHOWN,
        [count] => parse_count(count)?,
        _ => return Err(unknown_or_wrong(context.args[1], "SLOWLOG")),
    };
    Ok(show(context, Reason::Slow, count))
}

fn commandlog_get(context: &mut Context<'_>) -> Outcome {
    let count = parse_count(context.args[2])?;
    let reason = parse_reason(context.args[3])?;
    Ok(show(context, reason, count))
}

/// -1 is all.
fn parse_count(argument: &[u8]) -> Result<usize, CommandError> {
    match args::int(argument) {
        Ok(-1) => Some(usize::MAX),
        Ok(count) => usize::try_from(count).ok(),
        Err(_) => None,
    }
    .ok_or_else(|| CommandError::err("count should be greater than or equal to -1"))
}

fn parse_reason(argument: &[u8]) -> Result<Reason, CommandError> {
    let reasons =
        [("slow", Reason::Slow), ("large-request", Reason::LargeRequest), ("large-reply", Reason::LargeReply)];
    let found = reasons.into_iter().find(|(name, _)| is(argument, name));
    let unknown = || CommandError::err("type should be one of the following: slow, large-request, large-reply");
    found.map(|(_, reason)| reason).ok_or_else(unknown)
}

/// Each entry in its six parts: id, Unix seconds, microseconds or bytes, arguments, address, name.
fn show(context: &mut Context<'_>, reason: Reason, count: usize) -> crate::resp::Reply {
    let entries = context.engine.command_log.entries(reason);
    let reply = context.reply.array(entries.len().min(count));
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    for entry in entries.take(count) {
        context.reply.array(6);
        context.reply.int(number(entry.id));
        context.reply.int(entry.unix_seconds);
        context.reply.int(number(entry.value));
        context.reply.array(entry.arguments.len());
        for argument in &entry.arguments {
            context.reply.bulk(argument);
        }
        context.reply.bulk(entry.address.as_bytes());
        context.reply.bulk(&entry.name);
    }
    reply
}

fn slowlog_len(context: &mut Context<'_>) -> Outcome {
    let len = context.engine.command_log.entries(Reason::Slow).len();
    Ok(context.reply.count(len))
}

fn commandlog_len(context: &mut Context<'_>) -> Outcome {
    let len = context.engine.command_log.entries(parse_reason(context.args[2])?).len();
    Ok(context.reply.count(len))
}

fn slowlog_reset(context: &mut Context<'_>) -> Outcome {
    context.engine.command_log.reset(Reason::Slow);
    Ok(context.reply.ok())
}

fn commandlog_reset(context: &mut Context<'_>) -> Outcome {
    context.engine.command_log.reset(parse_reason(context.args[2])?);
    Ok(context.reply.ok())
}

fn slowlog_help(context: &mut Context<'_>) -> Outcome {
    Ok(help(
        context,
        "SLOWLOG",
        &[
            ("GET [<count>]", "Return the newest entries, 10 by default, -1 for all of them."),
            ("LEN", "Return the length of the slowlog."),
            ("RESET", "Reset the slowlog."),
        ],
    ))
}

fn commandlog_help(context: &mut Context<'_>) -> Outcome {
    Ok(help(
        context,
        "COMMANDLOG",
        &[
            ("GET <count> <type>", "Return the newest entries of <type>: slow, large-request or large-reply."),
            ("LEN <type>", "Return how many entries of <type> there are."),
            ("RESET <type>", "Forget the entries of <type>."),
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::super::console::{Console, assert_rows_are_those_of_redis};

    #[test]
    fn the_rows_are_those_of_redis() {
        assert_rows_are_those_of_redis(super::COMMANDS);
    }

    /// By the clock of these tests nothing takes any time.
    #[test]
    fn what_is_over_a_limit_is_kept_and_nothing_else() {
        let mut console = Console::new();
        console.script(
            "set a 1 => +OK
             slowlog len => :0
             config set slowlog-log-slower-than 0 slowlog-max-len 2 => +OK
             auth default geheim => +OK
             get nosuch => _
             slowlog get 1 => *1 *6 :2 :1000000000 :0 *2 get nosuch",
        );
        let all = console.run("slowlog get -1");
        assert!(all.starts_with("*2 ") && !all.contains("geheim"), "{all}");
        console.script(
            "config set slowlog-log-slower-than -1 commandlog-request-larger-than 57 commandlog-reply-larger-than 30 => +OK
             commandlog reset slow => +OK
             commandlog reset large-request => +OK
             slowlog len => :0
             set abc 123456789012345678901234567890 => +OK
             get abc => 123456789012345678901234567890
             ping => +PONG
             commandlog get -1 large-reply => *1 *6 :0 :1000000000 :37 *2 get abc
             commandlog get -1 large-request => *1 *6 :1 :1000000000 :59 *3 set abc 123456789012345678901234567890",
        );
    }
}
