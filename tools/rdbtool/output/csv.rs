//! `--csv`: a row per key, for spreadsheets and databases (RFC 4180, with a header row).
//!
//! ```text
//! db,key,type,encoding,elements,bytes,expire_at_ms,idle_seconds,frequency,value,field_expire_at_ms
//! ```
//!
//! Elements are entries, members, fields or items, and 1 for a string; bytes are those in the file. The key is text by
//! the rule of `ironkeep::cli::json` (`base64:` where it is not UTF-8), the value and the expiries of fields are the JSON
//! that `--json` has, so that nothing is lost. What the file does not say is an empty cell. What is no key has no row.

use super::Format;
use super::stream::Streams;
use super::value::Values;
use crate::opened::FileReader;
use ironkeep::cli::format::Spool;
use ironkeep::cli::format::sink::{Sink, write_json};
use ironkeep::cli::json;
use ironkeep::rdb::{self, KeyHeader, Visitor};
use ironkeep::value::stream::StreamId;
use ironkeep::value::{ArrayItem, Element, Module};
use std::io;

const HEADER: &[u8] =
    b"db,key,type,encoding,elements,bytes,expire_at_ms,idle_seconds,frequency,value,field_expire_at_ms\r\n";

/// The writer of rows.
pub struct Csv {
    sink: Sink,
    /// The value's JSON, which waits for the cells in front of it.
    held: Sink<Spool>,
    values: Values,
    streams: Streams,
    key: Option<KeyHeader>,
}

impl Csv {
    pub fn new(sink: Sink) -> Csv {
        Csv {
            sink,
            held: Sink::new(Spool::default()),
            values: Values::default(),
            streams: Streams::default(),
            key: None,
        }
    }

    fn write_cells(&mut self, key: &KeyHeader, end_offset: u64) {
        let mut text = Vec::new();
        write_json(&mut text, Element::Bytes(&key.key));
        let buffer = self.sink.buffer();
        json::write_u64(buffer, key.db);
        buffer.push(b',');
        write_cell(buffer, &unquoted(&text));
        for name in [key.kind.type_name(), key.kind.encoding()] {
            buffer.push(b',');
            buffer.extend_from_slice(name.as_bytes());
        }
        for number in [self.values.elements(), end_offset - key.offset] {
            buffer.push(b',');
            json::write_u64(buffer, number);
        }
        buffer.push(b',');
        if let Some(at_ms) = key.expire_at_ms {
            json::write_i64(buffer, at_ms);
        }
        for number in [key.idle_seconds, key.frequency.map(u64::from)] {
            buffer.push(b',');
            if let Some(number) = number {
                json::write_u64(buffer, number);
            }
        }
    }

    /// Moves what is held to the output as one cell.
    fn write_held(&mut self) {
        self.sink.buffer().extend_from_slice(b",\"");
        let flushed = self.held.finish();
        self.sink.note(flushed);
        let sink = &mut self.sink;
        let drained = self.held.target().drain(|piece| {
            for part in piece.split_inclusive(|&byte| byte == b'"') {
                sink.buffer().extend_from_slice(part);
                if part.ends_with(b"\"") {
                    sink.buffer().push(b'"');
                }
                sink.spill();
            }
        });
        self.sink.note(drained);
        self.sink.buffer().push(b'"');
    }
}

/// The text of a JSON string that stands for a key: escapes undone.
fn unquoted(json: &[u8]) -> Vec<u8> {
    let inner = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains(&b'\\') {
        return inner.to_vec();
    }
    serde_json::from_slice::<String>(json).map_or_else(|_| inner.to_vec(), String::into_bytes)
}

/// Appends a cell, in quotes where it needs them.
fn write_cell(out: &mut Vec<u8>, text: &[u8]) {
    let needs_quotes = text.is_empty() || text.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n'));
    if !needs_quotes {
        return out.extend_from_slice(text);
    }
    out.push(b'"');
    for &byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

impl Format for Csv {
    fn sink(&mut self) -> &mut Sink {
        &mut self.sink
    }

    fn open(&mut self) {
        self.sink.buffer().extend_from_slice(HEADER);
    }

    fn begin_key(&mut self, key: &KeyHeader) {
        self.sink.begin_record();
        self.key = Some(key.clone());
        self.values.begin(&mut self.held, key);
    }

    fn take(&mut self, reader: &mut FileReader) -> Result<(), rdb::Error> {
        reader.value(self)
    }

    fn end_key(&mut self, end_offset: u64) {
        let Some(key) = self.key.take() else { return };
        if key.kind.type_name() == "stream" {
            self.values.count(self.streams.entries());
            self.streams.end(&mut self.held);
        }
        self.values.end(&mut self.held);
        self.write_cells(&key, end_offset);
        self.write_held();
        if self.values.has_field_expiries() {
            self.values.write_field_expiries(&mut self.held);
            self.write_held();
        } else {
            self.sink.buffer().push(b',');
        }
        self.sink.buffer().extend_from_slice(b"\r\n");
        self.sink.spill();
    }

    fn check(&mut self) -> io::Result<()> {
        self.held.check()?;
        self.sink.check()
    }
}

impl Visitor for Csv {
    fn string(&mut self, value: Element<'_>) {
        self.values.string(&mut self.held, value);
    }

    fn list_item(&mut self, item: Element<'_>) {
        self.values.item(&mut self.held, item);
    }

    fn set_member(&mut self, member: Element<'_>) {
        self.values.item(&mut self.held, member);
    }

    fn zset_member(&mut self, member: Element<'_>, score: f64) {
        self.values.member(&mut self.held, member, score);
    }

    fn hash_field(&mut self, field: Element<'_>, value: Element<'_>, expire_at_ms: Option<i64>) {
        self.values.field(&mut self.held, field, value, expire_at_ms);
    }

    super::stream::stream_as_json!(held);

    fn array(&mut self, insert_index: Option<u64>) {
        self.values.array(&mut self.held, insert_index);
    }

    fn array_item(&mut self, index: u64, item: ArrayItem<'_>) {
        self.values.array_item(&mut self.held, index, item);
    }

    fn module(&mut self, value: &Module) {
        self.values.module(&mut self.held, value);
    }
}
