//! Filling a database: many keys at once, none of which is there yet.
//!
//! A batch is hashed first, then the memory that its keys will go to is fetched, all of it at once, then they are put in:
//! on a table that no cache holds that is several times as fast as one key after the other.

use crate::codec::number;
use crate::cow::segments::{Place, SegmentTable};
use crate::value::{Compact, Object, StringValue};

use super::Keyspace;
use super::db::{is_entry_of, place};
use super::entry::{Content, Entry, MAX_INLINE};

/// Keys whose memory is fetched together.
const FETCHED_TOGETHER: usize = 32;

/// What is to be known of a key ahead of itself.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    /// As [`Keyspace::hasher`] gives it.
    pub hash: u64,
    /// Whether it has an expiry.
    pub expires: bool,
}

/// A key to put into a database.
#[derive(Debug)]
pub struct NewKey<'a> {
    pub key: &'a [u8],
    pub value: NewValue<'a>,
    pub expire_at_ms: Option<i64>,
    pub access: u32,
}

/// What it is to hold.
#[derive(Debug)]
pub enum NewValue<'a> {
    Int(i64),
    /// A string; one that spells a canonical integer is kept as one.
    Bytes(&'a [u8]),
    /// A small collection, or one that is not so small but packed.
    Compact(Compact<'a>),
    Object(Object),
}

impl NewKey<'_> {
    fn into_entry(self, birth: u16) -> Entry {
        let NewKey { key, value, expire_at_ms, access } = self;
        let content = match value {
            NewValue::Int(value) => Content::Int(value),
            NewValue::Bytes(bytes) => match number::parse_i64(bytes) {
                Some(value) => Content::Int(value),
                None if bytes.len() <= MAX_INLINE => Content::Bytes(bytes),
                None => Content::Object(Box::new(Object::String(StringValue::raw(bytes.to_vec())))),
            },
            NewValue::Compact(compact) => Content::of_compact(compact),
            NewValue::Object(Object::String(StringValue::Int(value))) => Content::Int(value),
            NewValue::Object(object) => {
                if let Some(compact) = Content::compact(&object) {
                    return Entry::new(key, compact, expire_at_ms, birth, access);
                }
                Content::Object(Box::new(object))
            }
        };
        Entry::new(key, content, expire_at_ms, birth, access)
    }
}

impl Keyspace {
    /// Puts keys into a database, in order, up to one that is there already: its index is the error. `ahead` says where a
    /// key belongs before `take` gives the key itself.
    pub fn fill<'a, T>(
        &mut self,
        db: usize,
        keys: &mut [T],
        ahead: impl Fn(&T) -> Ahead,
        mut take: impl FnMut(&mut T) -> NewKey<'a>,
    ) -> Result<(), usize> {
        let mut places = smallvec::SmallVec::<[Place; FETCHED_TOGETHER]>::new();
        for (number, together) in keys.chunks_mut(FETCHED_TOGETHER).enumerate() {
            self.prefetch_new(db, together.iter().map(&ahead), &mut places);
            for (index, (key, place)) in together.iter_mut().zip(places.drain(..)).enumerate() {
                if !self.put_new(db, place, take(key)) {
                    return Err(number * FETCHED_TOGETHER + index);
                }
            }
        }
        Ok(())
    }

    /// Finds the places of keys that are about to come, and fetches the memory there.
    fn prefetch_new(&self, db: usize, keys: impl Iterator<Item = Ahead> + Clone, places: &mut impl Extend<Place>) {
        let table = &self.dbs[db];
        let placed = keys.map(|Ahead { hash, expires }| (place(hash), expires));
        placed.clone().for_each(|(place, _)| table.prefetch_segment(place));
        for (place, expires) in placed.clone() {
            table.prefetch_slots(place);
            if expires {
                table.prefetch_expiring(place);
            }
        }
        places.extend(placed.map(|(place, _)| place));
    }

    /// Puts a key in; false if it is there already.
    fn put_new(&mut self, db: usize, place: Place, new: NewKey<'_>) -> bool {
        debug_assert_eq!(place, super::db::place(self.hash(new.key)));
        if let NewValue::Object(object) = &new.value {
            self.epochs.note(object);
        }
        let (key, indexed) = (new.key, new.expire_at_ms.is_some() || matches!(new.value, NewValue::Object(_)));
        let entry = new.into_entry(self.epochs.newborn());
        let table = &mut self.dbs[db];
        if !table.slots.insert_new(place, entry.to_payload(), table.first_capacity, is_entry_of(key)) {
            entry.free();
            return false;
        }
        table.keys += 1;
        if indexed {
            self.db(db).index(place, None, Some(entry));
        }
        true
    }

    /// Says that about so many keys will come into a database: what is allocated for them then has that size at once.
    /// Nothing is allocated yet.
    pub fn expect(&mut self, db: usize, keys: usize) {
        self.dbs[db].first_capacity = SegmentTable::capacity_for(keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
        range.map(|n| format!("key:{n}").into_bytes()).collect()
    }

    fn new_keys(keys: &[Vec<u8>]) -> Vec<Option<NewKey<'_>>> {
        let new = |key| Some(NewKey { key, value: NewValue::Bytes(b"v"), expire_at_ms: None, access: 7 });
        keys.iter().map(|key| new(key.as_slice())).collect()
    }

    fn fill<'a>(keyspace: &mut Keyspace, keys: &mut [Option<NewKey<'a>>]) -> Result<(), usize> {
        let hasher = keyspace.hasher();
        let ahead = |key: &Option<NewKey>| {
            let key = key.as_ref().unwrap();
            Ahead { hash: hasher.hash(key.key), expires: key.expire_at_ms.is_some() }
        };
        keyspace.fill(0, keys, ahead, |key| key.take().unwrap())
    }

    #[test]
    fn keys_are_found_whatever_was_expected_and_the_first_repeated_one_is_named() {
        for expected in [0, 10, 70_000, 10_000_000] {
            let mut keyspace = Keyspace::new(1);
            keyspace.expect(0, expected);
            let keys = keys(0..70_000);
            assert_eq!(fill(&mut keyspace, &mut new_keys(&keys[..40_000])), Ok(()));
            assert_eq!(fill(&mut keyspace, &mut new_keys(&keys[40_000..])), Ok(()));
            assert_eq!(keyspace.counts(0), (70_000, 0));
            assert!(keys.iter().all(|key| keyspace.db(0).contains(key)));
            let mut again = new_keys(&keys[..1]);
            again.insert(0, Some(NewKey { key: b"new", value: NewValue::Int(1), expire_at_ms: Some(5), access: 0 }));
            assert_eq!(fill(&mut keyspace, &mut again), Err(1));
            assert_eq!(keyspace.counts(0), (70_001, 1));
        }
    }

    #[test]
    fn strings_are_held_as_a_write_would_hold_them() {
        let long = vec![b'x'; MAX_INLINE + 1];
        for text in [&b"12"[..], b"012", b"-9223372036854775808", b"", &long] {
            let mut keyspace = Keyspace::new(2);
            let new = NewKey { key: b"k", value: NewValue::Bytes(text), expire_at_ms: None, access: 0 };
            fill(&mut keyspace, &mut [Some(new)]).unwrap();
            keyspace.db(1).set_string(b"k", text, super::super::Expiry::Clear);
            let encodings = [0, 1].map(|db| keyspace.db(db).get(b"k").unwrap().encoding());
            assert_eq!(encodings[0], encodings[1]);
            assert!(keyspace.db(0).get(b"k").unwrap().string().unwrap().eq_bytes(text));
        }
    }
}
