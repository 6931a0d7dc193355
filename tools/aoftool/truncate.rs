//! `aoftool truncate`: a log that ends earlier, at a time, at an offset, or in front of a command.
//!
//! The cut falls between whole units, never inside of a record or a transaction. Files behind it are no part of the result,
//! and the manifest says so; marks of the file that is cut are made anew. Times come from `#TS:` annotations, which a
//! server writes with `aof-timestamp-enabled yes`, and from seals of ours. Where the log begins only behind the wanted place,
//! since a rewrite has replaced what was before, the files are taken that the manifest still has in history.

use std::io::{self, Write};
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::check::open_records;
use ironkeep::aof::{self, Fault, Item, Log, LogFile, Place, RdbDepth, Verdict};
use ironkeep::cli::escape::Escaped;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::Object;
use ironkeep::cli::locate::{Located, show};
use ironkeep::cli::lock;
use ironkeep::cli::progress::Progress;
use ironkeep::cli::utc::Utc;
use ironkeep::disk::{Disk, Mode};
use ironkeep::rdb::{Event, envelope};

use crate::change::{Change, Fate, Wishes};
use crate::remade::{self, Marks, Piece};
use crate::report;

/// Cut a log at a time, at an offset, or in front of a command, between whole transactions
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("end").required(true).args(["to_time", "to_offset", "before"])))]
pub struct Arguments {
    #[command(flatten)]
    place: crate::Place,
    /// Keep what happened up to this time: Unix seconds or ms, or 2026-11-21T08:30:00Z
    #[arg(long, value_name = "TIME")]
    to_time: Option<Utc>,
    /// Keep the whole units in front of this offset of the last file with bytes, or of --file
    #[arg(long, value_name = "BYTES")]
    to_offset: Option<u64>,
    /// Keep what stands in front of the last record of this command, and of the transaction that it is in
    #[arg(long, value_name = "NAME")]
    before: Option<String>,
    /// The file that --to-offset is about
    #[arg(long, value_name = "NAME", requires = "to_offset")]
    file: Option<String>,
    #[command(flatten)]
    wishes: Wishes,
    /// The report as one JSON object (schema aoftool.truncate/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
}

/// Where the log is to end.
enum End {
    Time(Utc),
    Offset { file: usize, offset: u64 },
    Before(Vec<u8>),
}

/// A place to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    file: usize,
    offset: u64,
}

/// What a pass over a log has found.
#[derive(Default)]
struct Found {
    cut: Option<Cut>,
    /// Of each file: where its records begin, where its whole units end, and whether it has marks.
    files: Vec<(u64, u64, bool)>,
    /// The first and the last time that the log tells.
    times: Option<(Utc, Utc)>,
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let located = arguments.place.locate_for_change(disk)?;
    let end = match (arguments.to_time, arguments.to_offset, &arguments.before) {
        (Some(time), ..) => End::Time(time),
        (_, Some(offset), _) => End::Offset { file: named(&located.log, arguments.file.as_deref())?, offset },
        (.., name) => End::Before(name.iter().flat_map(|name| name.bytes()).collect()),
    };
    act(disk, &located, &end, (&arguments.wishes, arguments.json))
}

/// `aoftool check --truncate-to-timestamp`.
pub fn to_time(
    disk: &Arc<dyn Disk>,
    place: &crate::Place,
    (time, wishes, json): (Utc, &Wishes, bool),
) -> anyhow::Result<Exit> {
    let located = place.locate_for_change(disk)?;
    act(disk, &located, &End::Time(time), (wishes, json))
}

