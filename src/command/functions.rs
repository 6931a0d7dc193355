//! FUNCTION and FCALL: libraries of functions, which are data: files and the log have them.
//!
//! FUNCTION LOAD runs the code of a library once, which registers its functions; the log has the command. While a log is
//! replayed, and of a file, only the code is taken; it is compiled before the first command that needs it ([`prepare`]).

use std::collections::HashSet;

use crate::codec::glob;
use crate::engine::Engine;
use crate::engine::clock::Stopwatch;
use crate::engine::functions::{Library, LibraryState};
use crate::engine::jobs::Job;
use crate::lua::shebang::{self, Flags};
use crate::lua::{Effects, Host, Kind, LogLevel, Registered};
use crate::rdb::{Cause, dump};
use crate::resp::{Encoder, Protocol};

use super::args::{self, is};
use super::scripting::{COUNTED_KEYS, RUNS, run};
use super::spec::{
    ALLOW_BUSY, CAT_SCRIPTING, Command, DENYOOM, LOADING, NO_KEYS, NOSCRIPT, READONLY, STALE, WRITE, command, container,
};
use super::{CommandError, Context, Outcome, monitor};

pub const COMMANDS: &[Command] = &[
    command("fcall", -3, RUNS, COUNTED_KEYS, CAT_SCRIPTING, "7.0.0", fcall),
    command("fcall_ro", -3, RUNS | READONLY, COUNTED_KEYS, CAT_SCRIPTING, "7.0.0", fcall),
    container("function", 0, "7.0.0", SUBCOMMANDS),
];

const SUBCOMMANDS: &[Command] = &[
    command("list", -2, NOSCRIPT, NO_KEYS, CAT_SCRIPTING, "7.0.0", list),
    command("load", -3, WRITE | DENYOOM | NOSCRIPT, NO_KEYS, CAT_SCRIPTING, "7.0.0", load),
    command("delete", 3, WRITE | NOSCRIPT, NO_KEYS, CAT_SCRIPTING, "7.0.0", delete),
    command("dump", 2, NOSCRIPT, NO_KEYS, CAT_SCRIPTING, "7.0.0", dump),
    command("restore", -3, WRITE | DENYOOM | NOSCRIPT, NO_KEYS, CAT_SCRIPTING, "7.0.0", restore),
    command("flush", -2, WRITE | NOSCRIPT, NO_KEYS, CAT_SCRIPTING, "7.0.0", flush),
    command("kill", 2, NOSCRIPT | ALLOW_BUSY, NO_KEYS, CAT_SCRIPTING, "7.0.0", kill),
    command("stats", 2, NOSCRIPT | ALLOW_BUSY, NO_KEYS, CAT_SCRIPTING, "7.0.0", stats),
    command("help", 2, LOADING | STALE, NO_KEYS, CAT_SCRIPTING, "7.0.0", help),
];

fn fcall(context: &mut Context<'_>) -> Outcome {
    prepare(context.engine);
    let name = context.args[1];
    let Some((_, function)) = context.engine.functions.find(name) else {
        return Err(match context.engine.functions.find_broken(name) {
            Some((library, reason)) => CommandError::err(format!(
                "Function not found: its library '{}' can not be compiled: {reason}",
                args::printable(&library.name)
            )),
            None => CommandError::err("Function not found"),
        });
    };
    let (name, flags) = (function.name.clone(), function.flags);
    if !flags.has(Flags::ALLOW_OOM) && !flags.has(Flags::NO_WRITES) && run::is_full(context.engine) {
        return Err(CommandError::OutOfMemory);
    }
    let keys = run::count_keys(context, CommandError::err("Bad number of keys provided"))?;
    let rules = run::rules(context, Some(flags))?;
    monitor::show_request(context);
    run::run(context, Kind::Functions, (&name, keys), rules)
}

/// How long the code of a library may take to register its functions, as in Redis.
const MOST_LOADING_MS: u128 = 500;

/// The server while a library is loaded: there is nothing to call yet.
struct Loading {
    since: Stopwatch,
    lines: Vec<Job>,
}

