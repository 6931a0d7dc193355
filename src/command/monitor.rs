//! MONITOR: a client that sees every command.
//!
//! ```text
//! +1700000000.123456 [0 127.0.0.1:52000] "set" "key" "a value with \\"quotes\\" and \\x00"
//! ```

use crate::codec::quoted;

use super::args::is;
use super::spec::{ADMIN, Command, LOADING, NO_KEYS, NOSCRIPT, SKIP_MONITOR, STALE, command};
use super::{CommandError, Context, Outcome, table};

pub const COMMANDS: &[Command] =
    &[command("monitor", 1, ADMIN | NOSCRIPT | LOADING | STALE, NO_KEYS, 0, "1.0.0", monitor)];

fn monitor(context: &mut Context<'_>) -> Outcome {
    if context.session.denies_waiting {
        return Err(CommandError::err("MONITOR isn't allowed for DENY BLOCKING client"));
    }
    // As with the real servers, who is one already gets no reply.
    if std::mem::replace(&mut context.session.is_monitor, true) {
        return Ok(context.reply.raw(b""));
    }
    context.engine.monitors.push(context.session.id);
    Ok(context.reply.ok())
}

/// Shows a command that has run to all monitors; not one of administration, nor one that has shown itself.
pub(super) fn show(context: &mut Context<'_>, command: &Command) {
    if !command.is(SKIP_MONITOR | ADMIN) && !context.session.is_repeated {
        show_line(context, command);
    }
}

/// Shows a request that is to be seen before what it calls.
pub(super) fn show_request(context: &mut Context<'_>) {
    if context.engine.monitors.is_empty() {
        return;
    }
    if let Some(command) = table::find(context.args[0]) {
        show_line(context, command);
    }
}

fn show_line(context: &mut Context<'_>, command: &Command) {
    let now_us = context.engine.clock.now_us();
    let (seconds, micros) = (now_us / 1_000_000, now_us % 1_000_000);
    let from = if context.session.is_scripted { "lua" } else { &context.session.address };
    let mut line = format!("+{seconds}.{micros:06} [{} {from}]", context.session.db).into_bytes();
    let secrets = secrets(command, context.args);
    for (at, argument) in context.args.iter().enumerate() {
        line.push(b' ');
        quoted::push(&mut line, if secrets.contains(&at) { b"(redacted)" } else { argument });
    }
    line.extend_from_slice(b"\r\n");
    let line: std::rc::Rc<[u8]> = line.into();
    for &client in &context.engine.monitors {
        context.engine.mail.message(client, std::rc::Rc::clone(&line));
    }
}

/// Which arguments are not to be shown: names and passwords.
pub(super) fn secrets(command: &Command, arguments: &[&[u8]]) -> std::ops::Range<usize> {
    let auth = arguments.iter().position(|argument| is(argument, "AUTH"));
    match (command.name, auth) {
        ("auth", _) => 1..arguments.len(),
        ("hello", Some(at)) => at + 1..at + 3,
        _ => 0..0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::console::{Console, assert_rows_are_those_of_redis};

    #[test]
    fn the_row_is_that_of_redis() {
        assert_rows_are_those_of_redis(super::COMMANDS);
    }

    #[test]
    fn a_monitor_reads_and_writes_no_data() {
        Console::new().script(
            "monitor => +OK
             get a => -ERR Replica can't interact with the keyspace
             ping => +PONG
             reset => +RESET
             get a =>",
        );
    }
}
