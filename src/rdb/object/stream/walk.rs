//! Reading a stream from front to back, with every check that a stream as a value needs.

use std::collections::BTreeSet;
use std::io::Read;

use super::pending::PendingIds;
use super::{NEVER, has_active_time, has_counters, has_idempotence, has_nacked};
use crate::rdb::error::Error;
use crate::rdb::event::{StreamCounters, Visitor};
use crate::rdb::input::Input;
use crate::rdb::kind::Kind;
use crate::value::Listpack;
use crate::value::stream::{IdempotenceCounts, Node, Retention, StreamId};

/// Takes a stream: its nodes whole, all else as a visitor does.
pub(super) trait Sink {
    fn node(&mut self, node: Node);
    fn visitor(&mut self) -> &mut dyn Visitor;
}

/// Takes nodes apart.
struct Entries<'a>(&'a mut dyn Visitor);

impl Sink for Entries<'_> {
    fn node(&mut self, node: Node) {
        if self.0.stream_node(node.live() as u64) {
            return;
        }
        for entry in node.range(StreamId::MIN, StreamId::MAX) {
            self.0.stream_entry(entry.id, &entry.fields);
        }
    }

    fn visitor(&mut self) -> &mut dyn Visitor {
        self.0
    }
}

/// Streams the entries, then what stands behind them.
pub(in crate::rdb::object) fn visit<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    visitor: &mut dyn Visitor,
) -> Result<(), Error> {
    visitor.begin(kind, None);
    walk(input, kind, &mut Entries(visitor))
}

pub(super) fn walk<R: Read>(input: &mut Input<R>, kind: Kind, sink: &mut dyn Sink) -> Result<(), Error> {
    let counters = read_nodes(input, sink).and_then(|found| read_counters(input, kind, found))?;
    sink.visitor().stream_counters(&counters);
    let mut names = BTreeSet::new();
    input.part = "a stream group";
    for _ in 0..input.length()? {
        read_group(input, kind, &counters, &mut names, sink.visitor())?;
    }
    if has_idempotence(kind) {
        read_idempotence(input, sink.visitor())?;
    }
    Ok(())
}

/// What the nodes hold.
#[derive(Default)]
struct Found {
    len: u64,
    first_id: StreamId,
    /// The last living entry's.
    last_id: StreamId,
    /// The last entry's of the last node that holds a living one.
    end: Option<StreamId>,
}

fn read_nodes<R: Read>(input: &mut Input<R>, sink: &mut dyn Sink) -> Result<Found, Error> {
    let mut found = Found::default();
    input.part = "a stream node";
    for _ in 0..input.length()? {
        let offset = input.offset();
        let Some(node) = read_node(input)? else { continue };
        if found.end.is_some_and(|end| node.master() <= end) {
            input.unless_lenient(offset, "a stream node that begins before the end of the one before it")?;
            continue;
        }
        let Some((first, last)) = living_ends(&node) else { continue };
        if found.len == 0 {
            found.first_id = first;
        }
        found.len += node.live() as u64; // widening
        (found.last_id, found.end) = (last, node.last_id());
        sink.node(node);
    }
    Ok(found)
}

/// The ids of the first and the last entry that lives.
fn living_ends(node: &Node) -> Option<(StreamId, StreamId)> {
    let mut living = node.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id);
    let first = living.next()?;
    Some((first, living.next_back().unwrap_or(first)))
}

/// A node; `None` for one that is passed over leniently.
fn read_node<R: Read>(input: &mut Input<R>) -> Result<Option<Node>, Error> {
    let offset = input.offset();
    let (id, pack) = (<[u8; 16]>::try_from(input.blob()?), input.pack()?);
    let Ok(id) = id.map(StreamId::from_bytes) else {
        return input.unless_lenient(offset, "the id of a stream node is not 16 bytes long").map(|()| None);
    };
    if input.lenient {
        return Ok(Node::whole_beginning(id, Listpack::whole_beginning(&pack)));
    }
    let node = Listpack::from_bytes(&pack).and_then(|pack| Node::from_listpack(id, pack));
    node.map(Some).map_err(|error| input.damaged_at(offset, error.what))
}

fn read_counters<R: Read>(input: &mut Input<R>, kind: Kind, found: Found) -> Result<StreamCounters, Error> {
    input.part = "the counters of the stream";
    let offset = input.offset();
    let length = input.length()?;
    if length > 0 && found.len == 0 {
        input.unless_lenient(offset, "a stream counts entries but holds none")?;
    }
    let mut counters = StreamCounters {
        len: found.len,
        first_id: found.first_id,
        last_id: read_id(input)?,
        max_deleted_id: StreamId::MIN,
        entries_added: length,
    };
    if has_counters(kind) {
        read_id(input)?;
        counters.max_deleted_id = read_id(input)?;
        counters.entries_added = input.length()?;
    }
    if counters.last_id < found.last_id {
        input.unless_lenient(offset, "the last id of a stream is below that of its last entry")?;
        counters.last_id = found.last_id;
    }
    Ok(counters)
}

