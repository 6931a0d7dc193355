//! Which keys have something that expires, and where the next of it is due: an index beside a database's table.
//!
//! ```text
//! slots     a table of its own, of the same entries: only those with an expiry (or, in a second index, hashes with
//!           fields that expire)
//! earliest  per segment of that table, the time before which nothing in it is due
//! ```
//!
//! Looking for what is due reads `earliest`, 128 KB in all, and then the few segments that have anything: never what does
//! not expire. A time in `earliest` may be too early, when what it was for has changed since, and is put right by the
//! next look at its segment; it is never too late. The index takes about ten bytes per key in it and, from the first on,
//! the 128 KB; nothing for keys that are not in it. Eviction draws its samples of `volatile-*` from it too.
//!
//! Snapshots do not see it: they have the expiry from the entries.

use super::entry::Entry;
use crate::cow::segments::{Place, SEGMENTS, SegmentTable};

/// No time: nothing is due in the segment.
const NEVER: i64 = i64::MAX;

/// The index.
#[derive(Default)]
pub(super) struct Expiring {
    slots: SegmentTable,
    count: usize,
    /// Unix ms, per segment; empty until there is anything.
    earliest: Vec<i64>,
}

impl Expiring {
    /// Keys in it.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn slots(&self) -> &SegmentTable {
        &self.slots
    }

    /// About how many bytes it takes.
    pub(super) fn len_of_table(&self) -> u64 {
        let slots = if self.count == 0 { 0 } else { SegmentTable::estimated_len(self.count) };
        slots + size_of_val(self.earliest.as_slice()) as u64 // usize has at most 64 bits
    }

    pub(super) fn into_slots(self) -> SegmentTable {
        self.slots
    }

    /// An entry that is not in it, at the place of its key.
    pub(super) fn insert(&mut self, place: Place, entry: Entry, at_ms: i64) {
        let payload = entry.to_payload();
        let former = self.slots.insert(place, payload, |other| other == payload);
        self.count += usize::from(former.is_none());
        self.note(place, at_ms);
    }

    /// Fetches what [`Expiring::insert`] will look at first.
    pub(super) fn prefetch(&self, place: Place) {
        self.slots.prefetch_segment(place);
    }

    /// Takes out an entry; false if it was not there.
    pub(super) fn remove(&mut self, place: Place, entry: Entry) -> bool {
        let payload = entry.to_payload();
        let removed = self.count > 0 && self.slots.remove(place, |other| other == payload).is_some();
        self.count -= usize::from(removed);
        removed
    }

    /// An entry takes the place of another of the same key; false if that was not there.
    pub(super) fn replace(&mut self, place: Place, former: Entry, entry: Entry, at_ms: i64) -> bool {
        let payload = former.to_payload();
        if self.count == 0 || self.slots.find(place, |other| other == payload).is_none() {
            return false;
        }
        self.slots.insert(place, entry.to_payload(), |other| other == payload);
        self.note(place, at_ms);
        true
    }

    /// Something of an entry at this place is due then.
    pub(super) fn note(&mut self, place: Place, at_ms: i64) {
        if self.earliest.is_empty() {
            self.earliest = vec![NEVER; SEGMENTS];
        }
        let earliest = &mut self.earliest[place.segment()];
        *earliest = (*earliest).min(at_ms);
    }

    /// The first segment from `start` on in which something may be due.
    pub(super) fn next_segment(&self, start: usize, now_ms: i64) -> Option<usize> {
        self.earliest.get(start..)?.iter().position(|&earliest| earliest <= now_ms).map(|at| start + at)
    }

    /// Looks at all entries of a segment. `time_of` says when the next thing of an entry is due, `None` for one that does
    /// not belong here any more; the addresses of those that are due come back.
    pub(super) fn look_at(
        &mut self,
        segment: usize,
        now_ms: i64,
        mut time_of: impl FnMut(Entry) -> Option<i64>,
    ) -> Vec<Entry> {
        let (mut due, mut strangers, mut earliest) = (Vec::new(), Vec::new(), NEVER);
        self.slots.payloads_of(segment).for_each(|payload| Entry::from_payload(payload).prefetch());
        for payload in self.slots.payloads_of(segment) {
            let entry = Entry::from_payload(payload);
            match time_of(entry) {
                None => strangers.push(entry),
                Some(at) => {
                    earliest = earliest.min(at);
                    if at <= now_ms {
                        due.push(entry);
                    }
                }
            }
        }
        if let Some(place) = self.earliest.get_mut(segment) {
            *place = earliest;
        }
        self.forget(segment, &strangers);
        due
    }

    fn forget(&mut self, segment: usize, strangers: &[Entry]) {
        for entry in strangers {
            let removed = self.slots.remove_in(segment, entry.to_payload());
            self.count -= usize::from(removed);
        }
    }
}
