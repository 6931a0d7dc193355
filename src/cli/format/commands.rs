//! `--resp` and `--restore`: the commands that rebuild the data, as a client sends them and as a log holds them.
//!
//! `--resp` writes what a rewrite of the log writes: SET, and RPUSH, SADD, ZADD, HSET with up to [`BATCH`] elements at a
//! time, HPEXPIREAT for fields, PEXPIREAT for keys, XADD, XSETID, XGROUP and XCLAIM for streams, FUNCTION LOAD, and a
//! SELECT where the database changes. What has no such command, values of modules among it, becomes a RESTORE, as
//! everything does with `--restore`:
//!
//! ```text
//! RESTORE key expiry-or-0 payload REPLACE ABSTTL [IDLETIME seconds | FREQ counter]
//! ```
//!
//! A payload is the value as it stands in the file between its type and the version and checksum behind it. A command
//! tells the length before the bytes, so it waits in a temporary file where it is long. It says the lowest version that
//! knows its type, which most servers take; where a version was chosen that does not know the type, the value is
//! decoded and written anew, and is held in memory meanwhile.

use super::FileReader;
use super::Format;
use super::pending::{Consumer, Delivery, Joined, Missing, Pending};
use super::sink::Sink;
use super::spool::Spool;
use crate::codec::crc64::Crc64;
use crate::codec::number;
use crate::rdb::{self, CopyError, KeyHeader, Kind, Lineage, StreamCounters, Version, Visitor, dump};
use crate::value::stream::{Retention, StreamId};
use crate::value::{Element, Limits, Module};
use std::io::{self, Write};

/// Elements of one command, as in a rewrite of the log.
const BATCH: u64 = 64;
/// Bytes after which a command is sent with fewer.
const BATCH_BYTES: usize = 64 * 1024;
/// Payloads exist since this version.
const FIRST_PAYLOAD: u32 = 6;

/// What the commands do to keys that are there already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Everything by RESTORE.
    pub restore: bool,
    /// A DEL in front of each key, and libraries that replace those of their name.
    pub del: bool,
    /// RESTORE without REPLACE.
    pub keep: bool,
    /// The version that payloads say; by default the lowest that knows the type.
    pub version: Option<Version>,
}

/// The writer of commands.
pub struct Commands {
    sink: Sink,
    style: Style,
    db: Option<u64>,
    key: Option<KeyHeader>,
    batch: Batch,
    payload: Spool,
    pending: Pending,
    missing: Missing,
    /// The group whose consumers are being told.
    group: Option<Vec<u8>>,
    entries: u64,
    lost: Lost,
    failure: Option<anyhow::Error>,
}

/// Elements that wait for their command.
#[derive(Default)]
struct Batch {
    command: &'static str,
    arguments: u64,
    bytes: Vec<u8>,
    elements: u64,
    /// Commands that follow it.
    after: Vec<u8>,
}

/// What commands cannot say.
#[derive(Default)]
struct Lost {
    module_aux: u64,
    given_back: u64,
    missing: u64,
    idempotence: u64,
    metadata: u64,
}

impl Commands {
    pub fn new(sink: Sink, style: Style) -> Commands {
        Commands {
            sink,
            style,
            db: None,
            key: None,
            batch: Batch::default(),
            payload: Spool::default(),
            pending: Pending::default(),
            missing: Missing::default(),
            group: None,
            entries: 0,
            lost: Lost::default(),
            failure: None,
        }
    }

    fn command(&mut self, arguments: &[&[u8]]) {
        write_command(self.sink.buffer(), arguments);
        self.sink.spill();
    }

    /// The key in progress, so that it can be named while the sink is written to.
    fn key(&self) -> Vec<u8> {
        self.key.as_ref().map(|header| header.key.clone()).unwrap_or_default()
    }

