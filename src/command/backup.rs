//! `BACKUP CREATE | LIST | STATUS | VERIFY | CANCEL`: the catalogue from a client.
//!
//! CREATE, LIST and VERIFY answer when the work is done, on a thread; everybody else goes on.

use crate::engine::jobs::{BackupWork, Job};

use super::args::is;
use super::spec::{ADMIN, CAT_ADMIN, Command, LOADING, NO_KEYS, NO_MULTI, NOSCRIPT, STALE, command, container};
use super::{CommandError, Context, Outcome};

const WORKING: u32 = ADMIN | NOSCRIPT | NO_MULTI;
const TELLING: u32 = ADMIN | NOSCRIPT | LOADING | STALE;

pub const COMMANDS: &[Command] = &[container(
    "backup",
    0,
    "8.10.0",
    &[
        command("create", -2, WORKING, NO_KEYS, CAT_ADMIN, "8.10.0", create),
        command("list", 2, WORKING, NO_KEYS, CAT_ADMIN, "8.10.0", list),
        command("status", 2, TELLING, NO_KEYS, CAT_ADMIN, "8.10.0", status),
        command("verify", -3, WORKING, NO_KEYS, CAT_ADMIN, "8.10.0", verify),
        command("cancel", 2, TELLING, NO_KEYS, CAT_ADMIN, "8.10.0", cancel),
    ],
)];

/// `BACKUP CREATE [LABEL name]`: the name of the backup, when it is durable and has been read back.
fn create(context: &mut Context<'_>) -> Outcome {
    let label = match context.args[2..] {
        [] => None,
        [option, label] if is(option, "LABEL") => Some(String::from_utf8_lossy(label).into_owned()),
        _ => return Err(CommandError::Syntax),
    };
    let is_create = |job: &Job| matches!(job, Job::Backup { work: BackupWork::Create { .. }, .. });
    if context.engine.backups.under_way.is_some() || context.engine.jobs.iter().any(is_create) {
        return Err(CommandError::err("A backup is already in progress"));
    }
    work(context, BackupWork::Create { label })
}

/// `BACKUP LIST`: of each backup, from the oldest to the newest, fields and values.
fn list(context: &mut Context<'_>) -> Outcome {
    work(context, BackupWork::List)
}

/// `BACKUP VERIFY id|latest [QUICK|RESTORE]`: OK, where it is what was written.
fn verify(context: &mut Context<'_>) -> Outcome {
    let is_quick = match context.args[3..] {
        [] => false,
        [level] if is(level, "RESTORE") => false,
        [level] if is(level, "QUICK") => true,
        _ => return Err(CommandError::Syntax),
    };
    if context.engine.backups.is_verifying {
        return Err(CommandError::err("A backup is already being verified"));
    }
    let id = String::from_utf8_lossy(context.args[2]).into_owned();
    work(context, BackupWork::Verify { id, is_quick })
}

/// Leaves the work to the server, which replies when it is done.
fn work(context: &mut Context<'_>, work: BackupWork) -> Outcome {
    if context.engine.config.backup_repo.is_empty() {
        return Err(CommandError::err("No backup-repo is configured"));
    }
    context.session.awaits_reply = true;
    context.engine.jobs.push(Job::Backup { client: context.session.id, work });
    Ok(context.reply.raw(b""))
}

/// `BACKUP CANCEL`
fn cancel(context: &mut Context<'_>) -> Outcome {
    match &context.engine.backups.under_way {
        Some(progress) if progress.cancel() => Ok(context.reply.simple("Backup cancelled")),
        _ => Err(CommandError::err("No backup is in progress, or it is too late to cancel it")),
    }
}

/// `BACKUP STATUS`: fields and values, as INFO tells them.
fn status(context: &mut Context<'_>) -> Outcome {
    let fields = super::info::backup_fields(context.engine);
    let reply = context.reply.map(fields.len());
    for (name, value) in &fields {
        context.reply.bulk(name.as_bytes());
        context.reply.bulk(value.as_bytes());
    }
    Ok(reply)
}
