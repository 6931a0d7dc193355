//! EVAL, SCRIPT and kin: Lua scripts of clients.
//!
//! A script is one command: nothing comes in between, the time stands still, and its effects are one unit of the log, which
//! has the commands that it called and never the script. The state of Lua is the engine's ([`scripts`]); what the script may
//! do to the server is [`host`]'s; libraries of functions are in [`functions`](super::functions).
//!
//! [`scripts`]: crate::engine::scripts

pub(super) mod host;
pub(super) mod run;
#[cfg(test)]
mod tests;

use crate::engine::scripts::Digest;
use crate::lua::shebang;
use crate::lua::{Interpreter, Kind};

use super::args::is;
use super::spec::{
    ALLOW_BUSY, CAT_SCRIPTING, Command, Keys, LOADING, MOVABLE_KEYS, NO_KEYS, NO_MANDATORY_KEYS, NOSCRIPT, READONLY,
    SKIP_MONITOR, STALE, command, container,
};
use super::{CommandError, Context, Outcome};

/// Flags of all that run a script or function.
pub(super) const RUNS: u32 = NOSCRIPT | SKIP_MONITOR | STALE | NO_MANDATORY_KEYS | MOVABLE_KEYS;
/// The keys of these: behind their number.
pub(super) const COUNTED_KEYS: Keys = Keys::Counted { count_at: 2, also: 0 };

pub const COMMANDS: &[Command] = &[
    command("eval", -3, RUNS, COUNTED_KEYS, CAT_SCRIPTING, "2.6.0", eval),
    command("eval_ro", -3, RUNS | READONLY, COUNTED_KEYS, CAT_SCRIPTING, "7.0.0", eval),
    command("evalsha", -3, RUNS, COUNTED_KEYS, CAT_SCRIPTING, "2.6.0", evalsha),
    command("evalsha_ro", -3, RUNS | READONLY, COUNTED_KEYS, CAT_SCRIPTING, "7.0.0", evalsha),
    container("script", 0, "2.6.0", SUBCOMMANDS),
];

const SUBCOMMANDS: &[Command] = &[
    command("debug", 3, NOSCRIPT, NO_KEYS, CAT_SCRIPTING, "3.2.0", debug),
    command("exists", -3, NOSCRIPT, NO_KEYS, CAT_SCRIPTING, "2.6.0", exists),
    command("flush", -2, NOSCRIPT, NO_KEYS, CAT_SCRIPTING, "2.6.0", flush),
    command("help", 2, LOADING | STALE, NO_KEYS, CAT_SCRIPTING, "5.0.0", help),
    command("kill", 2, NOSCRIPT | ALLOW_BUSY, NO_KEYS, CAT_SCRIPTING, "2.6.0", kill),
    command("load", 3, NOSCRIPT | STALE, NO_KEYS, CAT_SCRIPTING, "2.6.0", load),
    command("show", 3, NOSCRIPT | STALE, NO_KEYS, CAT_SCRIPTING, "8.0.0", show),
];

fn eval(context: &mut Context<'_>) -> Outcome {
    let keys = run::count_keys(context, CommandError::NotInteger)?;
    let digest = digest_of(context.args[1]);
    let script = with_state(context, |context, interpreter| compile(context, interpreter, digest, context.args[1]));
    script?;
    run::script(context, &digest, keys)
}

fn evalsha(context: &mut Context<'_>) -> Outcome {
    let digest = as_digest(context.args[1]).ok_or(CommandError::NoScript)?;
    let keys = run::count_keys(context, CommandError::NotInteger)?;
    if !context.engine.scripts.contains(&digest) {
        return Err(CommandError::NoScript);
    }
    run::script(context, &digest, keys)
}

fn digest_of(code: &[u8]) -> Digest {
    use sha1::Digest as _;
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digest = [0; 40];
    for (at, byte) in sha1::Sha1::digest(code).iter().enumerate() {
        digest[2 * at] = DIGITS[usize::from(byte >> 4)];
        digest[2 * at + 1] = DIGITS[usize::from(byte & 15)];
    }
    digest
}

