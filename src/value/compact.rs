//! A small collection as its bytes alone, for a keyspace that keeps it inside a key's entry.
//!
//! A [`Compact`] is a shape and the bytes that the RDB stores for it, less four or five that their number tells, which
//! often saves a size class of the allocator; [`Compact::of`] finds it in a value, and
//! [`Compact::to_object`] makes the value again. Nothing is checked on the way back: the bytes have never left the server.
//! Hashes whose fields expire and everything that is not one packed layout have no compact form.

use super::packed::Checked;
use super::{Hash, Intset, Limits, List, Listpack, Object, Set, SetRepr, Zset};

/// Which collection the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    List,
    /// A set of integers.
    Integers,
    Set,
    Hash,
    Zset,
}

impl Shape {
    const ALL: [Shape; 5] = [Shape::List, Shape::Integers, Shape::Set, Shape::Hash, Shape::Zset];

    /// A number below 8 for the shape.
    pub fn code(self) -> u8 {
        self as u8 // there are five
    }

    /// The shape that [`Shape::code`] gave the number for.
    pub fn of_code(code: u8) -> Self {
        Self::ALL[usize::from(code)]
    }
}

/// A small collection; see the module.
#[derive(Clone, Copy, Debug)]
pub struct Compact<'a> {
    pub shape: Shape,
    /// What [`Compact::of`] found: a listpack, or an intset, without what their number tells.
    pub bytes: &'a [u8],
}

impl<'a> Compact<'a> {
    /// The value's one packed layout, if that is all it is.
    pub fn of(object: &'a Object) -> Option<Self> {
        let (shape, bytes) = match object {
            Object::List(list) => (Shape::List, list.as_listpack()?.body()),
            Object::Set(set) => match set.as_packed()? {
                SetRepr::Intset(integers) => (Shape::Integers, integers.body()),
                SetRepr::Listpack(pack) => (Shape::Set, pack.body()),
            },
            Object::Hash(hash) => (Shape::Hash, hash.as_listpack()?.body()),
            Object::Zset(zset) => (Shape::Zset, zset.as_listpack()?.body()),
            _ => return None,
        };
        Some(Self { shape, bytes })
    }

    /// What a file has for a small collection, if it's good and would be kept as it is: within the limits, and in order
    /// where there is one. `None` where it isn't: who makes a value of it learns why.
    pub fn of_file(shape: Shape, bytes: &'a [u8], limits: &Limits) -> Option<Self> {
        if shape == Shape::Integers {
            let count = Intset::check(bytes).ok()?;
            let keeps = count > 0 && Set::keeps_integers(count, limits);
            return keeps.then(|| Self { shape, bytes: Intset::body_of(bytes) });
        }
        let pack = Checked::new(bytes).ok().filter(|pack| !pack.is_empty())?;
        let keeps = match shape {
            Shape::List => List::keeps(pack, limits),
            Shape::Set => Set::keeps(pack, limits).ok()?,
            Shape::Hash => Hash::keeps(pack, limits).ok()?,
            Shape::Zset => Zset::keeps(pack, limits).ok()?,
            Shape::Integers => unreachable!("integers are no listpack"),
        };
        keeps.then(|| Self { shape, bytes: Listpack::body_of(bytes) })
    }

    /// The value as it was.
    pub fn to_object(self) -> Object {
        let pack = || Listpack::of_body(self.bytes);
        match self.shape {
            Shape::List => Object::List(List::of_packed(pack())),
            Shape::Integers => Object::Set(Set::of_integers(Intset::of_body(self.bytes))),
            Shape::Set => Object::Set(Set::of_packed(pack())),
            Shape::Hash => Object::Hash(Hash::of_packed(pack())),
            Shape::Zset => Object::Zset(Zset::of_packed(pack())),
        }
    }

    /// Makes `object` the value as it was, in the memory that it holds where it is packed in the same way.
    pub fn fill(self, object: &mut Object) {
        let pack = match (self.shape, &mut *object) {
            (Shape::List, Object::List(list)) => list.packed_mut(),
            (Shape::Set, Object::Set(set)) => set.packed_mut(),
            (Shape::Hash, Object::Hash(hash)) => hash.packed_mut(),
            (Shape::Zset, Object::Zset(zset)) => zset.packed_mut(),
            _ => None,
        };
        match pack {
            Some(pack) => pack.refill(self.bytes),
            None => *object = self.to_object(),
        }
    }

    pub fn type_name(self) -> &'static str {
        match self.shape {
            Shape::List => "list",
            Shape::Integers | Shape::Set => "set",
            Shape::Hash => "hash",
            Shape::Zset => "zset",
        }
    }

    /// The name that OBJECT ENCODING answers.
    pub fn encoding(self) -> &'static str {
        if self.shape == Shape::Integers { "intset" } else { "listpack" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Object> {
        let limits = Limits::default();
        let (mut list, mut integers, mut set, mut hash, mut zset) =
            (List::new(), Set::new(), Set::new(), Hash::new(), Zset::new());
        for number in 0..20 {
            let text = number.to_string();
            let word = format!("word {number}");
            list.push_back(text.as_bytes(), &limits);
            integers.insert(text.as_bytes(), &limits);
            set.insert(word.as_bytes(), &limits);
            hash.set(word.as_bytes(), text.as_bytes(), &limits);
            zset.insert(word.as_bytes(), f64::from(number) / 2.0, &limits);
        }
        vec![Object::List(list), Object::Set(integers), Object::Set(set), Object::Hash(hash), Object::Zset(zset)]
    }

    #[test]
    fn every_packed_collection_comes_back_as_it_was() {
        let mut kept = Object::List(List::new());
        for object in samples() {
            let compact = Compact::of(&object).unwrap();
            assert_eq!((compact.type_name(), compact.encoding()), (object.type_name(), object.encoding()));
            assert_eq!(Shape::of_code(compact.shape.code()), compact.shape);
            let again = compact.to_object();
            assert_eq!((again.type_name(), again.encoding(), again.len()), (object.type_name(), object.encoding(), 20));
            for _ in 0..2 {
                compact.fill(&mut kept);
                assert_eq!((kept.type_name(), kept.len()), (object.type_name(), 20));
                assert_eq!(Compact::of(&kept).unwrap().bytes, compact.bytes);
            }
        }
    }

    #[test]
    fn what_is_not_one_packed_layout_has_no_compact_form() {
        let limits = Limits::default();
        let (mut hash, mut list) = (Hash::new(), List::new());
        hash.set(b"f", b"v", &limits);
        hash.set_expire(b"f", Some(1_000), &limits);
        list.push_back(&[b'x'; 20_000], &limits);
        for object in [Object::Hash(hash), Object::List(list), Object::String(b"s"[..].into())] {
            assert!(Compact::of(&object).is_none());
        }
    }
}
