//! `struct`: packed binary structures, as the library of this name by Roberto Ierusalimschy does it.
//!
//! ```text
//! >  <  ! n   big endian, little endian, aligned to n bytes (8) at most
//! x           a byte of zero
//! b B h H l L T   1, 2, 8 and 8 bytes; capitals are unsigned, T is too
//! i n I n     n bytes (4)
//! f d         4 and 8 bytes of floating point
//! s           a string and a zero
//! c n         n bytes of a string (1); c0: all of it, or as many as the number read before says
//! ```

use mlua::{Lua, MultiValue, Table, Value};

use super::arguments::{Arguments, as_number};
use super::raised::fail;

/// Bytes that an integer may have.
const MOST_INTEGER: usize = 32;
const DEFAULT_ALIGNMENT: usize = 8;

pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", lua.create_function(|lua, given| pack(&Arguments::new(lua, "pack", given)))?)?;
    table.raw_set("unpack", lua.create_function(|lua, given| unpack(&Arguments::new(lua, "unpack", given)))?)?;
    table.raw_set("size", lua.create_function(|lua, given| size(&Arguments::new(lua, "size", given)))?)?;
    Ok(table)
}

/// Reads a format, option by option.
struct Format<'a> {
    given: &'a Arguments<'a>,
    text: Vec<u8>,
    at: usize,
    is_big: bool,
    alignment: usize,
    /// Letters that are no option are passed over.
    is_lenient: bool,
}

impl<'a> Format<'a> {
    fn new(given: &'a Arguments<'a>) -> mlua::Result<Self> {
        Ok(Self { given, text: given.bytes(1)?, at: 0, is_big: false, alignment: 1, is_lenient: false })
    }

    /// The next option and its size in bytes; orders and alignments are obeyed on the way.
    fn next(&mut self) -> mlua::Result<Option<(u8, usize)>> {
        while let Some(&option) = self.text.get(self.at).filter(|option| **option != 0) {
            self.at += 1;
            let size = match option {
                b'b' | b'B' | b'x' => 1,
                b'h' | b'H' => 2,
                b'f' => 4,
                b'l' | b'L' | b'T' | b'd' => 8,
                b's' => 0,
                b'c' => self.number(1)?,
                b'i' | b'I' => self.integer_size()?,
                _ => {
                    self.control(option)?;
                    continue;
                }
            };
            return Ok(Some((option, size)));
        }
        Ok(None)
    }

    fn integer_size(&mut self) -> mlua::Result<usize> {
        let size = self.number(4)?;
        if size > MOST_INTEGER {
            let text = format!("integral size {size} is larger than limit of {MOST_INTEGER}");
            return Err(fail(self.given.lua, text));
        }
        Ok(size)
    }

    /// A decimal number, or what it is where none stands.
    fn number(&mut self, default: usize) -> mlua::Result<usize> {
        let digits = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(default);
        }
        let mut number = 0_usize;
        for digit in &self.text[self.at..self.at + digits] {
            number = number * 10 + usize::from(digit - b'0');
            if number > i32::MAX as usize {
                return Err(fail(self.given.lua, "integral size overflow"));
            }
        }
        self.at += digits;
        Ok(number)
    }

    fn control(&mut self, option: u8) -> mlua::Result<()> {
        match option {
            b' ' => {}
            b'>' => self.is_big = true,
            b'<' => self.is_big = false,
            b'!' => {
                let alignment = self.number(DEFAULT_ALIGNMENT)?;
                if !alignment.is_power_of_two() {
                    return Err(fail(self.given.lua, format!("alignment {alignment} is not a power of 2")));
                }
                self.alignment = alignment;
            }
            _ if self.is_lenient && option.is_ascii_alphanumeric() => {}
            _ => return Err(self.given.refuse(1, &format!("invalid format option '{}'", char::from(option)))),
        }
        Ok(())
    }

    /// Bytes in front of what stands at `at`.
    fn padding(&self, at: usize, (option, size): (u8, usize)) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        // As the library has it, also where a size is no power of two.
        let size = size.min(self.alignment);
        size.wrapping_sub(at & (size - 1)) & (size - 1)
    }

    fn in_order(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self.is_big {
            bytes.reverse();
        }
        bytes
    }
}

