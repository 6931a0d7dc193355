//! The one path from a request to its effects and its reply.

use crate::engine::evict::Room;
use crate::engine::{Engine, Session};
use crate::resp::request::Arguments;
use crate::resp::{Encoder, Protocol};
use smallvec::SmallVec;

use super::events::Before;
use super::observe::{self, Ran};
use super::spec::{
    ALLOW_BUSY, CAT_SCRIPTING, DENYOOM, LOADING, MAY_REPLICATE, NO_AUTH, NO_MANDATORY_KEYS, NO_MULTI, PROTECTED,
    READONLY, WRITE,
};
use super::{Command, CommandError, Context, Outcome, args, changed, debug, server_cmd, table, tracking, waiting};

/// Executes one request of a client and appends the reply to `out`.
///
/// Inside MULTI it is queued instead. The effects are in the engine's journal when this returns. Returns the position
/// that the reply rests on, if it rests on any: it must not leave before the log has reached that.
pub fn execute(engine: &mut Engine, session: &mut Session, arguments: &[&[u8]], out: &mut Vec<u8>) -> Option<u64> {
    execute_what(engine, session, find(arguments), arguments, out)
}

/// As [`execute`], for a command that [`find_plain`] has found.
pub fn execute_found(
    engine: &mut Engine,
    session: &mut Session,
    command: &'static Command,
    arguments: &[&[u8]],
    out: &mut Vec<u8>,
) -> Option<u64> {
    execute_what(engine, session, Ok(command), arguments, out)
}

#[inline]
fn execute_what(
    engine: &mut Engine,
    session: &mut Session,
    found: Result<&'static Command, CommandError>,
    arguments: &[&[u8]],
    out: &mut Vec<u8>,
) -> Option<u64> {
    engine.stats.commands_processed += 1;
    session.last_command_ms = engine.clock.now_ms();
    engine.keyspace.access.set(engine.clock.now_ms());
    let start = out.len();
    let checked = found.and_then(|command| {
        let outcome = check(engine, session, command, arguments);
        if outcome.is_err() {
            engine.stats.calls.of_mut(command).rejected += 1;
        }
        outcome.map(|()| command)
    });
    let mut reply = Encoder::new(out, session.protocol);
    let mut rests_on = None;
    match checked {
        Err(error) => {
            let mut text = error.to_string();
            if matches!(error, CommandError::WrongArity(_)) && args::is(arguments[0], "EXEC") {
                session.transaction = None;
                engine.watches.unwatch(session.id);
                let reason = text.strip_prefix("ERR ").unwrap_or(&text).to_owned();
                text = CommandError::ExecRefused(reason).to_string();
            } else if let Some(transaction) = &mut session.transaction {
                transaction.is_aborted = true;
            }
            engine.stats.count_error(&text);
            reply.error(text.as_bytes());
        }
        Ok(command) if is_queued(session, command) => {
            enqueue(session, command, arguments);
            reply.simple("QUEUED");
        }
        Ok(command) => {
            session.last_command = command.name;
            rests_on = run_unit(engine, session, command, arguments, out);
            tracking::end_cue(engine, session, arguments);
            session.log_end = engine.journal.end();
        }
    }
    apply_reply_mode(session, out, start);
    if engine.waiters.has_ready() {
        waiting::serve_ready(engine);
    }
    rests_on
}

fn enqueue(session: &mut Session, command: &Command, arguments: &[&[u8]]) {
    let copy = arguments.iter().map(|argument| argument.to_vec()).collect();
    let transaction = session.transaction.get_or_insert_default();
    transaction.queue.push(copy);
    transaction.takes_memory |= command.is(DENYOOM);
    transaction.writes |= command.is(WRITE);
    transaction.is_replicated |= command.is(WRITE | MAY_REPLICATE);
}

/// Executes a request in the middle of another client's script: what may end that, and what touches no data. All else is
/// refused. The reply rests on nothing.
pub fn execute_while_busy(engine: &mut Engine, session: &mut Session, arguments: &[&[u8]], out: &mut Vec<u8>) {
    engine.stats.commands_processed += 1;
    session.last_command_ms = engine.clock.now_ms();
    let found = find(arguments).and_then(|command| match command {
        command if !session.is_authenticated && !command.is(NO_AUTH) => Err(CommandError::NoAuth),
        command if command.is(ALLOW_BUSY) => Ok(command),
        _ => Err(busy(engine)),
    });
    match found {
        Ok(command) if is_queued(session, command) => {
            enqueue(session, command, arguments);
            Encoder::new(out, session.protocol).simple("QUEUED");
        }
        Ok(command) => {
            session.last_command = command.name;
            run(engine, session, command, arguments, out);
        }
        Err(error) => {
            let mut text = error.to_string();
            if args::is(arguments[0], "EXEC") && session.transaction.take().is_some() {
                engine.watches.unwatch(session.id);
                text = CommandError::ExecRefused(text).to_string();
            } else if let Some(transaction) = &mut session.transaction {
                transaction.is_aborted = true;
            }
            engine.stats.count_error(&text);
            Encoder::new(out, session.protocol).error(text.as_bytes());
        }
    }
}

