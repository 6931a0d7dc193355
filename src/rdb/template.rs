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
pub(super) struct Templates(BTreeMap<u64, Fields>);

impl Templates {
    /// Keeps a template; false if its id is taken.
    pub(super) fn insert(&mut self, id: u64, fields: Fields) -> bool {
        self.0.insert(id, fields).is_none()
    }
}

/// Reads what follows the opcode and keeps the template.
pub(super) fn read<R: Read>(input: &mut Input<'_, R>) -> Result<(u64, Fields), Error> {
    let offset = input.offset();
    let id = input.length()?;
    let fields: Fields = read_fields(input)?.into();
    if !input.templates.insert(id, Arc::clone(&fields)) {
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
    input.templates.0.get(&id).cloned().ok_or_else(|| {
        input.damaged_at(
            offset,
            "it refers to a hash template that nothing before it defines, so its fields have no names",
        )
    })
}
