//! `aoftool undo-flush`: the log as it would be had nobody typed the last FLUSHALL or FLUSHDB.
//!
//! It does what `strip-command FLUSHALL FLUSHDB --last` does, with history where a rewrite has swallowed the flush, and
//! then loads the result as a server would: only a result that loads stays. The three loads (as it is, and the result; or,
//! where nothing is written, up to the flush) come one after the other, and of the first only the names are kept.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::{Log, LogFile};
use ironkeep::cli::escape::{Escaped, Quoted};
use ironkeep::cli::exit::Exit;
use ironkeep::cli::json::Object;
use ironkeep::cli::lock;
use ironkeep::cli::utc::Utc;
use ironkeep::disk::Disk;

use crate::change::{Outcome, Wishes};
use crate::loaded::{self, Names};
use crate::removal::{self, Job, Which};

use crate::report;
use crate::selection::Removed;

/// So many names are shown.
const SAMPLE: usize = 10;

/// Take back the last FLUSHALL or FLUSHDB: strip it from the log or its history, and load the result to be sure
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: crate::Place,
    #[command(flatten)]
    wishes: Wishes,
    /// How many databases the server has
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    databases: usize,
    /// The report as one JSON object (schema aoftool.undo-flush/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
}

/// The flush, as the log tells of it.
struct Flush {
    file: String,
    offset: u64,
    /// Of the transaction around it, or its own.
    unit_offset: u64,
    db: u64,
    is_of_one_db: bool,
    command: String,
    after_ms: Option<i64>,
    sender: Option<[String; 2]>,
    line: Vec<u8>,
}

impl Flush {
    fn of(file: &LogFile, removed: &Removed<'_, '_>) -> io::Result<Self> {
        let (record, mut line) = (removed.record, Vec::new());
        removal::write_line(&mut line, file, removed)?;
        Ok(Self {
            file: file.name(),
            offset: record.offset,
            unit_offset: removed.multi.unwrap_or(record.offset),
            db: removed.db,
            is_of_one_db: record.is(b"FLUSHDB"),
            command: Escaped(&record.arguments[0].to_ascii_uppercase()).to_string(),
            after_ms: removed.after_ms,
            sender: removed.sender.map(|(address, user)| [address, user].map(|text| Escaped(text).to_string())),
            line,
        })
    }
}

/// What the result has more than what is there.
struct Gain {
    keys: u64,
    back: u64,
    sample: Vec<(usize, Vec<u8>)>,
}

impl Gain {
    fn of(before: &Names, after: Names) -> Self {
        let keys = after.len() as u64; // usize has at most 64 bits
        let mut back: Vec<_> = after.into_iter().filter(|name| !before.contains(name)).collect();
        back.sort_unstable();
        let count = back.len() as u64;
        back.truncate(SAMPLE);
        Self { keys, back: count, sample: back }
    }

    fn words(&self) -> String {
        let name = |(db, key): &(usize, Vec<u8>)| match db {
            0 => Quoted(key).to_string(),
            db => format!("{} (database {db})", Quoted(key)),
        };
        let names: Vec<String> = self.sample.iter().map(name).collect();
        let more = self.back - names.len() as u64; // a sample is no longer than the whole
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        match self.back {
            0 => "no key comes back: all of its names are there now; their values may differ".to_owned(),
            1 => format!("1 key comes back: {}", names[0]),
            count => format!("{count} keys come back: {}{more}", names.join(", ")),
        }
    }
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let located = arguments.place.locate_for_change(disk)?;
    let wishes = &arguments.wishes;
    // What is looked at must be what is changed.
    let _hold = if wishes.output.is_none() { Some(lock::hold(&**disk, &located.log)?) } else { None };
    let whole = located.log.with_history(&**disk)?;
    let names = [b"FLUSHALL".to_vec(), b"FLUSHDB".to_vec()];
    let present = Job { disk, name: &located.name, log: &located.log, is_whole: false, names: &names };
    let which = Which { only_last: true, wants_history: false };
    let mut found = None;
    let (job, survey) = present.or_with_history(whole.as_ref(), which, &mut |file, removed| {
        found = Some(Flush::of(file, removed)?);
        Ok(())
    })?;
    let Some(flush) = found else { return job.nothing_found(&survey) };
    if !arguments.json {
        report::print(&flush.line)?;
    }
    let before = loaded::names(disk, &located.log, arguments.databases)?;
    let does =
        format!("take the {} at offset {} out of {}", flush.command, flush.offset, Escaped(flush.file.as_bytes()));
    let did = format!("Took the {} out of {}", flush.command, Escaped(flush.file.as_bytes()));
    let fill = |index: usize, out: &mut dyn Write| job.fill(index, &survey, out);
    let change = job.change(&survey, (&does, &did), &fill);
    let outcome = change.carry_out(wishes)?;
    let after = match &outcome {
        Outcome::Declined => {
            outcome.tell(&change)?;
            return Ok(outcome.exit());
        }
        Outcome::Planned => until_flush(disk, job.log, &flush, arguments.databases)?,
        Outcome::Written(path) => load_result(disk, path, arguments.databases)
            .with_context(|| "the result was written, but does not load; the log itself was left alone")?,
        Outcome::Edited(aside) => match load_result(disk, job.log.path(), arguments.databases) {
            Ok(names) => names,
            Err(error) => {
                aside.swap_back(&**disk)?;
                return Err(error.context("the result does not load, so the original was brought back"));
            }
        },
    };
    let told = Told { flush: &flush, gain: Gain::of(&before, after), outcome: &outcome, log: job.log };
    if arguments.json {
        return told.print_json();
    }
    report::print(format!("{}\n", told.gain.words()).as_bytes())?;
    outcome.tell(&change)?;
    told.tell_start()?;
    Ok(outcome.exit())
}

