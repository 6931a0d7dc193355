//! Hash templates of Redis 8.10: the field names that many hashes share, defined once in a file.
//!
//! ```text
//! 242 HASH_TEMPLATE  length: id; n, n strings: the fields, shorter ones first, those of one length by their bytes
//! ```
//!
//! Keys of the types 30 and 32 name a template by its id and have only the values, in the order of its fields.
//!
//! A few bytes can name a template of megabytes, so what a file's hashes take from its templates is bounded in
//! proportion to the file ([`MOST_FACTOR`]), as what comes out of compressed strings is by their nature. And whether a
//! template has a field twice is found once, not for every hash ([`Visitor::distinct_fields`]).
//!
//! [`Visitor::distinct_fields`]: super::event::Visitor::distinct_fields

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use super::error::Error;
use super::input::Input;

/// Field names in the order of the values.
pub(super) type Fields = Arc<[Vec<u8>]>;

/// Hashes may take so many times the bytes of the file before them from templates, beyond [`FREE`]. Names of hundreds of
/// bytes before values of one or two come nowhere near.
const MOST_FACTOR: u64 = 256;
const FREE: u64 = 64 << 20;

/// The templates of one file.
#[derive(Default)]
pub(super) struct Templates {
    by_id: BTreeMap<u64, Template>,
    /// Where each was defined, and its id, in the order of the file.
    defined: Vec<(u64, u64)>,
    /// Bytes that hashes took from templates so far.
    taken: u64,
}

/// A template.
#[derive(Clone)]
struct Template {
    fields: Fields,
    /// Bytes of all its fields.
    len: u64,
    is_distinct: bool,
}

impl Template {
    fn new(fields: Fields) -> Self {
        let len = fields.iter().map(|field| field.len() as u64).sum(); // widening
        let is_ordered = fields.windows(2).all(|pair| (pair[0].len(), &pair[0]) < (pair[1].len(), &pair[1]));
        let is_distinct = is_ordered || {
            let mut sorted: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
            sorted.sort_unstable();
            sorted.windows(2).all(|pair| pair[0] != pair[1])
        };
        Template { fields, len, is_distinct }
    }
}

impl Templates {
    /// Keeps a template that is defined at `offset`, behind those before; false, and nothing, if its id is taken.
    pub(super) fn insert(&mut self, offset: u64, id: u64, fields: Fields) -> bool {
        if self.by_id.contains_key(&id) {
            return false;
        }
        self.by_id.insert(id, Template::new(fields));
        self.defined.push((offset, id));
        true
    }

    /// Takes out what was defined at `offset` or behind it: offset, id and fields, the last first.
    pub(super) fn split_off(&mut self, offset: u64) -> Vec<(u64, u64, Fields)> {
        let mut gone = Vec::new();
        while let Some((at, id)) = self.defined.pop_if(|(at, _)| *at >= offset) {
            gone.extend(self.by_id.remove(&id).map(|template| (at, id, template.fields)));
        }
        gone
    }

    /// Bytes that hashes took so far, for whoever reads something again and counts it once: [`Templates::set_taken`].
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn set_taken(&mut self, taken: u64) {
        self.taken = taken;
    }
}

/// Reads what follows the opcode and keeps the template.
pub(super) fn read<R: Read>(input: &mut Input<'_, R>) -> Result<(u64, Fields), Error> {
    let offset = input.offset();
    let id = input.length()?;
    let fields: Fields = read_fields(input)?.into();
    if !input.templates.insert(offset, id, Arc::clone(&fields)) {
        return Err(input.damaged_at(offset, "two hash templates have the same id"));
    }
    Ok((id, fields))
}

/// A count and that many names.
pub(super) fn read_fields<R: Read>(input: &mut Input<'_, R>) -> Result<Vec<Vec<u8>>, Error> {
    let mut fields = Vec::new();
    for _ in 0..input.length()? {
        fields.push(input.blob()?);
    }
    Ok(fields)
}

/// The fields of the template that a key at `offset` refers to, for passing over its values.
pub(super) fn find<R: Read>(input: &Input<R>, id: u64, offset: u64) -> Result<Fields, Error> {
    find_whole(input, id, offset).map(|template| Arc::clone(&template.fields))
}

/// The same for a hash that takes them.
pub(super) fn take<R: Read>(input: &mut Input<R>, id: u64, offset: u64) -> Result<Fields, Error> {
    let Template { fields, len, is_distinct } = find_whole(input, id, offset)?.clone();
    if !is_distinct {
        return Err(input.damaged_at(offset, "the hash template that it refers to has a field twice"));
    }
    input.templates.taken = input.templates.taken.saturating_add(len);
    if input.templates.taken > FREE + MOST_FACTOR * offset {
        return Err(input.damaged_at(
            offset,
            "the hashes so far take more from hash templates than 256 times the bytes of the file, which no server writes",
        ));
    }
    Ok(fields)
}

fn find_whole<'a, R: Read>(input: &'a Input<R>, id: u64, offset: u64) -> Result<&'a Template, Error> {
    input.templates.by_id.get(&id).ok_or_else(|| {
        input.damaged_at(
            offset,
            "it refers to a hash template that nothing before it defines, so its fields have no names",
        )
    })
}
