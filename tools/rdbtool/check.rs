//! `rdbtool check`: whether servers load the file, and what they would find in it.
//!
//! It says what a server says at load: damage, a checksum that does not fit and a key that occurs twice stop it; a
//! collection without elements is skipped. What servers do not notice is a finding too: bytes behind the end. Every
//! value is decoded in full, one at a time.

use crate::Place;
use crate::opened::{self, FileReader, Trailing};
use anyhow::Context;
use ironkeep::cli::escape::Quoted;
use ironkeep::cli::exit::Exit;
use ironkeep::cli::json::Object;
use ironkeep::cli::utc::Utc;
use ironkeep::rdb::{Checksum, Error, Event, Header, KeyHeader, Options};
use ironkeep::value::Limits;
use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};

/// How many places of one kind of finding are listed; all are counted.
const LISTED: usize = 20;

/// Walk the whole file, decode every value and verify the checksum
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The report as one JSON object (schema rdbtool.check/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
}

/// A kind of finding: how often, and where first.
#[derive(Default)]
struct Places {
    count: u64,
    first: Vec<(u64, Vec<u8>, u64)>,
}

impl Places {
    fn add(&mut self, key: &KeyHeader) {
        self.count += 1;
        if self.first.len() < LISTED {
            self.first.push((key.db, key.key.clone(), key.offset));
        }
    }
}

/// What a walk found.
#[derive(Default)]
struct Report {
    header: Option<Header>,
    /// Bytes of the RDB that were understood.
    read: u64,
    keys: u64,
    databases: BTreeSet<u64>,
    expiring: u64,
    expired: u64,
    functions: u64,
    checksum: Option<Checksum>,
    duplicates: Places,
    empty: Places,
    trailing: Option<Trailing>,
    fault: Option<Error>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let input = opened::open(&arguments.place)?;
    let name = input.name.clone();
    let report = Report::of(input).with_context(|| name.clone())?;
    if let Some(error) = &report.fault
        && opened::is_disk_error(error)
    {
        return Err(opened::failure(&name, error));
    }
    let mut out = Vec::new();
    if arguments.json {
        report.write_json(&name, &mut out)
    } else {
        report.write_text(&name, &mut out)?
    }
    io::stdout().write_all(&out).and_then(|()| io::stdout().flush()).context("standard output")?;
    Ok(report.exit())
}

impl Report {
    fn of(input: ironkeep::cli::input::Input) -> io::Result<Report> {
        let mut report = Report::default();
        let mut reader = match opened::reader(input, Options { verify: true }) {
            Ok(reader) => reader,
            Err(error) => return Ok(Report { fault: Some(error), ..report }),
        };
        report.header = Some(reader.header());
        report.fault = report.walk(&mut reader).err();
        report.read = reader.offset();
        if report.fault.is_none() {
            report.trailing = opened::trailing(reader)?;
        }
        Ok(report)
    }

    fn walk(&mut self, reader: &mut FileReader) -> Result<(), Error> {
        let now = Utc::now().0;
        let limits = Limits::default();
        let mut seen = Seen::default();
        loop {
            match reader.next()? {
                Event::Key(key) => {
                    let value = reader.object(&limits)?;
                    self.databases.insert(key.db);
                    self.keys += 1;
                    if let Some(at_ms) = key.expire_at_ms {
                        self.expiring += 1;
                        self.expired += u64::from(at_ms <= now);
                    }
                    if value.is_none() {
                        self.empty.add(&key);
                    } else if !seen.insert(&key) {
                        self.duplicates.add(&key);
                    }
                }
                Event::Function { .. } => self.functions += 1,
                Event::End { checksum } => {
                    self.checksum = Some(checksum);
                    return Ok(());
                }
                Event::Aux { .. }
                | Event::SelectDb(_)
                | Event::ResizeDb { .. }
                | Event::SlotInfo { .. }
                | Event::SlotImport { .. }
                | Event::ModuleAux { .. }
                | Event::Foreign { .. } => {}
            }
        }
    }

    /// Whether a server that knows the version starts with this file.
    fn loads(&self) -> bool {
        self.fault.is_none() && self.duplicates.count == 0
    }

    /// Bytes behind the end that are not the log of a preamble.
    fn garbage(&self) -> Option<&Trailing> {
        self.trailing.as_ref().filter(|trailing| !trailing.is_commands)
    }

    fn exit(&self) -> Exit {
        match &self.fault {
            Some(error) if error.is_unsupported() => Exit::Unsupported,
            Some(_) => Exit::Findings,
            None if self.duplicates.count + self.empty.count > 0 || self.garbage().is_some() => Exit::Findings,
            None => Exit::Fine,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.exit() {
            Exit::Fine => "healthy",
            Exit::Unsupported => "unsupported",
            _ if self.fault.is_some() => "damaged",
            _ => "findings",
        }
    }

    fn checksum_state(&self) -> &'static str {
        match &self.checksum {
            Some(Checksum::Ok) => "correct",
            Some(Checksum::Absent) => "absent",
            Some(Checksum::Disabled) => "disabled",
            Some(Checksum::Mismatch { .. }) => "wrong",
            None => "not reached",
        }
    }
}

