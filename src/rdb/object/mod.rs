//! Values: one file per type, each with every encoding that was ever written on the way in, and the chosen version's
//! on the way out.
//!
//! There are four ways through a value. `visit` streams its elements and holds none of them; `build` makes an
//! [`Object`], taking packed bytes over as they are where they are valid and within the limits; [`gather`] does the same
//! for many small ones in one buffer; [`skip`] passes over it without looking inside strings.

mod array;
mod builder;
mod gather;
mod hash;
mod list;
mod module;
mod set;
mod skip;
mod stream;
mod string;
mod zset;

pub use builder::ObjectBuilder;
pub use gather::Gathered;
pub(super) use gather::gather;
pub(super) use module::capture as capture_module;
pub(super) use skip::skip;

use std::io::{Read, Write};

use super::error::{Cause, Error};
use super::event::Visitor;
use super::input::Input;
use super::kind::Kind;
use super::output::Output;
use super::packed::{Ziplist, Zipmap};
use super::primitive::Text;
use super::version::{Feature, Version};
use super::writer::WriteError;
use crate::value::{Limits, Listpack, Object, PackedError};

/// Places for two strings, used again for every element.
#[derive(Default)]
pub(super) struct Scratch {
    first: Text,
    second: Text,
}

/// Streams the elements of a value of `kind`.
pub(super) fn visit<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    visitor: &mut dyn Visitor,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    match kind.type_name() {
        _ if !kind.row().supported => return Err(unsupported(input, kind)),
        "string" => string::visit(input, kind, visitor, scratch)?,
        "list" => list::visit(input, kind, visitor, scratch)?,
        "set" => set::visit(input, kind, visitor, scratch)?,
        "zset" => zset::visit(input, kind, visitor, scratch)?,
        "hash" => hash::visit(input, kind, visitor, scratch)?,
        "stream" => stream::visit(input, kind, visitor)?,
        "array" => array::visit(input, kind, visitor, scratch)?,
        _ => {
            visitor.begin(kind, None);
            visitor.module(&module::read(input)?);
        }
    }
    visitor.end();
    Ok(())
}

/// Decodes a value of `kind`; `None` for a collection without elements. An empty stream is a value.
pub(super) fn build<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Option<Object>, Error> {
    match kind.type_name() {
        _ if !kind.row().supported => Err(unsupported(input, kind)),
        "string" => string::build(input).map(|value| Some(Object::String(value))),
        "list" => list::build(input, kind, limits, scratch),
        "set" => set::build(input, kind, limits, scratch),
        "zset" => zset::build(input, kind, limits, scratch),
        "hash" => hash::build(input, kind, limits, scratch),
        "stream" => stream::build(input, kind, limits).map(|value| Some(Object::Stream(Box::new(value)))),
        "array" => build_by_elements(input, kind, limits, scratch),
        _ => module::read(input).map(|value| Some(Object::Module(value))),
    }
}

/// Decodes a value element by element.
fn build_by_elements<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Option<Object>, Error> {
    let start = input.offset();
    let mut builder = ObjectBuilder::new(limits);
    visit(input, kind, &mut builder, scratch)?;
    builder.finish().map_err(|what| input.damaged_at(start, what))
}

/// What `object` is or has that `version` cannot hold.
pub(super) fn lacking(object: &Object, version: Version) -> impl Iterator<Item = Feature> + use<> {
    let features = match object {
        Object::String(_) | Object::List(_) | Object::Set(_) | Object::Zset(_) => [None; MOST_FEATURES],
        Object::Hash(hash) => [hash.has_field_expiry().then_some(Feature::FieldExpiry), None, None, None, None],
        Object::Stream(stream) => stream::features(stream, version),
        Object::Module(_) => [Some(Feature::Module), None, None, None, None],
        Object::Array(_) => [Some(Feature::Array), None, None, None, None],
    };
    features.into_iter().flatten().filter(move |feature| !version.holds(*feature))
}

/// A value has at most so many features.
const MOST_FEATURES: usize = 5;

