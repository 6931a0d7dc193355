//! Sets: an intset, a listpack, or a table.
//!
//! Integers alone are an [`Intset`] up to `set-max-intset-entries`; a few short members a [`Listpack`] up to
//! `set-max-listpack-entries` and `-value`; anything else a table (`hashtable`), from which there is no way back.

use super::packed::Checked;
use super::packed::listpack::MAX_BYTES;
use super::{Either, Element, Intset, Limits, Listpack, PackedError, hash_of};
use crate::codec::number::parse_i64;
use crate::cow::PackedMap;

/// A packed set, as the RDB stores it.
#[derive(Clone, Copy, Debug)]
pub enum SetRepr<'a> {
    /// Integers only.
    Intset(&'a Intset),
    /// A few short members.
    Listpack(&'a Listpack),
}

/// A set; see the module.
#[derive(Clone, Debug, Default)]
pub struct Set(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Integers(Intset),
    Packed(Listpack),
    Table(Box<PackedMap>),
}

impl Default for Repr {
    fn default() -> Self {
        Repr::Integers(Intset::new())
    }
}

impl Set {
    /// An empty set; its first member chooses the encoding.
    pub fn new() -> Self {
        Set::default()
    }

    /// An empty set for a command that brings `count` members, of which `first` is one: too many integers for an
    /// intset never become one, as in SADD of Redis >= 7.2.
    pub fn expecting(first: &[u8], count: usize, limits: &Limits) -> Self {
        if parse_i64(first).is_some() && count <= limits.set_max_intset_entries {
            return Set::new();
        }
        if count <= limits.set_max_listpack_entries {
            return Set(Repr::Packed(Listpack::new()));
        }
        Set(Repr::Table(Box::new(PackedMap::new(hash_of))))
    }

    /// Loader: an empty set that so many members are about to come into, all distinct. Where they are too many to be
    /// packed it is a table at once.
    pub fn with_count(count: usize, limits: &Limits) -> Self {
        if count <= limits.set_max_intset_entries.max(limits.set_max_listpack_entries) {
            return Set::new();
        }
        Set(Repr::Table(Box::new(PackedMap::new(hash_of))))
    }

    /// Loader: takes an intset, or makes a table of it if `limits` say so.
    pub fn from_intset(integers: Intset, limits: &Limits) -> Self {
        let mut set = Set(Repr::Integers(integers));
        set.limit_integers(limits);
        set
    }

    /// Loader: takes a listpack, or makes a table of it if `limits` say so. A member twice is an error.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Result<Self, PackedError> {
        if Set::keeps(pack.checked(), limits)? {
            return Ok(Set(Repr::Packed(pack)));
        }
        Ok(Set(Repr::Table(Box::new(table_of(pack.iter())))))
    }

    /// Loader: whether a set's listpack stays one. A member twice is an error.
    pub(super) fn keeps(pack: Checked<'_>, limits: &Limits) -> Result<bool, PackedError> {
        if pack.has_twice(1) {
            return Err(PackedError::new(pack.end(), "a member twice in a set"));
        }
        // Redis too looks at the count alone here: what was packed once is not too long to stay so.
        Ok(pack.len() <= limits.set_max_listpack_entries && pack.byte_len() <= MAX_BYTES)
    }

    /// Whether so many integers are an intset.
    pub(super) fn keeps_integers(count: usize, limits: &Limits) -> bool {
        count <= limits.set_max_intset_entries.min(1 << 30)
    }

    /// How many members.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Integers(integers) => integers.len(),
            Repr::Packed(pack) => pack.len(),
            Repr::Table(table) => table.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `intset`, `listpack` or `hashtable`.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Integers(_) => "intset",
            Repr::Packed(_) => "listpack",
            Repr::Table(_) => "hashtable",
        }
    }

    /// Bytes held, approximately.
    pub fn footprint(&self) -> usize {
        match &self.0 {
            Repr::Integers(integers) => integers.footprint(),
            Repr::Packed(pack) => pack.footprint(),
            Repr::Table(table) => table.footprint(),
        }
    }

    /// The packed form, of a set that has one.
    pub fn as_packed(&self) -> Option<SetRepr<'_>> {
        match &self.0 {
            Repr::Integers(integers) => Some(SetRepr::Intset(integers)),
            Repr::Packed(pack) => Some(SetRepr::Listpack(pack)),
            Repr::Table(_) => None,
        }
    }

    /// What [`super::Compact`] keeps of it, as it was.
    pub(super) fn of_packed(pack: Listpack) -> Self {
        Set(Repr::Packed(pack))
    }

    /// Its listpack, to be filled anew.
    pub(super) fn packed_mut(&mut self) -> Option<&mut Listpack> {
        if let Repr::Packed(pack) = &mut self.0 { Some(pack) } else { None }
    }

    /// As [`Set::of_packed`], of integers.
    pub(super) fn of_integers(integers: Intset) -> Self {
        Set(Repr::Integers(integers))
    }

    /// Whether `member` is there.
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.0 {
            Repr::Integers(integers) => parse_i64(member).is_some_and(|value| integers.contains(value)),
            Repr::Packed(pack) => pack.find(pack.first(), member, 1).is_some(),
            Repr::Table(table) => table.contains(member),
        }
    }

    /// Adds `member`; false if it was there.
    pub fn insert(&mut self, member: &[u8], limits: &Limits) -> bool {
        if let Repr::Integers(integers) = &mut self.0 {
            if let Some(value) = parse_i64(member) {
                let added = integers.insert(value);
                self.limit_integers(limits);
                return added;
            }
            self.0 = Repr::Packed(pack_of(integers));
            if self.longest_integer() > limits.set_max_listpack_value {
                self.become_table();
            }
        }
        if let Repr::Packed(pack) = &mut self.0 {
            if pack.find(pack.first(), member, 1).is_some() {
                return false;
            }
            let short = member.len() <= limits.set_max_listpack_value && pack.byte_len() + member.len() <= MAX_BYTES;
            if short && pack.len() < limits.set_max_listpack_entries {
                pack.push_back(member);
                return true;
            }
            self.become_table();
        }
        let Repr::Table(table) = &mut self.0 else { unreachable!("what is not packed is a table") };
        table.insert(member, &[])
    }

    /// Takes `member` out; false if it was not there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Repr::Integers(integers) => parse_i64(member).is_some_and(|value| integers.remove(value)),
            Repr::Packed(pack) => match pack.find(pack.first(), member, 1) {
                Some(at) => {
                    pack.remove(at);
                    true
                }
                None => false,
            },
            Repr::Table(table) => table.remove(member),
        }
    }

    /// All members, in no promised order.
    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> + '_ {
        match &self.0 {
            Repr::Integers(integers) => Either::Left(Either::Left(integers.iter().map(Element::Int))),
            Repr::Packed(pack) => Either::Left(Either::Right(pack.iter())),
            Repr::Table(table) => Either::Right(table.iter().map(|record| Element::Bytes(record.0))),
        }
    }

    /// A uniformly random member.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<Element<'_>> {
        if self.is_empty() {
            return None;
        }
        let rank = rng.usize(..self.len());
        match &self.0 {
            Repr::Integers(integers) => integers.get(rank).map(Element::Int),
            Repr::Packed(pack) => pack.nth(rank),
            Repr::Table(table) => table.nth(rank).map(|record| Element::Bytes(record.0)),
        }
    }

    /// Takes a uniformly random member out.
    pub fn pop_random(&mut self, rng: &mut fastrand::Rng) -> Option<Vec<u8>> {
        let member = self.random(rng)?.to_vec();
        self.remove(&member);
        Some(member)
    }

    /// Visits members from `cursor` on, at least `count` if there are as many; returns where to go on, 0 at the end.
    /// A packed set is visited whole.
    pub fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(Element<'_>)) -> u64 {
        match &self.0 {
            Repr::Table(table) => table.scan(cursor, count, &mut |member, _| visit(Element::Bytes(member))),
            _ => {
                self.iter().for_each(visit);
                0
            }
        }
    }

    fn limit_integers(&mut self, limits: &Limits) {
        if let Repr::Integers(integers) = &self.0
            && !Set::keeps_integers(integers.len(), limits)
        {
            self.0 = Repr::Table(Box::new(table_of(integers.iter().map(Element::Int))));
        }
    }

    /// Text length of the longest member of what was an intset, which the least or the greatest has.
    fn longest_integer(&self) -> usize {
        let Repr::Packed(pack) = &self.0 else { return 0 };
        let ends = [pack.iter().next(), pack.iter().next_back()];
        ends.into_iter().flatten().map(|element| element.len()).max().unwrap_or(0)
    }

    fn become_table(&mut self) {
        if let Repr::Packed(pack) = &self.0 {
            self.0 = Repr::Table(Box::new(table_of(pack.iter())));
        }
    }
}

