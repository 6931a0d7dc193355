//! A stream as JSON, part by part as the file tells it.
//!
//! `{"entries": [{"id", "fields": [[name, value], ...]}], "length", "last_id", "first_id", "max_deleted_id",
//! "entries_added", "groups": [{"name", "last_id", "entries_read", "consumers": [{"name", "seen_time_ms",
//! "active_time_ms", "pending": [{"id", "delivery_time_ms", "delivery_count"}]}], "nacked"?: [...]}], "idempotence"?:
//! {"duration_seconds", "max_entries", "producers": [{"name", "entries": [[idempotent id, id], ...]}], "added",
//! "duplicates"}}`. `entries_read` and `active_time_ms` are null where the stream does not know them; `nacked` is what
//! is pending for nobody. Fields are pairs, since their names may repeat.

use ironkeep::cli::format::Sink;
use ironkeep::cli::format::pending::{Consumer, Delivery, Joined, Pending};
use ironkeep::cli::json;
use ironkeep::rdb::StreamCounters;
use ironkeep::value::Element;
use ironkeep::value::stream::{IdempotenceCounts, Retention, StreamId};
use std::io::Write;

/// A stream in progress.
#[derive(Default)]
pub struct Streams {
    entries: u64,
    groups: u64,
    in_group: bool,
    pending: Pending,
    /// Behind the groups, among the producers.
    in_idempotence: bool,
    producers: u64,
    produced: u64,
}

impl Streams {
    pub fn begin<W: Write>(&mut self, sink: &mut Sink<W>) {
        *self = Streams::default();
        sink.buffer().extend_from_slice(b"{\"entries\":[");
    }

    pub fn entry<W: Write>(&mut self, sink: &mut Sink<W>, id: StreamId, fields: &[(Element<'_>, Element<'_>)]) {
        sink.buffer().extend_from_slice(if self.entries > 0 { b",{\"id\":" } else { b"{\"id\":" });
        self.entries += 1;
        write_id(sink.buffer(), id);
        sink.buffer().extend_from_slice(b",\"fields\":[");
        for (index, &(name, value)) in fields.iter().enumerate() {
            sink.buffer().extend_from_slice(if index > 0 { b",[" } else { b"[" });
            sink.json(name);
            sink.buffer().push(b',');
            sink.json(value);
            sink.buffer().push(b']');
        }
        sink.buffer().extend_from_slice(b"]}");
        sink.spill();
    }

    pub fn counters<W: Write>(&mut self, sink: &mut Sink<W>, counters: &StreamCounters) {
        let buffer = sink.buffer();
        buffer.extend_from_slice(b"],\"length\":");
        json::write_u64(buffer, counters.len);
        let ids = [
            (&b",\"last_id\":"[..], counters.last_id),
            (b",\"first_id\":", counters.first_id),
            (b",\"max_deleted_id\":", counters.max_deleted_id),
        ];
        for (name, id) in ids {
            buffer.extend_from_slice(name);
            write_id(buffer, id);
        }
        buffer.extend_from_slice(b",\"entries_added\":");
        json::write_u64(buffer, counters.entries_added);
        buffer.extend_from_slice(b",\"groups\":[");
    }

    pub fn group<W: Write>(&mut self, sink: &mut Sink<W>, name: &[u8], last_id: StreamId, read: Option<u64>) {
        self.end_group(sink);
        self.in_group = true;
        sink.buffer().extend_from_slice(if self.groups > 0 { b",{\"name\":" } else { b"{\"name\":" });
        self.groups += 1;
        sink.json(name.into());
        let buffer = sink.buffer();
        buffer.extend_from_slice(b",\"last_id\":");
        write_id(buffer, last_id);
        buffer.extend_from_slice(b",\"entries_read\":");
        write_or_null(buffer, read, json::write_u64);
    }

    pub fn pending<W: Write>(&mut self, sink: &mut Sink<W>, delivery: Delivery) {
        let listed = self.pending.list(delivery);
        sink.note(listed);
    }