fn pack(given: &Arguments<'_>) -> mlua::Result<mlua::LuaString> {
    let mut format = Format::new(given)?;
    let (mut out, mut number) = (Vec::new(), 2);
    while let Some((option, size)) = format.next()? {
        out.resize(out.len() + format.padding(out.len(), (option, size)), 0);
        match option {
            b'x' => out.push(0),
            b'f' => out.extend(format.in_order((given.number(number)? as f32).to_le_bytes().to_vec())), // as wanted
            b'd' => out.extend(format.in_order(given.number(number)?.to_le_bytes().to_vec())),
            b'c' | b's' => {
                let text = given.bytes(number)?;
                let size = if size == 0 { text.len() } else { size };
                if text.len() < size {
                    return Err(given.refuse(number + 1, "string too short"));
                }
                out.extend_from_slice(&text[..size]);
                if option == b's' {
                    out.push(0);
                }
            }
            _ => {
                let value = given.number(number)?;
                // As C casts them: negative ones as signed, others as unsigned.
                let value = if value < 0.0 { (value as i64).cast_unsigned() } else { value as u64 };
                let mut bytes = value.to_le_bytes().to_vec();
                bytes.resize(size, 0);
                out.extend(format.in_order(bytes));
            }
        }
        number += usize::from(option != b'x');
    }
    given.lua.create_string(out)
}

fn unpack(given: &Arguments<'_>) -> mlua::Result<MultiValue> {
    let mut format = Format::new(given)?;
    let data = given.bytes(2)?;
    let start = given.integer_or(3, 1)?;
    let too_short = || given.refuse(2, "data string too short");
    let mut at = match usize::try_from(start) {
        Ok(0) => return Err(given.refuse(3, "offset must be 1 or greater")),
        Ok(start) => start - 1,
        // The library takes it for one far beyond the end.
        Err(_) => return Err(too_short()),
    };
    let mut values = Vec::new();
    while let Some((option, size)) = format.next()? {
        at += format.padding(at, (option, size));
        let rest = data.get(at..).ok_or_else(too_short)?;
        let bytes = rest.get(..size).ok_or_else(too_short)?;
        let mut taken = size;
        match option {
            b'x' => {}
            b'f' => {
                let bytes = format.in_order(bytes.to_vec()).try_into().unwrap_or_default();
                values.push(Value::Number(f32::from_le_bytes(bytes).into()));
            }
            b'd' => {
                let bytes = format.in_order(bytes.to_vec()).try_into().unwrap_or_default();
                values.push(Value::Number(f64::from_le_bytes(bytes)));
            }
            b'c' => {
                if size == 0 {
                    let count = values.pop().and_then(|count| as_number(given.lua, &count));
                    let count = count.ok_or_else(|| fail(given.lua, "format 'c0' needs a previous size"))?;
                    taken = count as usize; // beyond the data it is refused below
                }
                values.push(Value::String(given.lua.create_string(rest.get(..taken).ok_or_else(too_short)?)?));
            }
            b's' => {
                let end = memchr::memchr(0, rest).ok_or_else(|| fail(given.lua, "unfinished string in data"))?;
                taken = end + 1;
                values.push(Value::String(given.lua.create_string(&rest[..end])?));
            }
            _ => values.push(Value::Number(integer(&format.in_order(bytes.to_vec()), option.is_ascii_lowercase()))),
        }
        at += taken;
    }
    values.push(Value::Number((at + 1) as f64)); // far below 2^53
    Ok(MultiValue::from_vec(values))
}

/// An integer whose lowest byte comes first; of more than eight the lowest count.
fn integer(bytes: &[u8], is_signed: bool) -> f64 {
    let low = &bytes[..bytes.len().min(8)];
    let value = low.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    if !is_signed {
        return value as f64; // rounded as Lua does it
    }
    let unused = 64 - 8 * low.len() as u32; // at most eight bytes
    if unused == 64 { 0.0 } else { (value.cast_signed() << unused >> unused) as f64 } // rounded as Lua does it
}

fn size(given: &Arguments<'_>) -> mlua::Result<usize> {
    let mut format = Format { is_lenient: true, ..Format::new(given)? };
    let mut total = 0;
    while let Some((option, size)) = format.next()? {
        if option == b's' {
            return Err(given.refuse(1, "option 's' has no fixed size"));
        }
        if option == b'c' && size == 0 {
            return Err(given.refuse(1, "option 'c0' has no fixed size"));
        }
        total += format.padding(total, (option, size)) + size;
    }
    Ok(total)
}