impl Host for Loading {
    fn call(&mut self, _: &[&[u8]], protocol: Protocol, _: Effects, reply: &mut Vec<u8>) {
        Encoder::new(reply, protocol).error(CommandError::NotFromScript.to_string().as_bytes());
    }

    fn may_call(&mut self, _: &[&[u8]]) -> Option<bool> {
        None
    }

    fn log(&mut self, level: LogLevel, text: &[u8]) {
        self.lines.push(Job::Log(level, String::from_utf8_lossy(text).into_owned()));
    }

    fn count_error(&mut self, _: &[u8]) {}

    fn pulse(&mut self) -> Option<&'static str> {
        (self.since.elapsed().as_millis() > MOST_LOADING_MS).then_some("ERR FUNCTION LOAD timeout")
    }
}

/// Runs the code of a library. Names of other libraries' functions are taken.
fn compile(engine: &mut Engine, name: &[u8], code: &[u8]) -> Result<Vec<Registered>, String> {
    let (_, body) = shebang::of_library(code).map_err(|error| error.to_string())?;
    let interpreter = engine.scripts.lend(Kind::Functions).map_err(|error| error.to_string())?;
    let functions = &engine.functions;
    let is_taken = |function: &str| functions.find(function.as_bytes()).is_some_and(|(other, _)| other.name != name);
    let mut host = Loading { since: engine.clock.stopwatch(), lines: Vec::new() };
    let outcome = interpreter.load(body, &mut host, is_taken);
    engine.jobs.append(&mut host.lines);
    engine.scripts.give_back(Kind::Functions, interpreter);
    outcome.map_err(|text| String::from_utf8_lossy(&text).into_owned())
}

/// Compiles the libraries that came with a file. One that can't be stays, and the server's log says why.
pub fn prepare(engine: &mut Engine) {
    for (name, code) in engine.functions.take_unfinished() {
        let state = match compile(engine, &name, &code) {
            Ok(functions) => LibraryState::Compiled(functions),
            Err(reason) => {
                let name = args::printable(&name);
                let text = format!("The function library '{name}' is kept, but can not be called: {reason}");
                engine.jobs.push(Job::Log(LogLevel::Warning, text));
                LibraryState::Broken(reason)
            }
        };
        engine.functions.set_state(&name, state);
    }
}

/// Adds a library, compiled; another of the same name goes.
fn add(engine: &mut Engine, name: &str, code: &[u8]) -> Result<(), CommandError> {
    let functions = compile(engine, name.as_bytes(), code).map_err(CommandError::err)?;
    if let Some(old) = engine.functions.get(name.as_bytes()) {
        let is_gone = |old: &&Registered| functions.iter().all(|new| new.name != old.name);
        let gone: Vec<String> = old.functions().iter().filter(is_gone).map(|old| old.name.clone()).collect();
        gone.iter().for_each(|name| engine.scripts.forget_function(name));
    }
    let state = LibraryState::Compiled(functions);
    engine.functions.insert(Library { name: name.into(), engine: b"lua".to_vec(), code: code.to_vec(), state });
    Ok(())
}

fn remove(engine: &mut Engine, name: &[u8]) -> bool {
    let functions = engine.functions.get(name).map(Library::functions).unwrap_or_default();
    let names: Vec<String> = functions.iter().map(|function| function.name.clone()).collect();
    names.iter().for_each(|name| engine.scripts.forget_function(name));
    engine.functions.delete(name)
}

fn load(context: &mut Context<'_>) -> Outcome {
    let [options @ .., code] = &context.args[2..] else { return Err(CommandError::Syntax) };
    if let Some(option) = options.iter().find(|option| !is(option, "REPLACE")) {
        return Err(CommandError::err(format!("Unknown option given: {}", args::printable(option))));
    }
    let is_replacing = !options.is_empty();
    if context.is_replay {
        let library = context.engine.functions.load(code, is_replacing).map_err(CommandError::err)?;
        let name = library.name.clone();
        context.changed(1);
        return Ok(context.reply.bulk(&name));
    }
    prepare(context.engine);
    let (name, _) = shebang::of_library(code).map_err(CommandError::err)?;
    if !is_replacing && context.engine.functions.get(name.as_bytes()).is_some() {
        return Err(CommandError::err(format!("Library '{name}' already exists")));
    }
    add(context.engine, &name, code)?;
    context.changed(1);
    Ok(context.reply.bulk(name.as_bytes()))
}

