//! The server's small talk: time, latency, slow log, role, and the one user there is.

use super::args::{self, is};
use super::connection::help;
use super::introspection::{category_bit, visit_rows};
use super::spec::{
    ADMIN, ALLOW_BUSY, CAT_ADMIN, CAT_CONNECTION, CAT_DANGEROUS, CATEGORY_NAMES, Command, FAST, LOADING,
    NO_ASYNC_LOADING, NO_KEYS, NO_MULTI, NOSCRIPT, READONLY, STALE, command, container,
};
use super::{CommandError, Context, Outcome};

const ALWAYS: u32 = LOADING | STALE;
const ADMINS: u32 = ADMIN | NOSCRIPT | LOADING | STALE;
const CAT_ADMINS: u32 = CAT_ADMIN | CAT_DANGEROUS;
const STREAMING: u32 = ADMIN | NO_ASYNC_LOADING | NO_MULTI | NOSCRIPT;

pub const COMMANDS: &[Command] = &[
    command("time", 1, ALWAYS | FAST, NO_KEYS, 0, "2.6.0", time),
    command("lolwut", -1, READONLY | FAST, NO_KEYS, 0, "5.0.0", lolwut),
    command("role", 1, NOSCRIPT | ALWAYS | FAST, NO_KEYS, CAT_ADMINS, "2.8.12", role),
    command("cluster", -2, ALWAYS, NO_KEYS, 0, "3.0.0", cluster),
    command("readonly", 1, ALWAYS | FAST, NO_KEYS, CAT_CONNECTION, "3.0.0", cluster),
    command("readwrite", 1, ALWAYS | FAST, NO_KEYS, CAT_CONNECTION, "3.0.0", cluster),
    command("replconf", -1, ADMINS | ALLOW_BUSY, NO_KEYS, CAT_ADMINS, "3.0.0", replication),
    command("sync", 1, STREAMING, NO_KEYS, CAT_ADMINS, "1.0.0", replication),
    command("psync", -3, STREAMING, NO_KEYS, CAT_ADMINS, "2.8.0", replication),
    command("replicaof", 3, ADMIN | NO_ASYNC_LOADING | NOSCRIPT | STALE, NO_KEYS, CAT_ADMINS, "5.0.0", replicaof),
    command("slaveof", 3, ADMIN | NO_ASYNC_LOADING | NOSCRIPT | STALE, NO_KEYS, CAT_ADMINS, "1.0.0", replicaof),
    container("latency", 0, "2.8.13", LATENCY),
    container("slowlog", 0, "2.2.12", SLOWLOG),
    container("module", 0, "4.0.0", MODULE),
    container("acl", 0, "6.0.0", ACL),
];

const LATENCY: &[Command] = &[
    command("latest", 2, ADMINS, NO_KEYS, CAT_ADMINS, "2.8.13", empty_array),
    command("history", 3, ADMINS, NO_KEYS, CAT_ADMINS, "2.8.13", empty_array),
    command("histogram", -2, ADMINS, NO_KEYS, CAT_ADMINS, "7.0.0", latency_histogram),
    command("reset", -2, ADMINS, NO_KEYS, CAT_ADMINS, "2.8.13", zero),
    command("doctor", 2, ADMINS, NO_KEYS, CAT_ADMINS, "2.8.13", latency_doctor),
    command("help", 2, ALWAYS, NO_KEYS, 0, "2.8.13", latency_help),
];

const SLOWLOG: &[Command] = &[
    command("get", -2, ADMIN | ALWAYS, NO_KEYS, CAT_ADMINS, "2.2.12", slowlog_get),
    command("len", 2, ADMIN | ALWAYS, NO_KEYS, CAT_ADMINS, "2.2.12", zero),
    command("reset", 2, ADMIN | ALWAYS, NO_KEYS, CAT_ADMINS, "2.2.12", slowlog_reset),
    command("help", 2, ALWAYS, NO_KEYS, 0, "6.2.0", slowlog_help),
];

const MODULE: &[Command] = &[
    command("list", 2, ADMIN | NOSCRIPT, NO_KEYS, CAT_ADMINS, "4.0.0", empty_array),
    command("help", 2, ALWAYS, NO_KEYS, 0, "5.0.0", module_help),
];

const ACL: &[Command] = &[
    command("whoami", 2, NOSCRIPT | ALWAYS, NO_KEYS, 0, "6.0.0", acl_whoami),
    command("users", 2, ADMINS, NO_KEYS, CAT_ADMINS, "6.0.0", acl_users),
    command("list", 2, ADMINS, NO_KEYS, CAT_ADMINS, "6.0.0", acl_list),
    command("getuser", 3, ADMINS, NO_KEYS, CAT_ADMINS, "6.0.0", acl_getuser),
    command("cat", -2, NOSCRIPT | ALWAYS, NO_KEYS, 0, "6.0.0", acl_cat),
    command("log", -2, ADMINS, NO_KEYS, CAT_ADMINS, "6.0.0", acl_log),
    command("help", 2, ALWAYS, NO_KEYS, 0, "6.0.0", acl_help),
];

