//! `cjson`: JSON as Lua CJSON 2.1.0 writes and reads it (<https://kyne.au/~mark/software/lua-cjson-manual.html>).
//!
//! Settings hold for the interpreter: what one script sets, the next one finds, as with the real servers.

mod decode;
mod encode;

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{LightUserData, Lua, MultiValue, Table, Value};

use super::arguments::Arguments;

/// What becomes of numbers that JSON does not know when they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invalid {
    Refused,
    Written,
    Null,
}

#[derive(Debug, Clone)]
struct Settings {
    /// A sparse table becomes an object; else it is refused.
    sparse_convert: bool,
    /// A table is sparse whose largest index is more than so many times the number of its elements, and more than `safe`;
    /// with 0 none is.
    sparse_ratio: i64,
    sparse_safe: i64,
    encode_max_depth: i64,
    decode_max_depth: i64,
    /// Significant digits, 1 to 14.
    precision: i64,
    keeps_buffer: bool,
    encode_invalid: Invalid,
    decode_invalid: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_max_depth: 1000,
            decode_max_depth: 1000,
            precision: 14,
            keeps_buffer: true,
            encode_invalid: Invalid::Refused,
            decode_invalid: true,
        }
    }
}

type Shared = Rc<RefCell<Settings>>;

/// The null of JSON, as a value of Lua that is not nil.
const NULL: Value = Value::LightUserData(LightUserData(std::ptr::null_mut()));

pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let shared = Shared::default();
    add(lua, &table, &shared, "encode", |given, settings| {
        given.at_most_one("expected 1 argument")?;
        Ok(Value::String(given.lua.create_string(encode::encode(given.lua, &settings.borrow(), given.get(1))?)?))
    })?;
    add(lua, &table, &shared, "decode", |given, settings| {
        given.at_most_one("expected 1 argument")?;
        decode::decode(given.lua, &settings.borrow(), &given.bytes(1)?)
    })?;
    add_limits(lua, &table, &shared)?;
    add(lua, &table, &shared, "encode_keep_buffer", |given, settings| {
        set_flag(given, &mut settings.borrow_mut().keeps_buffer)
    })?;
    add(lua, &table, &shared, "decode_invalid_numbers", |given, settings| {
        set_flag(given, &mut settings.borrow_mut().decode_invalid)
    })?;
    add(lua, &table, &shared, "encode_invalid_numbers", set_encode_invalid)?;
    let sparse = lua.create_function(move |lua, values| {
        let given = Arguments::new(lua, "encode_sparse_array", values);
        let settings = &mut *shared.borrow_mut();
        if given.count() > 3 {
            return Err(given.refuse(4, "found too many arguments"));
        }
        let convert = set_flag_at(&given, 1, &mut settings.sparse_convert)?;
        let ratio = set_number(&given, 2, (0, i32::MAX), &mut settings.sparse_ratio)?;
        let safe = set_number(&given, 3, (0, i32::MAX), &mut settings.sparse_safe)?;
        Ok((convert, ratio, safe))
    })?;
    table.raw_set("encode_sparse_array", sparse)?;
    table.raw_set("new", lua.create_function(|lua, ()| self::table(lua))?)?;
    table.raw_set("null", NULL)?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    Ok(table)
}

fn add(
    lua: &Lua,
    table: &Table,
    shared: &Shared,
    name: &'static str,
    work: fn(&Arguments<'_>, &Shared) -> mlua::Result<Value>,
) -> mlua::Result<()> {
    let shared = Rc::clone(shared);
    let function =
        lua.create_function(move |lua, given: MultiValue| work(&Arguments::new(lua, name, given), &shared))?;
    table.raw_set(name, function)
}

fn add_limits(lua: &Lua, table: &Table, shared: &Shared) -> mlua::Result<()> {
    add(lua, table, shared, "encode_max_depth", |given, settings| {
        given.at_most_one("found too many arguments")?;
        set_number(given, 1, (1, i32::MAX), &mut settings.borrow_mut().encode_max_depth)
    })?;
    add(lua, table, shared, "decode_max_depth", |given, settings| {
        given.at_most_one("found too many arguments")?;
        set_number(given, 1, (1, i32::MAX), &mut settings.borrow_mut().decode_max_depth)
    })?;
    add(lua, table, shared, "encode_number_precision", |given, settings| {
        given.at_most_one("found too many arguments")?;
        set_number(given, 1, (1, 14), &mut settings.borrow_mut().precision)
    })
}

impl Arguments<'_> {
    fn at_most_one(&self, text: &str) -> mlua::Result<()> {
        let is_exact = text.starts_with("expected");
        if self.count() > 1 || (is_exact && self.count() == 0) {
            return Err(self.refuse(if is_exact { 1 } else { 2 }, text));
        }
        Ok(())
    }
}

/// Sets a number, if one is given, and gives what it is now.
fn set_number(given: &Arguments<'_>, at: usize, (least, most): (i32, i32), setting: &mut i64) -> mlua::Result<Value> {
    if !given.get(at).is_nil() {
        let number = given.integer(at)?;
        if !(i64::from(least)..=i64::from(most)).contains(&number) {
            // Lua CJSON names the first argument whichever it is.
            return Err(given.refuse(1, &format!("expected integer between {least} and {most}")));
        }
        *setting = number;
    }
    Ok(Value::Integer(*setting))
}

fn set_flag(given: &Arguments<'_>, setting: &mut bool) -> mlua::Result<Value> {
    given.at_most_one("found too many arguments")?;
    set_flag_at(given, 1, setting)
}

/// Sets a flag, if one is given, and gives what it is now.
fn set_flag_at(given: &Arguments<'_>, at: usize, setting: &mut bool) -> mlua::Result<Value> {
    *setting = match given.get(at) {
        Value::Nil => *setting,
        Value::Boolean(flag) => *flag,
        _ => match given.bytes(at)?.as_slice() {
            b"on" => true,
            b"off" => false,
            other => return Err(given.refuse(at, &format!("invalid option '{}'", String::from_utf8_lossy(other)))),
        },
    };
    Ok(Value::Boolean(*setting))
}

fn set_encode_invalid(given: &Arguments<'_>, shared: &Shared) -> mlua::Result<Value> {
    given.at_most_one("found too many arguments")?;
    let setting = &mut shared.borrow_mut().encode_invalid;
    if matches!(given.get(1), Value::String(text) if *text.as_bytes() == *b"null") {
        *setting = Invalid::Null;
    } else {
        let mut flag = *setting == Invalid::Written;
        let before = flag;
        set_flag_at(given, 1, &mut flag)?;
        if flag != before || !given.get(1).is_nil() {
            *setting = if flag { Invalid::Written } else { Invalid::Refused };
        }
    }
    match *setting {
        Invalid::Null => Ok(Value::String(given.lua.create_string("null")?)),
        other => Ok(Value::Boolean(other == Invalid::Written)),
    }
}
