//! Sorted sets.
//!
//! ```text
//! 3  ZSET          n, n x (string, score as text)
//! 5  ZSET_2        n, n x (string, score as 8 bytes)
//! 12 ZSET_ZIPLIST  a ziplist of member, score, ...
//! 17 ZSET_LISTPACK a listpack of member, score, ...
//! ```
//!
//! Servers write types 3 and 5 from the highest score down, because they insert faster in that order; so do we.

use std::io::{self, Read, Write};

use super::{Layout, Pack, Scratch, build_by_elements};
use crate::codec::number::parse_f64;
use crate::rdb::error::Error;
use crate::rdb::event::Visitor;
use crate::rdb::input::Input;
use crate::rdb::kind::Kind;
use crate::rdb::output::Output;
use crate::rdb::packed::ZiplistBuilder;
use crate::rdb::version::Version;
use crate::value::{Element, Limits, Listpack, Object, Zset};

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
        visitor.zset_score(score);
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
    let pack = Pack::read(input, layout, 2)?;
    of_pack(input, pack, limits)
}

/// A sorted set of pairs.
pub(super) fn of_pack<R: Read>(input: &Input<R>, pack: Pack, limits: &Limits) -> Result<Option<Object>, Error> {
    let Pack { offset, list } = pack;
    let zset = Zset::from_listpack(list, limits).map_err(|error| input.damaged_at(offset, error.what))?;
    Ok((!zset.is_empty()).then_some(Object::Zset(zset)))
}

/// What servers before 7.0 keep packed (`zset-max-ziplist-entries` and `-value`).
const MOST_PACKED_MEMBERS: usize = 128;
const LONGEST_PACKED_MEMBER: usize = 64;

pub(super) fn kind_for(zset: &Zset, version: Version) -> Kind {
    let packs = version.knows(Kind::ZsetListpack);
    match zset.as_listpack() {
        Some(_) if packs => Kind::ZsetListpack,
        Some(pack) if !packs && fits_ziplist(pack) => Kind::ZsetZiplist,
        _ if version.knows(Kind::Zset2) => Kind::Zset2,
        _ => Kind::Zset,
    }
}

fn fits_ziplist(pack: &Listpack) -> bool {
    pack.len() <= 2 * MOST_PACKED_MEMBERS && pack.iter().all(|item| item.len() <= LONGEST_PACKED_MEMBER)
}

pub(super) fn write<W: Write>(output: &mut Output<W>, zset: &Zset, kind: Kind) -> io::Result<()> {
    match (kind, zset.as_listpack()) {
        (Kind::ZsetListpack, Some(pack)) => return output.blob(pack.as_bytes()),
        (Kind::ZsetZiplist, Some(pack)) => {
            let mut ziplist = ZiplistBuilder::new();
            pack.iter().for_each(|item| ziplist.push(item));
            return output.blob(&ziplist.finish());
        }
        _ => {}
    }
    output.count(zset.len());
    if zset.is_empty() {
        return Ok(());
    }
    zset.iter_rev_from(zset.len() - 1).try_for_each(|(member, score)| {
        output.element(member)?;
        if kind == Kind::Zset {
            output.text_double(score);
        } else {
            output.raw(&score.to_le_bytes());
        }
        Ok(())
    })
}
