//! Consumer groups: who was given which entry of a stream and has not acknowledged it yet.
//!
//! A pending entry stands twice, in the group's list with all that is known of it and in its consumer's list by id
//! alone. Both lists are private, and every method that touches one keeps the other in step.

use super::StreamId;
use super::ordered::Ordered;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A group of consumers that share the work of a stream.
#[derive(Debug, Clone, Default)]
pub struct Group {
    last_id: StreamId,
    entries_read: Option<u64>,
    pending: Ordered<Delivery>,
    consumers: BTreeMap<Arc<[u8]>, Consumer>,
    /// Consumers by the number that stands for them in `pending`.
    names: BTreeMap<u32, Arc<[u8]>>,
    /// In the order in which they are to be given out again.
    nacked: Vec<Nacked>,
}

/// One member of a group.
#[derive(Debug, Clone)]
pub struct Consumer {
    number: u32,
    seen_ms: i64,
    active_ms: Option<i64>,
    pending: Ordered<()>,
}

/// An entry that was delivered and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending<'a> {
    pub id: StreamId,
    pub consumer: &'a [u8],
    /// When it was last delivered, in milliseconds since 1970.
    pub delivery_ms: i64,
    /// How often it was delivered.
    pub count: u64,
}

/// An entry that a consumer of Redis 8.8 gave back (XNACK): pending in the group, and no consumer's.
///
/// Commands here do not hand them out again; they are kept for the servers that do, until the entry is acknowledged or
/// given to a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nacked {
    pub id: StreamId,
    /// When it was last delivered, in milliseconds since 1970.
    pub delivery_ms: i64,
    /// How often it was delivered.
    pub count: u64,
}

#[derive(Debug, Clone, Copy)]
struct Delivery {
    consumer: u32,
    delivery_ms: i64,
    count: u64,
}

impl Consumer {
    /// When the consumer last tried anything, in milliseconds since 1970.
    pub fn seen_ms(&self) -> i64 {
        self.seen_ms
    }

    /// When the consumer last was given something, in milliseconds since 1970.
    pub fn active_ms(&self) -> Option<i64> {
        self.active_ms
    }

    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// Ids of the entries it was given, from `start` on, in order.
    pub fn pending_ids(&self, start: StreamId) -> impl Iterator<Item = StreamId> {
        self.pending.range_from(start).map(|(id, ())| id)
    }
}

impl Group {
    /// A group that has been given everything up to `last_id`; `entries_read` is how many entries of the stream's
    /// whole life that is, where known.
    pub fn new(last_id: StreamId, entries_read: Option<u64>) -> Self {
        Self { last_id, entries_read, ..Self::default() }
    }

    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    pub fn set_last_id(&mut self, id: StreamId) {
        self.last_id = id;
    }

    pub fn entries_read(&self) -> Option<u64> {
        self.entries_read
    }

    pub fn set_entries_read(&mut self, entries_read: Option<u64>) {
        self.entries_read = entries_read;
    }

    /// Adds a consumer, seen at `seen_ms`, never active; false if the name is taken.
    pub fn create_consumer(&mut self, name: &[u8], seen_ms: i64) -> bool {
        if self.consumers.contains_key(name) {
            return false;
        }
        let number = self.names.last_key_value().map_or(0, |(number, _)| number.wrapping_add(1));
        let number = if self.names.contains_key(&number) { self.free_number() } else { number };
        let name: Arc<[u8]> = name.into();
        self.names.insert(number, Arc::clone(&name));
        self.consumers.insert(name, Consumer { number, seen_ms, active_ms: None, pending: Ordered::default() });
        true
    }