/// Which keys were met, as 128 bits each: 16 bytes per key however long it is, and no two keys of one file share them
/// by chance or by intent, since the hash keys are drawn at start.
#[derive(Default)]
struct Seen {
    hashers: [RandomState; 2],
    keys: HashSet<(u64, u64), PassThrough>,
}

/// The pairs are hashes already.
#[derive(Clone, Copy, Default)]
struct PassThrough;

struct FirstHalf(u64);

impl BuildHasher for PassThrough {
    type Hasher = FirstHalf;

    fn build_hasher(&self) -> FirstHalf {
        FirstHalf(0)
    }
}

impl std::hash::Hasher for FirstHalf {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 ^= value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Seen {
    /// Whether the key is new in its database.
    fn insert(&mut self, key: &KeyHeader) -> bool {
        let [first, second] = [0, 1].map(|half: usize| self.hashers[half].hash_one((key.db, key.key.as_slice())));
        self.keys.insert((first, second))
    }
}

impl Report {
    fn write_json(&self, name: &str, out: &mut Vec<u8>) {
        let mut report = Object::open(out);
        report.str("schema", "rdbtool.check/1").str("file", name).str("verdict", self.verdict());
        report.bool("loads", self.loads());
        if let Some(header) = self.header {
            report.str("header", &header.to_string()).u64("version", u64::from(header.version));
        }
        report.u64("bytes", self.read).u64("keys", self.keys).u64("databases", self.databases.len() as u64);
        report.u64("expiring", self.expiring).u64("expired", self.expired).u64("functions", self.functions);
        report.str("checksum", self.checksum_state());
        if let Some(error) = &self.fault {
            let mut fault = Object::open(report.member(b"fault"));
            fault.u64("offset", error.offset()).str("part", error.part());
            if let Some(key) = error.key() {
                fault.bytes("key", key);
            }
            fault.str("what", &error.to_string()).u64("keys_before", self.keys);
            fault.close();
        }
        for (title, places) in [("duplicate_keys", &self.duplicates), ("empty_keys", &self.empty)] {
            let mut list = Object::open(report.member(title.as_bytes()));
            list.u64("count", places.count);
            list.array("first", &places.first, |out, (db, key, offset)| {
                let mut place = Object::open(out);
                place.u64("db", *db).bytes("key", key).u64("offset", *offset);
                place.close();
            });
            list.close();
        }
        if let Some(trailing) = &self.trailing {
            let mut rest = Object::open(report.member(b"trailing"));
            rest.u64("offset", trailing.offset).u64("bytes", trailing.bytes).bool("is_commands", trailing.is_commands);
            rest.close();
        }
        report.close();
        out.push(b'\n');
    }

    fn write_text(&self, name: &str, out: &mut Vec<u8>) -> io::Result<()> {
        match self.header {
            Some(header) => writeln!(out, "{name}: {header}, {} bytes", self.read)?,
            None => writeln!(out, "{name}")?,
        }
        writeln!(
            out,
            "  {} keys in {} databases, {} with an expiry ({} of them past), {} function libraries",
            self.keys,
            self.databases.len(),
            self.expiring,
            self.expired,
            self.functions
        )?;
        writeln!(out, "  checksum: {}", self.checksum_state())?;
        write_places(out, &self.duplicates, "occur twice, servers refuse the file")?;
        write_places(out, &self.empty, "have no elements, servers skip them")?;
        if let Some(trailing) = &self.trailing {
            let what = if trailing.is_commands { "of a command log follow" } else { "of garbage follow" };
            writeln!(out, "  {} bytes {what} the end at offset {}", trailing.bytes, trailing.offset)?;
        }
        match &self.fault {
            None => writeln!(out, "{}", if self.loads() { self.verdict() } else { "damaged: servers refuse it" }),
            Some(error) => {
                writeln!(out, "{}: {error}", self.verdict())?;
                writeln!(out, "  {} keys before it are whole", self.keys)
            }
        }
    }
}

fn write_places(out: &mut Vec<u8>, places: &Places, what: &str) -> io::Result<()> {
    if places.count == 0 {
        return Ok(());
    }
    writeln!(out, "  {} keys {what}:", places.count)?;
    for (db, key, offset) in &places.first {
        writeln!(out, "    db {db} {} at offset {offset}", Quoted(key))?;
    }
    let hidden = places.count - places.first.len() as u64; // a list never longer than the count
    if hidden > 0 {
        writeln!(out, "    and {hidden} more")?;
    }
    Ok(())
}
