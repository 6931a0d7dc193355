//! Hashes.
//!
//! ```text
//! 4  HASH                    n, n x (field, value)
//! 9  HASH_ZIPMAP             a zipmap
//! 13 HASH_ZIPLIST            a ziplist of field, value, ...
//! 16 HASH_LISTPACK           a listpack of field, value, ...
//! 22 HASH_METADATA_PRE_GA    n, n x (length: Unix ms or 0 for none; field, value)               Redis 7.4 RC
//! 23 HASH_LISTPACK_EX_PRE_GA a listpack of field, value, Unix ms or 0, ...                      Redis 7.4 RC
//! 24 HASH_METADATA           smallest Unix ms; n, n x (length: ms above the smallest + 1, or 0; field, value)
//! 25 HASH_LISTPACK_EX        smallest Unix ms; a listpack of field, value, Unix ms or 0, ...
//! 22 HASH_2                  n, n x (field, value, Unix ms or -1)                               Valkey 9
//! 29 HASH_TMPL_LP            names; a listpack of template id, value, ...                             DUMP only
//! 30 HASH_TMPL_LP_REF        a listpack of template id, value, ...
//! 31 HASH_TMPL_ARRAY         names; values                                                           DUMP only
//! 32 HASH_TMPL_ARRAY_REF     length: template id; values
//!
//! names = length 0; a listpack of names | length 1; n, n names
//! values = a string for each name
//! ```
//!
//! Types 30 and 32 take their names from a template that the file has defined before; the hash they give is a plain one.
//!
//! The triples of type 25 lie in the order of their expiry, those without one last: Redis expires from the front. A
//! [`Hash`] keeps them so.

use std::io::{self, Read, Write};

use super::{Layout, Pack, Scratch, build_by_elements};
use crate::rdb::error::Error;
use crate::rdb::event::Visitor;
use crate::rdb::input::Input;
use crate::rdb::kind::Kind;
use crate::rdb::output::Output;
use crate::rdb::packed::ZiplistBuilder;
use crate::rdb::template::{self, Fields};
use crate::rdb::version::Version;
use crate::value::{Element, Hash, Limits, Object};

const NO_EXPIRY: i64 = -1;

pub(super) fn visit<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    visitor: &mut dyn Visitor,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    input.part = "a hash field";
    match kind {
        Kind::HashZipmap => pairs(input, kind, Layout::Zipmap, visitor),
        Kind::HashZiplist => pairs(input, kind, Layout::Ziplist, visitor),
        Kind::HashListpack => pairs(input, kind, Layout::Listpack, visitor),
        Kind::HashListpackExPreGa | Kind::HashListpackEx => triples(input, kind, visitor),
        Kind::HashTemplateListpack | Kind::HashTemplateListpackRef => packed_values(input, kind, visitor),
        Kind::HashTemplateArray | Kind::HashTemplateArrayRef => values(input, kind, visitor, scratch),
        _ => fields(input, kind, visitor, scratch),
    }
}

/// Fields that stand one by one.
fn fields<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    visitor: &mut dyn Visitor,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let smallest = if kind == Kind::HashMetadata { input.ms()? } else { 0 };
    let count = input.length()?;
    visitor.begin(kind, Some(count));
    for _ in 0..count {
        input.part = "a hash field";
        let expire_at_ms = match kind {
            Kind::HashMetadata => match input.length()? {
                0 => None,
                above => Some(expiry(input, smallest, above - 1)?),
            },
            Kind::HashMetadataPreGa => match input.length()? {
                0 => None,
                ms => Some(expiry(input, 0, ms)?),
            },
            _ => None,
        };
        input.text(&mut scratch.first)?;
        input.part = "a hash value";
        if kind == Kind::ValkeyHash2 {
            input.text(&mut scratch.second)?;
            let expire_at_ms = Some(input.ms()?).filter(|ms| *ms != NO_EXPIRY);
            visitor.hash_field(scratch.first.element(), scratch.second.element(), expire_at_ms);
        } else {
            let value = input.element(&mut scratch.second)?;
            visitor.hash_field(scratch.first.element(), value, expire_at_ms);
        }
    }
    Ok(())
}

fn expiry<R: Read>(input: &Input<R>, smallest: i64, above: u64) -> Result<i64, Error> {
    smallest.checked_add_unsigned(above).ok_or_else(|| input.damaged("a field expires at a time that does not exist"))
}

