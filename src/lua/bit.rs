//! `bit`: operations on 32 bits, as Lua BitOp 1.0 defines them (<https://bitop.luajit.org/semantics.html>).
//!
//! A number is rounded and reduced modulo 2^32; results are signed.

use mlua::{Lua, MultiValue, Table};

use super::arguments::Arguments;

pub(super) fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    add(lua, &table, "tobit", |given| bits(given, 1))?;
    add(lua, &table, "bnot", |given| Ok(!bits(given, 1)?))?;
    add(lua, &table, "band", |given| fold(given, |left, right| left & right))?;
    add(lua, &table, "bor", |given| fold(given, |left, right| left | right))?;
    add(lua, &table, "bxor", |given| fold(given, |left, right| left ^ right))?;
    add(lua, &table, "lshift", |given| shift(given, |bits, by| bits << by))?;
    add(lua, &table, "rshift", |given| shift(given, |bits, by| (bits.cast_unsigned() >> by).cast_signed()))?;
    add(lua, &table, "arshift", |given| shift(given, |bits, by| bits >> by))?;
    add(lua, &table, "rol", |given| shift(given, i32::rotate_left))?;
    add(lua, &table, "ror", |given| shift(given, i32::rotate_right))?;
    add(lua, &table, "bswap", |given| Ok(bits(given, 1)?.swap_bytes()))?;
    table.raw_set("tohex", lua.create_function(|lua, given| hex(&Arguments::new(lua, "tohex", given)))?)?;
    Ok(table)
}

fn add(
    lua: &Lua,
    table: &Table,
    name: &'static str,
    work: fn(&Arguments<'_>) -> mlua::Result<i32>,
) -> mlua::Result<()> {
    let function = lua.create_function(move |lua, given: MultiValue| work(&Arguments::new(lua, name, given)))?;
    table.raw_set(name, function)
}

/// The 32 bits of an argument.
fn bits(given: &Arguments<'_>, number: usize) -> mlua::Result<i32> {
    // 2^52 + 2^51: a double of this size has whole numbers only, the lower 32 bits of which are the last of its own.
    const ROUNDS: f64 = 6_755_399_441_055_744.0;
    Ok((given.number(number)? + ROUNDS).to_bits() as i32) // the lower 32 bits are what is meant
}

fn fold(given: &Arguments<'_>, work: fn(i32, i32) -> i32) -> mlua::Result<i32> {
    let first = bits(given, 1)?;
    (2..=given.count()).try_fold(first, |left, number| Ok(work(left, bits(given, number)?)))
}

fn shift(given: &Arguments<'_>, work: fn(i32, u32) -> i32) -> mlua::Result<i32> {
    let shifted = bits(given, 1)?;
    Ok(work(shifted, (bits(given, 2)? & 31).cast_unsigned()))
}

/// Hexadecimal digits, eight or as many as the second argument says; capitals if that is negative.
fn hex(given: &Arguments<'_>) -> mlua::Result<String> {
    let bits = bits(given, 1)?.cast_unsigned();
    let digits = if given.get(2).is_nil() { 8 } else { self::bits(given, 2)? };
    let all = if digits < 0 { format!("{bits:08X}") } else { format!("{bits:08x}") };
    let count = digits.unsigned_abs().min(8) as usize; // at most 8
    Ok(all[8 - count..].to_owned())
}
