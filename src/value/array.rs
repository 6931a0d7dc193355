//! Arrays of Redis 8.8: sparse, from an index to a string or a number.
//!
//! They are kept exactly and otherwise opaque: which of the four forms an item has in the file is part of the value.
//! Nothing here changes one, so a clone is a counted pointer.

use super::Element;
use std::sync::Arc;

/// A sparse array. A clone costs a counted pointer.
#[derive(Clone, Debug, Default)]
pub struct Array {
    /// By index, ascending.
    slots: Arc<Vec<(u64, Stored)>>,
    /// Where the next insert goes, if there was one. Boxed, so that no kind of object is larger for it.
    insert_index: Option<Box<u64>>,
}

/// One item of an array, in the form that it has in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ArrayItem<'a> {
    /// A string.
    String(Element<'a>),
    /// An integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// A string of at most seven bytes that the server holds without an allocation.
    SmallString(Element<'a>),
}

#[derive(Clone, Debug)]
enum Stored {
    String(Box<[u8]>),
    Int(i64),
    Double(f64),
    SmallString(Box<[u8]>),
}

impl ArrayItem<'_> {
    fn store(&self) -> Stored {
        match self {
            ArrayItem::String(text) => Stored::String(text.to_vec().into()),
            ArrayItem::Int(value) => Stored::Int(*value),
            ArrayItem::Double(value) => Stored::Double(*value),
            ArrayItem::SmallString(text) => Stored::SmallString(text.to_vec().into()),
        }
    }
}

impl Stored {
    fn show(&self) -> ArrayItem<'_> {
        match self {
            Stored::String(text) => ArrayItem::String(Element::Bytes(text)),
            Stored::Int(value) => ArrayItem::Int(*value),
            Stored::Double(value) => ArrayItem::Double(*value),
            Stored::SmallString(text) => ArrayItem::SmallString(Element::Bytes(text)),
        }
    }
}

impl Array {
    /// An empty array; `insert_index` is where the next insert goes, if there was one.
    pub fn new(insert_index: Option<u64>) -> Self {
        Array { slots: Arc::default(), insert_index: insert_index.map(Box::new) }
    }

    /// Appends an item; false, and nothing changes, if the index is not above all others.
    pub fn push(&mut self, index: u64, item: ArrayItem<'_>) -> bool {
        if self.slots.last().is_some_and(|(last, _)| *last >= index) {
            return false;
        }
        Arc::make_mut(&mut self.slots).push((index, item.store()));
        true
    }

    /// Where the next insert goes, if there was one.
    pub fn insert_index(&self) -> Option<u64> {
        self.insert_index.as_deref().copied()
    }

    /// How many items there are; the indexes may be far apart.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Items by index, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u64, ArrayItem<'_>)> {
        self.slots.iter().map(|(index, stored)| (*index, stored.show()))
    }

    /// Bytes held, approximately.
    pub fn footprint(&self) -> usize {
        let texts = self.slots.iter().map(|(_, stored)| match stored {
            Stored::String(text) | Stored::SmallString(text) => text.len(),
            Stored::Int(_) | Stored::Double(_) => 0,
        });
        size_of::<Self>() + self.slots.capacity() * size_of::<(u64, Stored)>() + texts.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_keep_their_form_and_indexes_ascend() {
        let mut array = Array::new(Some(9));
        let items = [
            (0, ArrayItem::Int(-5)),
            (7, ArrayItem::SmallString(Element::Bytes(b"abc"))),
            (8, ArrayItem::Double(-0.0)),
            (u64::MAX - 1, ArrayItem::String(Element::Bytes(b"\xff"))),
        ];
        for (index, item) in items {
            assert!(array.push(index, item));
        }
        let before = array.clone();
        assert!(!array.push(u64::MAX - 1, ArrayItem::Int(1)) && !array.push(3, ArrayItem::Int(1)));
        assert!(array.push(u64::MAX, ArrayItem::Int(1)));
        assert!(before.iter().eq(items));
        assert_eq!((before.len(), array.len(), array.insert_index()), (4, 5, Some(9)));
    }
}
