//! `redis.*`: what a script calls the server by.
//!
//! `redis.call` and `redis.pcall` reach the [`Host`](super::Host) only while a script runs; what needs it besides them goes
//! through one function that stands in [`State::service`] then.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::{Error, Function, Lua, MultiValue, Table, Value};
use sha1::{Digest, Sha1};

use crate::resp::Protocol;

use super::host::Effects;
use super::raised::reply_error;

/// What the functions of one interpreter share.
pub(super) struct State {
    /// The version of the protocol that replies to `redis.call` have.
    pub(super) protocol: Cell<Protocol>,
    pub(super) effects: Cell<Effects>,
    /// Reaches the host, while a script runs.
    pub(super) service: RefCell<Option<Function>>,
    /// `redis.call` and `redis.pcall` of the function that runs.
    pub(super) calls: RefCell<Option<(Function, Function)>>,
    /// The text of the error with which everything ends.
    pub(super) killed: Cell<Option<&'static str>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            protocol: Cell::new(Protocol::Resp2),
            effects: Cell::new(Effects::ALL),
            service: RefCell::default(),
            calls: RefCell::default(),
            killed: Cell::new(None),
        }
    }
}

impl State {
    /// As every script finds it.
    pub(super) fn reset(&self) {
        self.protocol.set(Protocol::Resp2);
        self.effects.set(Effects::ALL);
        self.killed.set(None);
    }

    pub(super) fn serve(&self, service: Service, arguments: MultiValue) -> mlua::Result<Value> {
        let function = self.service.borrow().clone();
        match function {
            Some(function) => function.call((service as u8, arguments)),
            None => Ok(Value::Nil),
        }
    }
}

/// What is asked of the host beside commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Service {
    Pulse,
    Log,
    MayCall,
}

/// What is in `redis` whether or not something runs.
fn constants(lua: &Lua, version: &str) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (number, name) in ["LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"].into_iter().enumerate() {
        table.raw_set(name, number)?;
    }
    let number = version.split('.').fold(0_u32, |number, part| number << 8 | part.parse::<u32>().unwrap_or(0));
    table.raw_set("REDIS_VERSION", version)?;
    table.raw_set("REDIS_VERSION_NUM", number)?;
    Ok(table)
}