/// What may be a digest, in lower case.
fn as_digest(text: &[u8]) -> Option<Digest> {
    text.to_ascii_lowercase().try_into().ok()
}

/// A digest is ASCII, unless a client has made it up: then no script has it.
pub(super) fn text(digest: &Digest) -> &str {
    std::str::from_utf8(digest).unwrap_or_default()
}

fn with_state<R>(
    context: &mut Context<'_>,
    work: impl FnOnce(&mut Context<'_>, &Interpreter) -> Result<R, CommandError>,
) -> Result<R, CommandError> {
    let interpreter = context.engine.scripts.lend(Kind::Scripts).map_err(CommandError::err)?;
    let outcome = work(context, &interpreter);
    context.engine.scripts.give_back(Kind::Scripts, interpreter);
    outcome
}

/// Has the script there, compiled.
fn compile(
    context: &mut Context<'_>,
    interpreter: &Interpreter,
    digest: Digest,
    code: &[u8],
) -> Result<(), CommandError> {
    if context.engine.scripts.contains(&digest) {
        return Ok(());
    }
    let (flags, body) = shebang::of_script(code).map_err(CommandError::err)?;
    interpreter.compile(text(&digest), body).map_err(|error| {
        CommandError::err(format!("Error compiling script (new function): {}", String::from_utf8_lossy(&error)))
    })?;
    if let Some(gone) = context.engine.scripts.insert(digest, code, flags) {
        interpreter.forget(text(&gone));
    }
    Ok(())
}

fn load(context: &mut Context<'_>) -> Outcome {
    let code = context.args[2];
    let digest = digest_of(code);
    with_state(context, |context, interpreter| compile(context, interpreter, digest, code))?;
    context.engine.scripts.keep(&digest);
    Ok(context.reply.bulk(&digest))
}

fn exists(context: &mut Context<'_>) -> Outcome {
    let reply = context.reply.array(context.args.len() - 2);
    for digest in &context.args[2..] {
        let is_there = as_digest(digest).is_some_and(|digest| context.engine.scripts.contains(&digest));
        context.reply.int(i64::from(is_there));
    }
    Ok(reply)
}

fn show(context: &mut Context<'_>) -> Outcome {
    let digest = as_digest(context.args[2]);
    let code = digest.and_then(|digest| context.engine.scripts.code(&digest));
    Ok(context.reply.bulk(code.ok_or(CommandError::NoScript)?))
}

fn flush(context: &mut Context<'_>) -> Outcome {
    match context.args[2..] {
        [] => {}
        [mode] if is(mode, "SYNC") || is(mode, "ASYNC") => {}
        _ => return Err(CommandError::err("SCRIPT FLUSH only support SYNC|ASYNC option")),
    }
    context.engine.scripts.clear();
    Ok(context.reply.ok())
}

/// Ends the script that runs: only a client that is heard while one does can ask for it.
fn kill(context: &mut Context<'_>) -> Outcome {
    run::kill(context, false)
}

/// The debugger of Redis is not built: what asks for none is accepted.
fn debug(context: &mut Context<'_>) -> Outcome {
    match context.args[2] {
        mode if is(mode, "NO") => Ok(context.reply.ok()),
        mode if is(mode, "YES") || is(mode, "SYNC") => Err(CommandError::err("this server has no debugger of scripts")),
        _ => Err(CommandError::err("Use SCRIPT DEBUG YES/SYNC/NO")),
    }
}

fn help(context: &mut Context<'_>) -> Outcome {
    Ok(super::connection::help(
        context,
        "SCRIPT",
        &[
            ("DEBUG NO", "Set the debug mode for subsequent scripts executed; there is no other here."),
            (
                "EXISTS <sha1> [<sha1> ...]",
                "Return information about the existence of the scripts in the script cache.",
            ),
            ("FLUSH [ASYNC|SYNC]", "Flush the Lua scripts cache; both modes do it at once."),
            ("KILL", "Kill the currently executing Lua script."),
            ("LOAD <script>", "Load a script into the scripts cache without executing it."),
            ("SHOW <sha1>", "Show a script from the scripts cache."),
        ],
    ))
}