/// What others hear while a script runs.
pub(super) fn busy(engine: &Engine) -> CommandError {
    let is_function = engine.scripts.running.as_ref().is_some_and(|running| running.is_function);
    if is_function { CommandError::BusyFunction } else { CommandError::BusyScript }
}

/// Runs a command as one unit of the log. Returns the position that its reply rests on, if on any.
fn run_unit(
    engine: &mut Engine,
    session: &mut Session,
    command: &'static Command,
    arguments: &[&[u8]],
    out: &mut Vec<u8>,
) -> Option<u64> {
    let before = engine.journal.end();
    let touched = engine.unsynced.is_tracking().then(|| Touched::by(engine, session, command, arguments));
    let first_letter = engine.mail.len();
    engine.journal.begin_unit();
    run(engine, session, command, arguments, out);
    engine.journal.end_unit();
    engine.tell_of_changes();
    let position = position_of(engine, touched, before);
    if engine.journal.end() > before {
        // What is told of a change is not to be known before the change is safe.
        engine.mail.rest_on(first_letter, engine.journal.end());
    }
    position
}

/// Executes once more the request of a client that has waited since.
pub(super) fn execute_again(
    engine: &mut Engine,
    session: &mut Session,
    arguments: &[&[u8]],
    out: &mut Vec<u8>,
) -> Option<u64> {
    session.is_repeated = true;
    let checked = find(arguments).and_then(|command| check(engine, session, command, arguments).map(|()| command));
    match checked {
        Ok(command) => run_unit(engine, session, command, arguments, out),
        Err(error) => {
            let text = error.to_string();
            engine.stats.count_error(&text);
            Encoder::new(out, session.protocol).error(text.as_bytes());
            None
        }
    }
}

/// What a command may read or change, told before it runs: the transaction is gone when EXEC has.
#[derive(Default)]
struct Touched {
    /// Of the keys that it names, and under EXEC of those that its queue names or that were watched.
    hashes: SmallVec<[u64; 4]>,
    /// Whether it reads, or if it changes anything may change, what it doesn't name.
    reads_all: bool,
    changes_all: bool,
}

impl Touched {
    fn by(engine: &Engine, session: &Session, command: &Command, arguments: &[&[u8]]) -> Self {
        let mut touched = Self::default();
        let Some(transaction) = session.transaction.as_ref().filter(|_| command.name == "exec") else {
            touched.add(engine, command, arguments);
            return touched;
        };
        for (_, key) in engine.watches.keys(session.id) {
            touched.hashes.push(engine.keyspace.hash(key));
        }
        for request in &transaction.queue {
            let arguments: Arguments<'_> = request.iter().map(Vec::as_slice).collect();
            match find(&arguments) {
                Ok(command) => touched.add(engine, command, &arguments),
                Err(_) => unreachable!("it was found when it was queued"),
            }
        }
        touched
    }

    fn add(&mut self, engine: &Engine, command: &Command, arguments: &[&[u8]]) {
        let keys = command.key_positions(arguments);
        self.hashes.extend(keys.iter().map(|&position| engine.keyspace.hash(arguments[position])));
        let names_none = keys.is_empty();
        self.reads_all |= names_none && (command.is(READONLY) || matches!(command.name, "debug" | "list"));
        // BY and GET name more keys by patterns.
        self.reads_all |= matches!(command.name, "sort" | "sort_ro");
        self.changes_all |= names_none && (command.is(WRITE) || command.name == "debug");
        // A script may call for keys that it has not named.
        let is_script = command.is(NO_MANDATORY_KEYS) && command.acl & CAT_SCRIPTING != 0;
        self.reads_all |= is_script;
        self.changes_all |= is_script;
    }
}

