//! Errors on their way through Lua: raised by our functions, caught by a script or by the interpreter.
//!
//! mlua carries what a Rust function raises as a userdata of its own. The sandbox's `pcall`, `xpcall` and `coroutine.resume`
//! turn that into what a script expects ([`to_lua`]): a text, or for a command's error a table with the field `err`.

use mlua::{Error, Lua, Value};

/// An error that one of our functions raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raised {
    pub(super) text: Vec<u8>,
    /// It is a table, as a command's error; with whether that was counted when the command ran.
    pub(super) reply: Option<Counted>,
}

/// Whether the server knows of an error already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counted(bool);

impl Raised {
    /// The error of a command that has run.
    pub(super) fn counted(text: &[u8]) -> Self {
        Self { text: text.to_vec(), reply: Some(Counted(true)) }
    }
}

impl std::fmt::Display for Raised {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&String::from_utf8_lossy(&self.text))
    }
}

impl std::error::Error for Raised {}

/// An error text, with the place in the script in front as `luaL_error` has it.
pub(super) fn fail(lua: &Lua, text: impl AsRef<[u8]>) -> Error {
    let mut whole =
        place(lua, 1).map(|place| format!("{}:{}: ", place.shown, place.line).into_bytes()).unwrap_or_default();
    whole.extend_from_slice(text.as_ref());
    Error::external(Raised { text: whole, reply: None })
}

/// The error of an argument, as `luaL_argerror` words it.
pub(super) fn bad_argument(lua: &Lua, number: usize, function: &str, text: &str) -> Error {
    fail(lua, format!("bad argument #{number} to '{function}' ({text})"))
}

/// The error of a command, with its code word.
pub(super) fn reply_error(text: impl Into<Vec<u8>>) -> Error {
    Error::external(Raised { text: text.into(), reply: Some(Counted(false)) })
}

/// Where a function of a script is.
pub(super) struct Place {
    /// The chunk: `@` and its name, or its code.
    pub(super) source: String,
    /// As Lua's own messages have it.
    pub(super) shown: String,
    pub(super) line: usize,
}

/// Whether the function that runs is one of the sandbox's own.
pub(super) fn is_sandbox(debug: &mlua::debug::Debug<'_>) -> bool {
    debug.source().source.is_some_and(|source| source.strip_prefix('@') == Some(super::sandbox::CHUNK))
}

/// The place in the function at this level of the stack, if that is one of a script.
pub(super) fn place(lua: &Lua, level: usize) -> Option<Place> {
    lua.inspect_stack(level, |debug| {
        let line = debug.current_line()?;
        let found = debug.source();
        let (source, shown) = (found.source?.into_owned(), found.short_src?.into_owned());
        let is_script = source.strip_prefix('@') != Some(super::sandbox::CHUNK);
        is_script.then_some(Place { source, shown, line })
    })?
}

/// What a script is to see of a caught value.
pub(super) fn to_lua(lua: &Lua, caught: Value) -> mlua::Result<Value> {
    let Value::Error(error) = caught else { return Ok(caught) };
    match cause(&error) {
        Error::ExternalError(external) => match external.downcast_ref::<Raised>() {
            Some(Raised { text, reply: Some(Counted(is_counted)) }) => {
                let table = lua.create_table()?;
                table.raw_set("err", lua.create_string(text)?)?;
                if *is_counted {
                    table.raw_set("ignore_error_stats_update", true)?;
                }
                Ok(Value::Table(table))
            }
            Some(raised) => Ok(Value::String(lua.create_string(&raised.text)?)),
            None => text(lua, &external.to_string()),
        },
        Error::RuntimeError(message) | Error::MemoryError(message) => text(lua, message),
        other => text(lua, &other.to_string()),
    }
}

/// What Lua raised inside of a function of ours, without the trace that mlua adds.
fn text(lua: &Lua, text: &str) -> mlua::Result<Value> {
    let text = text.split_once("\nstack traceback:").map_or(text, |(text, _)| text);
    Ok(Value::String(lua.create_string(text)?))
}

fn cause(error: &Error) -> &Error {
    let mut error = error;
    while let Error::CallbackError { cause, .. } = error {
        error = cause;
    }
    error
}
