//! The server's small talk: time, modules, and what it is not part of.

use super::args::{self, is};
use super::connection::help;
use super::spec::{
    ADMIN, CAT_ADMIN, CAT_CONNECTION, CAT_DANGEROUS, Command, FAST, LOADING, NO_ASYNC_LOADING, NO_KEYS, NOSCRIPT,
    PROTECTED, READONLY, STALE, command, container,
};
use super::{CommandError, Context, Outcome};

const ALWAYS: u32 = LOADING | STALE;
const CAT_ADMINS: u32 = CAT_ADMIN | CAT_DANGEROUS;
const LOADS: u32 = ADMIN | NO_ASYNC_LOADING | NOSCRIPT | PROTECTED;
const RECONFIGURES: u32 = ADMIN | NO_ASYNC_LOADING | STALE;

pub const COMMANDS: &[Command] = &[
    command("time", 1, ALWAYS | FAST, NO_KEYS, 0, "2.6.0", time),
    command("lolwut", -1, READONLY | FAST, NO_KEYS, 0, "5.0.0", lolwut),
    container("cluster", 0, "3.0.0", CLUSTER),
    command("readonly", 1, ALWAYS | FAST, NO_KEYS, CAT_CONNECTION, "3.0.0", cluster),
    command("readwrite", 1, ALWAYS | FAST, NO_KEYS, CAT_CONNECTION, "3.0.0", cluster),
    command("asking", 1, FAST, NO_KEYS, CAT_CONNECTION, "3.0.0", cluster),
    container("module", 0, "4.0.0", MODULE),
];

const CLUSTER: &[Command] = &[
    command("addslots", -3, RECONFIGURES, NO_KEYS, CAT_ADMINS, "3.0.0", cluster),
    command("addslotsrange", -4, RECONFIGURES, NO_KEYS, CAT_ADMINS, "7.0.0", cluster),
    command("bumpepoch", 2, RECONFIGURES, NO_KEYS, CAT_ADMINS, "3.0.0", cluster),
    command("count-failure-reports", 3, ADMIN | STALE, NO_KEYS, CAT_ADMINS, "3.0.0", cluster),
    command("countkeysinslot", 3, STALE, NO_KEYS, 0, "3.0.0", cluster),
    command("delslots", -3, RECONFIGURES, NO_KEYS, CAT_ADMINS, "3.0.0", cluster),
    command("delslotsrange", -4, RECONFIGURES, NO_KEYS, CAT_ADMINS, "7.0.0", cluster),
    command("failover", -2, RECONFIGURES, NO_KEYS, CAT_ADMINS, "3.0.0", cluster),
    command("flushslots", 2, RECONFIGURES, NO_KEYS, CAT_ADMINS, "3.0.0", cluster),
    command("forget", 3, RECONFIGURES, NO_KEYS, CAT_ADMINS, "3.0.0", cluster),
    command("getkeysinslot", 4, STALE, NO_KEYS, 0, "3.0.0", cluster),
    command("help", 2, ALWAYS, NO_KEYS, 0, "5.0.0", cluster),
    command("info", 2, STALE, NO_KEYS, 0, "3.0.0", cluster),
    command("keyslot", 3, STALE, NO_KEYS, 0, "3.0.0", cluster),
    command("links", 2, STALE, NO_KEYS, 0, "7.0.0", cluster),
    command("meet", -4, RECONFIGURES, NO_KEYS, CAT_ADMINS, "3.0.0", cluster),
    command("myid", 2, STALE, NO_KEYS, 0, "3.0.0", cluster),
    command("myshardid", 2, STALE, NO_KEYS, 0, "7.2.0", cluster),
    command("nodes", 2, STALE, NO_KEYS, 0, "3.0.0", cluster),
    command("replicas", 3, ADMIN | STALE, NO_KEYS, CAT_ADMINS, "5.0.0", cluster),
    command("replicate", 3, RECONFIGURES, NO_KEYS, CAT_ADMINS, "3.0.0", cluster),
    command("reset", -2, ADMIN | NOSCRIPT | STALE, NO_KEYS, CAT_ADMINS, "3.0.0", cluster),
    command("saveconfig", 2, RECONFIGURES, NO_KEYS, CAT_ADMINS, "3.0.0", cluster),
    command("set-config-epoch", 3, RECONFIGURES, NO_KEYS, CAT_ADMINS, "3.0.0", cluster),
    command("setslot", -4, RECONFIGURES, NO_KEYS, CAT_ADMINS, "3.0.0", cluster),
    command("shards", 2, ALWAYS, NO_KEYS, 0, "7.0.0", cluster),
    command("slaves", 3, ADMIN | STALE, NO_KEYS, CAT_ADMINS, "3.0.0", cluster),
    command("slots", 2, ALWAYS, NO_KEYS, 0, "3.0.0", cluster),
];