fn read_id<R: Read>(input: &mut Input<R>) -> Result<StreamId, Error> {
    Ok(StreamId { ms: input.length()?, seq: input.length()? })
}

fn read_raw_id<R: Read>(input: &mut Input<R>) -> Result<StreamId, Error> {
    Ok(StreamId::from_bytes(input.array()?))
}

fn read_group<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    counters: &StreamCounters,
    names: &mut BTreeSet<Vec<u8>>,
    visitor: &mut dyn Visitor,
) -> Result<(), Error> {
    input.part = "a stream group";
    let offset = input.offset();
    let name = input.blob()?;
    let last_id = read_id(input)?;
    let entries_read = match has_counters(kind) {
        true => Some(input.length()?).filter(|read| *read != u64::MAX),
        false => estimate_entries_read(counters, last_id),
    };
    visitor.stream_group(&name, last_id, entries_read);
    if !names.insert(name) {
        input.unless_lenient(offset, "two groups of a stream have the same name")?;
    }
    let mut pending = read_pending(input, visitor)?;
    read_consumers(input, kind, &mut pending, visitor)?;
    if has_nacked(kind) {
        input.part = "the entries of a stream group that were given back";
        for _ in 0..input.length()? {
            let id = read_raw_id(input)?;
            match pending.give(id) {
                Some(true) => visitor.stream_nacked(id),
                Some(false) => input.unless_lenient(input.offset(), "an entry was given back that a consumer has")?,
                None => {
                    input.unless_lenient(input.offset(), "an entry was given back that is not pending in its group")?;
                }
            }
        }
    }
    if pending.not_given() > 0 {
        input.unless_lenient(offset, "an entry is pending that no consumer was given")?;
    }
    Ok(())
}

fn read_pending<R: Read>(input: &mut Input<R>, visitor: &mut dyn Visitor) -> Result<PendingIds, Error> {
    input.part = "the pending entries of a stream group";
    let mut pending = PendingIds::default();
    for _ in 0..input.length()? {
        let id = read_raw_id(input)?;
        let (delivery_ms, count) = (input.ms()?, input.length()?);
        if !pending.insert(id) {
            input.unless_lenient(input.offset(), "an entry is pending twice in one group")?;
            continue;
        }
        visitor.stream_pending(id, delivery_ms, count);
    }
    Ok(pending)
}

fn read_consumers<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    pending: &mut PendingIds,
    visitor: &mut dyn Visitor,
) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    input.part = "a stream consumer";
    for _ in 0..input.length()? {
        let offset = input.offset();
        let name = input.blob()?;
        let seen_ms = input.ms()?;
        let active_ms = if has_active_time(kind) { input.ms()? } else { seen_ms };
        visitor.stream_consumer(&name, seen_ms, Some(active_ms).filter(|ms| *ms != NEVER));
        if !names.insert(name) {
            input.unless_lenient(offset, "two consumers of a group have the same name")?;
        }
        for _ in 0..input.length()? {
            let id = read_raw_id(input)?;
            match pending.give(id) {
                Some(true) => visitor.stream_consumer_pending(id),
                Some(false) => {
                    input.unless_lenient(input.offset(), "an entry is pending for two consumers of a group")?;
                }
                None => {
                    let what = "a consumer was given an entry that is not pending in its group";
                    input.unless_lenient(input.offset(), what)?;
                }
            }
        }
    }
    Ok(())
}

fn read_idempotence<R: Read>(input: &mut Input<R>, visitor: &mut dyn Visitor) -> Result<(), Error> {
    input.part = "the producers of a stream";
    let retention = Retention { duration_seconds: input.length()?, max_entries: input.length()? };
    visitor.stream_idempotence(&retention);
    for _ in 0..input.length()? {
        visitor.stream_producer(&input.blob()?);
        for _ in 0..input.length()? {
            let idempotent_id = input.blob()?;
            visitor.stream_produced(&idempotent_id, read_id(input)?);
        }
    }
    let counts = IdempotenceCounts { added: input.length()?, duplicates: input.length()? };
    visitor.stream_idempotence_counts(&counts);
    Ok(())
}

/// How many entries a group with this last id has read, where that follows from the stream; Redis 7.0 does the same
/// for streams of older files.
pub(super) fn estimate_entries_read(counters: &StreamCounters, last_id: StreamId) -> Option<u64> {
    let added = counters.entries_added;
    if added == 0 {
        return Some(0);
    }
    if last_id == counters.last_id || (counters.len == 0 && last_id < counters.last_id) {
        return Some(added);
    }
    let missing = added.saturating_sub(counters.len);
    match last_id.cmp(&counters.first_id) {
        _ if counters.max_deleted_id >= counters.first_id => None,
        std::cmp::Ordering::Less => Some(missing),
        std::cmp::Ordering::Equal => Some(missing + 1),
        std::cmp::Ordering::Greater => None,
    }
}