fn pairs<R: Read>(input: &mut Input<R>, kind: Kind, layout: Layout, visitor: &mut dyn Visitor) -> Result<(), Error> {
    let pack = Pack::read(input, layout, 2)?;
    visitor.begin(kind, pack.count(2));
    let mut items = pack.list.iter();
    while let (Some(field), Some(value)) = (items.next(), items.next()) {
        visitor.hash_field(field, value, None);
    }
    Ok(())
}

fn read_triples<R: Read>(input: &mut Input<R>, kind: Kind) -> Result<Pack, Error> {
    if kind == Kind::HashListpackEx {
        input.ms()?; // the smallest expiry, which the triples tell as well
    }
    Pack::read(input, Layout::Listpack, 3)
}

fn triples<R: Read>(input: &mut Input<R>, kind: Kind, visitor: &mut dyn Visitor) -> Result<(), Error> {
    let pack = read_triples(input, kind)?;
    visitor.begin(kind, pack.count(3));
    let mut items = pack.list.iter();
    while let (Some(field), Some(value), Some(ms)) = (items.next(), items.next(), items.next()) {
        let ms = ms.as_i64().filter(|ms| *ms >= 0);
        let ms = ms.ok_or_else(|| input.damaged_at(pack.offset, "a field expires at something that is no time"))?;
        visitor.hash_field(field, value, (ms != 0).then_some(ms));
    }
    Ok(())
}

/// The values of a template's fields in a listpack, behind the template's id.
fn packed_values<R: Read>(input: &mut Input<R>, kind: Kind, visitor: &mut dyn Visitor) -> Result<(), Error> {
    let own_names = if kind.stands_alone() { Some(read_names(input)?) } else { None };
    let pack = Pack::read(input, Layout::Listpack, 1)?;
    let mut items = pack.list.iter();
    let id = items.next().and_then(|id| id.as_i64()).and_then(|id| u64::try_from(id).ok());
    let id = id.ok_or_else(|| input.damaged_at(pack.offset, "the values of a hash begin with no template id"))?;
    let names = match own_names {
        Some(names) => names,
        None => template::take(input, id, pack.offset)?,
    };
    if pack.list.len() != names.len() + 1 {
        return Err(input.damaged_at(pack.offset, "a hash has more or fewer values than its template has fields"));
    }
    visitor.begin(kind, Some(names.len() as u64)); // widening
    if !kind.stands_alone() {
        visitor.distinct_fields();
    }
    for (name, value) in names.iter().zip(items) {
        visitor.hash_field(name.into(), value, None);
    }
    Ok(())
}

/// The values of a template's fields one by one.
fn values<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    visitor: &mut dyn Visitor,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let names = names_of_values(input, kind, template::take)?;
    visitor.begin(kind, Some(names.len() as u64)); // widening
    if !kind.stands_alone() {
        visitor.distinct_fields();
    }
    input.part = "a hash value";
    for name in names.iter() {
        visitor.hash_field(name.into(), input.element(&mut scratch.second)?, None);
    }
    Ok(())
}

/// The names of the values that stand one by one; those of a template as `find` gives them.
fn names_of_values<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    find: impl FnOnce(&mut Input<R>, u64, u64) -> Result<Fields, Error>,
) -> Result<Fields, Error> {
    if kind.stands_alone() {
        return read_names(input);
    }
    let offset = input.offset();
    let id = input.length()?;
    find(input, id, offset)
}

fn read_names<R: Read>(input: &mut Input<R>) -> Result<Fields, Error> {
    const IN_A_LISTPACK: u64 = 0;
    const ONE_BY_ONE: u64 = 1;
    let offset = input.offset();
    let names: Vec<_> = match input.length()? {
        IN_A_LISTPACK => Pack::read(input, Layout::Listpack, 1)?.list.iter().map(|name| name.to_vec()).collect(),
        ONE_BY_ONE => template::read_fields(input)?,
        _ => return Err(input.damaged_at(offset, "the names of a hash have a form that does not exist")),
    };
    Ok(names.into())
}

