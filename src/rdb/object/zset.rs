//! Sorted sets.
//!
//! ```text
//! 3  ZSET          n, n x (string, score as text)
//! 5  ZSET_2        n, n x (string, score as 8 bytes)
//! 12 ZSET_ZIPLIST  a ziplist of member, score, ...
//! 17 ZSET_LISTPACK a listpack of member, score, ...
//! ```
//!
//! Servers write type 5 from the highest score down, because they insert faster in that order; so do we.

use std::io::{self, Read, Write};

use super::{Layout, Pack, Scratch, build_by_elements};
use crate::codec::number::parse_f64;
use crate::rdb::error::Error;
use crate::rdb::event::Visitor;
use crate::rdb::input::Input;
use crate::rdb::kind::Kind;
use crate::rdb::output::Output;
use crate::value::{Element, Limits, Object, Zset};

pub(super) fn visit<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    visitor: &mut dyn Visitor,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    input.part = "a sorted set member";
    let Some(layout) = layout(kind) else {
        let count = input.length()?;
        visitor.begin(kind, Some(count));
        for _ in 0..count {
            input.part = "a sorted set member";
            input.text(&mut scratch.first)?;
            input.part = "a score";
            let score = if kind == Kind::Zset2 { input.double()? } else { input.text_double()? };
            visitor.zset_member(scratch.first.element(), score);
        }
        return Ok(());
    };
    let pack = Pack::read(input, layout, 2)?;
    visitor.begin(kind, pack.count(2));
    let mut items = pack.list.iter();
    while let (Some(member), Some(score)) = (items.next(), items.next()) {
        let score = score_of(score).ok_or_else(|| input.damaged_at(pack.offset, "a score is not a number"))?;
        visitor.zset_member(member, score);
    }
    Ok(())
}

fn score_of(text: Element<'_>) -> Option<f64> {
    match text {
        Element::Int(value) => Some(value as f64), // what parsing its text would give: the nearest double
        Element::Bytes(text) => parse_f64(text),
    }
}

fn layout(kind: Kind) -> Option<Layout> {
    match kind {
        Kind::ZsetZiplist => Some(Layout::Ziplist),
        Kind::ZsetListpack => Some(Layout::Listpack),
        _ => None,
    }
}

pub(super) fn build<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Option<Object>, Error> {
    input.part = "a sorted set member";
    let Some(layout) = layout(kind) else { return build_by_elements(input, kind, limits, scratch) };
    let Pack { offset, list } = Pack::read(input, layout, 2)?;
    let zset = Zset::from_listpack(list, limits).map_err(|error| input.damaged_at(offset, error.what))?;
    Ok((!zset.is_empty()).then_some(Object::Zset(zset)))
}

pub(super) fn kind_for(zset: &Zset) -> Kind {
    if zset.as_listpack().is_some() { Kind::ZsetListpack } else { Kind::Zset2 }
}

pub(super) fn write<W: Write>(output: &mut Output<W>, zset: &Zset) -> io::Result<()> {
    if let Some(pack) = zset.as_listpack() {
        return output.blob(pack.as_bytes());
    }
    output.count(zset.len());
    if zset.is_empty() {
        return Ok(());
    }
    zset.iter_rev_from(zset.len() - 1).try_for_each(|(member, score)| {
        output.element(member)?;
        output.raw(&score.to_le_bytes());
        Ok(())
    })
}
