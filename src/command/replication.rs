//! Replication, which is not built, but for the one thing that it shares with `redis-cli --rdb` and its like: a snapshot of
//! the data over the connection.
//!
//! ```text
//! -> REPLCONF capa eof        the transfer may end by a mark, so that nobody need know its length before
//! -> REPLCONF rdb-only 1      no log of commands is to follow
//! -> SYNC
//! <- $EOF:<40 digits> CR LF, the RDB, the same 40 digits
//! ```
//!
//! A replica, which would wait for a log behind it, is refused.

use crate::engine::jobs::Job;

use super::args::{self, is};
use super::spec::{
    ADMIN, ALLOW_BUSY, CAT_ADMIN, CAT_DANGEROUS, Command, FAST, LOADING, NO_ASYNC_LOADING, NO_KEYS, NO_MULTI, NOSCRIPT,
    STALE, command,
};
use super::{CommandError, Context, Outcome};

const CAT_ADMINS: u32 = CAT_ADMIN | CAT_DANGEROUS;
const STREAMING: u32 = ADMIN | NO_ASYNC_LOADING | NO_MULTI | NOSCRIPT;
const FOLLOWING: u32 = ADMIN | NO_ASYNC_LOADING | NOSCRIPT | STALE;
const TELLING: u32 = ADMIN | NOSCRIPT | LOADING | STALE | ALLOW_BUSY;
/// The address of a replica is shorter.
const ADDRESS_LEN: usize = 256;

pub const COMMANDS: &[Command] = &[
    command("role", 1, NOSCRIPT | LOADING | STALE | FAST, NO_KEYS, CAT_ADMINS, "2.8.12", role),
    command("replconf", -1, TELLING, NO_KEYS, CAT_ADMINS, "3.0.0", replconf),
    command("sync", 1, STREAMING, NO_KEYS, CAT_ADMINS, "1.0.0", sync),
    command("psync", -3, STREAMING, NO_KEYS, CAT_ADMINS, "2.8.0", replication),
    command("replicaof", 3, FOLLOWING, NO_KEYS, CAT_ADMINS, "5.0.0", replicaof),
    command("slaveof", 3, FOLLOWING, NO_KEYS, CAT_ADMINS, "1.0.0", replicaof),
    command("failover", -1, ADMIN | NOSCRIPT | STALE, NO_KEYS, CAT_ADMINS, "6.2.0", failover),
];

/// A master, its replication offset, and no replicas.
fn role(context: &mut Context<'_>) -> Outcome {
    let reply = context.reply.array(3);
    context.reply.bulk(b"master");
    context.reply.int(0);
    context.reply.array(0);
    Ok(reply)
}

/// `REPLCONF option value ...`: what the one who will ask for the data can do.
fn replconf(context: &mut Context<'_>) -> Outcome {
    let options = &context.args[1..];
    if !options.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    for pair in options.chunks_exact(2) {
        let (option, value) = (pair[0], pair[1]);
        match option.to_ascii_lowercase().as_slice() {
            b"capa" => context.session.takes_eof_mark |= is(value, "eof"),
            b"rdb-only" => context.session.wants_rdb_only = zero_or_one(value)?,
            b"listening-port" => {
                args::int(value)?;
            }
            b"ip-address" if value.len() >= ADDRESS_LEN => {
                let len = value.len();
                return Err(CommandError::err(format!(
                    "REPLCONF ip-address provided by replica instance is too long: {len} bytes"
                )));
            }
            b"ip-address" | b"version" => {}
            _ => {
                let option = args::printable(option);
                return Err(CommandError::err(format!("Unrecognized REPLCONF option: {option}")));
            }
        }
    }
    Ok(context.reply.ok())
}

fn zero_or_one(value: &[u8]) -> Result<bool, CommandError> {
    match args::int(value)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(CommandError::err("value is out of range, value must between 0 and 1")),
    }
}

fn sync(context: &mut Context<'_>) -> Outcome {
    let session = &mut *context.session;
    if !session.wants_rdb_only || !session.takes_eof_mark {
        return replication(context);
    }
    session.awaits_reply = true;
    context.engine.jobs.push(Job::StreamSnapshot { client: session.id });
    Ok(context.reply.raw(b""))
}

