//! The server's small talk: time, modules, and what it is not part of.

use super::connection::help;
use super::spec::{
    ADMIN, CAT_ADMIN, CAT_CONNECTION, CAT_DANGEROUS, Command, FAST, LOADING, NO_ASYNC_LOADING, NO_KEYS, NOSCRIPT,
    READONLY, STALE, command, container,
};
use super::{CommandError, Context, Outcome};

const ALWAYS: u32 = LOADING | STALE;
const CAT_ADMINS: u32 = CAT_ADMIN | CAT_DANGEROUS;
const LOADS: u32 = ADMIN | NO_ASYNC_LOADING | NOSCRIPT;

pub const COMMANDS: &[Command] = &[
    command("time", 1, ALWAYS | FAST, NO_KEYS, 0, "2.6.0", time),
    command("lolwut", -1, READONLY | FAST, NO_KEYS, 0, "5.0.0", lolwut),
    command("cluster", -2, ALWAYS, NO_KEYS, 0, "3.0.0", cluster),
    command("readonly", 1, ALWAYS | FAST, NO_KEYS, CAT_CONNECTION, "3.0.0", cluster),
    command("readwrite", 1, ALWAYS | FAST, NO_KEYS, CAT_CONNECTION, "3.0.0", cluster),
    command("asking", 1, FAST, NO_KEYS, CAT_CONNECTION, "3.0.0", cluster),
    container("module", 0, "4.0.0", MODULE),
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

fn lolwut(context: &mut Context<'_>) -> Outcome {
    let art = format!(
        "   ___\n  /   \\   What is written\n |  o  |  is kept.\n  \\_|_/\n    |__\n    |_\n\nIronkeep ver. {}\n",
        env!("CARGO_PKG_VERSION")
    );
    Ok(context.reply.verbatim("txt", art.as_bytes()))
}

fn cluster(_context: &mut Context<'_>) -> Outcome {
    Err(CommandError::err("This instance has cluster support disabled"))
}

/// As real servers answer where `enable-module-command` has its default.
fn load_module(_context: &mut Context<'_>) -> Outcome {
    Err(CommandError::err(
        "MODULE command not allowed. If the enable-module-command option is set to \"local\", you can run it from a local \
         connection, otherwise you need to set this option in the configuration file, and then restart the server.",
    ))
}

fn module_help(context: &mut Context<'_>) -> Outcome {
    Ok(help(context, "MODULE", &[("LIST", "Return a list of loaded modules: always empty in this version.")]))
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
    fn it_is_no_cluster() {
        Console::new().script(
            "cluster slots => -ERR This instance has cluster support disabled
             readonly => -ERR This instance has cluster support disabled
             module list => *0",
        );
    }

    #[test]
    fn time_is_that_of_the_engine() {
        assert_eq!(Console::new().run("time"), "*2 1000000000 0");
    }
}
