//! The table of a database: 16,384 small hash tables behind a shared tree of two levels.
//!
//! ```text
//! root (Arc) -> 128 pages (Arc) -> 128 segments each (Arc<[u64]>)
//!
//! segment:  [capacity << 32 | count] [slot] [slot] ...      slot: 0, or tag << 44 | payload
//! hash:     14 bits segment, 20 bits tag, 30 bits unused
//! ```
//!
//! A segment is open addressing with linear probing, kept **sorted by tag**: a slot's home is `tag * capacity >> 20`, so
//! homes rise with tags, and an insertion goes where the order says. That buys three things. A search ends at the first
//! larger tag. A segment grows by any factor (from one size class of the allocator to the next, not by doubling: 0.8 full
//! on average) in one pass that looks at no key. And the order of iteration is the order of hashes whatever the capacity, so a SCAN cursor is a hash position
//! that stays right while segments grow.
//!
//! Cloning the tree clones the root. A write copies what is still shared on its path: the root, a page, one segment.
//! Payloads are opaque 44-bit numbers here (addresses divided by 8, to the keyspace); who owns what they mean is
//! theirs to say.

use std::sync::Arc;

use super::exclusive::exclusive;
use crate::allocator::block_size;
use crate::codec::prefetch::prefetch;

const PAGE_BITS: u32 = 7;
const FAN_OUT: usize = 1 << PAGE_BITS;
const SEGMENT_BITS: u32 = 2 * PAGE_BITS;
/// Segments of one table.
pub const SEGMENTS: usize = 1 << SEGMENT_BITS;
const TAG_BITS: u32 = 20;
const PAYLOAD_BITS: u32 = 64 - TAG_BITS;
const PAYLOAD_MASK: u64 = (1 << PAYLOAD_BITS) - 1;
/// The first slot of a segment is its header.
const HEADER: usize = 1;
const MIN_CAPACITY: usize = 4;
/// Slots behind the last home, beside one for 16 of capacity, for what is pushed there.
const SPARE: usize = 2;
/// Hardly any slot is further from its home.
const USUAL_DISTANCE: usize = 4;
/// What stands before the slots of an [`Arc`]: two counts.
const ARC_HEADER: usize = 16;

const _: () = assert!(SEGMENTS == 16384);
const _: () = assert!(TAG_BITS + SEGMENT_BITS <= 64);

/// Where a key of some hash belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    page: usize,
    slot: usize,
    tag: u64,
}

impl Place {
    /// The place of a 64-bit hash, of which the upper 34 bits are used.
    pub fn of(hash: u64) -> Self {
        Self::at_position(hash >> (64 - SEGMENT_BITS - TAG_BITS))
    }

    /// The place at a position of the order of iteration.
    fn at_position(position: u64) -> Self {
        let segment = (position >> TAG_BITS) as usize & (SEGMENTS - 1); // 14 bits
        Self { page: segment >> PAGE_BITS, slot: segment & (FAN_OUT - 1), tag: position & ((1 << TAG_BITS) - 1) }
    }

    /// The segment it is in, of [`SEGMENTS`].
    pub fn segment(self) -> usize {
        self.page << PAGE_BITS | self.slot
    }
}

type Segment = Arc<[u64]>;

#[derive(Debug, Clone)]
struct Page {
    segments: [Option<Segment>; FAN_OUT],
}

#[derive(Debug, Clone)]
struct Root {
    pages: [Option<Arc<Page>>; FAN_OUT],
}

/// The table. `Clone` is what a snapshot takes: one reference count.
#[derive(Debug, Clone)]
pub struct SegmentTable {
    root: Arc<Root>,
}

impl Default for SegmentTable {
    fn default() -> Self {
        Self { root: Arc::new(Root { pages: [const { None }; FAN_OUT] }) }
    }
}

impl SegmentTable {
    /// The payload at `place` for which `is_match` holds.
    #[inline]
    pub fn find(&self, place: Place, is_match: impl FnMut(u64) -> bool) -> Option<u64> {
        let segment = self.segment(place)?;
        find_in(segment, place.tag, is_match).ok().map(|at| segment[at] & PAYLOAD_MASK)
    }