fn act(disk: &Arc<dyn Disk>, located: &Located, end: &End, (wishes, json): (&Wishes, bool)) -> anyhow::Result<Exit> {
    // What is looked at must be what is changed.
    let _hold = if wishes.output.is_none() { Some(lock::hold(&**disk, &located.log)?) } else { None };
    let whole = located.log.with_history(&**disk)?;
    let (mut log, mut found) = (&located.log, find(disk, &located.log, end)?);
    let is_before = |found: &Found| match end {
        End::Time(time) => found.times.is_some_and(|(first, _)| first > *time),
        End::Before(_) => found.cut.is_none(),
        End::Offset { .. } => false,
    };
    if let Some(whole) = whole.as_ref().filter(|_| is_before(&found)) {
        writeln!(io::stderr(), "{}: looking at what a rewrite has replaced too", located.name)?;
        (log, found) = (whole, find(disk, whole, end)?);
    }
    let cut = match found.cut {
        Some(cut) if !is_before(&found) || matches!(end, End::Before(_)) => cut,
        _ => return nothing_to_cut(located, end, &found),
    };
    let fates: Vec<Fate> = (0..log.files.len()).map(|index| fate(log, index, cut)).collect();
    let bytes: u64 = (log.files.iter().zip(&fates).enumerate())
        .map(|(index, (file, _))| if index > cut.file { file.len } else { 0 })
        .sum::<u64>()
        + (log.files[cut.file].len - cut.offset);
    let name = report::name(&log.files[cut.file]);
    let (does, did) = (
        format!("cut {bytes} bytes behind offset {} of {name}", cut.offset),
        format!("Successfully truncated AOF {name} to offset {}: {bytes} bytes cut", cut.offset),
    );
    let fill = |index: usize, out: &mut dyn Write| {
        let (start, _, has_marks) = found.files[index];
        let pieces = [Piece::Span(start..cut.offset.max(start))];
        remade::write(&**disk, &log.files[index], start, (&pieces, Marks::of(has_marks)), out)
    };
    let manifest = log.manifest.as_ref().map(|(_, manifest)| {
        let mut manifest = manifest.clone();
        let has_base = usize::from(manifest.base.is_some());
        manifest.increments.truncate((cut.file + 1).saturating_sub(has_base));
        if let Some(last) = manifest.increments.last_mut() {
            last.end_offset = None;
        }
        manifest
    });
    let change = Change { disk, log, does: &does, did: &did, fates, manifest, fill: &fill };
    let outcome = change.carry_out(wishes)?;
    if !json {
        outcome.tell(&change)?;
        return Ok(outcome.exit());
    }
    let mut out = Vec::new();
    let mut object = Object::open(&mut out);
    object.str("schema", "aoftool.truncate/1").bytes("file", log.files[cut.file].name().as_bytes());
    object.u64("offset", cut.offset).u64("cut_bytes", bytes);
    outcome.write_json(&mut object);
    object.close();
    out.push(b'\n');
    report::print(&out)?;
    Ok(outcome.exit())
}

fn fate(log: &Log, index: usize, cut: Cut) -> Fate {
    match index {
        index if index > cut.file => Fate::Goes,
        index if index == cut.file && cut.offset < log.files[index].len => Fate::Rewritten,
        _ => Fate::Stays,
    }
}

/// The file of that name, or the last one with bytes.
fn named(log: &Log, name: Option<&str>) -> anyhow::Result<usize> {
    let position = match name {
        Some(name) => log.files.iter().position(|file| file.name() == name),
        None => log.files.iter().rposition(|file| file.len > 0),
    };
    position.ok_or_else(|| {
        let names: Vec<String> = log.files.iter().map(report::name).collect();
        Failure::error(Exit::Usage, format!("no such file in this log, it has: {}", names.join(", ")))
    })
}

/// Reads the log to its end; a file that can't be read to its end stops it, unless that is its torn tail.
fn find(disk: &Arc<dyn Disk>, log: &Log, end: &End) -> anyhow::Result<Found> {
    let mut found = Found::default();
    for (index, file) in log.files.iter().enumerate() {
        find_in(disk, log, (index, file), end, &mut found).with_context(|| show(&file.path))?;
    }
    Ok(found)
}

