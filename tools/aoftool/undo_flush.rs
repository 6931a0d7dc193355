//! `aoftool undo-flush`: the log as it would be had nobody typed the last FLUSHALL or FLUSHDB.
//!
//! It does what `strip-command FLUSHALL FLUSHDB --last` does, with history where a rewrite has swallowed the flush, and
//! then loads the result as a server would: only a result that loads stays. The three loads (as it is, and the result; or,
//! where nothing is written, up to the flush) come one after the other, and of the first only the names are kept.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::Log;
use ironkeep::cli::escape::Escaped;
use ironkeep::cli::exit::Exit;
use ironkeep::cli::json::Object;
use ironkeep::cli::lock;
use ironkeep::disk::Disk;

use crate::change::{Outcome, Wishes};
use crate::loaded::{self, Gain, Names};
use crate::removal::{Found, Job, Which};
use crate::report;
use crate::selection::Only;

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

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let located = arguments.place.locate_for_change(disk)?;
    let wishes = &arguments.wishes;
    // What is looked at must be what is changed.
    let _hold = if wishes.output.is_none() { Some(lock::hold(&**disk, &located.log)?) } else { None };
    let whole = located.log.with_history(&**disk)?;
    let names = [b"FLUSHALL".to_vec(), b"FLUSHDB".to_vec()];
    let only = Only::default();
    let present = Job { disk, name: &located.name, log: &located.log, is_whole: false, names: &names, only: &only };
    let which = Which { only_last: true, wants_history: false };
    let mut found = None;
    let (job, survey) = present.or_with_history(whole.as_ref(), which, &mut |file, removed| {
        found = Some(Found::of(file, removed)?);
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
fn until_flush(disk: &Arc<dyn Disk>, log: &Log, flush: &Found, databases: usize) -> anyhow::Result<Names> {
    let mut before = log.clone();
    let position = before.files.iter().position(|file| file.name() == flush.file);
    before.files.truncate(position.map_or(0, |index| index + 1));
    if let Some(last) = before.files.last_mut() {
        last.len = flush.multi.unwrap_or(flush.offset);
    }
    let mut names = loaded::names(disk, &before, databases)?;
    let is_of_one_db = flush.command == "FLUSHDB";
    names.retain(|(db, _)| !is_of_one_db || *db as u64 == flush.db); // usize has at most 64 bits
    Ok(names)
}

struct Told<'a> {
    flush: &'a Found,
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
        flush.write_json(&mut object);
        self.gain.write_json(&mut object);
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
