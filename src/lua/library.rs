//! `redis.register_function`: what a library registers while it is loaded.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};

use super::raised::reply_error;
use super::shebang::{self, Flags};

/// A function of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    pub name: String,
    pub description: Option<Vec<u8>>,
    pub flags: Flags,
}

/// Functions, with what is to be called.
type Callbacks = Vec<(Registered, Function)>;

/// What the library under way has registered; none if there is no such.
#[derive(Clone, Default)]
pub(super) struct Registering(Rc<RefCell<Option<Callbacks>>>);

impl Registering {
    pub(super) fn begin(&self) {
        *self.0.borrow_mut() = Some(Vec::new());
    }

    pub(super) fn end(&self) -> Callbacks {
        self.0.take().unwrap_or_default()
    }
}

/// Puts `register_function` into the table.
pub(super) fn add_register_function(lua: &Lua, table: &Table, registering: &Registering) -> mlua::Result<()> {
    let registering = registering.clone();
    let register = lua.create_function(move |lua, given: MultiValue| {
        let mut under_way = registering.0.borrow_mut();
        let Some(functions) = under_way.as_mut() else {
            return Err(reply_error("ERR redis.register_function can only be called on FUNCTION LOAD command"));
        };
        let (function, callback) = read(lua, &given)?;
        if functions.iter().any(|(known, _)| known.name == function.name) {
            return Err(reply_error("ERR Function already exists in the library"));
        }
        functions.push((function, callback));
        Ok(())
    })?;
    table.raw_set("register_function", register)
}

/// Has the table raise an error where it is asked for another name.
pub(super) fn refuse_other_names(lua: &Lua, table: &Table) -> mlua::Result<()> {
    let refuse = lua.create_function(|lua, (_, name): (Value, Value)| -> mlua::Result<()> {
        let name = name.to_string()?;
        Err(super::raised::fail(lua, format!("Script attempted to access nonexistent global variable '{name}'")))
    })?;
    let metatable = lua.create_table()?;
    metatable.raw_set("__index", refuse)?;
    table.set_metatable(Some(metatable))
}

/// The arguments: name and function, or one table with names.
fn read(lua: &Lua, given: &MultiValue) -> mlua::Result<(Registered, Function)> {
    let values: Vec<&Value> = given.iter().collect();
    let (function, callback) = match values[..] {
        [Value::Table(table)] => named(lua, table)?,
        [_] => {
            return Err(reply_error(
                "ERR calling redis.register_function with a single argument is only applicable to Lua table \
                 (representing named arguments).",
            ));
        }
        [name, callback] => {
            let name = text(lua, name)
                .ok_or_else(|| reply_error("ERR first argument to redis.register_function must be a string"))?;
            let Value::Function(callback) = callback else {
                return Err(reply_error("ERR second argument to redis.register_function must be a function"));
            };
            let name = String::from_utf8_lossy(&name).into_owned();
            (Registered { name, description: None, flags: Flags::default() }, callback.clone())
        }
        _ => return Err(reply_error("ERR wrong number of arguments to redis.register_function")),
    };
    if !shebang::is_name(function.name.as_bytes()) {
        return Err(reply_error(format!("ERR {}", shebang::BAD_NAME)));
    }
    Ok((function, callback))
}

fn text(lua: &Lua, value: &Value) -> Option<Vec<u8>> {
    Some(lua.coerce_string(value.clone()).ok()??.as_bytes().to_vec())
}

fn named(lua: &Lua, table: &Table) -> mlua::Result<(Registered, Function)> {
    let (mut name, mut description, mut flags, mut callback) = (None, None, Flags::default(), None);
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let Some(key) = text(lua, &key) else {
            return Err(reply_error("ERR named argument key given to redis.register_function is not a string"));
        };
        let must_be = |what: &str| {
            let key = String::from_utf8_lossy(&key);
            reply_error(format!("ERR {key} argument given to redis.register_function must be a {what}"))
        };
        match &*key {
            b"function_name" => name = Some(text(lua, &value).ok_or_else(|| must_be("string"))?),
            b"description" => description = Some(text(lua, &value).ok_or_else(|| must_be("string"))?),
            b"callback" => callback = Some(value.as_function().ok_or_else(|| must_be("function"))?.clone()),
            b"flags" => flags = read_flags(&value)?,
            _ => return Err(reply_error("ERR unknown argument given to redis.register_function")),
        }
    }
    let missing = |what: &str| reply_error(format!("ERR redis.register_function must get a {what} argument"));
    let name = name.ok_or_else(|| missing("function name"))?;
    let callback = callback.ok_or_else(|| missing("callback"))?;
    Ok((Registered { name: String::from_utf8_lossy(&name).into_owned(), description, flags }, callback))
}

fn read_flags(value: &Value) -> mlua::Result<Flags> {
    let Value::Table(table) = value else {
        let text = "ERR flags argument to redis.register_function must be a table representing function flags";
        return Err(reply_error(text));
    };
    let mut flags = Flags::default();
    for flag in table.sequence_values::<Value>() {
        let known = flag?.as_string().and_then(|flag| Flags::named(&flag.as_bytes()));
        flags = flags | known.ok_or_else(|| reply_error("ERR unknown flag given"))?;
    }
    Ok(flags)
}
