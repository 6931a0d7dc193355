//! Keys that several inputs hold, found without holding a key or a value: a sorted list of 16-byte hashes.
//!
//! The hashes are keyed with numbers drawn at start, so that no two keys share them by chance or by intent. What does
//! not fit into memory is sorted on the disk.

use super::{OnConflict, union::last_expiry};
use crate::part::{Counts, Marks};
use ironkeep::disk::Sorter;
use ironkeep::rdb::KeyHeader;
use std::hash::{BuildHasher, RandomState};
use std::io;

/// So much is sorted in memory.
const BUDGET: usize = 32 << 20;

/// What names a key: its database and its bytes, hashed.
pub type Fingerprint = [u8; 16];

/// Hashes keys, the same way throughout.
#[derive(Default)]
pub struct Hasher([RandomState; 2]);

impl Hasher {
    pub fn of(&self, key: &KeyHeader) -> Fingerprint {
        let [first, second] = [0, 1].map(|half: usize| self.0[half].hash_one((key.db, key.key.as_slice())));
        let mut fingerprint = [0; 16];
        fingerprint[..8].copy_from_slice(&first.to_be_bytes());
        fingerprint[8..].copy_from_slice(&second.to_be_bytes());
        fingerprint
    }
}

/// One occurrence of a key.
#[derive(Clone, Copy, Debug)]
struct Place {
    input: usize,
    ordinal: usize,
    db: u64,
    expire_at_ms: Option<i64>,
    type_tag: u8,
}

impl Place {
    const LEN: usize = 4 + 8 + 8 + 9 + 1;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.input as u32).to_be_bytes()); // a command line has fewer words
        out.extend_from_slice(&(self.ordinal as u64).to_be_bytes()); // usize fits
        out.extend_from_slice(&self.db.to_be_bytes());
        out.push(u8::from(self.expire_at_ms.is_some()));
        out.extend_from_slice(&self.expire_at_ms.unwrap_or(0).to_be_bytes());
        out.push(self.type_tag);
    }

    fn read(bytes: &[u8; Place::LEN]) -> Place {
        let number = |from: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[from..from + 8]);
            u64::from_be_bytes(number)
        };
        let input = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize; // was one
        let expire_at_ms = (bytes[20] == 1).then(|| number(21).cast_signed());
        let ordinal = number(4) as usize; // was one
        Place { input, ordinal, db: number(12), expire_at_ms, type_tag: bytes[29] }
    }
}

/// Collects the keys of all inputs.
pub struct Census {
    pub hasher: Hasher,
    sorter: Sorter,
    pub counts: Counts,
    lens: Vec<usize>,
}

/// What is to become of the keys.
pub struct Verdict {
    /// Keys that are left out, by input.
    pub dropped: Vec<Marks>,
    /// Keys that are to be united with others, by input.
    pub united: Vec<Marks>,
    /// Keys that cannot be decided, by input.
    pub undecided: Vec<Marks>,
    /// How many keys occur more than once, and of how many the union failed or the policy forbids any.
    pub conflicts: u64,
    pub undecided_count: u64,
    /// What the result holds.
    pub counts: Counts,
}

impl Census {
    pub fn new() -> Census {
        Census { hasher: Hasher::default(), sorter: Sorter::new(BUDGET), counts: Counts::default(), lens: Vec::new() }
    }

    /// The keys that follow are the next input's.
    pub fn next_input(&mut self) {
        self.lens.push(0);
    }

    pub fn add(&mut self, key: &KeyHeader) -> io::Result<()> {
        let Some(len) = self.lens.last_mut() else { return Ok(()) };
        let (ordinal, input) = (*len, self.lens.len() - 1);
        self.lens[input] += 1;
        self.counts.add(key);
        let (fingerprint, type_tag) = (self.hasher.of(key), tag_of(key.kind.type_name()));
        let place = Place { input, ordinal, db: key.db, expire_at_ms: key.expire_at_ms, type_tag };
        self.sorter.push_with(|out| {
            out.extend_from_slice(&fingerprint);
            place.write(out);
        })
    }

    /// Decides every conflict.
    pub fn decide(self, policy: OnConflict) -> io::Result<(Hasher, Verdict)> {
        let Census { hasher, sorter, counts, lens } = self;
        let marks = || lens.iter().map(|len| Marks::of_len(*len)).collect::<Vec<_>>();
        let (dropped, united, undecided) = (marks(), marks(), marks());
        let mut verdict = Verdict { dropped, united, undecided, conflicts: 0, undecided_count: 0, counts };
        let mut sorted = sorter.finish()?;
        let (mut last, mut places): (Option<Fingerprint>, Vec<Place>) = (None, Vec::new());
        while let Some(record) = sorted.next()? {
            let Some((fingerprint, rest)) = record.split_first_chunk() else { continue };
            let Some(place) = rest.first_chunk() else { continue };
            if last != Some(*fingerprint) {
                verdict.settle(&places, policy);
                places.clear();
                last = Some(*fingerprint);
            }
            places.push(Place::read(place));
        }
        verdict.settle(&places, policy);
        Ok((hasher, verdict))
    }
}

/// Tells types apart.
fn tag_of(type_name: &str) -> u8 {
    type_name.bytes().fold(0, |tag: u8, byte| tag.wrapping_mul(31).wrapping_add(byte))
}

impl Verdict {
    /// All occurrences of one key, in the order of inputs and of each file.
    fn settle(&mut self, places: &[Place], policy: OnConflict) {
        let [first, .., last] = places else { return };
        self.conflicts += 1;
        let kept = match policy {
            OnConflict::First => first,
            OnConflict::Last => last,
            // The last of those that expire last.
            OnConflict::NewestExpiry => {
                places.iter().max_by_key(|place| place.expire_at_ms.unwrap_or(i64::MAX)).unwrap_or(last)
            }
            OnConflict::Union if places.iter().all(|place| place.type_tag == first.type_tag) => {
                return self.unite(places);
            }
            OnConflict::Union | OnConflict::Fail => {
                self.undecided_count += 1;
                places.iter().for_each(|place| self.undecided[place.input].set(place.ordinal));
                return;
            }
        };
        for place in places {
            if (place.input, place.ordinal) != (kept.input, kept.ordinal) {
                self.dropped[place.input].set(place.ordinal);
                self.counts.take(place.db, place.expire_at_ms.is_some());
            }
        }
    }

    fn unite(&mut self, places: &[Place]) {
        let mut expiry = places[0].expire_at_ms;
        for place in places {
            expiry = last_expiry(expiry, place.expire_at_ms);
            self.united[place.input].set(place.ordinal);
            self.counts.take(place.db, place.expire_at_ms.is_some());
        }
        self.counts.put(places[0].db, expiry.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_and_sort_by_input_and_order() {
        let place = Place { input: 3, ordinal: 1 << 40, db: 9, expire_at_ms: Some(-5), type_tag: 200 };
        let mut out = Vec::new();
        place.write(&mut out);
        let read = Place::read(out.first_chunk().unwrap());
        assert_eq!(format!("{read:?}"), format!("{place:?}"));
        assert_eq!(out.len(), Place::LEN);
    }

    #[test]
    fn types_have_tags_of_their_own() {
        let names = ["string", "list", "set", "zset", "hash", "stream", "module", "array", "gcra"];
        let tags: std::collections::BTreeSet<u8> = names.iter().map(|name| tag_of(name)).collect();
        assert_eq!(tags.len(), names.len());
    }
}
