//! `aoftool check`: whether a start would load the log, and where it would stop; `--fix` cuts a torn tail.
//!
//! The phrases that scripts look for are those of redis-check-aof. Unlike it, this reads every file to its end, tells a
//! torn tail from damage in the middle, which it never cuts, and knows which commands a start refuses.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::{self, Item, LogFile, Observer, Place, RdbDepth, Report, Verdict};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::Object;
use ironkeep::cli::locate::{Located, show};
use ironkeep::cli::progress::Progress;
use ironkeep::cli::{in_place, lock};
use ironkeep::disk::{self, Disk};

use crate::selection::Choice;
use crate::{report, selection};

/// Read every file of a log as a start would; --fix cuts a torn tail and keeps the original
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: crate::Place,
    /// Cut a torn tail; the original is kept as NAME.bak-<UTC>. Damage in the middle is not touched
    #[arg(long)]
    fix: bool,
    /// With --fix: show what would happen, write nothing
    #[arg(long, requires = "fix")]
    dry_run: bool,
    /// With --fix: don't ask
    #[arg(long, short, requires = "fix")]
    yes: bool,
    /// The report as one JSON object (schema aoftool.check/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
}

/// A record whose bytes are right, but which a start refuses.
struct Refused {
    file: usize,
    offset: u64,
    reason: String,
}

/// What the records tell beyond their bytes.
#[derive(Default)]
struct Watch {
    refused: Vec<Refused>,
    refused_count: u64,
    /// Lines up to the end of the last whole unit, and of all items, by file.
    lines: Vec<(u64, u64)>,
}

const LISTED: usize = 20;

impl Observer for Watch {
    fn wrap(&mut self, file: &LogFile, open: Box<dyn disk::File>) -> Box<dyn Read> {
        self.lines.push((0, 0));
        Box::new(Progress::new(open, Some(file.len), &report::name(file)))
    }

    fn item(&mut self, file: usize, item: &Item<'_>, place: Place) {
        if let Some(lines) = self.lines.get_mut(file) {
            lines.1 += item.record().map_or(1, |record| 1 + 2 * record.arguments.len() as u64);
            if matches!(place, Place::Alone | Place::Closes) {
                lines.0 = lines.1;
            }
        }
        if let Some(reason) = report::unplayable(item) {
            self.refused_count += 1;
            if self.refused.len() < LISTED {
                self.refused.push(Refused { file, offset: item.offset(), reason });
            }
        }
    }
}

/// All that is known when the reading is done.
struct Outcome<'a> {
    located: &'a Located,
    found: Report,
    watch: Watch,
}

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let located = arguments.place.locate(disk)?;
    if arguments.fix && arguments.place.path.as_deref() == Some(Path::new("-")) {
        return Err(Failure::error(Exit::Usage, "standard input can't be fixed: give a path"));
    }
    // What is looked at must be what is changed.
    let _hold = if arguments.fix { Some(lock::hold(&**disk, &located.log)?) } else { None };
    let mut watch = Watch::default();
    let found = aof::check(&**disk, &located.log, RdbDepth::Values, &mut watch)?;
    let outcome = Outcome { located: &located, found, watch };
    let mut out = Vec::new();
    if arguments.json {
        outcome.write_json(&mut out);
    } else {
        outcome.write_text(arguments.fix, &mut out).context("report")?;
    }
    report::print(&out)?;
    match outcome.found.verdict() {
        Verdict::Torn { .. } if arguments.fix => fix(disk, arguments, &outcome),
        _ => Ok(outcome.exit()),
    }
}

