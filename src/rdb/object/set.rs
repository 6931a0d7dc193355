//! Sets.
//!
//! ```text
//! 2  SET          n, n strings
//! 11 SET_INTSET   an intset
//! 20 SET_LISTPACK a listpack
//! ```

use std::io::{self, Read, Write};

use super::{Layout, Pack, Scratch, build_by_elements};
use crate::rdb::error::Error;
use crate::rdb::event::Visitor;
use crate::rdb::input::Input;
use crate::rdb::kind::Kind;
use crate::rdb::output::Output;
use crate::rdb::version::Version;
use crate::value::{Element, Intset, Limits, Object, Set, SetRepr};

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
    Intset::from_bytes(bytes).map_err(|error| input.damaged_at(offset, error.what))
}

pub(super) fn build<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Option<Object>, Error> {
    input.part = "a set member";
    let set = match kind {
        Kind::SetIntset => Set::from_intset(intset(input)?, limits),
        Kind::SetListpack => {
            let Pack { offset, list } = Pack::read(input, Layout::Listpack, 1)?;
            Set::from_listpack(list, limits).map_err(|error| input.damaged_at(offset, error.what))?
        }
        _ => return build_by_elements(input, kind, limits, scratch),
    };
    Ok((!set.is_empty()).then_some(Object::Set(set)))
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
