//! The JSON records, shared by the formats that differ only in what stands between them.
//!
//! A key is `{"db", "key", "type", "encoding", "expire_at_ms"?, "idle_seconds"? | "frequency"?,
//! "metadata"?, "value", "field_expire_at_ms"?}`; members with a question mark are absent where the file has nothing to say. By type, the
//! value is a string; an array (list, set, in the file's order); an object (hash); an array of [member, score] in the
//! order of the set; an object for a stream (`stream`), for an array (`{"insert_index", "items": [[index, form, value],
//! ...]}`) and for a module's value. What modules attached to a key is `[{"class", "raw"}, ...]`. What is no key is
//! `{"aux": {name: value}}`, `{"module_aux": {"module", "version", "raw"}}`, `{"function": {"engine", "name", "code"}}`,
//! `{"slot_import": {"job", "ranges"}}` or `{"foreign": {"name", "value"}}`. Byte strings and numbers follow
//! `ironkeep::cli::json`. `rdbtool build` reads all of it back.

use super::Format;
use super::stream::Streams;
use super::value::{Values, write_module};
use crate::library::Library;
use crate::opened::FileReader;
use ironkeep::cli::format::Sink;
use ironkeep::cli::json::{self, Object};
use ironkeep::rdb::{self, KeyHeader, KeyMetadata, Visitor};
use ironkeep::value::stream::StreamId;
use ironkeep::value::{ArrayItem, Element, Module};
use std::io;
use std::marker::PhantomData;

/// What stands around the records of a format.
pub trait Framing {
    const OPEN: &'static [u8];
    /// In front of the first record.
    const FIRST: &'static [u8];
    /// In front of every other one.
    const NEXT: &'static [u8];
    /// Behind each.
    const END: &'static [u8];
    const CLOSE: &'static [u8];
}

/// A writer of records.
pub struct Records<F> {
    sink: Sink,
    framing: PhantomData<F>,
    first_record: bool,
    values: Values,
    streams: Streams,
    in_stream: bool,
}

impl<F: Framing> Records<F> {
    pub fn new(sink: Sink) -> Records<F> {
        Records {
            sink,
            framing: PhantomData,
            first_record: true,
            values: Values::default(),
            streams: Streams::default(),
            in_stream: false,
        }
    }

    fn begin_record(&mut self) -> &mut Vec<u8> {
        self.sink.begin_record();
        let buffer = self.sink.buffer();
        buffer.extend_from_slice(if self.first_record { F::FIRST } else { F::NEXT });
        self.first_record = false;
        buffer
    }

    fn end_record(&mut self) {
        self.sink.buffer().extend_from_slice(F::END);
        self.sink.spill();
    }
}

impl<F: Framing> Format for Records<F> {
    fn sink(&mut self) -> &mut Sink {
        &mut self.sink
    }

    fn open(&mut self) {
        self.sink.buffer().extend_from_slice(F::OPEN);
    }

    fn aux(&mut self, name: &[u8], value: &[u8]) {
        let mut record = Object::open(self.begin_record());
        let mut aux = Object::open(record.member(b"aux"));
        json::write_bytes(aux.member(name), value);
        aux.close();
        record.close();
        self.end_record();
    }

    fn module_aux(&mut self, id: u64, raw: &[u8]) {
        let mut record = Object::open(self.begin_record());
        write_module(record.member(b"module_aux"), &Module { id, raw: Default::default() }, raw);
        record.close();
        self.end_record();
    }

    fn function(&mut self, code: &[u8]) {
        let mut record = Object::open(self.begin_record());
        let mut function = Object::open(record.member(b"function"));
        let library = Library::of(code);
        if let Some(engine) = library.engine {
            function.bytes("engine", engine);
        }
        if let Some(name) = library.name {
            function.bytes("name", name);
        }
        function.bytes("code", code);
        function.close();
        record.close();
        self.end_record();
    }

    fn slot_import(&mut self, job: &[u8], ranges: &[(u64, u64)]) {
        let mut record = Object::open(self.begin_record());
        let mut import = Object::open(record.member(b"slot_import"));
        import.bytes("job", job).array("ranges", ranges, |out, (from, to)| {
            json::write_array(out, [*from, *to], json::write_u64);
        });
        import.close();
        record.close();
        self.end_record();
    }

