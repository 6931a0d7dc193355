//! `aoftool at`: what a key was at a time, and what made it so.
//!
//! Two passes. The first finds the keys whose values may have come into this one: those that stand in one record with it
//! (RENAME, COPY, SUNIONSTORE, ...), with those, and so on. The second replays into an engine only what touches one of
//! them, from the base on, so that memory grows with these keys alone. Where rewrites have replaced files that are still
//! there, these are read too.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::{Item, Log, LogFile, Record};
use ironkeep::cli::escape::{Escaped, Quoted};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::{self, Object};
use ironkeep::cli::utc::Utc;
use ironkeep::command::replay::Replay;
use ironkeep::disk::Disk;
use ironkeep::engine::Engine;
use ironkeep::engine::clock::Clock;
use ironkeep::rdb::Event;
use ironkeep::value::{Limits, Object as Data};

use crate::filter::end_of;
use crate::print::write_words;
use crate::records::{self, Taker};
use crate::shared::replayed;
use crate::timeline::{self, Timeline};
use crate::value::{Asker, Value};
use crate::{compact, report};

/// Databases that a log may use here; one that is not used takes little.
const DATABASES: usize = 1024;
/// Commands that name many keys and carry nothing from one to another.
const SEPARATE: &[&[u8]] = &[b"DEL", b"UNLINK", b"MSET", b"MSETNX"];

/// Show the value of a key at a time, and every record that touched it
///
/// Exits with 1 where the key was not there.
#[derive(clap::Args)]
pub struct Arguments {
    /// The key
    key: String,
    #[command(flatten)]
    place: crate::Place,
    /// The database
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..1024))]
    db: u64,
    /// The time: Unix seconds or milliseconds, or 2026-11-21T08:30:00Z; a whole second includes all of it. Without it, the
    /// end of the log
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    time: Option<Utc>,
    /// Also list the records that touched the key, with time and client where the log tells them
    #[arg(long)]
    history: bool,
    /// The answer as one JSON object (schema aoftool.at/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let located = arguments.place.locate(disk)?;
    let whole = located.log.with_history(&**disk)?;
    if whole.is_some() {
        writeln!(io::stderr(), "{}: looking at what a rewrite has replaced too", located.name)?;
    }
    let log = whole.as_ref().unwrap_or(&located.log);
    let mut related = Related::default();
    let exit = records::walk_log(disk, log, &mut related)?;
    if arguments.time.is_some() && !related.has_times {
        let message = "this log tells no times (see aof-timestamp-enabled): --time can't choose";
        return Err(Failure::error(Exit::Findings, message).context(located.name));
    }
    let mut past = Past {
        arguments,
        wanted: related.of(arguments.key.as_bytes()),
        engine: replayed::empty_engine(DATABASES, Clock::fixed(arguments.time.map_or(0, |time| time.0))),
        replay: Replay::new(),
        touches: Vec::new(),
        failure: None,
        is_over: false,
    };
    past.log(disk, log)?;
    let db = usize::try_from(arguments.db).unwrap_or(usize::MAX); // below 1024
    let value = Asker::new(&mut past.engine).value(db, arguments.key.as_bytes());
    let mut out = Vec::new();
    match arguments.json {
        true => past.write_json(&located.name, value.as_ref(), &mut out),
        false => past.write_text(value.as_ref(), &mut out)?,
    }
    report::print(&out)?;
    Ok(if value.is_none() { Exit::Findings } else { exit })
}

/// Which keys stand in one record with which.
#[derive(Default)]
struct Related {
    /// Key to its number.
    numbers: HashMap<Vec<u8>, usize>,
    /// Number to that of another key of the same group, or to itself.
    parents: Vec<usize>,
    has_times: bool,
}

impl Taker for Related {
    fn item(&mut self, _file: &str, item: &Item<'_>, timeline: &Timeline) -> anyhow::Result<()> {
        self.has_times |= timeline.time_ms.is_some();
        let Item::Record(record) = item else { return Ok(()) };
        if SEPARATE.iter().any(|name| record.is(name)) {
            return Ok(());
        }
        if let [first, others @ ..] = &timeline::keys(record)[..]
            && !others.is_empty()
        {
            let first = self.number(first);
            for other in others {
                let other = self.number(other);
                let (one, two) = (self.root(first), self.root(other));
                self.parents[two] = one;
            }
        }
        Ok(())
    }
}

