//! Byte strings to byte strings, in the order of their hashes, packed into small leaves that clones share.
//!
//! ```text
//! Sequence of leaves, each for a range of hash positions (the upper 48 bits of the hash), full ones cut at the median
//!
//! leaf (see its own file):  tags | offsets | records of key and value, the long ones behind a pointer
//! ```
//!
//! A leaf is cut when it would hold more than 64 records, and joined with a neighbour when both are nearly empty.
//! Because the order is that of hash positions and no record ever changes its position, a scan that resumes at a
//! position meets every record that is there all the time, whatever else comes and goes. Records of one position may
//! fill several leaves, so colliding hashes cost time, not correctness.
//!
//! The hash must be keyed with something that clients don't know ([`PackedMap::new`] takes it). It is computed again
//! when a leaf is cut, which is cheaper than eight bytes for every record.

mod leaf;

use super::sequence::{self, Path, Place, Sequence};
use leaf::{INLINE, LEAF_RECORDS, Leaf, Spot};

/// The function that places keys.
pub type HashFunction = fn(&[u8]) -> u64;

/// A copy-on-write map; see the module.
#[derive(Clone, Debug)]
pub struct PackedMap {
    leaves: Sequence<Leaf>,
    hash: HashFunction,
    /// Bytes of all parts that stand out of line.
    large_bytes: usize,
}

/// Where a key stands, or would; see [`PackedMap::seek`].
#[derive(Clone, Copy)]
pub struct Seek {
    spot: Spot,
    found: Option<(Path, usize)>,
}

impl Seek {
    /// The value that is there, in the map that has looked.
    pub fn value<'a>(&self, map: &'a PackedMap) -> Option<&'a [u8]> {
        let (path, index) = self.found.as_ref()?;
        map.leaves.at(path).map(|leaf| leaf.record(*index).1)
    }
}

/// Where a key stands.
struct Found<'a> {
    path: Path,
    index: usize,
    value: &'a [u8],
}

impl PackedMap {
    /// An empty map over `hash`.
    pub fn new(hash: HashFunction) -> Self {
        PackedMap { leaves: Sequence::new(), hash, large_bytes: 0 }
    }

    /// How many records.
    pub fn len(&self) -> usize {
        // Every record takes memory, so the count fits.
        self.leaves.weight() as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value under `key`.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.find(self.spot(key), key).map(|found| found.value)
    }