impl Outcome<'_> {
    fn exit(&self) -> Exit {
        match self.found.verdict() {
            Verdict::Unsupported { .. } => Exit::Unsupported,
            Verdict::Clean if self.watch.refused_count > 0 => Exit::Unsupported,
            Verdict::Clean => Exit::Fine,
            Verdict::Torn { .. } | Verdict::Damaged { .. } => Exit::Findings,
        }
    }

    fn write_text(&self, fix: bool, out: &mut Vec<u8>) -> io::Result<()> {
        let log = &self.located.log;
        writeln!(out, "Start checking {} AOF", if log.manifest.is_some() { "Multi Part" } else { "Old-Style" })?;
        for index in 0..log.files.len() {
            self.write_file(index, out)?;
        }
        for refused in &self.watch.refused {
            let file = report::name(&log.files[refused.file]);
            writeln!(out, "{file}: at offset {}: {}", refused.offset, refused.reason)?;
        }
        if self.watch.refused_count > self.watch.refused.len() as u64 {
            writeln!(out, "and {} more such records", self.watch.refused_count - self.watch.refused.len() as u64)?;
        }
        if self.watch.refused_count > 0 {
            writeln!(
                out,
                "An ironkeep of this version stops its start at such a record: load the log with the server that wrote it."
            )?;
        }
        match self.found.verdict() {
            Verdict::Clean if self.watch.refused_count == 0 => writeln!(out, "All AOF files and manifest are valid"),
            Verdict::Torn { .. } if !fix => {
                writeln!(
                    out,
                    "A start with aof-load-truncated yes cuts this torn tail; aoftool check --fix cuts it now, and keeps the original."
                )
            }
            Verdict::Damaged { .. } => writeln!(
                out,
                "This is damage, not a torn tail: nothing is cut. Look at it with `aoftool dump`, take the file from a backup or a replica, or cut there by hand on a copy."
            ),
            _ => Ok(()),
        }
    }

    fn write_file(&self, index: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let (file, seen) = (&self.located.log.files[index], &self.found.files[index]);
        let (role, name) = (report::role(file), report::name(file));
        if let Some(rdb) = &seen.rdb {
            writeln!(out, "{name}: RDB preamble is OK: {}", report::rdb_words(rdb))?;
        }
        if seen.rdb.is_none() || seen.records > 0 {
            let (good, size) = (seen.whole_until, file.len);
            let lines = self.watch.lines.get(index).map_or(0, |lines| lines.0);
            let diff = size.saturating_sub(good);
            writeln!(
                out,
                "AOF analyzed: filename={name}, size={size}, ok_up_to={good}, ok_up_to_line={lines}, diff={diff}"
            )?;
        }
        if seen.seals.has_marks() {
            writeln!(out, "{name}: {}", report::seal_words(seen))?;
        }
        match &seen.verdict {
            Verdict::Clean if file.len == 0 => writeln!(out, "{role} {name} is empty"),
            Verdict::Clean => writeln!(out, "{role} {name} is valid"),
            Verdict::Torn { reason, last_good_offset, cut_bytes, .. } => {
                writeln!(out, "{name}: {reason}")?;
                writeln!(
                    out,
                    "{role} {name} is not valid: a torn tail of {cut_bytes} bytes behind offset {last_good_offset}. Use the --fix option to try fixing it."
                )
            }
            Verdict::Damaged { reason, .. } => {
                writeln!(out, "{name}: {reason}")?;
                writeln!(out, "{role} {name} is not valid")
            }
            Verdict::Unsupported { reason, .. } => writeln!(out, "{role} {name} can't be checked: {reason}"),
        }
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let log = &self.located.log;
        let mut object = Object::open(out);
        object.str("schema", "aoftool.check/1").str("log", &self.located.name);
        object.str("verdict", report::verdict_word(self.found.verdict()));
        object.bool("loads", self.exit() == Exit::Fine || matches!(self.found.verdict(), Verdict::Torn { .. }));
        object.array("files", log.files.iter().zip(&self.found.files), |out, (file, seen)| {
            let mut object = Object::open(out);
            report::write_file(&mut object, file, seen);
            object.close();
        });
        object.u64("refused_records", self.watch.refused_count);
        object.array("refused", &self.watch.refused, |out, refused| {
            let mut object = Object::open(out);
            object.bytes("file", log.files[refused.file].name().as_bytes());
            object.u64("offset", refused.offset).str("reason", &refused.reason);
            object.close();
        });
        object.close();
        out.push(b'\n');
    }
}

/// Cuts the torn tail of the last file with bytes.
fn fix(disk: &Arc<dyn Disk>, arguments: &Arguments, outcome: &Outcome<'_>) -> anyhow::Result<Exit> {
    let log = &outcome.located.log;
    let Verdict::Torn { file: index, last_good_offset, cut_bytes, .. } = *outcome.found.verdict() else {
        return Ok(outcome.exit());
    };
    let file = &log.files[index];
    let (name, size) = (report::name(file), file.len);
    let mut words = io::stderr().lock();
    let sentence = format!(
        "This will shrink the AOF {name} from {size} bytes, with {cut_bytes} bytes, to {last_good_offset} bytes."
    );
    if arguments.dry_run {
        let (_, backup) = in_place::backup_path(&**disk, log)?;
        writeln!(words, "{sentence} The original would be kept as {}. Nothing was changed.", show(&backup))?;
        return Ok(Exit::Fine);
    }
    if !in_place::confirm(&sentence, arguments.yes)? {
        writeln!(words, "Aborting... Nothing was changed.")?;
        return Ok(Exit::Findings);
    }
    let aside = in_place::put_aside(disk, log, |other| other.path == file.path)?;
    let whole = LogFile { len: last_good_offset, ..file.clone() };
    let start = outcome.found.files[index].rdb.as_ref().map_or(0, |rdb| rdb.len);
    in_place::replace(disk, &file.path, |out| {
        let copied = selection::copy(&**disk, &whole, start, Choice { names: &[], spared: 0 }, out)?;
        anyhow::ensure!(copied.read_until == last_good_offset, "the file changed meanwhile: stop who writes to it");
        Ok(())
    })
    .with_context(|| show(&file.path))?;
    writeln!(
        words,
        "Successfully truncated AOF {name}: {cut_bytes} bytes cut, kept with the original in {}",
        show(&aside.backup)
    )?;
    writeln!(words, "To undo: {}", aside.undo())?;
    Ok(Exit::Fine)
}