impl Related {
    fn number(&mut self, key: &[u8]) -> usize {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let number = self.parents.len();
        self.parents.push(number);
        self.numbers.insert(key.to_vec(), number);
        number
    }

    fn root(&mut self, mut number: usize) -> usize {
        while self.parents[number] != number {
            self.parents[number] = self.parents[self.parents[number]];
            number = self.parents[number];
        }
        number
    }

    /// The key with all whose values may have come into it.
    fn of(mut self, key: &[u8]) -> HashSet<Vec<u8>> {
        let mut wanted = HashSet::from([key.to_vec()]);
        let Some(number) = self.numbers.get(key).copied() else { return wanted };
        let root = self.root(number);
        for (other, number) in std::mem::take(&mut self.numbers) {
            if self.root(number) == root {
                wanted.insert(other);
            }
        }
        wanted
    }
}

/// A record that touched the key.
struct Touch {
    file: String,
    offset: u64,
    time_ms: Option<i64>,
    client: Option<timeline::Sender>,
    command: Vec<Vec<u8>>,
}

/// The second pass.
struct Past<'a> {
    arguments: &'a Arguments,
    wanted: HashSet<Vec<u8>>,
    engine: Engine,
    replay: Replay,
    touches: Vec<Touch>,
    /// A record that can't be replayed.
    failure: Option<String>,
    is_over: bool,
}

impl Past<'_> {
    fn log(&mut self, disk: &Arc<dyn Disk>, log: &Log) -> anyhow::Result<()> {
        for file in &log.files {
            self.replay = Replay::new();
            if file.has_rdb {
                self.rdb(&**disk, file)?;
            }
            let alone = Log { files: vec![file.clone()], ..log.clone() };
            records::walk_log(disk, &alone, self)?;
            if let Some(failure) = self.failure.take() {
                return Err(Failure::error(Exit::Unsupported, failure).context(report::name(file)));
            }
            if self.is_over {
                break;
            }
        }
        Ok(())
    }

    /// Takes the wanted keys out of the RDB in front of a file.
    fn rdb(&mut self, disk: &dyn Disk, file: &LogFile) -> anyhow::Result<()> {
        let mut reader = compact::rdb_reader(disk, file)?;
        let name = || report::name(file);
        loop {
            match reader.next().with_context(name)? {
                Event::Aux { name: aux, value } if &aux[..] == b"ctime" => {
                    self.refuse_later(&value).with_context(name)?
                }
                Event::Key(header) if self.wanted.contains(&header.key) => {
                    let object = reader.object(&Limits::default()).with_context(name)?;
                    let db = usize::try_from(header.db).ok().filter(|db| *db < DATABASES);
                    let (Some(object), Some(db)) = (object, db) else { continue };
                    let is_hash = matches!(object, Data::Hash(_));
                    self.engine.keyspace.db(db).insert(&header.key, object, header.expire_at_ms);
                    if is_hash {
                        self.engine.keyspace.db(db).note_field_expiry(&header.key);
                    }
                }
                Event::Key(_) => reader.skip().with_context(name)?,
                Event::End { .. } => return Ok(()),
                _ => {}
            }
        }
    }

    /// A base that was written after the time has forgotten what was then.
    fn refuse_later(&self, ctime: &[u8]) -> anyhow::Result<()> {
        let written = ironkeep::codec::number::parse_i64(ctime).map(|seconds| seconds.saturating_mul(1000));
        let Some((time, written)) = self.arguments.time.zip(written) else { return Ok(()) };
        if written <= end_of(time) {
            return Ok(());
        }
        let message = format!(
            "this base was written at {}, and what was before that is in no file of this log: look at an older copy",
            Utc(written)
        );
        Err(Failure::error(Exit::Findings, message))
    }

    fn note(&mut self, file: &str, record: &Record<'_>, timeline: &Timeline) {
        self.touches.push(Touch {
            file: file.to_owned(),
            offset: record.offset,
            time_ms: timeline.time_ms,
            client: timeline.sender.clone(),
            command: record.arguments.iter().map(|argument| argument.to_vec()).collect(),
        });
    }

    /// Whether the record changed the key itself, or all of its database.
    fn touches_key(&self, record: &Record<'_>, keys: &[&[u8]], timeline: &Timeline) -> bool {
        let is_here = timeline.db == self.arguments.db;
        if keys.contains(&self.arguments.key.as_bytes()) {
            return is_here || record.is(b"MOVE") || record.is(b"COPY");
        }
        record.is(b"FLUSHALL") || record.is(b"SWAPDB") || (record.is(b"FLUSHDB") && is_here)
    }
}

