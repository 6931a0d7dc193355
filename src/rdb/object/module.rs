//! Module values: kept as they stand.
//!
//! ```text
//! 7  MODULE_2  length: id; then until EOF: 1 SINT length | 2 UINT length | 3 FLOAT 4 bytes | 4 DOUBLE 8 bytes |
//!              5 STRING string; 0 EOF
//! ```
//!
//! The opcodes are what makes them passable without the module. Type 6, of the release candidates of 4.0, has none.

use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::rdb::error::Error;
use crate::rdb::input::Input;
use crate::rdb::output::Output;
use crate::value::Module;

pub(super) fn read<R: Read>(input: &mut Input<R>) -> Result<Module, Error> {
    input.part = "a module value";
    let id = input.length()?;
    Ok(Module { id, raw: Arc::new(capture(input)?) })
}

/// Passes over the opcodes and gives them as they stand, the EOF included.
pub(in crate::rdb) fn capture<R: Read>(input: &mut Input<R>) -> Result<Vec<u8>, Error> {
    input.capture();
    let passed = pass(input);
    let raw = input.captured();
    passed.map(|()| raw)
}

/// Passes over the opcodes, the EOF included.
pub(in crate::rdb) fn pass<R: Read>(input: &mut Input<R>) -> Result<(), Error> {
    loop {
        let offset = input.offset();
        match input.length()? {
            0 => return Ok(()),
            1 | 2 => _ = input.length()?,
            3 => input.pass(4)?,
            4 => input.pass(8)?,
            5 => input.pass_string()?,
            _ => return Err(input.damaged_at(offset, "a module value holds something of no known kind")),
        }
    }
}

pub(super) fn write<W: Write>(output: &mut Output<W>, module: &Module) -> io::Result<()> {
    output.length(module.id);
    output.bytes(&module.raw)
}