const MODULE: &[Command] = &[
    command("list", 2, ADMIN | NOSCRIPT, NO_KEYS, CAT_ADMINS, "4.0.0", empty_array),
    command("load", -3, LOADS, NO_KEYS, CAT_ADMINS, "4.0.0", load_module),
    command("loadex", -3, LOADS, NO_KEYS, CAT_ADMINS, "7.0.0", load_module),
    command("unload", 3, LOADS, NO_KEYS, CAT_ADMINS, "4.0.0", load_module),
    command("help", 2, ALWAYS, NO_KEYS, 0, "5.0.0", module_help),
];

fn empty_array(context: &mut Context<'_>) -> Outcome {
    Ok(context.reply.array(0))
}

/// Unix seconds, and microseconds within the second.
fn time(context: &mut Context<'_>) -> Outcome {
    let now_us = context.engine.clock.now_us();
    let reply = context.reply.array(2);
    context.reply.bulk_int(now_us / 1_000_000);
    context.reply.bulk_int(now_us % 1_000_000);
    Ok(reply)
}

/// `LOLWUT [VERSION version [size ...]]`: the sizes are those of the pictures of versions 5 and 6, and are checked only.
fn lolwut(context: &mut Context<'_>) -> Outcome {
    if let [option, version, sizes @ ..] = &context.args[1..]
        && is(option, "VERSION")
    {
        let sizes_read = match args::int(version)? {
            5 => 3,
            6 => 2,
            _ => 0,
        };
        for size in sizes.iter().take(sizes_read) {
            args::int(size)?;
        }
    }
    let art = format!(
        "   ___\n  /   \\   What is written\n |  o  |  is kept.\n  \\_|_/\n    |__\n    |_\n\nIronkeep ver. {}\n",
        env!("CARGO_PKG_VERSION")
    );
    Ok(context.reply.verbatim("txt", art.as_bytes()))
}

fn cluster(_context: &mut Context<'_>) -> Outcome {
    Err(CommandError::err("This instance has cluster support disabled"))
}

fn load_module(_context: &mut Context<'_>) -> Outcome {
    Err(modules_not_allowed())
}

/// As real servers answer where `enable-module-command` has its default.
pub(super) fn modules_not_allowed() -> CommandError {
    CommandError::text(
        "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", you can run it from a \
         local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
    )
}

fn module_help(context: &mut Context<'_>) -> Outcome {
    Ok(help(context, "MODULE", &[("LIST", "Return a list of loaded modules: always empty in this version.")]))
}

#[cfg(test)]
mod tests {
    use super::super::console::{Console, assert_rows_are_those_of_redis};

    #[test]
    fn the_rows_are_those_of_redis() {
        assert_rows_are_those_of_redis(super::COMMANDS);
    }

    #[test]
    fn it_is_no_cluster() {
        Console::new().script(
            "cluster slots => -ERR This instance has cluster support disabled
             cluster slots 1 => -ERR wrong number of arguments for 'cluster|slots' command
             cluster nosuch => -ERR unknown subcommand 'nosuch'. Try CLUSTER HELP.
             readonly => -ERR This instance has cluster support disabled
             module list => *0",
        );
    }

    #[test]
    fn what_is_no_number_of_a_picture_is_refused() {
        let mut console = Console::new();
        for wrong in ["lolwut version x", "lolwut version 5 1 1 x", "lolwut version 6 x"] {
            assert_eq!(console.run(wrong), "-ERR value is not an integer or out of range", "{wrong}");
        }
        for right in ["lolwut", "lolwut x", "lolwut version", "lolwut version 6 1 1 x", "lolwut version 7 x"] {
            assert!(console.run(right).contains("Ironkeep ver."), "{right}");
        }
    }

    #[test]
    fn time_is_that_of_the_engine() {
        assert_eq!(Console::new().run("time"), "*2 1000000000 0");
    }
}