    pub fn consumer<W: Write>(&mut self, sink: &mut Sink<W>, consumer: Consumer<'_>) {
        let taken = self.pending.consumer(consumer);
        sink.note(taken);
    }

    pub fn given<W: Write>(&mut self, sink: &mut Sink<W>, id: StreamId) {
        let given = self.pending.give(id);
        sink.note(given);
    }

    pub fn given_back<W: Write>(&mut self, sink: &mut Sink<W>, id: StreamId) {
        let given_back = self.pending.give_back(id);
        sink.note(given_back);
    }

    pub fn idempotence<W: Write>(&mut self, sink: &mut Sink<W>, retention: &Retention) {
        self.end_group(sink);
        self.in_idempotence = true;
        let buffer = sink.buffer();
        buffer.extend_from_slice(b"],\"idempotence\":{\"duration_seconds\":");
        json::write_u64(buffer, retention.duration_seconds);
        buffer.extend_from_slice(b",\"max_entries\":");
        json::write_u64(buffer, retention.max_entries);
        buffer.extend_from_slice(b",\"producers\":[");
    }

    pub fn producer<W: Write>(&mut self, sink: &mut Sink<W>, name: &[u8]) {
        sink.buffer().extend_from_slice(if self.producers > 0 { b"]},{\"name\":" } else { b"{\"name\":" });
        (self.producers, self.produced) = (self.producers + 1, 0);
        sink.json(name.into());
        sink.buffer().extend_from_slice(b",\"entries\":[");
    }

    pub fn produced<W: Write>(&mut self, sink: &mut Sink<W>, idempotent_id: &[u8], id: StreamId) {
        sink.buffer().extend_from_slice(if self.produced > 0 { b",[" } else { b"[" });
        self.produced += 1;
        sink.json(idempotent_id.into());
        sink.buffer().push(b',');
        write_id(sink.buffer(), id);
        sink.buffer().push(b']');
        sink.spill();
    }

    pub fn idempotence_counts<W: Write>(&mut self, sink: &mut Sink<W>, counts: &IdempotenceCounts) {
        let buffer = sink.buffer();
        buffer.extend_from_slice(if self.producers > 0 { b"]}],\"added\":" } else { b"],\"added\":" });
        json::write_u64(buffer, counts.added);
        buffer.extend_from_slice(b",\"duplicates\":");
        json::write_u64(buffer, counts.duplicates);
        buffer.push(b'}');
    }

    /// Entries so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Writes the consumers of the group before, if there was one.
    fn end_group<W: Write>(&mut self, sink: &mut Sink<W>) {
        if !std::mem::take(&mut self.in_group) {
            return;
        }
        sink.buffer().extend_from_slice(b",\"consumers\":[");
        let mut place = Place::default();
        let drained = self.pending.drain(|joined| {
            place.write(sink, joined);
            sink.spill();
        });
        sink.note(drained);
        place.close(sink);
        sink.buffer().push(b'}');
    }

    pub fn end<W: Write>(&mut self, sink: &mut Sink<W>) {
        self.end_group(sink);
        sink.buffer().extend_from_slice(if self.in_idempotence { b"}" } else { b"]}" });
    }
}

