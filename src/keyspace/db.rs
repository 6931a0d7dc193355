//! One database: the operations on keys.

use smallvec::SmallVec;

use crate::allocator::block_size;
use crate::codec::number;
use crate::cow::segments::{Place, SegmentTable};
use crate::value::string::BLOB_BYTES;
use crate::value::{Object, StringValue};

use super::access::AccessClock;
use super::entry::{Content, Entry, MAX_INLINE, View};
use super::epochs::{Epochs, Renewal};
use super::expiring::Expiring;
use super::hashing::Hashing;
use super::lazyfree::Garbage;
use super::snapshot::{SnapshotDb, SnapshotEntry};
use super::unpacked::{Loose, Unpacked};

/// What a write does to the expiry of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Clear,
    Keep,
    /// Unix time in ms.
    At(i64),
}

pub(super) fn place(hash: u64) -> Place {
    Place::of(hash)
}

/// The keys of a database and their counts.
#[derive(Default)]
pub(super) struct Table {
    pub(super) slots: SegmentTable,
    pub(super) keys: usize,
    /// Entries with an expiry.
    expiring: Expiring,
    /// Hashes with fields that expire, and some that had such.
    hashes: Expiring,
    /// What a segment is made for that gets its first key from [`Keyspace::fill`](super::Keyspace::fill).
    pub(super) first_capacity: usize,
}

impl Table {
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.keys, self.expiring.len())
    }

    pub(super) fn expiring_hashes(&self) -> usize {
        self.hashes.len()
    }

    /// About how many bytes the tables take, without the entries.
    pub(super) fn len_of_tables(&self) -> u64 {
        let indexes = [&self.expiring, &self.hashes].map(Expiring::len_of_table).iter().sum::<u64>();
        SegmentTable::estimated_len(self.keys) + indexes
    }

    fn find(&self, place: Place, key: &[u8]) -> Option<Entry> {
        self.slots.find(place, is_entry_of(key)).map(Entry::from_payload)
    }

    pub(super) fn share(&self) -> SnapshotDb {
        SnapshotDb::new(self.slots.clone(), self.keys, self.expiring.len())
    }

    /// Sees to it that the births in one segment stay young enough.
    pub(super) fn renew(&self, renewal: Renewal) {
        let each = || self.slots.payloads_of(renewal.segment).map(Entry::from_payload);
        each().for_each(Entry::prefetch);
        each().for_each(|entry| renewal.renew(entry));
    }

    pub(super) fn prefetch_segment(&self, place: Place) {
        self.slots.prefetch_segment(place);
    }

    pub(super) fn prefetch_slots(&self, place: Place) {
        self.slots.prefetch_slots(place);
    }

    /// As the other two, in the index of the keys that expire.
    pub(super) fn prefetch_expiring(&self, place: Place) {
        self.expiring.prefetch(place);
    }

    pub(super) fn prefetch_entry(&self, place: Place) {
        self.likely(place).into_iter().for_each(Entry::prefetch);
    }

    /// Whether [`Table::prefetch_rest`] has something to do.
    pub(super) fn is_long(&self, place: Place) -> bool {
        self.likely(place).is_some_and(Entry::is_long)
    }

    pub(super) fn prefetch_rest(&self, place: Place) {
        self.likely(place).into_iter().for_each(Entry::prefetch_rest);
    }

    fn likely(&self, place: Place) -> Option<Entry> {
        self.slots.likely(place).map(Entry::from_payload)
    }
}

/// A database, borrowed from its keyspace.
pub struct Db<'a> {
    pub(super) table: &'a mut Table,
    pub(super) index: usize,
    pub(super) epochs: &'a mut Epochs,
    pub(super) unpacked: &'a mut Unpacked,
    pub(super) hashing: &'a Hashing,
    pub(super) access: &'a mut AccessClock,
}

impl<'a> Db<'a> {
    pub fn len(&self) -> usize {
        self.table.keys
    }

    pub fn is_empty(&self) -> bool {
        self.table.keys == 0
    }

