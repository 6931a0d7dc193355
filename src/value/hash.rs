//! Hashes, with an expiry per field where one was set.
//!
//! | encoding     | layout                                                                                          |
//! |--------------|-------------------------------------------------------------------------------------------------|
//! | `listpack`   | field, value pairs in order of insertion                                                        |
//! | `listpackex` | field, value, expiry triples; those that expire first come first, those that never do (0) last |
//! | `hashtable`  | a table from field to cell, and the fields that expire in order of their time                   |
//!
//! A hash becomes `listpackex` with its first field expiry, and `hashtable` when it holds more than
//! `hash-max-listpack-entries` fields or is given a field or value longer than `hash-max-listpack-value`; it never
//! turns back. Expiry times are in ms since the epoch and greater than zero. Nothing here knows the time: fields that
//! are due are there until they are removed.
//!
//! A cell is a zero and the value, or a one, the expiry as i64 LE, and the value.

use super::ordered::Ordered;
use super::packed::Checked;
use super::packed::listpack::{ListpackIter, MAX_BYTES};
use super::{Either, Element, Limits, Listpack, PackedError, hash_of};
use crate::cow::PackedMap;
use smallvec::SmallVec;

/// A hash; see the module.
#[derive(Clone, Debug, Default)]
pub struct Hash(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Packed(Listpack),
    PackedExpiring(Listpack),
    Table(Box<Table>),
}

#[derive(Clone, Debug)]
struct Table {
    cells: PackedMap,
    /// Fields that expire. The times are below 2^53 ms, about 280,000 years, so that a double holds them exactly.
    due: Ordered,
}

/// The latest field expiry that is kept as given; a later one is kept as this one. Redis refuses those beyond 2^46.
pub const MAX_EXPIRE_MS: i64 = (1 << 53) - 1;

impl Default for Repr {
    fn default() -> Self {
        Repr::Packed(Listpack::new())
    }
}

impl Hash {
    /// An empty hash.
    pub fn new() -> Self {
        Hash::default()
    }

    /// Loader: an empty hash that so many fields are about to come into, all distinct. Where they are too many to be
    /// packed it is a table at once.
    pub fn with_count(count: usize, limits: &Limits) -> Self {
        let mut hash = Hash::new();
        if count > limits.hash_max_listpack_entries {
            hash.become_table();
        }
        hash
    }

    /// Loader: takes field, value pairs, or makes a table of them if `limits` say so. A field twice or without a value
    /// is an error.
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Result<Self, PackedError> {
        let keeps = Hash::keeps(pack.checked(), limits)?;
        let mut hash = Hash(Repr::Packed(pack));
        if !keeps {
            hash.become_table();
        }
        Ok(hash)
    }

    /// Loader: whether a listpack of pairs stays one. A field twice or without a value is an error.
    pub(super) fn keeps(pack: Checked<'_>, limits: &Limits) -> Result<bool, PackedError> {
        check_fields(pack, 2)?;
        Ok(pack.len() / 2 <= limits.hash_max_listpack_entries && pack.byte_len() <= MAX_BYTES)
    }

    /// Loader: takes field, value, expiry triples; those out of order are put in order.
    pub fn from_listpackex(pack: Listpack, limits: &Limits) -> Result<Self, PackedError> {
        check_fields(pack.checked(), 3)?;
        let (mut in_order, mut previous) = (true, 0);
        let mut items = pack.iter();
        while let Some(expire) = items.nth(2) {
            let time = expire.as_i64().filter(|time| (0..=MAX_EXPIRE_MS).contains(time));
            let time = time.ok_or(PackedError::new(pack.end(), "a field expiry that is no time"))?;
            // Those that never expire sort last.
            let key = if time == 0 { i64::MAX } else { time };
            in_order &= previous <= key;
            previous = key;
        }
        let mut hash = Hash(Repr::PackedExpiring(pack));
        if !in_order {
            hash = hash.rebuilt(limits);
        }
        hash.limit(limits);
        Ok(hash)
    }

