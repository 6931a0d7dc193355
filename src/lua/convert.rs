//! Values between Lua and the protocol.
//!
//! ```text
//! reply of a command        Lua                      what a script gives       reply to the client
//! :7                        7                        3.9                       :3
//! $2 hi                     "hi"                     "hi"                      $2 hi
//! $-1, *-1                  false                    nil, false                $-1 (_)
//! +OK                       {ok="OK"}                {ok="OK"}                 +OK
//! -ERR no                   raised, or {err=...}     {err="ERR no"}            -ERR no
//! *2                        {1, 2}                   {1, 2, nil, 4}            *2
//! after redis.setresp(3):
//! _                         nil                      true                      :1 (#t after setresp(3))
//! #t                        true
//! ,1.5                      {double=1.5}             {double=1.5}              $3 1.5 (,1.5)
//! %1                        {map={}}                 {map={}}                  *2 (%1)
//! ~1                        {set={x=true}}           {set={x=true}}            *1 (~1)
//! (123                      {big_number="123"}       {big_number="123"}        $3 123 ((123)
//! =7 txt:hey                {verbatim_string={string="hey", format="txt"}}     $3 hey (=7 txt:hey)
//! ```

use mlua::{Lua, Table, Value};

use crate::codec::number;
use crate::resp::{Encoder, Protocol, Reply};

/// Tables in tables beyond which a reply ends with an error.
const MOST_LEVELS: usize = 1000;

/// Decodes a reply that this server has encoded.
pub(super) struct Replies<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
}

impl<'a> Replies<'a> {
    pub(super) fn new(lua: &'a Lua, reply: &'a [u8]) -> Self {
        Self { lua, rest: reply }
    }

    fn line(&mut self) -> &'a [u8] {
        let end = memchr::memchr(b'\r', self.rest).unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        self.rest = self.rest.get(end + 2..).unwrap_or_default();
        line
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let bytes = &self.rest[..len.min(self.rest.len())];
        self.rest = self.rest.get(len + 2..).unwrap_or_default();
        bytes
    }

    /// The next value. A command's error is a table, too.
    pub(super) fn value(&mut self) -> mlua::Result<Value> {
        let line = self.line();
        let Some((&kind, text)) = line.split_first() else { return Ok(Value::Nil) };
        let count = || usize::try_from(number::parse_i64(text).unwrap_or(0)).ok();
        match kind {
            b':' => Ok(Value::Integer(number::parse_i64(text).unwrap_or(0))),
            b'$' => match count() {
                Some(len) => Ok(Value::String(self.lua.create_string(self.bytes(len))?)),
                None => Ok(Value::Boolean(false)),
            },
            b'*' | b'>' => match count() {
                Some(count) => self.array(count),
                None => Ok(Value::Boolean(false)),
            },
            b'+' => self.field("ok", |replies| Ok(Value::String(replies.lua.create_string(text)?))),
            b'-' => {
                let table = self.lua.create_table()?;
                table.raw_set("err", self.lua.create_string(text)?)?;
                table.raw_set("ignore_error_stats_update", true)?;
                Ok(Value::Table(table))
            }
            b'#' => Ok(Value::Boolean(text == b"t")),
            b',' => self.field("double", |_| Ok(Value::Number(number::parse_f64(text).unwrap_or(f64::NAN)))),
            b'(' => self.field("big_number", |replies| Ok(Value::String(replies.lua.create_string(text)?))),
            b'=' => {
                let whole = self.bytes(count().unwrap_or(0));
                self.field("verbatim_string", |replies| replies.verbatim(whole))
            }
            b'%' => self.field("map", |replies| replies.map(count().unwrap_or(0))),
            b'~' => self.field("set", |replies| replies.set(count().unwrap_or(0))),
            _ => Ok(Value::Nil),
        }
    }

    fn field(&mut self, name: &str, make: impl FnOnce(&mut Self) -> mlua::Result<Value>) -> mlua::Result<Value> {
        let table = self.lua.create_table()?;
        table.raw_set(name, make(self)?)?;
        Ok(Value::Table(table))
    }

    fn array(&mut self, count: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table_with_capacity(count, 0)?;
        for at in 1..=count {
            table.raw_set(at, self.value()?)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, count: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table_with_capacity(0, count)?;
        for _ in 0..count {
            let (key, value) = (self.value()?, self.value()?);
            table.raw_set(key, value)?;
        }
        Ok(Value::Table(table))
    }

    fn set(&mut self, count: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table_with_capacity(0, count)?;
        for _ in 0..count {
            table.raw_set(self.value()?, true)?;
        }
        Ok(Value::Table(table))
    }

    fn verbatim(&mut self, whole: &[u8]) -> mlua::Result<Value> {
        let (format, text) = whole.split_at(3.min(whole.len()));
        let table = self.lua.create_table()?;
        table.raw_set("format", self.lua.create_string(format)?)?;
        table.raw_set("string", self.lua.create_string(text.strip_prefix(b":").unwrap_or(text))?)?;
        Ok(Value::Table(table))
    }
}

