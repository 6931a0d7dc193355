//! `aoftool strip-command`: the same log without every record of a command, a FLUSHALL that nobody meant above all.
//!
//! A first pass ([`crate::removal`]) says where the records are; only then anything is written ([`crate::change`]).

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironkeep::aof::{Log, LogFile};
use ironkeep::cli::escape::Escaped;
use ironkeep::cli::exit::{Exit, Failure};
use ironkeep::cli::json::Object;
use ironkeep::cli::locate::{self, Request};
use ironkeep::cli::utc::Utc;
use ironkeep::cli::{in_place, lock};
use ironkeep::disk::Disk;

use crate::change::{Change, Wishes};
use crate::filter::Filter;
use crate::loaded::{self, Gain};
use crate::removal::{self, Found, Job, Which};
use crate::report;
use crate::selection::{At, Only, Removed};

/// Remove every record of a command, FLUSHALL for one, and keep all other bytes
#[derive(clap::Args)]
pub struct Arguments {
    /// Names of commands, in any case; behind them the log: a file, a manifest or a folder. Without it, the log of
    /// --dir, of IRONKEEP_DIR, or of the current folder is found.
    #[arg(value_name = "NAME... [PATH]", required = true)]
    words: Vec<PathBuf>,
    /// The data folder to look in when no path is given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Remove only the last record of those names
    #[arg(long)]
    last: bool,
    /// Also look in the files that rewrites have replaced and the server has kept, though the log has such records. Where
    /// it has none this is done in any case.
    #[arg(long)]
    history: bool,
    /// Only records that name a key that matches this pattern, as KEYS has them; may be given several times. A record
    /// goes with all of its keys
    #[arg(long, value_name = "GLOB")]
    key: Vec<String>,
    /// Only records in this database; may be given several times
    #[arg(long, value_name = "NUMBER")]
    db: Vec<u64>,
    /// Only records between two times, a whole second includes all of it: Unix seconds or milliseconds, or
    /// 2026-11-21T08:30:00Z
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"], allow_hyphen_values = true)]
    between: Vec<Utc>,
    /// Only the record at this offset, of any file or of the one that is named; may be given several times
    #[arg(long, value_name = "[FILE:]OFFSET")]
    at: Vec<At>,
    #[command(flatten)]
    wishes: Wishes,
    /// Load the log and what would become of it, however large, and show which keys come back. Below 64 MB, with
    /// --dry-run and before a question this is done in any case
    #[arg(long)]
    preview: bool,
    /// How many databases the server has, for the preview
    #[arg(long, value_name = "COUNT", default_value_t = 16)]
    databases: usize,
    /// The report as one JSON object (schema aoftool.strip-command/1)
    #[arg(long, alias = "ndjson")]
    json: bool,
}

/// Logs up to this size are loaded for a preview without being asked to, in bytes.
const SMALL: u64 = 64 << 20;

pub fn run(disk: &Arc<dyn Disk>, arguments: &Arguments) -> anyhow::Result<Exit> {
    let (names, path) = names_and_path(&**disk, arguments)?;
    let located = locate::locate(disk, Request { path: path.as_deref(), dir: arguments.dir.as_deref() })?;
    // What is looked at must be what is changed.
    let _hold = if arguments.wishes.output.is_none() { Some(lock::hold(&**disk, &located.log)?) } else { None };
    let whole = located.log.with_history(&**disk)?;
    let between = <[Utc; 2]>::try_from(&arguments.between[..]).ok();
    let filter = Filter::of(arguments.key.clone(), arguments.db.clone(), between);
    let only = Only { filter, at: arguments.at.clone() };
    let present = Job { disk, name: &located.name, log: &located.log, is_whole: false, names: &names, only: &only };
    let which = Which { only_last: arguments.last, wants_history: arguments.history };
    let mut list = List { out: io::BufWriter::new(io::stdout()), found: arguments.json.then(Vec::new) };
    let (job, survey) =
        present.or_with_history(whole.as_ref(), which, &mut |file, removed| list.take(file, removed))?;
    list.out.flush()?;
    if survey.removed() == 0 {
        return job.nothing_found(&survey);
    }
    let what = survey.what(&names);
    let phrases = (&*format!("remove {what}"), &*format!("Removed {what}"));
    let fill = |index: usize, out: &mut dyn Write| job.fill(index, &survey, out);
    let change = job.change(&survey, phrases, &fill);
    let gain = if arguments.wants_preview(job.log) {
        preview(disk, &located.log, &change, arguments.databases)?
    } else {
        None
    };
    if let (Some(gain), None) = (&gain, &list.found) {
        report::print(format!("{}\n", gain.words()).as_bytes())?;
    }
    let outcome = change.carry_out(&arguments.wishes)?;
    let Some(found) = &list.found else {
        outcome.tell(&change)?;
        return Ok(outcome.exit());
    };
    let mut out = Vec::new();
    let mut object = Object::open(&mut out);
    object.str("schema", "aoftool.strip-command/1");
    object.u64("removed", survey.removed()).u64("emptied_transactions", survey.emptied());
    object.array("records", found, |out, found| {
        let mut object = Object::open(out);
        found.write_json(&mut object);
        object.close();
    });
    if let Some(gain) = &gain {
        gain.write_json(&mut object);
    }
    outcome.write_json(&mut object);
    object.close();
    out.push(b'\n');
    report::print(&out)?;
    Ok(outcome.exit())
}

