//! How many things a value holds, and how many bytes that takes.

use super::Object;

impl Object {
    /// Bytes of a string, elements of a collection, entries of a stream; 1 for a module's value.
    pub fn len(&self) -> usize {
        match self {
            Object::String(value) => value.len(),
            Object::List(value) => value.len(),
            Object::Set(value) => value.len(),
            Object::Hash(value) => value.len(),
            Object::Zset(value) => value.len(),
            Object::Stream(value) => value.len(),
            Object::Module(_) => 1,
            Object::Array(value) => value.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Estimated bytes on the heap.
    pub fn footprint(&self) -> usize {
        match self {
            Object::String(value) => value.footprint(),
            Object::List(value) => value.footprint(),
            Object::Set(value) => value.footprint(),
            Object::Hash(value) => value.footprint(),
            Object::Zset(value) => value.footprint(),
            Object::Stream(value) => value.footprint(),
            Object::Module(value) => value.footprint(),
            Object::Array(value) => value.footprint(),
        }
    }
}
