//! Running a script or function as one command: what is checked first, and what becomes of its end.

use crate::engine::Engine;
use crate::engine::evict::Room;
use crate::engine::jobs::Job;
use crate::engine::scripts::{Digest, Running};
use crate::lua::shebang::Flags;
use crate::lua::{Failure, Kind, LogLevel};
use crate::resp::Reply;

use super::super::spec::READONLY;
use super::super::{CommandError, Context, Outcome, args, execute, monitor, table};
use super::host::{Rules, ScriptHost};

/// How many of the arguments behind their number are keys; `not_integer` is for a number that is none.
pub(in super::super) fn count_keys(context: &Context<'_>, not_integer: CommandError) -> Result<usize, CommandError> {
    let count = args::int(context.args[2]).map_err(|_| not_integer)?;
    let count = usize::try_from(count).map_err(|_| CommandError::err("Number of keys can't be negative"))?;
    if count > context.args.len() - 3 {
        return Err(CommandError::err("Number of keys can't be greater than number of args"));
    }
    Ok(count)
}

/// Runs a script that is there.
pub(super) fn script(context: &mut Context<'_>, digest: &Digest, keys: usize) -> Outcome {
    let flags = context.engine.scripts.find(digest).and_then(|script| script.flags);
    let rules = rules(context, flags)?;
    // It is shown before what it calls.
    monitor::show_request(context);
    run(context, Kind::Scripts, (super::text(digest), keys), rules)
}

/// What a script may do now, if it may run at all. Without flags every command is looked at by itself.
pub(in super::super) fn rules(context: &mut Context<'_>, flags: Option<Flags>) -> Result<Rules, CommandError> {
    let is_read_only_command = table::find(context.args[0]).is_some_and(|row| row.is(READONLY));
    let engine = &mut *context.engine;
    let is_full = is_full(engine);
    let Some(flags) = flags else { return Ok(Rules { is_read_only: is_read_only_command, is_full }) };
    if !flags.has(Flags::NO_WRITES) {
        check_disk(engine)?;
        if is_read_only_command {
            return Err(CommandError::err("Can not execute a script with write flag using *_ro command."));
        }
    }
    let is_full = is_full && !flags.has(Flags::ALLOW_OOM);
    if is_full && !flags.has(Flags::NO_WRITES) {
        return Err(CommandError::ScriptOutOfMemory);
    }
    Ok(Rules { is_read_only: is_read_only_command || flags.has(Flags::NO_WRITES), is_full })
}

/// Whether there is no room for more data, and none can be made.
pub(in super::super) fn is_full(engine: &mut Engine) -> bool {
    engine.config.maxmemory > 0 && engine.make_room() == Room::None
}

fn check_disk(engine: &Engine) -> Result<(), CommandError> {
    execute::check_disk(engine).map_err(|error| match error {
        CommandError::LogFailed(reason) => CommandError::ScriptLogFailed(reason),
        CommandError::SaveFailed => CommandError::ScriptSaveFailed,
        other => other,
    })
}

/// Runs what is compiled under a name, with so many keys among the request's arguments.
pub(in super::super) fn run(
    context: &mut Context<'_>,
    kind: Kind,
    (name, keys): (&str, usize),
    rules: Rules,
) -> Outcome {
    let interpreter = context.engine.scripts.lend(kind).map_err(CommandError::err)?;
    context.engine.scripts.running = Some(Running {
        name: name.to_owned(),
        is_function: kind == Kind::Functions,
        command: Vec::new(),
        since: context.engine.clock.stopwatch(),
        has_written: false,
        end: None,
        is_long: false,
    });
    let (keys, arguments) = context.args[3..].split_at(keys);
    let mut host = ScriptHost::new(context.engine, context.session, context.args, rules);
    let outcome = interpreter.run(name, (keys, arguments), &mut host, &mut context.reply);
    drop(host);
    context.engine.scripts.running = None;
    context.engine.scripts.give_back(kind, interpreter);
    Ok(outcome.unwrap_or_else(|failure| fail(context, &failure)))
}

/// The reply of a script that has failed.
fn fail(context: &mut Context<'_>, failure: &Failure) -> Reply {
    if !failure.is_counted {
        context.engine.stats.count_error(&String::from_utf8_lossy(&failure.text));
    }
    if let Some(row) = table::find(context.args[0]) {
        context.engine.stats.calls.of_mut(row).failed += 1;
    }
    context.reply.error(&failure.text)
}

/// SCRIPT KILL and FUNCTION KILL.
pub(in super::super) fn kill(context: &mut Context<'_>, ends_function: bool) -> Outcome {
    let Some(running) = &mut context.engine.scripts.running else {
        return Err(CommandError::NotBusy);
    };
    if running.has_written {
        return Err(CommandError::Unkillable);
    }
    if running.is_function != ends_function {
        return Err(execute::busy(context.engine));
    }
    // Redis says so of functions, too.
    running.end = Some("ERR Script killed by user with SCRIPT KILL...");
    let text = "Lua script killed by user with SCRIPT KILL.".to_owned();
    context.engine.jobs.push(Job::Log(LogLevel::Notice, text));
    Ok(context.reply.ok())
}

/// Ends the script, as the server is to end; not one that has written: half of it is not to be logged.
pub(in super::super) fn end_for_shutdown(engine: &mut Engine) {
    if let Some(running) = engine.scripts.running.as_mut().filter(|running| !running.has_written) {
        running.end = Some("ERR Script killed by user with SHUTDOWN NOSAVE...");
    }
}
