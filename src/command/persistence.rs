//! Saving, the log, and the end.
//!
//! These handlers leave intents; `persist` carries them out. SAVE answers when the work is done, and so does its client's next
//! command; everybody else goes on.

use crate::engine::jobs::{Job, Shutdown, SyncWait};
use crate::engine::persistence::Progress;
use crate::engine::wait::Awaited;

use super::args::{self, is};
use super::spec::{
    ADMIN, ALLOW_BUSY, BLOCKING, CAT_ADMIN, CAT_BLOCKING, CAT_CONNECTION, CAT_DANGEROUS, Command, FAST, LOADING,
    NO_ASYNC_LOADING, NO_KEYS, NO_MULTI, NOSCRIPT, STALE, command,
};
use super::waiting::{self, Wait};
use super::{CommandError, Context, Outcome};

const SAVING: u32 = ADMIN | NOSCRIPT | NO_ASYNC_LOADING;

pub const COMMANDS: &[Command] = &[
    command("save", 1, SAVING | NO_MULTI, NO_KEYS, CAT_ADMIN, "1.0.0", save),
    command("bgsave", -1, SAVING, NO_KEYS, CAT_ADMIN, "1.0.0", bgsave),
    command("bgrewriteaof", 1, SAVING, NO_KEYS, CAT_ADMIN, "1.0.0", bgrewriteaof),
    command("lastsave", 1, LOADING | STALE | FAST, NO_KEYS, CAT_ADMIN | CAT_DANGEROUS, "1.0.0", lastsave),
    command(
        "shutdown",
        -1,
        ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY,
        NO_KEYS,
        CAT_ADMIN,
        "1.0.0",
        shutdown,
    ),
    command("wait", 3, BLOCKING, NO_KEYS, CAT_BLOCKING | CAT_CONNECTION, "3.0.0", wait),
    command("waitaof", 4, BLOCKING, NO_KEYS, CAT_BLOCKING | CAT_CONNECTION, "7.2.0", waitaof),
];

fn save(context: &mut Context<'_>) -> Outcome {
    if is_saving(context) {
        return Err(CommandError::SaveInProgress);
    }
    context.session.awaits_reply = true;
    context.engine.jobs.push(Job::Save { client: context.session.id });
    Ok(context.reply.raw(b""))
}

/// Whether a save is under way, or was asked for in this turn.
fn is_saving(context: &Context<'_>) -> bool {
    let is_save = |job: &Job| matches!(job, Job::BackgroundSave | Job::Save { .. });
    context.engine.persistence.save.is_some() || context.engine.jobs.iter().any(is_save)
}

fn bgsave(context: &mut Context<'_>) -> Outcome {
    let is_scheduled = match context.args[1..] {
        [] => false,
        [option] if is(option, "SCHEDULE") => true,
        [option] if is(option, "CANCEL") => return cancel(context),
        _ => return Err(CommandError::Syntax),
    };
    if context.session.denies_waiting && context.engine.persistence.save.is_none() {
        schedule(context, Job::BackgroundSave);
        return Ok(context.reply.simple("Background saving scheduled"));
    }
    if is_saving(context) {
        return Err(CommandError::SaveInProgress);
    }
    let persistence = &mut context.engine.persistence;
    if persistence.rewrite.is_some() {
        if !is_scheduled {
            return Err(CommandError::RewriteInProgress);
        }
        persistence.save_scheduled = true;
        return Ok(context.reply.simple("Background saving scheduled"));
    }
    context.engine.jobs.push(Job::BackgroundSave);
    Ok(context.reply.simple("Background saving started"))
}

fn cancel(context: &mut Context<'_>) -> Outcome {
    let asked_for = context.engine.jobs.iter().position(|job| *job == Job::BackgroundSave);
    if let Some(index) = asked_for {
        context.engine.jobs.remove(index);
        return Ok(context.reply.simple("Background saving cancelled"));
    }
    let persistence = &mut context.engine.persistence;
    if persistence.save.as_ref().is_some_and(Progress::cancel) {
        return Ok(context.reply.simple("Background saving cancelled"));
    }
    if std::mem::take(&mut persistence.save_scheduled) {
        return Ok(context.reply.simple("Scheduled background saving cancelled"));
    }
    Err(CommandError::err("Background saving is currently not in progress or scheduled"))
}