/// What the reply to a command that has run rests on: its own effects, or, under `always`, the unsynced writes that it
/// may have seen.
fn position_of(engine: &mut Engine, touched: Option<Touched>, before: u64) -> Option<u64> {
    let after = engine.journal.end();
    let changed = (after > before).then_some(after);
    let Some(touched) = touched else { return changed };
    if changed.is_some() {
        touched.hashes.iter().for_each(|&hash| engine.unsynced.note(hash, after));
        if touched.changes_all || touched.hashes.is_empty() {
            engine.unsynced.note_all(after);
        }
        return changed;
    }
    let all = if touched.reads_all { engine.unsynced.of_all() } else { None };
    touched.hashes.iter().filter_map(|&hash| engine.unsynced.of_key(hash)).max().max(all)
}

/// The command of that name, if it has no subcommands and takes so many arguments: then nothing else need be looked at.
pub fn find_plain(name: &[u8], count: usize) -> Option<&'static Command> {
    table::find(name).filter(|command| command.subcommands.is_empty() && command.accepts(count))
}

/// The command that the request names, its subcommand where it has such.
pub fn find(arguments: &[&[u8]]) -> Result<&'static Command, CommandError> {
    let command = table::find(arguments[0]).ok_or_else(|| unknown_command(arguments))?;
    if command.subcommands.is_empty() || arguments.len() < 2 {
        return if command.accepts(arguments.len()) { Ok(command) } else { Err(wrong_arity(command, None)) };
    }
    let subcommand = table::find_subcommand(command, arguments[1]).ok_or_else(|| CommandError::UnknownSubcommand {
        command: command.name.to_ascii_uppercase(),
        subcommand: args::printable(arguments[1]),
    })?;
    if subcommand.accepts(arguments.len()) { Ok(subcommand) } else { Err(wrong_arity(command, Some(subcommand))) }
}

/// Runs a command that has been found and allowed, inside the unit that the caller opened.
pub(super) fn run(
    engine: &mut Engine,
    session: &mut Session,
    command: &'static Command,
    arguments: &[&[u8]],
    out: &mut Vec<u8>,
) {
    let (db, began) = (session.db, observe::begin(engine, session, command));
    engine.keyspace.access.set_silent(session.is_no_touch && command.name != "touch");
    tracking::begin(engine, session);
    if engine.keyspace.counts(db).1 > 0 || engine.keyspace.hashes_that_expire(db) > 0 {
        for position in command.key_positions(arguments) {
            engine.expire_on_access(db, arguments[position]);
        }
    }
    let held = changed::Before::of(engine, db, command, arguments);
    let before = engine.tells_events().then(|| Before::of(engine, db, command, arguments));
    let operations = before.is_some().then(Vec::new);
    let start = out.len();
    let protocol = session.protocol;
    let reply = Encoder::new(out, protocol);
    let mut context =
        Context { engine, session, args: arguments, reply, changes: 0, is_logged: false, operations, is_replay: false };
    let outcome = (command.run)(&mut context);
    let (changes, is_logged) = (context.changes, context.is_logged);
    let operations = context.operations.take();
    let has_failed = outcome.is_err();
    if !context.engine.monitors.is_empty() {
        super::monitor::show(&mut context, command);
    }
    if let Err(error) = outcome {
        let text = error.to_string();
        context.reply.truncate(start);
        context.reply.error(text.as_bytes());
        engine.stats.count_error(&text);
    }
    observe::note(engine, session, Ran { command, arguments, began, reply_len: out.len() - start, has_failed });
    tracking::remember(engine, session, command, arguments);
    if changes > 0 {
        // What a change entails: the log, the count of changes, and who is to hear of it.
        if !is_logged {
            engine.journal.append(db, arguments);
        }
        engine.journal.count_changes(changes);
        if let Some(held) = held {
            held.tell(engine, db, command, arguments);
        }
    }
    if let (Some(before), Some(mut operations)) = (before, operations) {
        if changes == 0 {
            operations.clear();
        } else if !is_logged {
            operations.insert(0, (db, arguments.iter().map(|argument| argument.to_vec()).collect()));
        }
        before.tell(engine, command, &operations);
    }
}