    fn element(&mut self, command: &'static str, parts: &[Element<'_>]) {
        self.batch.command = command;
        for part in parts {
            part.with(|text| write_bulk(&mut self.batch.bytes, text));
            self.batch.arguments += 1;
        }
        self.batch.elements += 1;
        if self.batch.elements >= BATCH || self.batch.bytes.len() >= BATCH_BYTES {
            self.send();
        }
    }

    /// Sends the batch.
    fn send(&mut self) {
        if self.batch.elements == 0 {
            return;
        }
        let (Some(header), batch) = (&self.key, &mut self.batch) else { return };
        let buffer = self.sink.buffer();
        write_head(buffer, batch.arguments + 2);
        write_bulk(buffer, batch.command.as_bytes());
        write_bulk(buffer, &header.key);
        self.sink.append(&batch.bytes);
        self.sink.append(&batch.after);
        (batch.arguments, batch.elements) = (0, 0);
        for held in [&mut batch.bytes, &mut batch.after] {
            held.clear();
            held.shrink_to(2 * BATCH_BYTES);
        }
    }

    /// Whether this kind of value comes as a payload.
    fn is_payload(&self, kind: Kind) -> bool {
        self.style.restore || !matches!(kind.type_name(), "string" | "list" | "set" | "zset" | "hash" | "stream")
    }

    /// Takes the value as a payload without its last eight bytes, and gives the checksum that they are.
    fn take_payload(&mut self, reader: &mut FileReader, kind: Kind) -> Result<u64, rdb::Error> {
        let version = self.style.version.map_or(lowest_version(kind), |version| u32::from(version.number()));
        let as_it_stands = is_whole(kind) && self.style.version.is_none_or(|version| version.knows(kind));
        let mut checked = Checked { spool: &mut self.payload, crc: Crc64::new() };
        let taken = if as_it_stands {
            let typed = checked.write_all(&[kind.number()]);
            let copied = match reader.copy_value(&mut checked) {
                Ok(()) => Ok(()),
                Err(CopyError::Read(error)) => return Err(error),
                Err(CopyError::Write(error)) => Err(io::Error::other(error)),
            };
            let ended = checked.write_all(&version.to_le_bytes()[..2]);
            typed.and(copied).and(ended).map_err(anyhow::Error::from)
        } else {
            let version = self.style.version.unwrap_or(Version::Rdb11);
            match reader.object(&Limits::default())? {
                Some(object) => dump::encode(&object, version)
                    .map_err(anyhow::Error::from)
                    .and_then(|payload| Ok(checked.write_all(&payload[..payload.len().saturating_sub(8)])?)),
                None => Ok(()),
            }
        };
        let checksum = checked.crc.value();
        if let Err(error) = taken {
            self.failure.get_or_insert(error.context(format!("key {}", crate::cli::escape::Quoted(&self.key()))));
        }
        Ok(checksum)
    }

    fn write_restore(&mut self, checksum: u64) {
        let Some(header) = &self.key else { return };
        // A time before 1970 is no argument of RESTORE, and 0 is none at all; both are long past.
        let at_ms = header.expire_at_ms.map_or(0, |at_ms| at_ms.max(1));
        let access = match (header.idle_seconds, header.frequency) {
            (Some(seconds), _) => Some((&b"IDLETIME"[..], seconds)),
            (None, Some(counter)) => Some((&b"FREQ"[..], u64::from(counter))),
            (None, None) => None,
        };
        let replaces = !self.style.keep;
        let buffer = self.sink.buffer();
        write_head(buffer, 5 + u64::from(replaces) + if access.is_some() { 2 } else { 0 });
        write_bulk(buffer, b"RESTORE");
        write_bulk(buffer, &header.key);
        Element::Int(at_ms).with(|text| write_bulk(buffer, text));
        let len = self.payload.len() + 8;
        let _ = write!(buffer, "${len}\r\n"); // a Vec takes everything
        self.payload.pour(&mut self.sink);
        let buffer = self.sink.buffer();
        buffer.extend_from_slice(&checksum.to_le_bytes());
        buffer.extend_from_slice(b"\r\n");
        if replaces {
            write_bulk(buffer, b"REPLACE");
        }
        write_bulk(buffer, b"ABSTTL");
        if let Some((word, number)) = access {
            write_bulk(buffer, word);
            write_bulk(buffer, number.to_string().as_bytes());
        }
        self.sink.spill();
    }

    /// Tells the consumers of the group before, if there was one.
    fn end_group(&mut self) {
        let Some(group) = self.group.take() else { return };
        let key = self.key();
        let (sink, lost) = (&mut self.sink, &mut self.lost);
        let mut name = Vec::new();
        let drained = self.pending.drain(|joined| {
            match joined {
                Joined::Consumer(consumer) => {
                    name.clear();
                    name.extend_from_slice(consumer.name);
                    write_command(sink.buffer(), &[b"XGROUP", b"CREATECONSUMER", &key, &group, &name]);
                }
                Joined::Delivery(delivery) => write_claim(sink.buffer(), &key, &group, &name, delivery),
                Joined::GivenBack(_) => lost.given_back += 1,
            }
            sink.spill();
        });
        self.sink.note(drained);
    }
}

