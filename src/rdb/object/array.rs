//! Arrays of Redis 8.8.
//!
//! ```text
//! 28 ARRAY  n; length: 1 and the index of the next insert, or 0; n x (length: index, length: form, item)
//!           form 0: a string | 1: an integer, 8 bytes | 2: a double, 8 bytes | 3: a string of at most 7 bytes
//! ```
//!
//! Indexes ascend.

use std::io::{self, Read, Write};

use super::Scratch;
use crate::rdb::error::Error;
use crate::rdb::event::Visitor;
use crate::rdb::input::Input;
use crate::rdb::kind::Kind;
use crate::rdb::output::Output;
use crate::value::{Array, ArrayItem};

const STRING: u64 = 0;
const INT: u64 = 1;
const DOUBLE: u64 = 2;
const SMALL_STRING: u64 = 3;

pub(super) fn visit<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    visitor: &mut dyn Visitor,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    input.part = "an array";
    let count = input.length()?;
    visitor.begin(kind, Some(count));
    visitor.array(insert_index(input)?);
    input.part = "an array item";
    let mut last = None;
    for _ in 0..count {
        let offset = input.offset();
        let index = input.length()?;
        if last.is_some_and(|last| last >= index) {
            return Err(input.damaged_at(offset, "the indexes of an array do not ascend"));
        }
        last = Some(index);
        let item = match input.length()? {
            STRING => ArrayItem::String(input.element(&mut scratch.first)?),
            INT => ArrayItem::Int(i64::from_le_bytes(input.array()?)),
            DOUBLE => ArrayItem::Double(input.double()?),
            SMALL_STRING => ArrayItem::SmallString(input.element(&mut scratch.first)?),
            _ => return Err(input.damaged_at(offset, "an array item has a form that does not exist")),
        };
        visitor.array_item(index, item);
    }
    Ok(())
}

fn insert_index<R: Read>(input: &mut Input<R>) -> Result<Option<u64>, Error> {
    match input.length()? {
        0 => Ok(None),
        1 => input.length().map(Some),
        _ => Err(input.damaged("an array says neither that it has an insert index nor that it has none")),
    }
}

pub(super) fn skip<R: Read>(input: &mut Input<R>) -> Result<(), Error> {
    input.part = "an array";
    let count = input.length()?;
    insert_index(input)?;
    input.part = "an array item";
    for _ in 0..count {
        let offset = input.offset();
        input.length()?;
        match input.length()? {
            STRING | SMALL_STRING => input.pass_string()?,
            INT | DOUBLE => input.pass(8)?,
            _ => return Err(input.damaged_at(offset, "an array item has a form that does not exist")),
        }
    }
    Ok(())
}

pub(super) fn write<W: Write>(output: &mut Output<W>, array: &Array) -> io::Result<()> {
    output.count(array.len());
    match array.insert_index() {
        Some(index) => {
            output.length(1);
            output.length(index);
        }
        None => output.length(0),
    }
    for (index, item) in array.iter() {
        output.length(index);
        match item {
            ArrayItem::String(text) => {
                output.length(STRING);
                output.element(text)?;
            }
            ArrayItem::Int(value) => {
                output.length(INT);
                output.raw(&value.to_le_bytes());
            }
            ArrayItem::Double(value) => {
                output.length(DOUBLE);
                output.raw(&value.to_le_bytes());
            }
            ArrayItem::SmallString(text) => {
                output.length(SMALL_STRING);
                output.element(text)?;
            }
        }
        output.spill()?;
    }
    Ok(())
}