fn list(context: &mut Context<'_>) -> Outcome {
    let (mut pattern, mut with_code) = (None, false);
    let mut rest = &context.args[2..];
    while let [option, tail @ ..] = rest {
        rest = match tail {
            tail if is(option, "WITHCODE") && !with_code => {
                with_code = true;
                tail
            }
            [value, tail @ ..] if is(option, "LIBRARYNAME") && pattern.is_none() => {
                pattern = Some(*value);
                tail
            }
            [] if is(option, "LIBRARYNAME") => return Err(CommandError::err("library name argument was not given")),
            _ => return Err(CommandError::err(format!("Unknown argument {}", args::printable(option)))),
        };
    }
    prepare(context.engine);
    let libraries: Vec<Library> = context
        .engine
        .functions
        .iter()
        .filter(|library| pattern.is_none_or(|pattern| glob::matches_ignoring_case(pattern, &library.name)))
        .cloned()
        .collect();
    let reply = context.reply.array(libraries.len());
    libraries.iter().for_each(|library| describe(context, library, with_code));
    Ok(reply)
}

fn describe(context: &mut Context<'_>, library: &Library, with_code: bool) {
    let reply = &mut context.reply;
    reply.map(if with_code { 4 } else { 3 });
    reply.bulk(b"library_name");
    reply.bulk(&library.name);
    reply.bulk(b"engine");
    reply.bulk(&library.engine.to_ascii_uppercase());
    reply.bulk(b"functions");
    // Of a library that can't be compiled the names are read off the text.
    let read_off = |name: String| Registered { name, description: None, flags: shebang::Flags::default() };
    let functions = match &library.state {
        LibraryState::Compiled(functions) => functions.clone(),
        _ => library.function_names().into_iter().map(read_off).collect(),
    };
    reply.array(functions.len());
    for function in &functions {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(function.name.as_bytes());
        reply.bulk(b"description");
        match &function.description {
            Some(text) => reply.bulk(text),
            None => reply.null(),
        };
        reply.bulk(b"flags");
        reply.set(function.flags.names().count());
        function.flags.names().for_each(|flag| {
            reply.simple(flag);
        });
    }
    if with_code {
        reply.bulk(b"library_code");
        reply.bulk(&library.code);
    }
}

fn delete(context: &mut Context<'_>) -> Outcome {
    if !remove(context.engine, context.args[2]) {
        return Err(CommandError::err("Library not found"));
    }
    context.changed(1);
    Ok(context.reply.ok())
}

fn clear(engine: &mut Engine) {
    engine.functions.clear();
    engine.scripts.forget_functions();
}

fn flush(context: &mut Context<'_>) -> Outcome {
    match context.args[2..] {
        [] => {}
        [mode] if is(mode, "SYNC") || is(mode, "ASYNC") => {}
        [_] => return Err(CommandError::err("FUNCTION FLUSH only supports SYNC|ASYNC option")),
        _ => return Err(too_many("FLUSH")),
    }
    clear(context.engine);
    context.tell_sender("FUNCTION-FLUSH");
    context.changed(1);
    Ok(context.reply.ok())
}

fn too_many(subcommand: &str) -> CommandError {
    CommandError::err(format!("unknown subcommand or wrong number of arguments for '{subcommand}'. Try FUNCTION HELP."))
}

fn dump(context: &mut Context<'_>) -> Outcome {
    let codes: Vec<&[u8]> = context.engine.functions.iter().map(|library| &*library.code).collect();
    let version = context.engine.rdb_version(crate::rdb::Version::Rdb11);
    let payload = dump::encode_functions(&codes, version).map_err(CommandError::err)?;
    Ok(context.reply.bulk(&payload))
}

/// What becomes of the libraries that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Flush,
    Append,
    Replace,
}

