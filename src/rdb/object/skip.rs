//! Passing over a value: only lengths are looked at.

use std::io::Read;

use super::{array, hash, module, stream, unsupported};
use crate::rdb::error::Error;
use crate::rdb::input::Input;
use crate::rdb::kind::Kind;

/// Passes over a value of `kind`.
pub(in crate::rdb) fn skip<R: Read>(input: &mut Input<R>, kind: Kind) -> Result<(), Error> {
    input.part = "the value";
    match kind {
        Kind::String
        | Kind::HashZipmap
        | Kind::ListZiplist
        | Kind::SetIntset
        | Kind::ZsetZiplist
        | Kind::HashZiplist
        | Kind::HashListpack
        | Kind::ZsetListpack
        | Kind::SetListpack
        | Kind::HashListpackExPreGa => input.pass_string(),
        Kind::HashListpackEx => {
            input.pass(8)?;
            input.pass_string()
        }
        Kind::List | Kind::Set | Kind::ListQuicklist => each(input, |input| input.pass_string()),
        Kind::Hash => each(input, pair),
        Kind::Zset => each(input, |input| {
            input.pass_string()?;
            input.text_double().map(drop)
        }),
        Kind::Zset2 => each(input, |input| {
            input.pass_string()?;
            input.pass(8)
        }),
        Kind::ListQuicklist2 => each(input, |input| {
            input.length()?;
            input.pass_string()
        }),
        Kind::HashMetadata => {
            input.pass(8)?;
            each(input, length_and_pair)
        }
        Kind::HashMetadataPreGa => each(input, length_and_pair),
        Kind::ValkeyHash2 => each(input, |input| {
            pair(input)?;
            input.pass(8)
        }),
        Kind::StreamListpacks
        | Kind::StreamListpacks2
        | Kind::StreamListpacks3
        | Kind::StreamListpacks4
        | Kind::StreamListpacks5 => stream::skip(input, kind),
        Kind::Array => array::skip(input),
        Kind::HashTemplateListpack
        | Kind::HashTemplateListpackRef
        | Kind::HashTemplateArray
        | Kind::HashTemplateArrayRef => hash::skip_templated(input, kind),
        Kind::Module2 => {
            input.length()?;
            module::pass(input)
        }
        _ => Err(unsupported(input, kind)),
    }
}

/// Passes over a count and that many elements.
pub(super) fn each<R: Read>(
    input: &mut Input<R>,
    mut element: impl FnMut(&mut Input<R>) -> Result<(), Error>,
) -> Result<(), Error> {
    let count = input.length()?;
    (0..count).try_for_each(|_| element(input))
}

fn pair<R: Read>(input: &mut Input<R>) -> Result<(), Error> {
    input.pass_string()?;
    input.pass_string()
}

fn length_and_pair<R: Read>(input: &mut Input<R>) -> Result<(), Error> {
    input.length()?;
    pair(input)
}
