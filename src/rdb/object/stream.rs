//! Streams.
//!
//! ```text
//! 15 STREAM_LISTPACKS, 19 .._2, 21 .._3:
//!
//! n, n x (string of 16 bytes: id of the node, big endian; listpack)
//! length
//! last id                                          an id here is two lengths: ms, seq
//! first id, greatest deleted id, entries added     from 19 on
//! n groups x {
//!   name, last id
//!   entries read (all ones: unknown)               from 19 on
//!   n pending x (16 bytes id, 8 bytes Unix ms, length: deliveries)
//!   n consumers x {
//!     name, 8 bytes Unix ms: seen
//!     8 bytes Unix ms: active (-1: never)          from 21 on
//!     n x 16 bytes id: which of the pending are this consumer's
//!   }
//! }
//! ```
//!
//! What an older type does not say is set as Redis sets it when it loads one: entries added are the length, entries
//! read are estimated from the group's last id, active is seen. The first id is never needed, the entries tell it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::MOST_FEATURES;
use super::skip::each;
use crate::rdb::error::Error;
use crate::rdb::input::Input;
use crate::rdb::kind::Kind;
use crate::rdb::output::Output;
use crate::rdb::version::{Feature, Version};
use crate::value::stream::{Counters, Group, Pending, StreamId};
use crate::value::{Listpack, Stream};

/// What one side calls unknown and the other never.
const NEVER: i64 = -1;

fn has_counters(kind: Kind) -> bool {
    kind != Kind::StreamListpacks
}

fn has_active_time(kind: Kind) -> bool {
    kind == Kind::StreamListpacks3
}

pub(super) fn read<R: Read>(input: &mut Input<R>, kind: Kind) -> Result<Stream, Error> {
    let mut stream = Stream::new();
    input.part = "a stream node";
    for _ in 0..input.length()? {
        read_node(input, &mut stream)?;
    }
    input.part = "the counters of the stream";
    let offset = input.offset();
    let length = input.length()?;
    if length > 0 && stream.is_empty() {
        return Err(input.damaged_at(offset, "a stream counts entries but holds none"));
    }
    let mut counters = Counters { last_id: read_id(input)?, max_deleted_id: StreamId::MIN, entries_added: length };
    if has_counters(kind) {
        read_id(input)?;
        counters.max_deleted_id = read_id(input)?;
        counters.entries_added = input.length()?;
    }
    let set = stream.set_counters(counters);
    set.map_err(|_| input.damaged_at(offset, "the last id of a stream is below that of its last entry"))?;
    input.part = "a stream group";
    for _ in 0..input.length()? {
        read_group(input, kind, &mut stream)?;
    }
    Ok(stream)
}

fn read_node<R: Read>(input: &mut Input<R>, stream: &mut Stream) -> Result<(), Error> {
    let offset = input.offset();
    let Ok(id) = <[u8; 16]>::try_from(input.blob()?) else {
        return Err(input.damaged_at(offset, "the id of a stream node is not 16 bytes long"));
    };
    let pack = Listpack::from_bytes(input.blob()?).map_err(|error| input.damaged_at(offset, error.what))?;
    stream.push_node(StreamId::from_bytes(id), pack).map_err(|error| input.damaged_at(offset, error.what))
}

fn read_id<R: Read>(input: &mut Input<R>) -> Result<StreamId, Error> {
    Ok(StreamId { ms: input.length()?, seq: input.length()? })
}

fn read_raw_id<R: Read>(input: &mut Input<R>) -> Result<StreamId, Error> {
    Ok(StreamId::from_bytes(input.array()?))
}

/// A delivery that waits for its consumer to be read.
struct Delivery {
    ms: i64,
    count: u64,
    given: bool,
}

fn read_group<R: Read>(input: &mut Input<R>, kind: Kind, stream: &mut Stream) -> Result<(), Error> {
    input.part = "a stream group";
    let offset = input.offset();
    let name = input.blob()?;
    let last_id = read_id(input)?;
    let entries_read = match has_counters(kind) {
        true => Some(input.length()?).filter(|read| *read != u64::MAX),
        false => estimate_entries_read(stream, last_id),
    };
    let mut group = Group::new(last_id, entries_read);
    input.part = "the pending entries of a stream group";
    let mut pending = BTreeMap::new();
    for _ in 0..input.length()? {
        let id = read_raw_id(input)?;
        let delivery = Delivery { ms: input.ms()?, count: input.length()?, given: false };
        if pending.insert(id, delivery).is_some() {
            return Err(input.damaged("an entry is pending twice in one group"));
        }
    }
    for _ in 0..input.length()? {
        read_consumer(input, kind, &mut group, &mut pending)?;
    }
    if pending.values().any(|delivery| !delivery.given) {
        return Err(input.damaged_at(offset, "an entry is pending that no consumer was given"));
    }
    if !stream.create_group(&name, group) {
        return Err(input.damaged_at(offset, "two groups of a stream have the same name"));
    }
    Ok(())
}

fn read_consumer<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    group: &mut Group,
    pending: &mut BTreeMap<StreamId, Delivery>,
) -> Result<(), Error> {
    input.part = "a stream consumer";
    let offset = input.offset();
    let name = input.blob()?;
    let seen_ms = input.ms()?;
    let active_ms = if has_active_time(kind) { input.ms()? } else { seen_ms };
    if !group.create_consumer(&name, seen_ms) {
        return Err(input.damaged_at(offset, "two consumers of a group have the same name"));
    }
    group.set_active(&name, Some(active_ms).filter(|ms| *ms != NEVER));
    for _ in 0..input.length()? {
        let id = read_raw_id(input)?;
        let Some(delivery) = pending.get_mut(&id) else {
            return Err(input.damaged("a consumer was given an entry that is not pending in its group"));
        };
        delivery.given = true;
        group.deliver(Pending { id, consumer: &name, delivery_ms: delivery.ms, count: delivery.count });
    }
    Ok(())
}

