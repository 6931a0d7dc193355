//! A stream as JSON, and as one line for people.
//!
//! `{"length", "entries": [{"id", "fields": [[name, value], ...]}], "last_id", "first_id", "max_deleted_id",
//! "entries_added", "groups": [{"name", "last_id", "entries_read", "pending": [{"id", "consumer", "delivery_time_ms",
//! "delivery_count"}], "consumers": [{"name", "seen_time_ms", "active_time_ms", "pending": [{"id", ...}]}]}]}`.
//! `entries_read` and `active_time_ms` are null where the stream does not know them. Fields are pairs, since their
//! names may repeat.

use super::sink::Sink;
use ironkeep::cli::json::{self, Object};
use ironkeep::rdb::{Kind, ObjectBuilder, Visitor};
use ironkeep::value::stream::{Consumer, Group, Pending, StreamId};
use ironkeep::value::{Element, Limits, Stream};
use std::fmt;
use std::sync::LazyLock;

static LIMITS: LazyLock<Limits> = LazyLock::new(Limits::default);

/// A stream that is held until it is complete.
#[derive(Default)]
pub struct Gathered(Option<ObjectBuilder<'static>>);

impl Gathered {
    /// A stream begins.
    pub fn begin(&mut self, kind: Kind) {
        let mut builder = ObjectBuilder::new(&LIMITS);
        builder.begin(kind, None);
        self.0 = Some(builder);
    }

    /// Passes on what belongs to the stream.
    pub fn tell(&mut self, tell: impl FnOnce(&mut ObjectBuilder<'static>)) {
        if let Some(builder) = &mut self.0 {
            tell(builder);
        }
    }

    /// The stream, if one was begun and is whole.
    pub fn take(&mut self) -> Option<Stream> {
        match self.0.take()?.finish() {
            Ok(Some(ironkeep::value::Object::Stream(stream))) => Some(stream),
            _ => None,
        }
    }
}

/// The methods of a visitor that hand everything of a stream to its field `gathered`.
macro_rules! gather_stream {
    () => {
        fn begin(&mut self, kind: ironkeep::rdb::Kind, _count: Option<u64>) {
            if kind.type_name() == "stream" {
                self.gathered.begin(kind);
            }
        }
        fn stream_entry(&mut self, id: StreamId, fields: &[(Element<'_>, Element<'_>)]) {
            self.gathered.tell(|stream| stream.stream_entry(id, fields));
        }
        fn stream_counters(&mut self, counters: &StreamCounters) {
            self.gathered.tell(|stream| stream.stream_counters(counters));
        }
        fn stream_group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {
            self.gathered.tell(|stream| stream.stream_group(name, last_id, entries_read));
        }
        fn stream_pending(&mut self, id: StreamId, delivery_ms: i64, count: u64) {
            self.gathered.tell(|stream| stream.stream_pending(id, delivery_ms, count));
        }
        fn stream_consumer(&mut self, name: &[u8], seen_ms: i64, active_ms: Option<i64>) {
            self.gathered.tell(|stream| stream.stream_consumer(name, seen_ms, active_ms));
        }
        fn stream_consumer_pending(&mut self, id: StreamId) {
            self.gathered.tell(|stream| stream.stream_consumer_pending(id));
        }
    };
}
pub(super) use gather_stream;

/// Writes the stream's object; entries and groups leave the buffer as they are written.
pub fn write(sink: &mut Sink, stream: &Stream) {
    let buffer = sink.buffer();
    buffer.extend_from_slice(b"{\"length\":");
    json::write_u64(buffer, stream.len() as u64);
    buffer.extend_from_slice(b",\"entries\":[");
    for (index, entry) in stream.range(StreamId::MIN, StreamId::MAX).enumerate() {
        let buffer = sink.buffer();
        buffer.extend_from_slice(if index > 0 { b",{\"id\":" } else { b"{\"id\":" });
        write_id(buffer, entry.id);
        buffer.extend_from_slice(b",\"fields\":");
        json::write_array(buffer, entry.fields, |out, (name, value)| {
            json::write_array(out, [name, value], |out, text| write_element(out, &text));
        });
        buffer.push(b'}');
        sink.spill();
    }
    let buffer = sink.buffer();
    buffer.push(b']');
    let ids =
        [("last_id", stream.last_id()), ("first_id", stream.first_id()), ("max_deleted_id", stream.max_deleted_id())];
    for (name, id) in ids {
        buffer.push(b',');
        json::write_str(buffer, name);
        buffer.push(b':');
        write_id(buffer, id);
    }
    buffer.extend_from_slice(b",\"entries_added\":");
    json::write_u64(buffer, stream.entries_added());
    buffer.extend_from_slice(b",\"groups\":[");
    for (index, (name, group)) in stream.groups().enumerate() {
        if index > 0 {
            sink.buffer().push(b',');
        }
        write_group(sink.buffer(), name, group);
        sink.spill();
    }
    sink.buffer().extend_from_slice(b"]}");
}

fn write_group(out: &mut Vec<u8>, name: &[u8], group: &Group) {
    let mut object = Object::open(out);
    object.bytes("name", name);
    write_id(object.member(b"last_id"), group.last_id());
    write_or_null(object.member(b"entries_read"), group.entries_read(), json::write_u64);
    object.array("pending", group.pending_from(StreamId::MIN), |out, pending| write_pending(out, pending, true));
    object.array("consumers", group.consumers(), |out, (name, consumer)| write_consumer(out, group, name, consumer));
    object.close();
}

fn write_consumer(out: &mut Vec<u8>, group: &Group, name: &[u8], consumer: &Consumer) {
    let mut object = Object::open(out);
    object.bytes("name", name).i64("seen_time_ms", consumer.seen_ms());
    write_or_null(object.member(b"active_time_ms"), consumer.active_ms(), json::write_i64);
    let pending = group.pending_of(name, StreamId::MIN);
    object.array("pending", pending, |out, pending| write_pending(out, pending, false));
    object.close();
}

fn write_pending(out: &mut Vec<u8>, pending: Pending<'_>, with_consumer: bool) {
    let mut object = Object::open(out);
    write_id(object.member(b"id"), pending.id);
    if with_consumer {
        object.bytes("consumer", pending.consumer);
    }
    object.i64("delivery_time_ms", pending.delivery_ms).u64("delivery_count", pending.count);
    object.close();
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

fn write_element(out: &mut Vec<u8>, element: &Element<'_>) {
    element.with(|text| json::write_bytes(out, text));
}

/// A stream in a few words.
pub struct Summary<'a>(pub &'a Stream);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} entries, last id {}, {} groups", self.0.len(), self.0.last_id(), self.0.group_count())
    }
}