    /// Whether `key` is there.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Puts `value` under `key`; true if the key is new. Nothing is copied where it was there already.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) -> bool {
        let spot = self.spot(key);
        let found = match self.find(spot, key) {
            Some(found) if found.value == value => return false,
            found => found.map(|found| (found.path, found.index)),
        };
        self.put(Seek { spot, found }, key, value)
    }

    /// Looks for `key`, so that a value can be put there without looking again.
    pub fn seek(&self, key: &[u8]) -> Seek {
        let spot = self.spot(key);
        match self.find(spot, key) {
            Some(Found { path, index, .. }) => Seek { spot, found: Some((path, index)) },
            None => Seek { spot, found: None },
        }
    }

    /// Puts `value` under `key`, for which `seek` has looked since the last change; true if the key is new.
    pub fn put(&mut self, seek: Seek, key: &[u8], value: &[u8]) -> bool {
        let Seek { spot, found } = seek;
        if self.leaves.is_empty() {
            self.leaves.push_back(Leaf::default());
        }
        let (path, index) = match found {
            Some((path, index)) => (path, Some(index)),
            None => {
                let (path, _) = self.leaves.find(Place::Key(spot.position)).expect("there is at least one leaf");
                (path, None)
            }
        };
        let (old, is_full) = self.leaves.modify_at(&path, |leaf| (leaf.put(index, spot, key, value), leaf.is_full()));
        match old {
            Some(old) => self.count_out(old),
            None => self.count_in(key.len()),
        }
        self.count_in(value.len());
        if is_full {
            self.cut(&path);
        }
        index.is_none()
    }

    /// Takes `key` out; true if it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let Some(Found { path, index, .. }) = self.find(self.spot(key), key) else { return false };
        let (old, left) = self.leaves.modify_at(&path, |leaf| (leaf.remove(index), leaf.count()));
        self.count_out(key.len());
        self.count_out(old);
        if left < LEAF_RECORDS / 4 {
            self.join(&path);
        }
        true
    }

    /// All records, in hash order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { leaves: self.leaves.iter(), leaf: None, index: 0 }
    }

    /// Record number `rank` in hash order: with a random rank, a uniformly random record.
    pub fn nth(&self, rank: usize) -> Option<(&[u8], &[u8])> {
        let (position, within) = self.leaves.locate(rank as u64)?;
        let leaf = self.leaves.get(Place::Ordinal(position.ordinal))?;
        // The rank within a leaf is small.
        Some(leaf.record(within as usize))
    }

    /// A uniformly random record.
    pub fn random(&self, rng: &mut fastrand::Rng) -> Option<(&[u8], &[u8])> {
        if self.is_empty() { None } else { self.nth(rng.usize(..self.len())) }
    }

    /// Visits the records from hash position `cursor` on, at least `count` if there are as many, and returns the
    /// position to go on at, or 0 after the last. A record that is there during a whole scan (from cursor 0 until 0 is
    /// returned) is visited at least once. Cursors are below 2^48.
    pub fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(&[u8], &[u8])) -> u64 {
        // The leaf before the first that begins at the cursor may hold records at or behind it.
        let start = self.leaves.prefix(|leaf| leaf.low < cursor).ordinal.saturating_sub(1);
        let mut visited = 0;
        for leaf in self.leaves.iter_between(start, self.leaves.chunk_count()) {
            // Never stop at the cursor itself, or a position with many records would hold the scan forever.
            if visited >= count && leaf.low > cursor {
                return leaf.low;
            }
            let whole = leaf.low >= cursor;
            for index in 0..leaf.count() {
                let (key, value) = leaf.record(index);
                if whole || self.spot(key).position >= cursor {
                    visit(key, value);
                    visited += 1;
                }
            }
        }
        0
    }

    /// Bytes held, approximately: what is shared with clones counts in full.
    pub fn footprint(&self) -> usize {
        self.leaves.footprint(Leaf::footprint) + self.large_bytes
    }

    fn spot(&self, key: &[u8]) -> Spot {
        let hash = (self.hash)(key);
        // The lowest byte is the tag.
        Spot { position: hash >> 16, tag: hash as u8 }
    }

    fn find(&self, spot: Spot, key: &[u8]) -> Option<Found<'_>> {
        let (path, leaf) = self.leaves.find(Place::Key(spot.position))?;
        if let Some(index) = leaf.find(spot, key) {
            return Some(Found { path, index, value: leaf.record(index).1 });
        }
        if leaf.low != spot.position { None } else { self.find_before(spot, key) }
    }

    /// Looks in the leaves before the one that `spot` names, as long as they can hold its position too.
    fn find_before(&self, spot: Spot, key: &[u8]) -> Option<Found<'_>> {
        let mut ordinal = self.leaves.position(Place::Key(spot.position)).ordinal;
        for leaf in self.leaves.iter_between(0, ordinal).rev() {
            ordinal -= 1;
            if let Some(index) = leaf.find(spot, key) {
                let (path, _) = self.leaves.find(Place::Ordinal(ordinal))?;
                return Some(Found { path, index, value: leaf.record(index).1 });
            }
            if leaf.low < spot.position {
                break;
            }
        }
        None
    }

    /// Cuts the full leaf at the end of the path in two.
    fn cut(&mut self, path: &Path) {
        let ordinal = self.leaves.position_at(path).ordinal;
        let hash = self.hash;
        let right = self.leaves.modify_at(path, |leaf| leaf.cut(hash));
        self.leaves.insert(ordinal + 1, right);
    }

    /// Joins the leaf at the end of the path with a neighbour if both together are half full.
    fn join(&mut self, path: &Path) {
        let ordinal = self.leaves.position_at(path).ordinal;
        let count = |ordinal| self.leaves.get(Place::Ordinal(ordinal)).map_or(LEAF_RECORDS, |leaf| leaf.count());
        let own = count(ordinal);
        let left = if ordinal > 0 && count(ordinal - 1) + own <= LEAF_RECORDS / 2 {
            ordinal - 1
        } else if count(ordinal + 1) + own <= LEAF_RECORDS / 2 {
            ordinal
        } else {
            return;
        };
        let right = self.leaves.remove(left + 1).expect("a neighbour was just counted");
        self.leaves.modify(Place::Ordinal(left), |leaf| leaf.take_in(&right)).expect("a neighbour was just counted");
    }

    fn count_in(&mut self, part: usize) {
        self.large_bytes += if part > INLINE { part } else { 0 };
    }

    fn count_out(&mut self, part: usize) {
        self.large_bytes -= if part > INLINE { part } else { 0 };
    }
}