/// How many entries a group with this last id has read, where that follows from the stream; Redis 7.0 does the same
/// for streams of older files.
fn estimate_entries_read(stream: &Stream, last_id: StreamId) -> Option<u64> {
    estimate(stream, last_id, stream.entries_added(), stream.max_deleted_id())
}

fn estimate(stream: &Stream, last_id: StreamId, added: u64, max_deleted_id: StreamId) -> Option<u64> {
    if added == 0 {
        return Some(0);
    }
    if last_id == stream.last_id() || (stream.is_empty() && last_id < stream.last_id()) {
        return Some(added);
    }
    let missing = added.saturating_sub(stream.len() as u64); // widening
    match last_id.cmp(&stream.first_id()) {
        _ if max_deleted_id >= stream.first_id() => None,
        std::cmp::Ordering::Less => Some(missing),
        std::cmp::Ordering::Equal => Some(missing + 1),
        std::cmp::Ordering::Greater => None,
    }
}

pub(super) fn skip<R: Read>(input: &mut Input<R>, kind: Kind) -> Result<(), Error> {
    each(input, |input| {
        input.pass_string()?;
        input.pass_string()
    })?;
    // The length and the last id; the first id, the greatest deleted id and the entries added.
    for _ in 0..if has_counters(kind) { 8 } else { 3 } {
        input.length()?;
    }
    each(input, |input| {
        input.pass_string()?;
        for _ in 0..if has_counters(kind) { 3 } else { 2 } {
            input.length()?;
        }
        each(input, |input| {
            input.pass(24)?;
            input.length().map(drop)
        })?;
        each(input, |input| {
            input.pass_string()?;
            input.pass(if has_active_time(kind) { 16 } else { 8 })?;
            each(input, |input| input.pass(16))
        })
    })
}

/// What of a stream not every version holds. Hints are looked for only where `version` would drop them.
pub(super) fn features(stream: &Stream, version: Version) -> [Option<Feature>; MOST_FEATURES] {
    let counters = !version.holds(Feature::StreamCounters) && has_own_counters(stream);
    let active = !version.holds(Feature::ActiveTime) && has_own_active_time(stream);
    [Some(Feature::Stream), counters.then_some(Feature::StreamCounters), active.then_some(Feature::ActiveTime)]
}

/// Whether the counters are others than a reader of type 15 sets.
fn has_own_counters(stream: &Stream) -> bool {
    let length = stream.len() as u64; // widening
    stream.entries_added() != length
        || stream.max_deleted_id() != StreamId::MIN
        || stream
            .groups()
            .any(|(_, group)| group.entries_read() != estimate(stream, group.last_id(), length, StreamId::MIN))
}

/// Whether a time of activity is another than a reader of an older type sets.
fn has_own_active_time(stream: &Stream) -> bool {
    let mut consumers = stream.groups().flat_map(|(_, group)| group.consumers());
    consumers.any(|(_, consumer)| consumer.active_ms() != Some(consumer.seen_ms()))
}

pub(super) fn kind_for(version: Version) -> Kind {
    if version.knows(Kind::StreamListpacks3) {
        Kind::StreamListpacks3
    } else if version.knows(Kind::StreamListpacks2) {
        Kind::StreamListpacks2
    } else {
        Kind::StreamListpacks
    }
}

pub(super) fn write<W: Write>(output: &mut Output<W>, stream: &Stream, kind: Kind) -> io::Result<()> {
    output.count(stream.node_count());
    for (id, pack) in stream.nodes() {
        output.blob(&id.to_bytes())?;
        output.blob(pack.as_bytes())?;
    }
    output.count(stream.len());
    write_id(output, stream.last_id());
    if has_counters(kind) {
        write_id(output, stream.first_id());
        write_id(output, stream.max_deleted_id());
        output.length(stream.entries_added());
    }
    output.count(stream.group_count());
    for (name, group) in stream.groups() {
        output.blob(name)?;
        write_id(output, group.last_id());
        if has_counters(kind) {
            output.length(group.entries_read().unwrap_or(u64::MAX));
        }
        output.count(group.pending_len());
        for pending in group.pending_from(StreamId::MIN) {
            output.raw(&pending.id.to_bytes());
            output.raw(&pending.delivery_ms.to_le_bytes());
            output.length(pending.count);
            output.spill()?;
        }
        write_consumers(output, group, kind)?;
    }
    Ok(())
}

fn write_consumers<W: Write>(output: &mut Output<W>, group: &Group, kind: Kind) -> io::Result<()> {
    output.count(group.consumer_count());
    for (name, consumer) in group.consumers() {
        output.blob(name)?;
        output.raw(&consumer.seen_ms().to_le_bytes());
        if has_active_time(kind) {
            output.raw(&consumer.active_ms().unwrap_or(NEVER).to_le_bytes());
        }
        output.count(consumer.pending_len());
        for id in consumer.pending_ids(StreamId::MIN) {
            output.raw(&id.to_bytes());
            output.spill()?;
        }
    }
    Ok(())
}

fn write_id<W: Write>(output: &mut Output<W>, id: StreamId) {
    output.length(id.ms);
    output.length(id.seq);
}