/// What concerns no key by name, but all of them.
fn is_for_all(record: &Record<'_>) -> bool {
    const NAMES: &[&[u8]] = &[b"SELECT", b"MULTI", b"EXEC", b"FLUSHALL", b"FLUSHDB", b"SWAPDB"];
    NAMES.iter().any(|name| record.is(name))
}

impl Taker for Past<'_> {
    fn item(&mut self, file: &str, item: &Item<'_>, timeline: &Timeline) -> anyhow::Result<()> {
        if self.arguments.time.zip(timeline.time_ms).is_some_and(|(time, told)| told > end_of(time)) {
            self.is_over = true;
            return Ok(());
        }
        let Item::Record(record) = item else { return Ok(()) };
        let keys = timeline::keys(record);
        if !is_for_all(record) && !keys.iter().any(|key| self.wanted.contains(*key)) {
            return Ok(());
        }
        if self.arguments.history && self.touches_key(record, &keys, timeline) {
            self.note(file, record, timeline);
        }
        if let Err(error) = self.replay.run(&mut self.engine, &record.arguments) {
            self.failure = Some(format!("offset {}: {error}", record.offset));
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.is_over || self.failure.is_some()
    }
}

impl Past<'_> {
    fn write_text(&self, value: Option<&Value>, out: &mut Vec<u8>) -> io::Result<()> {
        for touch in &self.touches {
            let time = touch.time_ms.map_or_else(|| "-".to_owned(), |time_ms| Utc(time_ms).to_string());
            write!(out, "{time} {}:{}", Escaped(touch.file.as_bytes()), touch.offset)?;
            if let Some(client) = &touch.client {
                write!(out, " (from {}, user {})", Escaped(&client.address), Escaped(&client.user))?;
            }
            let words: Vec<&[u8]> = touch.command.iter().map(Vec::as_slice).collect();
            write_words(out, &words)?;
            writeln!(out)?;
        }
        let when = self.arguments.time.map_or_else(|| "at the end of the log".to_owned(), |time| format!("at {time}"));
        write!(out, "db {} key {} {when}: ", self.arguments.db, Quoted(self.arguments.key.as_bytes()))?;
        let Some(value) = value else { return writeln!(out, "not there") };
        write!(out, "{}", value.type_name)?;
        if let Some(at) = value.expire_at_ms {
            write!(out, ", expires at {}", Utc(at))?;
        }
        writeln!(out)?;
        for element in &value.elements {
            let named = !element.name.is_empty();
            let parts = named.then_some(&element.name).into_iter().chain(&element.content);
            let parts: Vec<String> = parts.map(|part| Quoted(part).to_string()).collect();
            writeln!(out, "  {}", parts.join(" "))?;
        }
        Ok(())
    }

    fn write_json(&self, name: &str, value: Option<&Value>, out: &mut Vec<u8>) {
        let mut object = Object::open(out);
        object.str("schema", "aoftool.at/1").str("log", name);
        object.u64("db", self.arguments.db).bytes("key", self.arguments.key.as_bytes());
        if let Some(time) = self.arguments.time {
            object.i64("time_ms", time.0);
        }
        object.bool("exists", value.is_some());
        if let Some(value) = value {
            object.str("type", &value.type_name);
            if let Some(at) = value.expire_at_ms {
                object.i64("expire_at_ms", at);
            }
            object.array("elements", &value.elements, |out, element| {
                let mut inner = Object::open(out);
                inner.bytes("name", &element.name);
                inner.array("content", &element.content, |out, part| json::write_bytes(out, part));
                inner.close();
            });
        }
        if self.arguments.history {
            object.array("history", &self.touches, |out, touch| touch.write_json(out));
        }
        object.close();
        out.push(b'\n');
    }
}

impl Touch {
    fn write_json(&self, out: &mut Vec<u8>) {
        let mut object = Object::open(out);
        object.bytes("file", self.file.as_bytes()).u64("offset", self.offset);
        if let Some(time_ms) = self.time_ms {
            object.i64("time_ms", time_ms);
        }
        if let Some(client) = &self.client {
            object.bytes("address", &client.address).bytes("user", &client.user);
        }
        object.array("command", &self.command, |out, word| json::write_bytes(out, word));
        object.close();
    }
}