fn find_in(
    disk: &Arc<dyn Disk>,
    log: &Log,
    (index, file): (usize, &LogFile),
    end: &End,
    found: &mut Found,
) -> anyhow::Result<()> {
    let open = Progress::new(disk.open(&file.path, Mode::Read)?, Some(file.len), &report::name(file));
    let mut written = None;
    let (rdb, mut reader) =
        open_records(envelope::unwrap(open)?, file.has_rdb, file.unpacked_len(), RdbDepth::Skip, &mut |event| {
            if let Event::Aux { name, value } = event
                && name == b"ctime"
            {
                written = ironkeep::codec::number::parse_i64(value);
            }
        })?;
    let start = rdb.map_or(0, |rdb| rdb.len);
    if let Some(second) = written {
        found.tell_time(second.saturating_mul(1000));
    }
    let (mut unit, mut has_marks) = (start, false);
    let fault = loop {
        let whole_until = reader.whole_until();
        let (item, place) = match reader.next_placed() {
            Ok(Some(next)) => next,
            Ok(None) => break None,
            Err(Fault::Io { source, .. }) => return Err(source.into()),
            Err(fault) => break Some(fault),
        };
        if matches!(place, Place::Alone | Place::Opens) {
            unit = item.offset();
        }
        let time_ms = time_of(&item, &mut has_marks);
        match end {
            End::Time(limit) => {
                if time_ms.is_some_and(|ms| ms > limit.0) {
                    found.cut.get_or_insert(Cut { file: index, offset: whole_until });
                }
            }
            End::Offset { file, offset } => {
                if *file == index && item.end() <= *offset && matches!(place, Place::Alone | Place::Closes) {
                    found.cut = Some(Cut { file: index, offset: item.end() });
                }
            }
            End::Before(name) => {
                if item.record().is_some_and(|record| record.is(name)) {
                    found.cut = Some(Cut { file: index, offset: unit });
                }
            }
        }
        if let Some(ms) = time_ms {
            found.tell_time(ms);
        }
    };
    if let End::Offset { file, offset } = end
        && *file == index
        && found.cut.is_none()
    {
        anyhow::ensure!(*offset >= start, "the offset lies in the RDB in front, which ends at {start}");
        found.cut = Some(Cut { file: index, offset: start });
    }
    found.files.push((start, reader.whole_until(), has_marks));
    match fault {
        Some(fault) => refuse_damage(disk, log, index, &fault, &reader.reached()),
        None => Ok(()),
    }
}

fn refuse_damage(
    disk: &Arc<dyn Disk>,
    log: &Log,
    index: usize,
    fault: &Fault,
    reached: &aof::Reached,
) -> anyhow::Result<()> {
    match aof::judge(&**disk, log, index, fault, reached)? {
        Verdict::Damaged { reason, .. } | Verdict::Unsupported { reason, .. } => {
            Err(Failure::error(Exit::Findings, format!("{reason}; nothing was changed, see `aoftool check`")))
        }
        Verdict::Torn { .. } | Verdict::Clean => Ok(()),
    }
}

/// What an item tells of the time, Unix ms: what follows it happened then or later.
fn time_of(item: &Item<'_>, has_marks: &mut bool) -> Option<i64> {
    let Item::Annotation(annotation) = item else { return None };
    let ms = match annotation.mark() {
        Some(mark) => {
            *has_marks = true;
            mark.ok()?.time_ms()
        }
        None => annotation.timestamp()?.saturating_mul(1000),
    };
    // A mark that was made later, for a log that told no times, tells none.
    (ms > 0).then_some(ms)
}

impl Found {
    fn tell_time(&mut self, ms: i64) {
        let first = self.times.map_or(Utc(ms), |(first, _)| first);
        self.times = Some((first, Utc(ms)));
    }
}

fn nothing_to_cut(located: &Located, end: &End, found: &Found) -> anyhow::Result<Exit> {
    let name = &located.name;
    match (end, found.times) {
        (End::Before(command), _) => {
            let message = format!("no {} in this log, nor in its history: nothing was changed", Escaped(command));
            Err(Failure::error(Exit::Findings, message).context(name.clone()))
        }
        (_, None) => {
            let message = "this log tells no times, so it can't be cut at one: servers write them with \
                           aof-timestamp-enabled yes. --to-offset and --before work without";
            Err(Failure::error(Exit::Findings, message).context(name.clone()))
        }
        (End::Time(limit), Some((first, _))) if first > *limit => {
            let message = format!("has nothing before {limit}: the first time that it tells is {first}");
            Err(Failure::error(Exit::Findings, message).context(name.clone()))
        }
        (_, Some((_, last))) => {
            writeln!(io::stderr(), "Truncate nothing in {name}: the last time that it tells is {last}")?;
            Ok(Exit::Fine)
        }
    }
}