    fn foreign(&mut self, name: &str, value: u64) {
        let mut record = Object::open(self.begin_record());
        let mut foreign = Object::open(record.member(b"foreign"));
        foreign.str("name", name).u64("value", value);
        foreign.close();
        record.close();
        self.end_record();
    }

    fn begin_key(&mut self, key: &KeyHeader) {
        let type_name = key.kind.type_name();
        let buffer = self.begin_record();
        buffer.extend_from_slice(b"{\"db\":");
        json::write_u64(buffer, key.db);
        buffer.extend_from_slice(b",\"key\":");
        json::write_bytes(buffer, &key.key);
        buffer.extend_from_slice(b",\"type\":\"");
        buffer.extend_from_slice(type_name.as_bytes());
        buffer.extend_from_slice(b"\",\"encoding\":\"");
        buffer.extend_from_slice(key.kind.encoding().as_bytes());
        buffer.push(b'"');
        if let Some(at_ms) = key.expire_at_ms {
            buffer.extend_from_slice(b",\"expire_at_ms\":");
            json::write_i64(buffer, at_ms);
        }
        if let Some(seconds) = key.idle_seconds {
            buffer.extend_from_slice(b",\"idle_seconds\":");
            json::write_u64(buffer, seconds);
        }
        if let Some(frequency) = key.frequency {
            buffer.extend_from_slice(b",\"frequency\":");
            json::write_u64(buffer, u64::from(frequency));
        }
        if !key.metadata.is_empty() {
            write_metadata(buffer, &key.metadata);
        }
        buffer.extend_from_slice(b",\"value\":");
        self.in_stream = type_name == "stream";
        self.values.begin(&mut self.sink, key);
    }

    fn take(&mut self, reader: &mut FileReader) -> Result<(), rdb::Error> {
        reader.value(self)
    }

    fn end_key(&mut self, _end_offset: u64) {
        if std::mem::take(&mut self.in_stream) {
            self.streams.end(&mut self.sink);
        }
        self.values.end(&mut self.sink);
        if self.values.has_field_expiries() {
            self.sink.buffer().extend_from_slice(b",\"field_expire_at_ms\":");
            self.values.write_field_expiries(&mut self.sink);
        }
        self.sink.buffer().push(b'}');
        self.end_record();
    }

    fn abandon(&mut self) -> io::Result<()> {
        self.values.abandon();
        self.sink.abandon();
        self.sink.finish()
    }

    fn close(&mut self) -> io::Result<()> {
        self.sink.buffer().extend_from_slice(F::CLOSE);
        self.sink.finish()
    }
}

fn write_metadata(out: &mut Vec<u8>, metadata: &[KeyMetadata]) {
    out.extend_from_slice(b",\"metadata\":");
    json::write_array(out, metadata, |out, metadata| {
        let mut object = Object::open(out);
        json::write_base64(object.member(b"class"), &metadata.class);
        json::write_base64(object.member(b"raw"), &metadata.raw);
        object.close();
    });
}

impl<F: Framing> Visitor for Records<F> {
    fn string(&mut self, value: Element<'_>) {
        self.values.string(&mut self.sink, value);
    }

    fn list_item(&mut self, item: Element<'_>) {
        self.values.item(&mut self.sink, item);
    }

    fn set_member(&mut self, member: Element<'_>) {
        self.values.item(&mut self.sink, member);
    }

    fn zset_member(&mut self, member: Element<'_>, score: f64) {
        self.values.member(&mut self.sink, member, score);
    }

    fn hash_field(&mut self, field: Element<'_>, value: Element<'_>, expire_at_ms: Option<i64>) {
        self.values.field(&mut self.sink, field, value, expire_at_ms);
    }

    super::stream::stream_as_json!(sink);

    fn array(&mut self, insert_index: Option<u64>) {
        self.values.array(&mut self.sink, insert_index);
    }

    fn array_item(&mut self, index: u64, item: ArrayItem<'_>) {
        self.values.array_item(&mut self.sink, index, item);
    }

    fn module(&mut self, value: &Module) {
        self.values.module(&mut self.sink, value);
    }
}