/// The lowest version whose servers take a payload of this type.
fn lowest_version(kind: Kind) -> u32 {
    match kind.row().lineage {
        Some(Lineage::Valkey) => kind.row().since,
        _ => kind.row().since.max(FIRST_PAYLOAD),
    }
}

/// Whether the value stands on its own, without a template elsewhere in the file.
fn is_whole(kind: Kind) -> bool {
    !matches!(kind, Kind::HashTemplateListpackRef | Kind::HashTemplateArrayRef)
}

/// Bytes on their way to a spool, and their checksum.
struct Checked<'a> {
    spool: &'a mut Spool,
    crc: Crc64,
}

impl Write for Checked<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.crc.update(bytes);
        self.spool.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_head(out: &mut Vec<u8>, arguments: u64) {
    let _ = write!(out, "*{arguments}\r\n"); // a Vec takes everything
}

fn write_bulk(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'$');
    out.extend_from_slice(itoa::Buffer::new().format(text.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

fn write_command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    write_head(out, arguments.len() as u64); // usize fits
    arguments.iter().for_each(|argument| write_bulk(out, argument));
}

fn write_claim(out: &mut Vec<u8>, key: &[u8], group: &[u8], consumer: &[u8], delivery: Delivery) {
    let [at, count] = [delivery.ms.to_string(), delivery.count.to_string()];
    let id = delivery.id.to_text();
    let claim: [&[u8]; 6] = [b"XCLAIM", key, group, consumer, b"0", &id];
    let options: [&[u8]; 6] = [b"TIME", at.as_bytes(), b"RETRYCOUNT", count.as_bytes(), b"JUSTID", b"FORCE"];
    write_command(out, &[claim, options].concat());
}

impl Format for Commands {
    fn sink(&mut self) -> &mut Sink {
        &mut self.sink
    }

    fn module_aux(&mut self, _id: u64, _raw: &[u8]) {
        self.lost.module_aux += 1;
    }

    fn function(&mut self, code: &[u8]) {
        if self.style.del || (self.style.restore && !self.style.keep) {
            self.command(&[b"FUNCTION", b"LOAD", b"REPLACE", code]);
        } else {
            self.command(&[b"FUNCTION", b"LOAD", code]);
        }
    }

    fn begin_key(&mut self, key: &KeyHeader) {
        if self.db.replace(key.db) != Some(key.db) {
            self.command(&[b"SELECT", key.db.to_string().as_bytes()]);
        }
        self.lost.metadata += u64::from(!key.metadata.is_empty());
        self.sink.begin_record();
        if self.style.del {
            self.command(&[b"DEL", &key.key]);
        }
        self.key = Some(key.clone());
    }

    fn take(&mut self, reader: &mut FileReader) -> Result<(), rdb::Error> {
        let Some(kind) = self.key.as_ref().map(|header| header.kind) else { return Ok(()) };
        if !self.is_payload(kind) {
            return reader.value(self);
        }
        let checksum = self.take_payload(reader, kind)?;
        // A collection without elements, which servers pass over, has none.
        if !self.payload.is_empty() {
            self.write_restore(checksum);
        }
        Ok(())
    }

    fn end_key(&mut self, _end_offset: u64) {
        self.send();
        self.end_group();
        let missing = self.missing.count();
        self.lost.missing += self.sink.note(missing).unwrap_or_default();
        let Some(header) = self.key.take() else { return };
        if let Some(at_ms) = header.expire_at_ms
            && !self.is_payload(header.kind)
        {
            self.command(&[b"PEXPIREAT", &header.key, at_ms.to_string().as_bytes()]);
        }
        self.sink.spill();
    }

    fn failure(&mut self) -> Option<anyhow::Error> {
        self.failure.take()
    }

    fn remarks(&self) -> Vec<String> {
        let counts = [
            (self.lost.module_aux, "pieces of data that modules stored beside the keys have no command"),
            (self.lost.given_back, "pending entries of streams belong to no consumer, which XCLAIM cannot say"),
            (
                self.lost.missing,
                "pending entries were deleted from their streams, and XCLAIM drops such (--restore keeps them)",
            ),
            (self.lost.idempotence, "streams know their producers, which no command can say (--restore can)"),
            (self.lost.metadata, "keys have metadata of modules, which no command can say"),
        ];
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("left out: {count} {what}")).collect()
    }
}

