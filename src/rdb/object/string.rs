//! Strings: type 0, a string.

use std::io::{self, Read, Write};

use super::Scratch;
use crate::rdb::error::Error;
use crate::rdb::event::Visitor;
use crate::rdb::input::Input;
use crate::rdb::kind::Kind;
use crate::rdb::output::Output;
use crate::rdb::primitive::StringForm;
use crate::value::{Element, StringValue};

pub(super) fn visit<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    visitor: &mut dyn Visitor,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    visitor.begin(kind, None);
    match input.string_form()? {
        StringForm::Lzf { packed, length } if visitor.string_length(length) => input.prove(packed, length)?,
        form => visitor.string(input.element_of(form, &mut scratch.first)?),
    }
    Ok(())
}

pub(super) fn build<R: Read>(input: &mut Input<R>) -> Result<StringValue, Error> {
    Ok(match input.owned()? {
        Ok(bytes) => StringValue::from(bytes),
        Err(value) => StringValue::from(value),
    })
}

pub(in crate::rdb) fn write<W: Write>(output: &mut Output<W>, value: Element<'_>) -> io::Result<()> {
    output.element(value)
}