    /// Puts `payload` at `place`. If there is one for which `is_match` holds, it is replaced and returned.
    pub fn insert(&mut self, place: Place, payload: u64, is_match: impl FnMut(u64) -> bool) -> Option<u64> {
        assert!(payload != 0 && payload <= PAYLOAD_MASK, "payloads are non-zero 44-bit numbers");
        let slot = place.tag << PAYLOAD_BITS | payload;
        let segment = self.segment_mut(place).get_or_insert_with(|| empty_segment(MIN_CAPACITY));
        match find_in(segment, place.tag, is_match) {
            Ok(at) => Some(std::mem::replace(&mut slots_mut(segment)[at], slot) & PAYLOAD_MASK),
            Err(at) => {
                insert_at(segment, at, slot);
                None
            }
        }
    }

    /// Puts `payload` at `place`, unless there is one for which `is_match` holds: then false. A segment that has none yet
    /// is made with `first_capacity`, or more.
    pub fn insert_new(
        &mut self,
        place: Place,
        payload: u64,
        first_capacity: usize,
        is_match: impl FnMut(u64) -> bool,
    ) -> bool {
        assert!(payload != 0 && payload <= PAYLOAD_MASK, "payloads are non-zero 44-bit numbers");
        let segment = self.segment_mut(place).get_or_insert_with(|| empty_segment(first_capacity.max(MIN_CAPACITY)));
        match find_in(segment, place.tag, is_match) {
            Ok(_) => false,
            Err(at) => {
                insert_at(segment, at, place.tag << PAYLOAD_BITS | payload);
                true
            }
        }
    }

    /// The capacity with which nearly all segments of a table of `count` payloads never grow: hashes fall into segments
    /// as chance has it, so a segment has `count / SEGMENTS` of them, give or take the root of that.
    pub fn capacity_for(count: usize) -> usize {
        let mean = count / SEGMENTS;
        (mean + 2 * mean.isqrt()) * 8 / 7 + 1
    }

    /// Takes out the payload at `place` for which `is_match` holds.
    pub fn remove(&mut self, place: Place, is_match: impl FnMut(u64) -> bool) -> Option<u64> {
        let at = find_in(self.segment(place)?, place.tag, is_match).ok()?;
        let held = self.segment_mut(place);
        let segment = held.as_mut().expect("the payload was found in it");
        let payload = segment[at] & PAYLOAD_MASK;
        if count_of(segment) == 1 {
            *held = None;
        } else {
            remove_at(segment, at);
        }
        Some(payload)
    }

    /// Fetches what a change of the segment will look at besides the slots.
    #[inline]
    pub fn prefetch_segment(&self, place: Place) {
        if let Some(segment) = self.segment(place) {
            prefetch(&raw const segment[0]);
            prefetch(&raw const segment[(HEADER + 7).min(segment.len() - 1)]); // homes are known only behind the header
        }
    }

    /// Fetches the slots where `place` is likely to be.
    #[inline]
    pub fn prefetch_slots(&self, place: Place) {
        if let Some(segment) = self.segment(place) {
            let home = home(place.tag, capacity_by_len(segment));
            prefetch(&raw const segment[home]);
            prefetch(&raw const segment[(home + USUAL_DISTANCE).min(segment.len() - 1)]);
        }
    }

    /// The first payload at `place` with the right tag, which nearly always is the one sought.
    #[inline]
    pub fn likely(&self, place: Place) -> Option<u64> {
        self.find(place, |_| true)
    }