fn replication(_context: &mut Context<'_>) -> Outcome {
    Err(CommandError::err(
        "this version has no replication; it gives its data, once, to who has sent REPLCONF capa eof and REPLCONF \
         rdb-only 1, as redis-cli --rdb does",
    ))
}

fn replicaof(context: &mut Context<'_>) -> Outcome {
    if is(context.args[1], "NO") && is(context.args[2], "ONE") {
        return Ok(context.reply.ok());
    }
    let port = args::int(context.args[2]).ok().and_then(|port| u16::try_from(port).ok());
    port.ok_or_else(|| CommandError::err("Invalid master port"))?;
    replication(context)
}

/// `FAILOVER ABORT`, or `FAILOVER [TO host port] [FORCE] [TIMEOUT ms]`: there is none under way, and nobody to take over.
fn failover(context: &mut Context<'_>) -> Outcome {
    let mut rest = &context.args[1..];
    if matches!(rest, [option] if is(option, "ABORT")) {
        return Err(CommandError::err("No failover in progress."));
    }
    let (mut has_target, mut has_timeout, mut is_forced) = (false, false, false);
    while let [option, tail @ ..] = rest {
        rest = match tail {
            [ms, tail @ ..] if is(option, "TIMEOUT") && !has_timeout => {
                if args::int(ms)? <= 0 {
                    return Err(CommandError::err("FAILOVER timeout must be greater than 0"));
                }
                has_timeout = true;
                tail
            }
            [_, port, tail @ ..] if is(option, "TO") && !has_target => {
                args::int(port)?;
                has_target = true;
                tail
            }
            _ if is(option, "FORCE") && !is_forced => {
                is_forced = true;
                tail
            }
            _ => return Err(CommandError::Syntax),
        };
    }
    Err(CommandError::err("FAILOVER requires connected replicas."))
}

#[cfg(test)]
mod tests {
    use super::super::console::{Console, assert_rows_are_those_of_redis};

    #[test]
    fn the_rows_are_those_of_redis() {
        assert_rows_are_those_of_redis(super::COMMANDS);
    }

    #[test]
    fn it_is_a_master_alone() {
        Console::new().script(
            "role => *3 master :0 *0
             replicaof no one => +OK
             replconf capa => -ERR syntax error
             replconf nosuch 1 => -ERR Unrecognized REPLCONF option: nosuch
             replconf rdb-only 2 => -ERR value is out of range, value must between 0 and 1
             replicaof 127.0.0.1 65536 => -ERR Invalid master port",
        );
        let address = |len| Console::new().run(&format!("replconf ip-address {}", "a".repeat(len)));
        assert_eq!(address(255), "+OK");
        assert!(address(256).ends_with(" is too long: 256 bytes"));
        for line in ["replicaof 127.0.0.1 6379", "sync", "psync ? -1"] {
            let refused = Console::new().run(line);
            assert!(refused.starts_with("-ERR this version has no replication"), "{refused}");
        }
    }

    #[test]
    fn nobody_takes_over_and_what_is_wrongly_said_is_told_first() {
        Console::new().script(
            "failover => -ERR FAILOVER requires connected replicas.
             failover timeout 1 force to a 1 => -ERR FAILOVER requires connected replicas.
             failover abort => -ERR No failover in progress.
             failover abort force => -ERR syntax error
             failover force force => -ERR syntax error
             failover to a => -ERR syntax error
             failover to a b => -ERR value is not an integer or out of range
             failover timeout 0 => -ERR FAILOVER timeout must be greater than 0",
        );
    }

    #[test]
    fn only_who_wants_no_log_behind_it_gets_a_snapshot() {
        let mut console = Console::new();
        console.script("replconf capa eof capa psync2 => +OK");
        assert!(console.run("sync").starts_with("-ERR"));
        console.script("replconf rdb-only 1 => +OK\n sync =>");
        assert!(console.session.awaits_reply && console.engine.jobs.len() == 1);
    }
}
