//! What several verbs say of a file and of how it ends.

use std::io::{self, Write};

use anyhow::Context;
use ironkeep::aof::{self, FileReport, Item, Log, LogFile, RdbDepth, RdbPart, Report, Role, Verdict};
use ironkeep::cli::escape::Escaped;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::Object;
use ironkeep::cli::locate::Located;
use ironkeep::command::replay::playable;
use ironkeep::disk::Disk;

/// The name of a file without its folder, fit for a terminal.
pub fn name(file: &LogFile) -> String {
    Escaped(file.name().as_bytes()).to_string()
}

/// What servers' check tools call the part.
pub fn role(file: &LogFile) -> &'static str {
    match file.role {
        Role::Single => "AOF",
        Role::Base => "BASE AOF",
        Role::Increment => "INCR AOF",
    }
}

/// The part in machine-readable reports.
pub fn role_word(file: &LogFile) -> &'static str {
    match file.role {
        Role::Single => "single",
        Role::Base => "base",
        Role::Increment => "increment",
    }
}

/// What the file begins with.
pub fn format_word(file: &LogFile) -> &'static str {
    if file.has_rdb { "rdb" } else { "resp" }
}

/// The RDB in front of a file in a few words.
pub fn rdb_words(rdb: &RdbPart) -> String {
    format!("{} with {}", rdb.header, plural(rdb.keys, "key"))
}

/// What the seals of a file prove.
pub fn seal_words(report: &FileReport) -> String {
    let (count, end) = (report.seals.seals(), report.seals.sealed_until());
    let seals = format!("{} {}", plural(count, "seal"), if count == 1 { "proves" } else { "prove" });
    match report.unsealed_bytes() {
        0 => format!("{seals} all of it"),
        unsealed => {
            format!("{seals} what is before offset {end}, {} behind it are unsealed", plural(unsealed, "byte"))
        }
    }
}

pub use ironkeep::cli::plural::plural;

/// The verdict in one word.
pub fn verdict_word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "clean",
        Verdict::Torn { .. } => "torn",
        Verdict::Damaged { .. } => "damaged",
        Verdict::Unsupported { .. } => "unsupported",
    }
}

/// Adds what is known of a file to its JSON object.
pub fn write_file(object: &mut Object<'_>, file: &LogFile, report: &FileReport) {
    object.bytes("file", file.name().as_bytes());
    object.str("role", role_word(file)).str("format", format_word(file)).u64("bytes", file.len);
    if let Some(entry) = &file.entry {
        object.i64("seq", entry.seq);
    }
    if let Some(rdb) = &report.rdb {
        let mut inner = Object::open(object.member(b"rdb"));
        inner.str("version", &rdb.header.to_string()).u64("bytes", rdb.len).u64("keys", rdb.keys);
        inner.u64("functions", rdb.functions);
        inner.close();
    }
    object.u64("records", report.records).u64("transactions", report.transactions);
    object.u64("annotations", report.annotations);
    if let Some((first, last)) = report.times {
        object.i64("first_time", first).i64("last_time", last);
    }
    object.u64("good_bytes", report.whole_until);
    if report.seals.has_marks() {
        object.u64("seals", report.seals.seals()).u64("sealed_until", report.seals.sealed_until());
        object.u64("unsealed_bytes", report.unsealed_bytes());
    }
    if let Some(id) = report.seals.id() {
        object.str("history", id.as_str()).u64("position", report.seals.end().at);
    }
    write_verdict(object, &report.verdict);
}

/// Adds how a file ends.
pub fn write_verdict(object: &mut Object<'_>, verdict: &Verdict) {
    object.str("verdict", verdict_word(verdict));
    match verdict {
        Verdict::Clean => {}
        Verdict::Torn { last_good_offset, cut_bytes, reason, .. } => {
            object.u64("last_good_offset", *last_good_offset).u64("cut_bytes", *cut_bytes).str("reason", reason);
        }
        Verdict::Damaged { offset, last_good_offset, intact_from, reason, .. } => {
            object.u64("offset", *offset).u64("last_good_offset", *last_good_offset).str("reason", reason);
            if let Some(intact) = intact_from {
                object.u64("intact_from", *intact);
            }
        }
        Verdict::Unsupported { offset, reason, .. } => {
            object.u64("offset", *offset).str("reason", reason);
        }
    }
}

/// Why a start of ours with so many databases would stop at this record although its bytes are right.
pub fn unplayable(item: &Item<'_>, databases: usize) -> Option<String> {
    playable(&item.record()?.arguments, databases).err().map(|error| error.to_string())
}

/// Reads all of a log, for verbs that want it whole: stops at what a start would stop at, and says what a torn tail is.
pub fn survey(disk: &dyn Disk, located: &Located) -> anyhow::Result<Report> {
    let survey = aof::check(disk, &located.log, RdbDepth::Skip, &mut ())?;
    refuse_damage(&located.log, &survey)?;
    Ok(survey)
}

/// Stops at what a start would stop at, and says what a torn tail is.
pub fn refuse_damage(log: &Log, survey: &Report) -> anyhow::Result<()> {
    for (file, found) in log.files.iter().zip(&survey.files) {
        let exit = match &found.verdict {
            Verdict::Clean => continue,
            Verdict::Torn { last_good_offset, cut_bytes, reason, .. } => {
                let name = name(file);
                let what = plural(*cut_bytes, "byte");
                writeln!(io::stderr(), "{name}: {reason}; {what} behind offset {last_good_offset} are left out")?;
                continue;
            }
            Verdict::Damaged { .. } => Exit::Findings,
            Verdict::Unsupported { .. } => Exit::Unsupported,
        };
        let (Verdict::Damaged { offset, reason, .. } | Verdict::Unsupported { offset, reason, .. }) = &found.verdict
        else {
            unreachable!("the others have been dealt with");
        };
        let message = format!("offset {offset}: {reason}; nothing was done, see `aoftool check`");
        return Err(Failure::error(exit, message).context(name(file)));
    }
    Ok(())
}

/// Writes a finished report to standard output.
pub fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).context("standard output")
}