    /// Visits payloads from `position` on, until at least `at_least` were visited and no tag is left half done. Returns
    /// the position to go on from; `None` at the end.
    pub fn visit_from(&self, position: u64, at_least: usize, visit: &mut dyn FnMut(u64)) -> Option<u64> {
        let mut visited = 0;
        let first = Place::at_position(position);
        let mut tag = first.tag;
        for index in (first.page * FAN_OUT + first.slot)..SEGMENTS {
            let Some(page) = &self.root.pages[index >> PAGE_BITS] else {
                tag = 0;
                continue;
            };
            if let Some(segment) = &page.segments[index & (FAN_OUT - 1)] {
                let first_tag = tag;
                for slot in slots_of(segment).filter(|slot| slot >> PAYLOAD_BITS >= first_tag) {
                    let slot_tag = slot >> PAYLOAD_BITS;
                    if visited >= at_least && slot_tag > tag {
                        return Some((index as u64) << TAG_BITS | slot_tag); // a segment's index has 14 bits
                    }
                    tag = slot_tag;
                    visited += 1;
                    visit(slot & PAYLOAD_MASK);
                }
            }
            tag = 0;
            if visited >= at_least && index + 1 < SEGMENTS {
                return Some((index as u64 + 1) << TAG_BITS); // as above
            }
        }
        None
    }

    /// A payload chosen by `random`: a segment that has any, then one of its slots. Nearly uniform, as segments are
    /// nearly alike.
    pub fn random(&self, random: &mut fastrand::Rng) -> Option<u64> {
        let start = random.usize(..SEGMENTS);
        let segment = (0..SEGMENTS).map(|step| (start + step) & (SEGMENTS - 1)).find_map(|index| {
            let page = self.root.pages[index >> PAGE_BITS].as_ref()?;
            page.segments[index & (FAN_OUT - 1)].as_ref()
        })?;
        slots_of(segment).nth(random.usize(..count_of(segment))).map(|slot| slot & PAYLOAD_MASK)
    }

    /// Bytes that the allocator holds for the segment at `place`, its place in a page too, shared among its payloads.
    pub fn share_of(&self, place: Place) -> usize {
        let share = |segment: &Segment| {
            let bytes = block_size(ARC_HEADER + size_of_val(&segment[..])) + size_of::<Option<Segment>>();
            bytes / count_of(segment).max(1)
        };
        self.segment(place).map_or(0, share)
    }

    /// About how many bytes a table with so many payloads takes.
    pub fn estimated_len(count: usize) -> u64 {
        // Up to one payload per segment, each takes one of the smallest kind; beyond, slots are 0.8 full.
        let segments = count.min(SEGMENTS) as u64; // 14 bits
        let pages = (count.min(FAN_OUT) * size_of::<Page>() + size_of::<Root>()) as u64; // far below 2^32
        let slots = (segments * (HEADER + MIN_CAPACITY + SPARE) as u64).max(count as u64 * 5 / 4 + segments * 5);
        pages + segments * 16 + slots * 8
    }

    /// All payloads of a segment, of [`SEGMENTS`].
    pub fn payloads_of(&self, segment: usize) -> impl Iterator<Item = u64> {
        let slots = self.segment(Place::at_position((segment as u64) << TAG_BITS)); // its index has 14 bits
        slots.into_iter().flat_map(|slots| slots_of(slots)).map(|slot| slot & PAYLOAD_MASK)
    }

    /// Takes a payload out of a segment, of [`SEGMENTS`]; false if it was not there.
    pub fn remove_in(&mut self, segment: usize, payload: u64) -> bool {
        let first = Place::at_position((segment as u64) << TAG_BITS); // its index has 14 bits
        let Some(slot) =
            self.segment(first).and_then(|slots| slots_of(slots).find(|slot| slot & PAYLOAD_MASK == payload))
        else {
            return false;
        };
        let place = Place { tag: slot >> PAYLOAD_BITS, ..first };
        self.remove(place, |found| found == payload).is_some()
    }

    /// Visits `count` payloads, or all if there are fewer, that stand one behind the other from a random place on. As
    /// places are decided by a keyed hash, neighbours have nothing to do with each other.
    pub fn sample(&self, random: &mut fastrand::Rng, count: usize, visit: &mut dyn FnMut(u64)) {
        let (first, mut left, mut step) = (random.usize(..SEGMENTS), count, 0);
        while step < SEGMENTS {
            let index = (first + step) & (SEGMENTS - 1);
            let Some(page) = &self.root.pages[index >> PAGE_BITS] else {
                step += FAN_OUT - (index & (FAN_OUT - 1));
                continue;
            };
            step += 1;
            let Some(segment) = &page.segments[index & (FAN_OUT - 1)] else { continue };
            // Within a segment the samples begin anywhere, and go round.
            let held = count_of(segment);
            let skipped = random.usize(..held);
            let slots = slots_of(segment).skip(skipped).chain(slots_of(segment).take(skipped));
            for slot in slots.take(left) {
                visit(slot & PAYLOAD_MASK);
            }
            left = left.saturating_sub(held);
            if left == 0 {
                return;
            }
        }
    }