/// The names in what was written, as a server would load it.
fn load_result(disk: &Arc<dyn Disk>, path: &Path, databases: usize) -> anyhow::Result<Names> {
    let log = Log::open(&**disk, path)?;
    loaded::names(disk, &log, databases)
}

/// The names that were there when the flush came.
fn until_flush(disk: &Arc<dyn Disk>, log: &Log, flush: &Flush, databases: usize) -> anyhow::Result<Names> {
    let mut before = log.clone();
    let position = before.files.iter().position(|file| file.name() == flush.file);
    before.files.truncate(position.map_or(0, |index| index + 1));
    if let Some(last) = before.files.last_mut() {
        last.len = flush.unit_offset;
    }
    let mut names = loaded::names(disk, &before, databases)?;
    names.retain(|(db, _)| !flush.is_of_one_db || *db as u64 == flush.db); // usize has at most 64 bits
    Ok(names)
}

struct Told<'a> {
    flush: &'a Flush,
    gain: Gain,
    outcome: &'a Outcome,
    log: &'a Log,
}

impl Told<'_> {
    /// The path by which the result is named; `None` where there is none.
    fn result(&self) -> Option<&Path> {
        match self.outcome {
            Outcome::Written(path) => Some(path),
            Outcome::Edited(_) => Some(self.log.path()),
            Outcome::Planned | Outcome::Declined => None,
        }
    }

    fn tell_start(&self) -> io::Result<()> {
        let Some(path) = self.result() else { return Ok(()) };
        let mut words = io::stderr().lock();
        writeln!(words, "The result was loaded as a server does: {}", report::plural(self.gain.keys, "key"))?;
        writeln!(words, "To start a server on it: {}", loaded::start_line(path, self.log.manifest.is_some()))
    }

    fn print_json(&self) -> anyhow::Result<Exit> {
        let (mut out, flush) = (Vec::new(), self.flush);
        let mut object = Object::open(&mut out);
        object.str("schema", "aoftool.undo-flush/1").str("command", &flush.command);
        object.bytes("file", flush.file.as_bytes()).u64("offset", flush.offset).u64("db", flush.db);
        if let Some(ms) = flush.after_ms {
            object.str("after", &Utc(ms).to_string());
        }
        if let Some([address, user]) = &flush.sender {
            object.str("from", address).str("user", user);
        }
        object.u64("keys_back", self.gain.back);
        object.array("sample", &self.gain.sample, |out, (db, key)| {
            let mut object = Object::open(out);
            object.u64("db", *db as u64).bytes("key", key); // usize has at most 64 bits
            object.close();
        });
        if let Some(path) = self.result() {
            object.u64("keys", self.gain.keys);
            object.str("start", &loaded::start_line(path, self.log.manifest.is_some()));
        }
        self.outcome.write_json(&mut object);
        object.close();
        out.push(b'\n');
        report::print(&out)?;
        Ok(self.outcome.exit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gain_counts_all_and_names_some() {
        let names = |range: std::ops::Range<u32>| range.map(|n| (0, format!("{n:02}").into_bytes())).collect::<Names>();
        let gain = Gain::of(&names(0..2), names(0..20));
        assert_eq!((gain.keys, gain.back, gain.sample.len()), (20, 18, SAMPLE));
        assert!(gain.words().starts_with("18 keys come back: \"02\", \"03\"") && gain.words().ends_with(" and 8 more"));
    }
}