fn bgrewriteaof(context: &mut Context<'_>) -> Outcome {
    let persistence = &mut context.engine.persistence;
    if persistence.rewrite.is_some() {
        return Err(CommandError::RewriteAlreadyInProgress);
    }
    if persistence.save.is_some() {
        persistence.rewrite_scheduled = true;
        return Ok(context.reply.simple("Background append only file rewriting scheduled"));
    }
    if context.session.denies_waiting {
        schedule(context, Job::RewriteLog);
        return Ok(context.reply.simple("Background append only file rewriting scheduled"));
    }
    context.engine.jobs.push(Job::RewriteLog);
    Ok(context.reply.simple("Background append only file rewriting started"))
}

/// For a transaction: the work begins when it has ended, once, however often it was asked for.
fn schedule(context: &mut Context<'_>, job: Job) {
    if !context.engine.jobs.contains(&job) {
        context.engine.jobs.push(job);
    }
}

fn lastsave(context: &mut Context<'_>) -> Outcome {
    let last_save = context.engine.persistence.last_save;
    Ok(context.reply.int(last_save))
}

/// The reply comes only if the shutdown is refused: the server writes it then.
fn shutdown(context: &mut Context<'_>) -> Outcome {
    let mut wanted = Shutdown { client: Some(context.session.id), ..Shutdown::default() };
    for option in &context.args[1..] {
        match option {
            option if is(option, "NOSAVE") && wanted.save.is_none() => wanted.save = Some(false),
            option if is(option, "SAVE") && wanted.save.is_none() => wanted.save = Some(true),
            option if is(option, "NOW") => {}
            option if is(option, "FORCE") => wanted.force = true,
            option if is(option, "ABORT") && context.args.len() == 2 => {
                return Err(CommandError::err("No shutdown in progress."));
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    if context.engine.persistence.is_loading {
        wanted.save = Some(false);
    }
    if context.engine.scripts.running.is_some() {
        if wanted.save != Some(false) {
            return Err(super::execute::busy(context.engine));
        }
        super::scripting::run::end_for_shutdown(context.engine);
    }
    context.engine.jobs.push(Job::Shutdown(wanted));
    Ok(context.reply.raw(b""))
}

/// Waits for replicas to have the client's writes. Nothing replicates, so that more than none is waited for in vain.
fn wait(context: &mut Context<'_>) -> Outcome {
    let replicas = args::int(context.args[1])?;
    let timeout = waiting::milliseconds(context.args[2], context.now_ms())?;
    if replicas <= 0 || !context.may_wait() {
        return Ok(context.reply.int(0));
    }
    Ok(context.wait_for(Wait::new(&[], Awaited::Replicas, timeout)))
}

/// Waits until all that was logged up to the client's last command is on the disk. Nothing replicates, so there are no replicas
/// to wait for but those that never come. The server writes the reply, where it comes later.
fn waitaof(context: &mut Context<'_>) -> Outcome {
    let wants_local = match args::int(context.args[1])? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::err("value is out of range, value must between 0 and 1")),
    };
    let replicas = args::count(context.args[2])?;
    let timeout = waiting::milliseconds(context.args[3], context.now_ms())?;
    let is_on = context.engine.journal.is_on();
    if wants_local && !is_on {
        return Err(CommandError::NoLogToWaitFor);
    }
    let position = context.session.log_end;
    let is_durable = is_on && context.engine.persistence.log_synced >= position;
    if context.session.denies_waiting || (is_durable >= wants_local && replicas == 0) {
        let reply = context.reply.array(2);
        context.reply.int(i64::from(is_durable));
        context.reply.int(0);
        return Ok(reply);
    }
    context.session.awaits_reply = true;
    let client = context.session.id;
    context.engine.jobs.push(Job::AwaitSync(SyncWait { client, position, wants_local, replicas, timeout }));
    Ok(context.reply.raw(b""))
}