fn pack_of(integers: &Intset) -> Listpack {
    let mut pack = Listpack::new();
    for value in integers.iter() {
        pack.push_element(Element::Int(value));
    }
    pack
}

fn table_of<'a>(members: impl Iterator<Item = Element<'a>>) -> PackedMap {
    let mut table = PackedMap::new(hash_of);
    for member in members {
        member.with(|member| table.insert(member, &[]));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn check(set: &Set, model: &BTreeSet<Vec<u8>>) {
        assert_eq!(set.len(), model.len());
        assert_eq!(&set.iter().map(|member| member.to_vec()).collect::<BTreeSet<_>>(), model);
        assert!(model.iter().all(|member| set.contains(member)));
        let (mut met, mut cursor) = (BTreeSet::new(), 0);
        loop {
            cursor = set.scan(cursor, 3, &mut |member| {
                met.insert(member.to_vec());
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(&met, model);
    }

    #[test]
    fn a_set_behaves_as_its_model_and_clones_stay_as_they_were() {
        for (seed, entries) in [0, 10, 30, 10_000].into_iter().enumerate() {
            let limits =
                Limits { set_max_intset_entries: entries, set_max_listpack_entries: entries, ..Limits::default() };
            let mut rng = fastrand::Rng::with_seed(seed as u64);
            let (mut set, mut model) = (Set::new(), BTreeSet::new());
            let mut clones = Vec::new();
            for step in 0..3000 {
                let mut member = rng.i32(-150..150).to_string().into_bytes();
                if step > 400 && rng.bool() {
                    member.insert(0, b'0');
                }
                match rng.u32(..100) {
                    0..60 => assert_eq!(set.insert(&member, &limits), model.insert(member)),
                    60..90 => assert_eq!(set.remove(&member), model.remove(&member)),
                    _ => {
                        let popped = set.pop_random(&mut rng);
                        assert_eq!(popped.is_none(), model.is_empty());
                        assert!(popped.is_none_or(|member| model.remove(&member)));
                    }
                }
                if step % 101 == 0 {
                    clones.push((set.clone(), model.clone()));
                }
            }
            for (set, model) in &clones {
                check(set, model);
            }
        }
    }

    #[test]
    fn the_encoding_changes_where_redis_changes_it() {
        let limits = Limits::default();
        let numbers = |count: i64| {
            let mut set = Set::new();
            for value in 0..count {
                set.insert(value.to_string().as_bytes(), &limits);
            }
            set
        };
        assert_eq!((numbers(512).encoding(), numbers(513).encoding()), ("intset", "hashtable"));
        for (count, expected) in [(127, "listpack"), (128, "hashtable")] {
            let mut set = numbers(count);
            set.insert(b"word", &limits);
            assert_eq!(set.encoding(), expected);
        }
        for (len, expected) in [(64, "listpack"), (65, "hashtable")] {
            let mut set = numbers(3);
            set.insert(&vec![b'x'; len], &limits);
            assert_eq!((set.encoding(), set.len()), (expected, 4));
            assert!(set.contains(b"2"));
        }
    }

    #[test]
    fn a_command_with_many_members_chooses_the_encoding_at_once() {
        let limits = Limits { set_max_intset_entries: 3, ..Limits::default() };
        for (first, count, expected) in
            [(b"1", 3, "intset"), (b"1", 4, "listpack"), (b"a", 128, "listpack"), (b"1", 129, "hashtable")]
        {
            assert_eq!(Set::expecting(first, count, &limits).encoding(), expected);
        }
    }

    #[test]
    fn what_a_file_brings_is_checked_and_limited() {
        let limits = Limits::default();
        let twice: Listpack = [&b"1"[..], b"a", b"1"].into_iter().collect();
        assert!(Set::from_listpack(twice, &limits).is_err());
        let mut integers = Intset::new();
        for value in 0..600 {
            integers.insert(value);
        }
        let set = Set::from_intset(integers, &limits);
        assert_eq!((set.encoding(), set.len()), ("hashtable", 600));
    }
}
