//! `aoftool info`: what a log is made of.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::{self, Item, Log, LogFile, Observer, Place, RdbDepth, Report};
use ironkeep::cli::escape::Escaped;
use ironkeep::cli::exit::Exit;
use ironkeep::cli::json::{self, Object};
use ironkeep::cli::locate::Located;
use ironkeep::cli::progress::Progress;
use ironkeep::cli::utc::Utc;
use ironkeep::disk::{self, Disk};

use crate::report;
use crate::timeline::{self, Timeline};

/// A hostile log must not grow the tables of names without end.
const MAX_NAMES: usize = 4096;
/// Lines of a table that are printed for people.
const SHOWN: usize = 20;

/// Show the files of a log, when it was written, its commands, keys and databases, and what a start would do with it
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: crate::Place,
    /// How many databases the server has that is to load the log
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    server_databases: usize,
    /// The report as one JSON object (schema aoftool.info/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
}

#[derive(Default, Clone, Copy)]
struct Tally {
    count: u64,
    bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// Tallies by name, of so many names.
#[derive(Default)]
struct Tallies {
    tallies: BTreeMap<Vec<u8>, Tally>,
    others: Tally,
}

impl Tallies {
    fn add(&mut self, name: &[u8], bytes: u64) {
        let has_room = self.tallies.len() < MAX_NAMES;
        let tally = match self.tallies.get_mut(name) {
            Some(tally) => tally,
            None if has_room => self.tallies.entry(name.to_vec()).or_default(),
            None => &mut self.others,
        };
        tally.add(bytes);
    }

    /// Most frequent first.
    fn ranked(&self) -> Vec<(&[u8], Tally)> {
        let mut ranked: Vec<_> = self.tallies.iter().map(|(name, tally)| (&name[..], *tally)).collect();
        ranked.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.count));
        ranked
    }
}

/// What the records tell.
#[derive(Default)]
struct Contents {
    commands: Tallies,
    /// Commands that name a key, by its beginning up to the first `:`.
    prefixes: Tallies,
    databases: BTreeMap<u64, Tally>,
    server_databases: usize,
    /// The first record that a start refuses though its bytes are right: file, offset, why.
    refused: Option<(usize, u64, String)>,
    timeline: Timeline,
    /// Index of the file that is read.
    file: usize,
    name: Vec<u8>,
}

impl Observer for Contents {
    fn wrap(&mut self, file: &LogFile, open: Box<dyn disk::File>) -> Box<dyn Read> {
        Box::new(Progress::new(open, Some(file.len), &report::name(file)))
    }

    fn item(&mut self, index: usize, item: &Item<'_>, _place: Place) {
        if self.file != index {
            self.file = index;
            self.timeline.begin_file();
        }
        self.timeline.take(item);
        let Some(record) = item.record() else { return };
        if self.refused.is_none()
            && let Some(reason) = report::unplayable(item, self.server_databases)
        {
            self.refused = Some((index, record.offset, reason));
        }
        self.name.clear();
        self.name.extend(record.arguments[0].iter().take(64).map(u8::to_ascii_uppercase));
        self.commands.add(&self.name, record.len());
        if matches!(&self.name[..], b"SELECT" | b"MULTI" | b"EXEC") {
            return;
        }
        self.databases.entry(self.timeline.db).or_default().add(record.len());
        for key in timeline::keys(record) {
            self.prefixes.add(prefix(key), record.len());
        }
    }
}

/// The beginning of a key up to its first `:`, with it; nothing where it has none in its first 64 bytes.
fn prefix(key: &[u8]) -> &[u8] {
    let colon = key.iter().take(64).position(|byte| *byte == b':');
    colon.map_or(&[], |at| &key[..=at])
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let located = arguments.place.locate(disk)?;
    let mut contents = Contents { server_databases: arguments.server_databases, ..Contents::default() };
    let found = aof::check(&**disk, &located.log, RdbDepth::Skip, &mut contents)?;
    let mut out = Vec::new();
    if arguments.json {
        write_json(&located, &found, &contents, &mut out);
    } else {
        write_text(&located, &found, &contents, &mut out).context("report")?;
    }
    report::print(&out)?;
    Ok(match found.verdict() {
        aof::Verdict::Clean => Exit::Fine,
        aof::Verdict::Unsupported { .. } => Exit::Unsupported,
        _ => Exit::Findings,
    })
}

