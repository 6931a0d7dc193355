//! Hash templates of Redis 8.10: the field names that many hashes share, defined once in a file.
//!
//! ```text
//! 242 HASH_TEMPLATE  length: id; n, n strings: the fields, shorter ones first, those of one length by their bytes
//! ```
//!
//! Keys of the types 30 and 32 name a template by its id and have only the values, in the order of its fields.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use super::error::Error;
use super::input::Input;

/// Field names in the order of the values.
pub(super) type Fields = Arc<[Vec<u8>]>;

/// The templates of one file.
#[derive(Default)]
pub(super) struct Templates {
    by_id: BTreeMap<u64, Fields>,
    /// Where each was defined, and its id, in the order of the file.
    defined: Vec<(u64, u64)>,
}

impl Templates {
    /// Keeps a template that is defined at `offset`, behind those before; false, and nothing, if its id is taken.
    pub(super) fn insert(&mut self, offset: u64, id: u64, fields: Fields) -> bool {
        if self.by_id.contains_key(&id) {
            return false;
        }
        self.by_id.insert(id, fields);
        self.defined.push((offset, id));
        true
    }

    /// Takes out what was defined at `offset` or behind it: offset, id and fields, the last first.
    pub(super) fn split_off(&mut self, offset: u64) -> Vec<(u64, u64, Fields)> {
        let mut gone = Vec::new();
        while let Some((at, id)) = self.defined.pop_if(|(at, _)| *at >= offset) {
            gone.extend(self.by_id.remove(&id).map(|fields| (at, id, fields)));
        }
        gone
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

/// The fields of the template that a key at `offset` refers to.
pub(super) fn find<R: Read>(input: &Input<'_, R>, id: u64, offset: u64) -> Result<Fields, Error> {
    input.templates.by_id.get(&id).cloned().ok_or_else(|| {
        input.damaged_at(
            offset,
            "it refers to a hash template that nothing before it defines, so its fields have no names",
        )
    })
}
