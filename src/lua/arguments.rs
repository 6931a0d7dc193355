//! Arguments of our functions, read and refused as Lua's own library does it.

use mlua::{Error, Lua, MultiValue, Value};

use super::raised::bad_argument;

/// What a function was called with.
pub(super) struct Arguments<'a> {
    pub(super) lua: &'a Lua,
    values: Vec<Value>,
    function: &'static str,
}

/// A number, or the text of one.
pub(super) fn as_number(lua: &Lua, value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64), // as Lua has it
        Value::Number(number) => Some(*number),
        Value::String(_) => lua.coerce_number(value.clone()).ok()?,
        _ => None,
    }
}

impl<'a> Arguments<'a> {
    pub(super) fn new(lua: &'a Lua, function: &'static str, values: MultiValue) -> Self {
        Self { lua, values: values.into_iter().collect(), function }
    }

    pub(super) fn count(&self) -> usize {
        self.values.len()
    }

    pub(super) fn values(&self) -> &[Value] {
        &self.values
    }

    /// The argument of that number, from 1 on; nil if it is not there.
    pub(super) fn get(&self, number: usize) -> &Value {
        const NONE: &Value = &Value::Nil;
        self.values.get(number - 1).unwrap_or(NONE)
    }

    /// The error that an argument deserves.
    pub(super) fn refuse(&self, number: usize, text: &str) -> Error {
        bad_argument(self.lua, number, self.function, text)
    }

    fn expected(&self, number: usize, what: &str) -> Error {
        // `struct` works on a stack that has something on it.
        let none = if self.function == "pack" && number > 1 { "nil" } else { "no value" };
        let got = self.values.get(number - 1).map_or(none, type_name);
        self.refuse(number, &format!("{what} expected, got {got}"))
    }

    pub(super) fn number(&self, number: usize) -> mlua::Result<f64> {
        as_number(self.lua, self.get(number)).ok_or_else(|| self.expected(number, "number"))
    }

    /// A whole number; what is behind its point is cut off.
    pub(super) fn integer(&self, number: usize) -> mlua::Result<i64> {
        Ok(super::convert::truncate(self.number(number)?))
    }

    pub(super) fn integer_or(&self, number: usize, default: i64) -> mlua::Result<i64> {
        if self.get(number).is_nil() { Ok(default) } else { self.integer(number) }
    }

    pub(super) fn bytes(&self, number: usize) -> mlua::Result<Vec<u8>> {
        match self.get(number) {
            Value::String(text) => Ok(text.as_bytes().to_vec()),
            value @ (Value::Integer(_) | Value::Number(_)) => {
                let text = self.lua.coerce_string(value.clone())?;
                Ok(text.map(|text| text.as_bytes().to_vec()).unwrap_or_default())
            }
            _ => Err(self.expected(number, "string")),
        }
    }
}

/// As Lua names a value's type.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "number",
        Value::LightUserData(_) | Value::Error(_) => "userdata",
        other => other.type_name(),
    }
}