/// As Redis words it where a subcommand counts its own arguments.
fn unknown_or_wrong(subcommand: &str, command: &str) -> CommandError {
    CommandError::err(format!(
        "unknown subcommand or wrong number of arguments for '{subcommand}'. Try {command} HELP."
    ))
}

fn empty_array(context: &mut Context<'_>) -> Outcome {
    Ok(context.reply.array(0))
}

fn zero(context: &mut Context<'_>) -> Outcome {
    Ok(context.reply.int(0))
}

/// Unix seconds, and microseconds within the second.
fn time(context: &mut Context<'_>) -> Outcome {
    let now_us = context.engine.clock.now_us();
    let reply = context.reply.array(2);
    context.reply.bulk_int(now_us / 1_000_000);
    context.reply.bulk_int(now_us % 1_000_000);
    Ok(reply)
}

fn lolwut(context: &mut Context<'_>) -> Outcome {
    let art = format!(
        "   ___\n  /   \\   What is written\n |  o  |  is kept.\n  \\_|_/\n    |__\n    |_\n\nIronkeep ver. {}\n",
        env!("CARGO_PKG_VERSION")
    );
    Ok(context.reply.verbatim("txt", art.as_bytes()))
}

/// A master, its replication offset, and no replicas.
fn role(context: &mut Context<'_>) -> Outcome {
    let reply = context.reply.array(3);
    context.reply.bulk(b"master");
    context.reply.int(0);
    context.reply.array(0);
    Ok(reply)
}

fn cluster(_context: &mut Context<'_>) -> Outcome {
    Err(CommandError::err("This instance has cluster support disabled"))
}

fn replication(_context: &mut Context<'_>) -> Outcome {
    Err(CommandError::err("this version has no replication; SAVE or BGSAVE write the RDB file, which can be copied"))
}

fn replicaof(context: &mut Context<'_>) -> Outcome {
    if is(context.args[1], "NO") && is(context.args[2], "ONE") {
        return Ok(context.reply.ok());
    }
    replication(context)
}

fn latency_histogram(context: &mut Context<'_>) -> Outcome {
    Ok(context.reply.map(0))
}

fn latency_doctor(context: &mut Context<'_>) -> Outcome {
    Ok(context.reply.verbatim("txt", b"Latency monitoring is not part of this version."))
}

fn latency_help(context: &mut Context<'_>) -> Outcome {
    Ok(help(
        context,
        "LATENCY",
        &[
            ("DOCTOR", "Return a human readable latency analysis report."),
            ("HISTORY <event>", "Return time-latency samples for the <event> class."),
            ("LATEST", "Return the latest latency samples for all events."),
            ("RESET [<event> ...]", "Reset latency data of one or more <event> classes."),
            ("HISTOGRAM [<command> ...]", "Return a histogram of the latencies of commands."),
        ],
    ))
}

fn slowlog_get(context: &mut Context<'_>) -> Outcome {
    match context.args[2..] {
        [] => {}
        [count] => {
            let wrong = || CommandError::err("count should be greater than or equal to -1");
            args::int(count).ok().filter(|count| *count >= -1).ok_or_else(wrong)?;
        }
        _ => return Err(unknown_or_wrong("get", "SLOWLOG")),
    }
    Ok(context.reply.array(0))
}

fn slowlog_reset(context: &mut Context<'_>) -> Outcome {
    Ok(context.reply.ok())
}

fn slowlog_help(context: &mut Context<'_>) -> Outcome {
    Ok(help(
        context,
        "SLOWLOG",
        &[
            ("GET [<count>]", "Return top <count> entries from the slowlog. This version keeps none."),
            ("LEN", "Return the length of the slowlog."),
            ("RESET", "Reset the slowlog."),
        ],
    ))
}

fn module_help(context: &mut Context<'_>) -> Outcome {
    Ok(help(context, "MODULE", &[("LIST", "Return a list of loaded modules: always empty in this version.")]))
}

fn acl_whoami(context: &mut Context<'_>) -> Outcome {
    Ok(context.reply.bulk(b"default"))
}

fn acl_users(context: &mut Context<'_>) -> Outcome {
    let reply = context.reply.array(1);
    context.reply.bulk(b"default");
    Ok(reply)
}

/// The one user as a rule. A password is not shown, not even as its hash.
fn acl_list(context: &mut Context<'_>) -> Outcome {
    let access = if context.engine.config.requirepass.is_empty() { "nopass" } else { "(requirepass)" };
    let reply = context.reply.array(1);
    context.reply.bulk(format!("user default on {access} sanitize-payload ~* &* +@all").as_bytes());
    Ok(reply)
}

