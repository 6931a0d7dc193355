//! Passing over a stream.

use std::io::Read;

use super::{has_active_time, has_counters, has_idempotence, has_nacked};
use crate::rdb::error::Error;
use crate::rdb::input::Input;
use crate::rdb::kind::Kind;
use crate::rdb::object::skip::each;

pub(in crate::rdb::object) fn skip<R: Read>(input: &mut Input<R>, kind: Kind) -> Result<(), Error> {
    each(input, |input| {
        input.pass_string()?;
        input.pass_string()
    })?;
    // The length and the last id; the first id, the greatest deleted id and the entries added.
    pass_lengths(input, if has_counters(kind) { 8 } else { 3 })?;
    each(input, |input| {
        input.pass_string()?;
        pass_lengths(input, if has_counters(kind) { 3 } else { 2 })?;
        each(input, |input| {
            input.pass(24)?;
            input.length().map(drop)
        })?;
        each(input, |input| {
            input.pass_string()?;
            input.pass(if has_active_time(kind) { 16 } else { 8 })?;
            each(input, |input| input.pass(16))
        })?;
        if has_nacked(kind) {
            each(input, |input| input.pass(16))?;
        }
        Ok(())
    })?;
    if has_idempotence(kind) {
        pass_lengths(input, 2)?;
        each(input, |input| {
            input.pass_string()?;
            each(input, |input| {
                input.pass_string()?;
                pass_lengths(input, 2)
            })
        })?;
        pass_lengths(input, 2)?;
    }
    Ok(())
}

fn pass_lengths<R: Read>(input: &mut Input<R>, count: u32) -> Result<(), Error> {
    (0..count).try_for_each(|_| input.length().map(drop))
}
