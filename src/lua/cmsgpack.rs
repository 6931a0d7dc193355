//! `cmsgpack`: MessagePack as lua-cmsgpack 0.4.0 writes and reads it.
//!
//! ```text
//! 00-7f  e0-ff   small integers            cc cd ce cf  d0 d1 d2 d3   unsigned and signed of 1, 2, 4, 8 bytes
//! a0-bf  d9 da db   strings                90-9f dc dd   arrays       80-8f de df   maps
//! c0 nil   c2 false   c3 true              ca cb   floating point of 4 and 8 bytes
//! ```
//!
//! A table whose keys are 1 to its count is an array, an empty one too; others are maps. What is nested deeper than 16, and
//! what MessagePack has no type for, is written as nil.

use mlua::{Lua, MultiValue, Table, Value};

use super::arguments::Arguments;
use super::raised::fail;

const MOST_LEVELS: usize = 16;
/// Values that a function of Lua may give.
const MOST_VALUES: usize = 7990;
/// Levels of what is read; deeper is no data.
const MOST_READ_LEVELS: usize = 1000;

pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    table.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    table.raw_set("pack", lua.create_function(|lua, given| pack(&Arguments::new(lua, "pack", given)))?)?;
    let unpack = |lua: &Lua, given| unpack(&Arguments::new(lua, "unpack", given), 0, 0);
    table.raw_set("unpack", lua.create_function(unpack)?)?;
    let unpack_one = |lua: &Lua, given| {
        let given = Arguments::new(lua, "unpack_one", given);
        self::unpack(&given, 1, given.integer_or(2, 0)?)
    };
    table.raw_set("unpack_one", lua.create_function(unpack_one)?)?;
    let unpack_limit = |lua: &Lua, given| {
        let given = Arguments::new(lua, "unpack_limit", given);
        self::unpack(&given, given.integer(2)?, given.integer_or(3, 0)?)
    };
    table.raw_set("unpack_limit", lua.create_function(unpack_limit)?)?;
    Ok(table)
}

fn pack(given: &Arguments<'_>) -> mlua::Result<mlua::LuaString> {
    if given.count() == 0 {
        return Err(given.refuse(0, "MessagePack pack needs input."));
    }
    let mut out = Vec::new();
    for value in given.values() {
        encode(value, 0, &mut out)?;
    }
    given.lua.create_string(out)
}

fn encode(value: &Value, level: usize, out: &mut Vec<u8>) -> mlua::Result<()> {
    match value {
        Value::String(text) => {
            let text = text.as_bytes();
            encode_len(text.len(), (0xa0, 31), [Some(0xd9), Some(0xda), Some(0xdb)], out);
            out.extend_from_slice(&text);
        }
        Value::Integer(number) => encode_integer(*number, out),
        Value::Number(number) => encode_number(*number, out),
        Value::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Table(table) if level < MOST_LEVELS => encode_table(table, level + 1, out)?,
        _ => out.push(0xc0),
    }
    Ok(())
}

/// A length in the fewest bytes: in the byte `short` itself, or behind the marks for 1, 2 and 4 bytes.
fn encode_len(len: usize, (short, most): (u8, usize), marks: [Option<u8>; 3], out: &mut Vec<u8>) {
    match (len, marks) {
        (len, _) if len <= most => out.push(short | len as u8), // at most 31
        (len, [Some(mark), ..]) if len <= 0xff => out.extend([mark, len as u8]), // checked
        (len, [_, Some(mark), _]) if len <= 0xffff => {
            out.push(mark);
            out.extend((len as u16).to_be_bytes()); // checked
        }
        (len, [.., mark]) => {
            out.push(mark.unwrap_or_default());
            out.extend((len as u32).to_be_bytes()); // Lua holds no more than that
        }
    }
}

