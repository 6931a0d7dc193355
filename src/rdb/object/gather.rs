//! Values for a loader that gathers many keys in one buffer: strings and small collections are appended to it, as they
//! will lie in a keyspace, and only what is large comes as an object.
//!
//! What is appended has been checked as [`super::build`] checks it. Where a packed value isn't to be kept as it stands,
//! being damaged, out of order or beyond the limits, it goes the way of all others, which has the last word.

use std::io::Read;
use std::ops::Range;

use super::{Layout, Pack, Scratch, build, hash, list, set, zset};
use crate::rdb::error::Error;
use crate::rdb::input::Input;
use crate::rdb::kind::Kind;
use crate::rdb::primitive::ReadString;
use crate::value::{Compact, Limits, Object, Shape, StringValue};

/// What [`Reader::gather`](crate::rdb::Reader::gather) read.
#[derive(Debug)]
pub enum Gathered {
    /// A string that the file has as an integer; nothing was appended.
    Int(i64),
    /// A string, whose bytes were appended.
    Bytes(Range<usize>),
    /// A small collection, whose bytes were appended: those of a [`Compact`].
    Compact(Shape, Range<usize>),
    /// Anything else; nothing was appended.
    Object(Object),
}

/// Decodes a value of `kind`, into `out` if it is small; `None` for a collection without elements.
pub(in crate::rdb) fn gather<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    limits: &Limits,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<Option<Gathered>, Error> {
    let (shape, part) = match kind {
        Kind::String => return gather_string(input, out).map(Some),
        Kind::ListQuicklist2 => return list::gather(input, limits, out),
        Kind::Set => return set::gather(input, limits, scratch, out),
        Kind::SetIntset => (Shape::Integers, "a set member"),
        Kind::SetListpack => (Shape::Set, "a set member"),
        Kind::HashListpack => (Shape::Hash, "a hash field"),
        Kind::ZsetListpack => (Shape::Zset, "a sorted set member"),
        _ => return build(input, kind, limits, scratch).map(|object| object.map(Gathered::Object)),
    };
    input.part = part;
    let offset = input.offset();
    let bytes = match gather_pack(input, shape, limits, out)? {
        Ok(gathered) => return Ok(Some(gathered)),
        Err(bytes) => bytes,
    };
    let pack = |stride| Pack::of(input, offset, &bytes, Layout::Listpack, stride);
    let object = match kind {
        Kind::SetIntset => set::of_intset(input, offset, &bytes, limits)?,
        Kind::SetListpack => set::of_pack(input, pack(1)?, limits)?,
        Kind::HashListpack => hash::of_pack(input, pack(2)?, limits)?,
        _ => zset::of_pack(input, pack(2)?, limits)?,
    };
    Ok(object.map(Gathered::Object))
}

fn gather_string<R: Read>(input: &mut Input<R>, out: &mut Vec<u8>) -> Result<Gathered, Error> {
    let start = out.len();
    Ok(match input.append_string(out)? {
        ReadString::Int(value) => Gathered::Int(value),
        ReadString::Appended => Gathered::Bytes(start..out.len()),
        ReadString::Long(bytes) => Gathered::Object(Object::String(StringValue::from(bytes))),
    })
}

/// Appends the next string, if it is a collection of this shape that is kept as it stands. Its bytes otherwise.
pub(super) fn gather_pack<R: Read>(
    input: &mut Input<R>,
    shape: Shape,
    limits: &Limits,
    out: &mut Vec<u8>,
) -> Result<Result<Gathered, Vec<u8>>, Error> {
    let start = out.len();
    Ok(match input.append_string(out)? {
        ReadString::Int(value) => Err(value.to_string().into_bytes()),
        ReadString::Long(bytes) => Err(bytes),
        ReadString::Appended => gathered(shape, start, limits, out).ok_or_else(|| out.split_off(start)),
    })
}

/// The collection that stands at the end of `out`, from `start` on, if it is kept as it stands.
pub(super) fn gathered(shape: Shape, start: usize, limits: &Limits, out: &[u8]) -> Option<Gathered> {
    let bytes = &out[start..];
    let compact = Compact::of_file(shape, bytes, limits)?;
    let skipped = compact.bytes.as_ptr().addr() - bytes.as_ptr().addr();
    Some(Gathered::Compact(shape, start + skipped..start + skipped + compact.bytes.len()))
}