    /// Keys that have an expiry.
    pub fn expires(&self) -> usize {
        self.table.expiring.len()
    }

    /// What the key holds, as its entry has it, whether expired or not: who runs commands removes expired keys first.
    pub fn get(&self, key: &[u8]) -> Option<View<'_>> {
        self.find(key).map(Entry::view)
    }

    /// What the key holds, for as long as the database is borrowed; a small collection as an object too.
    pub fn into_value(self, key: &[u8]) -> Option<View<'a>> {
        let view = self.find(key)?.view();
        Some(self.unpacked.unpack(view))
    }

    /// As [`Db::into_value`], of several keys.
    pub fn into_values(self, keys: &[&[u8]]) -> SmallVec<[Option<View<'a>>; 8]> {
        let Db { table, hashing, unpacked, .. } = self;
        unpacked.unpack_all(keys.iter().map(|key| table.find(place(hashing.hash(key)), key).map(Entry::view)))
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    /// The key's expiry in Unix ms, `Some(None)` if it has none, `None` if there is no such key.
    pub fn expire_at_ms(&self, key: &[u8]) -> Option<Option<i64>> {
        self.find(key).map(Entry::expire_at_ms)
    }

    /// The key with all that is known of it.
    pub fn entry(&self, key: &[u8]) -> Option<SnapshotEntry<'_>> {
        self.find(key).map(SnapshotEntry::of)
    }

    /// Bytes that the allocator holds for the key: its entry, what that points to, and its share of the tables.
    pub fn footprint(&self, key: &[u8]) -> Option<usize> {
        let place = self.place_of(key);
        let entry = self.table.find(place, key)?;
        let Table { slots, expiring, hashes, .. } = &*self.table;
        let in_index = |index: &Expiring, is_in: bool| if is_in { index.slots().share_of(place) } else { 0 };
        let indexes = in_index(expiring, entry.expire_at_ms().is_some())
            + in_index(hashes, hashes.len() > 0 && field_expiry_of(entry).is_some());
        Some(block_size(entry.size()) + object_len(entry) + slots.share_of(place) + indexes)
    }

    /// As [`Db::into_value`], and marks the key as used.
    pub fn into_value_used(self, key: &[u8]) -> Option<View<'a>> {
        let entry = self.find(key)?;
        use_entry(self.access, entry);
        Some(self.unpacked.unpack(entry.view()))
    }

    /// Marks the key as used.
    pub fn touch(&mut self, key: &[u8]) {
        if let Some(entry) = self.find(key) {
            use_entry(self.access, entry);
        }
    }

    /// Gives the key these access bits, which [`AccessClock::restored`] makes.
    pub fn set_access(&mut self, key: &[u8], access: u32) {
        if let Some(entry) = self.find(key).filter(|entry| entry.access() != access) {
            entry.set_access(access);
        }
    }

    /// Stores a string; one that spells a canonical integer is kept as one.
    pub fn set_string(&mut self, key: &[u8], bytes: &[u8], expiry: Expiry) {
        match number::parse_i64(bytes) {
            Some(value) => {
                self.put(key, Content::Int(value), expiry);
            }
            None => self.set_bytes(key, bytes, expiry),
        }
    }

    /// Stores a string as bytes, whatever it spells.
    pub fn set_bytes(&mut self, key: &[u8], bytes: &[u8], expiry: Expiry) {
        self.put_bytes(key, bytes, Content::Bytes, expiry);
    }

    /// As [`Db::set_bytes`], of what was changed in place: OBJECT ENCODING tells it from what was set.
    pub fn set_edited(&mut self, key: &[u8], bytes: &[u8], expiry: Expiry) {
        self.put_bytes(key, bytes, Content::Edited, expiry);
    }

    fn put_bytes<'b>(&mut self, key: &[u8], bytes: &'b [u8], inline: fn(&'b [u8]) -> Content<'b>, expiry: Expiry) {
        let content = if bytes.len() <= MAX_INLINE {
            inline(bytes)
        } else {
            Content::Object(Box::new(Object::String(StringValue::raw(bytes.to_vec()))))
        };
        self.put(key, content, expiry);
    }

    /// Stores an integer, in place where nothing stands against it.
    pub fn set_int(&mut self, key: &[u8], value: i64, expiry: Expiry) {
        self.put(key, Content::Int(value), expiry);
    }

    /// Stores any value; short strings and small collections go inside the entry.
    pub fn insert(&mut self, key: &[u8], object: Object, expire_at_ms: Option<i64>) {
        let expiry = expire_at_ms.map_or(Expiry::Clear, Expiry::At);
        match object {
            Object::String(StringValue::Int(value)) => {
                self.put(key, Content::Int(value), expiry);
            }
            Object::String(StringValue::Bytes(bytes)) => self.set_bytes(key, &bytes, expiry),
            Object::String(StringValue::Blob(bytes)) if bytes.len() < BLOB_BYTES => {
                self.set_edited(key, &bytes, expiry)
            }
            object => {
                self.epochs.note(&object);
                if let Some(compact) = Content::compact(&object) {
                    self.put(key, compact, expiry);
                    return;
                }
                self.put(key, Content::Object(Box::new(object)), expiry);
            }
        }
    }

    /// The key's object, to change; `None` where there is no key, or a string that is inside its entry.
    pub fn object_mut(&mut self, key: &[u8]) -> Option<&mut Object> {
        let entry = self.find(key)?;
        self.exclusive_object(key, entry)
    }

    /// Marks the key as used and gives its object, to change, for as long as the database is borrowed: `Some(None)` where
    /// it holds a string that is inside its entry, `None` where there is no key.
    pub fn into_object_used(mut self, key: &[u8]) -> Option<Option<&'a mut Object>> {
        let entry = self.find(key)?;
        use_entry(self.access, entry);
        Some(self.exclusive_object(key, entry))
    }

    /// The key's object, to change; where there is no key it is made from `new`. `None` for a string that is inside its
    /// entry.
    pub fn object_or_insert(&mut self, key: &[u8], new: impl FnOnce() -> Object) -> Option<&mut Object> {
        match self.find(key) {
            Some(entry) => self.exclusive_object(key, entry),
            None => self.put_loose(key, new()).object_mut(),
        }
    }

    /// As [`Db::object_or_insert`], for as long as the database is borrowed; the key counts as used.
    pub fn into_object_or_insert(mut self, key: &[u8], new: impl FnOnce() -> Object) -> Option<&'a mut Object> {
        match self.find(key) {
            Some(entry) => {
                use_entry(self.access, entry);
                self.exclusive_object(key, entry)
            }
            None => self.put_loose(key, new()).object_mut(),
        }
    }

    /// The object of the entry, which a snapshot does not see change: it gets one of its own if it may see this one.
    fn exclusive_object<'o>(&mut self, key: &[u8], entry: Entry) -> Option<&'o mut Object> {
        match entry.view() {
            View::Object(_) if !self.epochs.is_shared(entry) => entry.object_mut(),
            View::Object(object) => {
                let content = Content::Object(Box::new(object.clone()));
                self.replace(key, content, Expiry::Keep, true).object_mut()
            }
            View::Compact(compact) => self.put_loose(key, compact.to_object()).object_mut(),
            _ => None,
        }
    }

    /// Stores an object that is about to be changed, and may then be packed.
    fn put_loose(&mut self, key: &[u8], object: Object) -> Entry {
        let place = self.place_of(key);
        let entry = self.put(key, Content::Object(Box::new(object)), Expiry::Keep);
        self.unpacked.loosen(Loose { db: self.index, place, payload: entry.to_payload() });
        entry
    }

    /// Packs the collection of a loose entry into the entry, if it is still there and small.
    pub(super) fn pack(&mut self, loose: Loose) {
        // What has the same payload at the same place is that entry, or one that came after it.
        let Some(payload) = self.table.slots.find(loose.place, |payload| payload == loose.payload) else { return };
        let entry = Entry::from_payload(payload);
        let View::Object(object) = entry.view() else { return };
        // An empty one is about to be removed by the command that emptied it.
        if let Some(compact) = Content::compact(object).filter(|_| !object.is_empty()) {
            self.exchange(loose.place, entry, (compact, entry.expire_at_ms()), false);
        }
    }

    /// Says that the hash under this key may have got a field expiry.
    pub fn note_field_expiry(&mut self, key: &[u8]) {
        let place = self.place_of(key);
        let Some(entry) = self.table.slots.find(place, is_entry_of(key)).map(Entry::from_payload) else { return };
        if let Some(at) = field_expiry_of(entry) {
            self.epochs.field_expiry_seen = true;
            self.table.hashes.insert(place, entry, at);
        }
    }

    /// Removes the key; false if there was none.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        match self.unlink(key) {
            Some(entry) => {
                self.epochs.retire(entry, || object_len(entry));
                true
            }
            None => false,
        }
    }

    /// Removes the key and returns what it held.
    pub fn take(&mut self, key: &[u8]) -> Option<(Object, Option<i64>)> {
        let entry = self.unlink(key)?;
        let expire_at_ms = entry.expire_at_ms();
        let object = match entry.view() {
            View::Object(_) if !self.epochs.is_shared(entry) => {
                return entry.into_object().map(|object| (*object, expire_at_ms));
            }
            view => view.to_object(),
        };
        // What is returned shares everything with it.
        self.epochs.retire(entry, size_of::<Object>);
        Some((object, expire_at_ms))
    }

    /// Gives the key another expiry, or none; false if there is no such key.
    pub fn set_expire_at_ms(&mut self, key: &[u8], expire_at_ms: Option<i64>) -> bool {
        let Some(entry) = self.find(key) else { return false };
        match (entry.expire_at_ms(), expire_at_ms) {
            (None, None) => {}
            (Some(_), Some(at)) if !self.epochs.is_shared(entry) => {
                entry.set_expire_at_ms(at);
                let place = self.place_of(key);
                self.table.expiring.note(place, at);
            }
            (_, at) => {
                let expiry = at.map_or(Expiry::Clear, Expiry::At);
                let content = match entry.view() {
                    View::Int(value) => Content::Int(value),
                    View::Bytes(bytes) => Content::Bytes(bytes),
                    View::Edited(bytes) => Content::Edited(bytes),
                    View::Object(object) => Content::Object(Box::new(object.clone())),
                    View::Compact(compact) => Content::Compact(compact),
                };
                self.replace(key, content, expiry, true);
            }
        }
        true
    }

    /// Removes all keys, in no time at any size.
    pub fn clear(&mut self) {
        let size = self.estimated_size();
        let table = std::mem::take(self.table);
        for index in [table.expiring, table.hashes] {
            if index.len() > 0 {
                self.epochs.lazy_free.take(Garbage::Index(index.into_slots()), 0, 0);
            }
        }
        self.epochs.retire_table(table.slots, table.keys, size);
    }

    /// About how many bytes all keys take, by a few of them.
    fn estimated_size(&self) -> usize {
        const SAMPLES: usize = 64;
        let (mut count, mut size) = (0, 0);
        if self.table.keys > 0 {
            self.table.slots.visit_from(0, SAMPLES, &mut |payload| {
                let entry = Entry::from_payload(payload);
                count += 1;
                size += entry.size() + size_of::<u64>() + object_len(entry);
            });
        }
        (size as u128 * self.table.keys as u128 / count.max(1)) as usize // below the memory there is
    }

    /// Visits keys from a position of the hash order on, at least `at_least` of them; returns the position to go on
    /// from. A key that stays in the database during a whole round is visited in it.
    pub fn visit_from(&self, position: u64, at_least: usize, visit: &mut dyn FnMut(SnapshotEntry<'_>)) -> Option<u64> {
        self.table
            .slots
            .visit_from(position, at_least, &mut |payload| visit(SnapshotEntry::of(Entry::from_payload(payload))))
    }

    /// Visits all keys.
    pub fn visit(&self, visit: &mut dyn FnMut(SnapshotEntry<'_>)) {
        self.visit_from(0, usize::MAX, visit);
    }

    pub fn random(&self, random: &mut fastrand::Rng) -> Option<SnapshotEntry<'_>> {
        self.table.slots.random(random).map(|payload| SnapshotEntry::of(Entry::from_payload(payload)))
    }

    fn place_of(&self, key: &[u8]) -> Place {
        place(self.hashing.hash(key))
    }

    fn find(&self, key: &[u8]) -> Option<Entry> {
        self.table.find(self.place_of(key), key)
    }

    /// Stores the content: over the former one where it takes its place and no snapshot sees it, else in a new entry. The
    /// key and the content may be slices of the former entry.
    fn put(&mut self, key: &[u8], content: Content<'_>, expiry: Expiry) -> Entry {
        self.replace(key, content, expiry, false)
    }

    /// As [`Db::put`]; `shares`: the content shares what it holds with the former's.
    fn replace(&mut self, key: &[u8], content: Content<'_>, expiry: Expiry, shares: bool) -> Entry {
        let place = self.place_of(key);
        let former = self.table.find(place, key);
        let expire_at_ms = match expiry {
            Expiry::Clear => None,
            Expiry::At(at) => Some(at),
            Expiry::Keep => former.and_then(Entry::expire_at_ms),
        };
        let Some(former) = former else {
            let entry = Entry::new(key, content, expire_at_ms, self.epochs.newborn(), self.access.fresh());
            self.table.slots.insert(place, entry.to_payload(), |_| false);
            self.table.keys += 1;
            self.index(place, None, Some(entry));
            return entry;
        };
        if !shares && expiry != Expiry::Keep {
            use_entry(self.access, former);
        }
        if !self.epochs.is_shared(former) && former.overwrite(&content, expire_at_ms) {
            if let Some(at) = expire_at_ms {
                self.table.expiring.note(place, at);
            }
            return former;
        }
        self.exchange(place, former, (content, expire_at_ms), shares)
    }

    /// A new entry, with content and expiry, in the place of one that is in the table; `shares` as in [`Db::replace`].
    fn exchange(&mut self, place: Place, former: Entry, new: (Content<'_>, Option<i64>), shares: bool) -> Entry {
        let (content, expire_at_ms) = new;
        let entry = Entry::new(former.key(), content, expire_at_ms, self.epochs.newborn(), former.access());
        let (old, new) = (former.to_payload(), entry.to_payload());
        let replaced = self.table.slots.insert(place, new, |payload| payload == old);
        assert_eq!(replaced, Some(old), "the former entry was found there");
        self.index(place, Some(former), Some(entry));
        self.epochs.retire(former, || if shares { size_of::<Object>() } else { object_len(former) });
        entry
    }

    fn unlink(&mut self, key: &[u8]) -> Option<Entry> {
        let place = self.place_of(key);
        let entry = Entry::from_payload(self.table.slots.remove(place, is_entry_of(key))?);
        self.table.keys -= 1;
        self.index(place, Some(entry), None);
        Some(entry)
    }

    /// Keeps the indexes of what expires: `entry` has taken the place of `former` in the table.
    pub(super) fn index(&mut self, place: Place, former: Option<Entry>, entry: Option<Entry>) {
        let Table { expiring, hashes, .. } = &mut *self.table;
        let at = entry.and_then(Entry::expire_at_ms);
        match (former.filter(|former| former.expire_at_ms().is_some()), entry.zip(at)) {
            (Some(former), Some((entry, at))) => {
                expiring.replace(place, former, entry, at);
            }
            (Some(former), None) => {
                expiring.remove(place, former);
            }
            (None, Some((entry, at))) => expiring.insert(place, entry, at),
            (None, None) => {}
        }
        if let Some(former) = former {
            hashes.remove(place, former);
        }
        if let Some((entry, at)) = entry.filter(|_| self.epochs.field_expiry_seen).and_then(with_field_expiry) {
            hashes.insert(place, entry, at);
        }
    }

    /// Whether the key holds a hash of which a field's time has come.
    pub fn has_due_field(&self, key: &[u8], now_ms: i64) -> bool {
        let at = if self.table.hashes.len() == 0 { None } else { self.find(key).and_then(field_expiry_of) };
        at.is_some_and(|at| at <= now_ms)
    }

    /// Looks for keys whose time has come, in the segments from `segment` on: in the first that may have any. Returns
    /// the segment to go on from, `None` at the end of the table.
    pub fn due_keys_from(&mut self, segment: usize, now_ms: i64, found: &mut Vec<Vec<u8>>) -> Option<usize> {
        let expiring = &mut self.table.expiring;
        let segment = expiring.next_segment(segment, now_ms)?;
        let due = expiring.look_at(segment, now_ms, Entry::expire_at_ms);
        found.extend(due.into_iter().map(|entry| entry.key().to_vec()));
        Some(segment + 1)
    }

    /// As [`Db::due_keys_from`], for hashes with fields whose time has come.
    pub fn due_hashes_from(&mut self, segment: usize, now_ms: i64, found: &mut Vec<Vec<u8>>) -> Option<usize> {
        let hashes = &mut self.table.hashes;
        let segment = hashes.next_segment(segment, now_ms)?;
        let due = hashes.look_at(segment, now_ms, field_expiry_of);
        found.extend(due.into_iter().map(|entry| entry.key().to_vec()));
        Some(segment + 1)
    }

    /// Visits `count` keys from a random place on, or all if there are fewer; with `only_expiring`, of those that have
    /// an expiry.
    pub fn sample(
        &self,
        random: &mut fastrand::Rng,
        count: usize,
        only_expiring: bool,
        visit: &mut dyn FnMut(SnapshotEntry<'_>),
    ) {
        let Table { slots, keys, expiring, .. } = &*self.table;
        let (slots, held) = if only_expiring { (expiring.slots(), expiring.len()) } else { (slots, *keys) };
        if held == 0 {
            return;
        }
        slots.sample(random, count, &mut |payload| visit(SnapshotEntry::of(Entry::from_payload(payload))));
    }
}

fn use_entry(clock: &mut AccessClock, entry: Entry) {
    let before = entry.access();
    let access = clock.used(before);
    if access != before {
        entry.set_access(access);
    }
}

/// When the next field of the hash in an entry is due.
fn field_expiry_of(entry: Entry) -> Option<i64> {
    match entry.view() {
        View::Object(Object::Hash(hash)) => hash.min_expire(),
        _ => None,
    }
}

fn with_field_expiry(entry: Entry) -> Option<(Entry, i64)> {
    field_expiry_of(entry).map(|at| (entry, at))
}

/// Bytes of what an entry holds outside of itself.
fn object_len(entry: Entry) -> usize {
    match entry.view() {
        View::Object(object) => object.footprint() + block_size(size_of::<Object>()),
        _ => 0,
    }
}

pub(super) fn is_entry_of(key: &[u8]) -> impl FnMut(u64) -> bool {
    move |payload| is_same(Entry::from_payload(payload).key(), key)
}

/// Whether two keys are the same. Short ones are compared by words, here: the call of a function costs as much again.
#[inline]
fn is_same(left: &[u8], right: &[u8]) -> bool {
    const SHORT: usize = 32;
    if left.len() != right.len() {
        return false;
    }
    match (left.last_chunk::<8>(), right.last_chunk::<8>()) {
        (Some(last), Some(other)) if left.len() <= SHORT => {
            let mut words = left.as_chunks::<8>().0.iter().zip(right.as_chunks::<8>().0);
            last == other && words.all(|(word, other)| u64::from_ne_bytes(*word) == u64::from_ne_bytes(*other))
        }
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_length_that_differ_in_any_byte_are_not_the_same() {
        for len in 0..70 {
            let key: Vec<u8> = (0..len).collect();
            assert!(is_same(&key, &key.clone()) && !is_same(&key, &[&key[..], b"x"].concat()));
            for at in 0..key.len() {
                let mut other = key.clone();
                other[at] ^= 0x80;
                assert!(!is_same(&key, &other), "byte {at} of {len}");
            }
        }
    }
}
