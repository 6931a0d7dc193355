//! Sets.
use super::{Element, Intset, Limits, Listpack, PackedError};
use std::collections::BTreeSet;

/// A packed set, as the RDB stores it.
#[derive(Clone, Copy, Debug)]
pub enum SetRepr<'a> {
    /// Integers only.
    Intset(&'a Intset),
    /// A few short members.
    Listpack(&'a Listpack),
}
#[derive(Clone, Debug, Default)]
pub struct Set {
    items: BTreeSet<Vec<u8>>,
}

impl Set {
    pub fn new() -> Self {
        Set::default()
    }
    pub fn len(&self) -> usize {
        self.items.len()
    }
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    pub fn encoding(&self) -> &'static str {
        "hashtable"
    }
    pub fn footprint(&self) -> usize {
        0
    }
    pub fn insert(&mut self, member: &[u8], _limits: &Limits) -> bool {
        self.items.insert(member.to_vec())
    }
    pub fn remove(&mut self, member: &[u8]) -> bool {
        self.items.remove(member)
    }
    pub fn contains(&self, member: &[u8]) -> bool {
        self.items.contains(member)
    }
    pub fn iter(&self) -> impl Iterator<Item = Element<'_>> + '_ {
        self.items.iter().map(Element::from)
    }
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<Element<'_>> {
        if self.is_empty() { None } else { self.items.iter().nth(rng.usize(..self.len())).map(Element::from) }
    }
    pub fn pop_random(&mut self, rng: &mut fastrand::Rng) -> Option<Vec<u8>> {
        let m = self.random(rng)?.to_vec();
        self.items.remove(&m);
        Some(m)
    }
    pub fn scan(&self, _cursor: u64, _count: usize, visit: &mut dyn FnMut(Element<'_>)) -> u64 {
        for item in &self.items {
            visit(Element::from(item));
        }
        0
    }
    pub fn as_packed(&self) -> Option<SetRepr<'_>> {
        None
    }
    /// Loader; chooses the encoding by `limits`.
    pub fn from_intset(set: Intset, _limits: &Limits) -> Self {
        Set { items: set.iter().map(|v| Element::Int(v).to_vec()).collect() }
    }
    /// Loader; duplicates are an error.
    pub fn from_listpack(pack: Listpack, _limits: &Limits) -> Result<Self, PackedError> {
        let items: BTreeSet<_> = pack.iter().map(|e| e.to_vec()).collect();
        if items.len() != pack.len() {
            return Err(PackedError::new(0, "a member twice in a set"));
        }
        Ok(Set { items })
    }
}
