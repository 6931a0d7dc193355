//! Packed values: the byte layouts that small collections share with the RDB, read and changed in place.
//!
//! [`Listpack`] and [`Intset`] hold exactly the bytes that Redis stores, so that loading and saving copy them. Both
//! are valid by construction: what comes from outside passes `from_bytes` once, and reading never fails afterwards.

mod checked;
mod intset;
pub mod listpack;

pub use checked::{Checked, Packing};
pub use intset::Intset;
pub use listpack::{Listpack, ListpackIter};

use crate::codec::number::parse_i64;
use std::cmp::Ordering;

/// What a packed value, or any collection, holds: bytes, or an integer that stands for its canonical decimal text.
///
/// Equality and order are those of the text: `Int(12)` equals `Bytes(b"12")`.
#[derive(Clone, Copy, Debug)]
pub enum Element<'a> {
    /// The bytes themselves; they may spell an integer.
    Bytes(&'a [u8]),
    /// An integer stored in binary.
    Int(i64),
}

impl<'a> Element<'a> {
    /// Appends the text to `out`.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        self.with(|text| out.extend_from_slice(text));
    }

    /// The text, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        self.with(<[u8]>::to_vec)
    }

    /// Length of the text in bytes.
    pub fn len(&self) -> usize {
        self.with(<[u8]>::len)
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        matches!(self, Element::Bytes([]))
    }

    /// Whether the text is `other`.
    pub fn eq_bytes(&self, other: &[u8]) -> bool {
        match self {
            Element::Bytes(bytes) => *bytes == other,
            Element::Int(value) => parse_i64(other) == Some(*value),
        }
    }

    /// Calls `f` with the text; an integer is printed on the stack, nothing is allocated.
    pub fn with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            Element::Bytes(bytes) => f(bytes),
            Element::Int(value) => f(itoa::Buffer::new().format(*value).as_bytes()),
        }
    }

    /// The integer whose canonical text this is.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Element::Bytes(bytes) => parse_i64(bytes),
            Element::Int(value) => Some(*value),
        }
    }

    /// Order by the bytes of the text.
    pub fn cmp_bytes(&self, other: &[u8]) -> Ordering {
        self.with(|text| text.cmp(other))
    }
}

impl<'a> From<&'a [u8]> for Element<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Element::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Element<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Element::Bytes(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Element<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Element::Bytes(bytes)
    }
}

impl PartialEq for Element<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Element::Int(left), Element::Int(right)) => left == right,
            (Element::Bytes(left), right) => right.eq_bytes(left),
            (left, Element::Bytes(right)) => left.eq_bytes(right),
        }
    }
}

impl Eq for Element<'_> {}

/// Why bytes are not a valid packed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {offset} of the packed value")]
pub struct PackedError {
    /// Where inside the packed value, in bytes.
    pub offset: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl PackedError {
    pub(crate) fn new(offset: usize, what: &'static str) -> Self {
        PackedError { offset, what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_equals_its_text_and_nothing_else() {
        assert_eq!(Element::Int(-12), Element::Bytes(b"-12"));
        assert_ne!(Element::Int(12), Element::Bytes(b"012"));
        assert!(Element::Int(0).eq_bytes(b"0"));
        assert_eq!(Element::Int(i64::MIN).len(), 20);
        assert_eq!(Element::from(b"7").as_i64(), Some(7));
        assert_eq!(Element::Int(9).cmp_bytes(b"10"), Ordering::Greater);
    }
}