    /// Takes the table apart segment by segment, letting go of each as soon as it was visited, so that its next write
    /// need not copy it.
    pub fn into_segments(self) -> impl Iterator<Item = SegmentPayloads> {
        let root = Arc::unwrap_or_clone(self.root);
        root.pages.into_iter().flatten().flat_map(|page| {
            let page = Arc::unwrap_or_clone(page);
            page.segments.into_iter().flatten().map(SegmentPayloads)
        })
    }

    fn segment(&self, place: Place) -> Option<&Segment> {
        self.root.pages[place.page].as_ref()?.segments[place.slot].as_ref()
    }

    fn segment_mut(&mut self, place: Place) -> &mut Option<Segment> {
        let root = exclusive(&mut self.root, |shared| Arc::new(shared.clone()));
        let page = root.pages[place.page].get_or_insert_with(|| Arc::new(Page { segments: [const { None }; FAN_OUT] }));
        &mut exclusive(page, |shared| Arc::new(shared.clone())).segments[place.slot]
    }
}

/// The payloads of one segment.
#[derive(Debug)]
pub struct SegmentPayloads(Segment);

impl SegmentPayloads {
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        slots_of(&self.0).map(|slot| slot & PAYLOAD_MASK)
    }
}

fn capacity_of(segment: &[u64]) -> usize {
    (segment[0] >> 32) as usize // 32 bits
}

fn count_of(segment: &[u64]) -> usize {
    segment[0] as u32 as usize // the lower half
}

fn slots_of(segment: &[u64]) -> impl Iterator<Item = u64> {
    segment[HEADER..].iter().copied().filter(|&slot| slot != 0)
}

/// The capacity again, told by the number of slots: known before any of the segment's memory has come.
fn capacity_by_len(segment: &[u64]) -> usize {
    let slots = segment.len() - HEADER - SPARE;
    slots - slots / 17 // of 17 slots 16 are homes, see `slot_count`
}

/// Index of the slot where the search for `tag` begins.
fn home(tag: u64, capacity: usize) -> usize {
    HEADER + ((tag * capacity as u64) >> TAG_BITS) as usize // below capacity, as tags have 20 bits
}

/// Slots of a segment of some capacity.
fn slot_count(capacity: usize) -> usize {
    HEADER + capacity + capacity / 16 + SPARE
}

/// The largest capacity for which the allocator takes no more than for this one.
fn fitting(capacity: usize) -> usize {
    let slots = (block_size(ARC_HEADER + slot_count(capacity) * size_of::<u64>()) - ARC_HEADER) / size_of::<u64>();
    ((slots - HEADER - SPARE) * 16 / 17).max(capacity)
}

/// A segment of some capacity, with room behind the last home for what is pushed there.
fn empty_segment(capacity: usize) -> Segment {
    let mut segment: Segment = std::iter::repeat_n(0, slot_count(capacity)).collect();
    slots_mut(&mut segment)[0] = (capacity as u64) << 32; // capacities are far below 2^32
    segment
}

/// The segment's slots for writing; copied first where a snapshot shares them.
fn slots_mut(segment: &mut Segment) -> &mut [u64] {
    exclusive(segment, |shared| Arc::from(shared))
}

/// Index of the matching slot, or the index where one with this tag belongs.
#[inline]
fn find_in(segment: &[u64], tag: u64, mut is_match: impl FnMut(u64) -> bool) -> Result<usize, usize> {
    let mut at = home(tag, capacity_by_len(segment));
    while let Some(&slot) = segment.get(at) {
        if slot == 0 || slot >> PAYLOAD_BITS > tag {
            break;
        }
        if slot >> PAYLOAD_BITS == tag && is_match(slot & PAYLOAD_MASK) {
            return Ok(at);
        }
        at += 1;
    }
    Err(at)
}