    /// How many fields, those that are due included.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Packed(pack) => pack.len() / 2,
            Repr::PackedExpiring(pack) => pack.len() / 3,
            Repr::Table(table) => table.cells.len(),
        }
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `listpack`, `listpackex` or `hashtable`.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Repr::Packed(_) => "listpack",
            Repr::PackedExpiring(_) => "listpackex",
            Repr::Table(_) => "hashtable",
        }
    }

    /// Bytes held, approximately.
    pub fn footprint(&self) -> usize {
        match &self.0 {
            Repr::Packed(pack) | Repr::PackedExpiring(pack) => pack.footprint(),
            Repr::Table(table) => table.cells.footprint() + table.due.footprint(),
        }
    }

    /// The field, value pairs as the RDB stores them, of a `listpack` hash.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        if let Repr::Packed(pack) = &self.0 { Some(pack) } else { None }
    }

    /// The field, value, expiry triples as the RDB stores them, of a `listpackex` hash.
    pub fn as_listpackex(&self) -> Option<&Listpack> {
        if let Repr::PackedExpiring(pack) = &self.0 { Some(pack) } else { None }
    }

    /// What [`super::Compact`] keeps of it, as it was.
    pub(super) fn of_packed(pack: Listpack) -> Self {
        Hash(Repr::Packed(pack))
    }

    /// Its listpack, to be filled anew.
    pub(super) fn packed_mut(&mut self) -> Option<&mut Listpack> {
        if let Repr::Packed(pack) = &mut self.0 { Some(pack) } else { None }
    }

    /// The value of `field`.
    pub fn get(&self, field: &[u8]) -> Option<Element<'_>> {
        match &self.0 {
            Repr::Packed(pack) => Some(pack.get(pack.next(pack.find(pack.first(), field, 2)?)?)),
            Repr::PackedExpiring(pack) => Some(pack.get(pack.next(pack.find(pack.first(), field, 3)?)?)),
            Repr::Table(table) => table.cells.get(field).map(|cell| Element::Bytes(open(cell).0)),
        }
    }

    /// Whether `field` is there.
    pub fn contains(&self, field: &[u8]) -> bool {
        self.get(field).is_some()
    }

    /// Sets `field` and drops its expiry; true if the field is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        self.put(field, value, None, limits)
    }

    /// Sets `field`, whose expiry stays; true if the field is new.
    pub fn set_keeping_expiry(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        let expire = self.expire_at(field).flatten();
        self.put(field, value, expire, limits)
    }

    /// Takes `field` out; false if it was not there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.0 {
            Repr::Packed(pack) => remove_entries(pack, field, 2),
            Repr::PackedExpiring(pack) => remove_entries(pack, field, 3),
            Repr::Table(table) => table.remove(field),
        }
    }

    /// When `field` expires, if ever; `None` if there is no such field.
    pub fn expire_at(&self, field: &[u8]) -> Option<Option<i64>> {
        match &self.0 {
            Repr::Packed(pack) => pack.find(pack.first(), field, 2).map(|_| None),
            Repr::PackedExpiring(pack) => {
                let value = pack.next(pack.find(pack.first(), field, 3)?)?;
                Some(time_of(pack.get(pack.next(value)?)))
            }
            Repr::Table(table) => table.cells.get(field).map(|cell| open(cell).1),
        }
    }

    /// Gives `field` an expiry or takes it away; false if there is no such field.
    pub fn set_expire(&mut self, field: &[u8], at: Option<i64>, limits: &Limits) -> bool {
        let Some(value) = self.get(field).map(|value| value.to_vec()) else { return false };
        if self.expire_at(field) != Some(at) {
            self.put(field, &value, at, limits);
        }
        true
    }

    /// The earliest field expiry.
    pub fn min_expire(&self) -> Option<i64> {
        match &self.0 {
            Repr::Packed(_) => None,
            Repr::PackedExpiring(pack) => pack.nth(2).and_then(time_of),
            // Only whole numbers below 2^53 go in.
            Repr::Table(table) => table.due.first().map(|(time, _)| time as i64),
        }
    }

    /// Whether any field expires.
    pub fn has_field_expiry(&self) -> bool {
        self.min_expire().is_some()
    }

    /// Fields that expire at or before `now_ms`, earliest first, at most `most`.
    pub fn due_fields(&self, now_ms: i64, most: usize) -> Vec<Vec<u8>> {
        match &self.0 {
            Repr::Packed(_) => Vec::new(),
            Repr::PackedExpiring(_) => self
                .iter()
                .take_while(|(_, _, time)| time.is_some_and(|time| time <= now_ms))
                .take(most)
                .map(|(field, _, _)| field.to_vec())
                .collect(),
            Repr::Table(table) => {
                let due = table.due.iter_from(0).take_while(|(time, _)| *time as i64 <= now_ms); // whole, below 2^53
                due.take(most).map(|(_, field)| field.to_vec()).collect()
            }
        }
    }

    /// All fields with value and expiry: of a packed hash in its order, of a table in none that is promised.
    pub fn iter(&self) -> impl Iterator<Item = (Element<'_>, Element<'_>, Option<i64>)> + '_ {
        match &self.0 {
            Repr::Packed(pack) => Either::Left(Fields { items: pack.iter(), expiring: false }),
            Repr::PackedExpiring(pack) => Either::Left(Fields { items: pack.iter(), expiring: true }),
            Repr::Table(table) => Either::Right(table.cells.iter().map(|(field, cell)| {
                let (value, time) = open(cell);
                (Element::Bytes(field), Element::Bytes(value), time)
            })),
        }
    }

    /// Visits fields from `cursor` on, at least `count` if there are as many; returns where to go on, 0 at the end.
    /// A packed hash is visited whole.
    pub fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(Element<'_>, Element<'_>)) -> u64 {
        match &self.0 {
            Repr::Table(table) => table.cells.scan(cursor, count, &mut |field, cell| {
                visit(Element::Bytes(field), Element::Bytes(open(cell).0));
            }),
            _ => {
                self.iter().for_each(|(field, value, _)| visit(field, value));
                0
            }
        }
    }

    /// A uniformly random field and its value.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<(Element<'_>, Element<'_>)> {
        if self.is_empty() {
            return None;
        }
        match &self.0 {
            Repr::Table(table) => {
                table.cells.random(rng).map(|(field, cell)| (Element::Bytes(field), Element::Bytes(open(cell).0)))
            }
            _ => self.iter().nth(rng.usize(..self.len())).map(|(field, value, _)| (field, value)),
        }
    }

    fn put(&mut self, field: &[u8], value: &[u8], expire: Option<i64>, limits: &Limits) -> bool {
        let expire = expire.map(|time| time.clamp(1, MAX_EXPIRE_MS));
        let longest = field.len().max(value.len());
        let total = self.packed_len() + field.len() + value.len();
        if longest > limits.hash_max_listpack_value || total > MAX_BYTES {
            self.become_table();
        } else if expire.is_some() {
            self.become_expiring();
        }
        let new = match &mut self.0 {
            Repr::Packed(pack) => put_pair(pack, field, value),
            Repr::PackedExpiring(pack) => {
                let new = !remove_entries(pack, field, 3);
                insert_triple(pack, field, value, expire);
                new
            }
            Repr::Table(table) => table.put(field, value, expire),
        };
        self.limit(limits);
        new
    }

    fn packed_len(&self) -> usize {
        match &self.0 {
            Repr::Packed(pack) | Repr::PackedExpiring(pack) => pack.byte_len(),
            Repr::Table(_) => 0,
        }
    }

    fn limit(&mut self, limits: &Limits) {
        let packed = !matches!(self.0, Repr::Table(_));
        if packed && (self.len() > limits.hash_max_listpack_entries || self.packed_len() > MAX_BYTES) {
            self.become_table();
        }
    }

    fn become_table(&mut self) {
        if matches!(self.0, Repr::Table(_)) {
            return;
        }
        let mut table = Table { cells: PackedMap::new(hash_of), due: Ordered::default() };
        for (field, value, expire) in self.iter() {
            field.with(|field| value.with(|value| table.put(field, value, expire)));
        }
        self.0 = Repr::Table(Box::new(table));
    }

    fn become_expiring(&mut self) {
        let Repr::Packed(pairs) = &self.0 else { return };
        let mut triples = Listpack::new();
        for (index, item) in pairs.iter().enumerate() {
            triples.push_element(item);
            if index % 2 == 1 {
                triples.push_element(Element::Int(0));
            }
        }
        self.0 = Repr::PackedExpiring(triples);
    }

    /// The same fields put in one by one.
    fn rebuilt(&self, limits: &Limits) -> Hash {
        let mut hash = Hash(Repr::PackedExpiring(Listpack::new()));
        for (field, value, expire) in self.iter() {
            field.with(|field| value.with(|value| hash.put(field, value, expire, limits)));
        }
        hash
    }
}