fn restore(context: &mut Context<'_>) -> Outcome {
    let policy = match context.args[3..] {
        [] => Policy::Append,
        [word] if is(word, "FLUSH") => Policy::Flush,
        [word] if is(word, "APPEND") => Policy::Append,
        [word] if is(word, "REPLACE") => Policy::Replace,
        [_] => {
            let text = "Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.";
            return Err(CommandError::err(text));
        }
        _ => return Err(too_many("RESTORE")),
    };
    let codes = dump::decode_functions(context.args[2]).map_err(|error| match error.cause() {
        Cause::UnknownNumber(_) => CommandError::err("given type is not a function"),
        Cause::Checksum { .. } | Cause::NewerVersion(_) => CommandError::PayloadVersion,
        // Too short for the version and the checksum at its end.
        _ if context.args[2].len() < 10 => CommandError::PayloadVersion,
        _ => CommandError::err("Failed loading library payload"),
    })?;
    if context.is_replay {
        if policy == Policy::Flush {
            clear(context.engine);
        }
        for code in &codes {
            context.engine.functions.load(code, policy == Policy::Replace).map_err(CommandError::err)?;
        }
    } else {
        prepare(context.engine);
        restore_compiled(context.engine, &codes, policy)?;
    }
    context.changed(1);
    Ok(context.reply.ok())
}

/// All of them, or none: on an error everything is as it was.
fn restore_compiled(engine: &mut Engine, codes: &[Vec<u8>], policy: Policy) -> Result<(), CommandError> {
    let before = engine.functions.clone();
    if policy == Policy::Flush {
        clear(engine);
    }
    let mut names = HashSet::new();
    let mut add_all = || {
        for code in codes {
            let (name, _) = shebang::of_library(code).map_err(CommandError::err)?;
            if policy == Policy::Append && engine.functions.get(name.as_bytes()).is_some() {
                let quote = if names.contains(&name) { "'" } else { "" };
                return Err(CommandError::err(format!("Library {quote}{name}{quote} already exists")));
            }
            add(engine, &name, code)?;
            names.insert(name);
        }
        Ok(())
    };
    let outcome = add_all();
    if outcome.is_err() {
        engine.scripts.forget_functions();
        engine.functions = before;
        engine.functions.forget_compiled();
        prepare(engine);
    }
    outcome
}

fn kill(context: &mut Context<'_>) -> Outcome {
    run::kill(context, true)
}

fn stats(context: &mut Context<'_>) -> Outcome {
    match &context.engine.scripts.running {
        Some(running) if !running.is_function => return Err(CommandError::BusyScript),
        Some(_) => {}
        None => prepare(context.engine),
    }
    let running = context.engine.scripts.running.clone();
    let reply = context.reply.map(2);
    context.reply.bulk(b"running_script");
    match running {
        None => context.reply.null(),
        Some(running) => {
            context.reply.map(3);
            context.reply.bulk(b"name");
            context.reply.bulk(running.name.as_bytes());
            context.reply.bulk(b"command");
            context.reply.array(running.command.len());
            for argument in &running.command {
                context.reply.bulk(argument);
            }
            context.reply.bulk(b"duration_ms");
            context.reply.int(i64::try_from(running.since.elapsed().as_millis()).unwrap_or(i64::MAX))
        }
    };
    context.reply.bulk(b"engines");
    context.reply.map(1);
    context.reply.bulk(b"LUA");
    context.reply.map(2);
    context.reply.bulk(b"libraries_count");
    context.reply.count(context.engine.functions.iter().len());
    context.reply.bulk(b"functions_count");
    context.reply.count(context.engine.functions.count());
    Ok(reply)
}

fn help(context: &mut Context<'_>) -> Outcome {
    Ok(super::connection::help(
        context,
        "FUNCTION",
        &[
            ("LOAD [REPLACE] <FUNCTION CODE>", "Create a new library with the given library name and code."),
            ("DELETE <LIBRARY NAME>", "Delete the given library."),
            ("LIST [LIBRARYNAME PATTERN] [WITHCODE]", "Return general information on all the libraries."),
            ("STATS", "Return information about the current function running and the engines."),
            ("KILL", "Kill the current running function."),
            ("FLUSH [ASYNC|SYNC]", "Delete all the libraries; both modes do it at once."),
            ("DUMP", "Return a serialized payload representing the current libraries."),
            ("RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]", "Restore the libraries represented by the given payload."),
        ],
    ))
}
