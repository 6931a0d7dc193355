//! `aoftool check`: whether a start would load the log, and where it would stop.
//!
//! The phrases that scripts look for are those of redis-check-aof. Unlike it, this reads every file to its end, tells a
//! torn tail from damage in the middle, and knows which commands a start refuses. `--fix` cuts a torn tail and nothing
//! else; `--fix=skip` leaves out what can't be read, wherever it stands ([`crate::fix`]).

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use ironkeep::aof::{self, Item, LogFile, Observer, Place, RdbDepth, Report, Verdict};
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::Object;
use ironkeep::cli::locate::Located;
use ironkeep::cli::lock;
use ironkeep::cli::progress::Progress;
use ironkeep::cli::utc::Utc;
use ironkeep::disk::{self, Disk};

use crate::change::{self, Wishes};
use crate::fix::{MendedFile, Mending};
use crate::{report, truncate};

/// Read every file of a log as a start would; --fix cuts a torn tail and keeps the original
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: crate::Place,
    /// Mend the log; the original is kept as NAME.bak-<UTC>. `tail`, or nothing: cut a torn tail, and leave damage in the
    /// middle alone. `skip`: leave out every stretch that can't be read, and go on behind it
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "tail")]
    fix: Option<Fix>,
    /// Cut behind this time, as `truncate --to-time` does
    #[arg(long, value_name = "TIME", conflicts_with = "fix")]
    truncate_to_timestamp: Option<Utc>,
    /// With --fix: write the result into this folder and leave the log alone
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// With --fix: show what would happen, write nothing
    #[arg(long)]
    dry_run: bool,
    /// With --fix: don't ask
    #[arg(long, short)]
    yes: bool,
    /// How many databases the server has that is to load the log
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    databases: usize,
    /// The report as one JSON object (schema aoftool.check/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
}

/// What is done about what is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Fix {
    Tail,
    Skip,
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
    databases: usize,
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
        if let Some(reason) = report::unplayable(item, self.databases) {
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
    let wishes = Wishes { output: arguments.output.clone(), dry_run: arguments.dry_run, yes: arguments.yes };
    if let Some(time) = arguments.truncate_to_timestamp {
        return truncate::to_time(disk, &arguments.place, (time, &wishes, arguments.json));
    }
    let Some(fix) = arguments.fix else {
        if wishes.output.is_some() || wishes.dry_run || wishes.yes {
            return Err(Failure::error(Exit::Usage, "--output, --dry-run and --yes go with --fix"));
        }
        let located = arguments.place.locate(disk)?;
        let outcome = Outcome::of(disk, &located, arguments.databases)?;
        outcome.print(arguments, &[], None)?;
        return Ok(outcome.exit());
    };
    let located = arguments.place.locate_for_change(disk)?;
    // What is looked at must be what is changed.
    let _hold = if wishes.output.is_none() { Some(lock::hold(&**disk, &located.log)?) } else { None };
    let outcome = Outcome::of(disk, &located, arguments.databases)?;
    let verdict = outcome.found.verdict();
    let is_wanted = matches!(verdict, Verdict::Torn { .. }) || (fix == Fix::Skip && !verdict.is_clean());
    if !is_wanted || (fix == Fix::Skip && matches!(verdict, Verdict::Unsupported { .. })) {
        outcome.print(arguments, &[], None)?;
        return Ok(outcome.exit());
    }
    let mending = match fix {
        Fix::Tail => Mending::cut_tail(disk, &located.log, &outcome.found),
        Fix::Skip => Mending::skip(disk, &located.log, &outcome.found)?,
    };
    if !arguments.json {
        outcome.print(arguments, &mending.files, None)?;
    }
    let (change, exit) = mending.carry_out(&wishes)?;
    if arguments.json {
        outcome.print(arguments, &mending.files, Some((&change, exit)))?;
    }
    Ok(exit)
}

impl<'a> Outcome<'a> {
    fn of(disk: &Arc<dyn Disk>, located: &'a Located, databases: usize) -> anyhow::Result<Self> {
        let mut watch = Watch { databases, ..Watch::default() };
        let found = aof::check(&**disk, &located.log, RdbDepth::Values, &mut watch)?;
        // A start cuts a torn tail, with whatever stands there.
        if let Verdict::Torn { file, last_good_offset, .. } = found.verdict() {
            let count = watch.refused.len();
            watch.refused.retain(|refused| refused.file != *file || refused.offset < *last_good_offset);
            watch.refused_count -= (count - watch.refused.len()) as u64; // some at most
        }
        Ok(Outcome { located, found, watch })
    }

    /// Prints the report, with what becomes of the files that are mended; in JSON with what became of them too.
    fn print(
        &self,
        arguments: &Arguments,
        mended: &[MendedFile],
        change: Option<(&change::Outcome, Exit)>,
    ) -> anyhow::Result<()> {
        let mut out = Vec::new();
        if arguments.json {
            self.write_json(mended, change, &mut out);
        } else {
            self.write_text(arguments.fix.is_some(), &mut out).context("report")?;
            mended.iter().try_for_each(|file| file.write_text(&self.located.log, &mut out)).context("report")?;
        }
        report::print(&out)
    }

    fn exit(&self) -> Exit {
        match self.found.verdict() {
            Verdict::Unsupported { .. } => Exit::Unsupported,
            Verdict::Clean | Verdict::Torn { .. } if self.watch.refused_count > 0 => Exit::Unsupported,
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
            Verdict::Damaged { .. } if !fix => writeln!(
                out,
                "This is damage, not a torn tail: nothing is cut. Look at it with `aoftool dump`, take the file from a backup or a replica, or leave out what can't be read by `aoftool check --fix=skip`, which keeps the original and tells what it drops."
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

    fn write_json(&self, mended: &[MendedFile], change: Option<(&change::Outcome, Exit)>, out: &mut Vec<u8>) {
        let log = &self.located.log;
        let mut object = Object::open(out);
        object.str("schema", "aoftool.check/1").str("log", &self.located.name);
        object.str("verdict", report::verdict_word(self.found.verdict()));
        let is_readable = matches!(self.found.verdict(), Verdict::Clean | Verdict::Torn { .. });
        object.bool("loads", is_readable && self.watch.refused_count == 0);
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
        if !mended.is_empty() {
            object.array("mended", mended, |out, file| file.write_json(log, out));
        }
        if let Some((change, exit)) = change {
            change.write_json(&mut object);
            object.bool("is_whole", exit == Exit::Fine);
        }
        object.close();
        out.push(b'\n');
    }
}