impl Table {
    fn put(&mut self, field: &[u8], value: &[u8], expire: Option<i64>) -> bool {
        if expire.is_some() || !self.due.is_empty() {
            self.put_due(field, expire);
        }
        let mut cell = SmallVec::<[u8; 128]>::new();
        match expire {
            None => cell.push(0),
            Some(time) => {
                cell.push(1);
                cell.extend_from_slice(&time.to_le_bytes());
            }
        }
        cell.extend_from_slice(value);
        self.cells.insert(field, &cell)
    }

    /// Moves the field to where its new expiry belongs.
    fn put_due(&mut self, field: &[u8], expire: Option<i64>) {
        let old = self.cells.get(field).and_then(|cell| open(cell).1);
        if old == expire {
            return;
        }
        if let Some(time) = old {
            self.due.remove((time as f64, field)); // below 2^53
        }
        if let Some(time) = expire {
            self.due.insert((time as f64, field)); // below 2^53
        }
    }

    fn remove(&mut self, field: &[u8]) -> bool {
        let Some(expire) = self.cells.get(field).map(|cell| open(cell).1) else { return false };
        if let Some(time) = expire {
            self.due.remove((time as f64, field)); // below 2^53
        }
        self.cells.remove(field)
    }
}

/// Value and expiry in a cell.
fn open(cell: &[u8]) -> (&[u8], Option<i64>) {
    match cell {
        [0, value @ ..] => (value, None),
        [_, a, b, c, d, e, f, g, h, value @ ..] => (value, Some(i64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))),
        _ => unreachable!("a cell begins with its kind"),
    }
}

