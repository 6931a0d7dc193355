//! `BACKUP CREATE | LIST | STATUS | VERIFY | CANCEL`: the catalogue from a client; and `BACKUP START | SEAL | ABORT |
//! CLEANUP`: the set of files that Redis 8.10 makes by these commands. LIST and STATUS speak of both.
//!
//! What takes time answers when the work is done, on a thread; everybody else goes on.

use crate::engine::backups::{SealedSet, SetState};
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
        command("start", 2, WORKING, NO_KEYS, CAT_ADMIN, "8.10.0", start),
        command("seal", 2, WORKING, NO_KEYS, CAT_ADMIN, "8.10.0", seal),
        command("abort", 2, WORKING, NO_KEYS, CAT_ADMIN, "8.10.0", abort),
        command("cleanup", 2, WORKING, NO_KEYS, CAT_ADMIN, "8.10.0", clean_up),
        command("help", 2, LOADING | STALE, NO_KEYS, 0, "8.10.0", help),
    ],
)];

fn help(context: &mut Context<'_>) -> Outcome {
    Ok(super::connection::help(
        context,
        "BACKUP",
        &[
            ("CREATE [LABEL <name>]", "Make a backup in the catalogue, read it back, and return its id."),
            ("LIST", "Return the backups of the catalogue, then the paths of the files of a sealed set."),
            ("STATUS", "Return the state of the catalogue, of the archive and of the sealed set."),
            (
                "VERIFY <id>|latest [QUICK|RESTORE]",
                "Read a backup back from where it is kept; QUICK compares its bytes only.",
            ),
            ("CANCEL", "Give up the backup that is being made."),
            ("START", "Begin a set: a snapshot, and the log from there on."),
            ("SEAL", "End the set; its files do not change any more."),
            ("ABORT", "Give the set up and remove its files."),
            ("CLEANUP", "Remove the files of a sealed set."),
        ],
    ))
}

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
    work_on_catalogue(context, BackupWork::Create { label })
}

/// `BACKUP LIST`: of each backup in the catalogue, from the oldest to the newest, fields and values; then the paths of the
/// set's files that do not change any more. Without `backup-repo` that is the reply of Redis 8.10: the paths alone.
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
    work_on_catalogue(context, BackupWork::Verify { id, is_quick })
}

fn work_on_catalogue(context: &mut Context<'_>, wanted: BackupWork) -> Outcome {
    if context.engine.config.backup_repo.is_empty() {
        return Err(CommandError::err("No backup-repo is configured"));
    }
    work(context, wanted)
}

/// Leaves the work to the server, which replies when it is done.
fn work(context: &mut Context<'_>, work: BackupWork) -> Outcome {
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

/// `BACKUP START`: OK, when the set's folder is ready; the snapshot is written from then on, and STATUS says how far it is.
fn start(context: &mut Context<'_>) -> Outcome {
    let (now_ms, dir) = (context.engine.clock.now_ms(), context.engine.config.dir.clone());
    let set = &mut context.engine.backups.set;
    match set.state {
        SetState::Sealed => return refuse("A sealed backup is here: BACKUP CLEANUP removes it"),
        SetState::Idle | SetState::Failed if set.is_busy => {
            return refuse("The files of the backup before are still being removed");
        }
        SetState::Idle | SetState::Failed => {}
        _ => return refuse("A backup is already in progress"),
    }
    let (number, has_leftovers) = (set.number + 1, set.has_leftovers);
    *set = SealedSet {
        state: SetState::Pending,
        dir,
        started_ms: now_ms,
        number,
        has_leftovers,
        is_busy: true,
        ..Default::default()
    };
    work(context, BackupWork::StartSet)
}

/// `BACKUP SEAL`: OK, when the set is durable: all that was acknowledged before is in it.
fn seal(context: &mut Context<'_>) -> Outcome {
    let set = &mut context.engine.backups.set;
    if set.state != SetState::Incrementing {
        let state = set.state.word();
        return Err(CommandError::err(format!(
            "BACKUP SEAL is for a backup that is incrementing, and this one is {state}"
        )));
    }
    if set.is_busy {
        return refuse("The backup is already being sealed");
    }
    set.is_busy = true;
    work(context, BackupWork::SealSet)
}

/// `BACKUP ABORT`: OK, when the files of a set that is not sealed are gone.
fn abort(context: &mut Context<'_>) -> Outcome {
    let set = &mut context.engine.backups.set;
    if !set.state.is_under_way() {
        return refuse("No backup is in progress that could be aborted");
    }
    (set.state, set.error) = (SetState::Failed, "aborted by BACKUP ABORT".to_owned());
    if let Some(base) = &set.base {
        base.cancel();
    }
    work(context, BackupWork::AbortSet)
}

/// `BACKUP CLEANUP`: OK, when the files of a sealed or failed set are gone.
fn clean_up(context: &mut Context<'_>) -> Outcome {
    let set = &mut context.engine.backups.set;
    if !matches!(set.state, SetState::Sealed | SetState::Failed) {
        return refuse("There is no sealed or failed backup");
    }
    if set.is_busy {
        return refuse("The files of the backup are already being removed");
    }
    set.is_busy = true;
    work(context, BackupWork::CleanUpSet)
}

fn refuse(text: &'static str) -> Outcome {
    Err(CommandError::err(text))
}

/// `BACKUP STATUS`: the fields of Redis 8.10 (`state`, `error`, and in Unix seconds `start_time` and `end_time`), which speak
/// of the set; then the fields that INFO tells of the catalogue.
fn status(context: &mut Context<'_>) -> Outcome {
    let set = &context.engine.backups.set;
    let of_set = [
        ("state", set.state.word().to_owned()),
        ("error", set.error.clone()),
        ("start_time", (set.started_ms / 1000).to_string()),
        ("end_time", (set.sealed_ms / 1000).to_string()),
    ];
    let of_catalogue = super::info::backup_fields(context.engine);
    let reply = context.reply.map(of_set.len() + of_catalogue.len());
    for (name, value) in of_set.iter().chain(&of_catalogue) {
        context.reply.bulk(name.as_bytes());
        context.reply.bulk(value.as_bytes());
    }
    Ok(reply)
}