/// Records of a [`PackedMap`] in hash order.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    leaves: sequence::Iter<'a, Leaf>,
    leaf: Option<&'a Leaf>,
    index: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(leaf) = self.leaf
                && self.index < leaf.count()
            {
                self.index += 1;
                return Some(leaf.record(self.index - 1));
            }
            self.leaf = Some(self.leaves.next()?);
            self.index = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn fair(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
        })
    }

    fn crowded(bytes: &[u8]) -> u64 {
        fair(bytes) & 0x3 | (u64::from(bytes[0]) & 1) << 40
    }

    fn constant(_: &[u8]) -> u64 {
        77 << 20
    }

    fn check(map: &PackedMap, model: &BTreeMap<Vec<u8>, Vec<u8>>) {
        assert_eq!(map.len(), model.len());
        let copy: BTreeMap<_, _> = map.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        assert_eq!(&copy, model);
        for (key, value) in model {
            assert_eq!(map.get(key), Some(&value[..]));
        }
        let sizes = model.iter().flat_map(|(key, value)| [key.len(), value.len()]);
        assert_eq!(map.large_bytes, sizes.filter(|size| *size > INLINE).sum::<usize>());
    }

    fn some_key(rng: &mut fastrand::Rng) -> Vec<u8> {
        let mut key = rng.u32(..300).to_string().into_bytes();
        if key.ends_with(b"7") {
            key.resize(300, b'k');
        }
        key
    }

    #[test]
    fn a_map_behaves_as_an_ordered_map_and_clones_stay_as_they_were() {
        for (seed, hash) in [fair as HashFunction, crowded, constant].into_iter().enumerate() {
            let mut rng = fastrand::Rng::with_seed(seed as u64);
            let (mut map, mut model) = (PackedMap::new(hash), BTreeMap::new());
            let mut clones = Vec::new();
            for step in 0..8000 {
                let key = some_key(&mut rng);
                if rng.u32(..100) < if step % 3000 < 2000 { 70 } else { 20 } {
                    let value = vec![rng.u8(..); rng.usize(..3) * rng.usize(..200)];
                    assert_eq!(map.insert(&key, &value), model.insert(key, value).is_none());
                } else {
                    assert_eq!(map.remove(&key), model.remove(&key).is_some());
                    assert!(!map.contains(&key));
                }
                if step % 403 == 0 {
                    clones.push((map.clone(), model.clone()));
                    check(&map, &model);
                }
            }
            for (map, model) in &clones {
                check(map, model);
            }
        }
    }

    #[test]
    fn a_write_while_a_clone_stands_copies_its_leaf_alone_and_none_where_nothing_changes() {
        let mut map = PackedMap::new(fair);
        let keys: Vec<Vec<u8>> = (0..500).map(|i| format!("key{i}").into_bytes()).collect();
        for key in &keys {
            map.insert(key, b"old");
        }
        let copied = |one: &PackedMap, other: &PackedMap| {
            one.leaves.iter().zip(other.leaves.iter()).filter(|(one, other)| !std::ptr::eq(*one, *other)).count()
        };
        for key in &keys {
            let clone = map.clone();
            assert!(!map.insert(key, b"old"));
            assert!(!map.remove(b"no such key"));
            assert_eq!(copied(&map, &clone), 0);
            assert!(!map.insert(key, b"new"));
            assert_eq!((copied(&map, &clone), clone.get(key)), (1, Some(&b"old"[..])));
        }
        assert!(keys.iter().all(|key| map.get(key) == Some(b"new")));
    }

    #[test]
    fn a_scan_meets_every_key_that_stays_and_ends() {
        for (seed, hash) in [fair as HashFunction, crowded, constant].into_iter().enumerate() {
            let mut rng = fastrand::Rng::with_seed(seed as u64);
            let mut map = PackedMap::new(hash);
            let stays: BTreeSet<Vec<u8>> = (0..500).map(|i| format!("stays{i}").into_bytes()).collect();
            for key in &stays {
                map.insert(key, b"");
            }
            for _ in 0..20 {
                let (mut met, mut cursor, mut steps) = (BTreeSet::new(), 0, 0);
                loop {
                    cursor = map.scan(cursor, 5, &mut |key, _| {
                        met.insert(key.to_vec());
                    });
                    steps += 1;
                    assert!(steps < 5000);
                    if cursor == 0 {
                        break;
                    }
                    for _ in 0..30 {
                        let key = some_key(&mut rng);
                        if rng.bool() && map.len() < 800 {
                            map.insert(&key, b"v")
                        } else {
                            map.remove(&key)
                        };
                    }
                }
                assert!(met.is_superset(&stays));
            }
        }
    }

    #[test]
    fn random_records_are_drawn_uniformly() {
        let mut map = PackedMap::new(fair);
        for key in 0..100 {
            map.insert(&[key], b"");
        }
        let mut rng = fastrand::Rng::with_seed(5);
        let mut drawn = [0; 100];
        for _ in 0..50_000 {
            drawn[usize::from(map.random(&mut rng).unwrap().0[0])] += 1;
        }
        assert!(drawn.iter().all(|count| (400..600).contains(count)), "{drawn:?}");
    }
}