/// Fields of a packed hash.
struct Fields<'a> {
    items: ListpackIter<'a>,
    expiring: bool,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (Element<'a>, Element<'a>, Option<i64>);

    fn next(&mut self) -> Option<Self::Item> {
        let (field, value) = (self.items.next()?, self.items.next()?);
        let expire = if self.expiring { self.items.next().and_then(time_of) } else { None };
        Some((field, value, expire))
    }
}

/// An expiry in a listpack: 0 is none.
fn time_of(expire: Element<'_>) -> Option<i64> {
    expire.as_i64().filter(|time| *time != 0)
}

/// Fields come in pairs or triples, none twice.
fn check_fields(pack: Checked<'_>, width: usize) -> Result<(), PackedError> {
    if !pack.len().is_multiple_of(width) {
        return Err(PackedError::new(pack.end(), "a hash field without its value"));
    }
    if pack.has_twice(width) {
        return Err(PackedError::new(pack.end(), "a field twice in a hash"));
    }
    Ok(())
}

fn put_pair(pack: &mut Listpack, field: &[u8], value: &[u8]) -> bool {
    match pack.find(pack.first(), field, 2) {
        Some(at) => {
            let at = pack.next(at).expect("a value follows its field");
            pack.replace(at, value);
            false
        }
        None => {
            pack.insert_all(pack.end(), &[field, value]);
            true
        }
    }
}

fn insert_triple(pack: &mut Listpack, field: &[u8], value: &[u8], expire: Option<i64>) {
    let mut text = itoa::Buffer::new();
    let triple = [field, value, text.format(expire.unwrap_or(0)).as_bytes()];
    let Some(time) = expire else { return pack.insert_all(pack.end(), &triple) };
    let mut start = pack.first();
    while let Some(at) = start {
        let value = pack.next(at).expect("a value follows its field");
        let other = pack.next(value).expect("an expiry follows its value");
        if time_of(pack.get(other)).is_none_or(|other| other > time) {
            return pack.insert_all(at, &triple);
        }
        start = pack.next(other);
    }
    pack.insert_all(pack.end(), &triple);
}