impl Arguments {
    fn wants_preview(&self, log: &Log) -> bool {
        let asks = self.wishes.output.is_none() && in_place::asks(self.wishes.yes);
        self.preview || self.wishes.dry_run || asks || log.len() <= SMALL
    }
}

/// What the change would bring back. Where one of the two does not load, that is said, and keeps nobody from the change.
fn preview(disk: &Arc<dyn Disk>, log: &Log, change: &Change<'_>, databases: usize) -> anyhow::Result<Option<Gain>> {
    let names = || Ok((loaded::names(disk, log, databases)?, change.names_behind(databases)?));
    let names: anyhow::Result<_> = names();
    match names {
        Ok((before, after)) => Ok(Some(Gain::of(&before, after))),
        Err(error) => {
            writeln!(io::stderr(), "which keys come back can't be told: {error:#}")?;
            Ok(None)
        }
    }
}

/// The records that go: printed as they are found, or kept for the report.
struct List {
    out: io::BufWriter<io::Stdout>,
    found: Option<Vec<Found>>,
}

impl List {
    fn take(&mut self, file: &LogFile, removed: &Removed<'_, '_>) -> io::Result<()> {
        match &mut self.found {
            Some(found) => found.push(Found::of(file, removed)?),
            None => removal::write_line(&mut self.out, file, removed)?,
        }
        Ok(())
    }
}

/// The last word is the path if it looks like one or is there; the others are names of commands.
fn names_and_path(disk: &dyn Disk, arguments: &Arguments) -> anyhow::Result<(Vec<Vec<u8>>, Option<PathBuf>)> {
    let usage = |message: String| Failure::error(Exit::Usage, message);
    let mut words = arguments.words.clone();
    let mut path = None;
    if let [_, .., last] = &words[..] {
        let text = last.as_os_str().as_encoded_bytes();
        let looks = text.contains(&b'/') || text == b"-" || text.ends_with(b".aof") || text.ends_with(b".manifest");
        if looks || disk.exists(last) {
            path = words.pop();
        }
    }
    if path.as_deref() == Some(Path::new("-")) {
        return Err(usage("standard input can't be stripped: give a path".to_owned()));
    }
    if path.is_some() && arguments.dir.is_some() {
        return Err(usage("a path and --dir exclude each other".to_owned()));
    }
    let names: Vec<Vec<u8>> =
        words.iter().map(|word| word.as_os_str().as_encoded_bytes().to_ascii_uppercase()).collect();
    for name in &names {
        if matches!(&name[..], b"SELECT" | b"MULTI" | b"EXEC") {
            let name = Escaped(name);
            return Err(usage(format!("{name} can't be stripped: the commands around it would change their meaning")));
        }
        if name.is_empty() || name.contains(&b'/') {
            return Err(usage(format!("'{}' is no name of a command; the path comes last", Escaped(name))));
        }
    }
    Ok((names, path))
}
