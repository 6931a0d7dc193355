//! `rdbtool info`: what the file is, what is in it by count and size, and which servers load it.

use crate::Place;
use crate::fits::Fits;
use crate::library::Library;
use crate::opened::{self, FileReader};
use crate::servers;
use anyhow::Context;
use ironkeep::cli::escape::{Escaped, Quoted};
use ironkeep::cli::exit::Exit;
use ironkeep::cli::json::{self, Object};
use ironkeep::cli::plural::plural;
use ironkeep::cli::utc::Utc;
use ironkeep::rdb::{Checksum, Error, Event, Feature, Header, KeyHeader, Kind, Lineage, Options};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

/// Tell the version, origin, counts and sizes, and which servers load it
///
/// Exit code 1 where the checksum does not fit.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// The report as one JSON object (schema rdbtool.info/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
}

/// Keys of one database and encoding.
#[derive(Clone, Copy, Default)]
struct Count {
    keys: u64,
    expiring: u64,
    expired: u64,
    /// In the file, key and expiry included.
    bytes: u64,
}

impl Count {
    fn add(&mut self, other: &Count) {
        self.keys += other.keys;
        self.expiring += other.expiring;
        self.expired += other.expired;
        self.bytes += other.bytes;
    }
}

/// A key and its place, for the largest one.
struct Largest {
    db: u64,
    key: Vec<u8>,
    type_name: &'static str,
    bytes: u64,
}

/// What a walk gathered.
struct Report {
    header: Header,
    bytes: u64,
    aux: Vec<(Vec<u8>, Vec<u8>)>,
    functions: Vec<Vec<u8>>,
    modules: BTreeSet<String>,
    slot_imports: u64,
    fits: Fits,
    /// By database, then by the number of the kind, which stands for type and encoding.
    counts: BTreeMap<(u64, u8), (Kind, Count)>,
    largest: Option<Largest>,
    checksum: Option<Checksum>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let input = opened::open(&arguments.place)?;
    let name = input.name.clone();
    // A checksum that does not fit is told like everything else here; check judges it.
    let mut reader =
        opened::reader(input, Options { verify: false }).map_err(|error| opened::failure(&name, &error))?;
    let mut report = Report::new(reader.header());
    let fault = report.walk(&mut reader).err();
    report.bytes = reader.offset();
    let mut out = Vec::new();
    if arguments.json {
        report.write_json(&name, &mut out)
    } else {
        report.write_text(&name, &mut out)?
    }
    io::stdout().write_all(&out).and_then(|()| io::stdout().flush()).context("standard output")?;
    match (fault, &report.checksum) {
        (Some(error), _) => Err(opened::failure(&name, &error)),
        (None, Some(Checksum::Mismatch { .. })) if !arguments.place.no_verify => Ok(Exit::Findings),
        (None, _) => Ok(Exit::Fine),
    }
}

impl Report {
    fn new(header: Header) -> Report {
        Report {
            header,
            bytes: 0,
            aux: Vec::new(),
            functions: Vec::new(),
            modules: BTreeSet::new(),
            slot_imports: 0,
            fits: Fits::default(),
            counts: BTreeMap::new(),
            largest: None,
            checksum: None,
        }
    }

    fn walk(&mut self, reader: &mut FileReader) -> Result<(), Error> {
        let now = Utc::now().0;
        loop {
            match reader.next()? {
                Event::Key(key) => {
                    self.fits.key(reader, &key)?;
                    self.count(key, reader.offset(), now);
                }
                Event::Aux { name, value } => self.aux.push((name, value)),
                Event::Function { code } => {
                    self.fits.add(Feature::Function);
                    self.functions.push(code);
                }
                Event::ModuleAux { module, .. } => {
                    self.fits.add(Feature::ModuleAux);
                    self.modules.insert(module);
                }
                Event::SlotImport { .. } => {
                    self.fits.add(Feature::SlotImport);
                    self.slot_imports += 1;
                }
                Event::End { checksum } => {
                    self.checksum = Some(checksum);
                    return Ok(());
                }
                Event::FunctionPreGa { code, .. } => self.functions.push(code),
                Event::SelectDb(_)
                | Event::ResizeDb { .. }
                | Event::SlotInfo { .. }
                | Event::HashTemplate { .. }
                | Event::Update { .. }
                | Event::Foreign { .. } => {}
            }
        }
    }

    fn count(&mut self, key: KeyHeader, end: u64, now: i64) {
        let bytes = end - key.offset;
        let expiring = key.expire_at_ms.is_some();
        let expired = key.expire_at_ms.is_some_and(|at_ms| at_ms <= now);
        let slot = self.counts.entry((key.db, key.kind.number())).or_insert((key.kind, Count::default()));
        slot.1.add(&Count { keys: 1, expiring: u64::from(expiring), expired: u64::from(expired), bytes });
        if self.largest.as_ref().is_none_or(|largest| largest.bytes < bytes) {
            self.largest = Some(Largest { db: key.db, key: key.key, type_name: key.kind.type_name(), bytes });
        }
    }