    /// Removes a consumer and what it had pending; returns how many entries that were.
    pub fn delete_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let consumer = self.consumers.remove(name)?;
        self.names.remove(&consumer.number);
        for (id, ()) in consumer.pending.iter() {
            self.pending.remove(id);
        }
        Some(consumer.pending.len())
    }

    pub fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.get(name)
    }

    pub fn consumer_count(&self) -> usize {
        self.consumers.len()
    }

    /// Consumers in the order of their names.
    pub fn consumers(&self) -> impl Iterator<Item = (&[u8], &Consumer)> {
        self.consumers.iter().map(|(name, consumer)| (&name[..], consumer))
    }

    /// Notes that the consumer tried something at `seen_ms`.
    pub fn set_seen(&mut self, name: &[u8], seen_ms: i64) {
        if let Some(consumer) = self.consumers.get_mut(name) {
            consumer.seen_ms = seen_ms;
        }
    }

    /// Notes that the consumer was given something at `active_ms`.
    pub fn set_active(&mut self, name: &[u8], active_ms: Option<i64>) {
        if let Some(consumer) = self.consumers.get_mut(name) {
            consumer.active_ms = active_ms;
        }
    }

    /// Gives the entry to a consumer, taking it from whoever has it. False, and nothing changes, if there is no such
    /// consumer.
    pub fn deliver(&mut self, given: Pending<'_>) -> bool {
        let Some(consumer) = self.consumers.get_mut(given.consumer) else {
            return false;
        };
        consumer.pending.insert(given.id, ());
        self.nacked.retain(|nacked| nacked.id != given.id);
        let number = consumer.number;
        let delivery = Delivery { consumer: number, delivery_ms: given.delivery_ms, count: given.count };
        if let Some(before) = self.pending.insert(given.id, delivery)
            && before.consumer != number
        {
            self.drop_from_consumer(before.consumer, given.id);
        }
        true
    }

    /// Removes the entry from the pending lists; false if it was not pending.
    pub fn ack(&mut self, id: StreamId) -> bool {
        let Some(delivery) = self.pending.remove(id) else {
            let before = self.nacked.len();
            self.nacked.retain(|nacked| nacked.id != id);
            return self.nacked.len() < before;
        };
        self.drop_from_consumer(delivery.consumer, id);
        true
    }

    /// Entries that were given back, in the order in which they are to be given out again.
    pub fn nacked(&self) -> &[Nacked] {
        &self.nacked
    }

    /// Adds an entry that was given back, behind the others.
    pub fn push_nacked(&mut self, nacked: Nacked) {
        self.nacked.push(nacked);
    }

    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The pending entry of that id.
    pub fn pending(&self, id: StreamId) -> Option<Pending<'_>> {
        self.pending.get(id).map(|delivery| self.show(id, delivery))
    }

    /// All pending entries with ids from `start` on, in order.
    pub fn pending_from(&self, start: StreamId) -> impl Iterator<Item = Pending<'_>> {
        self.pending.range_from(start).map(|(id, delivery)| self.show(id, delivery))
    }

    /// The smallest and the largest pending id.
    pub fn pending_ends(&self) -> Option<(StreamId, StreamId)> {
        let mut ids = self.pending.iter().map(|(id, _)| id);
        let first = ids.next()?;
        Some((first, ids.next_back().unwrap_or(first)))
    }

    /// The pending entries of one consumer with ids from `start` on, in order; none if there is no such consumer.
    pub fn pending_of(&self, name: &[u8], start: StreamId) -> impl Iterator<Item = Pending<'_>> {
        let ids = self.consumers.get(name).into_iter().flat_map(move |consumer| consumer.pending_ids(start));
        ids.filter_map(|id| self.pending(id))
    }

    /// Bytes held, roughly.
    pub fn footprint(&self) -> usize {
        let consumers = self.consumers.iter().map(|(name, consumer)| {
            name.len() + 2 * size_of::<Arc<[u8]>>() + size_of::<Consumer>() + consumer.pending.footprint()
        });
        let nacked = self.nacked.capacity() * size_of::<Nacked>();
        size_of::<Self>() + self.pending.footprint() + nacked + consumers.sum::<usize>()
    }

    fn show(&self, id: StreamId, delivery: &Delivery) -> Pending<'_> {
        let consumer = self.names.get(&delivery.consumer).expect("a pending entry belongs to a consumer of the group");
        Pending { id, consumer, delivery_ms: delivery.delivery_ms, count: delivery.count }
    }

    fn drop_from_consumer(&mut self, number: u32, id: StreamId) {
        let name = self.names.get(&number).expect("a pending entry belongs to a consumer of the group");
        let consumer = self.consumers.get_mut(name).expect("names and consumers are kept in step");
        consumer.pending.remove(id);
    }

    /// A number that no consumer has, once the numbers have reached their end.
    fn free_number(&self) -> u32 {
        (0..u32::MAX)
            .find(|number| !self.names.contains_key(number))
            .expect("four billion consumers do not fit in memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pending entry stands in its consumer's list, and nothing else does.
    fn check(group: &Group) {
        let mut from_consumers: Vec<(StreamId, Vec<u8>)> = group
            .consumers()
            .flat_map(|(name, consumer)| consumer.pending_ids(StreamId::MIN).map(|id| (id, name.to_vec())))
            .collect();
        from_consumers.sort();
        let from_group: Vec<_> =
            group.pending_from(StreamId::MIN).map(|pending| (pending.id, pending.consumer.to_vec())).collect();
        assert_eq!(from_group, from_consumers);
        assert_eq!(group.pending_len(), from_group.len());
    }

    #[test]
    fn both_pending_lists_agree_whatever_happens() {
        let mut rng = fastrand::Rng::with_seed(11);
        let names: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];
        let mut group = Group::new(StreamId::MIN, Some(0));
        let mut before = group.clone();
        for step in 0..5_000 {
            let name = names[rng.usize(0..4)];
            let id = StreamId::new(rng.u64(1..50), 0);
            match rng.u8(0..10) {
                0 => drop(group.create_consumer(name, 1)),
                1 if step % 5 == 0 => drop(group.delete_consumer(name)),
                1..=6 => {
                    let given = Pending { id, consumer: name, delivery_ms: step, count: 1 };
                    assert_eq!(group.deliver(given), group.consumer(name).is_some());
                    if group.consumer(name).is_some() {
                        assert_eq!(group.pending(id), Some(given));
                    }
                }
                7 | 8 => {
                    let had = group.pending(id).is_some();
                    assert_eq!(group.ack(id), had);
                }
                _ => {
                    check(&before);
                    before = group.clone();
                }
            }
            check(&group);
        }
    }

    #[test]
    fn a_deleted_consumer_takes_its_pending_entries_along() {
        let mut group = Group::new(StreamId::MIN, None);
        assert!(group.create_consumer(b"one", 5) && group.create_consumer(b"two", 6));
        assert!(!group.create_consumer(b"one", 7));
        for seq in 0..10 {
            let consumer: &[u8] = if seq % 2 == 0 { b"one" } else { b"two" };
            group.deliver(Pending { id: StreamId::new(1, seq), consumer, delivery_ms: 1, count: 1 });
        }
        assert_eq!(group.pending_ends(), Some((StreamId::new(1, 0), StreamId::new(1, 9))));
        assert_eq!(group.delete_consumer(b"one"), Some(5));
        assert_eq!(group.delete_consumer(b"one"), None);
        assert_eq!(group.pending_len(), 5);
        assert_eq!(group.pending_of(b"two", StreamId::new(1, 4)).count(), 3);
        assert_eq!(group.pending_of(b"one", StreamId::MIN).count(), 0);
        assert_eq!(group.consumer(b"two").map(Consumer::pending_len), Some(5));
        check(&group);
    }
}
