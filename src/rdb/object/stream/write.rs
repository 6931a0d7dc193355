//! Writing a stream, and what of it not every version holds.

use std::io::{self, Write};

use super::walk::estimate_entries_read;
use super::{NEVER, has_active_time, has_counters, has_idempotence, has_nacked};
use crate::rdb::event::StreamCounters;
use crate::rdb::kind::Kind;
use crate::rdb::object::MOST_FEATURES;
use crate::rdb::output::Output;
use crate::rdb::version::{Feature, Version};
use crate::value::Stream;
use crate::value::stream::{Group, Idempotence, Nacked, StreamId};

/// What of a stream not every version holds. Hints are looked for only where `version` would drop them.
pub(in crate::rdb::object) fn features(stream: &Stream, version: Version) -> [Option<Feature>; MOST_FEATURES] {
    let counters = !version.holds(Feature::StreamCounters) && has_own_counters(stream);
    let active = !version.holds(Feature::ActiveTime) && has_own_active_time(stream);
    let producers = stream.idempotence().is_some_and(|idempotence| !idempotence.is_default());
    let unowned = stream.groups().any(|(_, group)| !group.nacked().is_empty());
    [
        Some(Feature::Stream),
        counters.then_some(Feature::StreamCounters),
        active.then_some(Feature::ActiveTime),
        producers.then_some(Feature::StreamProducers),
        unowned.then_some(Feature::StreamUnowned),
    ]
}

/// Whether the counters are others than a reader of type 15 sets.
fn has_own_counters(stream: &Stream) -> bool {
    let len = stream.len() as u64; // widening
    let counters = StreamCounters {
        len,
        first_id: stream.first_id(),
        last_id: stream.last_id(),
        max_deleted_id: StreamId::MIN,
        entries_added: len,
    };
    let mut groups = stream.groups();
    stream.entries_added() != len
        || stream.max_deleted_id() != StreamId::MIN
        || groups.any(|(_, group)| group.entries_read() != estimate_entries_read(&counters, group.last_id()))
}

/// Whether a time of activity is another than a reader of an older type sets.
fn has_own_active_time(stream: &Stream) -> bool {
    let mut consumers = stream.groups().flat_map(|(_, group)| group.consumers());
    consumers.any(|(_, consumer)| consumer.active_ms() != Some(consumer.seen_ms()))
}

pub(in crate::rdb::object) fn kind_for(version: Version) -> Kind {
    let newest_first = [Kind::StreamListpacks5, Kind::StreamListpacks4, Kind::StreamListpacks3, Kind::StreamListpacks2];
    newest_first.into_iter().find(|kind| version.knows(*kind)).unwrap_or(Kind::StreamListpacks)
}

pub(in crate::rdb::object) fn write<W: Write>(output: &mut Output<W>, stream: &Stream, kind: Kind) -> io::Result<()> {
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
        write_pending(output, group, kind)?;
        write_consumers(output, group, kind)?;
        if has_nacked(kind) {
            output.count(group.nacked().len());
            for nacked in group.nacked() {
                output.raw(&nacked.id.to_bytes());
                output.spill()?;
            }
        }
    }
    if has_idempotence(kind) {
        match stream.idempotence() {
            Some(idempotence) => write_idempotence(output, idempotence)?,
            None => write_idempotence(output, &Idempotence::default())?,
        }
    }
    Ok(())
}

/// The pending entries by id, those that were given back among them where the type has them.
fn write_pending<W: Write>(output: &mut Output<W>, group: &Group, kind: Kind) -> io::Result<()> {
    let mut nacked = if has_nacked(kind) { group.nacked().to_vec() } else { Vec::new() };
    nacked.sort_unstable_by_key(|nacked| nacked.id);
    output.count(group.pending_len() + nacked.len());
    let mut nacked = nacked.into_iter().peekable();
    for pending in group.pending_from(StreamId::MIN) {
        while let Some(before) = nacked.next_if(|nacked| nacked.id < pending.id) {
            write_delivery(output, before)?;
        }
        let delivery = Nacked { id: pending.id, delivery_ms: pending.delivery_ms, count: pending.count };
        write_delivery(output, delivery)?;
    }
    nacked.try_for_each(|left| write_delivery(output, left))
}

fn write_delivery<W: Write>(output: &mut Output<W>, delivery: Nacked) -> io::Result<()> {
    output.raw(&delivery.id.to_bytes());
    output.raw(&delivery.delivery_ms.to_le_bytes());
    output.length(delivery.count);
    output.spill()
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

fn write_idempotence<W: Write>(output: &mut Output<W>, idempotence: &Idempotence) -> io::Result<()> {
    output.length(idempotence.retention.duration_seconds);
    output.length(idempotence.retention.max_entries);
    output.count(idempotence.producers.len());
    for producer in &idempotence.producers {
        output.blob(&producer.name)?;
        output.count(producer.entries.len());
        for (idempotent_id, id) in &producer.entries {
            output.blob(idempotent_id)?;
            write_id(output, *id);
        }
    }
    output.length(idempotence.counts.added);
    output.length(idempotence.counts.duplicates);
    Ok(())
}

fn write_id<W: Write>(output: &mut Output<W>, id: StreamId) {
    output.length(id.ms);
    output.length(id.seq);
}
