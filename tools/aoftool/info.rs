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

/// A hostile log must not grow the table of command names without end.
const MAX_NAMES: usize = 4096;
/// Lines of the table of commands that are printed for people.
const SHOWN: usize = 20;

/// Show the files of a log, what they hold, when it was written, and which commands it is made of
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: crate::Place,
    /// The report as one JSON object (schema aoftool.info/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
}

#[derive(Default, Clone, Copy)]
struct Tally {
    count: u64,
    bytes: u64,
}

#[derive(Default)]
struct Commands {
    tallies: BTreeMap<Vec<u8>, Tally>,
    others: Tally,
    name: Vec<u8>,
}

impl Observer for Commands {
    fn wrap(&mut self, file: &LogFile, open: Box<dyn disk::File>) -> Box<dyn Read> {
        Box::new(Progress::new(open, Some(file.len), &report::name(file)))
    }

    fn item(&mut self, _index: usize, item: &Item<'_>, _place: Place) {
        let Some(record) = item.record() else { return };
        self.name.clear();
        self.name.extend(record.arguments[0].iter().take(64).map(u8::to_ascii_uppercase));
        let has_room = self.tallies.len() < MAX_NAMES;
        let tally = match self.tallies.get_mut(&self.name) {
            Some(tally) => tally,
            None if has_room => self.tallies.entry(self.name.clone()).or_default(),
            None => &mut self.others,
        };
        tally.count += 1;
        tally.bytes += record.len();
    }
}

impl Commands {
    /// Most frequent first.
    fn ranked(&self) -> Vec<(&[u8], Tally)> {
        let mut ranked: Vec<_> = self.tallies.iter().map(|(name, tally)| (&name[..], *tally)).collect();
        ranked.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.count));
        ranked
    }
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let located = arguments.place.locate(disk)?;
    let mut commands = Commands::default();
    let found = aof::check(&**disk, &located.log, RdbDepth::Skip, &mut commands)?;
    let mut out = Vec::new();
    if arguments.json {
        write_json(&located, &found, &commands, &mut out);
    } else {
        write_text(&located, &found, &commands, &mut out).context("report")?;
    }
    report::print(&out)?;
    Ok(match found.verdict() {
        aof::Verdict::Clean => Exit::Fine,
        aof::Verdict::Unsupported { .. } => Exit::Unsupported,
        _ => Exit::Findings,
    })
}

fn write_text(located: &Located, found: &Report, commands: &Commands, out: &mut Vec<u8>) -> std::io::Result<()> {
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
    let ranked = commands.ranked();
    if !ranked.is_empty() {
        writeln!(out, "commands:")?;
    }
    for (name, tally) in ranked.iter().take(SHOWN) {
        writeln!(out, "  {:>12} {:>15} bytes  {}", tally.count, tally.bytes, Escaped(name))?;
    }
    if ranked.len() > SHOWN {
        writeln!(out, "  and {} other commands, see --json", ranked.len() - SHOWN)?;
    }
    Ok(())
}

fn write_json(located: &Located, found: &Report, commands: &Commands, out: &mut Vec<u8>) {
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
    object.array("commands", commands.ranked(), |out, (name, tally)| {
        let mut object = Object::open(out);
        object.bytes("name", name).u64("count", tally.count).u64("bytes", tally.bytes);
        object.close();
    });
    if commands.others.count > 0 {
        object.u64("other_commands", commands.others.count);
    }
    object.close();
    out.push(b'\n');
}

/// Files that the manifest names but nobody loads.
fn unloaded(log: &Log) -> Vec<Vec<u8>> {
    let history = log.manifest.iter().flat_map(|(_, manifest)| &manifest.history);
    history.map(|entry| entry.name.as_encoded_bytes().to_vec()).collect()
}

fn seconds(unix: i64) -> Utc {
    Utc(unix.saturating_mul(1000))
}