/// The methods of a visitor that tell a stream to its field `streams`, and through it to the sink that is named.
macro_rules! stream_as_json {
    ($sink:ident) => {
        fn begin(&mut self, kind: ironkeep::rdb::Kind, _count: Option<u64>) {
            if kind.type_name() == "stream" {
                self.streams.begin(&mut self.$sink);
            }
        }
        fn stream_entry(&mut self, id: StreamId, fields: &[(Element<'_>, Element<'_>)]) {
            self.streams.entry(&mut self.$sink, id, fields);
        }
        fn stream_counters(&mut self, counters: &ironkeep::rdb::StreamCounters) {
            self.streams.counters(&mut self.$sink, counters);
        }
        fn stream_group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {
            self.streams.group(&mut self.$sink, name, last_id, entries_read);
        }
        fn stream_pending(&mut self, id: StreamId, delivery_ms: i64, count: u64) {
            self.streams
                .pending(&mut self.$sink, ironkeep::cli::format::pending::Delivery { id, ms: delivery_ms, count });
        }
        fn stream_consumer(&mut self, name: &[u8], seen_ms: i64, active_ms: Option<i64>) {
            self.streams
                .consumer(&mut self.$sink, ironkeep::cli::format::pending::Consumer { name, seen_ms, active_ms });
        }
        fn stream_consumer_pending(&mut self, id: StreamId) {
            self.streams.given(&mut self.$sink, id);
        }
        fn stream_nacked(&mut self, id: StreamId) {
            self.streams.given_back(&mut self.$sink, id);
        }
        fn stream_idempotence(&mut self, retention: &ironkeep::value::stream::Retention) {
            self.streams.idempotence(&mut self.$sink, retention);
        }
        fn stream_producer(&mut self, name: &[u8]) {
            self.streams.producer(&mut self.$sink, name);
        }
        fn stream_produced(&mut self, idempotent_id: &[u8], id: StreamId) {
            self.streams.produced(&mut self.$sink, idempotent_id, id);
        }
        fn stream_idempotence_counts(&mut self, counts: &ironkeep::value::stream::IdempotenceCounts) {
            self.streams.idempotence_counts(&mut self.$sink, counts);
        }
    };
}
pub(super) use stream_as_json;

/// Where in the list of consumers the output stands.
#[derive(Default)]
struct Place {
    in_consumer: bool,
    given_back: bool,
    deliveries: u64,
}

impl Place {
    fn write<W: Write>(&mut self, sink: &mut Sink<W>, joined: Joined<'_>) {
        match joined {
            Joined::Consumer(consumer) => {
                let before: &[u8] = if self.in_consumer { b"]},{\"name\":" } else { b"{\"name\":" };
                (self.in_consumer, self.deliveries) = (true, 0);
                sink.buffer().extend_from_slice(before);
                sink.json(consumer.name.into());
                let buffer = sink.buffer();
                buffer.extend_from_slice(b",\"seen_time_ms\":");
                json::write_i64(buffer, consumer.seen_ms);
                buffer.extend_from_slice(b",\"active_time_ms\":");
                write_or_null(buffer, consumer.active_ms, json::write_i64);
                buffer.extend_from_slice(b",\"pending\":[");
            }
            Joined::Delivery(delivery) => self.delivery(sink.buffer(), delivery),
            Joined::GivenBack(delivery) => {
                if !std::mem::replace(&mut self.given_back, true) {
                    sink.buffer().extend_from_slice(if self.in_consumer { b"]}]" } else { b"]" });
                    sink.buffer().extend_from_slice(b",\"nacked\":[");
                    self.deliveries = 0;
                }
                self.delivery(sink.buffer(), delivery);
            }
        }
    }

    fn delivery(&mut self, buffer: &mut Vec<u8>, delivery: Delivery) {
        buffer.extend_from_slice(if self.deliveries > 0 { b",{\"id\":" } else { b"{\"id\":" });
        self.deliveries += 1;
        write_id(buffer, delivery.id);
        buffer.extend_from_slice(b",\"delivery_time_ms\":");
        json::write_i64(buffer, delivery.ms);
        buffer.extend_from_slice(b",\"delivery_count\":");
        json::write_u64(buffer, delivery.count);
        buffer.push(b'}');
    }

    fn close<W: Write>(self, sink: &mut Sink<W>) {
        let end: &[u8] = if self.in_consumer && !self.given_back { b"]}]" } else { b"]" };
        sink.buffer().extend_from_slice(end);
    }
}

fn write_or_null<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        Some(value) => write(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// An id is digits and a hyphen, which needs no escape.
fn write_id(out: &mut Vec<u8>, id: StreamId) {
    out.push(b'"');
    id.write_to(out);
    out.push(b'"');
}
