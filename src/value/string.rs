//! String values: an integer, bytes, or bytes behind a pointer that a snapshot can share.

use super::packed::Element;
use crate::allocator::block_size;
use crate::codec::number::parse_i64;
use std::sync::Arc;

/// From this length on a string that a client wrote lives behind an [`Arc`], so that a snapshot shares it.
pub const BLOB_BYTES: usize = 1024;

/// The value of a string key.
///
/// What spells a canonical 64-bit integer is held as [`StringValue::Int`] by [`StringValue::from`]; a string that
/// grew by APPEND or SETRANGE may hold such bytes as they are, as in Redis.
#[derive(Clone, Debug)]
pub enum StringValue {
    /// An integer.
    Int(i64),
    /// Short bytes; cloning copies them.
    Bytes(Vec<u8>),
    /// Long bytes, or such as were changed in place, however few; cloning shares them.
    Blob(Arc<Vec<u8>>),
}

impl StringValue {
    /// The text.
    pub fn element(&self) -> Element<'_> {
        match self {
            StringValue::Int(value) => Element::Int(*value),
            StringValue::Bytes(bytes) => Element::Bytes(bytes),
            StringValue::Blob(bytes) => Element::Bytes(bytes),
        }
    }

    /// Keeps `bytes` as they are, also if they spell an integer: what APPEND and SETRANGE leave behind.
    pub fn raw(bytes: Vec<u8>) -> Self {
        if bytes.len() >= BLOB_BYTES { StringValue::Blob(Arc::new(bytes)) } else { StringValue::Bytes(bytes) }
    }

    /// The bytes for changing in place; an integer is spelled out, a shared blob is copied first.
    pub fn make_mut(&mut self) -> &mut Vec<u8> {
        match self {
            StringValue::Int(value) => *self = StringValue::Bytes(value.to_string().into_bytes()),
            StringValue::Bytes(bytes) if bytes.len() >= BLOB_BYTES => {
                *self = StringValue::Blob(Arc::new(std::mem::take(bytes)));
            }
            _ => {}
        }
        match self {
            StringValue::Bytes(bytes) => bytes,
            StringValue::Blob(bytes) => Arc::make_mut(bytes),
            StringValue::Int(_) => unreachable!("an integer was spelled out above"),
        }
    }

    /// The text, copied only if it is shared.
    pub fn into_vec(self) -> Vec<u8> {
        match self {
            StringValue::Int(value) => value.to_string().into_bytes(),
            StringValue::Bytes(bytes) => bytes,
            StringValue::Blob(bytes) => Arc::unwrap_or_clone(bytes),
        }
    }

    /// Bytes that were changed in place.
    pub fn edited(bytes: Vec<u8>) -> Self {
        StringValue::Blob(Arc::new(bytes))
    }

    /// Length of the text in bytes.
    pub fn len(&self) -> usize {
        self.element().len()
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.element().is_empty()
    }

    /// The integer, if the text is one.
    pub fn as_i64(&self) -> Option<i64> {
        self.element().as_i64()
    }

    /// `int`, `embstr` (at most 44 bytes, never changed in place) or `raw`, as OBJECT ENCODING says.
    pub fn encoding(&self) -> &'static str {
        match self {
            StringValue::Int(_) => "int",
            StringValue::Bytes(bytes) if bytes.len() <= 44 => "embstr",
            StringValue::Bytes(_) | StringValue::Blob(_) => "raw",
        }
    }

    /// Bytes held beyond the value's own size.
    pub fn footprint(&self) -> usize {
        match self {
            StringValue::Int(_) => 0,
            StringValue::Bytes(bytes) => block_size(bytes.capacity()),
            StringValue::Blob(bytes) => {
                block_size(bytes.capacity()) + block_size(2 * size_of::<usize>() + size_of::<Vec<u8>>())
            }
        }
    }
}

impl From<&[u8]> for StringValue {
    fn from(bytes: &[u8]) -> Self {
        match parse_i64(bytes) {
            Some(value) => StringValue::Int(value),
            None => StringValue::raw(bytes.to_vec()),
        }
    }
}

impl From<Vec<u8>> for StringValue {
    fn from(bytes: Vec<u8>) -> Self {
        match parse_i64(&bytes) {
            Some(value) => StringValue::Int(value),
            None => StringValue::raw(bytes),
        }
    }
}

impl From<i64> for StringValue {
    fn from(value: i64) -> Self {
        StringValue::Int(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_those_of_redis() {
        assert_eq!(StringValue::from(&b"123"[..]).encoding(), "int");
        assert_eq!(StringValue::from(&b"0123"[..]).encoding(), "embstr");
        assert_eq!(StringValue::from(vec![b'x'; 44]).encoding(), "embstr");
        assert_eq!(StringValue::from(vec![b'x'; 45]).encoding(), "raw");
        assert_eq!(StringValue::raw(b"12".to_vec()).as_i64(), Some(12));
    }

    #[test]
    fn a_clone_of_a_blob_keeps_its_bytes_when_the_other_changes() {
        let mut value = StringValue::from(vec![b'x'; 5000]);
        let copy = value.clone();
        value.make_mut().push(b'y');
        assert_eq!((value.len(), copy.len()), (5001, 5000));
    }
}