/// `redis` as scripts have it, but for `call` and `pcall`.
pub(super) fn table(lua: &Lua, state: &Rc<State>, version: &str, is_eval: bool) -> mlua::Result<Table> {
    let table = constants(lua, version)?;
    for (name, effects) in [
        ("REPL_NONE", Effects::NONE),
        ("REPL_AOF", Effects::LOG),
        ("REPL_SLAVE", Effects::REPLICAS),
        ("REPL_REPLICA", Effects::REPLICAS),
        ("REPL_ALL", Effects::ALL),
    ] {
        table.raw_set(name, effects.0)?;
    }
    table.raw_set("error_reply", lua.create_function(error_reply)?)?;
    table.raw_set("status_reply", lua.create_function(status_reply)?)?;
    table.raw_set("sha1hex", lua.create_function(sha1hex)?)?;
    let shared = Rc::clone(state);
    table.raw_set("log", lua.create_function(move |lua, given: MultiValue| log(lua, &shared, given))?)?;
    let shared = Rc::clone(state);
    table.raw_set("setresp", lua.create_function(move |lua, given: MultiValue| set_protocol(lua, &shared, &given))?)?;
    let shared = Rc::clone(state);
    table.raw_set("set_repl", lua.create_function(move |lua, given: MultiValue| set_effects(lua, &shared, &given))?)?;
    let shared = Rc::clone(state);
    let may_call = lua.create_function(move |_, given: MultiValue| {
        if given.is_empty() {
            return Err(reply_error("ERR Please specify at least one argument for this redis lib call"));
        }
        shared.serve(Service::MayCall, given)
    })?;
    table.raw_set("acl_check_cmd", may_call)?;
    if is_eval {
        table.raw_set("replicate_commands", lua.create_function(|_, ()| Ok(true))?)?;
        table.raw_set("breakpoint", lua.create_function(|_, ()| Ok(false))?)?;
        table.raw_set("debug", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    }
    Ok(table)
}

/// `redis` as the code of a library has it while it is loaded, but for `register_function`.
pub(super) fn loading_table(lua: &Lua, state: &Rc<State>, version: &str) -> mlua::Result<Table> {
    let table = constants(lua, version)?;
    let shared = Rc::clone(state);
    table.raw_set("log", lua.create_function(move |lua, given: MultiValue| log(lua, &shared, given))?)?;
    Ok(table)
}

fn only_string(given: &MultiValue) -> Option<Vec<u8>> {
    match (given.len(), given.front()) {
        (1, Some(Value::String(text))) => Some(text.as_bytes().to_vec()),
        _ => None,
    }
}

fn single(lua: &Lua, field: &str, text: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set(field, lua.create_string(text)?)?;
    Ok(table)
}

fn error_reply(lua: &Lua, given: MultiValue) -> mlua::Result<Table> {
    let Some(text) = only_string(&given) else {
        return single(lua, "err", b"ERR wrong number or type of arguments");
    };
    let text = text.strip_prefix(b"-").unwrap_or(&text);
    let text = text.trim_ascii_end();
    let prefix: &[u8] = if text.contains(&b' ') { b"" } else { b"ERR " };
    single(lua, "err", &[prefix, text].concat())
}

fn status_reply(lua: &Lua, given: MultiValue) -> mlua::Result<Table> {
    match only_string(&given) {
        Some(text) => single(lua, "ok", &text),
        None => single(lua, "err", b"ERR wrong number or type of arguments"),
    }
}

fn sha1hex(lua: &Lua, given: MultiValue) -> mlua::Result<String> {
    if given.len() != 1 {
        return Err(reply_error("ERR wrong number of arguments"));
    }
    let text = given.into_iter().next().map_or(Ok(None), |value| lua.coerce_string(value))?;
    Ok(hex(&text.map(|text| text.as_bytes().to_vec()).unwrap_or_default()))
}

/// SHA-1 in 40 hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    Sha1::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn log(lua: &Lua, state: &State, given: MultiValue) -> mlua::Result<()> {
    if given.len() < 2 {
        return Err(reply_error("ERR redis.log() requires two arguments or more."));
    }
    let mut given = given.into_iter();
    let Some(level) = given.next().and_then(|level| super::arguments::as_number(lua, &level)) else {
        return Err(reply_error("ERR First argument must be a number (log level)."));
    };
    if !(0.0..4.0).contains(&level) {
        return Err(reply_error("ERR Invalid log level."));
    }
    let words: Vec<Vec<u8>> =
        given.filter_map(|word| Some(lua.coerce_string(word).ok()??.as_bytes().to_vec())).collect();
    let line = lua.create_string(words.join(&b' '))?;
    state.serve(Service::Log, MultiValue::from_vec(vec![Value::Integer(level as i64), Value::String(line)]))?;
    Ok(())
}

fn only_number(lua: &Lua, given: &MultiValue, function: &str) -> mlua::Result<f64> {
    if given.len() != 1 {
        return Err(reply_error(format!("ERR redis.{function}() requires one argument.")));
    }
    Ok(given.front().and_then(|value| super::arguments::as_number(lua, value)).unwrap_or(0.0))
}

fn set_protocol(lua: &Lua, state: &State, given: &MultiValue) -> mlua::Result<()> {
    let version = only_number(lua, given, "setresp")?;
    state.protocol.set(match version {
        2.0 => Protocol::Resp2,
        3.0 => Protocol::Resp3,
        _ => return Err(reply_error("ERR RESP version must be 2 or 3.")),
    });
    Ok(())
}

fn set_effects(lua: &Lua, state: &State, given: &MultiValue) -> mlua::Result<()> {
    let flags = only_number(lua, given, "set_repl")?;
    if !(0.0..4.0).contains(&flags) {
        let text = "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
        return Err(reply_error(text));
    }
    state.effects.set(Effects(flags as u8)); // at most 3
    Ok(())
}

/// What `redis.acl_check_cmd` gives.
pub(super) fn may_call_answer(answer: Option<bool>) -> mlua::Result<Value> {
    let refusal = || -> Error { reply_error("ERR Invalid command passed to redis.acl_check_cmd()") };
    answer.map(Value::Boolean).ok_or_else(refusal)
}