/// An argument of `redis.call`: strings as they are, numbers as text.
pub(super) fn push_argument(argument: &Value, out: &mut Vec<u8>) -> bool {
    match argument {
        Value::String(text) => out.extend_from_slice(&text.as_bytes()),
        Value::Integer(number) => number::write_i64(out, *number),
        Value::Number(number) => push_number(*number, out),
        _ => return false,
    }
    true
}

/// Whole numbers without a point, others in as few digits as tell them.
fn push_number(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        number::write_f64(out, if value == 0.0 { 0.0 } else { value });
    } else {
        let sign = if value.is_sign_negative() { "-" } else { "" };
        let word = if value.is_nan() { "nan" } else { "inf" };
        out.extend_from_slice(format!("{sign}{word}").as_bytes());
    }
}

/// As C casts a double to 64 bits on the machines that servers run on.
pub(super) fn truncate(value: f64) -> i64 {
    // The first double beyond the range; below it the cast cuts off what is behind the point.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if (-BEYOND..BEYOND).contains(&value) { value as i64 } else { i64::MIN }
}

/// Writes what a script has given as a reply.
pub(super) struct Answer<'a, 'b> {
    pub(super) reply: &'a mut Encoder<'b>,
    /// As the script has chosen: booleans are such, or 1 and nothing.
    pub(super) protocol: Protocol,
    /// Errors that nobody has counted yet.
    pub(super) errors: Vec<Vec<u8>>,
}

impl Answer<'_, '_> {
    pub(super) fn write(&mut self, value: &Value) -> Reply {
        self.write_at(value, 0)
    }

    fn write_at(&mut self, value: &Value, level: usize) -> Reply {
        match value {
            Value::String(text) => self.reply.bulk(&text.as_bytes()),
            Value::Integer(number) => self.reply.int(*number),
            Value::Number(number) => self.reply.int(truncate(*number)),
            Value::Boolean(value) if self.protocol == Protocol::Resp3 => self.reply.bool(*value),
            Value::Boolean(true) => self.reply.int(1),
            Value::Table(_) if level == MOST_LEVELS => self.reply.error(b"ERR reached lua stack limit"),
            Value::Table(table) => self.table(table, level + 1),
            _ => self.reply.null(),
        }
    }

    fn table(&mut self, table: &Table, level: usize) -> Reply {
        if let Some(text) = field(table, "err") {
            if table.raw_get::<Value>("ignore_error_stats_update").is_ok_and(|told| told.is_nil()) {
                self.errors.push(text.clone());
            }
            return self.reply.error(&text);
        }
        if let Some(text) = field(table, "ok") {
            let text: Vec<u8> = text.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }).collect();
            self.reply.raw(b"+");
            self.reply.raw(&text);
            return self.reply.raw(b"\r\n");
        }
        match table.raw_get::<Value>("double") {
            Ok(Value::Number(number)) => return self.reply.double(number),
            Ok(Value::Integer(number)) => return self.reply.double(number as f64), // as Lua has it
            _ => {}
        }
        if let Ok(Value::Table(map)) = table.raw_get::<Value>("map") {
            return self.pairs(&map, level, true);
        }
        if let Ok(Value::Table(set)) = table.raw_get::<Value>("set") {
            return self.pairs(&set, level, false);
        }
        if let Some(text) = field(table, "big_number") {
            let text: Vec<u8> = text.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }).collect();
            return self.big_number(&text);
        }
        if let Ok(Value::Table(verbatim)) = table.raw_get::<Value>("verbatim_string")
            && let (Some(format), Some(text)) = (field(&verbatim, "format"), field(&verbatim, "string"))
        {
            let format = String::from_utf8_lossy(&format);
            let format: String = format.chars().chain("   ".chars()).take(3).collect();
            return self.reply.verbatim(&format, &text);
        }
        self.array(table, level)
    }

    fn big_number(&mut self, text: &[u8]) -> Reply {
        if self.reply.protocol() == Protocol::Resp2 {
            return self.reply.bulk(text);
        }
        self.reply.raw(b"(");
        self.reply.raw(text);
        self.reply.raw(b"\r\n")
    }

    /// A map, or of a table that is a set the keys.
    fn pairs(&mut self, table: &Table, level: usize, is_map: bool) -> Reply {
        let pairs: Vec<(Value, Value)> = table.pairs().filter_map(Result::ok).collect();
        let reply = if is_map { self.reply.map(pairs.len()) } else { self.reply.set(pairs.len()) };
        for (key, value) in &pairs {
            self.write_at(key, level);
            if is_map {
                self.write_at(value, level);
            }
        }
        reply
    }

    /// The elements from 1 up to the first that is nil.
    fn array(&mut self, table: &Table, level: usize) -> Reply {
        let start = self.reply.len();
        let mut count = 0;
        while let Ok(value) = table.raw_get::<Value>(count + 1) {
            if value.is_nil() {
                break;
            }
            self.write_at(&value, level);
            count += 1;
        }
        self.reply.array_since(start, count)
    }
}

fn field(table: &Table, name: &str) -> Option<Vec<u8>> {
    match table.raw_get::<Value>(name) {
        Ok(Value::String(text)) => Some(text.as_bytes().to_vec()),
        _ => None,
    }
}