fn check(
    engine: &mut Engine,
    session: &mut Session,
    command: &Command,
    arguments: &[&[u8]],
) -> Result<(), CommandError> {
    if !session.is_authenticated && !command.is(NO_AUTH) {
        return Err(CommandError::NoAuth);
    }
    if command.is(PROTECTED) {
        check_allowed(engine, session, command)?;
    }
    if session.is_subscribed && session.protocol == Protocol::Resp2 && !may_subscriber(command) {
        return Err(CommandError::SubscriberOnly(full_name(command, arguments)));
    }
    if session.is_monitor && command.is(WRITE | READONLY | MAY_REPLICATE) {
        return Err(CommandError::text("ERR Replica can't interact with the keyspace"));
    }
    if session.transaction.is_some() && command.is(NO_MULTI) {
        return Err(CommandError::NotInTransaction);
    }
    if engine.persistence.is_loading && !command.is(LOADING) {
        return Err(CommandError::Loading);
    }
    if engine.config.maxmemory > 0 || engine.is_room_wanted() {
        check_memory(engine, session, command)?;
    }
    // As in Redis, PING is refused too where writes are: health checks are to see it.
    if command.is(WRITE) || (command.name == "ping" && arguments.len() == 1) {
        check_disk(engine)?;
    }
    if command.name == "exec"
        && session.transaction.as_ref().is_some_and(|transaction| transaction.writes && !transaction.is_aborted)
        && let Err(error) = check_disk(engine)
    {
        session.transaction = None;
        engine.watches.unwatch(session.id);
        return Err(CommandError::ExecRefused(error.to_string()));
    }
    Ok(())
}

/// Of the commands that the configuration may forbid.
fn check_allowed(engine: &Engine, session: &Session, command: &Command) -> Result<(), CommandError> {
    match command.name {
        "debug" => debug::check_allowed(engine, session),
        _ => Err(server_cmd::modules_not_allowed()),
    }
}

/// The name of a command, that of its container in front.
fn full_name(command: &Command, arguments: &[&[u8]]) -> String {
    match table::find(arguments[0]) {
        Some(container) if !std::ptr::eq(container, command) => format!("{}|{}", container.name, command.name),
        _ => command.name.to_owned(),
    }
}

/// Whether it may be called by a client of the protocol's second version that has subscriptions: its replies could be taken
/// for messages.
fn may_subscriber(command: &Command) -> bool {
    const ALLOWED: [&str; 9] = [
        "ping",
        "subscribe",
        "unsubscribe",
        "psubscribe",
        "punsubscribe",
        "ssubscribe",
        "sunsubscribe",
        "quit",
        "reset",
    ];
    ALLOWED.contains(&command.name)
}

/// Makes room, and refuses what takes more where there is none: the command, or the transaction that has such a one.
fn check_memory(engine: &mut Engine, session: &mut Session, command: &Command) -> Result<(), CommandError> {
    if engine.make_room() != Room::None {
        return Ok(());
    }
    if command.is(DENYOOM) {
        return Err(CommandError::OutOfMemory);
    }
    if command.name == "exec" && session.transaction.as_ref().is_some_and(|transaction| transaction.takes_memory) {
        session.transaction = None;
        engine.watches.unwatch(session.id);
        return Err(CommandError::ExecOutOfMemory);
    }
    Ok(())
}

pub(super) fn check_disk(engine: &Engine) -> Result<(), CommandError> {
    if engine.persistence.is_leaving {
        return Err(CommandError::Leaving);
    }
    if let Some(error) = &engine.persistence.log_error {
        return Err(CommandError::LogFailed(error.clone()));
    }
    if engine.refuses_unsaved() {
        return Err(CommandError::SaveFailed);
    }
    Ok(())
}

fn is_queued(session: &Session, command: &Command) -> bool {
    let runs_at_once = ["exec", "discard", "multi", "watch", "quit", "reset"];
    session.transaction.is_some() && !runs_at_once.contains(&command.name)
}

fn unknown_command(arguments: &[&[u8]]) -> CommandError {
    let mut shown = String::new();
    for argument in &arguments[1..] {
        if shown.len() >= 128 {
            break;
        }
        shown.push('\'');
        shown.push_str(&args::printable(argument));
        shown.push_str("' ");
    }
    CommandError::UnknownCommand { name: args::printable(arguments[0]), arguments: shown }
}

fn wrong_arity(command: &Command, subcommand: Option<&Command>) -> CommandError {
    CommandError::WrongArity(match subcommand {
        Some(subcommand) => format!("{}|{}", command.name, subcommand.name),
        None => command.name.to_owned(),
    })
}

/// The handler of a command that is nothing without its subcommand: the arity of the row keeps requests from it.
pub(super) fn no_subcommand(context: &mut Context<'_>) -> Outcome {
    Err(CommandError::WrongArity(args::printable(context.args[0]).to_ascii_lowercase()))
}

fn apply_reply_mode(session: &mut Session, out: &mut Vec<u8>, start: usize) {
    use crate::engine::session::ReplyMode;
    match session.reply_mode {
        ReplyMode::On => {}
        ReplyMode::Off => out.truncate(start),
        ReplyMode::SkipThis => session.reply_mode = ReplyMode::SkipNext,
        ReplyMode::SkipNext => {
            out.truncate(start);
            session.reply_mode = ReplyMode::On;
        }
    }
}
