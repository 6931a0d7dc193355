//! Making a value of a stream: of its nodes as they are, or of its entries.

use std::collections::BTreeMap;
use std::io::Read;

use super::walk::{Sink, walk};
use crate::rdb::error::Error;
use crate::rdb::event::{StreamCounters, Visitor};
use crate::rdb::input::Input;
use crate::rdb::kind::Kind;
use crate::value::stream::{
    Counters, Group, Idempotence, IdempotenceCounts, Nacked, Node, Pending, Producer, Retention, StreamId,
};
use crate::value::{Element, Limits, Stream};

/// Decodes a stream.
pub(in crate::rdb::object) fn build<R: Read>(
    input: &mut Input<R>,
    kind: Kind,
    limits: &Limits,
) -> Result<Stream, Error> {
    let start = input.offset();
    let mut builder = StreamBuilder::new(limits);
    walk(input, kind, &mut builder)?;
    builder.finish().map_err(|what| input.damaged_at(start, what))
}

/// A stream in the making; told as a visitor is told, in the order of a file.
pub(in crate::rdb::object) struct StreamBuilder<'a> {
    limits: &'a Limits,
    stream: Stream,
    /// The group being told, and its name.
    group: Option<(Vec<u8>, Group)>,
    /// Pending entries of that group that belong to no consumer yet: time and number of deliveries.
    pending: BTreeMap<StreamId, (i64, u64)>,
    /// The consumer being told.
    consumer: Vec<u8>,
    idempotence: Option<Idempotence>,
    /// The first thing that no stream can hold.
    problem: Option<&'static str>,
}

impl<'a> StreamBuilder<'a> {
    pub(in crate::rdb::object) fn new(limits: &'a Limits) -> Self {
        StreamBuilder {
            limits,
            stream: Stream::new(),
            group: None,
            pending: BTreeMap::new(),
            consumer: Vec::new(),
            idempotence: None,
            problem: None,
        }
    }

    pub(in crate::rdb::object) fn finish(mut self) -> Result<Stream, &'static str> {
        self.end_group();
        // What a server assumes anyway is not worth a version that can say it.
        self.stream.set_idempotence(self.idempotence.filter(|idempotence| !idempotence.is_default()));
        self.problem.map_or(Ok(self.stream), Err)
    }

    /// What of a damaged stream could be held.
    pub(in crate::rdb::object) fn finish_part(mut self) -> Stream {
        self.end_group();
        self.stream.set_idempotence(self.idempotence.filter(|idempotence| !idempotence.is_default()));
        self.stream
    }

    fn require(&mut self, fits: bool, problem: &'static str) {
        if !fits {
            self.problem.get_or_insert(problem);
        }
    }

    fn end_group(&mut self) {
        if let Some((name, group)) = self.group.take() {
            let fresh = self.stream.create_group(&name, group);
            self.require(fresh, "two groups of a stream have the same name");
            self.require(self.pending.is_empty(), "an entry is pending that no consumer was given");
            self.pending.clear();
        }
    }

    fn producers(&mut self) -> &mut Vec<Producer> {
        &mut self.idempotence.get_or_insert_default().producers
    }
}

impl Sink for StreamBuilder<'_> {
    fn node(&mut self, node: Node) {
        if let Err(error) = self.stream.push_node(node) {
            self.problem.get_or_insert(error.what);
        }
    }

    fn visitor(&mut self) -> &mut dyn Visitor {
        self
    }
}

impl Visitor for StreamBuilder<'_> {
    fn stream_entry(&mut self, id: StreamId, fields: &[(Element<'_>, Element<'_>)]) {
        let texts: Vec<_> = fields.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect();
        let fields: Vec<_> = texts.iter().map(|(field, value)| (&field[..], &value[..])).collect();
        let appended = self.stream.append(id, &fields, self.limits).is_ok();
        self.require(appended, "the entries of a stream are not in the order of their ids");
    }

    fn stream_counters(&mut self, counters: &StreamCounters) {
        let StreamCounters { last_id, max_deleted_id, entries_added, .. } = *counters;
        let set = self.stream.set_counters(Counters { last_id, max_deleted_id, entries_added });
        self.require(set.is_ok(), "the last id of a stream is below that of its last entry");
    }

    fn stream_group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {
        self.end_group();
        self.group = Some((name.to_vec(), Group::new(last_id, entries_read)));
    }

    fn stream_pending(&mut self, id: StreamId, delivery_ms: i64, count: u64) {
        let fresh = self.pending.insert(id, (delivery_ms, count)).is_none();
        self.require(fresh, "an entry is pending twice in one group");
    }

    fn stream_consumer(&mut self, name: &[u8], seen_ms: i64, active_ms: Option<i64>) {
        let Some((_, group)) = &mut self.group else { return };
        let fresh = group.create_consumer(name, seen_ms);
        group.set_active(name, active_ms);
        self.consumer = name.to_vec();
        self.require(fresh, "two consumers of a group have the same name");
    }

    fn stream_consumer_pending(&mut self, id: StreamId) {
        let Some((_, group)) = &mut self.group else { return };
        let pending = self.pending.remove(&id);
        let given = pending.is_some_and(|(delivery_ms, count)| {
            group.deliver(Pending { id, consumer: &self.consumer, delivery_ms, count })
        });
        self.require(given, "a consumer was given an entry that is not pending in its group");
    }

    fn stream_nacked(&mut self, id: StreamId) {
        let Some((_, group)) = &mut self.group else { return };
        match self.pending.remove(&id) {
            Some((delivery_ms, count)) => group.push_nacked(Nacked { id, delivery_ms, count }),
            None => self.require(false, "an entry was given back that is not pending in its group"),
        }
    }

    fn stream_idempotence(&mut self, retention: &Retention) {
        self.end_group();
        self.idempotence = Some(Idempotence { retention: *retention, ..Idempotence::default() });
    }

    fn stream_producer(&mut self, name: &[u8]) {
        self.producers().push(Producer { name: name.to_vec(), entries: Vec::new() });
    }

    fn stream_produced(&mut self, idempotent_id: &[u8], id: StreamId) {
        if let Some(producer) = self.producers().last_mut() {
            producer.entries.push((idempotent_id.to_vec(), id));
        }
    }

    fn stream_idempotence_counts(&mut self, counts: &IdempotenceCounts) {
        self.idempotence.get_or_insert_default().counts = *counts;
    }
}
