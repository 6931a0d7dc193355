//! MULTI, EXEC and WATCH.

use crate::engine::session::Transaction;

use super::spec::{
    ALL_KEYS, ALLOW_BUSY, CAT_TRANSACTION, Command, FAST, LOADING, NO_KEYS, NOSCRIPT, SKIP_SLOWLOG, STALE, command,
};
use super::{CommandError, Context, Outcome, execute};

const ALWAYS: u32 = NOSCRIPT | LOADING | STALE;

pub const COMMANDS: &[Command] = &[
    command("multi", 1, ALWAYS | FAST | ALLOW_BUSY, NO_KEYS, CAT_TRANSACTION, "1.2.0", multi),
    command("exec", 1, ALWAYS | SKIP_SLOWLOG, NO_KEYS, CAT_TRANSACTION, "1.2.0", exec),
    command("discard", 1, ALWAYS | FAST | ALLOW_BUSY, NO_KEYS, CAT_TRANSACTION, "2.0.0", discard),
    command("watch", -2, ALWAYS | FAST | ALLOW_BUSY, ALL_KEYS, CAT_TRANSACTION, "2.2.0", watch),
    command("unwatch", 1, ALWAYS | FAST | ALLOW_BUSY, NO_KEYS, CAT_TRANSACTION, "2.2.0", unwatch),
];

fn multi(context: &mut Context<'_>) -> Outcome {
    if context.session.transaction.is_some() {
        return Err(CommandError::NestedMulti);
    }
    context.session.transaction = Some(Transaction::default());
    Ok(context.reply.ok())
}

fn discard(context: &mut Context<'_>) -> Outcome {
    context.session.transaction.take().ok_or(CommandError::DiscardWithoutMulti)?;
    context.engine.watches.unwatch(context.session.id);
    Ok(context.reply.ok())
}

fn watch(context: &mut Context<'_>) -> Outcome {
    if context.session.transaction.is_some() {
        return Err(CommandError::WatchInsideMulti);
    }
    for key in &context.args[1..] {
        context.engine.watches.watch(context.session.id, context.session.db, key);
    }
    Ok(context.reply.ok())
}

fn unwatch(context: &mut Context<'_>) -> Outcome {
    context.engine.watches.unwatch(context.session.id);
    Ok(context.reply.ok())
}

/// Runs the queue. All its effects are one unit of the log, as this command's own unit is open.
fn exec(context: &mut Context<'_>) -> Outcome {
    let Some(transaction) = context.session.transaction.take() else {
        return Err(CommandError::ExecWithoutMulti);
    };
    let watched = context.engine.watches.keys(context.session.id).to_vec();
    for (db, key) in &watched {
        context.engine.expire_if_due(*db, key);
    }
    let is_touched = context.engine.watches.is_touched(context.session.id);
    context.engine.watches.unwatch(context.session.id);
    if transaction.is_aborted {
        return Err(CommandError::ExecAbort);
    }
    if is_touched {
        return Ok(context.reply.null_array());
    }
    context.session.denies_waiting = true;
    let reply = context.reply.array(transaction.queue.len());
    for request in &transaction.queue {
        let arguments: crate::resp::request::Arguments<'_> = request.iter().map(Vec::as_slice).collect();
        // It was found when it was queued, and the table does not change.
        let command = execute::find(&arguments)?;
        let mut out = Vec::new();
        execute::run(context.engine, context.session, command, &arguments, &mut out);
        context.reply.raw(&out);
        context.reply.set_protocol(context.session.protocol);
    }
    context.session.denies_waiting = false;
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::super::console::Console;
    use super::super::execute;

    /// What a reply rests on.
    fn position(console: &mut Console, line: &str) -> Option<u64> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        execute(&mut console.engine, &mut console.session, &words, &mut Vec::new())
    }

    /// Symptom: after a failed fsync of a transaction every read of every key was answered with MISCONF.
    #[test]
    fn only_readers_of_a_transactions_keys_wait_for_its_sync() {
        let mut console = Console::new();
        console.engine.unsynced.settle(0, true);
        console.script("MULTI => +OK\n SET a 1 => +QUEUED\n PING => +QUEUED\n GET other => +QUEUED");
        let end = position(&mut console, "EXEC");
        assert!(end.is_some());
        assert_eq!(position(&mut console, "GET a"), end);
        assert_eq!(position(&mut console, "GET b"), None);
        assert_eq!(position(&mut console, "DBSIZE"), end);
        console.script("MULTI => +OK\n GET b => +QUEUED");
        assert_eq!(position(&mut console, "EXEC"), None, "it has read nothing that is not synced");
        console.script("MULTI => +OK\n GET a => +QUEUED");
        assert_eq!(position(&mut console, "EXEC"), end);
        console.script("MULTI => +OK\n FLUSHDB => +QUEUED\n SET c 1 => +QUEUED");
        let flushed = position(&mut console, "EXEC");
        assert!(flushed > end);
        assert_eq!(position(&mut console, "GET b"), flushed);
    }
}
