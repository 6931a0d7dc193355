//! What the consumers of one group have pending, brought together from the two places where a file says it.
//!
//! A group first lists all that is pending, by id with time and count, and then every consumer with the ids that are
//! its own. Either list may be longer than memory should hold, so both are sorted by id, joined, and sorted by consumer:
//!
//! ```text
//! listed = id 16 bytes, delivery time u64 BE, count u64 BE
//! given  = id 16 bytes, consumer u32 BE, place u64 BE
//! joined = consumer u32 BE, 0, seen i64, active flag and i64, name
//!        | consumer u32 BE, 1, place u64 BE, id, delivery time, count
//! ```
//!
//! The place is that among the entries of nobody, which are handed out again in the order of the file; else it is 0.

use crate::disk::{Sorted, Sorter};
use crate::value::stream::StreamId;
use std::io;

/// Bytes in memory, for each of the three sorters.
const IN_MEMORY: usize = 2 << 20;
/// Stands for the entries that are given back to the group and wait for any consumer.
const NOBODY: u32 = u32::MAX;

/// A consumer, as the file tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consumer<'a> {
    pub name: &'a [u8],
    pub seen_ms: i64,
    pub active_ms: Option<i64>,
}

/// A delivery that was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub id: StreamId,
    pub ms: i64,
    pub count: u64,
}

/// What comes out: each consumer followed by its deliveries, in the order of the file, and at the end those that
/// nobody has.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined<'a> {
    Consumer(Consumer<'a>),
    Delivery(Delivery),
    GivenBack(Delivery),
}

/// Takes both lists of a group.
pub struct Pending {
    listed: Sorter,
    given: Sorter,
    joined: Sorter,
    consumers: u32,
    given_back: u64,
}

impl Default for Pending {
    fn default() -> Self {
        let [listed, given, joined] = [(); 3].map(|()| Sorter::new(IN_MEMORY));
        Pending { listed, given, joined, consumers: 0, given_back: 0 }
    }
}

impl Pending {
    /// An entry of the group's own list.
    pub fn list(&mut self, delivery: Delivery) -> io::Result<()> {
        self.listed.push_with(|record| {
            record.extend_from_slice(&delivery.id.to_bytes());
            put_delivery(record, &delivery);
        })
    }

    /// The next consumer, to whom what is given from here on belongs.
    pub fn consumer(&mut self, consumer: Consumer<'_>) -> io::Result<()> {
        let number = self.consumers;
        self.consumers = number.checked_add(1).filter(|&next| next < NOBODY).ok_or(io::ErrorKind::FileTooLarge)?;
        self.joined.push_with(|record| {
            record.extend_from_slice(&number.to_be_bytes());
            record.push(0);
            record.extend_from_slice(&consumer.seen_ms.to_be_bytes());
            record.push(u8::from(consumer.active_ms.is_some()));
            record.extend_from_slice(&consumer.active_ms.unwrap_or_default().to_be_bytes());
            record.extend_from_slice(consumer.name);
        })
    }

    /// An entry that the last consumer has.
    pub fn give(&mut self, id: StreamId) -> io::Result<()> {
        self.give_to(id, self.consumers.checked_sub(1).unwrap_or(NOBODY), 0)
    }

    /// An entry that is pending for nobody.
    pub fn give_back(&mut self, id: StreamId) -> io::Result<()> {
        self.given_back += 1;
        self.give_to(id, NOBODY, self.given_back)
    }

    fn give_to(&mut self, id: StreamId, consumer: u32, place: u64) -> io::Result<()> {
        self.given.push_with(|record| {
            record.extend_from_slice(&id.to_bytes());
            record.extend_from_slice(&consumer.to_be_bytes());
            record.extend_from_slice(&place.to_be_bytes());
        })
    }

    /// Brings the lists together, hands everything to `each`, and is empty for the next group.
    pub fn drain(&mut self, mut each: impl FnMut(Joined<'_>)) -> io::Result<()> {
        let Pending { listed, given, mut joined, .. } = std::mem::take(self);
        join(listed.finish()?, given.finish()?, &mut joined)?;
        let mut sorted = joined.finish()?;
        while let Some(record) = sorted.next()? {
            each(Joined::of(record).ok_or(io::ErrorKind::InvalidData)?);
        }
        Ok(())
    }
}

/// Which of the entries that are pending in a stream are there no more: what was deleted stays pending.
pub struct Missing {
    entries: Sorter,
    pending: Sorter,
}

impl Default for Missing {
    fn default() -> Self {
        let [entries, pending] = [(); 2].map(|()| Sorter::new(IN_MEMORY));
        Missing { entries, pending }
    }
}

impl Missing {
    /// An entry that the stream holds.
    pub fn entry(&mut self, id: StreamId) -> io::Result<()> {
        self.entries.push(&id.to_bytes())
    }

    /// An entry that is pending in one of its groups.
    pub fn pending(&mut self, id: StreamId) -> io::Result<()> {
        self.pending.push(&id.to_bytes())
    }

