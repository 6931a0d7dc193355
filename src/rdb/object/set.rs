//! Sets.
//!
//! ```text
//! 2  SET          n, n strings
//! 11 SET_INTSET   an intset
//! 20 SET_LISTPACK a listpack
//! ```

use std::io::{self, Read, Write};

use super::gather::{Gathered, gathered};
use super::{Layout, ObjectBuilder, Pack, Scratch, build_by_elements};
use crate::rdb::error::Error;
use crate::rdb::event::Visitor;
use crate::rdb::input::Input;
use crate::rdb::kind::Kind;
use crate::rdb::output::Output;
use crate::rdb::version::Version;
use crate::value::packed::{Checked, Packing};
use crate::value::{Element, Intset, Limits, Object, Set, SetRepr, Shape};

/// Members beyond this are not gathered.
const MOST_GATHERED: usize = 16 << 10;
/// Digits and sign of the longest integer.
const LONGEST_INTEGER: usize = 20;

pub(super) fn visit<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    visitor: &mut dyn Visitor,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    input.part = "a set member";
    match kind {
        Kind::SetIntset => {
            let set = intset(input)?;
            visitor.begin(kind, u64::try_from(set.len()).ok());
            set.iter().for_each(|value| visitor.set_member(Element::Int(value)));
        }
        Kind::SetListpack => {
            let pack = Pack::read(input, Layout::Listpack, 1)?;
            visitor.begin(kind, pack.count(1));
            pack.list.iter().for_each(|member| visitor.set_member(member));
        }
        _ => {
            let count = input.length()?;
            visitor.begin(kind, Some(count));
            for _ in 0..count {
                visitor.set_member(input.element(&mut scratch.first)?);
            }
        }
    }
    Ok(())
}

fn intset<R: Read>(input: &mut Input<R>) -> Result<Intset, Error> {
    let offset = input.offset();
    let bytes = input.blob()?;
    intset_of(input, offset, &bytes)
}

/// Of bytes that have been read at `offset`.
fn intset_of<R: Read>(input: &Input<R>, offset: u64, bytes: &[u8]) -> Result<Intset, Error> {
    Intset::from_bytes(bytes).map_err(|error| input.damaged_at(offset, error.what))
}

pub(super) fn build<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Option<Object>, Error> {
    input.part = "a set member";
    match kind {
        Kind::SetIntset => Ok(object_of(Set::from_intset(intset(input)?, limits))),
        Kind::SetListpack => {
            let pack = Pack::read(input, Layout::Listpack, 1)?;
            of_pack(input, pack, limits)
        }
        _ => build_by_elements(input, kind, limits, scratch),
    }
}

fn object_of(set: Set) -> Option<Object> {
    (!set.is_empty()).then_some(Object::Set(set))
}

/// A set of the members of a listpack.
pub(super) fn of_pack<R: Read>(input: &Input<R>, pack: Pack, limits: &Limits) -> Result<Option<Object>, Error> {
    let Pack { offset, list } = pack;
    let set = Set::from_listpack(list, limits).map_err(|error| input.damaged_at(offset, error.what))?;
    Ok(object_of(set))
}

/// A set of the integers in these bytes, which have been read at `offset`.
pub(super) fn of_intset<R: Read>(
    input: &Input<R>,
    offset: u64,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Option<Object>, Error> {
    Ok(object_of(Set::from_intset(intset_of(input, offset, bytes)?, limits)))
}

/// As `build`, of members that stand one by one: servers before 7.2 have all sets of a few words so.
pub(super) fn gather<R: Read>(
    input: &mut Input<R>,
    limits: &Limits,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<Option<Gathered>, Error> {
    input.part = "a set member";
    let (offset, start) = (input.offset(), out.len());
    let count = input.length()?;
    let mut set = ObjectBuilder::new(limits);
    set.begin(Kind::Set, Some(count));
    let (mut packing, mut has_word) = (is_few(count, limits).then(|| Packing::begin(out)), false);
    for _ in 0..count {
        let member = input.element(&mut scratch.first)?;
        if let Some(packed) = packing.take_if(|_| !is_short(member, limits) || out.len() - start > MOST_GATHERED) {
            packed.finish(out);
            take_apart(out, start, &mut set);
        }
        match &mut packing {
            Some(packing) => packing.push(out, member),
            None => set.set_member(member),
        }
        has_word |= member.as_i64().is_none();
    }
    if let Some(packed) = packing {
        packed.finish(out);
        // Integers alone are no listpack.
        if has_word && let Some(gathered) = gathered(Shape::Set, start, limits, out) {
            return Ok(Some(gathered));
        }
        take_apart(out, start, &mut set);
    }
    let object = set.finish().map_err(|what| input.damaged_at(offset, what))?;
    Ok(object.map(Gathered::Object))
}

/// Whether so many members can be a listpack whatever their order.
fn is_few(count: u64, limits: &Limits) -> bool {
    let most = limits.set_max_listpack_entries.min(limits.set_max_intset_entries);
    usize::try_from(count).is_ok_and(|count| count <= most)
}

/// Whether a listpack may hold the member.
fn is_short(member: Element<'_>, limits: &Limits) -> bool {
    let limit = limits.set_max_listpack_value;
    match member {
        Element::Int(_) if limit >= LONGEST_INTEGER => true,
        _ => member.len() <= limit,
    }
}

/// Moves the members of the listpack that stands at the end of `out`, from `start` on, into a set.
fn take_apart(out: &mut Vec<u8>, start: usize, set: &mut ObjectBuilder<'_>) {
    let packed = Checked::new(&out[start..]).expect("it has just been put together");
    packed.iter().for_each(|member| set.set_member(member));
    out.truncate(start);
}

pub(super) fn kind_for(set: &Set, version: Version) -> Kind {
    match set.as_packed() {
        Some(SetRepr::Intset(_)) => Kind::SetIntset,
        Some(SetRepr::Listpack(_)) if version.knows(Kind::SetListpack) => Kind::SetListpack,
        _ => Kind::Set,
    }
}

pub(super) fn write<W: Write>(output: &mut Output<W>, set: &Set, kind: Kind) -> io::Result<()> {
    match (kind, set.as_packed()) {
        (Kind::SetIntset, Some(SetRepr::Intset(set))) => output.blob(set.as_bytes()),
        (Kind::SetListpack, Some(SetRepr::Listpack(pack))) => output.blob(pack.as_bytes()),
        _ => {
            output.count(set.len());
            set.iter().try_for_each(|member| output.element(member))
        }
    }
}
