//! Writing JSON.

use mlua::{Lua, Table, Value};

use super::{Invalid, NULL, Settings};
use crate::codec::number;
use crate::lua::arguments::type_name;
use crate::lua::raised::fail;

/// The text of a value.
pub(super) fn encode(lua: &Lua, settings: &Settings, value: &Value) -> mlua::Result<Vec<u8>> {
    let mut encoder = Encoder { lua, settings, out: Vec::new() };
    encoder.value(value, 0)?;
    Ok(encoder.out)
}

struct Encoder<'a> {
    lua: &'a Lua,
    settings: &'a Settings,
    out: Vec<u8>,
}

impl Encoder<'_> {
    fn value(&mut self, value: &Value, depth: i64) -> mlua::Result<()> {
        match value {
            Value::String(text) => push_string(&text.as_bytes(), &mut self.out),
            Value::Integer(number) => self.number(*number as f64, value)?, // as Lua has it
            Value::Number(number) => self.number(*number, value)?,
            Value::Boolean(flag) => self.out.extend_from_slice(if *flag { b"true" } else { b"false" }),
            Value::Table(table) => self.table(table, depth + 1)?,
            Value::Nil => self.out.extend_from_slice(b"null"),
            value if *value == NULL => self.out.extend_from_slice(b"null"),
            other => return Err(self.refuse(other, "type not supported")),
        }
        Ok(())
    }

    fn refuse(&self, value: &Value, reason: &str) -> mlua::Error {
        fail(self.lua, format!("Cannot serialise {}: {reason}", type_name(value)))
    }

    fn number(&mut self, number: f64, value: &Value) -> mlua::Result<()> {
        if !number.is_finite() {
            match self.settings.encode_invalid {
                Invalid::Refused => return Err(self.refuse(value, "must not be NaN or Inf")),
                // As Lua CJSON does it: infinity is written also then.
                Invalid::Null if number.is_nan() => {
                    self.out.extend_from_slice(b"null");
                    return Ok(());
                }
                Invalid::Null | Invalid::Written => {}
            }
        }
        let precision = usize::try_from(self.settings.precision).unwrap_or(14);
        number::write_f64_g(&mut self.out, number, precision);
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: i64) -> mlua::Result<()> {
        if depth > self.settings.encode_max_depth {
            return Err(fail(self.lua, format!("Cannot serialise, excessive nesting ({depth})")));
        }
        match self.array_len(table)? {
            Some(len @ 1..) => {
                self.out.push(b'[');
                for at in 1..=len {
                    if at > 1 {
                        self.out.push(b',');
                    }
                    self.value(&table.raw_get(at)?, depth)?;
                }
                self.out.push(b']');
            }
            _ => self.object(table, depth)?,
        }
        Ok(())
    }

    /// The largest index of a table that has nothing but such; none if it is an object.
    fn array_len(&self, table: &Table) -> mlua::Result<Option<i64>> {
        let (mut most, mut count) = (0, 0);
        for pair in table.pairs::<Value, Value>() {
            match pair?.0 {
                Value::Integer(key @ 1..) => most = most.max(key),
                _ => return Ok(None),
            }
            count += 1;
        }
        let settings = self.settings;
        let is_sparse = settings.sparse_ratio > 0
            && most > settings.sparse_ratio.saturating_mul(count)
            && most > settings.sparse_safe;
        match (is_sparse, settings.sparse_convert) {
            (true, true) => Ok(None),
            (true, false) => Err(self.refuse(&Value::Table(table.clone()), "excessively sparse array")),
            _ => Ok(Some(most)),
        }
    }

    fn object(&mut self, table: &Table, depth: i64) -> mlua::Result<()> {
        self.out.push(b'{');
        let mut is_first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !std::mem::take(&mut is_first) {
                self.out.push(b',');
            }
            match &key {
                Value::String(text) => push_string(&text.as_bytes(), &mut self.out),
                Value::Integer(_) | Value::Number(_) => {
                    self.out.push(b'"');
                    self.value(&key, depth)?;
                    self.out.push(b'"');
                }
                _ => {
                    return Err(self.refuse(&key, "table key must be a number or string"));
                }
            }
            self.out.push(b':');
            self.value(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }
}

fn push_string(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'/' => out.extend_from_slice(b"\\/"),
            8 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            12 => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0..0x20 | 0x7f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}
