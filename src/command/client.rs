//! CLIENT: who is connected, under which name, and ending that.

use crate::engine::clients::ClientInfo;
use crate::engine::jobs::Job;
use crate::engine::pause::Held;
use crate::engine::pubsub::Kind;
use crate::engine::session::ReplyMode;
use crate::engine::tracking::Mode;
use crate::engine::{Engine, Session};

use super::acl::unknown_or_wrong;
use super::args::{self, is};
use super::connection::{check_name, help};
use super::spec::{
    ADMIN, ALLOW_BUSY, CAT_ADMIN, CAT_CONNECTION, CAT_DANGEROUS, Command, LOADING, MAY_REPLICATE, NO_KEYS, NOSCRIPT,
    STALE, WRITE, command, container,
};
use super::tracking::{caching, getredir, tracking, trackinginfo};
use super::{CommandError, Context, Outcome, waiting};

pub const COMMANDS: &[Command] = &[container("client", 0, "2.4.0", SUBCOMMANDS)];

const ALWAYS: u32 = NOSCRIPT | LOADING | STALE;
const ADMINS: u32 = ALWAYS | ADMIN;
const CAT_ADMINS: u32 = CAT_CONNECTION | CAT_ADMIN | CAT_DANGEROUS;

const SUBCOMMANDS: &[Command] = &[
    command("id", 2, ALWAYS, NO_KEYS, CAT_CONNECTION, "5.0.0", id),
    command("info", 2, ALWAYS, NO_KEYS, CAT_CONNECTION, "6.2.0", info),
    command("list", -2, ADMINS, NO_KEYS, CAT_ADMINS, "2.4.0", list),
    command("setname", 3, ALWAYS, NO_KEYS, CAT_CONNECTION, "2.6.9", setname),
    command("getname", 2, ALWAYS, NO_KEYS, CAT_CONNECTION, "2.6.9", getname),
    command("setinfo", 4, ALWAYS, NO_KEYS, CAT_CONNECTION, "7.2.0", setinfo),
    command("kill", -3, ADMINS, NO_KEYS, CAT_ADMINS, "2.4.0", kill),
    command("reply", 3, ALWAYS, NO_KEYS, CAT_CONNECTION, "3.2.0", reply),
    command("no-evict", 3, ADMINS, NO_KEYS, CAT_ADMINS, "7.0.0", no_evict),
    command("unblock", -3, ADMINS, NO_KEYS, CAT_ADMINS, "5.0.0", unblock),
    command("no-touch", 3, ALWAYS, NO_KEYS, CAT_CONNECTION, "7.2.0", no_touch),
    command("pause", -3, ADMINS, NO_KEYS, CAT_ADMINS, "3.0.0", pause),
    command("unpause", 2, ADMINS, NO_KEYS, CAT_ADMINS, "6.2.0", unpause),
    command("capa", -3, ALWAYS | ALLOW_BUSY, NO_KEYS, CAT_CONNECTION, "8.0.0", capa),
    command("import-source", 3, ALWAYS, NO_KEYS, CAT_CONNECTION, "8.1.0", import_source),
    command("caching", 3, ALWAYS, NO_KEYS, CAT_CONNECTION, "6.0.0", caching),
    command("tracking", -3, ALWAYS, NO_KEYS, CAT_CONNECTION, "6.0.0", tracking),
    command("trackinginfo", 2, ALWAYS, NO_KEYS, CAT_CONNECTION, "6.2.0", trackinginfo),
    command("getredir", 2, ALWAYS, NO_KEYS, CAT_CONNECTION, "6.0.0", getredir),
    command("help", 2, LOADING | STALE, NO_KEYS, CAT_CONNECTION, "5.0.0", client_help),
];

fn id(context: &mut Context<'_>) -> Outcome {
    let id = i64::try_from(context.session.id).unwrap_or(i64::MAX);
    Ok(context.reply.int(id))
}

fn setname(context: &mut Context<'_>) -> Outcome {
    check_name(context.args[2])?;
    context.session.name = context.args[2].to_vec();
    Ok(context.reply.ok())
}