fn write_text(located: &Located, found: &Report, contents: &Contents, out: &mut Vec<u8>) -> std::io::Result<()> {
    let log = &located.log;
    let kind = if log.manifest.is_some() { "multi-part log" } else { "single file" };
    writeln!(out, "{}: {kind}, {} bytes", located.name, log.len())?;
    for (file, seen) in log.files.iter().zip(&found.files) {
        let mut parts = vec![format!("{} bytes", file.len)];
        parts.extend(seen.rdb.as_ref().map(report::rdb_words));
        if seen.records > 0 || seen.rdb.is_none() {
            parts.push(report::plural(seen.records, "command"));
        }
        if seen.transactions > 0 {
            parts.push(format!("{} among them", report::plural(seen.transactions, "transaction")));
        }
        if let Some((first, last)) = seen.times {
            parts.push(format!("written from {} to {}", seconds(first), seconds(last)));
        }
        if seen.seals.has_marks() {
            parts.push(report::seal_words(seen));
        }
        if !seen.verdict.is_clean() {
            parts.push(format!("{}, see aoftool check", report::verdict_word(&seen.verdict)));
        }
        writeln!(out, "  {:<9} {}: {}", report::role_word(file), report::name(file), parts.join(", "))?;
    }
    for name in unloaded(log) {
        writeln!(out, "  history   {}: not loaded", Escaped(&name))?;
    }
    write_table(out, "commands", &contents.commands.ranked())?;
    write_table(out, "keys by prefix", &contents.prefixes.ranked())?;
    if !contents.databases.is_empty() {
        writeln!(out, "databases:")?;
    }
    for (db, tally) in contents.databases.iter().take(SHOWN) {
        writeln!(out, "  {:>12} {:>15} bytes  db {db}", tally.count, tally.bytes)?;
    }
    if contents.databases.len() > SHOWN {
        writeln!(out, "  and {} other databases, see --json", contents.databases.len() - SHOWN)?;
    }
    writeln!(out, "a start {}", load_words(log, found, contents))
}

fn write_table(out: &mut Vec<u8>, title: &str, ranked: &[(&[u8], Tally)]) -> std::io::Result<()> {
    if !ranked.is_empty() {
        writeln!(out, "{title}:")?;
    }
    for (name, tally) in ranked.iter().take(SHOWN) {
        let shown = if name.is_empty() { "(none)".to_owned() } else { Escaped(name).to_string() };
        writeln!(out, "  {:>12} {:>15} bytes  {shown}", tally.count, tally.bytes)?;
    }
    if ranked.len() > SHOWN {
        writeln!(out, "  and {} other {title}, see --json", ranked.len() - SHOWN)?;
    }
    Ok(())
}

/// What a start of the server would do with the log.
fn load_words(log: &Log, found: &Report, contents: &Contents) -> String {
    let keys: u64 = found.files.iter().filter_map(|file| file.rdb.as_ref()).map(|rdb| rdb.keys).sum();
    let records = found.files.iter().map(|file| file.records).sum();
    let replays = format!("replays {}", report::plural(records, "command"));
    let loads =
        if keys == 0 { replays } else { format!("loads {} of the RDB and {replays}", report::plural(keys, "key")) };
    let stops = |file: usize, offset: u64, reason: &str| {
        format!("stops in {} at offset {offset}{reason}, see aoftool check", report::name(&log.files[file]))
    };
    let broken = found.files.iter().position(|file| !file.verdict.is_clean());
    if let Some((file, offset, reason)) = &contents.refused
        && broken.is_none_or(|broken| *file <= broken)
    {
        return stops(*file, *offset, &format!(": {reason}"));
    }
    match found.verdict() {
        aof::Verdict::Clean => loads,
        aof::Verdict::Torn { file, last_good_offset, cut_bytes, .. } => format!(
            "{loads}, and cuts {} of {} behind offset {last_good_offset}",
            report::plural(*cut_bytes, "byte"),
            report::name(&log.files[*file])
        ),
        aof::Verdict::Damaged { file, offset, .. } | aof::Verdict::Unsupported { file, offset, .. } => {
            stops(*file, *offset, "")
        }
    }
}

fn write_json(located: &Located, found: &Report, contents: &Contents, out: &mut Vec<u8>) {
    let log = &located.log;
    let mut object = Object::open(out);
    object.str("schema", "aoftool.info/1").str("log", &located.name).bool("multi_part", log.manifest.is_some());
    object.u64("bytes", log.len()).str("verdict", report::verdict_word(found.verdict()));
    object.array("files", log.files.iter().zip(&found.files), |out, (file, seen)| {
        let mut object = Object::open(out);
        report::write_file(&mut object, file, seen);
        object.close();
    });
    object.array("history", unloaded(log), |out, name| json::write_bytes(out, &name));
    object.array("commands", contents.commands.ranked(), write_row);
    if contents.commands.others.count > 0 {
        object.u64("other_commands", contents.commands.others.count);
    }
    object.array("prefixes", contents.prefixes.ranked(), write_row);
    if contents.prefixes.others.count > 0 {
        object.u64("other_prefixes", contents.prefixes.others.count);
    }
    object.array("databases", &contents.databases, |out, (db, tally)| {
        let mut object = Object::open(out);
        object.u64("db", *db).u64("count", tally.count).u64("bytes", tally.bytes);
        object.close();
    });
    object.str("start", &load_words(log, found, contents));
    object.close();
    out.push(b'\n');
}

fn write_row(out: &mut Vec<u8>, (name, tally): (&[u8], Tally)) {
    let mut object = Object::open(out);
    object.bytes("name", name).u64("count", tally.count).u64("bytes", tally.bytes);
    object.close();
}

/// Files that the manifest names but nobody loads.
fn unloaded(log: &Log) -> Vec<Vec<u8>> {
    let history = log.manifest.iter().flat_map(|(_, manifest)| &manifest.history);
    history.map(|entry| entry.name.as_encoded_bytes().to_vec()).collect()
}

fn seconds(unix: i64) -> Utc {
    Utc(unix.saturating_mul(1000))
}