    fn databases(&self) -> BTreeMap<u64, Count> {
        let mut databases = BTreeMap::<u64, Count>::new();
        for ((db, _), (_, count)) in &self.counts {
            databases.entry(*db).or_default().add(count);
        }
        databases
    }

    fn total(&self) -> Count {
        self.counts.values().fold(Count::default(), |mut total, (_, count)| {
            total.add(count);
            total
        })
    }

    fn checksum_state(&self) -> &'static str {
        self.checksum.as_ref().map_or("not reached", Checksum::state)
    }

    fn lineage(&self) -> &'static str {
        match self.header.lineage {
            Lineage::Redis => "redis",
            Lineage::Valkey => "valkey",
        }
    }
}

impl Report {
    fn write_json(&self, name: &str, out: &mut Vec<u8>) {
        let mut report = Object::open(out);
        report.str("schema", "rdbtool.info/1").str("file", name).str("header", &self.header.to_string());
        report.u64("version", u64::from(self.header.version)).str("lineage", self.lineage()).u64("bytes", self.bytes);
        report.str("checksum", self.checksum_state());
        let mut aux = Object::open(report.member(b"aux"));
        for (name, value) in &self.aux {
            json::write_bytes(aux.member(name), value);
        }
        aux.close();
        report.array("functions", &self.functions, |out, code| {
            let library = Library::of(code);
            let mut function = Object::open(out);
            function.bytes("name", library.name.unwrap_or_default());
            function.bytes("engine", library.engine.unwrap_or_default());
            function.u64("code_bytes", code.len() as u64);
            function.close();
        });
        report.array("module_aux", &self.modules, |out, module| json::write_str(out, module));
        report.u64("slot_imports", self.slot_imports);
        write_count(&mut report, &self.total());
        report.array("databases", self.databases(), |out, (db, count)| {
            let mut database = Object::open(out);
            database.u64("db", db);
            write_count(&mut database, &count);
            database.array("types", self.counts.range((db, 0)..=(db, u8::MAX)), |out, (_, (kind, count))| {
                let mut row = Object::open(out);
                row.str("type", kind.type_name()).str("encoding", kind.encoding()).str("rdb_type", kind.name());
                write_count(&mut row, count);
                row.close();
            });
            database.close();
        });
        if let Some(largest) = &self.largest {
            let mut key = Object::open(report.member(b"largest"));
            key.u64("db", largest.db).bytes("key", &largest.key).str("type", largest.type_name);
            key.u64("bytes", largest.bytes);
            key.close();
        }
        report.array("loaded_by", servers::that_load(self.header), json::write_str);
        report.array("fits_versions", self.fits.versions(), |out, version| json::write_str(out, &version.to_string()));
        report.close();
        out.push(b'\n');
    }

    fn write_text(&self, name: &str, out: &mut Vec<u8>) -> io::Result<()> {
        writeln!(out, "{name}: {}, {} bytes, checksum {}", self.header, self.bytes, self.checksum_state())?;
        for (name, value) in &self.aux {
            writeln!(out, "  {}: {}", Escaped(name), Escaped(value))?;
        }
        for code in &self.functions {
            let library = Library::of(code);
            let [name, engine] = [library.name, library.engine].map(|part| part.unwrap_or(b"?"));
            writeln!(out, "  function library {} ({}), {} bytes", Quoted(name), Escaped(engine), code.len())?;
        }
        for module in &self.modules {
            writeln!(out, "  data of module {}", Escaped(module.as_bytes()))?;
        }
        if self.slot_imports > 0 {
            writeln!(out, "  under way: {}", plural(self.slot_imports, "slot import"))?;
        }
        for (db, count) in self.databases() {
            writeln!(out, "db {db}: {}", Sentence(&count))?;
            for (kind, count) in self.counts.range((db, 0)..=(db, u8::MAX)).map(|(_, row)| row) {
                let (type_name, encoding) = (kind.type_name(), kind.encoding());
                writeln!(out, "  {type_name:<7} {encoding:<11} {}", Sentence(count))?;
            }
        }
        if let Some(largest) = &self.largest {
            let (key, type_name) = (Quoted(&largest.key), largest.type_name);
            writeln!(out, "largest key: db {} {key} ({type_name}), {} bytes", largest.db, largest.bytes)?;
        }
        let servers: Vec<&str> = servers::that_load(self.header).collect();
        writeln!(
            out,
            "loaded by: {}",
            if servers.is_empty() { "none we know".to_owned() } else { servers.join(", ") }
        )?;
        writeln!(out, "all of it fits RDB versions: {}", self.fits.sentence())
    }
}

fn write_count(object: &mut Object<'_>, count: &Count) {
    object.u64("keys", count.keys).u64("expiring", count.expiring).u64("expired", count.expired);
    object.u64("data_bytes", count.bytes);
}

/// A count in words.
struct Sentence<'a>(&'a Count);

impl std::fmt::Display for Sentence<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Count { keys, expiring, expired, bytes } = self.0;
        write!(out, "{}, {bytes} bytes", plural(*keys, "key"))?;
        if *expiring > 0 {
            write!(out, ", {expiring} with an expiry ({expired} of them past)")?;
        }
        Ok(())
    }
}
