//! The JSON records, shared by the formats that differ only in what stands between them.
//!
//! A key is `{"db", "key", "type", "encoding", "expire_at_ms"?, "idle_seconds"? | "frequency"?, "value",
//! "field_expire_at_ms"?}`; members with a question mark are absent where the file has nothing to say. By type, the
//! value is a string; an array (list, set, in the file's order); an object (hash); an array of [member, score] in the
//! order of the set; an object for a stream and for a module's value. What is no key is `{"aux": {name: value}}`,
//! `{"module_aux": {"module", "raw"}}` or `{"function": {"engine", "name", "code"}}`. Byte strings and numbers follow
//! `ironkeep::cli::json`.

use super::members::Members;
use super::sink::Sink;
use super::{Format, stream};
use crate::library::Library;
use ironkeep::cli::json::{self, Object};
use ironkeep::rdb::{KeyHeader, StreamCounters, Visitor};
use ironkeep::value::stream::StreamId;
use ironkeep::value::{Element, Module};
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
    first_element: bool,
    shape: Shape,
    members: Members,
    gathered: stream::Gathered,
    /// The inside of `field_expire_at_ms`, which is only known when the hash is over.
    field_expiries: Vec<u8>,
}

/// The brackets of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// String, stream, module: one piece.
    Whole,
    Array,
    Object,
    Scored,
}

impl Shape {
    fn of(type_name: &str) -> Shape {
        match type_name {
            "list" | "set" => Shape::Array,
            "hash" => Shape::Object,
            "zset" => Shape::Scored,
            _ => Shape::Whole,
        }
    }
}

impl<F: Framing> Records<F> {
    pub fn new(sink: Sink) -> Records<F> {
        Records {
            sink,
            framing: PhantomData,
            first_record: true,
            first_element: true,
            shape: Shape::Whole,
            members: Members::default(),
            gathered: stream::Gathered::default(),
            field_expiries: Vec::new(),
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

    /// The buffer, with a comma where this is not the first element of the value.
    #[inline]
    fn next_element(&mut self) -> &mut Vec<u8> {
        let buffer = self.sink.buffer();
        if !self.first_element {
            buffer.push(b',');
        }
        self.first_element = false;
        buffer
    }

    #[inline]
    fn array_item(&mut self, item: Element<'_>) {
        write_element(self.next_element(), item);
        self.sink.spill();
    }

    fn write_members(&mut self) {
        self.members.sort();
        for (index, (member, score)) in self.members.iter().enumerate() {
            let buffer = self.sink.buffer();
            buffer.extend_from_slice(if index > 0 { b",[" } else { b"[" });
            json::write_bytes(buffer, member);
            buffer.push(b',');
            json::write_f64(buffer, score);
            buffer.push(b']');
            self.sink.spill();
        }
        self.members.clear();
    }
}

impl<F: Framing> Format for Records<F> {
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

    fn module_aux(&mut self, module: &str, raw: &[u8]) {
        let mut record = Object::open(self.begin_record());
        let mut aux = Object::open(record.member(b"module_aux"));
        aux.str("module", module);
        json::write_base64(aux.member(b"raw"), raw);
        aux.close();
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

    fn begin_key(&mut self, key: &KeyHeader) {
        let type_name = key.kind.type_name();
        self.shape = Shape::of(type_name);
        self.first_element = true;
        let shape = self.shape;
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
        buffer.extend_from_slice(b",\"value\":");
        match shape {
            Shape::Whole => {}
            Shape::Array | Shape::Scored => buffer.push(b'['),
            Shape::Object => buffer.push(b'{'),
        }
    }

    fn end_key(&mut self) {
        match self.shape {
            Shape::Whole => {}
            Shape::Array => self.sink.buffer().push(b']'),
            Shape::Object => self.sink.buffer().push(b'}'),
            Shape::Scored => {
                self.write_members();
                self.sink.buffer().push(b']');
            }
        }
        if !self.field_expiries.is_empty() {
            let buffer = self.sink.buffer();
            buffer.extend_from_slice(b",\"field_expire_at_ms\":{");
            buffer.append(&mut self.field_expiries);
            buffer.push(b'}');
        }
        self.sink.buffer().push(b'}');
        self.end_record();
    }

    fn abandon(&mut self) -> io::Result<()> {
        self.sink.abandon();
        self.sink.finish()
    }

    fn close(&mut self) -> io::Result<()> {
        self.sink.buffer().extend_from_slice(F::CLOSE);
        self.sink.finish()
    }

    fn check(&mut self) -> io::Result<()> {
        self.sink.check()
    }
}

impl<F: Framing> Visitor for Records<F> {
    fn string(&mut self, value: Element<'_>) {
        write_element(self.sink.buffer(), value);
    }

    fn list_item(&mut self, item: Element<'_>) {
        self.array_item(item);
    }

    fn set_member(&mut self, member: Element<'_>) {
        self.array_item(member);
    }

    fn zset_member(&mut self, member: Element<'_>, score: f64) {
        self.members.push(score, |bytes| member.write_to(bytes));
    }

    fn hash_field(&mut self, field: Element<'_>, value: Element<'_>, expire_at_ms: Option<i64>) {
        if let Some(at_ms) = expire_at_ms {
            if !self.field_expiries.is_empty() {
                self.field_expiries.push(b',');
            }
            write_element(&mut self.field_expiries, field);
            self.field_expiries.push(b':');
            json::write_i64(&mut self.field_expiries, at_ms);
        }
        let buffer = self.next_element();
        write_element(buffer, field);
        buffer.push(b':');
        write_element(buffer, value);
        self.sink.spill();
    }

    stream::gather_stream!();

    fn end(&mut self) {
        if let Some(value) = self.gathered.take() {
            stream::write(&mut self.sink, &value);
        }
    }

    fn module(&mut self, value: &Module) {
        let mut object = Object::open(self.sink.buffer());
        object.str("module", &value.name());
        json::write_base64(object.member(b"raw"), &value.raw);
        object.close();
    }
}

/// Integers are text too, but text that needs no escape.
#[inline]
fn write_element(out: &mut Vec<u8>, element: Element<'_>) {
    match element {
        Element::Bytes(bytes) => json::write_bytes(out, bytes),
        Element::Int(value) => {
            out.push(b'"');
            json::write_i64(out, value);
            out.push(b'"');
        }
    }
}