impl Visitor for Commands {
    fn string(&mut self, value: Element<'_>) {
        let key = self.key();
        let buffer = self.sink.buffer();
        write_head(buffer, 3);
        write_bulk(buffer, b"SET");
        write_bulk(buffer, &key);
        value.with(|text| {
            let _ = write!(self.sink.buffer(), "${}\r\n", text.len()); // a Vec takes everything
            self.sink.append(text);
        });
        self.sink.buffer().extend_from_slice(b"\r\n");
        self.sink.spill();
    }

    fn list_item(&mut self, item: Element<'_>) {
        self.element("RPUSH", &[item]);
    }

    fn set_member(&mut self, member: Element<'_>) {
        self.element("SADD", &[member]);
    }

    fn zset_member(&mut self, member: Element<'_>, score: f64) {
        let mut text = Vec::with_capacity(24);
        number::write_f64(&mut text, score);
        self.element("ZADD", &[Element::Bytes(&text), member]);
    }

    fn hash_field(&mut self, field: Element<'_>, value: Element<'_>, expire_at_ms: Option<i64>) {
        if let (Some(at_ms), Some(header)) = (expire_at_ms, &self.key) {
            let at_ms = at_ms.to_string();
            field.with(|field| {
                let command: [&[u8]; 6] = [b"HPEXPIREAT", &header.key, at_ms.as_bytes(), b"FIELDS", b"1", field];
                write_command(&mut self.batch.after, &command);
            });
        }
        self.element("HSET", &[field, value]);
    }

    fn begin(&mut self, _kind: Kind, _count: Option<u64>) {
        self.entries = 0;
    }

    fn stream_entry(&mut self, id: StreamId, fields: &[(Element<'_>, Element<'_>)]) {
        let noted = self.missing.entry(id);
        self.sink.note(noted);
        let Some(header) = &self.key else { return };
        self.entries += 1;
        let buffer = self.sink.buffer();
        write_head(buffer, 3 + 2 * fields.len() as u64); // usize fits
        write_bulk(buffer, b"XADD");
        write_bulk(buffer, &header.key);
        write_bulk(buffer, &id.to_text());
        for (name, value) in fields {
            name.with(|text| write_bulk(buffer, text));
            value.with(|text| write_bulk(buffer, text));
        }
        self.sink.spill();
    }

    fn stream_counters(&mut self, counters: &StreamCounters) {
        let key = self.key();
        if self.entries == 0 {
            // A stream comes into being by an entry only; this one is trimmed at once.
            let id = counters.last_id.max(StreamId::new(0, 1)).to_text();
            self.command(&[b"XADD", &key, b"MAXLEN", b"0", &id, b"x", b"y"]);
        }
        let added = counters.entries_added.to_string();
        let set: [&[u8]; 3] = [b"XSETID", &key, &counters.last_id.to_text()];
        let deleted = counters.max_deleted_id.to_text();
        let past: [&[u8]; 4] = [b"ENTRIESADDED", added.as_bytes(), b"MAXDELETEDID", &deleted];
        self.command(&[&set[..], &past].concat());
    }

    fn stream_group(&mut self, name: &[u8], last_id: StreamId, entries_read: Option<u64>) {
        self.end_group();
        let key = self.key();
        let id = last_id.to_text();
        let create: [&[u8]; 5] = [b"XGROUP", b"CREATE", &key, name, &id];
        match entries_read.map(|read| read.to_string()) {
            Some(read) => self.command(&[&create[..], &[b"ENTRIESREAD", read.as_bytes()]].concat()),
            None => self.command(&create),
        }
        self.group = Some(name.to_vec());
    }

    fn stream_pending(&mut self, id: StreamId, delivery_ms: i64, count: u64) {
        let listed = self.pending.list(Delivery { id, ms: delivery_ms, count }).and_then(|()| self.missing.pending(id));
        self.sink.note(listed);
    }

    fn stream_consumer(&mut self, name: &[u8], seen_ms: i64, active_ms: Option<i64>) {
        let taken = self.pending.consumer(Consumer { name, seen_ms, active_ms });
        self.sink.note(taken);
    }

    fn stream_consumer_pending(&mut self, id: StreamId) {
        let given = self.pending.give(id);
        self.sink.note(given);
    }

    fn stream_nacked(&mut self, id: StreamId) {
        let given_back = self.pending.give_back(id);
        self.sink.note(given_back);
    }

    fn stream_idempotence(&mut self, _retention: &Retention) {
        self.lost.idempotence += 1;
    }

    /// Never told: modules' values come as payloads.
    fn module(&mut self, _value: &Module) {}
}