/// The type that goes with `object` and `version`, leaving out what is [`lacking`].
pub(super) fn kind_for(object: &Object, version: Version) -> Kind {
    let kind = match object {
        Object::String(_) => Kind::String,
        Object::List(value) => list::kind_for(value, version),
        Object::Set(value) => set::kind_for(value, version),
        Object::Zset(value) => zset::kind_for(value, version),
        Object::Hash(value) => hash::kind_for(value, version),
        Object::Stream(_) => stream::kind_for(version),
        Object::Module(_) => Kind::Module2,
        Object::Array(_) => Kind::Array,
    };
    debug_assert!(version.knows(kind) || lacking(object, version).next().is_some(), "{kind:?} in version {version}");
    kind
}

/// Writes the value in the encoding of `kind`, which [`kind_for`] chose.
pub(super) fn write<W: Write>(output: &mut Output<W>, object: &Object, kind: Kind) -> Result<(), WriteError> {
    match object {
        Object::String(value) => string::write(output, value.element())?,
        Object::List(value) => list::write(output, value, kind)?,
        Object::Set(value) => set::write(output, value, kind)?,
        Object::Zset(value) => zset::write(output, value, kind)?,
        Object::Hash(value) => hash::write(output, value, kind)?,
        Object::Stream(value) => stream::write(output, value, kind)?,
        Object::Module(value) => module::write(output, value)?,
        Object::Array(value) => array::write(output, value)?,
    }
    Ok(())
}

/// The error for a type that is known by name only.
pub(in crate::rdb) fn unsupported<R: Read>(input: &Input<R>, kind: Kind) -> Error {
    input.error(Cause::Unsupported { name: kind.name(), number: kind.number(), header: input.header })
}

/// An older packed value beyond this is not turned into a listpack, whose length has 32 bits. Servers stop at 1 GiB.
const MOST_REPACKED: usize = 1 << 30;

/// A packed value of several elements as it came from a file, whatever its layout there.
struct Pack {
    /// File offset of the string that holds it.
    offset: u64,
    list: Listpack,
}

/// How a packed value lies in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Listpack,
    Ziplist,
    Zipmap,
}

impl Pack {
    /// Reads a packed value whose elements come in groups of `stride`.
    fn read<R: Read>(input: &mut Input<R>, layout: Layout, stride: usize) -> Result<Pack, Error> {
        let offset = input.offset();
        let bytes = input.pack()?;
        Pack::of(input, offset, &bytes, layout, stride)
    }

    /// Of bytes that have been read at `offset`.
    fn of<R: Read>(input: &Input<R>, offset: u64, bytes: &[u8], layout: Layout, stride: usize) -> Result<Pack, Error> {
        let mut list = if input.lenient && layout == Layout::Listpack {
            Listpack::whole_beginning(bytes)
        } else {
            Pack::parse(bytes, layout).map_err(|error| input.damaged_at(offset, error.what))?
        };
        if stride > 1 && !list.len().is_multiple_of(stride) {
            input.unless_lenient(offset, "a packed value whose last element lacks its counterpart")?;
            if let Some(at) = list.seek(list.len() / stride * stride) {
                list.split_off(at);
            }
        }
        Ok(Pack { offset, list })
    }

    fn parse(bytes: &[u8], layout: Layout) -> Result<Listpack, PackedError> {
        if layout != Layout::Listpack && bytes.len() > MOST_REPACKED {
            return Err(PackedError { offset: 0, what: "a packed value is larger than any server makes" });
        }
        let mut list = Listpack::new();
        match layout {
            Layout::Listpack => return Listpack::from_bytes(bytes),
            Layout::Ziplist => Ziplist::parse(bytes)?.iter().for_each(|item| list.push_element(item)),
            Layout::Zipmap => Zipmap::parse(bytes)?.iter().for_each(|(field, value)| {
                list.push_back(field);
                list.push_back(value);
            }),
        }
        Ok(list)
    }

    /// How many groups of `stride` there are.
    fn count(&self, stride: usize) -> Option<u64> {
        u64::try_from(self.list.len() / stride).ok()
    }
}