fn getname(context: &mut Context<'_>) -> Outcome {
    Ok(match context.session.name.as_slice() {
        b"" => context.reply.null(),
        name => context.reply.bulk(name),
    })
}

fn setinfo(context: &mut Context<'_>) -> Outcome {
    let (option, value) = (context.args[2], context.args[3]);
    let field = match option {
        option if is(option, "LIB-NAME") => &mut context.session.library_name,
        option if is(option, "LIB-VER") => &mut context.session.library_version,
        _ => return Err(CommandError::err(format!("Unrecognized option '{}'", args::printable(option)))),
    };
    if !value.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        let option = args::printable(option);
        return Err(CommandError::err(format!("{option} cannot contain spaces, newlines or special characters.")));
    }
    *field = value.to_vec();
    Ok(context.reply.ok())
}

fn info(context: &mut Context<'_>) -> Outcome {
    refresh_own_entry(context);
    let engine = &*context.engine;
    let line = engine.clients.get(context.session.id).map(|client| line(engine, client)).unwrap_or_default();
    Ok(context.reply.verbatim("txt", &line))
}

/// `LIST [TYPE type] [ID id ...]`
fn list(context: &mut Context<'_>) -> Outcome {
    let mut ids: Option<Vec<u64>> = None;
    let mut class = None;
    match context.args[2..] {
        [] => {}
        [option, kind] if is(option, "TYPE") => class = Some(Class::parse(kind)?),
        [option, ref list @ ..] if is(option, "ID") && !list.is_empty() => {
            let parsed: Result<Vec<i64>, _> = list.iter().map(|id| args::int(id)).collect();
            let parsed = parsed.map_err(|_| CommandError::err("Invalid client ID"))?;
            // Nobody has one that is negative.
            ids = Some(parsed.into_iter().filter_map(|id| u64::try_from(id).ok()).collect());
        }
        _ => return Err(CommandError::Syntax),
    }
    refresh_own_entry(context);
    let engine = &*context.engine;
    let mut text = Vec::new();
    for client in engine.clients.iter() {
        let is_of_class = class.is_none_or(|class| class == Class::of(engine, client.id));
        if is_of_class && ids.as_ref().is_none_or(|ids| ids.contains(&client.id)) {
            text.extend(line(engine, client));
        }
    }
    Ok(context.reply.verbatim("txt", &text))
}

/// A type of clients.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Normal,
    /// With subscriptions.
    PubSub,
    /// What is not found here: other servers.
    Server,
}

impl Class {
    fn parse(kind: &[u8]) -> Result<Self, CommandError> {
        match kind.to_ascii_lowercase().as_slice() {
            b"normal" => Ok(Class::Normal),
            b"pubsub" => Ok(Class::PubSub),
            b"master" | b"primary" | b"slave" | b"replica" => Ok(Class::Server),
            _ => Err(CommandError::err(format!("Unknown client type '{}'", args::printable(kind)))),
        }
    }

    fn of(engine: &Engine, client: u64) -> Self {
        if engine.pubsub.is_subscriber(client) { Class::PubSub } else { Class::Normal }
    }
}

/// The list is brought up to date between commands; this brings it up to this one.
fn refresh_own_entry(context: &mut Context<'_>) {
    let watched = context.engine.watches.keys(context.session.id).len();
    context.engine.clients.update(context.session, watched);
}

/// The letters of what a client is doing; N is nothing of note.
fn flags(engine: &Engine, client: &ClientInfo) -> String {
    let is_waiting = engine.waiters.get(client.id).is_some();
    let is_monitor = engine.monitors.contains(&client.id);
    let is_subscriber = engine.pubsub.is_subscriber(client.id);
    let tracker = engine.tracking.get(client.id);
    let flags: String = [
        (is_monitor, 'O'),
        (is_subscriber, 'P'),
        (client.queued.is_some(), 'x'),
        (is_waiting, 'b'),
        (tracker.is_some(), 't'),
        (tracker.is_some_and(|tracker| tracker.is_broken), 'R'),
        (tracker.is_some_and(|tracker| tracker.mode == Mode::Broadcast), 'B'),
        (client.is_no_touch, 'T'),
    ]
    .into_iter()
    .filter_map(|(is_set, letter)| is_set.then_some(letter))
    .collect();
    if flags.is_empty() { "N".to_owned() } else { flags }
}