/// In the fewest bytes. The conditions say that each fits what it is cast to.
fn encode_integer(value: i64, out: &mut Vec<u8>) {
    if (-32..=0x7f).contains(&value) {
        out.push(value as u8);
    } else if (0..=0xff).contains(&value) {
        out.extend([0xcc, value as u8]);
    } else if (0..=0xffff).contains(&value) {
        out.push(0xcd);
        out.extend((value as u16).to_be_bytes());
    } else if (0..=0xffff_ffff).contains(&value) {
        out.push(0xce);
        out.extend((value as u32).to_be_bytes());
    } else if value >= 0 {
        out.push(0xcf);
        out.extend(value.to_be_bytes());
    } else if value >= -0x80 {
        out.extend([0xd0, value as u8]);
    } else if value >= -0x8000 {
        out.push(0xd1);
        out.extend((value as i16).to_be_bytes());
    } else if value >= -0x8000_0000 {
        out.push(0xd2);
        out.extend((value as i32).to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend(value.to_be_bytes());
    }
}

fn encode_number(value: f64, out: &mut Vec<u8>) {
    let whole = value as i64; // compared with the original
    if value.is_finite() && whole as f64 == value && whole != i64::MAX {
        return encode_integer(whole, out);
    }
    let short = value as f32; // compared with the original
    if f64::from(short) == value {
        out.push(0xca);
        out.extend(short.to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend(value.to_be_bytes());
    }
}

fn encode_table(table: &Table, level: usize, out: &mut Vec<u8>) -> mlua::Result<()> {
    let (mut count, mut most, mut is_array) = (0_usize, 0, true);
    for pair in table.pairs::<Value, Value>() {
        count += 1;
        match pair?.0 {
            Value::Integer(key @ 1..) => most = most.max(key),
            _ => is_array = false,
        }
    }
    if is_array && i64::try_from(count).is_ok_and(|count| count == most) {
        encode_len(count, (0x90, 15), [None, Some(0xdc), Some(0xdd)], out);
        for at in 1..=most {
            encode(&table.raw_get(at)?, level, out)?;
        }
        return Ok(());
    }
    encode_len(count, (0x80, 15), [None, Some(0xde), Some(0xdf)], out);
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        encode(&key, level, out)?;
        encode(&value, level, out)?;
    }
    Ok(())
}

/// Values of the first argument, from `offset` on and at most so many; all of it, if both are 0. Else the offset of the next
/// comes first, or -1 at the end.
fn unpack(given: &Arguments<'_>, limit: i64, offset: i64) -> mlua::Result<MultiValue> {
    let data = given.bytes(1)?;
    let (Ok(most), Ok(start)) = (usize::try_from(limit), usize::try_from(offset)) else {
        let text = format!("Invalid request to unpack with offset of {offset} and limit of {}.", data.len());
        return Err(fail(given.lua, text));
    };
    let Some(rest) = data.get(start..) else {
        let text = format!("Start offset {offset} greater than input length {}.", data.len());
        return Err(fail(given.lua, text));
    };
    let is_all = limit == 0 && offset == 0;
    let mut reader = Reader { lua: given.lua, rest };
    let mut values = Vec::new();
    while !reader.rest.is_empty() && (is_all || values.len() < most) {
        let value = reader.value(0).map_err(|fault| match fault {
            Fault::Missing => fail(given.lua, "Missing bytes in input."),
            Fault::Bad => fail(given.lua, "Bad data format in input."),
            Fault::Lua(error) => error,
        })?;
        values.push(value);
        if values.len() > MOST_VALUES {
            let text = "stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)";
            return Err(fail(given.lua, text));
        }
    }
    if !is_all {
        let next = if reader.rest.is_empty() { -1 } else { (data.len() - reader.rest.len()) as i64 }; // fits
        values.insert(0, Value::Integer(next));
    }
    Ok(MultiValue::from_vec(values))
}

/// Why data can't be read.
enum Fault {
    Missing,
    Bad,
    Lua(mlua::Error),
}

impl From<mlua::Error> for Fault {
    fn from(error: mlua::Error) -> Self {
        Fault::Lua(error)
    }
}

struct Reader<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Result<&[u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Fault::Missing)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn value(&mut self, level: usize) -> Result<Value, Fault> {
        if level > MOST_READ_LEVELS {
            return Err(Fault::Bad);
        }
        let [mark] = self.array()?;
        Ok(match mark {
            0..=0x7f => Value::Integer(mark.into()),
            0xe0.. => Value::Integer(mark.cast_signed().into()),
            0x80..=0x8f => self.map(usize::from(mark & 15), level)?,
            0x90..=0x9f => self.list(usize::from(mark & 15), level)?,
            0xa0..=0xbf => self.text(usize::from(mark & 31))?,
            0xc0 => Value::Nil,
            0xc2 => Value::Boolean(false),
            0xc3 => Value::Boolean(true),
            0xca => Value::Number(f32::from_be_bytes(self.array()?).into()),
            0xcb => Value::Number(f64::from_be_bytes(self.array()?)),
            0xcc => Value::Integer(u8::from_be_bytes(self.array()?).into()),
            0xcd => Value::Integer(u16::from_be_bytes(self.array()?).into()),
            0xce => Value::Integer(u32::from_be_bytes(self.array()?).into()),
            // As in the library, the highest bit is a sign here too.
            0xcf => Value::Integer(i64::from_be_bytes(self.array()?)),
            0xd0 => Value::Integer(i8::from_be_bytes(self.array()?).into()),
            0xd1 => Value::Integer(i16::from_be_bytes(self.array()?).into()),
            0xd2 => Value::Integer(i32::from_be_bytes(self.array()?).into()),
            0xd3 => Value::Integer(i64::from_be_bytes(self.array()?)),
            0xd9 => {
                let [len] = self.array()?;
                self.text(len.into())?
            }
            0xda => {
                let len = u16::from_be_bytes(self.array()?);
                self.text(len.into())?
            }
            0xdb => {
                let len = u32::from_be_bytes(self.array()?);
                self.text(len as usize)? // usize has 64 bits
            }
            0xdc => {
                let count = u16::from_be_bytes(self.array()?);
                self.list(count.into(), level)?
            }
            0xdd => {
                let count = u32::from_be_bytes(self.array()?);
                self.list(count as usize, level)? // usize has 64 bits
            }
            0xde => {
                let count = u16::from_be_bytes(self.array()?);
                self.map(count.into(), level)?
            }
            0xdf => {
                let count = u32::from_be_bytes(self.array()?);
                self.map(count as usize, level)? // usize has 64 bits
            }
            _ => return Err(Fault::Bad),
        })
    }

    fn text(&mut self, len: usize) -> Result<Value, Fault> {
        let lua = self.lua;
        Ok(Value::String(lua.create_string(self.take(len)?)?))
    }

    fn list(&mut self, count: usize, level: usize) -> Result<Value, Fault> {
        let table = self.lua.create_table()?;
        for at in 1..=count {
            table.raw_set(at, self.value(level + 1)?)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, count: usize, level: usize) -> Result<Value, Fault> {
        let table = self.lua.create_table()?;
        for _ in 0..count {
            let (key, value) = (self.value(level + 1)?, self.value(level + 1)?);
            // Nil and what is no number name nothing in a table: Lua raises that.
            table.raw_set(key, value)?;
        }
        Ok(Value::Table(table))
    }
}
