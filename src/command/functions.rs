//! FUNCTION: libraries that came with a file are listed and kept; running them comes with scripting.

use crate::codec::glob;
use crate::engine::functions::Library;

use super::args::{self, is};
use super::spec::{CAT_SCRIPTING, Command, DENYOOM, LOADING, NO_KEYS, NOSCRIPT, STALE, WRITE, command, container};
use super::{CommandError, Context, Outcome};

pub const COMMANDS: &[Command] = &[container("function", 0, "7.0.0", SUBCOMMANDS)];

const SUBCOMMANDS: &[Command] = &[
    command("list", -2, NOSCRIPT, NO_KEYS, CAT_SCRIPTING, "7.0.0", list),
    command("load", -3, WRITE | DENYOOM | NOSCRIPT, NO_KEYS, CAT_SCRIPTING, "7.0.0", load),
    command("delete", 3, WRITE | NOSCRIPT, NO_KEYS, CAT_SCRIPTING, "7.0.0", delete),
    command("flush", -2, WRITE | NOSCRIPT, NO_KEYS, CAT_SCRIPTING, "7.0.0", flush),
    command("help", 2, LOADING | STALE, NO_KEYS, CAT_SCRIPTING, "7.0.0", help),
];

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
    let names = library.function_names();
    reply.array(names.len());
    for name in names {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(name.as_bytes());
        reply.bulk(b"description");
        reply.null();
        reply.bulk(b"flags");
        reply.set(0);
    }
    if with_code {
        reply.bulk(b"library_code");
        reply.bulk(&library.code);
    }
}

fn load(context: &mut Context<'_>) -> Outcome {
    let (replace, code) = match context.args[2..] {
        [code] => (false, code),
        [option, code] if is(option, "REPLACE") => (true, code),
        _ => return Err(CommandError::err("Unknown option given")),
    };
    let library = context.engine.functions.load(code, replace).map_err(CommandError::err)?;
    let name = library.name.clone();
    context.changed(1);
    Ok(context.reply.bulk(&name))
}

fn delete(context: &mut Context<'_>) -> Outcome {
    if !context.engine.functions.delete(context.args[2]) {
        return Err(CommandError::err("Library not found"));
    }
    context.changed(1);
    Ok(context.reply.ok())
}

fn flush(context: &mut Context<'_>) -> Outcome {
    match context.args[2..] {
        [] => {}
        [mode] if is(mode, "SYNC") || is(mode, "ASYNC") => {}
        _ => return Err(CommandError::err("FUNCTION FLUSH only supports SYNC|ASYNC option")),
    }
    context.engine.functions.clear();
    context.tell_sender("FUNCTION-FLUSH");
    context.changed(1);
    Ok(context.reply.ok())
}

fn help(context: &mut Context<'_>) -> Outcome {
    Ok(super::connection::help(
        context,
        "FUNCTION",
        &[
            (
                "LOAD [REPLACE] <FUNCTION CODE>",
                "Keep a library with the given code; calling its functions is not built yet.",
            ),
            ("DELETE <LIBRARY NAME>", "Delete the given library."),
            ("LIST [LIBRARYNAME PATTERN] [WITHCODE]", "Return general information on all the libraries."),
            ("FLUSH [ASYNC|SYNC]", "Delete all the libraries."),
        ],
    ))
}