    /// How many of the pending ones are missing; empty for the next stream.
    pub fn count(&mut self) -> io::Result<u64> {
        let Missing { entries, pending } = std::mem::take(self);
        if pending.is_empty() {
            return Ok(0);
        }
        let (mut entries, mut pending) = (entries.finish()?, pending.finish()?);
        let (mut entry, mut missing) = (entries.next()?.map(<[u8]>::to_vec), 0);
        while let Some(wanted) = pending.next()? {
            while entry.as_deref().is_some_and(|entry| entry < wanted) {
                entry = entries.next()?.map(<[u8]>::to_vec);
            }
            missing += u64::from(entry.as_deref() != Some(wanted));
        }
        Ok(missing)
    }
}

/// For every entry that was given to somebody: when, and how often.
fn join(mut listed: Sorted, mut given: Sorted, joined: &mut Sorter) -> io::Result<()> {
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("a stream group is damaged: {what}"));
    while let Some(given) = given.next()? {
        let Some(listed) = listed.next()? else {
            return Err(broken("a consumer has an entry that is not pending in its group"));
        };
        if given.first_chunk::<16>() != listed.first_chunk::<16>() {
            return Err(broken("what is pending in it and what its consumers have are not the same"));
        }
        joined.push_with(|record| {
            let (consumer, place) = given[16..].split_at(4);
            record.extend_from_slice(consumer);
            record.push(1);
            record.extend_from_slice(place);
            record.extend_from_slice(listed);
        })?;
    }
    match listed.next()? {
        Some(_) => Err(broken("an entry is pending that no consumer was given")),
        None => Ok(()),
    }
}

fn put_delivery(record: &mut Vec<u8>, delivery: &Delivery) {
    record.extend_from_slice(&delivery.ms.to_be_bytes());
    record.extend_from_slice(&delivery.count.to_be_bytes());
}

impl<'a> Joined<'a> {
    fn of(record: &'a [u8]) -> Option<Joined<'a>> {
        let (number, rest) = record.split_first_chunk()?;
        let (tag, rest) = rest.split_first()?;
        if *tag == 0 {
            let (seen, rest) = rest.split_first_chunk()?;
            let (is_active, rest) = rest.split_first()?;
            let (active, name) = rest.split_first_chunk()?;
            let active_ms = (*is_active == 1).then_some(i64::from_be_bytes(*active));
            return Some(Joined::Consumer(Consumer { name, seen_ms: i64::from_be_bytes(*seen), active_ms }));
        }
        let (id, rest) = rest.get(8..)?.split_first_chunk()?;
        let (ms, rest) = rest.split_first_chunk()?;
        let count = u64::from_be_bytes(*rest.first_chunk()?);
        let delivery = Delivery { id: StreamId::from_bytes(*id), ms: i64::from_be_bytes(*ms), count };
        let is_nobodys = u32::from_be_bytes(*number) == NOBODY;
        Some(if is_nobodys { Joined::GivenBack(delivery) } else { Joined::Delivery(delivery) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(number: u64) -> Delivery {
        Delivery { id: StreamId::new(number, 1), ms: -1, count: number }
    }

    #[test]
    fn each_consumer_comes_with_its_own() {
        let mut pending = Pending::default();
        for _ in 0..2 {
            for number in [1, 2, 3, 4, 5] {
                pending.list(delivery(number)).unwrap();
            }
            for (name, active_ms, ids) in [(b"zoe", None, [2, 4]), (b"ann", Some(0), [1, 1])] {
                pending.consumer(Consumer { name, seen_ms: 7, active_ms }).unwrap();
                let ids = if ids[0] == ids[1] { &ids[..1] } else { &ids[..] };
                ids.iter().for_each(|&id| pending.give(delivery(id).id).unwrap());
            }
            pending.give_back(delivery(5).id).unwrap();
            pending.give_back(delivery(3).id).unwrap();
            let mut seen = Vec::new();
            pending.drain(|joined| seen.push(format!("{joined:?}"))).unwrap();
            let wanted = [
                Joined::Consumer(Consumer { name: b"zoe", seen_ms: 7, active_ms: None }),
                Joined::Delivery(delivery(2)),
                Joined::Delivery(delivery(4)),
                Joined::Consumer(Consumer { name: b"ann", seen_ms: 7, active_ms: Some(0) }),
                Joined::Delivery(delivery(1)),
                Joined::GivenBack(delivery(5)),
                Joined::GivenBack(delivery(3)),
            ];
            assert_eq!(seen, wanted.map(|joined| format!("{joined:?}")));
        }
    }

    #[test]
    fn what_is_pending_and_deleted_is_missing() {
        let mut missing = Missing::default();
        for _ in 0..2 {
            [2, 3, 5].iter().for_each(|&number| missing.entry(delivery(number).id).unwrap());
            [1, 2, 5, 2, 4, 9].iter().for_each(|&number| missing.pending(delivery(number).id).unwrap());
            assert_eq!(missing.count().unwrap(), 3);
        }
        assert_eq!(missing.count().unwrap(), 0);
    }

    #[test]
    fn lists_that_contradict_each_other_are_damage() {
        let mut pending = Pending::default();
        pending.list(delivery(1)).unwrap();
        assert!(pending.drain(|_| ()).unwrap_err().to_string().contains("no consumer was given"));
        pending.consumer(Consumer { name: b"a", seen_ms: 0, active_ms: None }).unwrap();
        pending.give(delivery(1).id).unwrap();
        assert!(pending.drain(|_| ()).unwrap_err().to_string().contains("not pending in its group"));
    }
}