/// A client as CLIENT LIST shows it, in the fields of Redis 7.4. What is not measured here is 0.
fn line(engine: &Engine, client: &ClientInfo) -> Vec<u8> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let count = |kind| engine.pubsub.count(client.id, kind);
    let seconds_since = |then_ms: i64| engine.clock.now_ms().saturating_sub(then_ms).max(0) / 1000;
    let tracker = engine.tracking.get(client.id);
    let redirect = tracker.map_or(-1, |tracker| i64::try_from(tracker.redirect).unwrap_or(i64::MAX));
    let multi = client.queued.map_or(-1, |queued| i64::try_from(queued).unwrap_or(i64::MAX));
    format!(
        "id={id} addr={addr} laddr={laddr} fd=0 name={name} age={age} idle={idle} flags={flags} db={db} sub={sub} psub={psub} \
         ssub={ssub} multi={multi} watch={watch} qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 \
         tot-mem=0 events=r cmd={cmd} user=default redir={redirect} resp={resp} lib-name={lib} lib-ver={lib_version}\n",
        id = client.id,
        flags = flags(engine, client),
        sub = count(Kind::Channel),
        psub = count(Kind::Pattern),
        ssub = count(Kind::Shard),
        addr = client.address,
        laddr = client.local_address,
        name = text(&client.name),
        age = seconds_since(client.created_ms),
        idle = seconds_since(client.last_command_ms),
        db = client.db,
        watch = client.watched,
        cmd = client.last_command,
        redirect = redirect,
        resp = if client.is_resp3 { 3 } else { 2 },
        lib = text(&client.library_name),
        lib_version = text(&client.library_version),
    )
    .into_bytes()
}

/// Which clients CLIENT KILL means: all that every filter agrees with.
#[derive(Default)]
struct KillFilter<'a> {
    ids: Option<Vec<u64>>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    class: Option<Class>,
    min_age_seconds: Option<i64>,
    includes_self: bool,
}

