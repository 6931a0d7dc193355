//! Hashes.
use super::{Element, Limits, Listpack, PackedError};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub struct Hash {
    items: BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>,
}

impl Hash {
    pub fn new() -> Self {
        Hash::default()
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
    pub fn get(&self, field: &[u8]) -> Option<Element<'_>> {
        self.items.get(field).map(|v| Element::from(&v.0))
    }
    pub fn contains(&self, field: &[u8]) -> bool {
        self.items.contains_key(field)
    }
    /// True if new; drops a field expiry.
    pub fn set(&mut self, field: &[u8], value: &[u8], _limits: &Limits) -> bool {
        self.items.insert(field.to_vec(), (value.to_vec(), None)).is_none()
    }
    /// True if new; an existing expiry stays.
    pub fn set_keeping_expiry(&mut self, field: &[u8], value: &[u8], _limits: &Limits) -> bool {
        let e = self.expire_at(field).flatten();
        self.items.insert(field.to_vec(), (value.to_vec(), e)).is_none()
    }
    pub fn remove(&mut self, field: &[u8]) -> bool {
        self.items.remove(field).is_some()
    }
    pub fn iter(&self) -> impl Iterator<Item = (Element<'_>, Element<'_>, Option<i64>)> + '_ {
        self.items.iter().map(|(f, v)| (Element::from(f), Element::from(&v.0), v.1))
    }
    /// None: no such field.
    pub fn expire_at(&self, field: &[u8]) -> Option<Option<i64>> {
        self.items.get(field).map(|v| v.1)
    }
    /// False if there is no such field.
    pub fn set_expire(&mut self, field: &[u8], at: Option<i64>, _limits: &Limits) -> bool {
        match self.items.get_mut(field) {
            Some(v) => {
                v.1 = at;
                true
            }
            None => false,
        }
    }
    pub fn min_expire(&self) -> Option<i64> {
        self.items.values().filter_map(|v| v.1).min()
    }
    pub fn has_field_expiry(&self) -> bool {
        self.min_expire().is_some()
    }
    pub fn scan(&self, _cursor: u64, _count: usize, visit: &mut dyn FnMut(Element<'_>, Element<'_>)) -> u64 {
        for (f, v) in &self.items {
            visit(f.into(), (&v.0).into());
        }
        0
    }
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<(Element<'_>, Element<'_>)> {
        if self.is_empty() { None } else { self.iter().nth(rng.usize(..self.len())).map(|(f, v, _)| (f, v)) }
    }
    /// Plain field, value pairs (encoding "listpack").
    pub fn as_listpack(&self) -> Option<&Listpack> {
        None
    }
    /// Field, value, expiry triples, expiry 0 for none (encoding "listpackex").
    pub fn as_listpackex(&self) -> Option<&Listpack> {
        None
    }
    /// Loader: pairs; an odd count or a field twice is an error.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Result<Self, PackedError> {
        let items: Vec<_> = pack.iter().map(|e| e.to_vec()).collect();
        let mut hash = Hash::new();
        for pair in items.chunks(2) {
            if pair.len() != 2 || !hash.set(&pair[0], &pair[1], limits) {
                return Err(PackedError::new(0, "a field without its value, or twice"));
            }
        }
        Ok(hash)
    }
    /// Loader: triples.
    pub fn from_listpackex(pack: Listpack, limits: &Limits) -> Result<Self, PackedError> {
        let items: Vec<_> = pack.iter().map(|e| e.to_vec()).collect();
        let mut hash = Hash::new();
        for t in items.chunks(3) {
            if t.len() != 3 || !hash.set(&t[0], &t[1], limits) {
                return Err(PackedError::new(0, "a field without its value, or twice"));
            }
            let at = Element::from(&t[2])
                .as_i64()
                .filter(|at| *at >= 0)
                .ok_or(PackedError::new(0, "a field expiry that is no time"))?;
            hash.set_expire(&t[0], (at != 0).then_some(at), limits);
        }
        Ok(hash)
    }
}
