//! `aoftool seal` and `aoftool unseal`: the annotations by which a file of a log proves what it holds, added or removed.
//!
//! Records and all other annotations stay as they are. A log is sealed only where it can be read to its end, since a seal
//! says that what stands in front of it is what was written.

use std::io::{self, Write};
use std::sync::Arc;

use ironkeep::aof::{self, FileReport, LogFile, RdbDepth, Verdict};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::Object;
use ironkeep::cli::locate::{Located, show};
use ironkeep::cli::lock;
use ironkeep::disk::Disk;

use crate::change::{Change, Fate, Wishes};
use crate::remade::{self, Marks, Piece};
use crate::report;

/// Add seals to the files of a log, so that a changed byte is noticed from now on
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: crate::Place,
    #[command(flatten)]
    wishes: Wishes,
    /// The report as one JSON object (schema aoftool.seal/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
}

/// Remove the seals and identities of a log; all else stays
#[derive(clap::Args)]
pub struct UnsealArguments {
    #[command(flatten)]
    inner: Arguments,
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    act(disk, arguments, Marks::Added)
}

pub fn run_unseal(disk: &Arc<dyn Disk>, arguments: &UnsealArguments) -> anyhow::Result<Exit> {
    act(disk, &arguments.inner, Marks::Left)
}

fn act(disk: &Arc<dyn Disk>, arguments: &Arguments, marks: Marks) -> anyhow::Result<Exit> {
    let located = arguments.place.locate_for_change(disk)?;
    // What is looked at must be what is changed.
    let _hold = if arguments.wishes.output.is_none() { Some(lock::hold(&**disk, &located.log)?) } else { None };
    let log = &located.log;
    let found = aof::check(&**disk, log, RdbDepth::Skip, &mut ())?;
    if let Some(index) = found.files.iter().position(|file| !file.verdict.is_clean()) {
        return Err(not_whole(&log.files[index], &found.files[index].verdict));
    }
    let fates: Vec<Fate> = log.files.iter().zip(&found.files).map(|(file, seen)| fate(file, seen, marks)).collect();
    let files = fates.iter().filter(|fate| **fate == Fate::Rewritten).count() as u64; // usize has at most 64 bits
    let (verb, did) = if marks == Marks::Added { ("seal", "Sealed") } else { ("unseal", "Unsealed") };
    if files == 0 && arguments.wishes.output.is_none() {
        return nothing_to_do(arguments, &located, verb);
    }
    let what = report::plural(files, "file");
    let (does, did) = (format!("{verb} {what}"), format!("{did} {what}"));
    let fill = |index: usize, out: &mut dyn Write| {
        let start = found.files[index].rdb.as_ref().map_or(0, |rdb| rdb.len);
        let pieces = [Piece::Span(start..log.files[index].len)];
        remade::write(&**disk, &log.files[index], start, (&pieces, marks), out)
    };
    let change = Change { disk, log, does: &does, did: &did, fates, manifest: None, fill: &fill };
    let outcome = change.carry_out(&arguments.wishes)?;
    if !arguments.json {
        outcome.tell(&change)?;
        return Ok(outcome.exit());
    }
    let mut out = Vec::new();
    let mut object = Object::open(&mut out);
    object.str("schema", &format!("aoftool.{verb}/1")).str("log", &located.name).u64("files", files);
    outcome.write_json(&mut object);
    object.close();
    out.push(b'\n');
    report::print(&out)?;
    Ok(outcome.exit())
}

/// An RDB has a checksum of its own, so that a file of nothing else stays.
fn fate(file: &LogFile, seen: &FileReport, marks: Marks) -> Fate {
    let is_wanted = match marks {
        Marks::Added => seen.records > 0 && !file.is_wrapped && seen.unsealed_bytes() > 0,
        _ => seen.seals.has_marks(),
    };
    if is_wanted { Fate::Rewritten } else { Fate::Stays }
}

fn not_whole(file: &LogFile, verdict: &Verdict) -> anyhow::Error {
    let (reason, exit) = match verdict {
        Verdict::Torn { reason, .. } | Verdict::Damaged { reason, .. } => (reason, Exit::Findings),
        Verdict::Unsupported { reason, .. } => (reason, Exit::Unsupported),
        Verdict::Clean => unreachable!("only a file that is not clean is told of"),
    };
    let message = format!("{reason}; nothing was changed, mend the log first: `aoftool check --fix`, or `--fix=skip`");
    Failure::error(exit, message).context(show(&file.path))
}

fn nothing_to_do(arguments: &Arguments, located: &Located, verb: &str) -> anyhow::Result<Exit> {
    if arguments.json {
        let mut out = Vec::new();
        let mut object = Object::open(&mut out);
        object.str("schema", &format!("aoftool.{verb}/1")).str("log", &located.name).u64("files", 0);
        object.str("outcome", "nothing to do");
        object.close();
        out.push(b'\n');
        report::print(&out)?;
    } else {
        writeln!(io::stderr(), "Nothing to {verb}: every file is as wanted.")?;
    }
    Ok(Exit::Fine)
}