fn acl_getuser(context: &mut Context<'_>) -> Outcome {
    if context.args[2] != b"default" {
        return Ok(context.reply.null());
    }
    let mut flags = vec!["on"];
    if context.engine.config.requirepass.is_empty() {
        flags.push("nopass");
    }
    flags.push("sanitize-payload");
    let reply = context.reply.map(6);
    context.reply.bulk(b"flags");
    context.reply.set(flags.len());
    for flag in flags {
        context.reply.bulk(flag.as_bytes());
    }
    context.reply.bulk(b"passwords");
    context.reply.array(0);
    for (name, value) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        context.reply.bulk(name.as_bytes());
        context.reply.bulk(value.as_bytes());
    }
    context.reply.bulk(b"selectors");
    context.reply.array(0);
    Ok(reply)
}

/// All categories, or the commands of one.
fn acl_cat(context: &mut Context<'_>) -> Outcome {
    let names: Vec<String> = match context.args[2..] {
        [] => CATEGORY_NAMES.iter().map(|(_, name)| (*name).to_owned()).collect(),
        [category] => {
            let unknown = || CommandError::err(format!("Unknown category '{}'", args::printable(category)));
            let bit = category_bit(category).ok_or_else(unknown)?;
            let mut names = Vec::new();
            visit_rows(&mut |name, row| {
                if row.categories() & bit != 0 {
                    names.push(name.to_owned());
                }
            });
            names
        }
        _ => return Err(unknown_or_wrong("cat", "ACL")),
    };
    let reply = context.reply.array(names.len());
    for name in names {
        context.reply.bulk(name.as_bytes());
    }
    Ok(reply)
}

/// `LOG [count | RESET]`: nothing is ever denied but a wrong password, which the server logs.
fn acl_log(context: &mut Context<'_>) -> Outcome {
    match context.args[2..] {
        [] => Ok(context.reply.array(0)),
        [option] if is(option, "RESET") => Ok(context.reply.ok()),
        [count] => {
            args::int(count)?;
            Ok(context.reply.array(0))
        }
        _ => Err(unknown_or_wrong("log", "ACL")),
    }
}

fn acl_help(context: &mut Context<'_>) -> Outcome {
    Ok(help(
        context,
        "ACL",
        &[
            ("CAT [<category>]", "List all commands that belong to <category>, or all command categories."),
            ("GETUSER <username>", "Get the user's details."),
            ("LIST", "Show users details in config file format."),
            ("LOG [<count> | RESET]", "Show the ACL log entries."),
            ("USERS", "List all the registered usernames."),
            ("WHOAMI", "Return the current connection username."),
        ],
    ))
}

#[cfg(test)]
mod tests {
    use super::super::console::{Console, assert_rows_are_those_of_redis};
    use super::super::spec::Command;

    #[test]
    fn the_rows_are_those_of_redis() {
        let own = ["cluster"]; // a command with subcommands there; every one of them has the same answer here
        for row in super::COMMANDS.iter().filter(|row| !own.contains(&row.name)) {
            assert_rows_are_those_of_redis(std::slice::from_ref::<Command>(row));
        }
    }

    #[test]
    fn there_is_one_user() {
        let mut console = Console::new();
        console.script(
            "acl whoami => default
             acl users => *1 default
             acl list => *1 user default on nopass sanitize-payload ~* &* +@all
             acl getuser nosuch => _
             acl cat nosuch => -ERR Unknown category 'nosuch'
             acl cat a b => -ERR unknown subcommand or wrong number of arguments for 'cat'. Try ACL HELP.
             acl log => *0
             acl log reset => +OK
             acl setuser alice on => -ERR unknown subcommand 'setuser'. Try ACL HELP.
             config set requirepass geheim => +OK",
        );
        assert!(!console.run("acl list").contains("geheim"));
        assert!(!console.run("acl getuser default").contains("nopass"));
        assert!(console.run("acl cat string").contains(" incr "));
    }

    #[test]
    fn it_is_a_master_alone() {
        Console::new().script(
            "role => *3 master :0 *0
             cluster slots => -ERR This instance has cluster support disabled
             readonly => -ERR This instance has cluster support disabled
             replicaof no one => +OK
             module list => *0",
        );
        let refused = Console::new().run("replicaof 127.0.0.1 6379");
        assert!(refused.starts_with("-ERR this version has no replication"), "{refused}");
    }

    #[test]
    fn time_is_that_of_the_engine() {
        assert_eq!(Console::new().run("time"), "*2 1000000000 0");
    }

    #[test]
    fn logs_that_are_not_kept_are_empty() {
        Console::new().script(
            "slowlog get => *0
             slowlog get -2 => -ERR count should be greater than or equal to -1
             slowlog len => :0
             slowlog reset => +OK
             latency latest => *0
             latency history x => *0
             latency reset => :0
             latency histogram => %0",
        );
    }
}