impl<'a> KillFilter<'a> {
    fn parse(mut rest: &[&'a [u8]]) -> Result<Self, CommandError> {
        let mut filter = Self::default();
        while let [option, value, tail @ ..] = rest {
            rest = tail;
            match option.to_ascii_uppercase().as_slice() {
                b"ID" => {
                    let id = args::int(value).ok().and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
                    let id = id.ok_or_else(|| CommandError::err("client-id should be greater than 0"))?;
                    filter.ids.get_or_insert_default().push(id);
                }
                b"ADDR" => filter.address = Some(value),
                b"LADDR" => filter.local_address = Some(value),
                b"TYPE" => filter.class = Some(Class::parse(value)?),
                b"USER" if *value == b"default" => {}
                b"USER" => {
                    return Err(CommandError::err(format!("No such user '{}'", args::printable(value))));
                }
                b"SKIPME" if is(value, "YES") => filter.includes_self = false,
                b"SKIPME" if is(value, "NO") => filter.includes_self = true,
                b"MAXAGE" => {
                    let wrong = |_| CommandError::err("maxage is not an integer or out of range");
                    let age = args::int(value).map_err(wrong)?;
                    if age <= 0 {
                        return Err(CommandError::err("maxage should be greater than 0"));
                    }
                    filter.min_age_seconds = Some(age);
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        if rest.is_empty() { Ok(filter) } else { Err(CommandError::Syntax) }
    }

    fn means(&self, engine: &Engine, client: &ClientInfo, own_id: u64) -> bool {
        let age_seconds = engine.clock.now_ms().saturating_sub(client.created_ms) / 1000;
        self.class.is_none_or(|class| class == Class::of(engine, client.id))
            && (self.includes_self || client.id != own_id)
            && self.ids.as_ref().is_none_or(|ids| ids.contains(&client.id))
            && self.address.is_none_or(|address| client.address.as_bytes() == address)
            && self.local_address.is_none_or(|address| client.local_address.as_bytes() == address)
            && self.min_age_seconds.is_none_or(|min| age_seconds >= min)
    }
}

/// `KILL address`, which must exist, or `KILL filter value ...`, which replies how many it meant.
fn kill(context: &mut Context<'_>) -> Outcome {
    refresh_own_entry(context);
    let arguments = &context.args[2..];
    let filter = match arguments {
        [address] => KillFilter { address: Some(address), includes_self: true, ..KillFilter::default() },
        filters => KillFilter::parse(filters)?,
    };
    let (own_id, engine) = (context.session.id, &*context.engine);
    let meant = engine.clients.iter().filter(|client| filter.means(engine, client, own_id));
    let ids: Vec<u64> = meant.map(|client| client.id).collect();
    for &id in &ids {
        if id == own_id {
            context.session.is_closing = true;
        } else {
            context.engine.waiters.remove(id);
            context.engine.jobs.push(Job::KillClient(id));
        }
    }
    if arguments.len() > 1 {
        return Ok(context.reply.count(ids.len()));
    }
    if ids.is_empty() { Err(CommandError::err("No such client")) } else { Ok(context.reply.ok()) }
}

fn reply(context: &mut Context<'_>) -> Outcome {
    let mode = context.args[2];
    let session = &mut *context.session;
    match mode {
        mode if is(mode, "ON") => {
            session.reply_mode = ReplyMode::On;
            Ok(context.reply.ok())
        }
        mode if is(mode, "OFF") => {
            session.reply_mode = ReplyMode::Off;
            Ok(context.reply.raw(b""))
        }
        mode if is(mode, "SKIP") => {
            if session.reply_mode != ReplyMode::Off {
                session.reply_mode = ReplyMode::SkipThis;
            }
            Ok(context.reply.raw(b""))
        }
        _ => Err(CommandError::Syntax),
    }
}

/// Clients are never evicted here, so that either setting is kept.
fn no_evict(context: &mut Context<'_>) -> Outcome {
    let mode = context.args[2];
    if is(mode, "ON") || is(mode, "OFF") { Ok(context.reply.ok()) } else { Err(CommandError::Syntax) }
}

/// Ends the waiting of a client for a key, as if its time were up, or with an error.
fn unblock(context: &mut Context<'_>) -> Outcome {
    let is_error = match context.args[3..] {
        [] => false,
        [reason] if is(reason, "TIMEOUT") => false,
        [reason] if is(reason, "ERROR") => true,
        [_] => return Err(CommandError::err("CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
        _ => return Err(unknown_or_wrong(context.args[1], "CLIENT")),
    };
    let client = u64::try_from(args::int(context.args[2])?).unwrap_or(0);
    let engine = &mut *context.engine;
    let has_waited = if is_error { waiting::interrupt(engine, client) } else { waiting::give_up(engine, client) };
    Ok(context.reply.int(i64::from(has_waited)))
}

/// Whether what this client uses counts as used.
fn no_touch(context: &mut Context<'_>) -> Outcome {
    context.session.is_no_touch = match context.args[2] {
        mode if is(mode, "ON") => true,
        mode if is(mode, "OFF") => false,
        _ => return Err(CommandError::Syntax),
    };
    Ok(context.reply.ok())
}

/// `PAUSE timeout [WRITE|ALL]`: for so many ms commands are held, the clients' connections with them.
fn pause(context: &mut Context<'_>) -> Outcome {
    let held = match context.args[3..] {
        [] => Held::All,
        [mode] if is(mode, "ALL") => Held::All,
        [mode] if is(mode, "WRITE") => Held::Writes,
        [_] => return Err(CommandError::err("CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(unknown_or_wrong(context.args[1], "CLIENT")),
    };
    let timeout = waiting::milliseconds(context.args[2], context.now_ms())?.unwrap_or_default();
    let now = context.engine.clock.monotonic();
    // Who wants longer than a clock can tell has it end at once: some centuries are meant by nobody.
    let until = now.checked_add(timeout).unwrap_or(now);
    context.engine.pause.begin(held, until, now);
    context.engine.jobs.push(Job::AwaitEndOfPause);
    Ok(context.reply.ok())
}

fn unpause(context: &mut Context<'_>) -> Outcome {
    context.engine.pause.end();
    context.engine.jobs.push(Job::AwaitEndOfPause);
    Ok(context.reply.ok())
}

/// Whether the request is to wait for the end of a pause.
#[inline]
pub fn is_held(engine: &Engine, session: &Session, arguments: &[&[u8]]) -> bool {
    !engine.pause.is_off() && is_held_now(engine, session, arguments)
}

fn is_held_now(engine: &Engine, session: &Session, arguments: &[&[u8]]) -> bool {
    let Some(held) = engine.pause.held(engine.clock.monotonic()) else { return false };
    let writes = |command: &Command| {
        let executes = command.name == "exec" && session.transaction.as_ref().is_some_and(|queue| queue.is_replicated);
        command.is(WRITE | MAY_REPLICATE) || executes
    };
    held == Held::All || super::execute::find(arguments).is_ok_and(writes)
}

/// What a client can do: nothing here depends on it, as there is no failover to be redirected by.
fn capa(context: &mut Context<'_>) -> Outcome {
    Ok(context.reply.ok())
}

fn import_source(_context: &mut Context<'_>) -> Outcome {
    Err(CommandError::err("Server is not in import mode"))
}

fn client_help(context: &mut Context<'_>) -> Outcome {
    Ok(help(
        context,
        "CLIENT",
        &[
            ("CACHING (YES|NO)", "Say whether what the next command reads is to be tracked."),
            ("GETNAME", "Return the name of the current connection."),
            ("GETREDIR", "Return the client ID tracking notifications go to, or -1."),
            ("ID", "Return the ID of the current connection."),
            ("INFO", "Return information about the current client connection."),
            ("KILL <ip:port> | <filter> <value> [...]", "Close connections by ID, ADDR, LADDR, TYPE, USER, MAXAGE."),
            ("LIST [TYPE <type>] [ID <id> [...]]", "Return information about client connections."),
            ("NO-EVICT (ON|OFF)", "Protect current client connection from eviction."),
            ("NO-TOUCH (ON|OFF)", "Keep what this client uses from counting as used."),
            ("PAUSE <timeout> [WRITE|ALL]", "Hold all commands, or those that write, for <timeout> milliseconds."),
            ("REPLY (ON|OFF|SKIP)", "Control the replies sent to the current connection."),
            ("SETINFO <option> <value>", "Set client meta info: LIB-NAME or LIB-VER."),
            ("SETNAME <name>", "Assign the name <name> to the current connection."),
            (
                "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]] [OPTIN] [OPTOUT] [NOLOOP]",
                "Say whether changes of what this client may have cached are to be told.",
            ),
            ("TRACKINGINFO", "Report tracking status for the current connection."),
            ("UNBLOCK <clientid> [TIMEOUT|ERROR]", "Unblock the specified blocked client."),
            ("UNPAUSE", "End a pause."),
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::super::console::{Console, assert_rows_are_those_of_redis};
    use crate::engine::Session;
    use crate::engine::jobs::Job;

    /// A console with two more clients on the list, 7 and 8.
    fn console_with_company() -> Console {
        let mut console = Console::new();
        console.session.id = 3;
        console.session.address = "127.0.0.1:1003".to_owned();
        for id in [7, 8] {
            let created_ms = console.engine.clock.now_ms() - 5000;
            let session = Session::new(id, format!("127.0.0.1:100{id}"), created_ms);
            console.engine.clients.update(&session, 0);
        }
        console
    }

    #[test]
    fn the_rows_are_those_of_redis() {
        assert_rows_are_those_of_redis(super::COMMANDS);
    }

    #[test]
    fn a_client_has_a_name_and_a_library() {
        let mut console = console_with_company();
        console.script(
            "client getname => _
             client setname foo => +OK
             client getname => foo
             client setinfo LIB-NAME redis-py => +OK
             client setinfo lib-ver 1.2 => +OK
             client setinfo foo bar => -ERR Unrecognized option 'foo'
             client setinfo lib-name a\tb => -ERR lib-name cannot contain spaces, newlines or special characters.
             client setinfo LIB-NAME a\tb => -ERR LIB-NAME cannot contain spaces, newlines or special characters.
             client id => :3
             client nosuch => -ERR unknown subcommand 'nosuch'. Try CLIENT HELP.
             client => -ERR wrong number of arguments for 'client' command",
        );
        let info = console.run("client info");
        for field in ["id=3 ", "addr=127.0.0.1:1003 ", " name=foo ", " lib-name=redis-py ", " lib-ver=1.2", " resp=3 "]
        {
            assert!(info.contains(field), "{field} in {info}");
        }
    }

    #[test]
    fn lists_are_narrowed_by_id_and_type() {
        let mut console = console_with_company();
        let count = |text: String| text.matches("addr=").count();
        assert_eq!(count(console.run("client list")), 6, "addr= and laddr= of three clients");
        assert_eq!(count(console.run("client list id 7 99")), 2);
        assert_eq!(count(console.run("client list type normal")), 6);
        assert_eq!(count(console.run("client list type pubsub")), 0);
        assert_eq!(console.run("client list type foo"), "-ERR Unknown client type 'foo'");
        assert_eq!(console.run("client list id x"), "-ERR Invalid client ID");
        assert_eq!(count(console.run("client list id -1")), 0);
        assert!(console.run("client list id 7").contains(" age=5 "));
    }

    #[test]
    fn connections_are_ended_by_address_and_by_filter() {
        let mut console = console_with_company();
        console.script(
            "client kill 1.2.3.4:5 => -ERR No such client
             client kill 127.0.0.1:1007 => +OK
             client kill id 8 => :1
             client kill id 99 => :0
             client kill id 3 => :0
             client kill maxage 4 => :2
             client kill maxage 6 => :0
             client kill type replica => :0
             client kill user nosuch => -ERR No such user 'nosuch'
             client kill id 0 => -ERR client-id should be greater than 0
             client kill foo bar => -ERR syntax error",
        );
        assert_eq!(console.engine.jobs, [7, 8, 7, 8].map(Job::KillClient));
        assert!(!console.session.is_closing);
        assert_eq!(console.run("client kill id 3 skipme no"), ":1");
        assert!(console.session.is_closing);
    }

    #[test]
    fn replies_can_be_switched_off_and_skipped() {
        Console::new().script(
            "client reply off =>
             ping =>
             client reply skip =>
             ping =>
             client reply on => +OK
             ping => +PONG
             client reply skip =>
             ping =>
             ping => +PONG
             client reply foo => -ERR syntax error",
        );
    }

    #[test]
    fn tracking_switched_on_once_more_has_the_new_options_only() {
        Console::new().script(
            "client tracking on optin noloop => +OK
             client caching yes => +OK
             client tracking on optin => +OK
             client trackinginfo => %3 flags ~3 on optin caching-yes redirect :0 prefixes *0
             client tracking on => +OK
             client trackinginfo => %3 flags ~1 on redirect :0 prefixes *0
             client caching yes => -ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
        );
    }

    #[test]
    fn what_does_not_happen_here_says_so() {
        Console::new().script(
            "client trackinginfo => %3 flags ~1 off redirect :-1 prefixes *0
             client getredir => :-1
             client tracking off => +OK
             client no-evict on => +OK
             client no-evict foo => -ERR syntax error
             client unblock 5 => :0
             client unblock 5 foo => -ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR
             client unblock 5 error foo => -ERR unknown subcommand or wrong number of arguments for 'unblock'. Try CLIENT HELP.",
        );
    }
}