fn remove_entries(pack: &mut Listpack, field: &[u8], width: usize) -> bool {
    let at = pack.find(pack.first(), field, width);
    if let Some(at) = at {
        pack.remove_many(at, width);
    }
    at.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

    fn check(hash: &Hash, model: &Model) {
        assert_eq!(hash.len(), model.len());
        let copy: Model =
            hash.iter().map(|(field, value, expire)| (field.to_vec(), (value.to_vec(), expire))).collect();
        assert_eq!(&copy, model);
        for (field, (value, expire)) in model {
            assert_eq!(hash.get(field), Some(Element::from(value)));
            assert_eq!(hash.expire_at(field), Some(*expire));
        }
        assert_eq!(hash.min_expire(), model.values().filter_map(|cell| cell.1).min());
        let due = model.values().filter(|cell| cell.1.is_some_and(|time| time <= 20)).count();
        assert_eq!(hash.due_fields(20, usize::MAX).len(), due);
        if let Some(pack) = hash.as_listpackex() {
            let copy = Hash::from_listpackex(pack.clone(), &Limits::default()).unwrap();
            assert_eq!(copy.as_listpackex(), Some(pack));
        }
    }

    #[test]
    fn a_hash_behaves_as_its_model_and_clones_stay_as_they_were() {
        for (seed, entries) in [0, 30, 10_000].into_iter().enumerate() {
            for expiries in [false, true] {
                let limits = Limits { hash_max_listpack_entries: entries, ..Limits::default() };
                let mut rng = fastrand::Rng::with_seed(seed as u64);
                let (mut hash, mut model) = (Hash::new(), Model::new());
                let mut clones = Vec::new();
                for step in 0..2500 {
                    let field = rng.u32(..200).to_string().into_bytes();
                    let value = vec![b'v'; rng.usize(..40)];
                    let time = rng.bool().then(|| rng.i64(1..50));
                    match rng.u8(..10) {
                        0..=3 => {
                            assert_eq!(hash.set(&field, &value, &limits), model.insert(field, (value, None)).is_none());
                        }
                        4 => {
                            let new = hash.set_keeping_expiry(&field, &value, &limits);
                            assert_eq!(new, !model.contains_key(&field));
                            model.entry(field).or_default().0 = value;
                        }
                        5..=6 if expiries => {
                            assert_eq!(hash.set_expire(&field, time, &limits), model.contains_key(&field));
                            model.entry(field).and_modify(|cell| cell.1 = time);
                        }
                        _ => assert_eq!(hash.remove(&field), model.remove(&field).is_some()),
                    }
                    if step % 101 == 0 {
                        clones.push((hash.clone(), model.clone()));
                    }
                }
                for (hash, model) in &clones {
                    check(hash, model);
                }
            }
        }
    }

    #[test]
    fn the_encoding_changes_where_redis_changes_it() {
        let limits = Limits::default();
        let mut hash = Hash::new();
        for field in 0..512 {
            hash.set(field.to_string().as_bytes(), &[b'v'; 64], &limits);
        }
        assert_eq!(hash.encoding(), "listpack");
        let mut expiring = hash.clone();
        expiring.set_expire(b"7", Some(1000), &limits);
        assert_eq!((expiring.encoding(), expiring.min_expire()), ("listpackex", Some(1000)));
        expiring.set_expire(b"7", None, &limits);
        assert_eq!((expiring.encoding(), expiring.min_expire()), ("listpackex", None));
        hash.set(b"one more", b"v", &limits);
        assert_eq!(hash.encoding(), "hashtable");
        for (field, value, expected) in [(64, 64, "listpack"), (65, 1, "hashtable"), (1, 65, "hashtable")] {
            let mut hash = Hash::new();
            hash.set(&vec![b'f'; field], &vec![b'v'; value], &limits);
            assert_eq!(hash.encoding(), expected);
        }
    }

    #[test]
    fn what_a_file_brings_is_checked_ordered_and_limited() {
        let limits = Limits::default();
        let pack = |items: &[&[u8]]| items.iter().copied().collect::<Listpack>();
        assert!(Hash::from_listpack(pack(&[b"f"]), &limits).is_err());
        assert!(Hash::from_listpack(pack(&[b"f", b"1", b"f", b"2"]), &limits).is_err());
        assert!(Hash::from_listpackex(pack(&[b"f", b"1", b"-5"]), &limits).is_err());
        assert!(Hash::from_listpackex(pack(&[b"f", b"1", b"word"]), &limits).is_err());
        let hash = Hash::from_listpackex(pack(&[b"a", b"1", b"0", b"b", b"2", b"9"]), &limits).unwrap();
        assert_eq!((hash.encoding(), hash.min_expire()), ("listpackex", Some(9)));
    }
}