fn insert_at(segment: &mut Segment, at: usize, slot: u64) {
    let capacity = capacity_of(segment);
    if (count_of(segment) + 1) * 8 <= capacity * 7 {
        let slots = slots_mut(segment);
        if push_in(slots, at, slot) {
            slots[0] += 1;
            return;
        }
    }
    let mut capacity = capacity;
    loop {
        capacity = fitting((capacity + capacity / 8).max(capacity + 2));
        if let Some(grown) = rebuilt(segment, capacity, slot) {
            *segment = grown;
            return;
        }
    }
}

/// Shifts what stands at `at` and behind it up to the next hole; false where there is none.
fn push_in(slots: &mut [u64], at: usize, slot: u64) -> bool {
    let Some(hole) = (at..slots.len()).find(|&index| slots[index] == 0) else {
        return false;
    };
    slots.copy_within(at..hole, at + 1);
    slots[at] = slot;
    true
}

/// The same slots and one more in a segment of another capacity, or `None` if its end overflows.
fn rebuilt(segment: &[u64], capacity: usize, added: u64) -> Option<Segment> {
    let mut grown = empty_segment(capacity);
    let slots = slots_mut(&mut grown);
    let mut next = HEADER;
    let mut pending = Some(added);
    let mut place = |slot: u64| {
        let at = home(slot >> PAYLOAD_BITS, capacity).max(next);
        *slots.get_mut(at)? = slot;
        next = at + 1;
        Some(())
    };
    for slot in slots_of(segment) {
        if let Some(first) = pending.take_if(|added| *added >> PAYLOAD_BITS < slot >> PAYLOAD_BITS) {
            place(first)?;
        }
        place(slot)?;
    }
    if let Some(last) = pending {
        place(last)?;
    }
    slots[0] |= count_of(segment) as u64 + 1; // counts are far below 2^32
    Some(grown)
}

fn remove_at(segment: &mut Segment, at: usize) {
    let capacity = capacity_of(segment);
    let slots = slots_mut(segment);
    let mut end = at + 1;
    while end < slots.len() && slots[end] != 0 && home(slots[end] >> PAYLOAD_BITS, capacity) < end {
        end += 1;
    }
    slots.copy_within(at + 1..end, at);
    slots[end - 1] = 0;
    slots[0] -= 1;
    if capacity > MIN_CAPACITY * 4 && count_of(slots) * 4 < capacity {
        shrink(segment);
    }
}

