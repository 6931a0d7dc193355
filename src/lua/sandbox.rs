//! A new interpreter's sandbox: what `sandbox.lua` builds, and the handler that turns what ends a script into a table.

use std::rc::Rc;

use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value};

use super::api::State;
use super::raised;

/// Name of the chunk whose functions are not a script's own.
pub(super) const CHUNK: &str = "sandbox";

/// Levels of the stack that are looked at for the place of an error.
const MOST_LEVELS: usize = 16;

/// What an interpreter works with.
pub(super) struct Sandbox {
    pub(super) lua: Lua,
    /// What stands behind the scripts' globals.
    pub(super) globals: Table,
    /// Runs a function, and catches what it raises.
    pub(super) run: Function,
    /// Puts a read-only table in front of a table.
    pub(super) protect: Function,
}

impl Sandbox {
    /// `libraries` are made by the function, by their names.
    pub(super) fn new(state: &Rc<State>, libraries: impl FnOnce(&Lua) -> mlua::Result<Table>) -> mlua::Result<Self> {
        let wanted = StdLib::TABLE | StdLib::OS | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(wanted, LuaOptions::default())?;
        let math: Table = lua.globals().raw_get("math")?;
        math.raw_get::<Function>("randomseed")?.call::<()>(fastrand::u32(..))?;
        let chunk = lua.load(include_str!("sandbox.lua")).set_name(format!("@{CHUNK}")).into_function()?;
        let to_lua = lua.create_function(|lua, caught: Value| raised::to_lua(lua, caught))?;
        let handle = lua.create_function(handle)?;
        let state = Rc::clone(state);
        let is_over = lua.create_function(move |_, ()| Ok(state.killed.get().is_some()))?;
        let libraries = libraries(&lua)?;
        let (environment, globals, run, protect): (Table, Table, Function, Function) =
            chunk.call((to_lua, handle, is_over, libraries))?;
        lua.set_globals(environment)?;
        Ok(Self { lua, globals, run, protect })
    }
}

/// What ends a script, as a table: `err` with a code word in front, `source` and `line` of the place.
fn handle(lua: &Lua, caught: Value) -> mlua::Result<Table> {
    let table = match raised::to_lua(lua, caught)? {
        Value::Table(table) => table,
        other => {
            let table = lua.create_table()?;
            let text = match lua.coerce_string(other.clone())? {
                Some(text) => text.as_bytes().to_vec(),
                None => other.to_string().unwrap_or_default().into_bytes(),
            };
            table.raw_set("err", lua.create_string([b"ERR ", text.as_slice()].concat())?)?;
            table
        }
    };
    if let Some(place) = (1..MOST_LEVELS).find_map(|level| raised::place(lua, level)) {
        table.raw_set("source", place.source)?;
        table.raw_set("line", place.line)?;
    }
    Ok(table)
}
