//! CONFIG: the parameters, read and changed while the server runs.

use crate::engine::jobs::{Blocking, Job, Switch, run_blocking};
use crate::engine::params::{Changed, Config, Peer, SetError};
use crate::resp::Reply;

use super::args::is;
use super::connection::help;
use super::spec::{ADMIN, CAT_ADMIN, Command, LOADING, NO_KEYS, NOSCRIPT, STALE, command, container};
use super::{CommandError, Context, Outcome};

pub const COMMANDS: &[Command] = &[container("config", 0, "2.0.0", SUBCOMMANDS)];

const ALWAYS: u32 = ADMIN | NOSCRIPT | LOADING | STALE;

const SUBCOMMANDS: &[Command] = &[
    command("get", -3, ALWAYS, NO_KEYS, CAT_ADMIN, "2.0.0", get),
    command("set", -4, ALWAYS, NO_KEYS, CAT_ADMIN, "2.0.0", set),
    command("resetstat", 2, ALWAYS, NO_KEYS, CAT_ADMIN, "2.0.0", resetstat),
    command("rewrite", 2, ALWAYS, NO_KEYS, CAT_ADMIN, "2.8.0", rewrite),
    command("help", 2, LOADING | STALE, NO_KEYS, 0, "5.0.0", config_help),
];

/// Parameters that Redis changes at run time and that take effect here at start only.
const AT_START_ONLY: &[(&str, &str)] = &[
    ("dir", "this server holds a lock on its directory and keeps its log there; restart it with the other one"),
    ("port", "the port of a running server can't be changed in this version; restart it with the other one"),
    ("bind", "the addresses of a running server can't be changed in this version; restart it with the others"),
];

fn get(context: &mut Context<'_>) -> Outcome {
    let found = context.engine.config.get_matching(&context.args[2..]);
    let reply = context.reply.map(found.len());
    for (name, value) in found {
        context.reply.bulk(name.as_bytes());
        context.reply.bulk(&value);
    }
    Ok(reply)
}

fn set(context: &mut Context<'_>) -> Outcome {
    let arguments = &context.args[2..];
    if !arguments.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let pairs: Vec<(&[u8], &[u8])> = arguments.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let peer = if context.session.is_local { Peer::Local } else { Peer::Remote };
    let (config, changed) = context.engine.config.prepare(&pairs, peer).map_err(CommandError::err)?;
    for (name, reason) in AT_START_ONLY {
        if changed.iter().any(|changed| changed.name == *name) {
            return Err(CommandError::err(SetError::failed(name, *reason)));
        }
    }
    let is_loading = context.engine.persistence.is_loading;
    if is_loading && changed.iter().any(|changed| changed.name == "appendonly") {
        return Err(CommandError::Loading);
    }
    let names_log = pairs.iter().any(|(name, _)| is(name, "appendonly"));
    if names_log && context.engine.persistence.is_switching {
        let reason = "the log is being switched on or off: wait for that";
        return Err(CommandError::err(SetError::failed("appendonly", reason)));
    }
    if changed.iter().any(|changed| changed.name == "appendonly") {
        if context.session.denies_waiting {
            let reason =
                "the log can't be switched inside MULTI, whose replies can't wait for the disk: send it by itself";
            return Err(CommandError::err(SetError::failed("appendonly", reason)));
        }
        return Ok(switch_log(context, config, changed));
    }
    context.engine.config = config;
    context.engine.config_changed();
    Ok(context.reply.ok())
}

/// Has the log switched on or off beside everything else; the reply comes when that is done.
fn switch_log(context: &mut Context<'_>, config: Config, changed: Vec<Changed>) -> Reply {
    let is_on = config.appendonly;
    context.engine.config = config;
    context.engine.config_changed();
    context.engine.persistence.is_switching = true;
    context.session.awaits_reply = true;
    let before = changed.into_iter().map(|changed| (changed.name, changed.before)).collect();
    let (client, is_local) = (context.session.id, context.session.is_local);
    context.engine.jobs.push(Job::SwitchLog(Switch { client, is_on, before, is_local }));
    context.reply.raw(b"")
}

fn resetstat(context: &mut Context<'_>) -> Outcome {
    context.engine.stats.reset();
    context.engine.keyspace.reset_lazy_freed();
    Ok(context.reply.ok())
}

fn rewrite(context: &mut Context<'_>) -> Outcome {
    if context.engine.config.config_file.is_empty() {
        return Err(CommandError::err("The server is running without a config file"));
    }
    if !context.session.denies_waiting {
        context.session.awaits_reply = true;
        context.engine.jobs.push(Job::RewriteConfig { client: context.session.id });
        return Ok(context.reply.raw(b""));
    }
    run_blocking(context.engine, Blocking::RewriteConfig)
        .map_err(|reason| CommandError::err(format!("Rewriting config file: {reason}")))?;
    Ok(context.reply.ok())
}

fn config_help(context: &mut Context<'_>) -> Outcome {
    Ok(help(
        context,
        "CONFIG",
        &[
            ("GET <pattern>", "Return parameters matching the glob-like <pattern> and their values."),
            ("SET <directive> <value>", "Set the configuration <directive> to <value>."),
            ("RESETSTAT", "Reset statistics reported by the INFO command."),
            ("REWRITE", "Rewrite the configuration file."),
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

    #[test]
    fn parameters_are_read_and_changed() {
        let mut console = Console::new();
        console.script(
            "config get hz => %1 hz 10
             config get nosuch => %0
             config set hz 11 timeout 5 => +OK
             config get hz timeout => %2 hz 11 timeout 5
             config set hz 12 nosuch 1 => -ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'
             config get hz => %1 hz 11
             config set hz 1 2 => -ERR syntax error
             config set hz => -ERR wrong number of arguments for 'config|set' command
             config foo => -ERR unknown subcommand 'foo'. Try CONFIG HELP.
             config rewrite => -ERR The server is running without a config file
             config set hash-max-ziplist-entries 7 => +OK",
        );
        assert_eq!(console.engine.limits.hash_max_listpack_entries, 7);
    }

    #[test]
    fn what_a_running_server_can_not_change_is_refused() {
        let mut console = Console::new();
        let refused = console.run("config set port 7777");
        assert!(refused.starts_with("-ERR CONFIG SET failed (possibly related to argument 'port') - "), "{refused}");
        assert_eq!(console.run("config set port 6379"), "+OK");
    }

    #[test]
    fn in_a_transaction_the_log_is_not_switched() {
        let mut console = Console::new();
        console.script("multi => +OK\n config set appendonly yes hz 50 => +QUEUED");
        let refused = console.run("exec");
        let expected =
            "-ERR CONFIG SET failed (possibly related to argument 'appendonly') - the log can't be switched inside";
        assert!(refused.contains(expected), "{refused}");
        console.script("config get appendonly hz => %2 appendonly no hz 10");
    }

    #[test]
    fn statistics_start_over() {
        let mut console = Console::new();
        console.run("get a");
        assert_eq!(console.engine.stats.keyspace_misses, 1);
        assert_eq!(console.run("config resetstat"), "+OK");
        assert_eq!(console.engine.stats.keyspace_misses, 0);
    }
}