fn shrink(segment: &mut Segment) {
    let mut slots = slots_of(segment);
    let Some(first) = slots.next() else { return };
    let mut smaller = empty_segment(fitting((count_of(segment) * 3 / 2).max(MIN_CAPACITY)));
    let at = home(first >> PAYLOAD_BITS, capacity_of(&smaller));
    insert_at(&mut smaller, at, first);
    for slot in slots {
        let tag = slot >> PAYLOAD_BITS;
        let Err(at) = find_in(&smaller, tag, |_| false) else { return };
        insert_at(&mut smaller, at, slot);
    }
    *segment = smaller;
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn contents(table: &SegmentTable) -> Vec<u64> {
        let mut all: Vec<u64> = table.clone().into_segments().flat_map(|s| s.iter().collect::<Vec<_>>()).collect();
        all.sort_unstable();
        all
    }

    /// Hashes whose segment bits are few, so that segments fill, shrink and collide.
    fn hash(random: &mut fastrand::Rng) -> u64 {
        random.u64(..3) << 50 | random.u64(..1 << 12) << 38 | random.u64(..2) << 30
    }

    #[test]
    fn tables_agree_with_a_map_and_clones_stay_as_they_were() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut table, mut model) = (SegmentTable::default(), HashMap::new());
        let mut clones: Vec<(SegmentTable, Vec<u64>)> = Vec::new();
        for step in 0..60_000u64 {
            let hash = hash(&mut random);
            let payload = hash | 1;
            let key = payload & PAYLOAD_MASK;
            let place = Place::of(hash);
            let growing = (step / 10_000) % 2 == 0;
            if random.u8(..10) < if growing { 7 } else { 2 } {
                assert_eq!(table.insert(place, key, |found| found == key), model.insert(hash, key));
            } else {
                assert_eq!(table.remove(place, |found| found == key), model.remove(&hash));
            }
            assert_eq!(table.find(place, |found| found == key), model.get(&hash).copied());
            if step % 7_000 == 0 {
                clones.push((table.clone(), contents(&table)));
            }
        }
        let mut expected: Vec<u64> = model.into_values().collect();
        expected.sort_unstable();
        assert_eq!(contents(&table), expected);
        for (clone, before) in clones {
            assert_eq!(contents(&clone), before);
        }
    }

    #[test]
    fn samples_are_of_all_payloads_and_never_the_same_twice() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut table = SegmentTable::default();
        table.sample(&mut random, 5, &mut |_| panic!("there is nothing"));
        let hash = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for n in 1..=300u64 {
            table.insert(Place::of(hash(n)), n, |found| found == n);
        }
        let mut counts = vec![0; 301];
        for _ in 0..6_000 {
            let mut seen = Vec::new();
            table.sample(&mut random, 5, &mut |payload| seen.push(payload));
            seen.iter().for_each(|&payload| counts[payload as usize] += 1);
            assert!(seen.len() == 5 && (1..5).all(|at| !seen[..at].contains(&seen[at])));
        }
        assert!(counts[1..].iter().all(|&count| count > 0), "all 300 are met in 30,000 samples");
        let mut seen = 0;
        table.sample(&mut random, 1_000, &mut |_| seen += 1);
        assert_eq!(seen, 300);
    }

    #[test]
    fn a_payload_is_found_and_taken_out_by_its_segment() {
        let mut table = SegmentTable::default();
        let place = Place::of(0xDEAD_BEEF_0BAD_CAFE);
        table.insert(place, 7, |_| false);
        table.insert(place, 9, |_| false);
        assert_eq!(table.payloads_of(place.segment()).count(), 2);
        assert!(table.remove_in(place.segment(), 7) && !table.remove_in(place.segment(), 7));
        assert_eq!(table.payloads_of(place.segment()).collect::<Vec<_>>(), [9]);
    }

    #[test]
    fn what_is_prefetched_lies_in_the_table_however_small() {
        let mut table = SegmentTable::default();
        for count in 1..40 {
            let place = Place::of(count << 31);
            table.insert(place, count, |_| false);
            table.prefetch_segment(place);
            table.prefetch_slots(place);
            assert!(table.likely(place).is_some());
        }
    }

    #[test]
    fn a_segment_takes_what_the_allocator_gives_and_no_more() {
        for capacity in MIN_CAPACITY..3_000 {
            let fit = fitting(capacity);
            let len = |capacity| block_size(ARC_HEADER + slot_count(capacity) * 8);
            assert!(fit >= capacity && len(fit) == len(capacity) && len(fit + 1) >= len(fit));
            assert!(len(fit + 2) > len(fit), "{capacity}: {fit} could be larger");
            assert_eq!(capacity_by_len(&empty_segment(capacity)), capacity);
        }
    }

    #[test]
    fn a_scan_returns_all_that_stayed_however_the_table_changes() {
        let mut random = fastrand::Rng::with_seed(2);
        let mut table = SegmentTable::default();
        let spread = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for n in 1..=5_000u64 {
            table.insert(Place::of(spread(n)), n, |found| found == n);
        }
        let mut seen = vec![false; 5_001];
        let mut position = Some(0);
        let mut extra = 10_000;
        while let Some(from) = position {
            position = table.visit_from(from, 10, &mut |payload| {
                if let Some(flag) = seen.get_mut(payload as usize) {
                    *flag = true;
                }
            });
            // Growth without bound would keep the scan going for a million pages.
            for _ in 0..if extra < 100_000 { random.usize(..200) } else { 0 } {
                extra += 1;
                table.insert(Place::of(spread(extra)), extra, |found| found == extra);
            }
        }
        assert!(seen[1..].iter().all(|&flag| flag));
    }
}