/// Passes over a hash that is told by a template.
pub(super) fn skip_templated<R: Read>(input: &mut Input<R>, kind: Kind) -> Result<(), Error> {
    match kind {
        Kind::HashTemplateListpackRef => input.pass_string(),
        Kind::HashTemplateListpack => read_names(input).and_then(|_| input.pass_string()),
        _ => {
            let count = names_of_values(input, kind, |input, id, at| template::find(input, id, at))?.len();
            (0..count).try_for_each(|_| input.pass_string())
        }
    }
}

pub(super) fn build<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    limits: &Limits,
    scratch: &mut Scratch,
) -> Result<Option<Object>, Error> {
    input.part = "a hash field";
    let layout = match kind {
        Kind::HashZipmap => Layout::Zipmap,
        Kind::HashZiplist => Layout::Ziplist,
        Kind::HashListpack => Layout::Listpack,
        Kind::HashListpackExPreGa | Kind::HashListpackEx => {
            let Pack { offset, list } = read_triples(input, kind)?;
            let hash = Hash::from_listpackex(list, limits).map_err(|error| input.damaged_at(offset, error.what))?;
            return Ok((!hash.is_empty()).then_some(Object::Hash(hash)));
        }
        _ => return build_by_elements(input, kind, limits, scratch),
    };
    let pack = Pack::read(input, layout, 2)?;
    of_pack(input, pack, limits)
}

/// A hash of pairs.
pub(super) fn of_pack<R: Read>(input: &Input<R>, pack: Pack, limits: &Limits) -> Result<Option<Object>, Error> {
    let Pack { offset, list } = pack;
    let hash = Hash::from_listpack(list, limits).map_err(|error| input.damaged_at(offset, error.what))?;
    Ok((!hash.is_empty()).then_some(Object::Hash(hash)))
}

/// What servers before 7.0 keep packed (`hash-max-ziplist-entries` and `-value`).
const MOST_PACKED_FIELDS: usize = 512;
const LONGEST_PACKED_TEXT: usize = 64;

/// The type for `version`, without the expiry of fields where that has none.
pub(super) fn kind_for(hash: &Hash, version: Version) -> Kind {
    if hash.has_field_expiry() {
        if version.knows(Kind::ValkeyHash2) {
            return Kind::ValkeyHash2;
        }
        if version.knows(Kind::HashMetadata) {
            return if hash.as_listpackex().is_some() { Kind::HashListpackEx } else { Kind::HashMetadata };
        }
    }
    if version.knows(Kind::HashListpack) {
        if hash.as_listpack().is_some() { Kind::HashListpack } else { Kind::Hash }
    } else if fits_ziplist(hash) {
        Kind::HashZiplist
    } else {
        Kind::Hash
    }
}

fn fits_ziplist(hash: &Hash) -> bool {
    let is_short =
        |(field, value, _): (Element<'_>, Element<'_>, _)| field.len().max(value.len()) <= LONGEST_PACKED_TEXT;
    hash.len() <= MOST_PACKED_FIELDS && hash.iter().all(is_short)
}

pub(super) fn write<W: Write>(output: &mut Output<W>, hash: &Hash, kind: Kind) -> io::Result<()> {
    let smallest = hash.min_expire().unwrap_or(0);
    match (kind, hash.as_listpack(), hash.as_listpackex()) {
        (Kind::HashListpack, Some(pack), _) => return output.blob(pack.as_bytes()),
        (Kind::HashListpackEx, _, Some(pack)) => {
            output.raw(&smallest.to_le_bytes());
            return output.blob(pack.as_bytes());
        }
        (Kind::HashZiplist, ..) => {
            let mut ziplist = ZiplistBuilder::new();
            for (field, value, _) in hash.iter() {
                ziplist.push(field);
                ziplist.push(value);
            }
            return output.blob(&ziplist.finish());
        }
        (Kind::HashMetadata, ..) => output.raw(&smallest.to_le_bytes()),
        _ => {}
    }
    output.count(hash.len());
    for (field, value, expire_at_ms) in hash.iter() {
        if kind == Kind::HashMetadata {
            // No expiry is below the smallest.
            output.length(expire_at_ms.map_or(0, |ms| ms.abs_diff(smallest) + 1));
        }
        output.element(field)?;
        output.element(value)?;
        if kind == Kind::ValkeyHash2 {
            output.raw(&expire_at_ms.unwrap_or(NO_EXPIRY).to_le_bytes());
        }
    }
    Ok(())
}
